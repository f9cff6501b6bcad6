"""What an LFO does: its value at any place of the session, and where its straight lines meet.

Pure. Everything is a function of the place in the session, the seed and the tempo, never of what happened before. Which
LFOs run, and what goes onto the ring, is left to :mod:`instrument.modulation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from instrument.curves import SMOOTH, shape
from instrument.tracks import Track

if TYPE_CHECKING:
    from instrument.transport import Transport

SHAPES = ("sine", "triangle", "square", "saw", "random", "drift")
FASTEST = 20.0  # cycles a second
SHORTEST = 0.25  # beats a cycle: 20 cycles a second at the fastest tempo
_ATOM = 1e-6  # seconds: right of a corner
_MASK = (1 << 64) - 1

# Where in a cycle lines meet: an arc of a 24th of a sine, a 16th of a drift, runs 0.43 % of the whole beside its chord.
_CORNERS = {
    "sine": tuple(k / 24 for k in range(24)),
    "triangle": (0.25, 0.75),
    "square": (0.0, 0.5),
    "saw": (0.0,),
    "random": (0.0,),
    "drift": tuple(k / 16 for k in range(16)),
}


@dataclass(frozen=True)
class Lfo:
    """A parameter swayed around where it is.

    Attributes:
        depth: natural units to either side.
        rate: cycles a second; 0 if ``beats`` says it.
        beats: beats a cycle.
        phase: where in the cycle it starts, 0..1.
        voice: from 1, None for all.
        start: runs from the first sample.
        seed: of ``random`` (a new value each cycle, held) and ``drift`` (from one to the next).
    """

    parameter: str
    depth: float
    shape: str = "sine"
    rate: float = 0.0
    beats: float = 0.0
    phase: float = 0.0
    voice: int | None = None
    start: bool = False
    seed: int = 0


@dataclass
class Running:
    """An LFO under way since ``origin``: session seconds, or a count of beats; ``factor`` is how much of its depth."""

    lfo: Lfo
    origin: float
    factor: Track = field(default_factory=lambda: Track(1.0))

    def value(self, seconds: float, transport: Transport) -> float:
        """The offset at a place of the session, natural units."""
        return self.lfo.depth * self.factor.value(seconds) * wave(self.lfo, self._cycles(seconds, transport))

    def corner(self, seconds: float, transport: Transport) -> float:
        """Where the line after ``seconds`` ends."""
        cycles = self._cycles(seconds + _ATOM, transport)
        whole = math.floor(cycles)
        fractions = _CORNERS[self.lfo.shape]
        ahead = next((whole + f for f in fractions if whole + f > cycles), whole + 1 + fractions[0])
        turned = ahead - self.lfo.phase
        if self.lfo.rate:
            return self.origin + turned / self.lfo.rate
        return transport.seconds(self.origin + turned * self.lfo.beats)

    def _cycles(self, seconds: float, transport: Transport) -> float:
        if self.lfo.rate:
            return self.lfo.phase + (seconds - self.origin) * self.lfo.rate
        return self.lfo.phase + (transport.count(seconds) - self.origin) / self.lfo.beats


def wave(lfo: Lfo, cycles: float) -> float:
    """-1..1 after that many cycles; those that jump begin right behind a jump, sine and triangle in the middle."""
    step = math.floor(cycles)
    u = cycles - step
    match lfo.shape:
        case "sine":
            return math.sin(2.0 * math.pi * u)
        case "triangle":
            return 4.0 * u if u < 0.25 else 2.0 - 4.0 * u if u < 0.75 else 4.0 * u - 4.0
        case "square":
            return 1.0 if u < 0.5 else -1.0
        case "saw":
            return 2.0 * u - 1.0
        case "random":
            return _random(lfo.seed, step)
        case _:
            here, there = _random(lfo.seed, step), _random(lfo.seed, step + 1)
            return here + (there - here) * shape(SMOOTH, u)


def _random(seed: int, step: int) -> float:
    """-1..1 of (seed, step): splitmix64's output function (Steele, Lea, Flood 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1342543DE82EF95) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 52) - 1.0
