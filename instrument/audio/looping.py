"""Loops with dice: a voice's state is stored, and put back every so many samples until something ends it.

Render thread only, compiled. What is stored is the whole block of the voice's lane (tokens, h and c, clock, dice) and
what its deck goes on sounding from, in memory of the slot that it plays; the step that a return makes dies away as that
of a jump does.

A network is chaotic: one other sample, and soon nothing is as it was. So that a loop can vary a little, its first pass
is stored at the beginning of each of its up to 16 steps. Of every later pass each step is varied with a chance of
`variation`: its dice are moved by those that no return rewinds (`engine.draw.varied`), by as much as variation says.
The next step that is not comes back to the state it had at first. Variation is read when a pass begins, chances come
from the dice, so nothing depends on how turns are cut. What ends a loop is in `instrument.audio.decks`.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from engine import draw
from engine.cpu.hop import philox
from instrument.audio.decks import copy_words, kept_state, lane_state, sides, sounding, value_at
from instrument.audio.generating import partner_lane
from instrument.audio.memory import INNER, get_i64, set_i64
from instrument.audio.state import (
    FRESH_DICE,
    JOINED,
    KEY,
    LOOPING,
    MEASURED,
    NUMBER,
    OFF,
    PARKED,
    PRIMING,
    SPREAD,
    STEPS,
    WAITING,
    Record,
    anchor_at,
    deck_at,
    loop_at,
    slot_at,
    voice_at,
)
from instrument.controls import VARIATION

SHORTEST, LONGEST = 64, 1 << 40  # samples of a pass
SHORTEST_STEP = 1024  # what is shorter is smoothed away
_CHANCE = np.uint64(draw.CHANCE)
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
    loop.step_length = max(length // STEPS, SHORTEST_STEP)
    loop.start = core.mix + core.delay
    loop.next = loop.start
    advance(loop)
    loop.state = WAITING
    if voice.phase != PRIMING:
        keep(core, v)


@njit(**INNER)
def resize_loop(core: Record, v: int, length: int, part: float) -> None:
    """Another length from the next pass on, if there is a loop; its steps stay where they are."""
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
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + sounding(core, v)).slot)
    set_i64(lane_state(slot, v), SPREAD, 0)
    loop.state = LOOPING
    loop.spread, loop.exact, loop.stored = 0, 1, 0
    loop.begun = core.mix + core.delay
    while loop.next <= loop.begun:  # it waited for longer than a pass
        advance(loop)
    begin_step(core, v, 0)


@njit(**INNER)
def keep_partner(core: Record, v: int, step: int) -> None:
    """What the voice's partner has in mind is kept too."""
    anchor, d = anchor_at(core.anchor_memory, v * STEPS + step), sounding(core, v)
    deck = deck_at(core.deck_memory, v * 2 + d)
    anchor.partner = deck.partner if deck.company >= JOINED else -1
    if anchor.partner >= 0:
        other, lane = slot_at(core.slot_memory, deck.partner), partner_lane(core, v, d)
        copy_words(lane_state(other, lane), kept_state(other, lane, step), other.state_bytes // 8)


@njit(**INNER)
def put_partner_back(core: Record, v: int, step: int) -> None:
    """The partner that was there when the step was stored returns to what it had in mind, if it is still there."""
    d = sounding(core, v)
    deck = deck_at(core.deck_memory, v * 2 + d)
    if deck.company >= JOINED and deck.partner == anchor_at(core.anchor_memory, v * STEPS + step).partner:
        other, lane = slot_at(core.slot_memory, deck.partner), partner_lane(core, v, d)
        copy_words(kept_state(other, lane, step), lane_state(other, lane), other.state_bytes // 8)


@njit(**INNER)
def turn_loops(core: Record) -> None:
    """What loops do at this sample: those that waited begin, those whose pass or step is over begin another."""
    front = core.mix + core.delay
    for v in range(core.voices):
        loop = loop_at(core.loop_memory, v)
        if loop.state == WAITING and voice_at(core.voice_memory, v).phase != PRIMING:
            keep(core, v)
        if loop.state == LOOPING and front >= loop.next:
            begin_pass(core, v)
        elif loop.state == LOOPING and front >= loop.step_end:
            begin_step(core, v, loop.step + 1)


@njit(**INNER)
def begin_pass(core: Record, v: int) -> None:
    """From the stored state again, as varied as variation says now."""
    loop = loop_at(core.loop_memory, v)
    loop.spread = int(value_at(core, v, _VARIATION, loop.next) * 4294967296.0)
    loop.start = loop.begun = loop.next
    advance(loop)
    put_back(core, v, 0)
    loop.exact = 1
    begin_step(core, v, 0)


@njit(**INNER)
def begin_step(core: Record, v: int, step: int) -> None:
    """The first pass stores; later ones vary the step, or come back to what was stored if they have left it."""
    loop = loop_at(core.loop_memory, v)
    loop.step = step
    loop.step_end = loop.begun + (step + 1) * loop.step_length if step + 1 < STEPS else loop.next
    if step == loop.stored and loop.exact != 0:
        store(core, v, step)
    elif step < loop.stored:
        varies = loop.spread > 0 and chance(core, v) < loop.spread
        if not varies and loop.exact == 0:
            put_back(core, v, step)
        loop.exact = 0 if varies else 1
        slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + sounding(core, v)).slot)
        set_i64(lane_state(slot, v), SPREAD, loop.spread if varies else 0)


