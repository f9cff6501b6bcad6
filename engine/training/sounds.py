"""Sound files to what a network hears of them: read, mixed, resampled, cleaned, limited, gaps trimmed; and a report.

NumPy, soxr and libsndfile; no torch. Shared by training, by what is taken from its sound later, and by the ear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.training.recipes import Training

Audio = NDArray[np.float32]

PEAK = 0.9  # of full scale, for the loudest sample of the data set; stretching overshoots a little
ACTIVE_LEVEL = 1 / 128  # RMS over ACTIVE_SECONDS from which sound is active: one step of 8 linear bits
ACTIVE_SECONDS = 0.02
CLIPPED = 1e-3  # share of a file from which it is said to be clipped
SILENT = 1e-4  # peak below which a data set is silence: -80 dB, under half a step of 12 bits
_CANCELLED = 1e-3  # of its channels' peak: what a mix keeps of channels that cancel
_LOUD = 0.25  # extremes below this are no clipping


@dataclass(frozen=True)
class Heard:
    """The sounds of a data set.

    Attributes:
        pieces: one array for each different file, as a network hears it.
        unlimited: the same samples before the limiter; the same arrays where there is none.
        left_out: a line for each file that is another one's sound.
    """

    pieces: list[Audio]
    unlimited: list[Audio]
    left_out: tuple[str, ...]


def heard(sounds: Sequence[Path], config: ModelConfig, training: Training) -> Heard:
    """Read and clean ``sounds``. Raises ValueError, one line naming the file, or the data set, and what is wrong."""
    if not sounds:
        raise ValueError("no sound files given")
    names, audio, left_out = _different(sounds, config.sample_rate)
    raw = cleaned(audio, names)
    pieces = raw
    if training.limit:
        pieces = cleaned([limited(piece, config.sample_rate, training.limit) for piece in raw], names)
    if training.gap:
        kept = [not_gaps(piece, config.sample_rate, training.gap, training.gap_level) for piece in pieces]
        raw = [piece[keep] for piece, keep in zip(raw, kept, strict=True)]
        pieces = [piece[keep] for piece, keep in zip(pieces, kept, strict=True)]
    return Heard(pieces, raw, left_out)


def laid_out(sounds: Sequence[Path], config: ModelConfig, training: Training) -> list[Audio]:
    """The sounds as a network hears them; see :func:`heard`."""
    return heard(sounds, config, training).pieces


def _different(sounds: Sequence[Path], sample_rate: int) -> tuple[list[Path], list[Audio], tuple[str, ...]]:
    """Files and their audio, each sound once: of one that comes twice, what is held out would be learned."""
    seen: dict[bytes, Path] = {}
    names, audio, left_out = [], [], []
    for path in sounds:
        piece = read(path, sample_rate)
        digest = sha256(piece.tobytes()).digest()
        if digest in seen:
            left_out.append(f"{path.name}: the same sound as {seen[digest].name}: learned once")
            continue
        seen[digest] = path
        names.append(path)
        audio.append(piece)
    return names, audio, tuple(left_out)


def report(sounds: Sequence[Path], line: Audio, config: ModelConfig) -> list[str]:
    """Lines about what went in: files, what is left of them, how loud it is, and what looks wrong."""
    import soundfile

    lines = []
    for path in sounds:
        about = soundfile.info(path)
        kind = f"{about.samplerate} Hz, {about.channels} channel{'s' * (about.channels > 1)}"
        clipped = clipped_share(path)
        warning = f"; {clipped:.1%} of it is clipped: a cleaner recording sounds better" if clipped > CLIPPED else ""
        lines.append(f"{path.name}: {about.frames / about.samplerate:.1f} s, {kind}{warning}")
    level = 10 * np.log10(np.mean(np.square(line, dtype=np.float64)) + 1e-12)
    seconds, sounding = len(line) / config.sample_rate, active(line, config.sample_rate).mean()
    lines.append(f"{seconds:.1f} s without gaps, RMS {level:.0f} dB, {sounding:.0%} of it active")
    return lines


def clipped_share(path: Path) -> float:
    """Share of samples that lie in flat tops: three or more equal ones running at the file's own extremes."""
    import soundfile

    audio = soundfile.read(path, dtype="float32", always_2d=True)[0]
    top = np.abs(audio).max()
    at = np.abs(audio) >= top * (1 - 1e-4)
    runs = at[:-2] & at[1:-1] & at[2:]
    return float(3 * runs.sum() / max(1, audio.size)) if top > _LOUD else 0.0


