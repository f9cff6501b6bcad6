"""Ctrl-C, SIGTERM and SIGHUP while a set is built and played; Ctrl-Z, which it does not heed. Main thread.

Once a set has begun, signals reach the main thread only while it waits for them, and no thread started meanwhile is
ever interrupted: a second SIGTERM in the middle of a call to JACK ended the process in a failed assertion (seen).
What ends the set, and how, is left to the session.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

AGAIN_S = 0.02


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


def staying() -> tuple[int, ...]:
    """The signals that would put a set to sleep here: Ctrl-Z, and the terminal's when it is another's turn."""
    names = ("SIGTSTP", "SIGTTIN", "SIGTTOU")
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def leaving() -> tuple[int, ...]:
    """The signals that end a set here: no SIGHUP under ``nohup``, nor on Windows, which has none."""
    ours = (signal.SIGINT, signal.SIGTERM)
    hangup: int = getattr(signal, "SIGHUP", signal.SIGINT)
    ignored = hangup == signal.SIGINT or signal.getsignal(hangup) == signal.SIG_IGN
    return ours if ignored else (*ours, hangup)


class Interrupts:
    """Signals that end a set: from :meth:`arm` on the first one ends what is being done, after :meth:`hold` they only
    wake the main thread.

    Args:
        outlives: whether a hangup is to be outlived, when one has come: the terminal was closed, the set is not.
    """

    def __init__(self, outlives: Callable[[], bool] = lambda: False) -> None:
        self.signal, self._outlives = 0, outlives
        self._armed = self._began = False
        self._wake, self._awake = socket.socketpair()
        self._before: dict[int, Any] = {}
        self._asleep: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """0, or 128 and the signal's number."""
        return 128 + self.signal if self.signal else 0

    def arm(self) -> None:
        """From now on the first signal raises Interrupted, in the main thread; so does one that has come already."""
        self._armed = True
        if self.signal:
            self._armed = False
            raise Interrupted(self.signal)

    def hold(self) -> None:
        """From now on nothing is interrupted."""
        self._armed, self._began = False, self._began or not self.signal
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
        if self._began and number == getattr(signal, "SIGHUP", None) and self._outlives():
            return
        if not self.signal:
            self.signal = number
            with contextlib.suppress(OSError):
                self._wake.send(b"x")
        if self._armed:
            raise Interrupted(number)

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._caught) for n in leaving()}
            self._asleep = {n: signal.signal(n, signal.SIG_IGN) for n in staying()}
        return self

    @property
    def _cut_short(self) -> bool:
        """Whether a signal came before there was a set to be ended in order."""
        return self.signal != 0 and not self._began

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> bool:
        self._block("SIG_UNBLOCK")  # later signals arrive now, and change nothing
        for number, handler in [*self._before.items(), *self._asleep.items()]:
            signal.signal(number, handler)
        self._wake.close()
        self._awake.close()
        # whatever was being built may fail in ways of its own when it is interrupted
        return isinstance(error, Interrupted) or (self._cut_short and isinstance(error, Exception))


class Interrupted(BaseException):
    """A signal while the set was still being built, or before; its number is the argument."""


class Resending:
    """Signals that are lost where Python drops exceptions come again: in a C library's callback (LLVM's, as kernels
    load), in a destructor. Without this one start in twenty that was interrupted then went on, after a traceback.
    """

    def __init__(self) -> None:
        self.lost = 0  # the last one's number

    def __enter__(self) -> Resending:
        self._before, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._before

    def _dropped(self, what: Any) -> None:
        if isinstance(what.exc_value, KeyboardInterrupt):
            self._again(signal.SIGINT)
        elif isinstance(what.exc_value, Interrupted):
            self._again(what.exc_value.args[0])
        elif not self.lost:  # what follows from one that was lost is no news
            self._before(what)

    def _again(self, number: int) -> None:
        self.lost = number
        timer = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()
