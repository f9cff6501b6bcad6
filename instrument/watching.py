"""Files that somebody edits while they are played: told once they have changed and have come to rest.

One thread of the caller's; it looks a few times a second, which works on network drives too, and with editors that
write a new file and rename it, or write twice. What is in the files is left to whoever asked.
"""

from __future__ import annotations

from pathlib import Path

from instrument import saved

EVERY = 8  # looks after which a file is read although its date is as it was: some drives' clocks are coarse
MOST = 1 << 20  # bytes that are looked at: the reader says what is too long

State = tuple[int, int, int]


class Watched:
    """One file, from now on, or from when it held what ``digest`` is of."""

    def __init__(self, path: Path, digest: str = "") -> None:
        self.path = path
        self._state = _state(path)
        self._digest = digest or saved.digest(_read(path) or b"")
        self._moving, self._looks = bool(digest), 0

    def look(self) -> bytes | None:
        """What is in it, if that is new; None while it is as it was, is being written, or is not there."""
        state, self._looks = _state(self.path), self._looks + 1
        if state != self._state:
            self._state, self._moving = state, True
            return None  # it has to stay so until the next look
        if state is None or not (self._moving or self._looks % EVERY == 0):
            return None
        data = _read(self.path)
        if data is None or _state(self.path) != state:
            return None
        self._moving = False
        if (found := saved.digest(data)) == self._digest:
            return None
        self._digest = found
        return data


def _state(path: Path) -> State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MOST)
    except OSError:
        return None
