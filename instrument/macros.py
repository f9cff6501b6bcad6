"""Macros: one control for many values, each over a range and along a curve of its own.

Whoever holds the controller's lock calls this. A macro is a value from 0 to 1 like any parameter's, by the name
``macro/<name>``; moving it is a gesture on everything it leads, and nothing before it has moved. Who else may have a
parameter in hand is left to the movement, which follows the latest gesture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from instrument.curves import Curve, shape
from instrument.parameters import PARAMETERS, Parameter, shorten, suggest
from instrument.tracks import Motion, Track

if TYPE_CHECKING:
    from instrument.modulation import Modulation
    from instrument.movement import Movement, Voices

PREFIX = "macro/"
LFO = "lfo/"  # a macro's target: an LFO's depth


@dataclass(frozen=True)
class Aim:
    """One thing that a macro leads.

    Attributes:
        to: a parameter, or ``lfo/<name>``: the share of its depth.
        range: values at 0 and at 1; natural units, or shares.
        curve: of the way between them.
        voice: from 1, None for all.
    """

    to: str
    range: tuple[float, float]
    curve: Curve = 0.0
    voice: int | None = None

    def value(self, position: float) -> float:
        """What the target is when the macro is at ``position``, 0..1."""
        low, high = self.range
        return low + (high - low) * shape(self.curve, position)


class Desk(Protocol):
    """What the controller does for this module."""

    voices: int


class Macros:
    """A patch's macros, by name."""

    def __init__(
        self, desk: Desk, macros: Mapping[str, tuple[Aim, ...]], movement: Movement, modulation: Modulation
    ) -> None:
        self._desk, self._movement, self._modulation = desk, movement, modulation
        self._tracks: dict[str, Track] = {}
        self.adopt(macros)

    def adopt(self, macros: Mapping[str, tuple[Aim, ...]], anew: bool = False) -> None:
        """Another patch's; those of the same name are where they were, unless all begin ``anew``."""
        self._aims = dict(macros)
        if anew:
            self._tracks = {}
        self._tracks = {name: self._tracks.get(name, Track(0.0)) for name in macros}
        self.parameters = {
            f"{PREFIX}{name}": Parameter(f"{PREFIX}{name}", -1, 0.0, 1.0, 0.0, "", _help(aims))
            for name, aims in macros.items()
        }

    def parameter(self, name: str) -> Parameter:
        """The macro called ``macro/<name>``. Raises ValueError with the nearest name."""
        if name not in self.parameters:
            asked, known = name.removeprefix(PREFIX), self._aims
            raise ValueError(f"no macro {shorten(asked)}{suggest(asked, known) or '; the patch has none'}")
        return self.parameters[name]

    def track(self, name: str) -> Track:
        """Where the macro ``macro/<name>`` is."""
        return self._tracks[name.removeprefix(PREFIX)]

    def set(self, name: str, value: float, seconds: float, moment: float) -> None:
        """Go to ``value`` and take everything along, in straight lines."""
        macro = name.removeprefix(PREFIX)
        if macro not in self._aims:  # asked for before another patch came
            return
        self._tracks[macro].add(Motion(moment, value, seconds))
        for aim in self._aims[macro]:
            if aim.voice is not None and aim.voice > self._desk.voices:
                continue  # a set may have fewer voices than its patch
            if aim.to.startswith(LFO):
                self._modulation.fade(aim.to.removeprefix(LFO), aim.value(value), seconds, moment)
            else:
                parameter = PARAMETERS[aim.to]
                self._movement.set(parameter, parameter.clip(aim.value(value)), self._voices(aim), seconds, moment)

    def forget(self, moment: float) -> None:
        """Drop what lies before ``moment``."""
        for track in self._tracks.values():
            track.forget(moment)

    def _voices(self, aim: Aim) -> Voices:
        return tuple(range(self._desk.voices)) if aim.voice is None else (aim.voice - 1,)


def _help(aims: tuple[Aim, ...]) -> str:
    return f"macro: {', '.join(dict.fromkeys(aim.to for aim in aims))}"
