"""The table of slots: descriptors, and the rules from slot to slot, that the render loop reads.

Made with the performance; afterwards one control thread at a time fills and clears places that the loop does not look
at: free ones, before their LOAD or GROW is on the ring, and given up ones, after their DROP was told. What a network
costs is measured by ``instrument.audio.timing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instrument.audio.headroom import Cost
from instrument.audio.slots import Slot
from instrument.audio.state import SLOT
from instrument.audio.timing import LONGEST, Timing, make_timing, with_partners

ROOM = 256  # slots of a set that is no training history


@dataclass(frozen=True)
class Rules:
    """What holds for a slot that joins; see :class:`instrument.controls.Loaded`."""

    prime_length: int
    pairs: tuple[tuple[int, ...], ...]


class Table:
    """``room`` places, the first of them taken by ``slots``.

    Attributes:
        records: the descriptors, (room,).
        limits: longest crossfade from slot (row) to slot (column), session samples.
        rates: prime rate from slot (row) to slot (column).
        slots: what is where.
        costs: of those that were measured, as in :class:`instrument.audio.timing.Timing`.
        alone: us a session sample of one voice, of those that were measured.
    """

    def __init__(self, slots: Sequence[Slot], timing: Timing, room: int) -> None:
        last = len(slots) - 1
        rows = np.minimum(np.arange(room), last)  # what joins a history obeys the rules of the bank's last
        self.records: NDArray[np.void] = np.zeros(room, SLOT)
        self.records["prime_length"] = np.array(timing.prime_length, np.int64)[rows]
        self.limits: NDArray[np.int64] = np.array(timing.crossfade, np.int64)[np.ix_(rows, rows)]
        self.rates: NDArray[np.int64] = np.ascontiguousarray(
            np.broadcast_to(np.array(timing.prime_rate, np.int64)[rows], (room, room))
        )
        self.slots: dict[int, Slot] = {}
        self.costs: dict[int, tuple[float, float]] = dict(enumerate(timing.cost_us))
        self.alone: dict[int, float] = {}
        self._timing = timing
        for k, slot in enumerate(slots):
            self.describe(k, slot)
            self.records["ready"][k] = 1

    @property
    def room(self) -> int:
        """Places, taken and free."""
        return len(self.records)

    def keep(self, slot: Slot, last: bool) -> int:
        """Have ``slot`` in the last place, or in the first free one, from the start on: the place. It hears as much as
        it is told to."""
        k = self.room - 1 if last else self.free()
        assert k is not None
        self.records["prime_length"][k] = LONGEST
        self.describe(k, slot)
        self.records["ready"][k] = 1
        return k

    def free(self) -> int | None:
        """The first free place; None when the table is full."""
        return next((k for k in range(self.room) if k not in self.slots), None)

    def describe(self, k: int, slot: Slot) -> None:
        """Fill in place ``k``, all but its rules."""
        slot.describe(self.records[k : k + 1].view(np.recarray)[0])
        self.slots[k] = slot

    def put(self, k: int, slot: Slot, rules: Rules) -> None:
        """Fill in the free place ``k``, by ``rules``."""
        for other, rate_in, rate_out, fade_in, fade_out in rules.pairs:
            self.rates[other, k], self.rates[k, other] = rate_in, rate_out
            self.limits[other, k], self.limits[k, other] = fade_in, fade_out
        self.records["prime_length"][k] = rules.prime_length
        self.describe(k, slot)

    def clear(self, k: int) -> None:
        """Forget what was at place ``k``."""
        self.records[k] = np.zeros((), SLOT)
        for known in (self.slots, self.costs, self.alone):
            known.pop(k, None)

    def rules(
        self, k: int, slot: Slot, cost: tuple[float, float], partners: Sequence[int] = (), **session: int
    ) -> Rules:
        """What holds for ``slot`` at the free place ``k``, which was measured to cost so much.

        ``partners``: the slot of each voice's, -1 for none. ``session``: sample_rate, voices and ring_frames.
        """
        others = sorted(self.slots)
        costs = [*(self.costs.get(other, (0.0, 0.0)) for other in others), cost]
        rates = [*(self.slots[other].config.sample_rate for other in others), slot.config.sample_rate]
        t = self._timing
        costs = with_partners(costs, partners, self.costs)
        found = make_timing(costs, rates, turn=t.turn, delay=t.delay, ahead=t.ahead, **session)
        self.costs[k] = cost
        pairs = (
            (other, found.prime_rate[-1], found.prime_rate[i], found.crossfade[i][-1], found.crossfade[-1][i])
            for i, other in enumerate(others)
        )
        return Rules(found.prime_length[-1], tuple(pairs))

    def measured(self, voices: int) -> dict[int, Cost]:
        """What each network costs with one voice and with ``voices``; a replay knows of none."""
        return {
            k: Cost(self.alone.get(k, cost / voices), cost, voices)
            for k, (cost, _) in list(self.costs.items())
            if k in self.slots
        }

    def addresses(self) -> dict[str, NDArray[Any]]:
        """What a CORE leads to, by the name of its address there."""
        return {"slot_memory": self.records, "limits": self.limits, "rates": self.rates}
