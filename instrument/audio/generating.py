"""Networks at work: the next samples of a slot for the voices on it, decoded into the sound of their decks.

A slot whose GPU has failed says nothing from that turn on, exactly as if it had not been asked, so that a replay, which
only reads that it failed, says the same; who plays instead is left to ``instrument.audio.failing``.

Render thread only, compiled. Network sample i of a slot lies at session sample i target / source, for ever: so
positions need no state, and nothing depends on how turns are cut. A deck's network may be blended with another, its
partner, that hears the same samples in a lane of its own for each deck. Which network a voice is on is left to
``instrument.audio.voices``.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.decks import HEADER, copy_words, kept_state, lane_state, past_of, sides, value_at
from instrument.audio.dsp import smooth
from instrument.audio.memory import (
    INNER,
    call_3,
    call_4,
    call_6,
    call_9,
    get_f32,
    get_i32,
    get_i64,
    set_f32,
    set_i32,
    set_i64,
)
from instrument.audio.pending import tell
from instrument.audio.state import (
    ALONE,
    EVERY,
    FADING,
    FAILED,
    HEADER_WORDS,
    JOINED,
    LOST,
    PARKED,
    PAST,
    STEPS,
    WELL,
    ZERO,
    Record,
    anchor_at,
    deck_at,
    slot_at,
    voice_at,
)
from instrument.controls import BLEND, TEMPERATURE, Op

_FRESH = 3  # reset mode
_TEMPERATURE, _BLEND, _FAIL = np.int64(TEMPERATURE), np.int64(BLEND), np.int64(Op.FAIL)


@njit(**INNER)
def lanes_of(core: Record, k: int) -> int:
    """Mask of the voices that slot k must generate for."""
    mask = 0
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        if voice.parked == PARKED:
            continue
        coming = voice.phase == FADING and deck_at(core.deck_memory, v * 2 + 1 - voice.deck).slot == k
        if coming or deck_at(core.deck_memory, v * 2 + voice.deck).slot == k:
            mask |= 1 << v
    return mask


@njit(**INNER)
def run_slot(core: Record, k: int, mask: int, first: int, count: int) -> None:
    """Slot k: ``count`` network samples from index ``first`` for the lanes of ``mask``."""
    slot = slot_at(core.slot_memory, k)
    if is_silent(core, k):
        hush(core, k, mask, first, count)
        return
    keep_headers(core, slot, mask)
    for v in range(core.voices):
        if mask >> v & 1:
            factor = voice_at(core.voice_memory, v).steer
            for i in range(count):
                t = value_at(core, v, _TEMPERATURE, (first + i) * slot.target // slot.source) * factor
                set_f32(slot.betas, v * slot.stride + i, np.float32(1.0 / t))
    spoken, joined = speakers(core, k, mask), in_company(core, k, mask)
    alone = mask & ~spoken & ~joined
    faults = ZERO
    if alone:
        faults = call_6(slot.generate, (slot.context, alone, count, slot.betas, slot.tokens, slot.stride))
    for v in range(core.voices):
        if spoken >> v & 1:
            faults |= speak(core, v, k, first, count)
        elif joined >> v & 1:
            faults |= draw_blended(core, v, k, first, ZERO, count)
    if has_failed(slot):
        fail(core, k)
        give_headers_back(core, slot, mask)
        hush(core, k, mask, first, count)
        return
    decode_all(core, k, mask, first, count)
    for v in range(core.voices):
        if faults >> v & 1:
            voice_at(core.voice_memory, v).fault = 1


@njit(**INNER)
def decode_all(core: Record, k: int, mask: int, first: int, count: int) -> None:
    """What slot k said for the voices of ``mask``, as sound, on each side."""
    slot = slot_at(core.slot_memory, k)
    for v in range(core.voices):
        if mask >> v & 1:
            d, row = deck_on(core, v, k), v * slot.stride * 4
            decode(core, v, d, slot.tokens + row, first, count)
            if core.stereo >> v & 1:
                decode(core, core.voices + v, d, slot.right_tokens + row, first, count)


# --- a GPU that fails


@njit(**INNER)
def has_failed(slot: Record) -> bool:
    """Whether what computes this slot has just been found lost, or before."""
    return slot.failed != 0 and get_i64(slot.failed, 0) != 0


@njit(**INNER)
def is_silent(core: Record, k: int) -> bool:
    """Whether slot k says nothing any more at the front."""
    slot = slot_at(core.slot_memory, k)
    late = k >= core.failed_from or core.mix + core.delay >= core.failed_at
    return slot.failed != 0 and (core.health == LOST or (core.health == FAILED and late))


@njit(**INNER)
def fail(core: Record, k: int) -> None:
    """Slots from k on are lost, and once the samples that are being made are over all others that a GPU computes."""
    if core.health == WELL:
        front = core.mix + core.delay
        core.health, core.failed_from, core.failed_at = FAILED, k, front + core.making
        tell(core, front, _FAIL, EVERY, ZERO, k, core.making, 0.0, ZERO)


@njit(**INNER)
def keep_headers(core: Record, slot: Record, mask: int) -> None:
    """Remember dice and clocks of the lanes of ``mask`` as they are before a turn that may fail halfway."""
    if slot.failed != 0:
        for v in range(core.voices):
            if mask >> v & 1:
                copy_words(lane_state(slot, v), core.header_memory + v * HEADER_WORDS * 8, HEADER_WORDS)


@njit(**INNER)
def give_headers_back(core: Record, slot: Record, mask: int) -> None:
    """The lanes of ``mask`` have thrown no dice in this turn."""
    for v in range(core.voices):
        if mask >> v & 1:
            copy_words(core.header_memory + v * HEADER_WORDS * 8, lane_state(slot, v), HEADER_WORDS)


@njit(**INNER)
def hush(core: Record, k: int, mask: int, first: int, count: int) -> None:
    """Slot k says nothing for the lanes of ``mask``: their sound dies away as after a jump."""
    slot = slot_at(core.slot_memory, k)
    for v in range(core.voices):
        if mask >> v & 1:
            d, row = deck_on(core, v, k), v * slot.stride
            for i in range(row, row + count):
                set_i32(slot.tokens, i, slot.q_levels // 2)
                set_i32(slot.right_tokens, i, slot.q_levels // 2)
            for side in range(sides(core, v)):
                deck = deck_at(core.deck_memory, (side * core.voices + v) * 2 + d)
                if deck.hushed == 0:  # once: how turns are cut must not be heard
                    deck.jumped, deck.hushed = 1, 1
                deck.speech_left = 0
    decode_all(core, k, mask, first, count)


@njit(**INNER)
def deck_on(core: Record, v: int, k: int) -> int:
    """Which deck of voice v plays slot k, 0 or 1."""
    voice = voice_at(core.voice_memory, v)
    d: int = voice.deck if deck_at(core.deck_memory, v * 2 + voice.deck).slot == k else 1 - voice.deck
    return d


@njit(**INNER)
def speakers(core: Record, k: int, mask: int) -> int:
    """Mask of the lanes of slot k, among those of ``mask``, that still say what a jump gave them to say."""
    spoken = 0
    for v in range(core.voices):
        if mask >> v & 1 and deck_at(core.deck_memory, v * 2 + deck_on(core, v, k)).speech_left > 0:
            spoken |= 1 << v
    return spoken


@njit(**INNER)
def speak(core: Record, v: int, k: int, first: int, count: int) -> int:
    """Lane v of slot k hears what it is given to say, and then goes on by itself, ``count`` samples in all.

    Returns its fault, as generate does. Dice rest while it is told what to say.
    """
    slot = slot_at(core.slot_memory, k)
    deck = deck_at(core.deck_memory, v * 2 + deck_on(core, v, k))
    n = min(count, deck.speech_left)
    row, right = slot.tokens + v * slot.stride * 4, slot.right_tokens + v * slot.stride * 4
    for i in range(n):
        set_i32(row, i, get_i32(deck.speech, i))
        if core.stereo >> v & 1:
            set_i32(right, i, get_i32(deck.speech, i))
    call_4(slot.prime, (slot.context, v, row, n))
    joined = deck.company >= JOINED
    if joined:
        tell_partner(core, v, deck_on(core, v, k), row, n)
    deck.speech += 4 * n
    deck.speech_left -= n
    if n == count:
        return 0
    if joined:
        return draw_blended(core, v, k, first, n, count)
    faults: int = call_6(
        slot.generate, (slot.context, 1 << v, count - n, slot.betas + 4 * n, slot.tokens + 4 * n, slot.stride)
    )
    return faults


@njit(**INNER)
def decode(core: Record, v: int, d: int, tokens: int, first: int, count: int) -> None:
    """Turn tokens into sound on deck d of voice v, or of that row: levels, the pre-emphasis undone, clipped to [-1, 1].

    A jump would be a step from the sample before: the step is added back and dies away (`settling` a sample).
    """
    deck = deck_at(core.deck_memory, v * 2 + d)
    slot = slot_at(core.slot_memory, deck.slot)
    past = past_of(core, v, d)
    y = deck.decoded
    for i in range(count):
        token = min(max(get_i32(tokens, i), 0), slot.q_levels - 1)
        y = float(get_f32(slot.levels, token)) + slot.preemphasis * y
        if deck.jumped != 0:
            deck.step = float(get_f32(past, (first + i - 1) & (PAST - 1))) - y
            deck.jumped = 0
        set_f32(past, (first + i) & (PAST - 1), np.float32(min(max(y + deck.step, -1.0), 1.0)))
        deck.step *= slot.settling
    deck.decoded = y


@njit(**INNER)
def partner_lane(core: Record, v: int, d: int) -> int:
    """Lane of the partner of voice v's deck d, in its slot."""
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).partner)
    lane: int = slot.lanes * (1 + d) + v
    return lane


