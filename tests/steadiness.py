"""A set played in real time while Python is kept busy, and its figures as a line of JSON. A script for child processes.

    python tests/steadiness.py --output null --seconds 600
    python tests/steadiness.py --output system --seconds 60 --hog      (under a JACK server, see jackserver.py)

With --checkpoint it plays that network, else a small random one. It prints "playing" when the set is under way, so that
a test may take the device away meanwhile. A probe of its own, of the highest priority there is, tells how often and how
long the machine itself stood still: a virtual one whose host is busy does.
"""

from __future__ import annotations

import argparse
import gc
import json
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
from instrument.audio.priority import raise_priority
from instrument.audio.recorder import Recorder
from instrument.controls import Command, Op, load_acquire

STALL = 3_000_000  # ns; at L = 20 ms some 8 ms are to spare under a server of 256 frames


def hog(stop: threading.Event) -> None:
    """Keep the interpreter busy: sorts that hold it for tens of milliseconds, and collections of garbage."""
    rng = random.Random(1)
    numbers = [rng.random() for _ in range(200_000)]
    while not stop.is_set():
        rng.shuffle(numbers)
        sorted(numbers)
        gc.collect()


@njit(nogil=True, error_model="numpy")
def probe(words: NDArray[np.int64]) -> None:
    """Sleep for 1 ms, again and again until words[0]; words[1] counts delays of over STALL, [2] is the longest."""
    while load_acquire(words, 0) == 0:
        begun = monotonic_ns()
        usleep(1000)
        late = monotonic_ns() - begun - 1_000_000
        words[1] += late > STALL
        words[2] = max(words[2], late)


class Probe:
    """The probe on its thread, while a set plays."""

    def __init__(self) -> None:
        self._words = np.ones(3, np.int64)
        probe(self._words)  # compiled now
        self._words[:] = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        raise_priority(above=40)
        probe(self._words)

    def finish(self) -> dict[str, Any]:
        """What it has seen."""
        self._words[0] = 1
        self._thread.join()
        return {"stalls": int(self._words[1]), "stall_ms": int(self._words[2]) / 1e6}


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
    stop, stalls = threading.Event(), Probe()
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
    return performance.report() | rest | stalls.finish()


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
    parser.add_argument("--block", type=int, default=outputs.BLOCK)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--hog", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(play(arguments())))
