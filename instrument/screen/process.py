"""The terminal screen seen from the player: a process of its own, fed through a pipe that nobody waits for.

One thread of the player's, ours, sends pictures and takes key gestures; the main thread starts and finishes it. The
other process imports the library that draws, which takes 0.4 s, and draws with an interpreter of its own: drawing here
kept gestures waiting (docs/decisions.md). When it falls behind, pictures are left out; when it ends, whatever ended it,
the terminal is put right and one line says so. What is on the screen is left to ``picture`` and ``app``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from instrument import console
from instrument.interrupts import uninterrupted

RATE = 15.0  # pictures a second
PATIENCE = 1.0  # seconds the other process may take to put the terminal right
SMALLEST = (40, 12)
# alternate screen, bracketed paste, focus reports, keys' protocol off; wrapping and the cursor on; colours as they were
RESET = b"\x1b[<u\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[?1049l\x1b[?7h\x1b[?25h\x1b[0m"

Picture = Callable[[], Mapping[str, Any]]


def impossible() -> str:
    """Why there can be no full screen here; nothing if there can."""
    if sys.platform == "win32":
        return "not on Windows"
    if not console.is_terminal() or not os.isatty(0):
        return "this is no terminal that could be drawn on"
    if os.tcgetpgrp(0) != os.getpgrp():
        return "it plays in the background"
    size = os.get_terminal_size(console.STDOUT)
    if size.columns < SMALLEST[0] or size.lines < SMALLEST[1]:
        return f"the terminal has {size.columns} x {size.lines} characters; {SMALLEST[0]} x {SMALLEST[1]} needed"
    return ""


class Screen:
    """The other process, and the thread that talks to it.

    Args:
        picture: makes the next picture; must not block. ``news`` in it is what was said since the last one.
        act: takes a gesture; must not raise.
        gone: called once if the screen ends before it is told to, with a line that says why; from our thread.
        command: what to run instead, for tests.
    """

    def __init__(
        self,
        picture: Picture,
        act: Callable[[Mapping[str, Any]], None],
        gone: Callable[[str], None],
        command: list[str] | None = None,
    ) -> None:
        self._picture, self._act, self._gone = picture, act, gone
        self._command = command or [sys.executable, "-m", "instrument.screen.child"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._unsent = self._unread = b""
        self._attributes: list[Any] | None = None
        self._words = ""  # what the other process said about its end
        self.sent = self.left_out = 0

    @property
    def pid(self) -> int | None:
        """Of the other process; None before it is there."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Begin. Returns at once; whatever goes wrong is told to ``gone``."""
        with uninterrupted():  # the terminal's signals are the player's: a child inherits that they wait
            self._thread.start()

    def finish(self) -> None:
        """End the other process and put the terminal right. Safe to call again, and before ``start``."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(3 * PATIENCE)

    # --- the thread

    def _run(self) -> None:
        why = "could not be started"
        try:
            self._open()
            why = self._talk()
        except Exception as error:  # the music goes on
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        with contextlib.suppress(Exception):
            self._close()
        if not self._stop.is_set():
            self._gone(f"the screen ended ({self._words or why}): the set plays on, with a plain line")

    def _open(self) -> None:
        self._attributes = _attributes()
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()
        os.set_blocking(self._to, False)
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            self._process = subprocess.Popen(
                [*self._command, str(reads), str(writes)],
                stdin=0,
                stdout=console.STDOUT,
                stderr=console.STDOUT,  # where the library draws; the player's may be a file
                pass_fds=(reads, writes),
                env={**os.environ, "PYTHONPATH": path},
            )
        finally:
            os.close(reads)
            os.close(writes)

    def _talk(self) -> str:
        """Until one side ends it. Returns why the other did."""
        due = time.monotonic()
        while not self._stop.is_set():
            wait = max(0.0, due - time.monotonic())
            ready, _, _ = select.select([self._from], [], [], min(wait, 0.1))
            if ready and not self._hear(os.read(self._from, 65536)):
                return self._ended()
            if time.monotonic() >= due:
                due = max(due + 1.0 / RATE, time.monotonic())
                self._send()
        return ""

    def _send(self) -> None:
        """The next picture, or the rest of the last; what finds no room waits or is left out."""
        if not self._unsent:
            picture = self._picture()
            self._unsent = json.dumps(picture, separators=(",", ":")).encode() + b"\n"
            self.sent += 1
        else:
            self.left_out += 1
        try:
            self._unsent = self._unsent[os.write(self._to, self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent = b""  # its end is about to be read

    def _hear(self, data: bytes) -> bool:
        """Gestures that arrived; False at the end."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                gesture = json.loads(line)
                if isinstance(gesture, dict):
                    self._words = str(gesture.get("fault") or self._words)
                    self._act(gesture) if "do" in gesture else None
        return bool(data)

    def _ended(self) -> str:
        """Wait for what has closed its pipe, and say how it ended."""
        assert self._process is not None
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "it does not answer"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _close(self) -> None:
        """No more pictures is how the other process is told to end; one that does not is ended."""
        if self._process is None:
            return
        os.close(self._to)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
        finally:
            os.close(self._from)
            if self._process.returncode != 0:
                self._put_right()

    def _put_right(self) -> None:
        """What a process that was killed left of the terminal."""
        console.restore(RESET)
        if self._attributes is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._attributes)


def _attributes() -> list[Any] | None:
    """The terminal's modes, None where there are none."""
    try:
        import termios

        return termios.tcgetattr(0)
    except Exception:
        return None
