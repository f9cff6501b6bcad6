"""The memory of the render loop as it is at sample 0, by the records of ``instrument.audio.state``.

Numbers and shapes only; whose memory it is, and what the loop makes of it, is left to ``instrument.audio.performance``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instrument.audio.dsp import EDGE_HZ, LIMITER_RINGS, LIMITER_ROOM, MONO_HZ, RELEASE_S, highpass, tangents
from instrument.audio.state import DECK, GLIDE, LINE, MAX_PAIRS, MAX_TURN, SHAPE, VOICE
from instrument.controls import DEFAULTS, HIGHEST, LOWEST, OLDEST, PARAMETERS
from instrument.shared import NEVER

GLIDE_S, OPENING_S, CLOSING_S, PANIC_S, FUSE_S = 0.020, 0.030, 0.100, 0.030, 0.010
REST_S = 0.030  # a voice that is parked fades out, and one that is woken fades in
METER_S, PEAK_S, FUSE_WINDOW_S = 0.3, 0.5, 0.5
DRIVE_RISE_S, DRIVE_FALL_S, DRIVE_MEAN_S = 0.1, 2.0, 0.016  # how the drive follows loudness, and what is DC to it
GROWING_S = 0.05  # crossfade from epoch to epoch
LONG_AGO = -(1 << 60)


def constants(rate: int) -> dict[str, float]:
    """The fields of a CORE that follow from the session's rate alone, and those that are the same in every set."""
    values: dict[str, float] = {
        "rest": int(REST_S * rate),
        "growing": int(GROWING_S * rate),
        "glide": int(GLIDE_S * rate),
        "opening": int(OPENING_S * rate),
        "fall": int(PANIC_S * rate),
        "fuse": int(FUSE_S * rate),
        "fade_start": LONG_AGO,
        "fade_from": 1.0,
        "fade_to": 1.0,
        "stop_at": NEVER,
        "tap_from": -1,
        "release": blend(RELEASE_S * rate),
        "meter_blend": blend(METER_S * rate),
        "meter_fall": 1.0 - blend(PEAK_S * rate),
        "fuse_blend": blend(FUSE_WINDOW_S * rate),
        "drive_rise": 1.0 / (DRIVE_RISE_S * rate),
        "drive_fall": 1.0 / (DRIVE_FALL_S * rate),
        "drive_mean": 1.0 / (DRIVE_MEAN_S * rate),
        "reduction": 1.0,
        "edge": blend(rate / (2.0 * math.pi * EDGE_HZ)),
    }
    values |= zip(("b0", "b1", "b2", "a1", "a2"), highpass(rate), strict=True)
    return values | dict(zip(("s0", "s1", "s2", "t1", "t2"), highpass(rate, MONO_HZ), strict=True))


def blend(samples: float) -> float:
    """Share of the new value in a one-pole average of this time constant."""
    return 1.0 - math.exp(-1.0 / samples)


def make_voices(start: Sequence[int], grown: Sequence[int], partners: Sequence[int]) -> NDArray[np.void]:
    """Voices at rest on their slots, (voices)."""
    voices = np.zeros(len(start), VOICE)
    voices["slot"], voices["wanted"], voices["grown"] = start, -1, grown
    voices["partner"] = partners
    voices["fuse_at"] = voices["fuse_back"] = NEVER
    voices["rest_start"], voices["rest_from"], voices["rest_to"], voices["rest_length"] = LONG_AGO, 1.0, 1.0, 1
    voices["steer"] = 1.0
    return voices


def make_glides(voices: int, parameters: Sequence[Sequence[float]] | None) -> NDArray[np.void]:
    """Every parameter of every voice where it begins, (voices x PARAMETERS). Raises ValueError."""
    glides = np.zeros(voices * PARAMETERS, GLIDE)
    values = starting_values(voices, parameters)
    if values.shape != (voices, PARAMETERS) or not np.isfinite(values).all():
        raise ValueError(f"parameters: shape {values.shape}: {PARAMETERS} finite values for each of {voices} voices")
    glides["target"] = values.reshape(-1)
    glides["end"] = LONG_AGO
    glides["low"], glides["high"] = np.tile(LOWEST, voices), np.tile(HIGHEST, voices)
    return glides


def make_modulations(voices: int) -> NDArray[np.void]:
    """Nothing moves them yet, (voices x PARAMETERS)."""
    glides = np.zeros(voices * PARAMETERS, GLIDE)
    glides["end"] = LONG_AGO
    span = np.subtract(HIGHEST, LOWEST)
    glides["low"], glides["high"] = np.tile(-span, voices), np.tile(span, voices)
    return glides


def make_pairs(pairs: int) -> dict[str, NDArray[Any]]:
    """What the pairs of channels need: with one, the limiter of the stereo sum is all there is."""
    several = pairs if pairs > 1 else 0
    limiters = np.full((1 + several, LIMITER_RINGS, LIMITER_ROOM), 0.0)
    limiters[:, :2] = 1.0  # need and held
    return {
        "limiters": limiters,
        "buses": np.full((max(1, several), 2, MAX_TURN), 0.0),
        "wide": np.full((MAX_TURN, 2 * max(1, several)), 0.0, np.float32),
    }


def make_shapes(rows: int, sample_rate: int) -> dict[str, NDArray[Any]]:
    """What filters and drives need, (rows), and every voice's share in each pair of channels."""
    return {
        "shape_memory": np.zeros(rows, SHAPE),
        "line_memory": np.full((rows, 3, LINE), 0.0),
        "tangents": tangents(sample_rate),
        "share_memory": np.full((rows, MAX_PAIRS), 0.0),
    }


def starting_values(voices: int, parameters: Sequence[Sequence[float]] | None) -> NDArray[np.float64]:
    """Starting values, (voices, PARAMETERS); rows of an older log, which knew fewer, are filled up."""
    rows = [DEFAULTS] * voices if parameters is None else parameters
    lengths = sorted({len(row) for row in rows})
    if not lengths or lengths[0] < OLDEST or lengths[-1] > PARAMETERS:
        raise ValueError(f"parameters: rows of {lengths}: {PARAMETERS} values for each voice expected")
    return np.array([[*row, *DEFAULTS[len(row) :]] for row in rows], np.float64)


def make_decks(start: Sequence[int]) -> NDArray[np.void]:
    """Both decks of each voice on the slot it begins with, (2 x voices)."""
    decks = np.zeros(2 * len(start), DECK)
    for v, k in enumerate(start):
        decks["slot"][2 * v : 2 * v + 2] = k
    decks["partner"] = -1
    return decks