@njit(**INNER)
def chance(core: Record, v: int) -> int:
    """A word of voice v's dice that decides about one step; 0 to 2^32 - 1, never the same one again."""
    loop = loop_at(core.loop_memory, v)
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + sounding(core, v)).slot)
    lane = lane_state(slot, v)
    key, number = np.uint64(get_i64(lane, KEY)), np.uint64(get_i64(lane, NUMBER))
    word = np.int64(philox(key, np.uint64(loop.chances), number, _CHANCE))
    loop.chances += 1
    return int(word)


@njit(**INNER)
def store(core: Record, v: int, step: int) -> None:
    """What voice v is now is how ``step`` begins."""
    loop = loop_at(core.loop_memory, v)
    d = sounding(core, v)
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).slot)
    copy_words(lane_state(slot, v), kept_state(slot, v, step), slot.state_bytes // 8)
    for side in range(sides(core, v)):
        row = side * core.voices + v
        deck, anchor = deck_at(core.deck_memory, row * 2 + d), anchor_at(core.anchor_memory, row * STEPS + step)
        anchor.decoded, anchor.speech, anchor.speech_left = deck.decoded, deck.speech, deck.speech_left
    keep_partner(core, v, step)
    loop.stored = step + 1


@njit(**INNER)
def put_back(core: Record, v: int, step: int) -> None:
    """Voice v is where ``step`` began at first, but for the fresh dice and what was measured."""
    d = sounding(core, v)
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).slot)
    source, target = kept_state(slot, v, step), lane_state(slot, v)
    for word in range(slot.state_bytes // 8):
        if word not in (FRESH_DICE, MEASURED):
            set_i64(target, word, get_i64(source, word))
    put_partner_back(core, v, step)
    for side in range(sides(core, v)):
        row = side * core.voices + v
        deck, anchor = deck_at(core.deck_memory, row * 2 + d), anchor_at(core.anchor_memory, row * STEPS + step)
        deck.decoded, deck.speech, deck.speech_left = anchor.decoded, anchor.speech, anchor.speech_left
        deck.jumped = 1


@njit(**INNER)
def place_in_loop(core: Record, v: int) -> float:
    """How much of its pass voice v has behind it, 0..1; -1 without a loop."""
    loop = loop_at(core.loop_memory, v)
    if loop.state == OFF:
        return -1.0
    place: float = (core.mix + core.delay - loop.start) / (loop.next - loop.start)
    return min(max(place, 0.0), 1.0)
