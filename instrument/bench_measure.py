"""How fast things make samples, and how steadily: medians of turns taken in rotation, and every hop of a long run.

What one thread makes is measured in that thread's own processor time, so that other programs cost it their share of the
caches, not of the core; what several make, by the wall clock. How they compare is told by the wall clock of both. Main
thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from instrument.bench_subjects import NETWORK, PEER, PRODUCTS, Subject

TURNS = 9
_LONG_ENOUGH = 0.02  # seconds from which a turn's samples can be counted on


@dataclass(frozen=True)
class Speed:
    """The median of a subject's turns, and how it compares.

    Attributes:
        section: of the table.
        name, kind, weights, precision, voices, threads: of the Subject.
        clock: ``thread``, processor time of the one thread; ``wall`` of several.
        samples_per_s: of each voice.
        us: microseconds for one sample of all voices.
        realtime: seconds of sound in a second.
        slowest, fastest: quartiles of samples_per_s.
        us_by_wall: ``us`` by the wall clock.
        to_products: times the time of the network's own matrix products alone; None where they were not measured.
        to_one: times the time of one voice of it.
        to_one_thread: times the samples that one thread makes, by the wall clock; None for one thread.
        to_peer: times the samples of samplernn-pytorch's step at that size, one thread each.
    """

    section: str
    name: str
    kind: str
    weights: str
    precision: str
    voices: int
    threads: int
    clock: str
    samples_per_s: float
    us: float
    realtime: float
    slowest: float
    fastest: float
    us_by_wall: float
    to_products: float | None = None
    to_one: float | None = None
    to_one_thread: float | None = None
    to_peer: float | None = None


@dataclass(frozen=True)
class Hops:
    """How steadily one voice is made, hop by hop, as the audio path asks for it.

    Attributes:
        samples: of one hop.
        hops: that were timed.
        wall_us, thread_us: p50, p99, p99.9 and the longest, by the wall clock and in the thread's own processor time:
            what the wall has beyond that, other programs and the host have taken.
        faults: minor page faults meanwhile; None where the system does not count them for one thread.
    """

    name: str
    weights: str
    precision: str
    threads: int
    samples: int
    hops: int
    wall_us: tuple[float, float, float, float]
    thread_us: tuple[float, float, float, float]
    faults: int | None


def measure(subjects: Sequence[Subject], seconds: float, section: str = "") -> list[Speed]:
    """Every subject ``TURNS`` turns in rotation, each as long as makes ``seconds`` together, or one hop."""
    counts = [_samples_in(subject, seconds / TURNS) for subject in subjects]
    times: list[list[tuple[float, float]]] = [[] for _ in subjects]
    for _ in range(TURNS):
        for subject, count, taken in zip(subjects, counts, times, strict=True):
            taken.append(_time(subject, count))
    speeds = [_speed(section, *row) for row in zip(subjects, counts, times, strict=True)]
    return [_compared(speed, speeds) for speed in speeds]


def _samples_in(subject: Subject, seconds: float) -> int:
    """How many samples take about ``seconds``, in whole hops: what is due once a hop is in each turn alike."""
    n = subject.hop
    subject.make(n)
    while (took := _time(subject, n)[0]) < min(_LONG_ENOUGH, seconds):
        n *= 4
    return subject.hop * max(1, int(n * seconds / took) // subject.hop)


def _time(subject: Subject, count: int) -> tuple[float, float]:
    """Seconds that so many samples take: by the clock of so many threads, and by the wall."""
    now = _clock(subject.threads)[1]
    with subject.around():
        wall, start = _wall(), now()
        subject.make(count)
        return now() - start, _wall() - wall


_wall = time.perf_counter


def _clock(threads: int) -> tuple[str, Callable[[], float]]:
    """The processor time of one thread counts what it alone did; by the wall clock where that is too coarse."""
    if threads > 1 or sys.platform == "win32":
        return "wall", _wall
    return "thread", time.thread_time


def _speed(section: str, subject: Subject, count: int, times: list[tuple[float, float]]) -> Speed:
    s, rates = subject, statistics.quantiles([count / own for own, _ in times], n=4)
    wall = 1e6 / count * statistics.median(wall for _, wall in times)
    shape = (s.name, s.kind, s.weights, s.precision, s.voices, s.threads, _clock(s.threads)[0])
    return Speed(section, *shape, rates[1], 1e6 / rates[1], rates[1] / s.rate, rates[0], rates[2], wall)


def _compared(speed: Speed, others: Sequence[Speed]) -> Speed:
    """``speed`` beside its products, one voice, one thread and samplernn-pytorch, where they were measured with it."""
    if speed.kind != NETWORK:
        return speed
    same = (speed.name, speed.weights, speed.precision)
    own = [o for o in others if (o.name, o.weights, o.precision) == same and o.threads == 1]
    if speed.threads > 1:
        alone = [o.us_by_wall / speed.us_by_wall for o in own if (o.kind, o.voices) == (NETWORK, speed.voices)]
        return replace(speed, to_one_thread=_first(alone))
    products = [speed.us / other.us for other in own if other.kind == PRODUCTS]
    one = [speed.us / other.us for other in own if other.kind == NETWORK and other.voices == 1 < speed.voices]
    peer = [other.us / speed.us for other in others if (other.name, other.kind) == (speed.name, PEER)]
    return replace(speed, to_products=_first(products), to_one=_first(one), to_peer=_first(peer))


def _first(ratios: list[float]) -> float | None:
    return ratios[0] if ratios else None


def steadiness(subject: Subject, seconds: float) -> Hops:
    """Every hop of a run of about ``seconds``, made by one thread."""
    assert subject.threads == 1
    one = statistics.median(_time(subject, subject.hop)[0] for _ in range(50))
    n = max(50, round(seconds / max(one, 1e-6)))
    wall, own = np.zeros(n), np.zeros(n)  # written to once, so that the loop brings no page in
    wall.fill(0.0)
    own.fill(0.0)
    before = _faults()
    for i in range(n):
        start, spent = time.perf_counter(), time.thread_time()
        subject.make(subject.hop)
        own[i] = time.thread_time() - spent
        wall[i] = time.perf_counter() - start
    after = _faults()
    faults = after - before if after is not None and before is not None else None
    s = subject
    return Hops(s.name, s.weights, s.precision, s.threads, s.hop, n, _tail(wall), _tail(own), faults)


def _tail(times: NDArray[np.float64]) -> tuple[float, float, float, float]:
    p50, p99, p999, longest = (float(t) for t in 1e6 * np.percentile(times, (50, 99, 99.9, 100)))
    return p50, p99, p999, longest


def _faults() -> int | None:
    """Minor page faults of this thread so far, where the system counts them."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    except (ImportError, AttributeError):  # Windows; macOS
        return None
