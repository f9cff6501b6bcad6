"""``samplernn render``: clips of a checkpoint into files, as fast as the machine goes.

Main thread; no clock, no device. The clips are voices of one generator, each with dice of its own, so that clip N of
ten equals the only clip of seed N. Files are mono at the checkpoint's rate, 24-bit PCM: the network's own samples,
without the mixer. What is heard in a live set is left to ``instrument.audio`` and to ``samplernn replay``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.cuda import presence
from engine.quantize import dequantize, quantize
from instrument import compiling, console
from instrument.keeping import set_aside
from instrument.places import find_checkpoint
from instrument.plan import check_backend

if TYPE_CHECKING:
    from engine.generator import Generator

_CHUNK_S = 0.25


def run(args: argparse.Namespace) -> list[Path]:
    """Write the clips that ``args`` of the command line ask for; returns their paths.

    Raises:
        ValueError: a path or a checkpoint that will not do; before anything is generated.
    """
    from engine.checkpoint import load
    from instrument.audio.soundfiles import check_path

    backend, precision = check_backend(args.backend, args.precision)
    if backend == "cuda" and (why := presence.missing()):
        raise ValueError(f"--backend cuda: {why}; cpu expected")
    paths = [check_path(path) for path in clip_paths(args.out, args.clips)]
    checkpoint = load(find_checkpoint(args.checkpoint))
    config = checkpoint.config
    primer = primed_with(args.prime, config) if args.prime else None
    console.say(f"{checkpoint.name}: {args.clips} x {args.seconds:g} s at {precision} ...")
    with compiling.shown(console.say):
        from engine.generator import make_generator

        seeds = [(args.seed + i) % (1 << 64) for i in range(args.clips)]
        generator = make_generator(checkpoint, backend, precision, args.clips, seeds)
        generator.generate(0)
    if news := getattr(generator, "news", ""):
        console.complain(news)
    if primer is not None:
        generator.prime(primer)
    indices = generate(generator, round(args.seconds * config.sample_rate), args.temperature)
    for path, clip in zip(paths, indices, strict=True):
        if kept := set_aside(path):
            console.say(f"{path} was there already: it is {kept} now")
        write_sound(path, dequantize(clip, config), config.sample_rate)
    console.say(f"wrote {paths[0]}{f' to {paths[-1].name}' if len(paths) > 1 else ''}")
    return paths


def generate(generator: Generator, n: int, temperature: tuple[float, float]) -> NDArray[np.int32]:
    """``n`` samples of every voice, (voices, n), the temperature running from one value to the other, linearly."""
    out = np.empty((generator.voices, n), dtype=np.int32)
    chunk = max(1, round(_CHUNK_S * generator.config.sample_rate))
    start = shown = time.monotonic()
    for at in range(0, n, chunk):
        end = min(at + chunk, n)
        out[:, at:end] = generator.generate(end - at, ramp(temperature, at, end, n))
        if time.monotonic() - shown > 0.5 and console.is_terminal():
            shown = time.monotonic()
            console.draw(f"{end / n:4.0%}  {(shown - start) * (n - end) / end:.0f} s left")
    console.wipe()
    return out


def ramp(ends: tuple[float, float], at: int, end: int, n: int) -> NDArray[np.float64]:
    """Values of samples ``at`` to ``end`` of a line over ``n`` samples whose first and last are ``ends``."""
    return ends[0] + (ends[1] - ends[0]) * np.arange(at, end) / max(n - 1, 1)


def clip_paths(path: Path, clips: int) -> list[Path]:
    """``path`` itself for one clip; x-01.flac, x-02.flac ... for more."""
    if clips == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i:02d}{path.suffix}") for i in range(1, clips + 1)]


def primed_with(path: Path, config: ModelConfig) -> NDArray[np.int32]:
    """The sound at ``path`` as indices, (T,). Raises ValueError with the file and the fault."""
    sound = read_sound(path, config.sample_rate)
    if len(sound) < config.lookback:
        raise ValueError(f"--prime {path}: {len(sound)} samples: at least {config.lookback} expected")
    return quantize(sound, config)


def read_sound(path: Path, rate: int) -> NDArray[np.float64]:
    """Any file libsndfile reads, mono at ``rate`` Hz, (T,). Raises ValueError with the file and the fault."""
    import soundfile
    import soxr

    try:
        sound, its_rate = soundfile.read(path, always_2d=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    if not len(sound):
        raise ValueError(f"{path}: no sound in it")
    mono: NDArray[np.float64] = soxr.resample(sound.mean(axis=1), its_rate, rate)
    return mono


def write_sound(path: Path, sound: NDArray[np.float32], rate: int) -> None:
    """(T,) as mono 24-bit PCM. Raises ValueError when it cannot be written."""
    import soundfile

    from instrument.audio.soundfiles import failure, to_pcm24

    try:
        soundfile.write(path, to_pcm24(sound), rate, subtype="PCM_24")
    except (OSError, RuntimeError, AssertionError) as error:
        fault = failure(path, error)
        path.unlink(missing_ok=True)
        raise ValueError(f"{path}: {fault.strerror}") from None
