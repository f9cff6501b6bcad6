"""Ask the system to favour the render thread, and say what it gave.

Runs on the render thread, once, just before it enters its kernel (`raise_priority`). On one shared core with a
512-frame ring: 25-39 underruns in 6 s without priority, none with nice -15 or FIFO. Undoing is the thread's end.
Only Linux is known here; elsewhere nothing is raised and the report says so.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading

FIFO = 2  # below every audio server's and driver's thread, above all ordinary work
NICE = -15
RTKIT = ("org.freedesktop.RealtimeKit1", "/org/freedesktop/RealtimeKit1", "org.freedesktop.RealtimeKit1")

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # sys/mman.h


def raise_priority(above: int = 0) -> str:
    """Raise the calling thread's priority and lock its memory, as far as allowed. Returns one line for the report.

    `above`: FIFO steps above the render loop, for a thread that reads what the loop writes.
    """
    if not sys.platform.startswith("linux"):
        return f"not raised (not tried on {sys.platform})"
    return f"{_raise_linux(FIFO + above)}, memory {'locked' if lock_memory() else 'not locked'}"


def _raise_linux(priority: int) -> str:
    # FIFO on an only core would starve the thread that hears Ctrl-C whenever a network is too slow: nice goes first.
    tries = (_fifo, _nice, _rtkit) if len(os.sched_getaffinity(0)) > 1 else (_nice, _rtkit, _fifo)
    for attempt in tries:
        try:
            return attempt(priority)
        except (OSError, subprocess.SubprocessError):
            continue
    return "not raised (no permission for FIFO or nice, no rtkit)"


def _fifo(priority: int) -> str:
    policy = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)
    os.sched_setscheduler(0, policy, os.sched_param(priority))  # 0 is the calling thread, not the process
    return f"FIFO {priority}"


def _nice(_: int) -> str:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    return f"nice {NICE}"


def _rtkit(_: int) -> str:
    """Have rtkit raise it, which most Linux desktops run for users without permissions of their own.

    Its nice, not its FIFO: that comes with a limit that kills the process once a network is too slow for 200 ms.
    """
    thread = [str(os.getpid()), str(threading.get_native_id()), str(NICE)]
    command = ["busctl", "--system", "--timeout=1", "--", "call", *RTKIT, "MakeThreadHighPriorityWithPID", "tti"]
    subprocess.run([*command, *thread], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=2)
    return f"nice {NICE} by rtkit"


def lock_memory() -> bool:
    """Keep what is in memory, and all that comes, out of the swap. False where it is not allowed."""
    try:
        lock = ctypes.CDLL(None, use_errno=True).mlockall
    except (OSError, AttributeError):
        return False
    # "On fault": a stack's or a library's untouched pages are not brought in only to be locked.
    flags = MCL_CURRENT | MCL_ONFAULT
    if _unlimited():
        flags |= MCL_FUTURE  # under a limit every later allocation past it would fail
    return bool(lock(flags) == 0)


def _unlimited() -> bool:
    """Whether the process may lock any amount: no limit, or the capability (root's) to ignore it."""
    import resource

    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY or os.geteuid() == 0
