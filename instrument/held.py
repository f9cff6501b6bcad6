"""Telling a new gesture from one that is merely held, when the sender repeats itself.

TouchDesigner sends every value again with every frame; buttons there and in TouchOSC send 1 and then 0. What somebody
holds must not end a sweep that started since, nor fire again and again. Whoever holds the controller's lock calls this.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

STILL = 0.1  # seconds; frames come every 17 to 42 ms
LOST = 0.25  # seconds; a button silent for longer has let go, even if its 0 never arrived
MOST = 4096  # senders times addresses remembered


class Held:
    """What each sender said last at each address."""

    def __init__(self) -> None:
        self._values: dict[Hashable, tuple[Hashable, float]] = {}
        self._gates: dict[Hashable, tuple[bool, bool, float]] = {}

    def repeats(self, key: Hashable, arguments: Hashable, moment: float) -> bool:
        """True if ``key`` said just the same within the last moments; remembers it."""
        last = self._values.pop(key, None)
        _trim(self._values)
        self._values[key] = (arguments, moment)
        return last is not None and last[0] == arguments and moment - last[1] < STILL

    def fires(self, key: Hashable, value: float, moment: float) -> bool:
        """Whether a gate's ``value`` is a press: nonzero, and not one of a sender's that still holds it down.

        A sender that has never sent 0 has no way to let go: each of its values is a press.
        """
        down, releases, last = self._gates.pop(key, (False, False, 0.0))
        _trim(self._gates)
        self._gates[key] = (value != 0.0, releases or value == 0.0, moment)
        return value != 0.0 and not (down and releases and moment - last < LOST)


def _trim(table: dict[Hashable, Any]) -> None:
    while len(table) >= MOST:
        del table[next(iter(table))]
