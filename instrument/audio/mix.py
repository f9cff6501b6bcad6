"""From the networks' sound to the frames that leave: crossfade, high-pass, gain, pan, mix, fuse.

Render thread only, compiled; one sample at a time with state in records, so that nothing depends on how turns are cut.
What the networks make is left to ``instrument.audio.generating``, filter and drive to ``shape``, pairs of channels and
limiters to ``channels``, where the frames go to ``ring``.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.channels import LEFT, RIGHT, clear_buses, limit_pairs, limited, pair_of, share_out
from instrument.audio.decks import past_of, rest_of, value_at
from instrument.audio.dsp import LIMITER_ROOM, amplitude, quarter_sine, resampled, smooth
from instrument.audio.memory import INNER, get_f64, set_f64
from instrument.audio.parking import rest_gain
from instrument.audio.pending import tell
from instrument.audio.shape import is_shaped, shaped
from instrument.audio.state import FADING, PARKED, PAST, ZERO, Record, deck_at, slot_at, voice_at
from instrument.controls import GAIN, LEVEL, MUTE, PAN, WIDTH, Op
from instrument.shared import NEVER

WIDER = 0.4142135623730951  # of what differs between sides, on top of it, above dsp.EDGE_HZ: 3 dB
RUNAWAY = 0.8  # mean square over about a second (a full-scale square has 1, a full-scale sine 0.5)
NOT_FINITE, TOO_LOUD = np.int64(0), np.int64(1)
_FUSE = np.int64(Op.FUSE)
_GAIN, _PAN, _MUTE, _NEVER = np.int64(GAIN), np.int64(PAN), np.int64(MUTE), np.int64(NEVER)
_LEVEL, _WIDTH = np.int64(LEVEL), np.int64(WIDTH)


@njit(**INNER)
def deck_sample(core: Record, v: int, d: int, at: int) -> float:
    """Session sample ``at`` of deck d of voice v, or of that row, before the slot's gain."""
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).slot)
    return resampled(past_of(core, v, d), PAST - 1, at, slot.source, slot.target, slot.taps, slot.phases, slot.table)


@njit(**INNER)
def fuse_gain(core: Record, v: int, at: int) -> float:
    """1 in health; falls from ``fuse_at``, is 0 until ``fuse_back``, rises again."""
    voice = voice_at(core.voice_memory, v)
    if voice.fuse_at == NEVER or at < voice.fuse_at:
        return 1.0
    length = core.fuse
    if at < voice.fuse_at + length:
        return 1.0 - smooth((at - voice.fuse_at) / length)
    return smooth((at - voice.fuse_back) / length)


@njit(**INNER)
def blow(core: Record, v: int, at: int, reason: int) -> None:
    """Let voice v's fuse go at session sample ``at``, a line of the grid from where turns are cut for it, unless it
    already has."""
    voice = voice_at(core.voice_memory, v)
    if voice.fuse_at != NEVER:
        return
    voice.fuse_at = at
    voice.fuse_back = NEVER
    core.fuses += 1
    tell(core, at, _FUSE, v, reason, voice.slot, ZERO, 0.0, ZERO)


@njit(**INNER)
def next_line(core: Record, at: int) -> int:
    """The first line of the grid behind session sample ``at``: no turn that is under way reaches beyond it."""
    line: int = (at // core.turn + 1) * core.turn
    return line


@njit(**INNER)
def raw_sample(core: Record, v: int, row: int, at: int) -> float:
    """What voice v's network (or two of them, crossfading) say at ``at`` on the side that is ``row``, loudness matched.

    Watches for a runaway.
    """
    voice, own = voice_at(core.voice_memory, v), voice_at(core.voice_memory, row)
    deck = voice.deck
    x = deck_sample(core, row, deck, at)
    y = x * slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + deck).slot).gain
    if voice.phase == FADING and at >= voice.switch_at:
        t = (at - voice.switch_at + 1) / (voice.fade_length + 1)
        other = deck_sample(core, row, 1 - deck, at)
        rising, falling = quarter_sine(t), quarter_sine(1.0 - t)
        x = x * falling + other * rising
        y = (
            y * falling
            + other * rising * slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + 1 - deck).slot).gain
        )
    own.runaway += core.fuse_blend * (x * x - own.runaway)
    if own.runaway > RUNAWAY:
        blow(core, v, next_line(core, at), TOO_LOUD)
    return y


