"""Commands on their way from the ring to their sample, and events on their way back.

Render thread only, compiled. Two lists of pending commands, each in falling order of ``at`` so that the next is the
last: ``front`` for what changes the networks, ``later`` for what changes the mix (see ``instrument.audio.state``).
"""

from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.memory import INNER, get_i64, set_i64
from instrument.audio.state import COMMAND, EVERY, PENDING, ZERO, Record, command_at
from instrument.controls import AHEAD, OVERTAKEN, REFUSED, Op
from instrument.shared import (
    COMMAND_SLOTS,
    EVENT_SLOTS,
    NEVER,
    RECORD,
    W_COMMAND_READ,
    W_COMMANDS,
    W_EVENT_READ,
    W_EVENT_WRITE,
    W_EVENTS,
    bits_of,
    float_of,
    load_acquire,
    pack,
    put_record,
    store_release,
)

_COMMAND_WORDS = COMMAND.itemsize // 8
_SET, _SWITCH, _RESUME = int(Op.SET), int(Op.SWITCH), int(Op.RESUME)
_RESEED, _SEED, _MOMENT, _GROW = int(Op.RESEED), int(Op.SEED), int(Op.MOMENT), int(Op.GROW)
_MODULATE = int(Op.MODULATE)
_LOAD, _DROP, _FAIL = int(Op.LOAD), int(Op.DROP), int(Op.FAIL)
_LOOP, _UNLOOP, _PARTNER = int(Op.LOOP), int(Op.UNLOOP), int(Op.PARTNER)
_EVENTS_LOST, _VOID = np.int64(Op.EVENTS_LOST), np.int64(REFUSED | OVERTAKEN)


@njit(**INNER)
def take_commands(core: Record, written: int) -> None:
    """Move what is on the ring up to command ``written`` to the lists, as far as they have room."""
    read: int = load_acquire(core.words, W_COMMAND_READ)
    while read < written and core.front_count < PENDING and core.mix_count < PENDING:
        base = get_i64(core.words, W_COMMANDS) + (read & (COMMAND_SLOTS - 1)) * RECORD
        kind = get_i64(core.words, base + 1)
        op = kind & 0xFFFF
        ahead = op in (_SET, _MODULATE) and ((kind >> 32) & 0xFFFF) in AHEAD
        if op in (_SWITCH, _RESUME) and read + 1 < core.overtaken:
            refuse(core, base)
        elif ahead or op in (_SWITCH, _RESEED, _SEED, _MOMENT, _GROW, _LOAD, _DROP, _FAIL, _LOOP, _UNLOOP, _PARTNER):
            place(core.words, base, core.front, core.front_count)
            core.front_count += 1
        else:
            place(core.words, base, core.later, core.mix_count)
            core.mix_count += 1
        core.commands += 1
        read += 1
    store_release(core.words, W_COMMAND_READ, read)


@njit(**INNER)
def refuse(core: Record, base: int) -> None:
    """Tell that the command at ``base`` of the ring is void."""
    words = core.words
    kind = get_i64(words, base + 1) | _VOID << 48
    value, ramp = float_of(get_i64(words, base + 2)), get_i64(words, base + 3)
    send_event(core, core.mix, kind, value, ramp, get_i64(words, base + 4), 0.0, get_i64(words, base + 6))


@njit(**INNER)
def overtake(core: Record, pending: int, count: int) -> int:
    """Refuse the switches and resumes among ``count`` pending commands. Returns how many are left."""
    left = 0
    for i in range(count):
        c = command_at(pending, i)
        if c.op in (_SWITCH, _RESUME):
            echo(core, core.mix, c, _VOID, ZERO)
        else:
            copy_record(pending, left, i)
            left += 1
    return left


@njit(**INNER)
def place(words: int, base: int, pending: int, count: int) -> None:
    """Insert the record at ``base`` so that ``at`` falls along the list and equal ones leave in order of arrival."""
    at = get_i64(words, base)
    i = count
    while i > 0 and command_at(pending, i - 1).at <= at:
        copy_record(pending, i, i - 1)
        i -= 1
    kind = get_i64(words, base + 1)
    slot = command_at(pending, i)
    slot.at = at
    slot.op = kind & 0xFFFF
    slot.voice = signed16(kind >> 16)
    slot.parameter = (kind >> 32) & 0xFFFF
    slot.flags = (kind >> 48) & 0x7FFF
    slot.value = float_of(get_i64(words, base + 2))
    slot.ramp = get_i64(words, base + 3)
    slot.number = get_i64(words, base + 4)
    slot.serial = get_i64(words, base + 6)


@njit(**INNER)
def copy_record(pending: int, to: int, source: int) -> None:
    """pending[to] = pending[source]"""
    words = _COMMAND_WORDS
    for i in range(words):
        set_i64(pending, to * words + i, get_i64(pending, source * words + i))


@njit(**INNER)
def signed16(bits: int) -> int:
    """The low 16 bits as a signed number."""
    low = bits & 0xFFFF
    return low - 0x10000 if low >= 0x8000 else low


@njit(**INNER)
def next_at(pending: int, count: int) -> int:
    """Session sample of the next pending command, or NEVER."""
    if count == 0:
        return NEVER
    at: int = command_at(pending, count - 1).at
    return at


@njit(**INNER)
def tell(
    core: Record, at: int, op: int, voice: int, parameter: int, number: int, ramp: int, value: float, flags: int
) -> None:
    """Put an event of the loop's own on the ring."""
    send_event(core, at, pack(op, voice, parameter, flags), value, ramp, number, 0.0, ZERO)


@njit(**INNER)
def echo(core: Record, at: int, c: Record, flags: int, late: int) -> None:
    """Tell that command ``c`` took effect at session sample ``at``."""
    send_event(
        core, at, pack(c.op, c.voice, c.parameter, c.flags | flags), c.value, c.ramp, c.number, float(late), c.serial
    )


@njit(**INNER)
def send_event(
    core: Record, at: int, kind: int, value: float, ramp: int, number: int, late: float, serial: int
) -> None:
    """Put an event on its ring; when that is full, count what is lost, and tell so before the next that fits."""
    write: int = load_acquire(core.words, W_EVENT_WRITE)
    room: int = EVENT_SLOTS - (write - load_acquire(core.words, W_EVENT_READ))
    if room > 0 and core.events_untold > 0:
        lost = pack(_EVENTS_LOST, EVERY, ZERO, ZERO)
        put_event(core, write, core.events_from, lost, 0.0, ZERO, core.events_untold, 0.0, ZERO)
        core.events_untold = 0
        write += 1
        room -= 1
    if room > 0:
        put_event(core, write, at, kind, value, ramp, number, late, serial)
        return
    if core.events_untold == 0:
        core.events_from = at
    core.events_untold += 1
    core.events_lost += 1


@njit(**INNER)
def put_event(
    core: Record, write: int, at: int, kind: int, value: float, ramp: int, number: int, late: float, serial: int
) -> None:
    """Event number ``write``, for which there is room."""
    base = get_i64(core.words, W_EVENTS) + (write & (EVENT_SLOTS - 1)) * RECORD
    put_record(core.words, base, at, kind, value, ramp, number, late, serial)
    store_release(core.words, W_EVENT_WRITE, write + 1)


@njit(**INNER)
def publish(words: int, place: int, value: float) -> None:
    """One float of a snapshot."""
    store_release(words, place, bits_of(value))
