"""Faults while playing: a line the first time, then a count at most once a second.

Each adapter has its own and calls it on its own thread; :meth:`Faults.flush` now and then says what is still unsaid.
What takes the lines must not block (``console.complain`` does not).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST = 16  # different faults told apart at once; a flood of ever new ones is counted together
OTHERS = "other faults"


def words(error: Exception) -> str:
    """A fault in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@dataclass
class _Fault:
    unsaid: int
    said: float


class Faults:
    """Lines for ``say``, which never come faster than anybody can read."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._seen: dict[str, _Fault] = {}

    def report(self, text: str) -> None:
        """One more of ``text``."""
        now = self._now()
        if text not in self._seen and len(self._seen) >= MOST:
            self._forget(now)
        if text not in self._seen and len(self._seen) >= MOST:
            text = OTHERS
        if text in self._seen:
            self._seen[text].unsaid += 1
            self._tell(text, now)
        else:
            self._seen[text] = _Fault(0, now)
            self._say(text)

    def flush(self) -> None:
        """Say the counts that are due."""
        now = self._now()
        for text in list(self._seen):
            self._tell(text, now)

    def _tell(self, text: str, now: float) -> None:
        fault = self._seen[text]
        if fault.unsaid and now - fault.said >= 1.0:
            self._say(f"{text} ({fault.unsaid} more)")
            fault.unsaid, fault.said = 0, now

    def _forget(self, now: float) -> None:
        """Make room: what has been quiet for ten seconds is new again when it returns."""
        self._seen = {text: f for text, f in self._seen.items() if f.unsaid or now - f.said < 10.0}
