"""Loops with dice: a voice's state is stored, and put back every so many samples until something ends it.

Render thread only, compiled. What is stored is the whole block of the voice's lane (tokens, h and c, clock, dice) and
what its deck goes on sounding from, in memory of the slot that it plays; the step that a return makes dies away as that
of a jump does. Dice that no return rewinds may move those of the loop (`engine.draw.varied`): how far is read when a
pass begins, so that nothing depends on how turns are cut. What ends a loop is in `instrument.audio.voices`.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.memory import INNER, get_i64, set_i64
from instrument.audio.state import (
    FRESH_DICE,
    LOOPING,
    MEASURED,
    OFF,
    PARKED,
    PRIMING,
    SPREAD,
    WAITING,
    Record,
    deck_at,
    loop_at,
    slot_at,
    voice_at,
)
from instrument.audio.voices import copy_words, kept_state, lane_state, sides, sounding, value_at
from instrument.controls import VARIATION

SHORTEST, LONGEST = 64, 1 << 40  # samples of a pass
_VARIATION = np.int64(VARIATION)


@njit(**INNER)
def begin_loop(core: Record, v: int, length: int, part: float) -> None:
    """Store what voice v is at the front, to be put back every ``length`` + ``part`` samples (0 <= part < 1).

    A parked voice has nothing to store. While a network is being primed the loop waits for it; its passes are counted
    from here nevertheless.
    """
    loop, voice = loop_at(core.loop_memory, v), voice_at(core.voice_memory, v)
    if voice.parked == PARKED:
        return
    loop.length, loop.part, loop.rest = length, part, 0.0
    loop.start = core.mix + core.delay
    loop.next = loop.start
    advance(loop)
    loop.state = WAITING
    if voice.phase != PRIMING:
        keep(core, v)


@njit(**INNER)
def resize_loop(core: Record, v: int, length: int, part: float) -> None:
    """Another length from the next pass on, if there is a loop."""
    loop = loop_at(core.loop_memory, v)
    loop.length, loop.part = length, part


@njit(**INNER)
def advance(loop: Record) -> None:
    """The next return, a pass later; whole samples, and one more whenever the parts have become one."""
    loop.rest += loop.part
    more = 1 if loop.rest >= 1.0 else 0
    loop.rest -= more
    loop.next += loop.length + more


@njit(**INNER)
def keep(core: Record, v: int) -> None:
    """The state to return to is that of now, its dice unmoved."""
    loop = loop_at(core.loop_memory, v)
    deck = deck_at(core.deck_memory, v * 2 + sounding(core, v))
    slot = slot_at(core.slot_memory, deck.slot)
    source, target = lane_state(slot, v), kept_state(slot, v)
    set_i64(source, SPREAD, 0)
    copy_words(source, target, slot.state_bytes // 8)
    loop.speech, loop.speech_left = deck.speech, deck.speech_left
    for side in range(sides(core, v)):
        row = side * core.voices + v
        loop_at(core.loop_memory, row).decoded = deck_at(core.deck_memory, row * 2 + sounding(core, v)).decoded
    loop.state = LOOPING
    while loop.next <= core.mix + core.delay:  # it waited for longer than a pass
        advance(loop)


@njit(**INNER)
def turn_loops(core: Record) -> None:
    """What loops do at this sample: those that waited begin, those whose pass is over begin another."""
    for v in range(core.voices):
        loop = loop_at(core.loop_memory, v)
        if loop.state == WAITING and voice_at(core.voice_memory, v).phase != PRIMING:
            keep(core, v)
        if loop.state == LOOPING and core.mix + core.delay >= loop.next:
            put_back(core, v)


@njit(**INNER)
def put_back(core: Record, v: int) -> None:
    """Begin another pass: the stored state, fresh dice where they are, as much of them as variation says now."""
    loop = loop_at(core.loop_memory, v)
    deck = deck_at(core.deck_memory, v * 2 + sounding(core, v))
    slot = slot_at(core.slot_memory, deck.slot)
    source, target = kept_state(slot, v), lane_state(slot, v)
    for word in range(slot.state_bytes // 8):
        if word not in (FRESH_DICE, MEASURED):
            set_i64(target, word, get_i64(source, word))
    set_i64(target, SPREAD, int(value_at(core, v, _VARIATION, loop.next) * 4294967296.0))
    for side in range(sides(core, v)):
        row = side * core.voices + v
        own = deck_at(core.deck_memory, row * 2 + sounding(core, v))
        own.decoded, own.jumped = loop_at(core.loop_memory, row).decoded, 1
    deck.speech, deck.speech_left = loop.speech, loop.speech_left
    loop.start = loop.next
    advance(loop)


@njit(**INNER)
def place_in_loop(core: Record, v: int) -> float:
    """How much of its pass voice v has behind it, 0..1; -1 without a loop."""
    loop = loop_at(core.loop_memory, v)
    if loop.state == OFF:
        return -1.0
    place: float = (core.mix + core.delay - loop.start) / (loop.next - loop.start)
    return min(max(place, 0.0), 1.0)
