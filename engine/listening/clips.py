"""Clips of the epochs of a run: short, many, all of an epoch generated in parallel as voices of one generator.

A clip is a mono FLAC, ``clips/epoch-003-t0.950-s0007.flac``: epoch 3, temperature 0.95, seed 7. Its comment tag is JSON
that says how it was made and, measured on the way, how uncertain the network was. The same epoch, temperature and seed
are the same clip, alone or among others, and begin like ``samplernn render`` with that seed. Clips that are there
already are left alone. What they sound like is left to ``engine.listening.report``, and when to make them during a
training to ``engine.listening.background``. No torch.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.checkpoint import Checkpoint, load, write_whole
from engine.quantize import dequantize

if TYPE_CHECKING:
    from engine.cpu.generator import CpuGenerator

EPOCH = re.compile(r"epoch-(\d+)\.safetensors")
CLIP = re.compile(r"epoch-(\d+)-t(\d+\.\d+)-s(\d+)\.flac")
VOICES = 64  # the most that one generator plays
CHUNK_SECONDS = 0.5
PROBE = 512  # samples of each chunk whose distributions are looked at: 2 % more work

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be made of an epoch: ``clips`` of ``seconds`` at each temperature, with seeds from ``seed`` on.

    Raises ValueError: temperatures are 0 to 2 with at most three decimals, as the clips' names have them.
    """

    clips: int
    seconds: float
    temperatures: tuple[float, ...]
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.clips <= 1000:
            raise ValueError(f"clips: {self.clips!r}: 0 to 1000 expected")
        if not 0.25 <= self.seconds <= 3600:
            raise ValueError(f"clip_seconds: {self.seconds!r}: from 0.25 to 3600 expected")
        if not self.temperatures or not all(0 <= t <= 2 for t in self.temperatures):
            raise ValueError(f"clip_temperatures: {self.temperatures!r}: one or more from 0 to 2 expected")
        if finer := [t for t in self.temperatures if t != round(t, 3)]:
            raise ValueError(
                f"clip_temperatures: {finer[0]!r}: at most three decimals expected: clips are named by them"
            )

    def each(self) -> list[tuple[float, int]]:
        """Temperature and seed of every clip."""
        return [(t, self.seed + k) for t in dict.fromkeys(self.temperatures) for k in range(self.clips)]


@dataclass(frozen=True)
class Clip:
    """A clip's file and what its name says."""

    path: Path
    epoch: int
    temperature: float
    seed: int


def clip_name(epoch: int, temperature: float, seed: int) -> str:
    """The file's name; names sort by epoch, temperature, seed."""
    return f"epoch-{epoch:03d}-t{temperature:.3f}-s{seed:04d}.flac"


def epochs_of(run_dir: Path) -> dict[int, Path]:
    """The checkpoints of a run by epoch, oldest first. Raises ValueError for a folder without any."""
    found = {int(m[1]): path for path in run_dir.glob("epoch-*.safetensors") if (m := EPOCH.fullmatch(path.name))}
    if not found:
        raise ValueError(f"{run_dir}: no run: it holds no epoch-NNN.safetensors")
    return dict(sorted(found.items()))


def clips_of(run_dir: Path) -> list[Clip]:
    """The clips of a run, by name."""
    paths = sorted((run_dir / "clips").glob("epoch-*.flac"))
    matches = [(path, CLIP.fullmatch(path.name)) for path in paths]
    return [Clip(path, int(m[1]), float(m[2]), int(m[3])) for path, m in matches if m]


