"""Where a voice goes among the output's pairs of channels, and the limiters at their ends.

Render thread only, compiled. With two channels there is one limiter, of the stereo sum; with more there is one for each
pair besides. Recordings, files and replays have the sum, which knows nothing of pairs: so what the pairs do may depend
on the device.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.decks import glide_value
from instrument.audio.dsp import CEILING, LIMITER_RINGS, LIMITER_ROOM, limit, quarter_sine
from instrument.audio.memory import INNER, get_f64, set_f32, set_f64
from instrument.audio.state import MAX_PAIRS, MAX_TURN, Record, glide_at, voice_at
from instrument.controls import OUTPUT, PARAMETERS
from instrument.shared import W_PAIRS, load_acquire

LEFT, RIGHT = 2 * LIMITER_ROOM, 3 * LIMITER_ROOM  # of a limiter's rings


@njit(**INNER)
def pair_of(core: Record, v: int) -> int:
    """The pair of channels, from 0, that voice v goes to: the first where the device lacks what was asked for."""
    i = v * PARAMETERS + OUTPUT
    glide = glide_at(core.glide_memory, i)
    wanted = glide.target + glide_value(glide_at(core.modulation_memory, i), core.mix)
    pair = int(min(max(wanted, glide.low), glide.high) + 0.5) - 1
    return pair if pair < min(core.pairs, load_acquire(core.words, W_PAIRS)) else 0


@njit(**INNER)
def share_out(core: Record, v: int, i: int, left: float, right: float) -> None:
    """Sample i of voice v to its pair, crossfading over a glide, of equal power, if that has changed."""
    step, pair = 1.0 / core.glide, voice_at(core.voice_memory, v).pair
    for k in range(core.pairs):
        share = get_f64(core.share_memory, v * MAX_PAIRS + k)
        share = min(1.0, share + step) if k == pair else max(0.0, share - step)
        set_f64(core.share_memory, v * MAX_PAIRS + k, share)
        if share > 0.0:
            gain = quarter_sine(share)
            bus = core.buses + 2 * k * MAX_TURN * 8
            set_f64(bus, i, get_f64(bus, i) + gain * left)
            set_f64(bus, MAX_TURN + i, get_f64(bus, MAX_TURN + i) + gain * right)


@njit(**INNER)
def clear_buses(core: Record, n: int) -> None:
    """Silence on every pair."""
    for side in range(2 * core.pairs):
        for i in range(n):
            set_f64(core.buses, side * MAX_TURN + i, 0.0)


@njit(**INNER)
def limit_pairs(core: Record, i: int, whole: float, out: int) -> None:
    """Sample i of every pair through a limiter of its own: what is loud on one is no business of the others."""
    for k in range(core.pairs):
        bus = core.buses + 2 * k * MAX_TURN * 8
        left, right = get_f64(bus, i) * whole, get_f64(bus, MAX_TURN + i) * whole
        rings = core.limiters + (k + 1) * LIMITER_RINGS * LIMITER_ROOM * 8
        limited(core, rings, core.mix + i, left, right, core.wide, 2 * (out * core.pairs + k))


@njit(**INNER)
def limited(core: Record, rings: int, at: int, left: float, right: float, out: int, place: int) -> float:
    """Sample ``at`` enters a limiter; the one ``ahead`` before it leaves to ``out[place]``, if there is one.

    Returns the gain it leaves with, -1 if there is none. ``rings``: need, held, left and right, LIMITER_ROOM each.
    """
    peak = max(abs(left), abs(right))
    if not peak < 1e9:
        left, right, peak = 0.0, 0.0, 0.0
    mask = LIMITER_ROOM - 1
    set_f64(rings, at & mask, 1.0 if peak <= CEILING else CEILING / peak)
    set_f64(rings, LEFT + (at & mask), left)
    set_f64(rings, RIGHT + (at & mask), right)
    gain = limit(rings, rings + LIMITER_ROOM * 8, at, core.ahead, core.release)
    leaving = at - core.ahead
    if leaving < 0:
        return -1.0
    left = min(max(get_f64(rings, LEFT + (leaving & mask)) * gain, -CEILING), CEILING)
    right = min(max(get_f64(rings, RIGHT + (leaving & mask)) * gain, -CEILING), CEILING)
    set_f64(rings, LEFT + (leaving & mask), left)
    set_f64(rings, RIGHT + (leaving & mask), right)
    set_f32(out, place, np.float32(left))
    set_f32(out, place + 1, np.float32(right))
    return gain