def limited(audio: Audio, sample_rate: int, threshold: float) -> Audio:
    """Peaks over ``threshold`` dB of full scale held down (pedalboard's limiter, 100 ms of release); 0: none."""
    if not threshold:
        return audio
    import pedalboard

    limiter = pedalboard.Limiter(threshold_db=threshold, release_ms=100.0)
    return np.asarray(limiter(audio[None], sample_rate), dtype=np.float32).reshape(-1)


def check(path: Path) -> None:
    """Raise ValueError, with its name, for what is no sound file; by its header, at once."""
    import soundfile

    if path.is_dir():
        raise ValueError(f"{path}: a folder: name the sound files in it")
    if not path.is_file():
        raise ValueError(f"{path}: {'not a file' if path.exists() else 'no such file'}: a sound file expected")
    try:
        soundfile.info(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: no sound file that libsndfile reads ({str(error).splitlines()[0]})") from None


def read(path: Path, sample_rate: int) -> Audio:
    """One file as mono float32 at ``sample_rate``. Raises ValueError with the file's name."""
    import soundfile
    import soxr

    check(path)
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: no sound file that libsndfile reads ({str(error).splitlines()[0]})") from None
    if not len(audio):
        raise ValueError(f"{path}: empty: it holds no samples")
    if not np.isfinite(audio).all():
        raise ValueError(f"{path}: holds samples that are no finite numbers")
    mono = audio.mean(axis=1)
    if np.abs(mono).max() < _CANCELLED * np.abs(audio).max():
        raise ValueError(f"{path}: its channels cancel each other when mixed to mono: turn one of them round first")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="VHQ")
    return np.asarray(mono, dtype=np.float32)


def cleaned(pieces: list[Audio], sounds: Sequence[Path]) -> list[Audio]:
    """DC out and peak set, over the whole data set: files keep their levels and offsets relative to each other."""
    for path, piece in zip(sounds, pieces, strict=True):
        if np.ptp(piece) == 0:
            what = "silent" if piece[0] == 0 else f"constant: every sample is {piece[0]:.4g}"
            raise ValueError(f"{path}: {what}")
    line = np.concatenate(pieces).astype(np.float64)
    mean = line.mean()
    peak = np.abs(line - mean).max()
    if peak < SILENT:
        raise ValueError(f"{names_of(sounds)}: silent: no sample above {20 * np.log10(SILENT):.0f} dB")
    return [((piece - mean) * (PEAK / peak)).astype(np.float32) for piece in pieces]


def trimmed(audio: Audio, sample_rate: int, gap: float, level_db: float) -> Audio:
    """``audio`` with every silence longer than ``gap`` seconds cut to that, out of its middle."""
    return audio[not_gaps(audio, sample_rate, gap, level_db)]


def not_gaps(audio: Audio, sample_rate: int, gap: float, level_db: float) -> NDArray[np.bool_]:
    """Which samples are left when silences longer than ``gap`` seconds are cut to that."""
    hop = max(1, sample_rate // 200)  # 5 ms
    blocks = np.abs(np.pad(audio, (0, -len(audio) % hop))).reshape(-1, hop).max(axis=1)
    quiet = np.concatenate([[False], blocks < 10 ** (level_db / 20), [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8)))
    keep = np.ones(len(audio), dtype=bool)
    half = round(gap * sample_rate / 2)
    for first, last in zip(edges[::2] * hop, edges[1::2] * hop, strict=True):
        keep[first + half : max(first + half, last - half)] = False
    return keep


def active(audio: Audio, sample_rate: int) -> NDArray[np.bool_]:
    """Which samples lie in sound rather than silence: RMS over 20 ms around them from ACTIVE_LEVEL up."""
    width = max(1, round(ACTIVE_SECONDS * sample_rate))
    power = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    first = np.clip(np.arange(len(audio)) - width // 2, 0, None)
    last = np.clip(first + width, None, len(audio))
    return np.asarray((power[last] - power[first]) >= ACTIVE_LEVEL**2 * (last - first))


def names_of(sounds: Sequence[Path]) -> str:
    return str(sounds[0]) if len(sounds) == 1 else f"{sounds[0]} and {len(sounds) - 1} more"
