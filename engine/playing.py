"""What a checkpoint must know about itself to be played: activation ranges for int8, and how loud it is.

Both are measured on free runs of fixed seed, because that is what the audience hears. Ranges from a free run lose as
little as ranges from the training sound (docs/decisions.md), and need no sound.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import LARGEST_RANGE, Checkpoint, check_playing, write_whole
from engine.folding import fold
from engine.kernel_cache import user_cache
from engine.quantize import dequantize

SEED = 20170629  # any number, but always the same
LANES = 16
SETTLE = 2048  # samples a free run is given to leave its silent start
STEPS = 2048  # samples a lane whose activations are looked at
BLOCK_SECONDS = 0.4  # loudness block, as in ITU-R BS.1770


def with_ranges(checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` with ``playing.ranges``, measured once for every file on this machine: it takes seconds."""
    if not checkpoint.sha256:
        return _with(checkpoint, measured_ranges(checkpoint))
    kept = user_cache() / "ranges" / f"{checkpoint.sha256}.json"
    try:
        known = _with(checkpoint, json.loads(kept.read_bytes()))
        check_playing(known.playing, checkpoint.range_names)
        return known
    except (OSError, ValueError, RecursionError):  # not measured yet, or damaged
        ranges = measured_ranges(checkpoint)
    with contextlib.suppress(OSError):  # then the next start measures again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(ranges).encode())
    return _with(checkpoint, ranges)


def _with(checkpoint: Checkpoint, ranges: dict[str, float]) -> Checkpoint:
    return replace(checkpoint, playing={**checkpoint.playing, "ranges": ranges})


def measured_ranges(checkpoint: Checkpoint) -> dict[str, float]:
    """The largest activations of an fp32 free run at temperature 1: LANES voices for STEPS samples, after SETTLE."""
    from engine.cpu.generator import CpuGenerator

    generator = CpuGenerator(fold(checkpoint, "fp32"), LANES)
    generator.seed(SEED)
    generator.generate(SETTLE)
    peaks = dict.fromkeys(checkpoint.range_names, 1e-3)
    for _ in range(STEPS):
        generator.generate(1)
        for name, values in generator.activations().items():
            peaks[name] = max(peaks[name], float(np.abs(values).max()))
    return {name: round(min(value, LARGEST_RANGE), 6) for name, value in peaks.items()}


def with_loudness(checkpoint: Checkpoint, seconds: float = 4.0) -> Checkpoint:
    """``checkpoint`` with ``playing.loudness``: dB below full scale of a free run at temperature 1, 16 voices."""
    from engine.generator import make_generator

    generator = make_generator(checkpoint, "cpu", voices=LANES, seed=SEED)
    rate = checkpoint.config.sample_rate
    indices = generator.generate(int((seconds + 0.5) * rate))
    audio = dequantize(indices, checkpoint.config)[:, rate // 2 :]
    value = round(loudness(audio, rate), 2)
    return replace(checkpoint, playing={**checkpoint.playing, "loudness": value})


def with_recurrence(checkpoint: Checkpoint, audio: NDArray[np.floating]) -> Checkpoint:
    """``checkpoint`` with ``playing.recurrence``: the least of its source, ``audio`` (T,) at its rate, by which a
    voice that is playing is known to go round a trap (engine.listening.live); as it was for too short a source.
    """
    from engine.listening.live import TRAP_SECONDS, least_recurrence

    rate = checkpoint.config.sample_rate
    if len(audio) < TRAP_SECONDS * rate:
        return checkpoint
    least = round(least_recurrence(audio, rate), 4)
    return replace(checkpoint, playing={**checkpoint.playing, "recurrence": least})


def loudness(audio: NDArray[np.floating], rate: int) -> float:
    """Gated level of (voices, T) in dB below full scale, -70 for silence.

    The gating of ITU-R BS.1770 (blocks under -70 dB, then those 10 dB under the rest, do not count), without its
    frequency weighting: networks are matched so that none startles, not mastered.
    """
    size = max(1, int(BLOCK_SECONDS * rate))
    count = audio.shape[-1] // size
    blocks = audio[..., : count * size].astype(np.float64).reshape(-1, size)
    power = np.mean(blocks**2, axis=1)
    power = power[power > 1e-7]
    if not len(power):
        return -70.0
    loud = power[power > 0.1 * power.mean()]
    return float(10 * np.log10(loud.mean()))
