"""What a voice's sound goes through before it is mixed: the saturator and the bipolar filter.

Render thread only, compiled; one sample at a time with state in records, so that nothing depends on how turns are cut.
At rest, with drive 0 and filter 0, nothing here runs and not a bit changes. What comes before and after is left to
``instrument.audio.mix``.

Both are made for knobs that a hand turns. The filter is the state-variable one of A. Simper, "Solving the continuous
SVF equations using trapezoidal integration and equivalent currents" (Cytomic 2013). Without input the sum of the
squares of its two states falls by 4 g DAMPING v1^2 a sample, whatever g >= 0 that sample has: no way of sweeping it
makes it grow. The saturator is x / sqrt(1 + (a x)^2), at twice the rate, by the first-order antiderivative of J.
Parker, V. Zavalishin and E. Le Bivic, "Reducing the aliasing of nonlinear waveshaping using continuous-time
convolution" (DAFx 2016), which for this curve is (x1 + x0) / (r1 + r0) with r = sqrt(1 + (a x)^2): there is no case to
guard, and sqrt is exact on every machine.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import math

import numpy as np
from numba import njit

from instrument.audio.decks import rest_of, value_at
from instrument.audio.dsp import DAMPING, HALFBAND, SWEEP, amplitude, smooth
from instrument.audio.memory import INNER, get_f64, set_f64
from instrument.audio.state import LINE, Record, shape_at, slot_at, voice_at
from instrument.controls import DRIVE, FILTER

_FILTER, _DRIVE = np.int64(FILTER), np.int64(DRIVE)
NEAR = 0.05  # of the knob on either side of its centre: there the filter is mixed in, so that 0 is no sound of its own
FILL = 2 * LINE  # samples until the saturator's delay lines hold nothing old
MAKEUP = 0.4  # of the power heard: what plays stays within 2.5 dB over the whole knob; what fell silent rises by 8
H0, H1, H2, H3, H4, H5, H6, H7 = HALFBAND


@njit(**INNER)
def is_shaped(core: Record, v: int, row: int, at: int) -> bool:
    """Whether filter or drive of voice v's side that is ``row`` do anything from session sample ``at`` on."""
    shape = shape_at(core.shape_memory, row)
    filters = at < rest_of(core, v, _FILTER) or value_at(core, v, _FILTER, at) != 0.0
    drives = at < rest_of(core, v, _DRIVE) or value_at(core, v, _DRIVE, at) != 0.0
    if not filters:
        shape.half = 0
    return filters or drives or shape.count > 0


@njit(**INNER)
def shaped(core: Record, v: int, row: int, x: float, at: int) -> float:
    """Sample ``at`` of voice v's side that is ``row``, driven and filtered."""
    drive, knob = value_at(core, v, _DRIVE, at), value_at(core, v, _FILTER, at)
    shape = shape_at(core.shape_memory, row)
    if drive > 0.0 or shape.count > 0:
        if shape.count == 0:
            shape.power, shape.mean = power_of(core, v, row), 0.0
        x = driven(core, shape, core.line_memory + row * 3 * LINE * 8, x, at, drive)
    return swept(core, shape, x, knob)


@njit(**INNER)
def swept(core: Record, shape: Record, x: float, knob: float) -> float:
    """The filter: a low-pass below 0, a high-pass above, nothing at all at 0."""
    half = 1 if knob > 0.0 else -1 if knob < 0.0 else 0
    if half != shape.half:
        shape.half = half
        shape.band, shape.low = 0.0, 0.0
    if half == 0:
        return x
    if knob != shape.knob:
        shape.knob = knob
        place = abs(knob) * SWEEP
        i = min(int(place), SWEEP - 1)
        row = core.tangents + (SWEEP + 1) * 8 if half > 0 else core.tangents
        g = get_f64(row, i)
        shape.g = g + (place - i) * (get_f64(row, i + 1) - g)
    g = shape.g
    a1 = 1.0 / (1.0 + g * (g + DAMPING))
    v3 = x - shape.low
    v1 = a1 * (shape.band + g * v3)
    v2 = shape.low + g * v1
    shape.band, shape.low = 2.0 * v1 - shape.band, 2.0 * v2 - shape.low
    y = x - DAMPING * v1 - v2 if half > 0 else v2
    return y if abs(knob) >= NEAR else x + smooth(abs(knob) / NEAR) * (y - x)


@njit(**INNER)
def power_of(core: Record, v: int, row: int) -> float:
    """Mean square of about the last half second of voice v's side that is ``row``, as the mix hears it."""
    gain = slot_at(core.slot_memory, voice_at(core.voice_memory, v).slot).gain
    return voice_at(core.voice_memory, row).runaway * gain * gain


@njit(**INNER)
def driven(core: Record, shape: Record, lines: int, x: float, at: int, drive: float) -> float:
    """The saturator, LINE - 1 samples late; it is faded in and out over a glide when it comes and goes."""
    shape.count = min(shape.count + 1, FILL + core.glide) if drive > 0.0 else shape.count - 1
    if drive != shape.drive:
        shape.drive = drive
        shape.amount = max(1e-6, amplitude(drive) - 1.0)
    square = x * x
    shape.power += (core.drive_rise if square > shape.power else core.drive_fall) * (square - shape.power)
    y = saturated(shape, lines, x, at) * math.sqrt(1.0 + MAKEUP * shape.power * shape.amount * shape.amount)
    shape.mean += core.drive_mean * (y - shape.mean)
    if shape.count <= FILL:
        return x
    share = smooth((shape.count - FILL) / core.glide)
    return x + share * (y - shape.mean - x)


@njit(**INNER)
def saturated(shape: Record, lines: int, x: float, at: int) -> float:
    """x / sqrt(1 + (amount x)^2) at twice the rate and back. ``lines``: x, and what came of both phases."""
    even, odd = lines + LINE * 8, lines + 2 * LINE * 8
    set_f64(lines, at & (LINE - 1), x)
    first, second = get_f64(lines, (at - LINE // 2) & (LINE - 1)), branch(lines, at)
    a = shape.amount * shape.amount
    root, root_of_second = math.sqrt(1.0 + a * first * first), math.sqrt(1.0 + a * second * second)
    set_f64(even, at & (LINE - 1), (first + shape.last) / (root + shape.root))
    set_f64(odd, at & (LINE - 1), (second + first) / (root_of_second + root))
    shape.last, shape.root = second, root_of_second
    return 0.5 * (get_f64(even, (at - LINE // 2 + 1) & (LINE - 1)) + branch(odd, at))


@njit(**INNER)
def branch(line: int, at: int) -> float:
    """The half-band filter's outer taps on the last LINE samples: what lies half way between the middle two."""
    m = LINE - 1
    total = H0 * (get_f64(line, at & m) + get_f64(line, (at - 15) & m))
    total += H1 * (get_f64(line, (at - 1) & m) + get_f64(line, (at - 14) & m))
    total += H2 * (get_f64(line, (at - 2) & m) + get_f64(line, (at - 13) & m))
    total += H3 * (get_f64(line, (at - 3) & m) + get_f64(line, (at - 12) & m))
    total += H4 * (get_f64(line, (at - 4) & m) + get_f64(line, (at - 11) & m))
    total += H5 * (get_f64(line, (at - 5) & m) + get_f64(line, (at - 10) & m))
    total += H6 * (get_f64(line, (at - 6) & m) + get_f64(line, (at - 9) & m))
    return total + H7 * (get_f64(line, (at - 7) & m) + get_f64(line, (at - 8) & m))
