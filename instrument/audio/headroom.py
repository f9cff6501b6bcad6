"""What this machine can hold: how many voices of each network, and how much of the time there is they leave.

Control threads; arithmetic on what :mod:`instrument.audio.timing` measured. What is done when a set falls behind all
the same is left to the render loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from instrument.audio.timing import SHARE
from instrument.parameters import MAX_VOICES

if TYPE_CHECKING:
    from instrument.audio.slots import Slot


@dataclass(frozen=True)
class Cost:
    """us a session sample of one network.

    Attributes:
        alone: one voice.
        together: all ``voices`` of the set.
        voices: how many these are.
        prime: of one voice's priming, a sample.
    """

    alone: float
    together: float
    voices: int
    prime: float = 0.0

    @property
    def each(self) -> float:
        """What one voice more costs: a pass over the weights serves all of them, so less than the first.

        Where only one was measured nothing is known of that, and the answer is on the safe side.
        """
        return (self.together - self.alone) / (self.voices - 1) if self.voices > 1 else self.alone

    def of(self, voices: int) -> float:
        """What so many voices cost."""
        return self.alone + self.each * (voices - 1)


@dataclass(frozen=True)
class Holding:
    """How a network, or several, can be played here.

    Attributes:
        name, precision: what was played, and how.
        threads: that make its samples.
        voices: asked for; ``realtime`` and ``headroom`` are with so many.
        realtime: times faster than it sounds.
        headroom: of the time there is, what is left; below 0 if it is too much.
        holds: how many voices there may be, 0 to MAX_VOICES, with a tenth of the time left alone.
        partners: voices of other networks that are blended in.
    """

    name: str
    precision: str
    threads: int
    voices: int
    realtime: float
    headroom: float
    holds: int
    partners: int = 0

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self) | {"realtime": round(self.realtime, 3), "headroom": round(self.headroom, 3)}

    @property
    def line(self) -> str:
        """For a terminal."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return (
            f"{self.precision}, {threads}: {self._who} {self.realtime:.1f} x real time, "
            f"{self.headroom:.0%} to spare; {self.holds} would fit"
        )

    @property
    def overload(self) -> str:
        """What is too much, how much, and what would be right, in one line; nothing if it fits."""
        if self.holds >= self.voices:
            return ""
        too_much = (
            f"{self._who} take{'s' * (self.voices == 1)} {1 - self.headroom:.0%} of the time there is: expect gaps;"
        )
        if not self.holds:
            return f"{too_much} this network is too slow for this machine ({self.realtime:.1f} x real time)"
        return f"{too_much} about {self.holds} fit here (--voices {self.holds}), and voices rest when it falls behind"

    @property
    def _who(self) -> str:
        beside = f" with {self.partners} partner{'s' * (self.partners > 1)}" if self.partners else ""
        return f"{self.voices} voice{'s' * (self.voices > 1)} of {self.name}{beside}"


def hold(name: str, precision: str, cost: Cost, sample_rate: int, threads: int = 1, partners: int = 0) -> Holding:
    """How what costs so much can be played in a session of ``sample_rate`` Hz."""
    sample = 1e6 / sample_rate
    rest = SHARE * sample - cost.alone
    fit = int(1.0 + min(rest / max(cost.each, 1e-9), MAX_VOICES)) if rest >= 0 else 0
    share = max(cost.together / sample, 1e-6)
    return Holding(name, precision, threads, cost.voices, 1 / share, 1 - share, min(fit, MAX_VOICES), partners)


def spread(costs: Mapping[int, Cost], slots: Sequence[int]) -> Cost | None:
    """What the voices cost as they are, each on its own slot: no pass serves two networks.

    None while one of them was not measured, or all are on one.
    """
    counts = Counter(slots)
    if len(counts) < 2 or not set(counts) <= set(costs):
        return None
    total = sum(costs[k].of(n) for k, n in counts.items())
    return Cost(total / len(slots), total, len(slots))


def holdings(costs: Mapping[int, Cost], slots: Mapping[int, Slot], sample_rate: int, threads: int = 1) -> list[Holding]:
    """How each network that was measured can be played by all voices."""
    return [hold(slots[k].name, slots[k].precision, cost, sample_rate, threads) for k, cost in costs.items()]


def held(
    costs: Mapping[int, Cost],
    slots: Mapping[int, Slot],
    voices: Sequence[int],
    partners: Sequence[int],
    sample_rate: int,
    threads: int = 1,
) -> Holding | None:
    """What the set must hold: all voices on the dearest network, or as they are where that is more; None if not known.

    ``voices``: the slot that each is on, ``partners``: that its partner is on, -1 for none.
    """
    taken = [costs[k].together / len(voices) for k in partners if k in costs]
    crowds = [(slots[k].name, cost) for k, cost in costs.items()]
    if now := spread(costs, voices):
        crowds.append((" and ".join(dict.fromkeys(slots[k].name for k in voices)), now))
    if not crowds:
        return None
    name, cost = max(crowds, key=lambda crowd: crowd[1].together)
    beside = sum(taken)
    cost = replace(cost, alone=cost.alone + beside / len(voices), together=cost.together + beside)
    return hold(name, next(iter(slots.values())).precision, cost, sample_rate, threads, len(taken))


def report_of(whole: Holding | None, each: Sequence[Holding]) -> dict[str, Any]:
    """The report's ``holding``: the set, and its checkpoints; empty if nothing was measured."""
    return {**whole.to_json(), "checkpoints": [one.to_json() for one in each]} if whole else {}
