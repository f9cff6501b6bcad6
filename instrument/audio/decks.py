"""Where a voice keeps what it has: decks, lanes of state, what a loop returns to, and its parameters on the glide.

Render thread only, compiled. A voice has two decks: the one that plays, and the one it is changing to. A deck is a slot
(a network with a lane for each voice), and the last PAST samples of that network's own sound, of a stereo voice on each
side. What is done with them is left to ``instrument.audio.generating`` and ``instrument.audio.voices``.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from instrument.audio.memory import (
    INNER,
    get_i64,
    set_i64,
)
from instrument.audio.state import (
    FADING,
    LOOPING,
    OFF,
    PAST,
    SPREAD,
    STEADY,
    STEPS,
    Record,
    anchor_at,
    deck_at,
    glide_at,
    loop_at,
    slot_at,
    voice_at,
)
from instrument.controls import PARAMETERS

HEADER = (0, 1, 3, 4, 5, 6, 7)  # all but the clock: the dice and what was measured, which belong to the voice


@njit(**INNER)
def past_of(core: Record, v: int, d: int) -> int:
    """Address of the ring of network samples of deck d of voice v, or of that row."""
    address: int = core.past + (v * 2 + d) * PAST * 4
    return address


@njit(**INNER)
def sides(core: Record, v: int) -> int:
    """1, or 2 where voice v has a right side, which is row ``core.voices + v``."""
    count: int = 1 + (core.stereo >> v & 1)
    return count


@njit(**INNER)
def put(core: Record, v: int, d: int, k: int) -> None:
    """Deck d of voice v is on slot k."""
    for side in range(sides(core, v)):
        deck_at(core.deck_memory, (side * core.voices + v) * 2 + d).slot = k


@njit(**INNER)
def lane_state(slot: Record, v: int) -> int:
    """Address of voice v's state in ``slot``."""
    address: int = slot.state + v * slot.state_bytes
    return address


@njit(**INNER)
def kept_state(slot: Record, v: int, step: int) -> int:
    """Address of what voice v's loop returns to at a step while it plays ``slot``."""
    address: int = slot.kept + (v * STEPS + step) * slot.state_bytes
    return address


@njit(**INNER)
def sounding(core: Record, v: int) -> int:
    """The deck, 0 or 1, that voice v plays, or fades to."""
    voice = voice_at(core.voice_memory, v)
    d: int = 1 - voice.deck if voice.phase == FADING else voice.deck
    return d


@njit(**INNER)
def end_loop(core: Record, v: int) -> None:
    """Voice v is put back no more; it goes on from where it is, its dice unmoved."""
    loop = loop_at(core.loop_memory, v)
    if loop.state == OFF:
        return
    loop.state = OFF
    voice = voice_at(core.voice_memory, v)
    for d in range(2):
        if d == voice.deck or voice.phase != STEADY:  # what the other deck was on may be gone
            slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).slot)
            set_i64(lane_state(slot, v), SPREAD, 0)


@njit(**INNER)
def carry_loop(core: Record, v: int, old: Record, new: Record) -> None:
    """What voice v returns to goes along to a slot of equal architecture; but not what a moment of the old one said."""
    loop = loop_at(core.loop_memory, v)
    if loop.state != LOOPING:
        return
    copy_words(kept_state(old, v, 0), kept_state(new, v, 0), loop.stored * old.state_bytes // 8)
    for side in range(sides(core, v)):
        for step in range(loop.stored):
            anchor_at(core.anchor_memory, (side * core.voices + v) * STEPS + step).speech_left = 0


@njit(**INNER)
def copy_words(source: int, target: int, n: int) -> None:
    """n words from one address to another."""
    for word in range(n):
        set_i64(target, word, get_i64(source, word))


@njit(**INNER)
def glide_value(glide: Record, at: int) -> float:
    """A parameter's value at session sample ``at``: linear, exact at its end."""
    value: float = glide.target if at >= glide.end else glide.target - glide.step * (glide.end - at)
    return value


@njit(**INNER)
def value_at(core: Record, v: int, parameter: int, at: int) -> float:
    """Voice v's parameter at session sample ``at``, as it sounds: what was set and its modulation, within the range."""
    i = v * PARAMETERS + parameter
    glide = glide_at(core.glide_memory, i)
    value: float = glide_value(glide, at) + glide_value(glide_at(core.modulation_memory, i), at)
    return min(max(value, glide.low), glide.high)


@njit(**INNER)
def rest_of(core: Record, v: int, parameter: int) -> int:
    """The session sample from which on voice v's parameter no longer moves."""
    i = v * PARAMETERS + parameter
    end: int = max(glide_at(core.glide_memory, i).end, glide_at(core.modulation_memory, i).end)
    return end


@njit(**INNER)
def set_glide(glide: Record, at: int, value: float, ramp: int) -> None:
    """Begin a ramp of ``ramp`` samples (1 or more) at ``at``; the same one again is no news."""
    if value == glide.target and ramp == glide.ramp:
        return
    now = glide_value(glide, at - 1)
    glide.target = value
    glide.step = (value - now) / ramp
    glide.end = at + ramp - 1
    glide.ramp = ramp


@njit(**INNER)
def hand_dice(core: Record, v: int, old: Record, new: Record) -> None:
    """Copy the words of the state that belong to the voice from lane v of slot ``old`` to lane v of ``new``."""
    source, target = lane_state(old, v), lane_state(new, v)
    for word in HEADER:
        set_i64(target, word, get_i64(source, word))
