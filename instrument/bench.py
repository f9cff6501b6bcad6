"""``samplernn bench``: how fast and how steadily networks play on this machine, and against what the seeds had.

Main thread. What is measured lies in ``bench_subjects``, how in ``bench_measure``, the table in ``bench_table``; here
is the order of it all. Only what is compared is in memory at once, and takes turns.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engine import seeded
from engine.training import recipes
from instrument import bench_subjects, bench_table, compiling
from instrument.audio import cores
from instrument.bench_measure import Hops, Speed, measure, steadiness
from instrument.bench_subjects import NETWORK, Subject

FORMAT = 1  # of the JSON line
SECTIONS = ("bank", "sizes", "voices", "recipes", "steadiness")
DIMS = (256, 384, 512, 768, 1024)
VOICES = (1, 2, 4, 8, 16)
PEER_DIM = 256  # of the one ratio that has its own field
PRUNED = {512: (0.2, 0.3, 1.0), 768: (0.1, 0.1, 1.0), 1024: (0.1, 0.08, 0.5)}  # what plays in time at such a dim
_STEADY = 3.0  # times as long: one hop in a thousand shall be more than one


@dataclass(frozen=True)
class Asked:
    """What to measure.

    Attributes:
        seconds: of measuring for each figure; steadiness takes three times as long.
        dims: of the networks of random weights.
        voices: how many at once.
        threads: by how many the sizes' int8 networks and eight voices are made; by one alone in any case.
        only: sections.
    """

    seconds: float = 1.0
    dims: tuple[int, ...] = DIMS
    voices: tuple[int, ...] = VOICES
    threads: tuple[int, ...] = field(default_factory=lambda: (1, 2)[: cores.core_count()])
    only: tuple[str, ...] = SECTIONS


@dataclass(frozen=True)
class Result:
    """Everything that was found. ``note``: why something is missing, or empty."""

    asked: Asked
    machine: dict[str, Any]
    speeds: list[Speed] = field(default_factory=list)
    hops: list[Hops] = field(default_factory=list)
    note: str = ""

    @property
    def int8_to_peer(self) -> float | None:
        """How many times the samples of samplernn-pytorch's step dense int8 makes at dim 256."""
        wanted = (f"seeded-{PEER_DIM}", NETWORK, "dense", "int8", 1, "sizes")
        found = {(s.name, s.kind, s.weights, s.precision, s.threads, s.section): s.to_peer for s in self.speeds}
        return found.get(wanted)

    def to_json(self) -> dict[str, Any]:
        """As the JSON line has it (docs/bench.md)."""
        return {"format": FORMAT, "int8_to_peer": self.int8_to_peer, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """What :meth:`to_json` gave."""
        told: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data["asked"].items()}
        speeds = [Speed(**each) for each in data["speeds"]]
        tuples = ("wall_us", "thread_us")
        hops = [Hops(**{**each, **{key: tuple(each[key]) for key in tuples}}) for each in data["hops"]]
        return cls(Asked(**told), data["machine"], speeds, hops, data["note"])


def run(asked: Asked, as_json: bool, say: Callable[[str], None]) -> None:
    """Measure, and say it as a table that grows or as one line of JSON."""
    if as_json:
        say(json.dumps(collect(asked, lambda _line: None).to_json()))
    else:
        collect(asked, say)


def collect(asked: Asked, say: Callable[[str], None]) -> Result:
    """Measure everything asked for, saying each line of the table as soon as it is known."""
    with compiling.shown(say):
        _warm()
    peers, missing = _peers()
    note = "; ".join(filter(None, (missing, _one_core())))
    result = Result(asked, machine(), note=note)
    for section in SECTIONS:
        if section in asked.only:
            for line in bench_table.head(section):
                say(line)
            for make in groups(section, asked, peers):
                for line in _group(section, make, asked.seconds, result):
                    say(line)
                gc.collect()  # torch's modules hold each other
    if note:
        say(note)
    return result


def _group(section: str, make: Callable[[], list[Subject]], seconds: float, result: Result) -> list[str]:
    """Measure what ``make`` makes, and forget it: one such network may be hundreds of megabytes."""
    subjects = make()
    if section == "steadiness":
        hops = [steadiness(subject, _STEADY * seconds) for subject in subjects]
        result.hops.extend(hops)
        return [bench_table.row(each) for each in hops]
    speeds = measure(subjects, seconds, section)
    result.speeds.extend(speeds)
    return [bench_table.row(each) for each in speeds]


def groups(section: str, asked: Asked, peers: bool) -> Iterator[Callable[[], list[Subject]]]:
    """What makes the subjects that are measured side by side, group by group."""
    pruned = [(dim, PRUNED[dim]) for dim in asked.dims if dim in PRUNED]
    if section == "bank":
        yield bench_subjects.shipped
    elif section == "sizes":
        for dim in asked.dims:
            yield partial(_size, dim, asked.threads, peers)
    elif section == "voices":
        for dim, left in [*((dim, seeded.DENSE) for dim in asked.dims), *pruned]:
            yield partial(bench_subjects.choirs, dim, asked.voices, left, asked.threads)
    elif section == "recipes":
        for name in recipes.names():
            yield partial(bench_subjects.recipe, name)
    else:
        for dim, left in [(min(asked.dims), seeded.DENSE), *pruned]:
            yield partial(bench_subjects.choirs, dim, (1,), left)


def _size(dim: int, threads: tuple[int, ...], peers: bool) -> list[Subject]:
    return [*bench_subjects.size(dim, threads), *(bench_subjects.loops(dim) if peers else [])]


def _peers() -> tuple[bool, str]:
    """Whether samplernn-pytorch's step can be run here, or why not."""
    try:
        import engine.training.peer  # noqa: F401
    except (ImportError, OSError):  # OSError: a library of torch's own that the loader does not find
        return False, "no comparison with samplernn-pytorch: torch cannot be imported (the extra 'train')"
    return True, ""


def _one_core() -> str:
    return "" if cores.core_count() > 1 else "no figures of several threads: there is one core here"


def _warm() -> None:
    """Compile every kernel there is: one serves all networks."""
    for subject in bench_subjects.crew(bench_subjects.poster(16), (2,)):
        with subject.around():
            subject.make(subject.hop)


def machine() -> dict[str, Any]:
    """What the figures are measured on, and how busy it was before."""
    import platform

    from instrument.bank import kernel_variant, versions

    return {
        "platform": platform.platform(), "cpu": cpu_name(), "cores": os.cpu_count(), "kernels": kernel_variant(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None, "versions": versions(),
    }  # fmt: skip


def cpu_name() -> str:
    """The processor's name as the system tells it, else the architecture."""
    import platform

    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
