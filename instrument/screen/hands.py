"""Key gestures made into what the controller knows: triggers, and values set from where they are.

The screen's thread in the player calls this, for the other process only says which key was pressed. What is refused
is a line for whoever reads, as it is for OSC and MIDI.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from instrument.controls import Telemetry

OLD = 1.0  # seconds; an older press was held up somewhere, and means now
SAME = {  # gestures that are a trigger and its arguments
    "reseed": ("reseed", "random"),
    "learned": ("reseed", "learned"),
    "next": ("patch/next",),
    "previous": ("patch/previous",),
    "tap": ("tap",),
    "marker": ("marker",),
}
AIMED = ("reseed", "learned")  # of these, at one voice if one is chosen


class Desk(Protocol):
    """What is needed of the controller."""

    def set(self, name: str, value: object, voice: int | None, *, when: float | None) -> None: ...
    def trigger(self, name: str, *given: object, voice: int | None, when: float | None) -> None: ...
    def target(self, name: str, voice: int | None) -> float: ...


class Around(Protocol):
    """What is needed of the set around it."""

    def look(self) -> Telemetry:
        """The latest picture of the loop."""

    def sweeps(self) -> Sequence[str]:
        """Names of the patch's sweeps."""

    def moving(self) -> Sequence[str]:
        """Names of what is under way."""

    def moments(self, program: int) -> int:
        """How many a program's checkpoint has."""

    def leave(self, at_once: bool) -> None:
        """End the set; at once is Ctrl-C's way."""


class Hands:
    """What the player does about keys.

    Args:
        desk: the controller.
        around: the set.
        say: takes a line about what was refused; must not block.
    """

    def __init__(self, desk: Desk, around: Around, say: Callable[[str], None]) -> None:
        self._desk, self._around, self._say = desk, around, say
        self._chosen, self._moments = 0, itertools.count()
        self._acts: dict[str, Callable[[Mapping[str, Any], int | None, float], None]] = {
            "checkpoint": self._checkpoint,
            "temperature": self._temperature,
            "mute": self._mute,
            "panic": self._panic,
            "moment": self._moment,
            "sweep": self._sweep,
            "choose": self._choose,
            "loop": self._loop,
            "learn": self._learn,
            "quit": lambda *_: self._around.leave(False),
            "interrupt": lambda *_: self._around.leave(True),
        }

    @property
    def sweep(self) -> str:
        """The sweep that is chosen; nothing if the patch has none."""
        names = self._around.sweeps()
        return names[self._chosen % len(names)] if names else ""

    def do(self, gesture: Mapping[str, Any]) -> None:
        """One gesture. Never raises."""
        name, voice = str(gesture.get("do")), gesture.get("voice") or None
        when, now = gesture.get("when"), time.monotonic()
        moment = float(when) if isinstance(when, (int, float)) and now - OLD < when <= now else now
        try:
            if name in SAME:
                self._desk.trigger(*SAME[name], voice=voice if name in AIMED else None, when=moment)
            else:
                self._acts[name](gesture, voice, moment)
        except ValueError as error:
            self._say(str(error))
        except Exception as error:  # a key must end nothing
            self._say(f"key {name[:20]}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _checkpoint(self, gesture: Mapping[str, Any], voice: int | None, when: float) -> None:
        self._desk.trigger("checkpoint", int(gesture["number"]), voice=voice, when=when)

    def _temperature(self, gesture: Mapping[str, Any], voice: int | None, when: float) -> None:
        value = self._desk.target("temperature", voice) + float(gesture["by"])
        self._desk.set("temperature", round(value, 6), voice, when=when)

    def _mute(self, _gesture: Mapping[str, Any], voice: int | None, when: float) -> None:
        self._desk.set("mute", 1.0 - self._desk.target("mute", voice), voice, when=when)

    def _panic(self, _gesture: Mapping[str, Any], _voice: int | None, when: float) -> None:
        self._desk.trigger("resume" if self._around.look().silent else "panic", voice=None, when=when)

    def _moment(self, _gesture: Mapping[str, Any], voice: int | None, when: float) -> None:
        there = self._around.moments(self._around.look().voices[(voice or 1) - 1].slot)
        if not there:
            raise ValueError("moment: this checkpoint has none")
        self._desk.trigger("moment", next(self._moments) % there, voice=voice, when=when)

    def _sweep(self, _gesture: Mapping[str, Any], _voice: int | None, when: float) -> None:
        if not self.sweep:
            raise ValueError("sweep: the patch has none")
        running = self.sweep in self._around.moving()
        self._desk.trigger("sweep/stop" if running else "sweep", self.sweep, voice=None, when=when)

    def _choose(self, _gesture: Mapping[str, Any], _voice: int | None, _when: float) -> None:
        self._chosen += 1

    def _loop(self, _gesture: Mapping[str, Any], voice: int | None, when: float) -> None:
        first = self._around.look().voices[(voice or 1) - 1]
        looping = getattr(first, "looping", -1.0) >= 0.0
        self._desk.trigger("loop/stop" if looping else "loop", voice=voice, when=when)

    def _learn(self, gesture: Mapping[str, Any], _voice: int | None, when: float) -> None:
        target = str(gesture.get("text") or "")
        self._desk.trigger(*(("learn", target) if target else ("learn/stop",)), voice=None, when=when)
