"""Ask the system to favour the audio path's threads, and say what it gave.

Runs on the render thread and the null clock's once, just before they enter their kernels (`raise_priority`); a device's
callback thread is raised from outside, by the supervisor (`raise_thread`). On one shared core with a 512-frame ring:
25-39 underruns in 6 s without priority, none with nice -15 or FIFO. Undoing is the thread's end. Only Linux is known
here; elsewhere nothing is raised and the report says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

FIFO = 2  # below every audio server's and driver's thread, above all ordinary work
NICE = -15
WAKING = "/dev/cpu_dma_latency"
WAKE_US = 20  # microseconds a processor may take to wake: what its lightest sleeps need
LINUX = sys.platform.startswith("linux")
RTKIT = ("org.freedesktop.RealtimeKit1", "/org/freedesktop/RealtimeKit1", "org.freedesktop.RealtimeKit1")

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # sys/mman.h


def raise_priority(above: int = 0) -> str:
    """Raise the calling thread's priority and lock its memory, as far as allowed. Returns one line for the report.

    `above`: FIFO steps above the render loop, for a thread that reads what the loop writes.
    """
    if not LINUX:
        return f"not raised (not tried on {sys.platform})"
    line = _raise(threading.get_native_id(), FIFO + above)
    return f"{line}, memory {'locked' if lock_memory() else 'not locked'}"


def raise_thread(thread: int) -> str:
    """Raise a device's callback thread, by the system's id, above the render loop, unless its driver has seen to it.

    PortAudio asks for nothing under ALSA, nor does a JACK server without real-time: its thread was then late 37 times
    in 10 s on two busy cores, and never again at FIFO. Returns what the thread has, in one line.
    """
    if not LINUX:
        return "as its driver has it"
    try:
        as_made = (
            os.sched_getscheduler(thread) & 0xFF == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, thread) >= 0
        )
    except OSError:
        as_made = False  # gone again
    return _raise(thread, FIFO + 1) if as_made else "as its driver has it"


def _raise(thread: int, priority: int) -> str:
    # FIFO on an only core would starve the thread that hears Ctrl-C whenever a network is too slow: nice goes first.
    tries = (_fifo, _nice, _rtkit) if len(os.sched_getaffinity(0)) > 1 else (_nice, _rtkit, _fifo)
    for attempt in tries:
        try:
            return attempt(thread, priority)
        except (OSError, subprocess.SubprocessError):
            continue
    return "not raised (no permission for FIFO or nice, no rtkit)"


def _fifo(thread: int, priority: int) -> str:
    policy = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)
    os.sched_setscheduler(thread, policy, os.sched_param(priority))
    return f"FIFO {priority}"


def _nice(thread: int, _: int) -> str:
    os.setpriority(os.PRIO_PROCESS, thread, NICE)
    return f"nice {NICE}"


def _rtkit(thread: int, _: int) -> str:
    """Have rtkit raise it, which most Linux desktops run for users without permissions of their own.

    Its nice, not its FIFO: that comes with a limit that kills the process once a network is too slow for 200 ms.
    """
    target = [str(os.getpid()), str(thread), str(NICE)]
    command = ["busctl", "--system", "--timeout=1", "--", "call", *RTKIT, "MakeThreadHighPriorityWithPID", "tti"]
    subprocess.run([*command, *target], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=2)
    return f"nice {NICE} by rtkit"


@contextlib.contextmanager
def kept_awake() -> Iterator[bool]:
    """Keep the processors out of sleeps that take long to wake from, as far as allowed; whether they are.

    The kernel's promise holds while its file is open (Documentation/power/pm_qos_interface). On a machine of its own
    shallow sleeps stay allowed, for the fans' sake. A virtual one must not sleep at all: a processor that does is given
    to somebody else, and comes back late (docs/decisions.md has the counts).
    """
    with contextlib.ExitStack() as held:
        try:
            promise = os.open(WAKING, os.O_WRONLY)
            held.callback(os.close, promise)
            os.write(promise, (0 if _is_virtual() else WAKE_US).to_bytes(4, sys.byteorder))
        except OSError:
            held.close()
            promise = -1
        yield promise >= 0


def _is_virtual() -> bool:
    """By the flag that x86 has, or the device tree of an Arm guest."""
    try:
        known = " hypervisor" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        known = False
    return known or Path("/proc/device-tree/hypervisor").exists()


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
