"""Which voices rest: fade out and cost nothing, until somebody wakes them.

Whoever holds the controller's lock calls this. A voice rests because a patch has fewer than its set, because a gesture
says so, or because the set fell behind (:mod:`instrument.audio.shedding`); how it fades is left to the render loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from instrument.arguments import Value
from instrument.controls import REFUSED, Command, Event, Op
from instrument.launch import Act
from instrument.movement import Voices


class Desk(Protocol):
    """What the controller does for this module."""

    voices: int

    def send_each(self, command: Command, voices: Voices, moment: float, *, gesture: bool = True) -> None:
        """``command`` for these voices at the sample of ``moment``."""


class Resting:
    """What each voice was last told, by us or by the loop.

    Attributes:
        voices: those that rest, from 0.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.voices: set[int] = set()
        self.actions: dict[str, Callable[[list[Value], Voices], Act]] = {
            "rest": lambda _arguments, voices: lambda moment: self._tell(Op.PARK, voices, moment),
            "wake": lambda _arguments, voices: lambda moment: self._tell(Op.WAKE, voices, moment),
        }

    def sound(self, awake: int, moment: float, among: Iterable[int]) -> None:
        """Of the voices ``among``, those below ``awake`` sound and the others rest."""
        for voice in among:
            if (voice < awake) == (voice in self.voices):
                self._tell(Op.WAKE if voice < awake else Op.PARK, (voice,), moment, gesture=False)

    def heard(self, event: Event) -> None:
        """What took effect; of the voice that the loop lets rest by itself nobody else knows."""
        if event.op not in (Op.PARK, Op.WAKE) or event.flags & REFUSED:
            return
        self._note(event.op, range(self._desk.voices) if event.voice < 0 else (event.voice,))

    def _tell(self, op: Op, voices: Voices, moment: float, *, gesture: bool = True) -> None:
        self._note(op, voices)
        self._desk.send_each(Command(0, op), voices, moment, gesture=gesture)

    def _note(self, op: int, voices: Iterable[int]) -> None:
        self.voices = self.voices | set(voices) if op == Op.PARK else self.voices - set(voices)