def tag_of(path: Path) -> dict[str, Any]:
    """What a clip says of itself; empty for a file that says nothing or cannot be read."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            tag = json.loads(file.comment)
    except (OSError, RuntimeError, ValueError):
        return {}
    return tag if isinstance(tag, dict) else {}


def make(run_dir: Path, epoch: int, wanted: Wanted, say: Say = lambda line: None) -> list[Path]:
    """Make those clips of an epoch that are not there yet; returns the paths of the new ones.

    Raises:
        ValueError: no such epoch, or a checkpoint that will not do.
        OSError: a clip that cannot be written; those before it stay.
    """
    epochs = epochs_of(run_dir)
    if epoch not in epochs:
        raise ValueError(f"{run_dir}: no epoch {epoch}: it has {min(epochs)} to {max(epochs)}")
    checkpoint = load(epochs[epoch])
    folder = run_dir / "clips"
    folder.mkdir(exist_ok=True)
    missing = [(t, s) for t, s in wanted.each() if not _is_there(folder, epoch, t, s, wanted.seconds, checkpoint)]
    made: list[Path] = []
    for at in range(0, len(missing), VOICES):
        made += _batch(checkpoint, epoch, missing[at : at + VOICES], wanted.seconds, folder)
        say(f"epoch {epoch}: {len(made)} of {len(missing)} clips")
    return made


def _is_there(folder: Path, epoch: int, temperature: float, seed: int, seconds: float, made_by: Checkpoint) -> bool:
    tag = tag_of(folder / clip_name(epoch, temperature, seed))
    made = (tag.get("temperature"), tag.get("seconds"), tag.get("checkpoint"))
    return made == (temperature, seconds, made_by.sha256)


def _batch(
    checkpoint: Checkpoint, epoch: int, each: Sequence[tuple[float, int]], seconds: float, folder: Path
) -> list[Path]:
    """Up to VOICES clips at once."""
    from engine.cpu.generator import CpuGenerator
    from engine.generator import make_generator

    # int8 on the CPU is the fastest backend that there is
    generator = make_generator(checkpoint, "cpu", voices=len(each), seed=[seed for _, seed in each])
    assert isinstance(generator, CpuGenerator)
    config = checkpoint.config
    temperatures = np.array([[temperature] for temperature, _ in each])
    indices, entropies = generated(generator, round(seconds * config.sample_rate), temperatures)
    paths = []
    for row, bits, (temperature, seed) in zip(indices, entropies, each, strict=True):
        tag = {
            "epoch": epoch,
            "step": checkpoint.training.get("steps"),
            "temperature": temperature,
            "seed": seed,
            "seconds": seconds,
            "backend": generator.backend,
            "precision": generator.precision,
            "checkpoint": checkpoint.sha256,
            "sample_rate": config.sample_rate,
            "entropy_bits": round(float(bits), 4),
        }
        paths.append(folder / clip_name(epoch, temperature, seed))
        write_clip(paths[-1], dequantize(row, config), config.sample_rate, tag)
    return paths


def generated(
    generator: CpuGenerator, n: int, temperature: ArrayLike
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float64]]:
    """``n`` samples of every voice, (voices, n), and the mean entropy in bits of what they were drawn from, (voices,).

    The entropy is that of the first PROBE samples of every CHUNK_SECONDS: the voices go back, the logits before the
    known samples are read, and the voices go forward again. The samples are those of an ordinary run.

    Args:
        temperature: a number or (voices, 1).
    """
    config, voices = generator.config, generator.voices
    chunk = max(1, round(CHUNK_SECONDS * config.sample_rate))
    out = np.empty((voices, n), np.min_scalar_type(config.q_levels - 1))
    probes = []
    for at in range(0, n, chunk):
        before = generator.state()
        tokens = generator.generate(min(chunk, n - at), temperature)
        out[:, at : at + chunk] = tokens
        after = generator.state()
        generator.restore(before)
        probes.append(_entropy(generator.force(tokens[:, :PROBE]), temperature))
        generator.restore(after)
    return out, np.mean(probes, axis=0)


def _entropy(logits: NDArray[np.float32], temperature: ArrayLike) -> NDArray[np.float64]:
    """Mean entropy, (voices,), in bits of the softmax of ``logits`` (voices, T, q_levels) at ``temperature``."""
    t = np.maximum(np.asarray(temperature, dtype=np.float64).reshape(-1, 1, 1), 1e-6)
    x = (logits - logits.max(axis=-1, keepdims=True)) / t
    p = np.exp(x)
    total = p.sum(axis=-1)
    nats = np.log(total) - (p * x).sum(axis=-1) / total
    return np.asarray(nats.mean(axis=-1) / np.log(2))


def write_clip(path: Path, audio: NDArray[np.floating], sample_rate: int, tag: dict[str, Any]) -> None:
    """A mono FLAC of 16 bits with ``tag`` as its comment, there whole or not at all.

    16 bits lie 48 dB below the grain of 256 levels. Raises OSError when it cannot be written.
    """
    import soundfile

    blob = io.BytesIO()
    with soundfile.SoundFile(blob, "w", sample_rate, 1, subtype="PCM_16", format="FLAC") as file:
        file.comment = json.dumps(tag)
        file.write(np.asarray(audio, dtype=np.float64))
    write_whole(path, blob.getvalue())


def wanted_of(run_dir: Path) -> Wanted:
    """What a run's settings ask for, or the defaults where they say nothing (runs of an older version).

    Raises ValueError for settings that cannot be read.
    """
    from engine.training.recipes import Training

    usual = Training()
    try:
        values = json.loads((run_dir / "settings.json").read_text(encoding="utf-8"))["values"]
        clips = int(values.get("clips", usual.clips))
        seconds = float(values.get("clip_seconds", usual.clip_seconds))
        temperatures = tuple(float(t) for t in values.get("clip_temperatures", usual.clip_temperatures))
    except FileNotFoundError:
        clips, seconds, temperatures = usual.clips, usual.clip_seconds, usual.clip_temperatures
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{run_dir / 'settings.json'}: not the settings of a run") from None
    return Wanted(clips, seconds, temperatures)


def run(run_dir: Path, epochs: Iterable[int], wanted: Wanted, say: Say) -> None:
    """``samplernn clips``: make what is missing of ``epochs`` (none given: all, newest first), and listen to it.

    Raises ValueError and OSError as :func:`make` does.
    """
    from engine.listening import report

    chosen = list(epochs) or sorted(epochs_of(run_dir), reverse=True)
    count = sum(len(make(run_dir, epoch, wanted, say)) for epoch in chosen)
    heard = report.listen(run_dir, chosen, say)
    say(f"{count} clips made, {heard} listened to: {run_dir}")
