"""Traps: a checkpoint whose clips keep to few of the source's textures, and recur more than the source ever does.

The metal paper (Zukowski and Carr 2017): "Sometimes a checkpoint generates clips which always get trapped in the same
riff." What repeats is no trap if the source repeats itself as much, so both halves are measured against it:

- textures: the source's snippets in TEXTURES heaps (k-means); how many of them the clips of one epoch and temperature
  visit, all together, as a share of how many the source visits (the exponential of the entropy of the heaps' shares).
- recurrence: how near each phrase of half a second is to the nearest other one of the same ten seconds, as a share of
  how far phrases are from each other there on average: 0 for a loop, nearly 1 for sound that never comes back and for
  sound that has nothing to come back to. The least of all ten seconds counts, in a clip and in the source.

NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.listening.descriptors import FRAME_SECONDS, HOP_SECONDS, SOUNDING_DB, Array, log_mel, snippets

TEXTURES = 16
WINDOW_SECONDS = 10.0
SHORTEST_SECONDS = 3.0  # of a clip whose recurrence says anything
FEWEST_CLIPS = 3  # of one epoch and temperature
EXACT = 0.02  # recurrence under which one loop is as exact as another
SOURCE_WINDOWS = 64  # looked at, evenly over the source
STEP = 8  # frames, 93 ms: dice fall otherwise each time, and a riff that a network plays again is never the same twice
PHRASE = 5  # steps


@dataclass
class Source:
    """A source as its clips are held against it; what takes long is measured once."""

    audio: NDArray[np.floating]
    sample_rate: int
    cloud: Array = field(init=False)
    centres: Array = field(init=False)
    visited: float = field(init=False)
    _least: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.cloud = snippets(self.audio, self.sample_rate)
        self.centres = _centres(self.cloud[:: -(-len(self.cloud) // 4000)])
        self.visited = _effective(_nearest(self.cloud, self.centres))

    def coverage(self, clips: Sequence[NDArray[np.floating]]) -> float:
        """Textures that ``clips`` visit, all together, as a share of those of the source; 0 for silence."""
        clouds = []
        for clip in clips:
            try:
                clouds.append(snippets(clip, self.sample_rate))
            except ValueError:  # silence, or too short
                continue
        if not any(map(len, clouds)):
            return 0.0
        return _effective(_nearest(np.concatenate(clouds), self.centres)) / self.visited

    def least_recurrence(self, seconds: float) -> float:
        """The least recurrence of any stretch of the source of ``seconds``."""
        size = _frames_in(seconds)
        if size not in self._least:
            mel, level = log_mel(self.audio, self.sample_rate)
            starts = np.unique(np.linspace(0, max(0, len(mel) - size), SOURCE_WINDOWS).astype(int))
            self._least[size] = min(_recurrence(mel[at : at + size], level[at : at + size]) for at in starts)
        return self._least[size]

    def recurs(self, clip: NDArray[np.floating]) -> float | None:
        """A clip's recurrence as a share of the source's least: below 1 it recurs more. None for too short a clip."""
        seconds = len(clip) / self.sample_rate
        if seconds < SHORTEST_SECONDS:
            return None
        own, least = recurrence(clip, self.sample_rate), self.least_recurrence(min(seconds, WINDOW_SECONDS))
        return max(own, EXACT) / max(least, EXACT)


def recurrence(audio: NDArray[np.floating], sample_rate: int) -> float:
    """The least recurrence of any ten seconds of ``audio``, or of all of it where it is shorter."""
    mel, level = log_mel(audio, sample_rate)
    size = _frames_in(WINDOW_SECONDS)
    starts = range(0, max(1, len(mel) - size + 1), size // 2)
    return min(_recurrence(mel[at : at + size], level[at : at + size]) for at in starts)


def _frames_in(seconds: float) -> int:
    return round((seconds - FRAME_SECONDS) / HOP_SECONDS)


def _recurrence(mel: Array, level: Array) -> float:
    """Of one stretch; 1 where less than a quarter of its phrases sound, or none lies apart from another."""
    steps = len(mel) // STEP
    if steps < 3 * PHRASE:
        return 1.0
    rows = mel[: steps * STEP].reshape(steps, STEP, -1).mean(axis=1)
    loud = level[: steps * STEP].reshape(steps, STEP).mean(axis=1)
    phrases = np.lib.stride_tricks.sliding_window_view(rows, PHRASE, axis=0)
    sounds = np.lib.stride_tricks.sliding_window_view(loud, PHRASE).max(axis=1) > SOUNDING_DB
    at = np.flatnonzero(sounds)
    apart = np.abs(at[:, None] - at) >= PHRASE
    has = apart.any(axis=1)
    if len(at) < len(phrases) / 4 or not has.any():
        return 1.0
    distance = np.sqrt(np.maximum(_squared(*[phrases[at].reshape(len(at), -1)] * 2), 0.0))
    nearest = np.where(apart, distance, np.inf)[has].min(axis=1).mean()
    return float(nearest / max(distance[apart].mean(), 1e-6))


def _centres(cloud: Array) -> Array:
    """k-means (Lloyd 1982) of TEXTURES heaps, begun at the farthest points: the same every time."""
    centres = cloud[[((cloud - cloud.mean(axis=0)) ** 2).sum(axis=1).argmin()]]
    while len(centres) < min(TEXTURES, len(cloud)):
        centres = np.concatenate([centres, cloud[[_squared(cloud, centres).min(axis=1).argmax()]]])
    for _ in range(20):
        heap = _nearest(cloud, centres)
        centres = np.stack([cloud[heap == k].mean(axis=0) if (heap == k).any() else c for k, c in enumerate(centres)])
    return centres


def _squared(cloud: Array, centres: Array) -> Array:
    return np.asarray((cloud**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * cloud @ centres.T)


def _nearest(cloud: Array, centres: Array) -> NDArray[np.intp]:
    return np.asarray(_squared(cloud, centres).argmin(axis=1))


def _effective(heaps: NDArray[np.intp]) -> float:
    """The number of heaps, each counted by its share: the exponential of the shares' entropy."""
    shares = np.bincount(heaps) / len(heaps)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
