"""What a clip sounds like, in numbers, and which of several sources it sounds like most. NumPy only.

The figures of one clip are :class:`Figures`. For the likeness, a sound is a cloud of snippets, a fifth of a second
each: the average of its log-mel spectrum, how much every band moves in that time, and how tonal it is. A clip is as far
from a source as its snippets are, on average, from the nearest twentieth of the source's snippets: how much of it can
be heard in the source. A share, and not the single nearest, because a long and varied source always holds something
near. What the snippets are strung together to, and whether that is any good, is left to the ear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def log_mel(audio: NDArray[np.floating], sample_rate: int) -> tuple[Array, Array]:
    """Levels of bands, (frames, MELS), and of frames, (frames,), in dB of the loudest band and frame."""
    power, freqs = _spectra(np.asarray(audio, dtype=np.float64), sample_rate)
    level = power.sum(axis=1)
    return 10 * np.log10(_floored(power @ _mel_bands(freqs).T)), _db(level / max(float(level.max()), 1e-30))


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
class Steadiness:
    """How much goes on in a sound.

    Attributes:
        loud_db: level that a fifth of the time is above: a single stroke in silence does not lift it.
        movement_db: how far the bands' levels stray in time, standard deviation weighted by what is heard of a band.
        lines: share of the power that stands in lines, 8 dB or more over what is around it, second by second.
    """

    loud_db: float
    movement_db: float
    lines: float


@dataclass(frozen=True)
class Figures(Steadiness):
    """What can be measured of one clip, besides how steady it is.

    Attributes:
        level_db: RMS of the whole, dB of full scale, without its offset.
        brightness_hz: centre of gravity of the magnitude spectrum.
        flatness: geometric over arithmetic mean of the power spectrum, 1 for white noise.
        onsets_per_s: beginnings of events.
        pulse: how regularly they come, 0 to 1: the flux's autocorrelation at its best lag of 0.1 to 1.5 s.
        pitch: strength of a period of 60 to 1000 Hz, 0 to 1, the median of frames that sound.
        pitch_spread: half the middle four fifths of the pitches, in semitones, where there is one; 0 without.
    """

    level_db: float
    brightness_hz: float
    flatness: float
    onsets_per_s: float
    pulse: float
    pitch: float
    pitch_spread: float


def figures(audio: NDArray[np.floating], sample_rate: int) -> Figures:
    """The figures of ``audio`` (T,). Raises ValueError for less than half a second."""
    if len(audio) < sample_rate / 2:
        raise ValueError(f"a clip of {len(audio) / sample_rate:.2f} s: half a second or more expected")
    x = np.asarray(audio, dtype=np.float64)
    x = x - x.mean()
    power, freqs = _spectra(x, sample_rate)
    mel = 10 * np.log10(_floored(power @ _mel_bands(freqs).T))
    sounding = power[power.sum(axis=1) >= 1e-4 * power.sum(axis=1).max()]
    flux = np.maximum(np.diff(mel, axis=0), 0.0).mean(axis=1)
    pitch, spread = _pitch(sounding, sample_rate)
    amplitude = np.sqrt(power).mean(axis=0)
    audible = freqs >= 50
    return Figures(
        level_db=float(_db(np.mean(x**2))),
        loud_db=_loud(x, sample_rate),
        brightness_hz=float(amplitude @ freqs / max(amplitude.sum(), 1e-30)),
        flatness=float(np.median(_flatness(sounding[:, audible]))),
        movement_db=_movement(mel),
        lines=_lines(x, sample_rate),
        onsets_per_s=_onsets(flux) * sample_rate / len(x),
        pulse=_pulse(flux),
        pitch=pitch,
        pitch_spread=spread,
    )


def steadiness(audio: NDArray[np.floating], sample_rate: int) -> Steadiness:
    """Of ``audio`` (T,), half a second or more, what :func:`figures` says too, in a third of the time."""
    x = np.asarray(audio, dtype=np.float64)
    x = x - x.mean()
    power, freqs = _spectra(x, sample_rate)
    mel = 10 * np.log10(_floored(power @ _mel_bands(freqs).T))
    return Steadiness(_loud(x, sample_rate), _movement(mel), _lines(x, sample_rate))


def _loud(x: Array, sample_rate: int) -> float:
    """The level that a fifth of blocks of 50 ms are above; an offset is no sound."""
    return float(np.percentile(_db(_blocks(x, max(1, sample_rate // 20)).var(axis=1)), 80))


def _db(power: ArrayLike) -> Array:
    """dB of full scale, -100 at the least."""
    return 10 * np.log10(np.maximum(np.asarray(power, dtype=np.float64), 1e-10))


def _floored(power: Array) -> Array:
    """Powers of bands (frames, MELS) as shares of the loudest frame's loudest, not below FLOOR_DB."""
    return np.maximum(power / max(float(power.max()), 1e-30), 10 ** (FLOOR_DB / 10))


