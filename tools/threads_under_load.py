"""What a second thread gains while other programs want the processors: one network with and without it, in turns.

    python tools/threads_under_load.py CHECKPOINT ... [--others 1 2 4] [--raised]

Others are programs that compute without end: ``spread`` leaves them to the system, ``same`` holds them to the
helper's processor, ``sessions`` gives each a session of its own, between which Linux shares processors as between
programs. ``--raised`` asks for the priority that a set asks for.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import engine  # noqa: E402
from engine.cpu.packing import TEAM  # noqa: E402
from instrument.audio.cores import helpers_cores  # noqa: E402
from instrument.audio.helpers import Helpers  # noqa: E402
from instrument.audio.priority import raise_priority  # noqa: E402

PLACES = ("spread", "same", "sessions")
TURNS, SAMPLES = 11, 4800


@dataclass(frozen=True)
class Found:
    """us a sample of each turn, alone and with a helper; what helpers made and lost."""

    alone: list[float]
    helped: list[float]
    slices: int
    lost: int

    def __str__(self) -> str:
        one, two = median(self.alone), median(self.helped)
        gains = sum(self.alone) / sum(self.helped), one / two
        return f"{one:6.1f} {two:6.1f}   {gains[0]:.2f} {gains[1]:.2f}   {self.slices} {self.lost}"


def compute(place: str) -> None:
    """Never ends."""
    if place == "same" and helpers_cores(2):
        os.sched_setaffinity(0, set(helpers_cores(2)))
    if place == "sessions":
        os.setsid()
    x = 1
    while True:
        x = x * 3 % 1000003


@contextlib.contextmanager
def others(count: int, place: str) -> Iterator[None]:
    """So many other programs, for a while."""
    context = multiprocessing.get_context("spawn")
    programs = [context.Process(target=compute, args=(place,), daemon=True) for _ in range(count)]
    for program in programs:
        program.start()
    time.sleep(1.0 if programs else 0.0)  # they have begun
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.join()


def measure(path: Path, raised: bool) -> Found:
    """Interleaved turns of one network, on a thread that is raised or not."""
    generator = engine.make_generator(engine.load(path), "cpu", "int8", seed=1)
    found: list[Found] = []

    def play() -> None:
        if raised:
            raise_priority()
        helpers = Helpers(2, raise_priority if raised else None)
        helpers.start()
        words, times = generator._packed.words, ([], [])
        with helpers.played():
            for turn in range(2 * TURNS + 2):  # the first two wake whatever sleeps
                words[TEAM] = helpers.address if turn % 2 else 0
                begin = time.perf_counter()
                generator.generate(SAMPLES, 1.0)
                times[turn % 2].append((time.perf_counter() - begin) / SAMPLES * 1e6)
        words[TEAM] = 0
        helpers.close()
        found.append(Found(times[0][1:], times[1][1:], helpers.helped, helpers.lost))

    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    return found[0]


def main() -> None:
    """Print a line for each network, place and number of other programs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--others", type=int, nargs="*", default=[1, 2, 4], metavar="N")
    parser.add_argument("--raised", action="store_true")
    args = parser.parse_args()
    print("                        us a sample     gain of       slices")
    print("                         one    two  means medians  made lost")
    for path in args.checkpoints:
        print(f"{path.stem}\n  nothing else         {measure(path, args.raised)}")
        for place in PLACES:
            for count in args.others:
                with others(count, place):
                    print(f"  {count} others, {place:9}  {measure(path, args.raised)}", flush=True)


if __name__ == "__main__":
    main()
