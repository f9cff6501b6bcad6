"""Whose gesture a value is: who asked for it last, as long as that is where it is going.

Whoever holds the controller's lock calls this. A value that a sweep, a macro or a morph has moved since is nobody's,
and news to everybody, also once it is where it was. What is made of it (OSC listeners, MIDI feedback: no echo to the
author) is left to the adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Authors:
    """The last to ask for each value, and for what."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int | None], tuple[object, float | str]] = {}

    def sign(self, name: str, voices: Iterable[int | None], source: object, value: float | str) -> None:
        """``source`` asks for ``value``: of voices from 1, None for the value of all."""
        for voice in voices:
            self._asked[name, voice] = source, value

    def of(self, name: str, voice: int | None, leads: Callable[[Any], bool]) -> object:
        """Who asked last, if ``leads`` says that what he asked for is where things are, or are going.

        Else it is nobody's from now on.
        """
        source, asked = self._asked.get((name, voice), (None, None))
        if source is None or leads(asked):
            return source
        del self._asked[name, voice]
        return None
