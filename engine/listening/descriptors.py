"""What a clip sounds like, in numbers, and which of several sources it sounds like most. NumPy only.

A sound is a cloud of snippets, a fifth of a second each: the average of its log-mel spectrum, how much every band moves
in that time, and how tonal it is. A clip is as far from a source as its snippets are, on average, from the nearest
twentieth of the source's snippets: how much of it can be heard in the source. A share, and not the single nearest,
because a long and varied source always holds something near. What the snippets are strung together to, and whether
that is any good, is left to the ear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRAME_SECONDS = 0.046
HOP_SECONDS = 0.0116
SNIPPET = 16  # frames; snippets overlap by half
MELS = 40
FLOOR_DB = -60.0  # re the loudest frame; bands below are told apart no more (8-bit noise lies there)
SOUNDING_DB = -40.0  # a snippet's level from which it counts
NEAREST_SHARE = 0.05  # of a source's snippets that a clip's snippet is compared with
LEVEL_SHARE = 0.3  # how much of a snippet's level counts: a network may play the same sound softer


def snippets(audio: NDArray[np.floating], sample_rate: int) -> Array:
    """The snippets of ``audio`` (T,) that sound, (snippets, numbers), in dB.

    Raises:
        ValueError: less than half a second, or nothing but silence.
    """
    if len(audio) < sample_rate / 2:
        raise ValueError(f"a clip of {len(audio) / sample_rate:.2f} s: half a second or more expected")
    power, freqs = _spectra(np.asarray(audio, dtype=np.float64), sample_rate)
    loudest = float(power.sum(axis=1).max())
    if loudest <= 0.0:
        raise ValueError("a clip of silence: it sounds like nothing")
    power /= loudest
    mel = 10 * np.log10(np.maximum(power @ _mel_bands(freqs).T, 10 ** (FLOOR_DB / 10)))  # (frames, MELS)
    tonality = 10 * np.log10((power.max(axis=1) + 1e-9) / (power.mean(axis=1) + 1e-9))
    level = 10 * np.log10(_by_snippet(power.sum(axis=1)).mean(axis=-1) + 1e-9)
    bands = _by_snippet(mel)  # (snippets, MELS, SNIPPET)
    shape = bands.mean(axis=-1)
    shape -= (1 - LEVEL_SHARE) * shape.mean(axis=1, keepdims=True)
    found = np.concatenate([shape, bands.std(axis=-1), _by_snippet(tonality).mean(axis=-1)[:, None]], axis=1)
    return np.asarray(found[level > SOUNDING_DB])


def _by_snippet(rows: Array) -> Array:
    """(frames, ...) to (snippets, ..., SNIPPET)."""
    return np.lib.stride_tricks.sliding_window_view(rows, SNIPPET, axis=0)[:: SNIPPET // 2]


def _spectra(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Power spectra (frames, bins) of Hann windows, and the bins' frequencies in Hz."""
    size, hop = round(FRAME_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
    power: Array = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    return power, np.asarray(np.fft.rfftfreq(size, 1 / sample_rate), dtype=np.float64)


def _mel_bands(freqs: Array) -> Array:
    """Triangles (MELS, bins) evenly spaced from 50 Hz to 16 kHz on O'Shaughnessy's mel scale, 2595 log10(1 + f/700)."""
    top = min(16000.0, float(freqs[-1]))
    mel_edges = np.linspace(2595 * np.log10(1 + 50 / 700), 2595 * np.log10(1 + top / 700), MELS + 2)
    edges = 700 * (10 ** (mel_edges / 2595) - 1)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bands: Array = np.clip(np.minimum((freqs - low) / (mid - low), (high - freqs) / (high - mid)), 0.0, None)
    return bands


@dataclass(frozen=True)
class Atlas:
    """Sources by name as clouds of snippets."""

    clouds: dict[str, Array]

    @classmethod
    def of(cls, sources: Mapping[str, NDArray[np.floating]], sample_rate: int) -> Atlas:
        """The atlas of sources given as sound."""
        return cls({name: snippets(audio, sample_rate) for name, audio in sources.items()})

    def distances(self, audio: NDArray[np.floating], sample_rate: int) -> dict[str, float]:
        """By source, the mean distance of the clip's snippets to the source's nearest, in dB (root mean square)."""
        clip = snippets(audio, sample_rate)
        return {name: _mean_nearest(clip, cloud) for name, cloud in self.clouds.items()}

    def nearest(self, audio: NDArray[np.floating], sample_rate: int) -> str:
        """The source that the clip sounds like most."""
        found = self.distances(audio, sample_rate)
        return min(found, key=found.__getitem__)


def _mean_nearest(clip: Array, cloud: Array) -> float:
    squared = (clip**2).sum(1)[:, None] + (cloud**2).sum(1) - 2 * clip @ cloud.T
    count = max(1, int(NEAREST_SHARE * len(cloud)))
    nearest = np.partition(squared, count - 1, axis=1)[:, :count]
    return float(np.sqrt(np.maximum(nearest, 0.0) / clip.shape[1]).mean())


def alternate(audio: NDArray[np.floating], sample_rate: int, seconds: float = 1.0) -> tuple[Array, Array]:
    """Two halves of a sound: its odd and its even seconds, each strung together."""
    size = round(seconds * sample_rate)
    parts = [audio[at : at + size].astype(np.float64) for at in range(0, len(audio), size)]
    return np.concatenate(parts[::2]), np.concatenate(parts[1::2])
