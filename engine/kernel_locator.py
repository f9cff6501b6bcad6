"""Tells numba's cache that a kernel is stale when anything it imports has changed; see engine.kernel_cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from engine import kernel_cache  # before numba

# isort: split
from numba.core.caching import UserProvidedCacheLocator

KEEP_S = 7 * 24 * 3600  # how long a version of a source file keeps its kernels after it was last used

_made: set[str] = set()  # asked for once a kernel, which was a tenth of a second of every start


class Locator(UserProvidedCacheLocator):  # type: ignore[misc]
    """numba's locator for NUMBA_CACHE_DIR, with our stamp.

    Every version of a file has a folder of its own: numba unpickles an index before it looks at the stamp, and an
    index that names a class which a later version has lost ends in an AttributeError (seen).
    """

    def get_source_stamp(self) -> str:
        """What a cached kernel must have been compiled from."""
        return kernel_cache.stamp(Path(self._py_file))

    def get_cache_path(self) -> str:
        """A folder for this version of this file."""
        return str(Path(self._cache_path, f"{Path(self._py_file).stem}-{self.get_source_stamp()[:12]}"))

    def ensure_cache_path(self) -> None:
        """Make it, mark it as used, and forget old versions; not recent ones, which another process may be using."""
        path = Path(self.get_cache_path())
        if str(path) in _made and path.is_dir():
            return
        _made.add(str(path))
        if kernel_cache.SPARE is not None and not path.exists():
            _copy(kernel_cache.SPARE / path.relative_to(kernel_cache.FOLDER), path)
        super().ensure_cache_path()
        for old in Path(self._cache_path).glob(f"{Path(self._py_file).stem}-{'?' * 12}"):
            with contextlib.suppress(OSError):
                if old == path:
                    os.utime(path)  # serving a kernel leaves the folder's own time alone
                elif time.time() - old.stat().st_mtime > KEEP_S:
                    shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Kernels that can be read but not added to; if they cannot even be read, none."""
    with contextlib.suppress(OSError, shutil.Error):
        shutil.copytree(source, target)
        kernel_cache.copied += sum(1 for _ in target.glob("*.nbc"))
