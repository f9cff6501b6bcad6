"""Threads that help the render thread with its networks' products (``engine.cpu.team``).

Each is pinned to a processor of its own, which the render thread keeps off, raised like it, and runs one compiled
kernel without the interpreter's lock. A helper watches for work for a moment and then sleeps in small naps, so that it
costs next to nothing while the ring is full. One that the system puts aside costs the player its slices, not the
sound: then the set goes on with one thread, with the same samples.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from engine.cpu.memory import load_acquire
from engine.cpu.team import STOP, Team, assist
from instrument.audio.cores import helpers_cores, kept_off
from instrument.audio.memory import usleep

WATCH, NAP_US = 3000, 40  # turns of waiting (about 40 ns) after some work; sleep between two looks
BEGUN_S = 3.0  # that a helper may take to be there, its priority asked of another program


class Helpers:
    """A team, and its threads but the player's.

    Args:
        threads: in all, the player's included; 1 is nobody.
        raised: runs first on each thread (priority).
    """

    def __init__(self, threads: int, raised: Callable[[], object] | None = None) -> None:
        self.threads, self._raised = threads, raised
        self._team = Team() if threads > 1 else None
        self._over, self._there = threading.Event(), threading.Semaphore(0)
        self._cores = helpers_cores(threads)
        self._threads = [threading.Thread(target=self._run, args=(k,), name=f"helper-{k}") for k in range(threads - 1)]
        self._watcher = threading.Thread(target=self._watch, name="helpers-watch")
        stand_by(0, 0, 0)  # compiled before anybody waits for it

    @property
    def address(self) -> int:
        """What a slot takes to be helped; 0 if there is nobody."""
        return self._team.address if self._team else 0

    @property
    def helped(self) -> int:
        """Slices of products that helpers made."""
        return self._team.helped if self._team else 0

    @property
    def lost(self) -> int:
        """How often what a helper had begun was made by the player instead."""
        return self._team.lost if self._team else 0

    def start(self) -> None:
        """Let them stand by, and wait until they do: what is measured then is measured with them."""
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            self._there.acquire(timeout=BEGUN_S)
        if self._threads:
            self._watcher.start()

    def working_on(self, context: int) -> bool:
        """Whether a helper may still read that network's memory, which nobody plays any more."""
        alive = any(thread.is_alive() for thread in self._threads)
        return self._team is not None and alive and self._team.working_on(context)

    def make_room(self) -> None:
        """On the player's thread: keep off the helpers' processors."""
        kept_off(self._cores)

    @contextlib.contextmanager
    def played(self) -> Iterator[None]:
        """The calling thread plays for a while, and keeps off the helpers' processors."""
        before = kept_off(self._cores)
        try:
            yield
        finally:
            if before:
                os.sched_setaffinity(0, before)

    def stop(self) -> None:
        """Whatever they do, they end soon. Any thread."""
        self._over.set()
        if self._team:
            self._team.stop()

    def close(self) -> None:
        """Stop, and wait for their end."""
        self.stop()
        for thread in (*self._threads, self._watcher):
            if thread.ident is not None:
                thread.join()

    def _watch(self) -> None:
        """End them if the main thread has gone without closing us: a thread in a kernel would keep the process."""
        while not self._over.wait(0.25):
            if not threading.main_thread().is_alive():
                self.stop()

    def _run(self, k: int) -> None:
        with contextlib.suppress(Exception):  # a favour, as on the player's thread
            if self._raised:
                self._raised()
            if self._cores:
                os.sched_setaffinity(0, {self._cores[k]})
        self._there.release()
        stand_by(self.address, k, NAP_US)


@njit(cache=True, nogil=True, error_model="numpy")
def stand_by(team: int, helper: int, nap: int) -> None:
    """Assist until the team stops; ``team`` 0 is nobody."""
    if team == 0:
        return
    watch = WATCH
    while load_acquire(team + STOP * 8) == 0:
        if assist(team, helper, watch) > 0:
            watch = WATCH
        else:
            watch = 1
            usleep(nap)
