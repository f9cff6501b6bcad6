"""Learned lines on their way into the file: one after the other, on a thread of their own.

Reading and composing a patch takes a twentieth of a second and a disk as long as it likes, while notes are being
played. What is written, and what is said about it, is left to whoever hands it over.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

MOST = 1000  # that may wait: far more than anybody learns while a disk hangs
PATIENCE = 2.0  # seconds that the last ones are waited for at the end


class Saving:
    """Does what it is given, in order. The thread begins with the first, and is a daemon."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(MOST)
        self._thread: threading.Thread | None = None

    def put(self, act: Callable[[], None]) -> None:
        """Do that behind what waits; it must not raise. One thread at a time."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(act)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="midi-save", daemon=True)
            self._thread.start()

    def finish(self, seconds: float = PATIENCE) -> None:
        """Wait until all is done that was put, for so long at most. Safe to call again."""
        done = threading.Event()
        if self._thread is not None:
            self.put(done.set)
            done.wait(seconds)

    def _run(self) -> None:
        while True:
            self._queue.get()()
