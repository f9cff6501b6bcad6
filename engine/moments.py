"""Moments: places of a sound that a voice can be put back to, as what the network held there in mind.

A moment is the hidden state of every tier at the beginning of a hop, the ``lookback`` samples before it, the level that
undoing the pre-emphasis goes on from, when it was, and the attack that follows: before an onset a network cannot know
what will begin, so a jump lets it hear that much of its source, and the room too, before its own dice go on. They lie
in the checkpoint as tensors named ``moments.*`` (hidden states in fp16: some tens of kB). NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import MOMENTS, Checkpoint, attack_type, check_moments, load
from engine.config import ModelConfig
from engine.playing import with_ranges, with_recurrence
from engine.quantize import quantize

FEWEST, MOST = 16, 64
EARLY_SECONDS = 0.012  # before an onset: the attack itself is to be heard
ATTACK_SECONDS = 0.04  # from there on: 28 ms of what begins, enough to know it by
APART_SECONDS = 0.25
CONTEXT_SECONDS = 1.0  # run through the network before a moment: more than it remembers of it
_NAMES = ("times", "hidden", "tokens", "levels", "attack")


@dataclass(frozen=True)
class Moments:
    """Places of a network's source.

    Attributes:
        times: seconds into the source, (n,), rising.
        hidden: h, and c of an LSTM, (n, 1 or 2, tiers, n_rnn, dim) fp16.
        tokens: the samples before, (n, lookback) int32.
        levels: amplitude of the last of them with pre-emphasis undone, (n,).
        attack: the samples after, (n, ATTACK_SECONDS of them), uint8, beyond 256 levels uint16; in old files (n, 0).
    """

    times: NDArray[np.float32]
    hidden: NDArray[np.float16]
    tokens: NDArray[np.int32]
    levels: NDArray[np.float32]
    attack: NDArray[np.unsignedinteger]

    def __len__(self) -> int:
        return len(self.times)

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """By the names that a checkpoint knows them by."""
        return {f"{MOMENTS}{name}": getattr(self, name) for name in _NAMES}


def of(checkpoint: Checkpoint) -> Moments | None:
    """The moments in a checkpoint, checked when it was read; None if it has none."""
    found = checkpoint.moments
    if not found:
        return None
    nothing: NDArray[Any] = np.zeros((len(found[f"{MOMENTS}times"]), 0), attack_type(checkpoint.config))
    return Moments(*(found.get(f"{MOMENTS}{name}", nothing) for name in _NAMES))


def with_moments(checkpoint: Checkpoint, moments: Moments) -> Checkpoint:
    """``checkpoint`` with these moments instead of those it had."""
    tensors = moments.to_tensors()
    check_moments(tensors, checkpoint.config)
    return replace(checkpoint, moments=tensors, sha256="")


def take(checkpoint: Checkpoint, audio: NDArray[np.floating], count: int = 32) -> Moments:
    """Moments at the ``count`` clearest onsets of ``audio`` (T,), evenly filled up where it has fewer.

    Every one is heard by the int8 network that is played on stage, with CONTEXT_SECONDS of the sound before it.

    Raises:
        ValueError: a count outside FEWEST to MOST, or too short a sound for that many.
    """
    from engine.generator import make_generator

    config = checkpoint.config
    places = choose(audio, config, count)
    generator = make_generator(checkpoint, "cpu")
    tokens = quantize(audio, config)
    context = round(CONTEXT_SECONDS * config.sample_rate) // config.hop * config.hop
    hidden, before = [], []
    for place in places:
        heard = tokens[max(0, place - context) : place]
        generator.reset()
        generator.prime(heard[len(heard) % config.hop :])
        hidden.append(generator.hidden(0))
        before.append(_padded(heard[-config.lookback :], config))
    levels = np.array([audio[place - 1] if place else 0.0 for place in places], np.float32)
    times = np.array(places, np.float64) / config.sample_rate
    attack = np.stack([tokens[place : place + round(ATTACK_SECONDS * config.sample_rate)] for place in places])
    return Moments(
        times.astype(np.float32),
        np.stack(hidden).astype(np.float16),
        np.stack(before),
        levels,
        attack.astype(attack_type(config)),
    )


def choose(audio: NDArray[np.floating], config: ModelConfig, count: int) -> list[int]:
    """The samples where moments are taken, in their order: clear onsets APART_SECONDS from each other, then what lies
    between, nearer if it must.
    """
    if not FEWEST <= count <= MOST:
        raise ValueError(f"count: {count}: {FEWEST} to {MOST} moments expected")
    rate, apart = config.sample_rate, round(APART_SECONDS * config.sample_rate)
    first, last = round(0.1 * rate), len(audio) - rate // 2
    if last - first < count * apart:
        need = (first + rate // 2 + count * apart) / rate
        raise ValueError(f"{len(audio) / rate:.1f} s of sound: at least {need:.1f} s expected for {count} moments")
    early = round(EARLY_SECONDS * rate)
    wanted = [at - early for at in onsets(audio, rate) if first <= at - early < last]
    chosen: list[int] = []
    for nearest in (apart, apart // 2, apart // 4):  # where onsets follow closely there is little room between them
        for at in [*wanted, *_spread(first, last)]:
            if len(chosen) < count and all(abs(at - other) >= nearest for other in chosen):
                chosen.append(at)
    return sorted(chosen)


def _spread(first: int, last: int) -> list[int]:
    """Places everywhere, coarse before fine: halves, quarters, eighths ..."""
    return [first + (last - first) * (2 * k + 1) // (2 << level) for level in range(12) for k in range(1 << level)]


def onsets(audio: NDArray[np.floating], sample_rate: int) -> list[int]:
    """Samples where something begins, the clearest first: peaks of the rise of the log-mel spectrum."""
    from engine.listening.descriptors import FRAME_SECONDS, HOP_SECONDS, log_mel

    mel, _ = log_mel(audio, sample_rate)
    rise = np.maximum(np.diff(mel, axis=0), 0.0).mean(axis=1)
    reach = np.lib.stride_tricks.sliding_window_view(np.pad(rise, 6), 13).max(axis=1)
    peaks = np.flatnonzero((rise >= reach) & (rise > np.median(rise) + 3.0))
    clearest = peaks[np.argsort(-rise[peaks], kind="stable")]
    # what is new in frame k + 1 shows most clearly as it enters the window's middle from behind
    hop, frame = round(HOP_SECONDS * sample_rate), round(FRAME_SECONDS * sample_rate)
    return [int(k + 1) * hop + round(0.75 * frame) for k in clearest]


def _padded(tokens: NDArray[np.int32], config: ModelConfig) -> NDArray[np.int32]:
    missing = config.lookback - len(tokens)
    return np.concatenate([np.full(missing, config.q_zero, np.int32), tokens]) if missing else tokens


def anew(path: Path, sounds: Sequence[Path], count: int) -> Checkpoint:
    """The checkpoint at ``path`` with ``count`` moments of ``sounds``, as its training heard them.

    Raises ValueError naming the file and what is wrong.
    """
    from engine.training.hearing import as_trained

    checkpoint = load(path)
    heard = as_trained(sounds, checkpoint.config.sample_rate, checkpoint.training.get("settings"))
    found = take(checkpoint, heard, count)
    ready = checkpoint if checkpoint.ranges_known else with_ranges(checkpoint)
    return with_moments(with_recurrence(ready, heard), found)
