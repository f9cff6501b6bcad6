"""A set on a real pseudo-terminal, for tests of what is drawn on it and of what may happen to it."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent


class Terminal:
    """``samplernn play`` in the foreground of a terminal of its own, as from a shell."""

    def __init__(self, folder: Path, *arguments: str, size: tuple[int, int] = (24, 80), **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "instrument.start", "play", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_in_front,
        )
        self._theirs = theirs  # kept open, so that its modes can be looked at when nobody else has it

    def modes(self) -> list[object]:
        """The terminal's modes now."""
        return termios.tcgetattr(self._theirs)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def read(self, seconds: float = 0.05) -> None:
        """Take what has been drawn."""
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if ready:
            with contextlib.suppress(OSError):
                self.seen += os.read(self._ours, 1 << 16)

    def until(self, true: Callable[[], bool], seconds: float = 280.0) -> None:
        """Read on until it is so."""
        limit = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < limit, self.seen[-3000:].decode(errors="replace")
            self.read()

    def has(self, words: str) -> bool:
        """Whether that was drawn."""
        return words.encode() in self.seen

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self._theirs)
        os.close(self._ours)

    def end(self) -> int:
        """Read to the end; the exit code."""
        self.until(lambda: self.process.poll() is not None)
        self.read()
        self.hang_up()
        return self.process.returncode

    def screen(self) -> int | None:
        """The process that draws."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return int(found.stdout.split()[0]) if found.stdout.split() else None


def _in_front() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
