"""Tells numba's cache that a kernel is stale when anything it imports has changed; see engine.kernel_cache."""

from __future__ import annotations

from pathlib import Path

from engine import kernel_cache  # before numba

# isort: split
from numba.core.caching import UserProvidedCacheLocator


class Locator(UserProvidedCacheLocator):  # type: ignore[misc]
    """numba's locator for NUMBA_CACHE_DIR, with our stamp."""

    def get_source_stamp(self) -> str:
        """What a cached kernel must have been compiled from."""
        return kernel_cache.stamp(Path(self._py_file))