@njit(**INNER)
def fitting(core: Record, k: int, p: int) -> int:
    """``p`` if that slot may be the partner of slot k, else -1."""
    if p < 0 or p >= core.room:
        return -1
    slot, other = slot_at(core.slot_memory, k), slot_at(core.slot_memory, p)
    fits = other.ready != 0 and slot.blend != 0 and other.blend != 0 and slot.family == other.family
    return p if fits else -1


@njit(**INNER)
def in_company(core: Record, k: int, mask: int) -> int:
    """Mask of the lanes of slot k, among those of ``mask``, that are blended with a partner."""
    joined = 0
    for v in range(core.voices):
        if mask >> v & 1 and deck_at(core.deck_memory, v * 2 + deck_on(core, v, k)).company >= JOINED:
            joined |= 1 << v
    return joined


@njit(**INNER)
def share_at(core: Record, deck: Record, at: int) -> float:
    """How much of the blend a deck's partner has at session sample ``at``: its fade in or out."""
    t = smooth((at - deck.share_start + 1) / core.glide)
    share: float = deck.share_from + (deck.share_to - deck.share_from) * t
    return share


@njit(**INNER)
def set_share(core: Record, deck: Record, at: int, share: float, to: float) -> None:
    """From session sample ``at`` on the partner's share goes from ``share`` to ``to``."""
    deck.share_start, deck.share_from, deck.share_to = at, share, to


