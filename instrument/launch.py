"""Gestures that wait for the next beat or bar.

Whoever holds the controller's lock calls this. A launch lies in the future, and goes with the beat when the tempo
moves, until shortly before its line: then it is on the ring, for the sample of the line. Whoever presses on a line (up
to ``transport.GRACE`` after it) is on it, and is heard with the instrument's latency. What happens is left to the act.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from instrument.transport import Transport

Act = Callable[[float], None]  # takes the moment of the gesture


class Desk(Protocol):
    """What the controller does for this module."""

    def heard_at(self, moment: float) -> float:
        """Session seconds at which a gesture of that moment is heard."""

    def place(self, moment: float) -> float:
        """Session seconds that are heard at that moment."""

    def moment_of(self, seconds: float) -> float:
        """The moment whose gestures are heard at those session seconds."""

    def act_at(self, act: Act, seconds: float) -> None:
        """Let ``act`` happen as a gesture that is heard at exactly those session seconds."""


@dataclass
class Waiting:
    """A launch that waits for a line: a count of beats."""

    launch: str
    line: float
    jumps: int
    act: Act


class Launches:
    """What waits for its line, the latest of its kind only.

    Args:
        desk: the controller.
        transport: whose lines.
        ahead: seconds before it is heard that a launch is acted upon.
    """

    def __init__(self, desk: Desk, transport: Transport, ahead: float) -> None:
        self._desk, self._transport, self._ahead = desk, transport, ahead
        self._waiting: dict[tuple[Hashable, ...], Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: tuple[Hashable, ...], launch: str, moment: float, act: Act) -> None:
        """Do ``act`` on the next line after ``moment``: at once if nothing runs, or the line cannot be met any more."""
        self._waiting.pop(key, None)
        if not self._transport.running:
            act(moment)
            return
        line = self._transport.line(self._desk.place(moment), launch)
        if self._transport.seconds(line) <= self._desk.heard_at(moment):
            act(moment)
        else:
            self._waiting[key] = Waiting(launch, line, self._transport.jumps, act)

    def pump(self, now: float) -> None:
        """Act on what is near."""
        if not self._transport.running:
            return
        for key, waiting in list(self._waiting.items()):
            if waiting.jumps != self._transport.jumps:
                waiting.jumps = self._transport.jumps
                waiting.line = self._transport.line(self._desk.place(now), waiting.launch)
            seconds = self._transport.seconds(waiting.line)
            if self._desk.moment_of(seconds) - self._ahead <= now:
                del self._waiting[key]
                self._desk.act_at(waiting.act, max(seconds, self._desk.heard_at(now)))

    def names(self) -> str:
        """What waits and for what, in words."""
        return ", ".join(f"{key[0]} at the next {waiting.launch}" for key, waiting in list(self._waiting.items()))

    def take_back(self, *asked: Hashable) -> None:
        """Forget what waits by such a key, None in ``asked`` standing for anything."""
        for key in list(self._waiting):
            if all(wanted in (None, found) for wanted, found in zip(asked, key, strict=True)):
                del self._waiting[key]

    def cancel(self) -> None:
        """Forget them all."""
        self._waiting.clear()
