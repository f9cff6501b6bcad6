"""A set played in real time while Python is kept busy, and its figures as a line of JSON. A script for child processes.

    python tests/steadiness.py --output null --seconds 600
    python tests/steadiness.py --output system --seconds 60 --hog      (under a JACK server, see jackserver.py)

With --checkpoint it plays that network, else a small random one. It prints "playing" when the set is under way, so that
a test may take the device away meanwhile. Threads of its own, above all others, tell how often and how long the machine
itself stood still (a virtual one whose host is busy does), and which underruns and xruns came without that: `own_...`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.checkpoint import load
from instrument import bank
from instrument.audio import outputs
from instrument.audio.memory import monotonic_ns, usleep
from instrument.audio.performance import Performance, overhead
from instrument.audio.priority import kept_awake, raise_priority
from instrument.audio.recorder import Recorder
from instrument.controls import Command, Op
from instrument.shared import W_UNDERRUNS, W_XRUNS, load_acquire

COUNTERS = {"underruns": W_UNDERRUNS, "xruns": W_XRUNS}
STALL = 4_000_000  # ns; at L = 20 ms some 8 ms are to spare under a server of 256 frames, whose period is 5.8 ms
MEMORY = 30_000_000  # ns for which a stall can still be the cause
ROWS = 1 << 16


def hog(stop: threading.Event) -> None:
    """Keep the interpreter busy: sorts that hold it for tens of milliseconds, and collections of garbage."""
    rng = random.Random(1)
    numbers = [rng.random() for _ in range(200_000)]
    while not stop.is_set():
        rng.shuffle(numbers)
        sorted(numbers)
        gc.collect()


@njit(nogil=True, error_model="numpy")
def probe(stop: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
    """Sleep for 1 ms, again and again until stop[0].

    Rows (n, 2), n in rows[0, 0]: when a sleep that was STALL too long ended, and by how much.
    """
    while load_acquire(stop, 0) == 0:
        begun = monotonic_ns()
        usleep(1000)
        late = monotonic_ns() - begun - 1_000_000
        if late > STALL and rows[0, 0] < ROWS - 1:
            rows[0, 0] += 1
            rows[rows[0, 0]] = begun + late, late


@njit(nogil=True, error_model="numpy")
def watch(stop: NDArray[np.int64], rows: NDArray[np.int64], words: NDArray[np.int64], counter: int) -> None:
    """Rows like the probe's: when the counter was seen to rise, and by how much."""
    seen: int = load_acquire(words, counter)
    while load_acquire(stop, 0) == 0:
        usleep(1000)
        now: int = load_acquire(words, counter)
        if now > seen and rows[0, 0] < ROWS - 1:
            rows[0, 0] += 1
            rows[rows[0, 0]] = monotonic_ns(), now - seen
        seen = now


class Stalls:
    """Threads above all others, one pinned to each processor, that see the machine stand still.

    An underrun or an xrun during such a stall, or within MEMORY after it, is the machine's: nothing of ours can hold
    those threads up.
    """

    def __init__(self) -> None:
        self._stop = np.ones(1, np.int64)
        self._threads: list[threading.Thread] = []
        self._seen = [self._run(probe, cpu) for cpu in sorted(os.sched_getaffinity(0))]

    def start(self) -> None:
        """Begin to look."""
        self._stop[:] = 0
        for thread in self._threads:
            thread.start()

    def _run(self, work: Any, cpu: int | None, *more: Any) -> NDArray[np.int64]:
        rows = np.zeros((ROWS, 2), np.int64)
        work(self._stop, rows, *more)  # compiled now

        def run() -> None:
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            raise_priority(above=40)
            work(self._stop, rows, *more)

        self._threads.append(threading.Thread(target=run, daemon=True))
        return rows

    def end(self) -> NDArray[np.int64]:
        """Rows (end, length) of the stalls, nanoseconds of time.monotonic."""
        self._stop[0] = 1
        for thread in self._threads:
            thread.join()
        return np.concatenate([rows[1 : 1 + rows[0, 0]] for rows in self._seen])


def excused(moments: NDArray[np.int64], stalls: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which moments, in nanoseconds, the machine's stalls explain."""
    since = moments[:, None] - stalls[:, 0]  # one processor may stand still while the other counts what it misses
    found: NDArray[np.bool_] = ((since > -stalls[:, 1] - STALL) & (since < MEMORY)).any(axis=1)
    return found


class Witness(Stalls):
    """The same, and when each of the set's counters rose."""

    def __init__(self, words: NDArray[np.int64]) -> None:
        super().__init__()
        self._faults = {name: self._run(watch, None, words, at) for name, at in COUNTERS.items()}
        self.start()

    def finish(self) -> dict[str, Any]:
        """What they have seen: stalls, the longest, and how many faults of each kind came without one."""
        stalls = self.end()
        report: dict[str, Any] = {"stalls": len(stalls), "stall_ms": float(stalls[:, 1].max(initial=0)) / 1e6}
        for name, rows in self._faults.items():
            faults = rows[1 : 1 + rows[0, 0]]
            report[f"own_{name}"] = int(faults[~excused(faults[:, 0], stalls), 1].sum())
        return report


def play(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play, and return the report with what was said and how much was recorded."""
    said: list[str] = []
    output = outputs.choose(arguments.output, arguments.block, said.append, arguments.seconds)
    rate = output.rate or 44100
    slots = bank.make_slots([_checkpoint(arguments.checkpoint)], ["network"], "cpu", arguments.precision, 1)
    ring = round(arguments.latency * rate / 1000) - arguments.block - overhead(slots, rate)
    files = [*output.files, *([arguments.record] if arguments.record else [])]
    set_up = {"sample_rate": rate, "ring_frames": ring, "block": arguments.block, "tap": bool(files)}
    performance = Performance(slots, seed=7, **set_up)
    recorder = Recorder(files, rate, performance.link.tap, said.append)
    priority: list[str] = []
    performance.start(lambda: priority.append(raise_priority()))
    recorder.start()
    stop, witness = threading.Event(), Witness(performance.link.shared.words)
    try:
        while not performance.prefill_done():
            time.sleep(0.001)
        output.start(performance.link, rate)
        print("playing", flush=True)
        if arguments.hog:
            threading.Thread(target=hog, args=(stop,), daemon=True).start()
        wait_until(performance, round(arguments.seconds * rate) - performance.closing)
    finally:
        stop.set()
        performance.close()
        output.stop()
        recorder.finish(performance.report()["samples"])
    rest = {"said": said, "priority": priority, "recorded": recorder.frames}
    return performance.report() | rest | witness.finish()


def wait_until(performance: Performance, sample: int) -> None:
    """Tell the set to end at a session sample, and wait for it."""
    performance.link.push(Command(sample, Op.STOP))
    deadline = time.monotonic() + 60 + 2 * sample / performance.sample_rate
    while not performance.wait(0.05):
        assert time.monotonic() < deadline, "the set does not end: nobody reads the ring"


def _checkpoint(path: Path | None) -> Any:
    if path is not None:
        return load(path)
    from networks import network

    return network("mu-law")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="null")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--latency", type=float, default=20.0, help="L in milliseconds")
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--hog", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    with kept_awake():
        print(json.dumps(play(arguments())))