@njit(**INNER)
def filtered(core: Record, v: int, row: int, x: float, at: int) -> float:
    """The high-pass (transposed direct form II) of voice v's side that is ``row``, and the finite check."""
    own = voice_at(core.voice_memory, row)
    y = core.b0 * x + own.z1
    own.z1 = core.b1 * x - core.a1 * y + own.z2
    own.z2 = core.b2 * x - core.a2 * y
    if not abs(y) < 1e6:
        own.z1, own.z2 = 0.0, 0.0
        blow(core, v, next_line(core, at), NOT_FINITE)
        return 0.0
    return y


@njit(**INNER)
def mix_voice(core: Record, v: int, n: int) -> None:
    """Add n samples of voice v to the mix: gain and pan of each sample, equal power."""
    voice = voice_at(core.voice_memory, v)
    if voice.parked == PARKED:
        return
    start = core.mix
    shaping = is_shaped(core, v, v, start)
    voice.pair = pair_of(core, v)
    level_rests, level = rest_of(core, v, _LEVEL), value_at(core, v, _LEVEL, _NEVER)
    gain_rests, pan_rests, mute_rests = rest_of(core, v, _GAIN), rest_of(core, v, _PAN), rest_of(core, v, _MUTE)
    loudness, heard = amplitude(value_at(core, v, _GAIN, _NEVER)), 1.0 - value_at(core, v, _MUTE, _NEVER)
    place = value_at(core, v, _PAN, _NEVER)
    left, right = quarter_sine(0.5 - 0.5 * place), quarter_sine(0.5 + 0.5 * place)
    square, peak = voice.square, voice.peak
    for i in range(n):
        at = start + i
        y = filtered(core, v, v, raw_sample(core, v, v, at), at)
        if shaping:
            y = shaped(core, v, v, y, at)
        y = y * fuse_gain(core, v, at) * rest_gain(core, v, at)
        y *= loudness if at >= gain_rests else amplitude(value_at(core, v, _GAIN, at))
        y *= level if at >= level_rests else value_at(core, v, _LEVEL, at)
        y *= heard if at >= mute_rests else 1.0 - value_at(core, v, _MUTE, at)
        if at >= pan_rests:
            to_left, to_right = left, right
        else:
            p = value_at(core, v, _PAN, at)
            to_left, to_right = quarter_sine(0.5 - 0.5 * p), quarter_sine(0.5 + 0.5 * p)
        set_f64(core.left, i, get_f64(core.left, i) + y * to_left)
        set_f64(core.right, i, get_f64(core.right, i) + y * to_right)
        if core.pairs > 1:
            share_out(core, v, i, y * to_left, y * to_right)
        square += core.meter_blend * (y * y - square)
        peak = max(abs(y), peak * core.meter_fall)
    voice.square, voice.peak = square, peak


@njit(**INNER)
def apart(core: Record, v: int, side: float) -> float:
    """What differs between the sides of voice v, without its bass: below 120 Hz a stereo voice is mono.

    Above 2 kHz there is 3 dB more of it: where a network sings, its sides share the tiers' pitch and its overtones.
    """
    voice = voice_at(core.voice_memory, v)
    x = core.s0 * side + voice.side1
    voice.side1 = core.s1 * side - core.t1 * x + voice.side2
    voice.side2 = core.s2 * side - core.t2 * x
    y: float = core.s0 * x + voice.side3
    voice.side3 = core.s1 * x - core.t1 * y + voice.side4
    voice.side4 = core.s2 * x - core.t2 * y
    voice.side5 += core.edge * (y - voice.side5)
    return y + WIDER * (y - voice.side5)


