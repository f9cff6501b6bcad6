"""What the render thread is given is what the report says."""

import os
import subprocess
import sys
import threading

import pytest

from instrument.audio import priority

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="priority is only known on Linux")


def on_thread(function):
    """The result of a function called on a thread of its own, so that this one keeps its priority."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


@linux
def test_says_what_the_thread_got(monkeypatch):
    monkeypatch.setattr(priority, "lock_memory", lambda: False)

    def probe():
        line = priority.raise_priority()
        return line, os.sched_getscheduler(0) & 0xFF, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    line, policy, nice = on_thread(probe)
    assert line.endswith("memory not locked")
    assert line.startswith("FIFO") == (policy == os.SCHED_FIFO)
    assert line.startswith("nice") == (nice == priority.NICE)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def refuse(*_):
    raise PermissionError(1, "Operation not permitted")


def fail(command, **_):
    raise subprocess.CalledProcessError(1, command)


@linux
@pytest.mark.parametrize(
    ("cores", "refused", "expected"),
    [
        (2, (), "FIFO 2"),
        (2, ("sched_setscheduler",), "nice -15"),
        (1, (), "nice -15"),
        (2, ("sched_setscheduler", "setpriority"), "nice -15 by rtkit"),
        (1, ("setpriority",), "nice -15 by rtkit"),
        (1, ("setpriority", "run"), "FIFO 2"),
        (2, ("sched_setscheduler", "setpriority", "run"), "not raised (no permission for FIFO or nice, no rtkit)"),
    ],
)
def test_order_of_attempts(monkeypatch, cores, refused, expected):
    monkeypatch.setattr(priority.os, "sched_getaffinity", lambda _: set(range(cores)))
    for name in ("sched_setscheduler", "setpriority"):
        monkeypatch.setattr(priority.os, name, refuse if name in refused else lambda *_: None)
    monkeypatch.setattr(priority.subprocess, "run", fail if "run" in refused else lambda *_, **__: None)
    monkeypatch.setattr(priority, "lock_memory", lambda: True)
    assert priority.raise_priority() == f"{expected}, memory locked"


def test_other_systems_say_so(monkeypatch):
    monkeypatch.setattr(priority, "LINUX", False)
    monkeypatch.setattr(priority.sys, "platform", "darwin")
    assert priority.raise_thread(1) == "as its driver has it"
    assert priority.raise_priority() == "not raised (not tried on darwin)"


@linux
def test_a_callback_thread_is_raised_once(monkeypatch):
    """The second time it finds what the first one gave; what a driver set stays as it is."""
    seen, done = threading.Event(), threading.Event()
    ids = []

    def wait():
        ids.append(threading.get_native_id())
        seen.set()
        done.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    assert seen.wait(10)
    try:
        first = priority.raise_thread(ids[0])
        policy = os.sched_getscheduler(ids[0]) & 0xFF
        assert first.startswith("FIFO") == (policy == os.SCHED_FIFO)
        if not first.startswith("not raised"):
            assert priority.raise_thread(ids[0]) == "as its driver has it"
    finally:
        done.set()
        thread.join()
    assert priority.raise_thread(2**22 + 1) == "as its driver has it"


@linux
def test_locked_memory_is_locked():
    """In a child: locking lasts for the life of a process."""
    script = (
        "from instrument.audio.priority import lock_memory\n"
        "got = lock_memory()\n"
        "held = next(l for l in open('/proc/self/status') if l.startswith('VmLck'))\n"
        "assert got == (int(held.split()[1]) > 0), held\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
