"""Sound to training batches: split by source time, stretched, drawn as a function of (seed, step).

The split comes before the stretching: held-out windows are cut out of the source, and each remaining part is
stretched alone, so that no copy can hold a trace of one. State is never carried from one part to another. Nothing
here imports torch; who uses the batches decides what a fresh stream starts from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.quantize import quantize
from engine.training.recipes import Training
from engine.training.sounds import PEAK, SILENT, Audio, active, heard, limited, names_of

MIN_SECONDS = 2.0  # of sound, after trimming
CONTEXT_SECONDS = 0.25  # run through the network before a held-out window counts


@dataclass(frozen=True)
class Part:
    """An uninterrupted stretch of one copy of the sound.

    Attributes:
        audio: float samples at the network's rate.
        start, stop: what it covers of the source, in samples of all trimmed files laid end to end.
        speed: of the copy, 1.0 for the sound itself.
    """

    audio: Audio
    start: int
    stop: int
    speed: float = 1.0


@dataclass(frozen=True)
class Window:
    """A held-out window: ``audio`` is context, then the samples that count; ``active`` tells which are active."""

    audio: Audio
    start: int
    stop: int
    active: NDArray[np.bool_]


@dataclass(frozen=True)
class Material:
    """Everything a run trains on and is judged by."""

    parts: tuple[Part, ...]
    windows: tuple[Window, ...]
    tests: tuple[Window, ...]  # for the end of a run; none but with a ``test`` share
    seconds: float
    line: Audio = field(repr=False)  # the sound as it is heard, files end to end
    left_out: tuple[str, ...] = ()  # a line for each file that is another one's sound

    @property
    def samples(self) -> int:
        """Training samples in all copies together."""
        return sum(len(part.audio) for part in self.parts)

    def fingerprint(self) -> str:
        """Changes when anything in the material does."""
        digest = hashlib.sha256()
        pieces: list[Part | Window] = [*self.parts, *self.windows, *self.tests]
        for piece in pieces:
            digest.update(np.ascontiguousarray(piece.audio).tobytes())
        return digest.hexdigest()


def prepare(sounds: Sequence[Path], config: ModelConfig, training: Training) -> Material:
    """Read and split the sounds.

    Raises:
        ValueError: one line naming the file, or the data set, and what is wrong with it.
    """
    sound = heard(sounds, config, training)
    pieces = sound.pieces
    seconds = sum(map(len, pieces)) / config.sample_rate
    if seconds < MIN_SECONDS:
        raise ValueError(
            f"{names_of(sounds)}: {seconds:.1f} s of sound without its gaps: at least {MIN_SECONDS} s expected"
        )
    spans = _choose_windows([len(piece) for piece in pieces], config.sample_rate, training)
    if not spans:
        raise ValueError(
            f"{names_of(sounds)}: valid, test: shares of {seconds:.0f} s that hold no chunk of {training.excerpt:g} s "
            "(excerpt) each: more sound, larger shares or shorter excerpts expected"
        )
    parts = tuple(_levelled(_parts(sound.unlimited, spans, config, training), training))
    if not parts:
        raise ValueError(
            f"{names_of(sounds)}: no part is longer than seq_len ({training.seq_len}): a smaller seq_len, or less held "
            "out, expected"
        )
    line = np.concatenate(pieces)
    windows = [_window(line, a, b, config) for a, b in spans]
    later = _for_the_end(len(windows), training)
    now = tuple(window for k, window in enumerate(windows) if k not in later)
    return Material(parts, now, tuple(windows[k] for k in later), seconds, line, sound.left_out)


def _choose_windows(lengths: list[int], rate: int, training: Training) -> list[tuple[int, int]]:
    """Held-out spans in source time: one at random in each of equal strata, inside one file each.

    Half a second to two, but never more than 15 % of the whole; or chunks of an excerpt, for the shares that are asked
    for (none if the sound is too short for one chunk each).
    """
    total, count = sum(lengths), training.heldout
    size = round(min(max(0.5, 0.01 * total / rate), 2.0, 0.15 * total / rate / count) * rate)
    if training.valid:
        size = round(training.excerpt * rate)
        counts = [round(share * total / size) for share in (training.valid, training.test) if share]
        count = sum(counts) if min(counts) else 0
    ends = np.cumsum(lengths)
    rng = np.random.default_rng([training.seed, 0])
    spans: list[tuple[int, int]] = []
    for k in range(count):
        low, high = k * total // count, (k + 1) * total // count - size
        start = int(rng.integers(low, max(low, high) + 1))
        piece = int(np.searchsorted(ends, start, side="right"))
        start = max(int(ends[piece]) - lengths[piece], min(start, int(ends[piece]) - size))
        stop = min(start + size, int(ends[piece]))
        if not spans or start >= spans[-1][1]:
            spans.append((start, stop))
    return spans


def _for_the_end(count: int, training: Training) -> list[int]:
    """Which of so many held-out windows are for the test at the end: their share, drawn at random."""
    tests = round(count * training.test / (training.valid + training.test)) if training.test else 0
    drawn = np.random.default_rng([training.seed, 6]).permutation(count)[: min(tests, count - 1)]
    return sorted(int(k) for k in drawn)


def _window(line: Audio, start: int, stop: int, config: ModelConfig) -> Window:
    """The window with its context before it, silence where the sound has not begun; a whole number of hops."""
    length = (stop - start) // config.hop * config.hop
    context = config.lookback + round(CONTEXT_SECONDS * config.sample_rate) // config.hop * config.hop
    padded = np.concatenate([np.zeros(context, np.float32), line[: start + length]])
    counted = active(line[start : start + length], config.sample_rate)
    return Window(padded[-context - length :], start, start + length, counted)


def window_indices(windows: Sequence[Window], config: ModelConfig, training: Training) -> NDArray[np.int32]:
    """Levels of held-out windows of one length, (windows, T): dithered as in training, but always alike."""
    audio = np.stack([window.audio for window in windows])
    rng = np.random.default_rng([training.seed, 5, windows[0].start])
    noise = (rng.random(audio.shape, dtype=np.float32) - 0.5) * training.dither if training.dither else None
    return quantize(audio, config, noise)


def _parts(pieces: list[Audio], spans: list[tuple[int, int]], config: ModelConfig, training: Training) -> list[Part]:
    """What lies between held-out windows and file ends, in every copy; a window keeps ``lookback`` clear of it."""
    shortest = config.lookback + training.seq_len + 1
    parts = []
    offset = 0
    for piece in pieces:
        cuts = [0]
        for start, stop in spans:
            if offset <= start < offset + len(piece):
                cuts += [start - offset - config.lookback, stop - offset + config.lookback]
        cuts.append(len(piece))
        for a, b in zip(cuts[::2], cuts[1::2], strict=True):
            own = limited(piece[a:b], config.sample_rate, training.limit) if b - a >= shortest else piece[a:b]
            for speed in training.stretches if b - a >= shortest else ():
                audio = stretched(own, config.sample_rate, speed)
                if len(audio) >= shortest:
                    parts.append(Part(audio, offset + a, offset + b, speed))
        offset += len(piece)
    return parts


def _levelled(parts: list[Part], training: Training) -> list[Part]:
    """Parts that a limiter held down, brought to the level of the whole; by themselves, so that no window has a say."""
    if not training.limit:
        return parts
    peak = max((float(np.abs(part.audio).max()) for part in parts if part.speed == 1.0), default=PEAK)
    return [replace(part, audio=part.audio * np.float32(PEAK / max(peak, SILENT))) for part in parts]


def stretched(audio: Audio, sample_rate: int, speed: float) -> Audio:
    """``audio`` played at ``speed`` with its pitch kept (Rubber Band's newer engine).

    Its older one moves a pure 110 Hz tone by 5 % at speed 0.94; this one keeps it to 0.01 %, and strays from the
    straight line by at most 60 samples a second (measured with tones and a click train).
    """
    if speed == 1.0:
        return audio
    import pedalboard

    out = pedalboard.time_stretch(audio[None], float(sample_rate), stretch_factor=speed, high_quality=True)
    return np.asarray(out, dtype=np.float32).reshape(-1)


@dataclass(frozen=True)
class Excerpt:
    """``steps`` steps of part ``part`` from sample ``start`` on, beginning at step ``first`` of a slot.

    Attributes:
        speed: at which it is played, pitch and all.
        gain: 1, or -1 turned round; of a layer less.
        under: another excerpt that it lies on.
    """

    part: int
    start: int
    first: int
    steps: int
    speed: float = 1.0
    gain: float = 1.0
    under: Excerpt | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the part's own samples."""
        return (self.speed, self.gain, self.under) == (1.0, 1.0, None)


class Streams:
    """The batches of a run: every one a pure function of (seed, step), so that resuming is exact for free.

    Each stream lives in slots of ``excerpt`` seconds, staggered so that streams do not start afresh together. A slot
    is filled with random excerpts, each inside one part; every excerpt starts from a fresh state.
    """

    def __init__(self, material: Material, config: ModelConfig, training: Training) -> None:
        self._parts = material.parts
        self._config = config
        self._training = training
        self._slot_steps = max(1, round(training.excerpt * config.sample_rate / training.seq_len))
        lengths = np.array([len(part.audio) for part in self._parts], dtype=np.float64)
        self._share = np.cumsum(lengths) / lengths.sum()
        self._slot = lru_cache(maxsize=4 * training.batch)(self._fill)
        self._varied = lru_cache(maxsize=2 * training.batch)(self._vary)
        self._noise = lru_cache(maxsize=2)(self._draw_noise)

    def batch(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Indices (B, lookback + seq_len) of ``step`` and which streams (B,) start afresh in it."""
        t, lookback = self._training, self._config.lookback
        audio = np.empty((t.batch, 1 + lookback + t.seq_len), np.float32)
        fresh = np.zeros(t.batch, dtype=bool)
        for stream in range(t.batch):
            excerpt, within = self.locate(stream, step)
            fresh[stream] = within == 0 or step == 0
            at = within * t.seq_len
            if excerpt.plain:
                audio[stream] = self._parts[excerpt.part].audio[excerpt.start + at :][: audio.shape[1]]
            else:
                audio[stream] = self._varied(excerpt)[at : at + audio.shape[1]]
        noise = None
        if t.dither:
            noise = np.concatenate([self._noise(step - 1)[:, -1 - lookback :], self._noise(step)], axis=1)
        # the first column only serves the pre-emphasis of the second
        return quantize(audio, self._config, noise)[:, 1:].astype(np.int64), fresh

    def locate(self, stream: int, step: int) -> tuple[Excerpt, int]:
        """The excerpt that ``stream`` reads in ``step``, and how many steps it has been reading it."""
        place = step + stream * self._slot_steps // self._training.batch
        slot, within = divmod(place, self._slot_steps)
        for excerpt in self._slot(stream, slot):
            if within < excerpt.first + excerpt.steps:
                return excerpt, within - excerpt.first
        raise AssertionError("a slot is full")

    def _fill(self, stream: int, slot: int) -> tuple[Excerpt, ...]:
        """Random excerpts, parts by their length, until the slot is full; the last is cut short."""
        rng = np.random.default_rng([self._training.seed, 1, stream, slot])
        excerpts, filled = [], 0
        while filled < self._slot_steps:
            excerpt = self._draw(rng, filled, self._slot_steps - filled)
            if self._training.layer and rng.random() < self._training.layer:
                excerpt = replace(excerpt, under=self._layer(rng, excerpt.steps))
            excerpts.append(excerpt)
            filled += excerpt.steps
        return tuple(excerpts)

    def _draw(self, rng: np.random.Generator, first: int, most: int) -> Excerpt:
        """An excerpt of at most so many steps; what a setting does not ask for draws nothing."""
        t = self._training
        part = int(np.searchsorted(self._share, rng.random(), side="right"))
        own = len(self._parts[part].audio) - 1 - self._config.lookback
        speed = 2.0 ** (rng.uniform(-t.varispeed, t.varispeed) / 12) if t.varispeed else 1.0
        if int(own / speed) - 2 < t.seq_len:
            speed = 1.0  # the part is too short to be played faster
        room = own if speed == 1.0 else int(own / speed) - 2
        steps = min(room // t.seq_len, most)
        start = int(rng.integers(0, room - steps * t.seq_len + 1) * speed)
        gain = -1.0 if t.invert and rng.random() < t.invert else 1.0
        return Excerpt(part, start, first, steps, speed, gain)

    def _layer(self, rng: np.random.Generator, steps: int) -> Excerpt:
        """What lies under an excerpt: no longer than that."""
        found = self._draw(rng, 0, steps)
        return replace(found, gain=found.gain * 10 ** (rng.uniform(-12.0, 0.0) / 20))

    def _vary(self, excerpt: Excerpt) -> Audio:
        """The samples of an excerpt that is not plain, with those before it; resampled by soxr."""
        import soxr

        size = 1 + self._config.lookback + excerpt.steps * self._training.seq_len
        audio = self._parts[excerpt.part].audio[excerpt.start :]
        if excerpt.speed != 1.0:
            taken = audio[: int(np.ceil(size * excerpt.speed)) + 2]
            audio = soxr.resample(taken, excerpt.speed, 1.0, quality="HQ")
            audio = np.pad(audio, (0, max(0, size - len(audio))))
        out = np.asarray(audio[:size] * np.float32(excerpt.gain), dtype=np.float32)
        if excerpt.under is not None:
            below = self._vary(excerpt.under)
            out[: len(below)] += below
            out /= max(1.0, float(np.abs(out).max()))
        return out

    def _draw_noise(self, step: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._training.seed, 2, step + 1])
        noise = rng.random((self._training.batch, self._training.seq_len), dtype=np.float32) - np.float32(0.5)
        return noise * np.float32(self._training.dither)