@njit(**INNER)
def mix_sides(core: Record, v: int, n: int) -> None:
    """Add n samples of stereo voice v to the mix: as mix_voice, pan a balance of the same gains, width between."""
    voice, right = voice_at(core.voice_memory, v), core.voices + v
    if voice.parked == PARKED:
        return
    square, peak = voice.square, voice.peak
    shaping = is_shaped(core, v, v, core.mix) | is_shaped(core, v, right, core.mix)
    voice.pair = pair_of(core, v)
    for i in range(n):
        at = core.mix + i
        x = filtered(core, v, v, raw_sample(core, v, v, at), at)
        y = filtered(core, v, right, raw_sample(core, v, right, at), at)
        if shaping:
            x, y = shaped(core, v, v, x, at), shaped(core, v, right, y, at)
        gain = fuse_gain(core, v, at) * rest_gain(core, v, at) * amplitude(value_at(core, v, _GAIN, at))
        gain *= value_at(core, v, _LEVEL, at) * (1.0 - value_at(core, v, _MUTE, at))
        middle, side = 0.5 * (x + y) * gain, apart(core, v, 0.5 * (x - y)) * value_at(core, v, _WIDTH, at) * gain
        x, y = middle + side, middle - side
        place = value_at(core, v, _PAN, at)
        to_left, to_right = quarter_sine(0.5 - 0.5 * place), quarter_sine(0.5 + 0.5 * place)
        set_f64(core.left, i, get_f64(core.left, i) + x * to_left)
        set_f64(core.right, i, get_f64(core.right, i) + y * to_right)
        if core.pairs > 1:
            share_out(core, v, i, x * to_left, y * to_right)
        square += core.meter_blend * (0.5 * (x * x + y * y) - square)
        peak = max(abs(x), abs(y), peak * core.meter_fall)
    voice.square, voice.peak = square, peak


@njit(**INNER)
def fall_gain(core: Record, at: int) -> float:
    """Panic's fade and the way back."""
    t = (at - core.fade_start + 1) / core.fall
    gain: float = core.fade_from + (core.fade_to - core.fade_from) * smooth(t)
    return gain


@njit(**INNER)
def whole_gain(core: Record, at: int) -> float:
    """Opening, panic's and closing fade of the whole at session sample ``at``."""
    gain = fall_gain(core, at) * smooth((at + 1) / core.opening)
    if at >= core.stop_at:
        gain *= 1.0 - smooth((at - core.stop_at + 1) / core.closing)
    return gain


@njit(**INNER)
def mix(core: Record, n: int) -> int:
    """Make the next n samples of the mix and let them through the limiter. Returns how many frames left it."""
    for i in range(n):
        set_f64(core.left, i, 0.0)
        set_f64(core.right, i, 0.0)
    if core.pairs > 1:
        clear_buses(core, n)
    for v in range(core.voices):
        if core.stereo >> v & 1:
            mix_sides(core, v, n)
        else:
            mix_voice(core, v, n)
    out = np.int64(0)
    for i in range(n):
        at = core.mix + i
        whole = whole_gain(core, at)
        left, right = get_f64(core.left, i) * whole, get_f64(core.right, i) * whole
        gain = limited(core, core.limiters, at, left, right, core.out, 2 * out)
        if core.pairs > 1:
            limit_pairs(core, i, whole, out)
        if gain >= 0.0:
            left = get_f64(core.limiters, LEFT + ((at - core.ahead) & (LIMITER_ROOM - 1)))
            right = get_f64(core.limiters, RIGHT + ((at - core.ahead) & (LIMITER_ROOM - 1)))
            meter(core, left, right, gain)
            out += 1
    return int(out)


@njit(**INNER)
def meter(core: Record, left: float, right: float, gain: float) -> None:
    """Meters of what leaves, side by side."""
    core.left_peak = max(abs(left), core.left_peak * core.meter_fall)
    core.right_peak = max(abs(right), core.right_peak * core.meter_fall)
    core.left_square += core.meter_blend * (left * left - core.left_square)
    core.right_square += core.meter_blend * (right * right - core.right_square)
    core.peak_total = max(core.peak_total, abs(left), abs(right))
    core.square_total += 0.5 * (left * left + right * right)
    core.reduction = min(gain, 1.0 - (1.0 - core.reduction) * core.meter_fall)
    core.frames += 1
