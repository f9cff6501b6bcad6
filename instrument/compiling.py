"""Kernels being compiled, shown: the first start of a version on a machine takes a while and should say why.

Any command that loads kernels wraps that in :func:`shown`, on the main thread; a thread of our own counts files
meanwhile. When a kernel is stale is left to ``engine.kernel_cache``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from instrument import console


@contextlib.contextmanager
def shown(say: Callable[[str], None]) -> Iterator[None]:
    """Say so while kernels are being compiled: once for each version of the program on each machine."""
    from engine import kernel_cache

    if kernel_cache.UNKEPT:
        say(f"kernels cannot be kept in {kernel_cache.UNKEPT}; what is missing there is compiled at every start")
    folder, done = kernel_cache.FOLDER, threading.Event()
    args = (folder, _kernels(folder), say, done)
    watcher = threading.Thread(target=_watch, args=args, name="compiling", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join(1.0)


def _watch(folder: Path, before: int, say: Callable[[str], None], done: threading.Event) -> None:
    from engine import kernel_cache

    begun, told = time.monotonic(), False
    what = "compiling kernels" if kernel_cache.UNKEPT else "compiling kernels, once"
    while not done.wait(0.25):
        made = _kernels(folder) - before - kernel_cache.copied
        if made > 0 and not told:
            told = True
            say(f"{what}: about a minute ...")
        if told and console.is_terminal():
            console.draw(f"{what}: {made} so far, {time.monotonic() - begun:.0f} s")
    if told:
        say(f"{what}: done in {time.monotonic() - begun:.0f} s")


def _kernels(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.glob("**/*.nbc"))
    except OSError:  # a folder that went while it was looked at
        return 0
