"""Which contents of patch files are our own doing: what a learned mapping was saved as is no news to whoever watches.

Any thread. Whoever writes a patch while it plays notes the bytes first; :mod:`instrument.watching` asks.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

_lock = threading.Lock()
_ours: dict[Path, str] = {}


def digest(data: bytes) -> str:
    """What tells contents apart."""
    return hashlib.sha256(data).hexdigest()


def note(path: Path, data: bytes) -> None:
    """``path`` is about to hold ``data``, which is in effect already."""
    with _lock:
        _ours[path.resolve()] = digest(data)


def is_ours(path: Path, data: bytes) -> bool:
    """Whether ``path`` was last written by us, with just that; what somebody else wrote makes it theirs for good."""
    path = path.resolve()
    with _lock:
        if _ours.get(path) != digest(data):
            _ours.pop(path, None)
        return path in _ours
