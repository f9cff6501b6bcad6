"""Telling a new gesture from one that is merely held, when the sender repeats itself.

TouchDesigner sends every value again with every frame; buttons there and in TouchOSC send 1 and then 0. What somebody
holds must not end a sweep that started since, nor fire again and again. But two equal messages are two gestures,
however quick, from a sender who does nothing of that kind: only one that has repeated itself frame after frame is taken
to hold. Whoever holds the controller's lock calls this.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

STILL = 0.1  # seconds; frames come every 17 to 42 ms
PROOF = 4  # repeats in a row, at one address, by which a sender shows that it sends frames
MOST = 4096  # senders times addresses remembered


class Held:
    """What each sender said last at each address."""

    def __init__(self) -> None:
        self._values: dict[Hashable, tuple[Hashable, float, int]] = {}
        self._framed: dict[Hashable, None] = {}
        self._released: dict[Hashable, None] = {}

    def repeats(self, source: Hashable, address: Hashable, arguments: Hashable, moment: float) -> bool:
        """True if ``source``, which sends frames, said just the same in its last one; remembers what it said."""
        before, then, streak = self._values.get((source, address), (None, 0.0, 0))
        again = before == arguments and moment - then < STILL
        streak = streak + 1 if again else 0
        _keep(self._values, (source, address), (arguments, moment, streak))
        if streak >= PROOF:
            _keep(self._framed, source, None)
        return again and source in self._framed

    def presses(self, source: Hashable, address: Hashable, value: float, moment: float) -> bool:
        """Whether a gate's ``value`` is a press: not 0, and not held down by a sender of frames.

        An address where a sender has never sent 0 has no way to be let go: each of its values is a press.
        """
        held = self.repeats(source, address, value, moment)
        if value == 0.0:
            _keep(self._released, (source, address), None)
        return value != 0.0 and not (held and (source, address) in self._released)


def _keep(table: dict[Hashable, Any], key: Hashable, value: object) -> None:
    table.pop(key, None)
    while len(table) >= MOST:
        del table[next(iter(table))]
    table[key] = value
