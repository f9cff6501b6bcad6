"""Loops with dice, as gestures ask for them: in beats, which keep their length in seconds only while the tempo stays.

Whoever holds the controller's lock lets the acts happen and calls :meth:`Loops.pump` every few milliseconds. When a
gesture acts is left to the controller; storing and putting back to the render loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from instrument.arguments import Value
from instrument.controls import LENGTH_ONLY, Command, Op, Telemetry
from instrument.movement import Voices

DEFAULT_BEATS = 4.0
SHORTEST = 64  # samples of a pass (instrument.audio.looping)

Act = Callable[[float], None]  # takes the moment of the gesture


class Desk(Protocol):
    """What the controller does for this module."""

    sample_rate: int

    def now(self) -> float:
        """Seconds of time.monotonic."""

    def beats(self, n: float) -> float:
        """Seconds that ``n`` beats take now."""

    def look(self) -> Telemetry:
        """What the loop shows."""

    def send_each(self, command: Command, voices: Voices, moment: float, *, gesture: bool = True) -> None:
        """``command`` for these voices at the sample of ``moment``."""


@dataclass
class Asked:
    """One voice's loop: its length in beats, and in seconds as the render loop knows it."""

    beats: float
    seconds: float


class Loops:
    """What each voice was last asked to repeat."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._asked: dict[int, Asked] = {}
        self.actions: dict[str, Callable[[list[Value], Voices], Act]] = {
            "loop": self._loop,
            "loop/stop": lambda _arguments, voices: self._stop(voices),
        }

    def forget(self) -> None:
        """After a panic no voice loops."""
        self._asked.clear()

    def end(self, moment: float) -> None:
        """No voice loops any more."""
        if self._asked:
            self._stop(tuple(sorted(self._asked)))(moment)

    def pump(self) -> None:
        """Tell loops that play their new length when the tempo is another."""
        changed = [v for v, asked in self._asked.items() if self._desk.beats(asked.beats) != asked.seconds]
        if not changed:
            return
        voices = self._desk.look().voices
        for v in changed:
            if voices[v].looping >= 0.0:  # one that has ended is told nothing; one that has not begun, later
                asked = self._asked[v]
                asked.seconds = self._desk.beats(asked.beats)
                length = self._length(asked.seconds, LENGTH_ONLY)
                self._desk.send_each(length, (v,), self._desk.now(), gesture=False)

    def _loop(self, arguments: list[Value], voices: Voices) -> Act:
        beats = DEFAULT_BEATS if arguments[0] is None else float(arguments[0])
        return self._begin(beats, voices) if beats else self._stop(voices)

    def _begin(self, beats: float, voices: Voices) -> Act:
        def act(moment: float) -> None:
            seconds = self._desk.beats(beats)
            self._asked |= {v: Asked(beats, seconds) for v in voices}
            self._desk.send_each(self._length(seconds), voices, moment)

        return act

    def _stop(self, voices: Voices) -> Act:
        def act(moment: float) -> None:
            for v in voices:
                self._asked.pop(v, None)
            self._desk.send_each(Command(0, Op.UNLOOP), voices, moment)

        return act

    def _length(self, seconds: float, flags: int = 0) -> Command:
        samples = max(float(SHORTEST), seconds * self._desk.sample_rate)
        whole = math.floor(samples)
        return Command(0, Op.LOOP, number=whole, value=samples - whole, flags=flags)
