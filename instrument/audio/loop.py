"""The render loop: one compiled kernel that makes the whole performance, turn by turn.

Runs on the render thread without the interpreter's lock, or, offline, on whichever thread asks for sound. A turn:
take the commands that are due, make a few samples, send them off, tell what happened. Turns lie on a fixed grid of the
session and are cut wherever something is to change, so that everything changes at its exact sample, and a replay cuts
them alike. The loop waits for room in the audio ring only, never for a lock, the tap, events or a control thread.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import math

import numpy as np
from numba import njit

from engine.cpu.memory import flush_denormals, restore_denormals
from instrument.audio.decks import end_loop, set_glide, value_at
from instrument.audio.dsp import network_index
from instrument.audio.failing import fall_back
from instrument.audio.history import grow, join
from instrument.audio.loading import admit, drop, droppable, loadable, ready
from instrument.audio.looping import LONGEST, SHORTEST, begin_loop, place_in_loop, resize_loop, turn_loops
from instrument.audio.memory import INNER, call_3, get_i64, monotonic_ns, set_i64, usleep
from instrument.audio.mix import NOT_FINITE, blow, fall_gain, mix
from instrument.audio.parking import leave, park, wake
from instrument.audio.partners import change_partners, listen, welcome
from instrument.audio.pending import echo, next_at, overtake, publish, take_commands, tell
from instrument.audio.ring import ABANDONED, ring_room, send, tap_room, tell_overflow
from instrument.audio.shedding import rested, shed, weigh
from instrument.audio.state import (
    EVERY,
    FADING,
    FAILED,
    FALLING,
    LEAVING,
    OCTAVES,
    PARKED,
    PARTS,
    PLAYING,
    PRIMING,
    SILENT,
    TIMES,
    WELL,
    ZERO,
    Record,
    command_at,
    core_at,
    deck_at,
    glide_at,
    slot_at,
    voice_at,
)
from instrument.audio.steering import steer
from instrument.audio.voices import (
    THERE,
    destination,
    end_priming,
    forget_filters,
    generate,
    jump,
    land,
    line_up,
    new_dice,
    next_change,
    reseed,
    settle,
    switch,
)
from instrument.controls import (
    ALREADY,
    GAIN,
    LENGTH_ONLY,
    MUTE,
    PAN,
    PARAMETERS,
    REFUSED,
    TEMPERATURE,
    Op,
)
from instrument.shared import (
    NEVER,
    OVERALL,
    PER_VOICE,
    W_COMMAND_WRITE,
    W_ENDED,
    W_FLOWING,
    W_HORIZON,
    W_PANIC,
    W_STOP,
    W_TAP_OPEN,
    W_TELEMETRY,
    load_acquire,
    store_release,
)

_SET, _MODULATE, _SWITCH, _RESEED = int(Op.SET), int(Op.MODULATE), int(Op.SWITCH), int(Op.RESEED)
_MOMENT, _GROW, _LOAD, _DROP = int(Op.MOMENT), int(Op.GROW), int(Op.LOAD), int(Op.DROP)
_FAIL = int(Op.FAIL)
_PARK, _WAKE = int(Op.PARK), int(Op.WAKE)
_LOOP, _UNLOOP, _PARTNER = int(Op.LOOP), int(Op.UNLOOP), int(Op.PARTNER)
_PANIC, _RESUME, _STOP, _ENDED = np.int64(Op.PANIC), np.int64(Op.RESUME), np.int64(Op.STOP), np.int64(Op.ENDED)
_REFUSED, _ALREADY = np.int64(REFUSED), np.int64(ALREADY)
_TEMPERATURE, _GAIN, _PAN, _MUTE = np.int64(TEMPERATURE), np.int64(GAIN), np.int64(PAN), np.int64(MUTE)
_FIGURES_EVERY = 1 << 14  # samples between two readings of the histogram


@njit(cache=True, nogil=True, error_model="numpy")
def run(address: int) -> bool:
    """Make sound until the closing fade is out; offline, until the horizon or a full tap. Returns whether it ended."""
    core = core_at(address, 0)
    mode = flush_denormals()
    while core.ended == 0:
        if not has_room(core):
            if core.offline != 0:
                break
            store_release(core.words, W_FLOWING, 1)
            rested(core)
            if core.stir != 0:
                call_3(core.stir, (core.stirred, ZERO, ZERO))
            usleep(core.nap)
            continue
        began = monotonic_ns()
        n = turn(core)
        if core.first_ns == 0 and core.frames > 0:
            core.first_ns = monotonic_ns()
        took = monotonic_ns() - began
        measure(core, n, took)
        weigh(core, n, took)
        show(core)
    restore_denormals(mode)
    return core.ended != 0


@njit(cache=True, nogil=True, error_model="numpy")
def refresh(address: int) -> None:
    """Bring figures and snapshot up to date; only when :func:`run` is not running."""
    core = core_at(address, 0)
    figures(core)
    show(core)


@njit(**INNER)
def has_room(core: Record) -> bool:
    """Whether a turn may be made: live, it fits the ring; offline, the horizon allows a sample and the tap a turn."""
    if core.offline != 0:
        open_tap = get_i64(core.words, W_TAP_OPEN) != 0
        return core.mix - core.ahead < load_acquire(core.words, W_HORIZON) and (
            not open_tap or tap_room(core.words) >= core.turn
        )
    return ring_room(core.words) >= core.turn or load_acquire(core.words, W_STOP) >= ABANDONED


@njit(**INNER)
def turn(core: Record) -> int:
    """One turn. Returns its length in samples."""
    written: int = load_acquire(core.words, W_COMMAND_WRITE)  # before the flag: a panic unseen yet came after these
    take_panic(core)
    take_commands(core, written)
    take_flags(core)
    if fall_back(core):
        stop(core, ZERO)
    change_voices(core)
    turn_loops(core)
    steer(core)
    shed(core)
    apply_later(core)
    apply_front(core)
    turn_loops(core)  # one that waited for a voice that a command has just put to rest
    grow(core)
    change_partners(core)
    n = span(core)
    generate(core, n)
    listen(core, core.mix + core.delay + n)
    count = mix(core, n)
    core.mix += n
    send(core, count)
    if core.mix - core.ahead >= core.stop_at + core.closing:
        end(core)
    return n


@njit(**INNER)
def end(core: Record) -> None:
    """The last frame is out."""
    if core.tap_from >= 0:
        tell_overflow(core, ZERO)
    tell(core, core.frames, _ENDED, EVERY, ZERO, ZERO, ZERO, 0.0, ZERO)
    core.ended = 1
    store_release(core.words, W_ENDED, 1)


@njit(**INNER)
def span(core: Record) -> int:
    """Samples until something changes, at most to the next line of the grid."""
    n = core.turn - core.mix % core.turn
    n = min(n, next_at(core.front, core.front_count) - (core.mix + core.delay))
    n = min(n, next_at(core.later, core.mix_count) - core.mix)
    n = min(n, core.stop_at + core.closing + core.ahead - core.mix)
    if core.phase == FALLING:
        n = min(n, core.panic_at - core.mix)
    if core.health == FAILED and core.failed_at > core.mix + core.delay:
        n = min(n, core.failed_at - (core.mix + core.delay))
    for v in range(core.voices):
        n = min(n, next_change(core, v))
    if core.offline != 0:
        n = min(n, load_acquire(core.words, W_HORIZON) - (core.mix - core.ahead))
    return max(1, n)


# --- what happens by itself


@njit(**INNER)
def take_panic(core: Record) -> None:
    """Panic by flag: it voids what was asked for before it and would end its silence.

    The command of that name, a replay's, voids nothing: what a set refused is not asked for again.
    """
    asked: int = load_acquire(core.words, W_PANIC)
    if asked == core.overtaken:
        return
    core.overtaken = asked
    core.front_count = overtake(core, core.front, core.front_count)
    core.mix_count = overtake(core, core.later, core.mix_count)
    tell(core, core.mix, _PANIC, EVERY, ZERO, ZERO, ZERO, 0.0, ZERO)
    panic(core)


@njit(**INNER)
def take_flags(core: Record) -> None:
    """Stop by flag, and panic's silence when its fade is out."""
    if core.stop_at == NEVER and load_acquire(core.words, W_STOP) != 0:
        tell(core, core.mix, _STOP, EVERY, ZERO, ZERO, ZERO, 0.0, ZERO)
        stop(core, ZERO)
    if core.phase == FALLING and core.mix >= core.panic_at:
        for v in range(core.voices):
            land(core, v, destination(core, v), THERE)
        core.phase = SILENT


