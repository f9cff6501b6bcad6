"""Which processors the audio path's threads run on, and how many threads a set should have. Control threads.

Linux alone tells and takes processors here; elsewhere helpers are not pinned.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

TRIED = 4  # threads that are tried where nobody says how many
ENOUGH = 0.5  # of the time there is: networks that take less are left to one thread, and the other cores to others
GAIN = 1.15  # what one thread more must gain to be worth a core

_TOPOLOGY = Path("/sys/devices/system/cpu")


def processors() -> list[int]:
    """Those that this process may use, one of each core; [] if the system does not tell.

    The last ones come first: systems like to do their own work on the first.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    mine = sorted(os.sched_getaffinity(0), reverse=True)
    return sorted({_core_of(cpu): cpu for cpu in mine}.values(), reverse=True)


def _core_of(cpu: int) -> str:
    """Equal for processors that share one core."""
    try:
        return (_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="utf-8").strip()
    except OSError:
        return str(cpu)


def core_count() -> int:
    """Cores that this process may use."""
    return len(processors()) or os.cpu_count() or 1


def helpers_cores(threads: int) -> list[int]:
    """A processor for each thread but the player's, which is left the first; [] if there are not enough to choose."""
    found = processors()
    return found[: threads - 1] if len(found) >= threads else []


def kept_off(cpus: list[int]) -> set[int]:
    """Keep the calling thread off the cores of these processors; returns what it was on, empty if nothing changed."""
    if not cpus:
        return set()
    before: set[int] = os.sched_getaffinity(0)
    taken = {_core_of(cpu) for cpu in cpus}
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {cpu for cpu in before if _core_of(cpu) not in taken})
        return before
    return set()


def choose(budget: float, alone: float, cost_with: Callable[[int], float], available: int) -> int:
    """How many threads: as few as will do.

    Args:
        budget: us there are for a sample, of which one thread takes ``alone``.
        cost_with: measures what so many threads take.
        available: cores.
    """
    best, threads = alone, 1
    while best > ENOUGH * budget and threads < min(available, TRIED):
        cost = cost_with(threads + 1)
        if cost * GAIN > best:
            break
        best, threads = cost, threads + 1
    return threads
