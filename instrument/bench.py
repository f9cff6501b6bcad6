"""``samplernn bench``: how fast networks play on one core of this machine, and against what the seeds had.

Main thread; everything measured runs on it alone and is measured in its own processor time, so that other programs cost
it their share of the caches, not of the core. Every figure is the median of turns taken in rotation, so that a noisy
moment hits all alike. The comparison with samplernn-pytorch's generation step needs torch (the extra ``train``) and is
left out, saying so, without it: this module holds no tensors, the peer lives in ``engine.training.peer``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.checkpoint import Checkpoint, load, tensor_shapes
from engine.config import ModelConfig
from instrument import compiling, places

PRECISIONS = ("int8", "fp32")
PEER_CONFIG = ModelConfig(dim=256)  # the poster's architecture, (8, 16), at the size the comparison is asked for
TURNS = 9


@dataclass(frozen=True)
class Subject:
    """Something that makes samples: ``make(n)`` makes ``n`` of them; ``rate`` is the Hz at which they would sound."""

    name: str
    precision: str
    rate: int
    make: Callable[[int], object]


@dataclass(frozen=True)
class Speed:
    """The median of a subject's turns; ``slowest`` and ``fastest`` are the quartiles. Samples a second."""

    name: str
    precision: str
    samples_per_s: float
    realtime: float
    slowest: float
    fastest: float


def run(as_json: bool, seconds: float, say: Callable[[str], None]) -> None:
    """Measure everything for about ``seconds`` each, and say it as a table or as one line of JSON."""
    tell = (lambda _line: None) if as_json else say
    with compiling.shown(tell):
        own = [*shipped_subjects(), *seeded_subjects()]
    peers, why_not = peer_subjects()
    speeds = measure([*own, *peers], seconds)
    ratio = _ratio(speeds) if peers else None
    if as_json:
        say(json.dumps({"speeds": [asdict(s) for s in speeds], "int8_to_peer": ratio, "machine": machine()}))
        return
    for line in table(speeds):
        say(line)
    say(why_not or f"seeded-256 int8 makes {ratio:.0f} times the samples of samplernn-pytorch's step, one stream each")


def shipped_checkpoints() -> list[Path]:
    """The files of the bank that came with the program, or none."""
    return sorted(places.find("checkpoints").glob("*.safetensors"))


def shipped_subjects(precisions: Iterable[str] = PRECISIONS) -> list[Subject]:
    """Every shipped checkpoint at every precision."""
    loaded = [load(path) for path in shipped_checkpoints()]
    return [own_subject(checkpoint, precision) for checkpoint in loaded for precision in precisions]


def seeded_subjects() -> list[Subject]:
    """Random weights of dim 256: something to measure with an empty bank, the comparison's own, and their roof."""
    checkpoint = seeded_network(PEER_CONFIG, f"seeded-{PEER_CONFIG.dim}")
    return [*(own_subject(checkpoint, precision) for precision in PRECISIONS), roof_subject(checkpoint)]


def own_subject(checkpoint: Checkpoint, precision: str) -> Subject:
    """One voice of ``checkpoint``, its kernels compiled."""
    from engine.generator import make_generator

    generator = make_generator(checkpoint, precision=precision)
    generator.generate(64)
    return Subject(checkpoint.name, precision, checkpoint.config.sample_rate, generator.generate)


def roof_subject(checkpoint: Checkpoint) -> Subject:
    """The matrix products of ``checkpoint`` alone: what its whole step cannot beat."""
    from engine.cpu import roof
    from engine.generator import make_generator

    generator: Any = make_generator(checkpoint, precision="int8")
    roof.matvecs(generator.context, checkpoint.config.hop)
    rate = checkpoint.config.sample_rate
    return Subject(f"{checkpoint.name} products", "int8", rate, lambda n: roof.matvecs(generator.context, n))


def seeded_network(config: ModelConfig, name: str, seed: int = 0) -> Checkpoint:
    """Random weights that keep every unit busy; speed does not depend on what they are."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for tensor, shape in tensor_shapes(config, weight_norm=False).items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 16
        tensors[tensor] = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
    return Checkpoint(config, tensors, name=name)


def peer_subjects() -> tuple[list[Subject], str]:
    """samplernn-pytorch's generation step and a leaner loop; or none, and why."""
    try:
        from engine.training import peer
    except (ImportError, OSError):  # OSError: a library of torch's own that the loader does not find
        return [], "no comparison with samplernn-pytorch: torch cannot be imported (the extra 'train')"
    loops = peer.loops(PEER_CONFIG.dim)
    return [Subject(name, "fp32", PEER_CONFIG.sample_rate, make) for name, make in loops.items()], ""


def measure(subjects: list[Subject], seconds: float) -> list[Speed]:
    """Every subject ``TURNS`` turns in rotation, each as long as makes ``seconds`` together."""
    counts = [_samples_in(subject, seconds / TURNS) for subject in subjects]
    times: list[list[float]] = [[] for _ in subjects]
    for _ in range(TURNS):
        for subject, count, taken in zip(subjects, counts, times, strict=True):
            taken.append(_time(subject, count))
    return [_speed(*row) for row in zip(subjects, counts, times, strict=True)]


def _samples_in(subject: Subject, seconds: float) -> int:
    """How many samples take about ``seconds``; the slow ones get less to do, not less than a few frames."""
    n, took = 64, 0.0
    while (took := _time(subject, n)) < min(0.02, seconds):
        n *= 4
    return max(64, int(n * seconds / took))


def _time(subject: Subject, count: int) -> float:
    start = _now()
    subject.make(count)
    return _now() - start


def _now() -> float:
    """Seconds this thread has had of one core; by the wall clock where that is too coarse."""
    return time.perf_counter() if sys.platform == "win32" else time.thread_time()


def _speed(subject: Subject, count: int, times: list[float]) -> Speed:
    low, middle, high = statistics.quantiles([count / t for t in times], n=4)
    return Speed(subject.name, subject.precision, middle, middle / subject.rate, low, high)


def _ratio(speeds: list[Speed]) -> float:
    found = {(speed.name, speed.precision): speed.samples_per_s for speed in speeds}
    return found[f"seeded-{PEER_CONFIG.dim}", "int8"] / found["samplernn-pytorch", "fp32"]


def table(speeds: list[Speed]) -> list[str]:
    """Lines for people; quartiles show how noisy the machine was."""
    width = max(len(speed.name) for speed in speeds)
    lines = [f"{'':{width}}  precision  samples/s  x real time  (quartiles)"]
    for s in speeds:
        spread = f"({s.slowest:.0f} .. {s.fastest:.0f})"
        lines.append(f"{s.name:{width}}  {s.precision:9}  {s.samples_per_s:9.0f}  {s.realtime:11.2f}  {spread}")
    return lines


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import platform

    return {"platform": platform.platform(), "cpu": cpu_name(), "cores": os.cpu_count()}


def cpu_name() -> str:
    """The processor's name as the system tells it, else the architecture."""
    import platform

    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
