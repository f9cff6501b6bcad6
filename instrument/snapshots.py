"""Snapshots: where everything stood, and going there again.

Whoever holds the controller's lock calls this. A snapshot may leave out whatever it likes; what it leaves out stays as
it is. Stored ones live as long as the set. How values move is left to the movement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from instrument.parameters import PARAMETERS, shorten, suggest

if TYPE_CHECKING:
    from instrument.movement import Movement, Voices

MOST = 256
LEFT = ("level",)  # not stored: the envelope of a gate belongs to who holds it


@dataclass(frozen=True)
class Scene:
    """What one voice, or all, are to be: natural values by parameter, and a checkpoint by its name in the bank."""

    parameters: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """``all`` for every voice, ``voices`` (from 1) where one differs."""

    all: Scene = field(default_factory=Scene)
    voices: Mapping[int, Scene] = field(default_factory=dict)

    def checkpoint(self, voice: int) -> str | None:
        """The checkpoint for a voice (from 0), if the snapshot says one."""
        own = self.voices.get(voice + 1)
        return self.all.checkpoint if own is None or own.checkpoint is None else own.checkpoint

    def value(self, parameter: str, voice: int) -> float | None:
        """A parameter's value for a voice (from 0), if the snapshot says one."""
        own = self.voices.get(voice + 1)
        found = own.parameters.get(parameter) if own else None
        return self.all.parameters.get(parameter) if found is None else found


class Snapshots:
    """A performance's snapshots by name: the patch's, and those stored while playing."""

    def __init__(self, snapshots: Mapping[str, Snapshot], movement: Movement, voices: int) -> None:
        self._said, self._movement, self._voices = dict(snapshots), movement, voices
        self._stored: dict[str, Snapshot] = {}

    def adopt(self, snapshots: Mapping[str, Snapshot], before: Mapping[str, Snapshot]) -> None:
        """Another patch's; what it says otherwise than ``before`` comes instead of what was stored by that name."""
        for name, snapshot in snapshots.items():
            if before.get(name) != snapshot:
                self._stored.pop(name, None)
        self._said = dict(snapshots)

    @property
    def _all(self) -> dict[str, Snapshot]:
        return {**self._said, **self._stored}

    @property
    def names(self) -> tuple[str, ...]:
        """Of those there are now."""
        return tuple(self._all)

    def find(self, name: object) -> Snapshot:
        """Raises ValueError with the nearest name."""
        found = self._all
        if not isinstance(name, str) or name not in found:
            raise ValueError(f"no snapshot {shorten(name)}{suggest(name, found) or '; none was stored'}")
        return found[name]

    def check_room(self, name: str) -> None:
        """Raises ValueError if no more can be stored."""
        if name not in self._all and len(self._stored) >= MOST:
            raise ValueError(f"snapshot: there are {MOST} already; an old name can be used again")

    def store(self, name: str, checkpoints: Sequence[str | None], moment: float) -> None:
        """Every value as it is at that moment, and what each voice plays."""
        self._stored[name] = Snapshot(
            voices={
                voice + 1: Scene(
                    {p.name: self._movement.value(p, voice, moment) for p in PARAMETERS.values() if p.name not in LEFT},
                    checkpoints[voice],
                )
                for voice in range(self._voices)
            }
        )

    def morph(self, snapshot: Snapshot, seconds: float, moment: float) -> None:
        """Every value to where the snapshot has it, in straight lines; switches at once."""
        for parameter in PARAMETERS.values():
            by_value: dict[float, list[int]] = {}
            for voice in range(self._voices):
                if (value := snapshot.value(parameter.name, voice)) is not None:
                    by_value.setdefault(parameter.clip(value), []).append(voice)
            for value, voices in by_value.items():
                self._movement.set(parameter, value, tuple(voices), 0.0 if parameter.whole else seconds, moment)

    def checkpoints(self, snapshot: Snapshot) -> dict[str, Voices]:
        """Checkpoints that the snapshot asks for, and the voices that are to play them."""
        found: dict[str, list[int]] = {}
        for voice in range(self._voices):
            if (name := snapshot.checkpoint(voice)) is not None:
                found.setdefault(name, []).append(voice)
        return {name: tuple(voices) for name, voices in found.items()}
