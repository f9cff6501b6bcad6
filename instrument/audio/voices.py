"""Voices and their networks: generating, priming, changing from one to another.

Render thread only, compiled. A voice has two decks: the one that plays, and the one it is changing to. A deck is a
slot (a network with a lane for each voice), and the last PAST samples of that network's own sound, of a stereo voice
on each side. Network sample i of
a slot lies at session sample i target / source, for ever: so positions need no state, and nothing depends on how turns
are cut.

A change of slot: the other network's lane either takes over the recurrent state, or starts afresh and is primed with
what the voice just played, ``rate`` samples for each one played meanwhile, until it has caught up; when that will
be is known at once. Then both run for the crossfade. What is mixed from it is left to ``instrument.audio.mix``.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import math

import numpy as np
from numba import njit

from instrument.audio.dsp import network_index, smooth
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
    FADING,
    FRESH_DICE,
    JOINED,
    LEAVING,
    LISTENING,
    LOOPING,
    OFF,
    PARKED,
    PARTING,
    PAST,
    PRIMING,
    SILENT,
    SPREAD,
    STEADY,
    STEPS,
    WITH,
    ZERO,
    Record,
    anchor_at,
    deck_at,
    glide_at,
    loop_at,
    shape_at,
    slot_at,
    voice_at,
)
from instrument.controls import BLEND, KEEP_STATE, PARAMETERS, TEMPERATURE, Op
from instrument.shared import NEVER

_SWITCHED, _PRIMED, _SETTLED = np.int64(Op.SWITCHED), np.int64(Op.PRIMED), np.int64(Op.SETTLED)
_KEEP_STATE = np.int64(KEEP_STATE)
_FRESH = 3  # reset mode
_TEMPERATURE, _BLEND = np.int64(TEMPERATURE), np.int64(BLEND)
_HEADER = (0, 1, 3, 4, 5, 6, 7)  # all but the clock: the dice and what was measured, which belong to the voice


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
def generate(core: Record, n: int) -> None:
    """Run every network for the n session samples from the front on, and remember its sound."""
    if core.phase == SILENT:
        return
    front = core.mix + core.delay
    for k in range(core.top):
        mask = lanes_of(core, k)
        slot = slot_at(core.slot_memory, k)
        if mask == 0:
            continue
        first = network_index(front, slot.source, slot.target)
        count = network_index(front + n, slot.source, slot.target) - first
        if count > 0:
            run_slot(core, k, mask, first, count)
    for v in range(core.voices):
        if voice_at(core.voice_memory, v).phase == PRIMING:
            prime(core, v, front + n)


@njit(**INNER)
def run_slot(core: Record, k: int, mask: int, first: int, count: int) -> None:
    """Slot k: ``count`` network samples from index ``first`` for the lanes of ``mask``."""
    slot = slot_at(core.slot_memory, k)
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
    for v in range(core.voices):
        if mask >> v & 1:
            d, row = deck_on(core, v, k), v * slot.stride * 4
            decode(core, v, d, slot.tokens + row, first, count)
            if core.stereo >> v & 1:
                decode(core, core.voices + v, d, slot.right_tokens + row, first, count)
            if faults >> v & 1:
                voice_at(core.voice_memory, v).fault = 1


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


# --- partners: a deck's network blended with another that hears the same samples, in a lane of its own for each deck


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
    for word in _HEADER:
        set_i64(target, word, get_i64(source, word))
    call_3(other.reset, (other.context, lane, _FRESH))


@njit(**INNER)
def take_partner(core: Record, v: int) -> None:
    """The partner of the playing deck goes along to the other one, whose network takes the state over."""
    d = voice_at(core.voice_memory, v).deck
    a, b = deck_at(core.deck_memory, v * 2 + d), deck_at(core.deck_memory, v * 2 + 1 - d)
    seat(core, v, 1 - d, fitting(core, b.slot, a.partner) if a.company >= JOINED else -1, a.company)
    if b.company == ALONE:
        return
    other = slot_at(core.slot_memory, b.partner)
    mine, its = partner_lane(core, v, d), partner_lane(core, v, 1 - d)
    copy_words(lane_state(other, mine), lane_state(other, its), other.state_bytes // 8)
    copy_words(kept_state(other, mine, 0), kept_state(other, its, 0), STEPS * other.state_bytes // 8)
    b.company_at, b.share_start, b.share_from, b.share_to = a.company_at, a.share_start, a.share_from, a.share_to


# --- changing networks


@njit(**INNER)
def clear_past(core: Record, v: int, d: int) -> None:
    """Forget the sound of a deck."""
    for side in range(sides(core, v)):
        row = side * core.voices + v
        past = past_of(core, row, d)
        for i in range(PAST):
            set_f32(past, i, np.float32(0.0))
        deck = deck_at(core.deck_memory, row * 2 + d)
        deck.decoded, deck.previous, deck.step = 0.0, 0.0, 0.0
        deck.jumped, deck.speech_left = 0, 0


@njit(**INNER)
def hand_dice(core: Record, v: int, old: Record, new: Record) -> None:
    """Copy the words of the state that belong to the voice from lane v of slot ``old`` to lane v of ``new``."""
    source, target = lane_state(old, v), lane_state(new, v)
    for word in _HEADER:
        set_i64(target, word, get_i64(source, word))


@njit(**INNER)
def land(core: Record, v: int, k: int) -> None:
    """Put voice v on slot k at once, fresh and with no past: for a voice that nobody hears."""
    voice = voice_at(core.voice_memory, v)
    end_loop(core, v)
    deck = deck_at(core.deck_memory, v * 2 + voice.deck)
    if deck.slot != k:
        hand_dice(core, v, slot_at(core.slot_memory, deck.slot), slot_at(core.slot_memory, k))
        tell(core, core.mix + core.delay, _SETTLED, v, ZERO, k, ZERO, 0.0, ZERO)
    put(core, v, voice.deck, k)
    slot = slot_at(core.slot_memory, k)
    call_3(slot.reset, (slot.context, v, _FRESH))
    seat(core, v, voice.deck, fitting(core, k, voice.partner), JOINED)
    seat(core, v, 1 - voice.deck, -1, ALONE)
    clear_past(core, v, voice.deck)
    clear_past(core, v, 1 - voice.deck)
    deck.first = network_index(core.mix + core.delay, slot.source, slot.target)
    voice.phase = STEADY
    voice.slot = k
    voice.wanted = -1
    for side in range(sides(core, v)):
        voice_at(core.voice_memory, side * core.voices + v).runaway = 0.0
    voice.fault = 0


@njit(**INNER)
def forget_filters(core: Record, v: int) -> None:
    """Voice v's filters begin anew, on each side."""
    for side in range(sides(core, v)):
        own = voice_at(core.voice_memory, side * core.voices + v)
        own.z1, own.z2 = 0.0, 0.0
        own.side1, own.side2, own.side3, own.side4, own.side5 = 0.0, 0.0, 0.0, 0.0, 0.0
        shape = shape_at(core.shape_memory, side * core.voices + v)
        shape.half, shape.count = 0, 0


