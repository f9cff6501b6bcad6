"""Small arithmetic of the sound path: curves, filters, the limiter, the resampler.

Tables are made in NumPy before anything plays; the compiled functions run on the render thread, one sample at a time,
so that nothing depends on how the loop cuts its turns. sin and exp are our own polynomials: a set then replays to the
bit on another machine's maths library.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

import math
from dataclasses import dataclass

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit
from numpy.typing import NDArray

from instrument.audio.memory import get_f32, get_f64, set_f64

HIGHPASS_HZ = 25.0
MONO_HZ = 150.0  # of the filter of what differs between sides, twice in a row: below 120 Hz 10.7 dB and more are gone
EDGE_HZ = 2000.0  # above, sides differ by 3 dB more than their network has them differ
LOOKAHEAD_S = 0.001
CEILING = 0.98  # of full scale: 24-bit PCM and the next converter keep a margin
RELEASE_S = 0.08

_TAPS = 72  # zero crossings of the lower rate on each side
_STOP_DB = 100.0
_PHASES = 1024


@njit(cache=True, nogil=True, error_model="numpy")
def quarter_sine(x: float) -> float:
    """sin(x pi / 2) for x in 0..1, exactly 0 and 1 at the ends; Taylor to the 15th power, off by less than 1e-11."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    a = x * 1.5707963267948966
    b = a * a
    s = 1.0 - b / 210.0
    s = 1.0 - b / 156.0 * s
    s = 1.0 - b / 110.0 * s
    s = 1.0 - b / 72.0 * s
    s = 1.0 - b / 42.0 * s
    s = 1.0 - b / 20.0 * s
    s = 1.0 - b / 6.0 * s
    return a * s


@njit(cache=True, nogil=True, error_model="numpy")
def smooth(x: float) -> float:
    """A fade's shape: 0 below 0, 1 above 1, 3x^2 - 2x^3 between."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    return x * x * (3.0 - 2.0 * x)


@njit(cache=True, nogil=True, error_model="numpy")
def power_of_two(y: float) -> float:
    """2^y: the whole part by doubling, the fraction by the exponential series to the 12th power."""
    whole = math.floor(y)
    a = (y - whole) * 0.6931471805599453
    e = 1.0
    for k in range(12, 0, -1):
        e = 1.0 + a / k * e
    for _ in range(int(abs(whole))):
        e = e * 2.0 if whole > 0 else e * 0.5
    return e


@njit(cache=True, nogil=True, error_model="numpy")
def amplitude(decibels: float) -> float:
    """10^(dB / 20); below -54 dB it also falls linearly, to exactly 0 at -60. Exactly 1 at 0 dB."""
    if decibels <= -60.0:
        return 0.0
    e = power_of_two(min(decibels, 60.0) * 0.16609640474436813)
    if decibels < -54.0:
        e = e * ((decibels + 60.0) / 6.0)
    return e


def highpass(rate: int, hertz: float = HIGHPASS_HZ) -> NDArray[np.float64]:
    """b0, b1, b2, a1, a2 of a second-order Butterworth high-pass, bilinear with prewarping (a0 = 1)."""
    k = math.tan(math.pi * min(hertz, 0.4 * rate) / rate)
    scale = 1.0 / (1.0 + math.sqrt(2.0) * k + k * k)
    return np.array([scale, -2 * scale, scale, 2 * (k * k - 1) * scale, (1 - math.sqrt(2.0) * k + k * k) * scale])


def lookahead(rate: int) -> int:
    """The limiter's delay in samples: at most a millisecond."""
    return max(1, int(LOOKAHEAD_S * rate))


# The bipolar filter: cutoffs in Hz near the knob's centre, and octaves from there to its ends (60 Hz, 8 kHz). The
# octaves are literal, as a logarithm would be the maths library's.
LOW_PASS, HIGH_PASS = (18_000.0, -8.228818690495881), (20.0, 8.643856189774725)
SWEEP = 512  # steps of the tables of cutoffs
DAMPING = 0.8  # 1 / Q: a peak of 2.7 dB


def cutoff(knob: float, rate: int) -> float:
    """Cutoff in Hz of the filter at ``knob``: of the low-pass below 0, of the high-pass above; exponential in it."""
    near, octaves = LOW_PASS if knob < 0 else HIGH_PASS
    return min(0.45 * rate, near * float(power_of_two(octaves * min(1.0, abs(knob)))))


def tangents(rate: int) -> NDArray[np.float64]:
    """tan(pi cutoff / rate), (2, SWEEP + 1): of the low-pass and of the high-pass, from the knob's centre outwards."""
    steps = np.arange(SWEEP + 1) / SWEEP
    share = np.array([[cutoff(sign * max(step, 1e-9), rate) / rate for step in steps] for sign in (-1, 1)])
    sine, cosine = (np.vectorize(quarter_sine)(x) for x in (2 * share, 1 - 2 * share))
    made: NDArray[np.float64] = np.ascontiguousarray(sine / cosine)
    return made