@njit(**INNER)
def draw_blended(core: Record, v: int, k: int, first: int, begin: int, count: int) -> int:
    """Samples ``begin`` to ``count`` of the turn whose first is ``first``, for voice v on slot k and its partner.

    Returns its fault, as generate does.
    """
    slot, d = slot_at(core.slot_memory, k), deck_on(core, v, k)
    deck = deck_at(core.deck_memory, v * 2 + d)
    other = slot_at(core.slot_memory, deck.partner)
    for i in range(begin, count):
        at = (first + i) * slot.target // slot.source
        set_f32(slot.blends, i, np.float32(value_at(core, v, _BLEND, at) * share_at(core, deck, at)))
    row = 4 * (v * slot.stride + begin)
    lanes = (slot.context, v, other.context, partner_lane(core, v, d))
    rows = (slot.betas + row, slot.blends + 4 * begin, slot.tokens + row, slot.right_tokens + row)
    fault: int = call_9(slot.blend, (*lanes, count - begin, *rows))
    return fault << v


@njit(**INNER)
def tell_partner(core: Record, v: int, d: int, tokens: int, n: int) -> None:
    """The partner of deck d hears n samples."""
    other = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).partner)
    call_4(other.prime, (other.context, partner_lane(core, v, d), tokens, n))


@njit(**INNER)
def seat(core: Record, v: int, d: int, p: int, company: int) -> None:
    """Slot ``p`` becomes the partner of deck d, fresh, with the voice's dice; -1 leaves it alone."""
    deck = deck_at(core.deck_memory, v * 2 + d)
    deck.partner, deck.company = p, company if p >= 0 else ALONE
    set_share(core, deck, core.mix + core.delay - core.glide, 1.0, 1.0)
    if p < 0:
        return
    other, lane = slot_at(core.slot_memory, p), partner_lane(core, v, d)
    source, target = lane_state(slot_at(core.slot_memory, deck.slot), v), lane_state(other, lane)
    for word in HEADER:
        set_i64(target, word, get_i64(source, word))
    call_3(other.reset, (other.context, lane, _FRESH))


@njit(**INNER)
def take_partner(core: Record, v: int) -> None:
    """The partner of the playing deck goes along to the other one, whose network takes the state over."""
    d = voice_at(core.voice_memory, v).deck
    a, b = deck_at(core.deck_memory, v * 2 + d), deck_at(core.deck_memory, v * 2 + 1 - d)
    seat(core, v, 1 - d, fitting(core, b.slot, a.partner) if a.company >= JOINED else -1, a.company)
    if b.company == ALONE:  # what a loop kept of it stays with the lane that is left
        for step in range(STEPS):
            anchor_at(core.anchor_memory, v * STEPS + step).partner = -1
        return
    other = slot_at(core.slot_memory, b.partner)
    mine, its = partner_lane(core, v, d), partner_lane(core, v, 1 - d)
    copy_words(lane_state(other, mine), lane_state(other, its), other.state_bytes // 8)
    copy_words(kept_state(other, mine, 0), kept_state(other, its, 0), STEPS * other.state_bytes // 8)
    b.company_at, b.share_start, b.share_from, b.share_to = a.company_at, a.share_start, a.share_from, a.share_to