@njit(**INNER)
def change_voices(core: Record) -> None:
    """What each voice does at this sample of its own accord: ends of priming and crossfade, the fuse's steps."""
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        if voice.phase == PRIMING and core.mix + core.delay >= voice.switch_at:
            end_priming(core, v)
        if voice.phase == FADING and core.mix >= voice.switch_at + voice.fade_length:
            settle(core, v)
        if voice.fault != 0:
            # on the grid, whatever part of a turn the fault was met in
            blow(core, v, -(-core.mix // core.turn) * core.turn, NOT_FINITE)
        if voice.fuse_at != NEVER:
            step_fuse(core, v)
        if voice.parked == LEAVING and core.mix >= voice.rest_start + voice.rest_length:
            leave(core, v)


@njit(**INNER)
def step_fuse(core: Record, v: int) -> None:
    """Faded out: reset the voice, where it was going. Faded in: all is well."""
    voice = voice_at(core.voice_memory, v)
    if voice.fuse_back == NEVER and core.mix >= voice.fuse_at + core.fuse:
        land(core, v, destination(core, v), THERE)
        line_up(core, v)
        forget_filters(core, v)
        voice.fuse_back = core.mix + core.delay
    elif core.mix >= voice.fuse_back + core.fuse:
        voice.fuse_at = NEVER


@njit(**INNER)
def panic(core: Record) -> None:
    """Begin the fade to silence."""
    if core.phase == PLAYING:
        begin_fall(core, 0.0)
        core.phase = FALLING
        core.panic_at = core.mix + core.fall


@njit(**INNER)
def stop(core: Record, length: int) -> None:
    """Begin the closing fade, of ``length`` samples if that is not 0; only once."""
    if core.stop_at == NEVER:
        core.stop_at = core.mix
        if length > 0:
            core.closing = length


@njit(**INNER)
def begin_fall(core: Record, to: float) -> None:
    """Fade the whole from where it is to ``to``, 0 or 1."""
    core.fade_from = fall_gain(core, core.mix - 1)
    core.fade_to = to
    core.fade_start = core.mix


@njit(**INNER)
def resume(core: Record) -> None:
    """Sound again after panic, or give panic's fade up."""
    if core.phase == PLAYING:
        return
    if core.phase == SILENT:
        for v in range(core.voices):
            deck = deck_at(core.deck_memory, v * 2 + voice_at(core.voice_memory, v).deck)
            slot = slot_at(core.slot_memory, deck.slot)
            deck.first = network_index(core.mix + core.delay, slot.source, slot.target)
        core.line = core.mix + core.delay
    begin_fall(core, 1.0)
    core.phase = PLAYING


# --- commands


@njit(**INNER)
def apply_later(core: Record) -> None:
    """Commands of the mix that are due."""
    while next_at(core.later, core.mix_count) <= core.mix:
        core.mix_count -= 1
        c = command_at(core.later, core.mix_count)
        late = core.mix - c.at
        if c.op in (_SET, _MODULATE):
            apply_set(core, c, core.mix, late)
            continue
        if c.op in (_PARK, _WAKE):
            apply_park(core, c, note_late(core, late))
            continue
        echo(core, core.mix, c, ZERO if c.op in (_PANIC, _RESUME, _STOP) else _REFUSED, note_late(core, late))
        if c.op == _PANIC:
            panic(core)
        elif c.op == _RESUME:
            resume(core)
        elif c.op == _STOP:
            stop(core, c.ramp)


@njit(**INNER)
def apply_front(core: Record) -> None:
    """Commands of the networks that are due."""
    front = core.mix + core.delay
    while next_at(core.front, core.front_count) <= front:
        core.front_count -= 1
        c = command_at(core.front, core.front_count)
        late = front - c.at
        if c.op in (_SET, _MODULATE):
            apply_set(core, c, front, late)
        elif not well_formed(core, c):
            echo(core, front, c, _REFUSED, note_late(core, late))
        elif c.op == _SWITCH:
            apply_switch(core, c, front, note_late(core, late))
        elif c.op == _MOMENT:
            apply_moment(core, c, front, note_late(core, late))
        elif c.op == _LOOP:
            apply_loop(core, c, front, note_late(core, late))
        elif c.op == _PARTNER:
            apply_partner(core, c, front, note_late(core, late))
        elif c.op == _GROW:
            echo(core, front, c, ZERO, note_late(core, late))
            join(core, c.number)
        elif c.op == _LOAD or c.op == _DROP:
            echo(core, front, c, ZERO, note_late(core, late))
            if c.op == _LOAD:
                admit(core, c.number)
            else:
                drop(core, c.number)
        elif c.op == _FAIL:
            echo(core, front, c, ZERO, note_late(core, late))
            core.health, core.failed_from, core.failed_at = FAILED, c.number, front + c.ramp
        else:
            echo(core, front, c, ZERO, note_late(core, late))
            for v in range(first_voice(c), last_voice(core, c) + 1):
                if c.op == _RESEED:
                    reseed(core, v, c.parameter)
                elif c.op == _UNLOOP:
                    end_loop(core, v)
                else:
                    new_dice(core, v, c.number)


@njit(**INNER)
def note_late(core: Record, late: int) -> int:
    """Count a late command; returns how late."""
    if late > 0:
        core.late += 1
    return late


@njit(**INNER)
def well_formed(core: Record, c: Record) -> bool:
    """Whether voice, slot, mode or room exist."""
    if c.voice < -1 or c.voice >= core.voices:
        return False
    if c.op == _SWITCH:
        return ready(core, c.number)
    if c.op == _LOAD:
        return loadable(core, c.number)
    if c.op == _DROP:
        return droppable(core, c.number)
    if c.op == _GROW:
        return c.number > core.slots and c.number <= core.room - (core.fallback >= 0)
    if c.op == _FAIL:
        return core.health == WELL
    if c.op == _LOOP:
        return c.number >= SHORTEST and c.number <= LONGEST and c.value >= 0.0 and c.value < 1.0
    return c.op != _RESEED or c.parameter <= 2


@njit(**INNER)
def first_voice(c: Record) -> int:
    """The first voice a command means."""
    v: int = max(0, c.voice)
    return v


@njit(**INNER)
def last_voice(core: Record, c: Record) -> int:
    """The last voice a command means."""
    v: int = c.voice if c.voice >= 0 else core.voices - 1
    return v


@njit(**INNER)
def apply_set(core: Record, c: Record, at: int, late: int) -> None:
    """A live parameter or its modulation: clip, glide, echo what was really set."""
    note_late(core, late)
    p = c.parameter
    if p >= PARAMETERS or c.voice < -1 or c.voice >= core.voices or not math.isfinite(c.value):
        echo(core, at, c, _REFUSED, late)
        return
    glides = core.glide_memory if c.op == _SET else core.modulation_memory
    first = glide_at(glides, p)
    value = min(max(c.value, first.low), first.high)
    c.value = value
    echo(core, at, c, ZERO, late)
    ramp = c.ramp if c.ramp > 0 else core.glide
    for v in range(first_voice(c), last_voice(core, c) + 1):
        set_glide(glide_at(glides, v * PARAMETERS + p), at, value, ramp)


@njit(**INNER)
def apply_switch(core: Record, c: Record, front: int, late: int) -> None:
    """Another network for one voice or all; after panic it also brings the sound back."""
    flags = _ALREADY
    for v in range(first_voice(c), last_voice(core, c) + 1):
        if destination(core, v) != c.number:
            flags = ZERO
    echo(core, front, c, flags, late)
    before = core.phase
    for v in range(first_voice(c), last_voice(core, c) + 1):
        switch(core, v, c.number, c.ramp, c.flags)
    if before != PLAYING:
        resume(core)


@njit(**INNER)
def apply_park(core: Record, c: Record, late: int) -> None:
    """Park or wake one voice or all."""
    if c.voice < -1 or c.voice >= core.voices:
        echo(core, core.mix, c, _REFUSED, late)
        return
    echo(core, core.mix, c, ZERO, late)
    for v in range(first_voice(c), last_voice(core, c) + 1):
        if c.op == _PARK:
            park(core, v, c.ramp if c.ramp > 0 else core.rest)
        else:
            wake(core, v)


@njit(**INNER)
def apply_moment(core: Record, c: Record, front: int, late: int) -> None:
    """A jump of one voice or all; refused where no network has such a moment."""
    flags = _REFUSED
    for v in range(first_voice(c), last_voice(core, c) + 1):
        if jump(core, v, c.number):
            flags = ZERO
    echo(core, front, c, flags, late)


@njit(**INNER)
def apply_loop(core: Record, c: Record, front: int, late: int) -> None:
    """A loop of one voice or all, or another length for those that have one; refused in panic's silence."""
    new = c.flags & LENGTH_ONLY == 0
    if new and core.phase == SILENT:
        echo(core, front, c, _REFUSED, late)
        return
    echo(core, front, c, ZERO, late)
    for v in range(first_voice(c), last_voice(core, c) + 1):
        if new:
            begin_loop(core, v, c.number, c.value)
        else:
            resize_loop(core, v, c.number, c.value)


@njit(**INNER)
def apply_partner(core: Record, c: Record, front: int, late: int) -> None:
    """Another partner, or none, for one voice or all; refused where it fits none."""
    flags = _REFUSED
    for v in range(first_voice(c), last_voice(core, c) + 1):
        if welcome(core, v, c.number):
            voice_at(core.voice_memory, v).partner = max(c.number, -1)
            flags = ZERO
    echo(core, front, c, flags, late)


# --- telling


@njit(**INNER)
def measure(core: Record, n: int, ns: int) -> None:
    """Time of a turn of n samples, sleep excluded: into the load, and whole turns into the histogram."""
    core.load += 0.02 * (ns * 1e-9 * core.rate / n - core.load)
    if n == core.turn:
        place = bucket(ns)
        set_i64(core.times, place, get_i64(core.times, place) + 1)
        core.hop_max = max(core.hop_max, ns * 1e-3 * core.hop / core.turn)
    if core.frames >= core.next_figures:
        core.next_figures = core.frames + _FIGURES_EVERY
        figures(core)


@njit(**INNER)
def bucket(ns: int) -> int:
    """Place of a time in the histogram: octave and its part."""
    octave = 0
    while octave < OCTAVES - 1 and ns >> octave >= 2 * PARTS:
        octave += 1
    return octave * PARTS + min(ns >> octave, 2 * PARTS - 1)


@njit(**INNER)
def quantile(times: int, rank: int) -> float:
    """Nanoseconds below which ``rank`` turns lie, to 2 %."""
    seen = 0
    for i in range(TIMES):
        seen += get_i64(times, i)
        if seen > rank:
            octave = max(0, i // PARTS - 1)
            return float((i - octave * PARTS) << octave) + 0.5 * float((1 << octave) - 1)
    return 0.0


@njit(**INNER)
def figures(core: Record) -> None:
    """Median, 99th percentile and speed, out of the histogram."""
    total = 0
    for i in range(TIMES):
        total += get_i64(core.times, i)
    hops = 1e-3 * core.hop / core.turn
    median = quantile(core.times, total // 2)
    core.hop_p50 = median * hops
    core.hop_p99 = quantile(core.times, total * 99 // 100) * hops
    core.factor = 1e9 * core.turn / core.rate / median if median > 0 else 0.0


@njit(**INNER)
def show(core: Record) -> None:
    """Publish a snapshot for the meters (a seqlock: odd while it is being written)."""
    words = core.words
    base = get_i64(core.words, W_TELEMETRY)
    sequence: int = load_acquire(words, base)
    store_release(words, base, sequence + 1)
    publish(words, base + 1, max(core.left_peak, core.right_peak))
    publish(words, base + 2, math.sqrt(0.5 * (core.left_square + core.right_square)))
    publish(words, base + 3, core.peak_total)
    publish(words, base + 4, math.sqrt(core.square_total / max(1, core.frames)))
    publish(words, base + 5, core.reduction)
    publish(words, base + 6, core.load)
    publish(words, base + 7, core.hop_p50)
    publish(words, base + 8, core.hop_p99)
    publish(words, base + 9, core.hop_max)
    publish(words, base + 10, core.factor)
    publish(words, base + 11, float(core.late))
    publish(words, base + 12, float(core.commands))
    publish(words, base + 13, float(core.events_lost))
    publish(words, base + 14, float(core.tap_lost))
    publish(words, base + 15, float(core.fuses))
    publish(words, base + 16, 1.0 if core.phase == SILENT else 0.0)
    publish(words, base + 17, float(core.frames))
    publish(words, base + 18, math.sqrt(core.left_square))
    publish(words, base + 19, core.left_peak)
    publish(words, base + 20, math.sqrt(core.right_square))
    publish(words, base + 21, core.right_peak)
    for v in range(core.voices):
        show_voice(core, v, base)
    store_release(words, base, sequence + 2)


@njit(**INNER)
def show_voice(core: Record, v: int, base: int) -> None:
    """One voice's part of the snapshot."""
    voice, words = voice_at(core.voice_memory, v), core.words
    base += 1 + OVERALL + v * PER_VOICE
    publish(words, base, math.sqrt(voice.square))
    publish(words, base + 1, voice.peak)
    publish(words, base + 2, value_at(core, v, _TEMPERATURE, core.mix + core.delay) * voice.steer)
    publish(words, base + 3, value_at(core, v, _GAIN, core.mix))
    publish(words, base + 4, value_at(core, v, _PAN, core.mix))
    publish(words, base + 5, value_at(core, v, _MUTE, core.mix))
    publish(words, base + 6, float(voice.slot))
    publish(words, base + 7, 3.0 if voice.parked == PARKED else float(voice.phase))
    publish(words, base + 8, voice.entropy)
    publish(words, base + 9, place_in_loop(core, v))
    publish(words, base + 10, voice.steer)