# Branch of a half-band filter of 31 taps: Kaiser's window, beta 6; its ends first. Literal, as any table of sin and
# Bessel functions would be the maths library's.
HALFBAND = (
    -0.001531549723,
    0.005365973234,
    -0.013278120605,
    0.02768289861,
    -0.052563523015,
    0.096901226861,
    -0.192664536011,
    0.630087630649,
)


LIMITER_ROOM = 512  # samples of each of a limiter's rings; look-ahead is 384 at the highest rate
LIMITER_RINGS = 4


@njit(cache=True, nogil=True, error_model="numpy")
def limit(need: int, held: int, at: int, ahead: int, release: float) -> float:
    """Gain of the sample that leaves the limiter when sample ``at`` enters.

    ``need`` and ``held`` are addresses of rings of LIMITER_ROOM float64, 1 before the start; ``need[at]`` is the gain
    that sample would need (1 when below the ceiling). The lowest need of the last ahead + 1 samples, recovering
    exponentially, is averaged over ahead + 1 samples: every term of that mean is at most the need of the sample now
    leaving, hence so is the mean, and the ceiling is never passed.
    """
    mask = LIMITER_ROOM - 1
    low = 1.0
    for i in range(ahead + 1):
        low = min(low, get_f64(need, (at - i) & mask))
    before = get_f64(held, (at - 1) & mask)
    back = before + (1.0 - before) * release
    set_f64(held, at & mask, min(low, 1.0 if back > 0.99999 else back))
    total = 0.0
    for i in range(ahead + 1):
        total += get_f64(held, (at - i) & mask)
    return min(1.0, total / (ahead + 1))


@dataclass(frozen=True)
class Resampler:
    """From a network's rate to the session's, ``source`` / ``target`` in lowest terms.

    Attributes:
        source, target: the ratio in lowest terms.
        taps: network samples that make one session sample; 0 when the rates agree.
        phases: rows of ``table`` less one.
        table: (phases + 1, taps) float32; row p weighs the samples around a moment p / phases after one of them.
        delay: session samples by which the network runs ahead of the mix. The sound itself is not shifted.
    """

    source: int
    target: int
    taps: int
    phases: int
    table: NDArray[np.float32]
    delay: int


def make_resampler(network_rate: int, session_rate: int) -> Resampler:
    """Kaiser-windowed sinc, 100 dB, stopping at the lower rate's Nyquist (Crochiere and Rabiner 1983; Kaiser 1974).

    Ratios of up to 1024 phases are exact; others interpolate linearly between 1024, an error below
    (pi / 1024)^2 / 8, or -118 dB.
    """
    common = math.gcd(network_rate, session_rate)
    source, target = network_rate // common, session_rate // common
    if source == target:
        return Resampler(1, 1, 0, 1, np.zeros((2, 1), np.float32), 0)
    narrow = min(1.0, target / source)  # of the network's own band
    half = math.ceil(_TAPS / narrow)
    phases = target if target <= _PHASES else _PHASES
    # a transition this wide ends just below the lower Nyquist: Kaiser's width for 2 half taps
    width = (_STOP_DB - 7.95) / (2.285 * math.pi * (2 * half - 1))
    cutoff = narrow - 0.53 * width
    offsets = np.arange(2 * half)[None, :] - (half - 1) - np.arange(phases + 1)[:, None] / phases
    window = np.i0(_kaiser_beta(_STOP_DB) * np.sqrt(np.maximum(0.0, 1.0 - (offsets / half) ** 2)))
    table = cutoff * np.sinc(cutoff * offsets) * window
    table /= table.sum(axis=1, keepdims=True)
    delay = math.ceil((half + 1) * target / source)
    return Resampler(source, target, 2 * half, phases, np.ascontiguousarray(table, np.float32), delay)


def _kaiser_beta(decibels: float) -> float:
    return 0.1102 * (decibels - 8.7)


@njit(cache=True, nogil=True, error_model="numpy")
def network_index(sample: int, source: int, target: int) -> int:
    """How many network samples lie before session sample ``sample``: ceil(sample source / target)."""
    return -((-sample * source) // target)


@njit(cache=True, nogil=True, error_model="numpy")
def resampled(past: int, mask: int, sample: int, source: int, target: int, taps: int, phases: int, table: int) -> float:
    """Session sample ``sample`` out of the ring of float32 network samples at address ``past``."""
    if taps == 0:
        return float(get_f32(past, sample & mask))
    place = sample * source
    first = place // target - (taps // 2 - 1)
    turn = (place % target) * phases
    row = turn // target
    rest = (turn - row * target) / target
    total = dot(past, mask, first, taps, table + row * taps * 4)
    if rest > 0.0:
        total += rest * (dot(past, mask, first, taps, table + (row + 1) * taps * 4) - total)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def dot(past: int, mask: int, first: int, taps: int, row: int) -> float:
    """Sum of ``taps`` (even) products in two interleaved sums, in float64."""
    even, odd = 0.0, 0.0
    for i in range(0, taps, 2):
        even += float(get_f32(past, (first + i) & mask)) * float(get_f32(row, i))
        odd += float(get_f32(past, (first + i + 1) & mask)) * float(get_f32(row, i + 1))
    return even + odd
