"""``samplernn doctor`` and ``samplernn devices``: what this machine offers a live set, and what it lacks.

Main thread, nothing playing. Every check is a line and none of them raises: a machine that lacks something is what
this is for. It compiles what is to be measured, as any start would, and really asks for the priority, on a
thread that ends at once; nothing else is changed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "numba", "sounddevice", "soundfile", "soxr", "python-osc", "mido", "python-rtmidi")
_MEASURE_S = 0.5


def device_lines() -> list[str]:
    """Sound outputs (the default starred) and MIDI inputs, as ``--output`` and ``--midi`` take them."""
    return ["sound outputs", *_indented(_outputs()), "MIDI inputs", *_indented(_midi_inputs())]


def examine() -> Iterator[str]:
    """One line a finding; the slow ones come last."""
    for title, look in CHECKS:
        try:
            found = look()
        except Exception as error:
            found = [f"could not look: {type(error).__name__}: {' '.join(str(error).split())}"]
        yield from (f"{title if i == 0 else '':<11} {line}" for i, line in enumerate(found))
    yield from _speeds()


def _program() -> list[str]:
    try:
        own = version("samplernn-live")
    except PackageNotFoundError:
        own = "not installed, run from its sources"
    return [f"samplernn-live {own}, Python {platform.python_version()} ({sys.executable})"]


def _platform() -> list[str]:
    from instrument.bench import cpu_name

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [platform.platform(), f"{cpu_name()}, {cores} cores to use"]


def _kernels() -> list[str]:
    from engine import kernel_cache
    from engine.cpu.tiles import variant

    folder = kernel_cache.SPARE or kernel_cache.FOLDER
    state = f"{len(list(folder.glob('**/*.nbc')))} kernels"
    if kernel_cache.UNKEPT:
        state += f"; no more can be kept ({kernel_cache.UNKEPT.rpartition(': ')[2]}): others compile at every start"
    return [f"int8 kernels: {variant()}", f"cache {folder} ({state})"]


def _packages() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return [", ".join(found)]


def _torch() -> list[str]:
    if importlib.util.find_spec("torch") is None:
        return ["not installed; playing does not need it, `samplernn train` does (the extra 'train')"]
    return [f"{version('torch')}, for training"]


def _gpu() -> list[str]:
    from engine.cuda import presence

    why = presence.missing()
    return [f"none for --backend cuda: {why}" if why else "its driver answers: --backend cuda may play on it"]


def _outputs() -> list[str]:
    from instrument.audio import devices

    return devices.lines()


def _midi_inputs() -> list[str]:
    from instrument.midi.ports import SystemPorts, plain

    ports = SystemPorts()
    try:
        return [plain(name) for name in ports.names()] or ["none"]
    except OSError as error:
        return [f"none: {error}"]
    finally:
        ports.close()


def _priority() -> list[str]:
    from instrument.audio.priority import raise_priority

    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(raise_priority()), name="priority")
    thread.start()
    thread.join()
    return got or ["could not be tried"]


def _bank() -> list[str]:
    from instrument.bench_subjects import shipped_checkpoints

    paths = shipped_checkpoints()
    return [f"{len(paths)} checkpoints in {paths[0].parent}"] if paths else ["no checkpoints found"]


def _speeds() -> Iterator[str]:
    from instrument import bench_subjects as subjects
    from instrument.bench_measure import measure

    yield "speed       measuring one voice on one core, half a second each ..."
    try:
        found = subjects.shipped(["int8"]) or subjects.choirs(256, (1,))
        for speed in measure(found, _MEASURE_S):
            verdict = "" if speed.realtime >= 1.5 else "  too slow to play" if speed.realtime < 1.05 else "  just"
            yield f"            {speed.realtime:5.1f} x real time  {speed.name} {speed.precision}{verdict}"
    except ValueError as error:
        yield f"            {error}"


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


CHECKS: tuple[tuple[str, Callable[[], list[str]]], ...] = (
    ("program", _program),
    ("machine", _platform),
    ("packages", _packages),
    ("torch", _torch),
    ("GPU", _gpu),
    ("sound", _outputs),
    ("MIDI", _midi_inputs),
    ("priority", _priority),
    ("kernels", _kernels),
    ("bank", _bank),
)
