"""The audio ring and the tap: where finished frames go, and where a callback or a disk thread finds them.

Writers run on the render thread, compiled. The ring goes to the device (``instrument.audio.callback``), the tap to a
recorder (``Link.tap``). Indices count frames for ever, so the ring's are session samples. The writer waits for
neither: the loop looks for room before it makes anything, and a full tap costs zeros of equal length, which are told.
"""

from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.memory import INNER, get_f32, get_i64, set_f32
from instrument.audio.pending import tell
from instrument.audio.state import EVERY, MAX_TURN, ZERO, Record
from instrument.controls import Op
from instrument.shared import (
    W_CHANNELS,
    W_OFFLINE,
    W_RING,
    W_RING_FRAMES,
    W_RING_MASK,
    W_RING_READ,
    W_RING_WRITE,
    W_STOP,
    W_TAP,
    W_TAP_FRAMES,
    W_TAP_OPEN,
    W_TAP_READ,
    W_TAP_WRITE,
    load_acquire,
    store_release,
)

_TAP_OVERFLOW = np.int64(Op.TAP_OVERFLOW)
ABANDONED = 2  # value of the stop flag: nobody reads the ring any more, end without it


@njit(**INNER)
def ring_room(words: int) -> int:
    """Frames that may be written now."""
    room: int = get_i64(words, W_RING_FRAMES) - (load_acquire(words, W_RING_WRITE) - load_acquire(words, W_RING_READ))
    return room


@njit(**INNER)
def tap_room(words: int) -> int:
    """Frames the tap has room for."""
    room: int = get_i64(words, W_TAP_FRAMES) - (load_acquire(words, W_TAP_WRITE) - load_acquire(words, W_TAP_READ))
    return room


@njit(**INNER)
def send(core: Record, count: int) -> None:
    """Hand the ``count`` frames of this turn to the tap, if open, and to the ring."""
    words = core.words
    if get_i64(words, W_TAP_OPEN) != 0:
        send_tap(core, count)
    if get_i64(words, W_OFFLINE) != 0:
        return
    write: int = load_acquire(words, W_RING_WRITE)
    if load_acquire(words, W_STOP) < ABANDONED or ring_room(words) >= count:
        channels = get_i64(words, W_CHANNELS)
        frames = core.wide if core.pairs > 1 else core.out
        for i in range(count):
            place = get_i64(words, W_RING) + channels * ((write + i) & get_i64(words, W_RING_MASK))
            for c in range(channels):
                set_f32(core.samples, place + c, get_f32(frames, channels * i + c))
        store_release(words, W_RING_WRITE, write + count)


@njit(**INNER)
def send_tap(core: Record, count: int) -> None:
    """Frames to the tap; what finds no room becomes zeros of equal length as soon as there is some."""
    words = core.words
    if core.tap_missing > 0:
        zeros = min(core.tap_missing, tap_room(words), MAX_TURN)  # a burst a turn: a hole may be seconds long
        put_zeros(core, zeros)
        core.tap_missing -= zeros
    if core.tap_missing > 0 or tap_room(words) < count:
        if core.tap_from < 0:
            core.tap_from = core.frames - count
        core.tap_missing += count
        core.tap_lost += count
        return
    if core.tap_from >= 0:
        tell_overflow(core, count)
    put_tap(core, count)


@njit(**INNER)
def tell_overflow(core: Record, count: int) -> None:
    """Tell of the hole that ends ``count`` frames before the position."""
    length = core.frames - count - core.tap_from
    tell(core, core.tap_from, _TAP_OVERFLOW, EVERY, ZERO, length, ZERO, 0.0, ZERO)
    core.tap_from = -1


@njit(**INNER)
def put_tap(core: Record, count: int) -> None:
    """Append the first ``count`` frames of this turn."""
    words = core.words
    write: int = load_acquire(words, W_TAP_WRITE)
    mask = get_i64(words, W_TAP_FRAMES) - 1
    for i in range(count):
        place = get_i64(words, W_TAP) + 2 * ((write + i) & mask)
        set_f32(core.samples, place, get_f32(core.out, 2 * i))
        set_f32(core.samples, place + 1, get_f32(core.out, 2 * i + 1))
    store_release(words, W_TAP_WRITE, write + count)


@njit(**INNER)
def put_zeros(core: Record, count: int) -> None:
    """Append ``count`` silent frames."""
    words = core.words
    write: int = load_acquire(words, W_TAP_WRITE)
    mask = get_i64(words, W_TAP_FRAMES) - 1
    for i in range(count):
        place = get_i64(words, W_TAP) + 2 * ((write + i) & mask)
        set_f32(core.samples, place, np.float32(0.0))
        set_f32(core.samples, place + 1, np.float32(0.0))
    store_release(words, W_TAP_WRITE, write + count)
