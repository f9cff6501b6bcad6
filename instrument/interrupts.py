"""Ctrl-C, SIGTERM and SIGHUP while a set is built and played. Main thread.

Once a set has begun, signals reach Python only while the main thread waits for them, and no thread started meanwhile
is ever interrupted: a second SIGTERM in the middle of a call to JACK ended the process in a failed assertion (seen).
What ends the set, and how, is left to the session.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """No signal for this thread, nor ever for the threads that a library starts here."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, leaving())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leaving() -> tuple[int, ...]:
    """The signals that end a set here: no SIGHUP under ``nohup``, nor on Windows, which has none."""
    ours = (signal.SIGINT, signal.SIGTERM)
    hangup: int = getattr(signal, "SIGHUP", signal.SIGINT)
    ignored = hangup == signal.SIGINT or signal.getsignal(hangup) == signal.SIG_IGN
    return ours if ignored else (*ours, hangup)


class Interrupts:
    """Signals that end a set: until :meth:`hold` they end what is being done, then they only wake the main thread."""

    def __init__(self) -> None:
        self.signal = 0
        self._holding = False
        self._wake, self._awake = socket.socketpair()
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """0, or 128 and the signal's number."""
        return 128 + self.signal if self.signal else 0

    def hold(self) -> None:
        """From now on nothing is interrupted."""
        self._holding = True
        self._block("SIG_BLOCK")

    def wait(self, seconds: float) -> bool:
        """Wait for the first signal; whether there has been one. Later ones change nothing."""
        if not self.signal:
            self._block("SIG_UNBLOCK")
            select.select([self._awake], [], [], seconds)
            self._block("SIG_BLOCK")
        return self.signal != 0

    def _block(self, how: str) -> None:
        if self._before and hasattr(signal, "pthread_sigmask"):  # Windows has none
            signal.pthread_sigmask(getattr(signal, how), self._before)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if not self._holding:
            raise Interrupted(number)
        if not self.signal:
            self.signal = number
            with contextlib.suppress(OSError):
                self._wake.send(b"x")

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._caught) for n in leaving()}
        return self

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> bool:
        self._block("SIG_UNBLOCK")  # later signals arrive now, and change nothing
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wake.close()
        self._awake.close()
        if isinstance(error, Interrupted):
            self.signal = error.number
            return True
        return False


class Interrupted(BaseException):
    """A signal while the set was still being built."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
