"""Programs are the patch's, slots are the loop's: which program lies in which slot, and what each voice was asked for.

Whoever holds the controller's lock calls this. What lies where is decided by :mod:`instrument.loading`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from instrument.controls import Telemetry

NOWHERE = -1  # the program of a slot that only the patch before has


class Programs:
    """A patch's programs, first in slots 0, 1, ...

    Attributes:
        names: by program.
        slots: by program.
        asked: program of each voice as last asked for; None where the loop was not asked, or refused.
    """

    def __init__(self, names: Sequence[str], start: Sequence[int]) -> None:
        self.names, self.slots = list(names), list(range(len(names)))
        self.asked: list[int | None] = list(start)
        self._of_slots = dict(enumerate(names))

    def grow(self, name: str) -> None:
        """One program more, in the next slot."""
        self._of_slots[len(self.names)] = name
        self.slots.append(len(self.names))
        self.names.append(name)

    def call(self, slot: int, name: str) -> None:
        """What a slot is called that is no program's."""
        self._of_slots[slot] = name

    def adopt(self, names: Sequence[str], slots: Sequence[int]) -> None:
        """Another patch's; voices play what they played until they are asked for something else."""
        self.asked = [None] * len(self.asked)
        self.names[:], self.slots[:] = names, slots
        self._of_slots |= zip(slots, names, strict=True)

    def of_slot(self, slot: int) -> int:
        """The program that lies in ``slot``, or NOWHERE."""
        return self.slots.index(slot) if slot in self.slots else NOWHERE

    def name(self, slot: int) -> str:
        """What lies in ``slot``, or did when it was last a program's."""
        return self._of_slots.get(slot, "?")

    def by_slot(self) -> list[str]:
        """Names of all slots, for whoever reads the loop's own figures."""
        return [self.name(slot) for slot in range(max(self._of_slots) + 1)]

    def mapped(self, t: Telemetry) -> Telemetry:
        """``t`` with programs where the loop tells slots."""
        return replace(t, voices=tuple(replace(voice, slot=self.of_slot(voice.slot)) for voice in t.voices))
