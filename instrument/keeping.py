"""Recordings and logs are not to be lost: an earlier one is renamed, one that is being written is nobody else's.

Main thread and the recorder's; looks at files, writes nothing into them. Where files cannot be locked (Windows) two
sets that are given one name are on their own.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def set_aside(path: Path) -> Path | None:
    """Rename what bears the name of a recording to come: x.wav to x.old.wav, x.old-2.wav ... Returns its new name.

    None where there is nothing worth keeping. Raises ValueError when it is still being written, or cannot be renamed.
    """
    check_free(path)
    try:
        if not path.is_file() or not path.stat().st_size:
            return None
        names = (path.with_stem(f"{path.stem}.old{f'-{i}' * (i > 1)}") for i in range(1, 1 << 20))
        return path.rename(next(name for name in names if not name.exists()))
    except OSError as error:
        raise ValueError(f"{path}: is there already and cannot be renamed: {error.strerror}") from None


def check_free(path: Path) -> None:
    """Raise ValueError when ``path`` is still being written."""
    if path.is_file():
        Claim(path).close()


class Claim:
    """A file being written, as long as this is open; made if it is not there. Raises ValueError: somebody else's."""

    def __init__(self, path: Path) -> None:
        self._file = -1
        if sys.platform == "win32":
            return
        import fcntl

        with contextlib.suppress(OSError):  # then it is not to be claimed, and will fail in ways of its own
            self._file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise ValueError(f"{path}: another set is writing it; another name expected") from None

    def close(self) -> None:
        """Let go of it. Safe to call again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