def _blocks(x: Array, size: int) -> Array:
    """(blocks, size), what is left over dropped."""
    return x[: len(x) // size * size].reshape(-1, size)


def _flatness(power: Array) -> Array:
    return np.asarray(np.exp(np.log(power + 1e-20).mean(axis=1)) / (power.mean(axis=1) + 1e-20))


def _movement(mel: Array) -> float:
    """Weighted by the bands' mean levels over the floor, squared: what is loud counts, what is masked does not."""
    bands = _by_snippet(mel).mean(axis=-1) if len(mel) >= 2 * SNIPPET else mel
    weight = (bands - FLOOR_DB).mean(axis=0) ** 2
    return float(np.sqrt((bands.var(axis=0) * weight).sum() / max(weight.sum(), 1e-9)))


def _lines(x: Array, sample_rate: int) -> float:
    """See :class:`Figures`. Windows of 0.19 s averaged over a second: noise is smooth to 3 dB, and a line is not."""
    size, hop = round(0.186 * sample_rate), round(0.0465 * sample_rate)
    found, total = 0.0, 0.0
    for at in range(0, max(1, len(x) - sample_rate + 1), sample_rate):
        frames = np.lib.stride_tricks.sliding_window_view(x[at : at + sample_rate], size)[::hop]
        power = (np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2).mean(axis=0)
        first = round(50 * size / sample_rate)
        reach = round(90 * size / sample_rate)  # 90 Hz to either side
        around = np.lib.stride_tricks.sliding_window_view(np.pad(power, reach, mode="reflect"), 2 * reach + 1)
        lines = power > 10**0.8 * np.median(around, axis=1)
        lines[1:-1] |= lines[2:] | lines[:-2]  # a window's main lobe is four bins wide
        found += float(power[first:][lines[first:]].sum())
        total += float(power[first:].sum())
    return found / total if total > 1e-12 * size else 0.0


def _onsets(flux: Array) -> int:
    """Peaks of the flux within 70 ms either way that rise 3 dB over its median."""
    if not len(flux):
        return 0
    around = np.lib.stride_tricks.sliding_window_view(np.pad(flux, 6), 13).max(axis=1)
    return int(np.count_nonzero((flux >= around) & (flux > np.median(flux) + 3.0)))


def _pulse(flux: Array) -> float:
    y = flux - flux.mean()
    if len(y) < 16 or not y.any():
        return 0.0
    r = np.fft.irfft(np.abs(np.fft.rfft(y, 2 * len(y))) ** 2)[: len(y)]
    lags = r[round(0.1 / HOP_SECONDS) : max(round(1.5 / HOP_SECONDS), 9)]
    overlap = 1 - np.arange(len(y))[round(0.1 / HOP_SECONDS) :][: len(lags)] / len(y)
    return float(np.clip((lags[: len(overlap)] / np.maximum(overlap, 0.3)).max() / r[0], 0.0, 1.0))


def _pitch(power: Array, sample_rate: int) -> tuple[float, float]:
    """Median strength, and spread in semitones, of the periods of frames given by their power spectra.

    The autocorrelation of a frame over that of its window (Boersma 1993), which is 1 at a period of the sound.
    """
    size = round(FRAME_SECONDS * sample_rate)
    r = np.fft.irfft(power, size)  # circular: for lags under a third of the frame the window has nearly gone
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size))) ** 2, size)
    low, high = max(2, int(sample_rate / 1000)), min(int(sample_rate / 60), size // 2)
    ratio = r[:, low:high] / np.maximum(r[:, :1], 1e-20) / (window[low:high] / window[0])
    best = ratio.argmax(axis=1)
    strength = np.clip(ratio[np.arange(len(ratio)), best], 0.0, 1.0)
    pitched = strength > 0.7
    if not pitched.any():
        return float(np.median(strength)), 0.0
    semitones = 12 * np.log2(sample_rate / (low + best[pitched]))
    low_end, high_end = np.percentile(semitones, [10, 90])
    return float(np.median(strength)), float(high_end - low_end) / 2


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
