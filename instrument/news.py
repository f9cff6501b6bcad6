"""The lines said during a set: to the terminal as they come, and remembered for the screen that is drawn over it.

Any thread may speak; nothing here waits. While the screen has the terminal, lines for it are kept, and said when it is
gone; what goes to a file goes there at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from instrument import console

MOST = 200  # lines that wait for the terminal, or for the screen


@dataclass(frozen=True)
class Line:
    """What was said, when (seconds of time.monotonic), and whether it is about a fault."""

    moment: float
    loud: bool
    text: str


class News:
    """What was said.

    Args:
        say, complain: to the terminal.
    """

    def __init__(self, say: Callable[[str], None] = console.say, complain: Callable[[str], None] | None = None) -> None:
        self._ways = {False: (console.STDOUT, say), True: (console.STDERR, complain or console.complain)}
        self._fresh: deque[Line] = deque(maxlen=MOST)
        self._kept: deque[Line] = deque(maxlen=MOST)
        self._held = False
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """One line of news."""
        self._tell(Line(time.monotonic(), False, text))

    def complain(self, text: str) -> None:
        """One line about a fault."""
        self._tell(Line(time.monotonic(), True, text))

    def take(self) -> list[Line]:
        """What was said since the last time; for the screen."""
        with self._lock:
            lines = list(self._fresh)
            self._fresh.clear()
        return lines

    def hold(self) -> None:
        """From now on the terminal is the screen's."""
        with self._lock:
            self._held = True

    def release(self) -> None:
        """It is not any more: what was kept is said."""
        with self._lock:
            self._held, kept = False, list(self._kept)
            self._kept.clear()
        for line in kept:
            self._ways[line.loud][1](line.text)

    def _tell(self, line: Line) -> None:
        stream, way = self._ways[line.loud]
        with self._lock:
            self._fresh.append(line)
            kept = self._held and _is_terminal(stream)
            if kept:
                self._kept.append(line)
        if not kept:
            way(line.text)


def _is_terminal(stream: int) -> bool:
    try:
        return os.isatty(stream)
    except OSError:
        return False
