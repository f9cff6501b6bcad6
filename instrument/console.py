"""Words to the terminal that can never hold up or end the playing.

Any thread may speak. While a set plays, a pipe nobody reads, a full disk or a closed terminal must not block a
thread or raise: a line that cannot be written at once is dropped. Commands that only print use ``print`` and end with
:func:`flush_or_forget`. What the lines say is left to the callers.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import threading

STDOUT, STDERR = 1, 2
_MAX_LINE = 1000  # bytes; a pipe that polls writable takes at least PIPE_BUF (512 or more) without blocking
_lock = threading.RLock()
_status_drawn = False
_own: dict[int, tuple[tuple[int, int, int], int]] = {}  # stream -> (which terminal it is, our descriptor of that)


def occupy_standard_streams() -> None:
    """Give a closed stdin, stdout or stderr to the null device, so that no file we open becomes stdout by accident.

    Python has None for a stream that was closed, which not all of its own library expects.
    """
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != stream:  # lower numbers are taken by now, so this only happens where dup semantics differ
                os.dup2(opened, stream)
                os.close(opened)
    if sys.stdout is None:
        sys.stdout = os.fdopen(STDOUT, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(STDERR, "w", closefd=False)


def say(text: str) -> None:
    """One line on stdout, or nothing if it cannot be written at once."""
    _write(STDOUT, text + "\n")


def complain(text: str) -> None:
    """One line on stderr, or nothing if it cannot be written at once."""
    _write(STDERR, text + "\n")


def printable(text: str) -> str:
    """``text`` without what would move a cursor, change a colour or end the line: files may hold anything."""
    return "".join(each if each.isprintable() else " " for each in text)


def draw(text: str) -> None:
    """Redraw the status line (a terminal's stdout only)."""
    global _status_drawn
    with _lock:
        _put(STDOUT, f"\r\x1b[2K{printable(text)}".encode(errors="replace"))
        _status_drawn = True


def wipe() -> None:
    """Take the status line away."""
    global _status_drawn
    with _lock:
        if _status_drawn:
            _put(STDOUT, b"\r\x1b[2K")
            _status_drawn = False


def restore(sequence: bytes) -> None:
    """Undo what another process left of the terminal (stdout), or nothing if it cannot be written at once."""
    with _lock:
        _put(STDOUT, sequence)


def hung_up() -> bool:
    """Whether stdout was a terminal that has been closed."""
    if sys.platform == "win32":
        return False
    poll = select.poll()
    try:
        poll.register(STDOUT, select.POLLOUT)
        return any(events & select.POLLHUP for _, events in poll.poll(0)) and not _is_pipe(STDOUT)
    except OSError:
        return False


def _is_pipe(stream: int) -> bool:
    mode = os.fstat(stream).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def is_terminal() -> bool:
    """True when stdout is a terminal that can redraw a line."""
    try:
        return os.isatty(STDOUT) and os.environ.get("TERM", "") != "dumb"
    except OSError:
        return False


def flush_or_forget() -> str:
    """Flush what ``print`` left behind; if it cannot be written, let go of it so that leaving does not raise.

    Returns why stdout could not be written, unless its reader has only had enough.
    """
    why = ""
    for number, stream in ((STDOUT, sys.stdout), (STDERR, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as fault:
            if number == STDOUT and isinstance(fault, OSError) and not isinstance(fault, BrokenPipeError):
                why = fault.strerror or "cannot be written"
            with contextlib.suppress(OSError):
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, number)
                os.close(devnull)
    return why


def _write(stream: int, text: str) -> None:
    with _lock:
        wipe()
        _put(stream, printable(text.rstrip()).encode(errors="replace")[:_MAX_LINE] + b"\n")


def _put(stream: int, data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        if _writable(stream):
            os.write(_unblocked(stream), data)


def _unblocked(stream: int) -> int:
    """What to write to: of a terminal a descriptor of our own that never blocks.

    A terminal that polls writable may have less room than a line needs. Its own descriptor is shared with the shell and
    others, who would find it non-blocking, too.
    """
    if sys.platform == "win32" or not os.isatty(stream):
        return stream
    found = os.fstat(stream)
    which = found.st_dev, found.st_ino, found.st_rdev
    known, opened = _own.get(stream, ((), -1))
    if known != which:
        if opened >= 0:
            os.close(opened)
        _own.pop(stream, None)
        try:
            opened = os.open(os.ttyname(stream), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:  # another user's terminal, or one that has no name here
            return stream
        _own[stream] = which, opened
    return opened


def _writable(stream: int) -> bool:
    if sys.platform == "win32":
        return True  # a console or a file; pipes cannot be polled there
    poll = select.poll()
    poll.register(stream, select.POLLOUT)
    return any(events & select.POLLOUT and not events & select.POLLERR for _, events in poll.poll(0))