@njit(**INNER)
def destination(core: Record, v: int) -> int:
    """The slot that voice v will be on when everything asked for has happened."""
    voice = voice_at(core.voice_memory, v)
    k: int = voice.wanted if voice.wanted >= 0 else voice.slot
    return k


@njit(**INNER)
def switch(core: Record, v: int, k: int, ramp: int, flags: int) -> None:
    """Ask voice v to change to slot k at the front.

    During a crossfade the request waits, the latest wins; during priming it replaces what was being primed.
    """
    voice = voice_at(core.voice_memory, v)
    if core.phase == SILENT or voice.parked == PARKED or core.mix + core.delay == 0:
        land(core, v, k)
    elif voice.phase == FADING:
        voice.wanted = k if k != voice.slot else -1
        voice.wanted_ramp = ramp
        voice.wanted_flags = flags
    elif deck_at(core.deck_memory, v * 2 + voice.deck).slot == k:
        voice.phase = STEADY
        voice.slot = k
    elif voice.phase != PRIMING or voice.slot != k:
        begin_switch(core, v, k, ramp, flags)


@njit(**INNER)
def begin_switch(core: Record, v: int, k: int, ramp: int, flags: int) -> None:
    """Take over the state, or start priming."""
    voice = voice_at(core.voice_memory, v)
    front = core.mix + core.delay
    a, b = deck_at(core.deck_memory, v * 2 + voice.deck), deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
    old, new = slot_at(core.slot_memory, a.slot), slot_at(core.slot_memory, k)
    put(core, v, 1 - voice.deck, k)
    voice.slot = k
    voice.switch_origin = front
    shortest = max(1, core.rate // 500)
    voice.fade_length = max(
        shortest, min(ramp if ramp > 0 else core.glide, get_i64(core.limits, a.slot * core.room + k))
    )
    if flags & KEEP_STATE and old.architecture == new.architecture:
        take_state(core, v, old, new)
        voice.switch_at = front
        begin_crossfade(core, v, _KEEP_STATE, ZERO)
        return
    end_loop(core, v)
    hand_dice(core, v, old, new)
    call_3(new.reset, (new.context, v, _FRESH))
    seat(core, v, 1 - voice.deck, fitting(core, k, voice.partner), WITH)
    clear_past(core, v, 1 - voice.deck)
    b.started = network_index(front, new.source, new.target)
    b.origin = b.started - prime_length(core, a, old, new, front)
    b.primed = b.origin
    b.first = b.origin
    b.rate = get_i64(core.rates, a.slot * core.room + k)
    caught_up = b.started + ceil_div(b.started - b.origin, b.rate - 1)
    # the first session sample before which ``caught_up`` network samples lie
    voice.switch_at = max(front, ((caught_up - 1) * new.target) // new.source + 1)
    voice.phase = PRIMING
    if voice.switch_at == front:
        end_priming(core, v)


@njit(**INNER)
def ceil_div(a: int, b: int) -> int:
    """a / b rounded up, b > 0."""
    return -((-a) // b)


@njit(**INNER)
def prime_length(core: Record, a: Record, old: Record, new: Record, front: int) -> int:
    """Samples (at the new network's rate) to prime with: as many as wanted, played and remembered."""
    ratio = (new.source * old.target) / (new.target * old.source)
    played = network_index(front, old.source, old.target) - a.first
    remembered = PAST // 2
    known = math.floor(min(played, remembered) * ratio)
    return max(0, min(known, new.prime_length))


@njit(**INNER)
def take_state(core: Record, v: int, old: Record, new: Record) -> None:
    """Lane, sound and filters of the playing deck go to the other one (equal architectures, hence equal levels)."""
    voice = voice_at(core.voice_memory, v)
    a, b = deck_at(core.deck_memory, v * 2 + voice.deck), deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
    copy_words(lane_state(old, v), lane_state(new, v), old.state_bytes // 8)
    take_partner(core, v)
    carry_loop(core, v, old, new)
    for side in range(sides(core, v)):
        row = side * core.voices + v
        source, target = past_of(core, row, voice.deck), past_of(core, row, 1 - voice.deck)
        for i in range(PAST):
            set_f32(target, i, get_f32(source, i))
        one, other = (
            deck_at(core.deck_memory, row * 2 + voice.deck),
            deck_at(core.deck_memory, row * 2 + 1 - voice.deck),
        )
        other.decoded, other.previous, other.step, other.jumped = one.decoded, one.previous, one.step, one.jumped
    b.first, b.speech, b.speech_left = a.first, a.speech, a.speech_left


@njit(**INNER)
def prime(core: Record, v: int, front: int) -> None:
    """Feed the coming network as far as it is due when the session has been generated up to ``front``."""
    voice = voice_at(core.voice_memory, v)
    b = deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
    new = slot_at(core.slot_memory, b.slot)
    now = network_index(front, new.source, new.target)
    due = min(now, b.origin + b.rate * (now - b.started))
    row = new.tokens + v * new.stride * 4
    while b.primed < due:
        count = min(due - b.primed, new.stride)
        requantise(core, v, row, count, front)
        call_4(new.prime, (new.context, v, row, count))
        if b.company == WITH:
            tell_partner(core, v, 1 - voice.deck, row, count)
        for side in range(sides(core, v)):
            decode(core, side * core.voices + v, 1 - voice.deck, row, b.primed, count)
        b.primed += count


@njit(**INNER)
def requantise(core: Record, v: int, row: int, count: int, front: int) -> None:
    """The playing deck's left side as ``count`` tokens of the coming network, at the loudness it will be heard at."""
    voice = voice_at(core.voice_memory, v)
    a, b = deck_at(core.deck_memory, v * 2 + voice.deck), deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
    old, new = slot_at(core.slot_memory, a.slot), slot_at(core.slot_memory, b.slot)
    past = past_of(core, v, voice.deck)
    last = network_index(front, old.source, old.target) - 1
    ratio = (new.target * old.source) / (new.source * old.target)
    same = new.target == old.target and new.source == old.source
    scale = old.gain / new.gain
    for i in range(count):
        index = b.primed + i
        x = float(get_f32(past, index & (PAST - 1))) if same else cubic(past, index * ratio, last)
        x *= scale
        y = x - new.preemphasis * b.previous
        b.previous = x
        set_i32(row, i, level_of(new.edges, new.q_levels - 1, y))


@njit(**INNER)
def cubic(past: int, place: float, last: int) -> float:
    """Catmull-Rom between four samples; past the last one it holds. Enough to warm a network up, not to listen to."""
    i = math.floor(place)
    t = place - i
    mask = PAST - 1
    x0 = float(get_f32(past, min(i - 1, last) & mask))
    x1 = float(get_f32(past, min(i, last) & mask))
    x2 = float(get_f32(past, min(i + 1, last) & mask))
    x3 = float(get_f32(past, min(i + 2, last) & mask))
    return x1 + 0.5 * t * (x2 - x0 + t * (2 * x0 - 5 * x1 + 4 * x2 - x3 + t * (3 * (x1 - x2) + x3 - x0)))


@njit(**INNER)
def level_of(edges: int, count: int, y: float) -> int:
    """How many of ``count`` rising edges are at most y: the token of a sample."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if float(get_f32(edges, middle)) <= y:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**INNER)
def end_priming(core: Record, v: int) -> None:
    """The coming network has heard everything: give it the voice's dice as they are now, and let it begin."""
    voice = voice_at(core.voice_memory, v)
    a, b = deck_at(core.deck_memory, v * 2 + voice.deck), deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
    hand_dice(core, v, slot_at(core.slot_memory, a.slot), slot_at(core.slot_memory, b.slot))
    if b.company == WITH:
        b.company = JOINED
    length = b.primed - b.origin
    tell(core, voice.switch_at, _PRIMED, v, ZERO, b.slot, ZERO, float(length), ZERO)
    begin_crossfade(core, v, ZERO, length)


@njit(**INNER)
def begin_crossfade(core: Record, v: int, flags: int, primed: int) -> None:
    """From ``switch_at`` on both networks run."""
    voice = voice_at(core.voice_memory, v)
    voice.phase = FADING
    voice.wanted = -1
    tell(core, voice.switch_at, _SWITCHED, v, ZERO, voice.slot, voice.fade_length, float(primed), flags)


@njit(**INNER)
def settle(core: Record, v: int) -> None:
    """The crossfade is over: the coming deck is the playing one; a request that waited begins."""
    voice = voice_at(core.voice_memory, v)
    seat(core, v, voice.deck, -1, ALONE)
    voice.deck = 1 - voice.deck
    voice.phase = STEADY
    tell(core, core.mix, _SETTLED, v, ZERO, voice.slot, ZERO, 0.0, ZERO)
    if voice.wanted >= 0:
        wanted = voice.wanted
        voice.wanted = -1
        begin_switch(core, v, wanted, voice.wanted_ramp, voice.wanted_flags)


# --- reseed, seed and moments


@njit(**INNER)
def jump(core: Record, v: int, index: int) -> bool:
    """Put the network that voice v plays, or fades to, to its moment ``index``, where it says the attack first.

    Dice stay. False if it has no such.
    """
    d = sounding(core, v)
    deck = deck_at(core.deck_memory, v * 2 + d)
    slot = slot_at(core.slot_memory, deck.slot)
    if index < 0 or index >= slot.moment_count:
        return False
    end_loop(core, v)
    source, target = slot.moments + index * slot.state_bytes, lane_state(slot, v)
    for word in range(slot.state_bytes // 8):
        if word not in _HEADER:
            set_i64(target, word, get_i64(source, word))
    for side in range(sides(core, v)):
        own = deck_at(core.deck_memory, (side * core.voices + v) * 2 + d)
        own.decoded = float(get_f32(slot.moment_levels, index))
        own.jumped = 1
    deck.speech, deck.speech_left = slot.attacks + index * slot.attack_length * 4, slot.attack_length
    return True


@njit(**INNER)
def reseed(core: Record, v: int, mode: int) -> None:
    """Reset the hidden state of every network that voice v sounds through; tokens and dice stay."""
    voice = voice_at(core.voice_memory, v)
    end_loop(core, v)
    for d in range(2):
        if d == voice.deck or voice.phase == FADING:
            slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).slot)
            call_3(slot.reset, (slot.context, v, mode))
            if deck_at(core.deck_memory, v * 2 + d).company != ALONE:
                other = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).partner)
                call_3(other.reset, (other.context, partner_lane(core, v, d), mode))


@njit(**INNER)
def new_dice(core: Record, v: int, key: int) -> None:
    """Dice key ``key``, position 0, for every network that voice v sounds through."""
    voice = voice_at(core.voice_memory, v)
    end_loop(core, v)
    loop_at(core.loop_memory, v).chances = 0
    for d in range(2):
        if d == voice.deck or voice.phase == FADING:
            state = lane_state(slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + d).slot), v)
            set_i64(state, 0, key)
            set_i64(state, 1, 0)
            set_i64(state, FRESH_DICE, 0)


@njit(**INNER)
def next_change(core: Record, v: int) -> int:
    """Samples from the mix's position to the next automatic change of voice v, at least 0."""
    voice = voice_at(core.voice_memory, v)
    n, loop = NEVER, loop_at(core.loop_memory, v)
    if loop.state == LOOPING:
        n = min(loop.next, loop.step_end) - (core.mix + core.delay)
    if voice.phase == PRIMING:
        n = min(n, voice.switch_at - (core.mix + core.delay))
    elif voice.phase == FADING:
        n = min(n, voice.switch_at + voice.fade_length - core.mix)
    for d in range(2):
        deck = deck_at(core.deck_memory, v * 2 + d)
        if (d == voice.deck or voice.phase == FADING) and deck.company in (LISTENING, PARTING):
            n = min(n, deck.company_at - (core.mix + core.delay))
    if voice.fuse_at != NEVER:
        falls = voice.fuse_at + core.fuse - core.mix
        rises = voice.fuse_back + core.fuse - core.mix
        n = min(n, falls if falls > 0 else rises)
    if voice.parked == LEAVING:
        n = min(n, voice.rest_start + core.rest - core.mix)
    return n
