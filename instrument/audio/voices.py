"""Voices and their networks: generating, priming, changing from one to another, jumps and fresh starts.

Render thread only, compiled. A change of slot: the other network's lane either takes over the recurrent state, or
starts afresh and is primed with what the voice just played, ``rate`` samples for each one played meanwhile, until it
has caught up; when that will be is known at once. Then both run for the crossfade. How samples are made is left to
``instrument.audio.generating``, what is mixed from them to ``instrument.audio.mix``.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import math

import numpy as np
from numba import njit

from instrument.audio.decks import (
    HEADER,
    carry_loop,
    copy_words,
    end_loop,
    hand_dice,
    lane_state,
    past_of,
    put,
    sides,
    sounding,
)
from instrument.audio.dsp import network_index
from instrument.audio.generating import (
    decode,
    fail,
    fitting,
    has_failed,
    is_silent,
    lanes_of,
    partner_lane,
    run_slot,
    seat,
    take_partner,
    tell_partner,
)
from instrument.audio.memory import (
    INNER,
    call_3,
    call_4,
    get_f32,
    get_i64,
    set_f32,
    set_i32,
    set_i64,
)
from instrument.audio.pending import tell
from instrument.audio.state import (
    ALONE,
    DICE,
    FADING,
    FRESH_DICE,
    JOINED,
    KEY,
    LEAVING,
    LISTENING,
    LOOPING,
    PARKED,
    PARTING,
    PAST,
    PRIMING,
    RESETS,
    SILENT,
    STEADY,
    WITH,
    ZERO,
    Record,
    deck_at,
    loop_at,
    shape_at,
    slot_at,
    voice_at,
)
from instrument.controls import KEEP_STATE, Op
from instrument.shared import NEVER

_SWITCHED, _PRIMED, _SETTLED = np.int64(Op.SWITCHED), np.int64(Op.PRIMED), np.int64(Op.SETTLED)
_KEEP_STATE, _ALL = np.int64(KEEP_STATE), np.int64(PAST)
THERE, AWAY = np.int64(0), np.int64(1)
_FRESH = 3  # reset mode


@njit(**INNER)
def generate(core: Record, n: int) -> None:
    """Run every network for the n session samples from the front on, and remember its sound."""
    if core.phase == SILENT:
        return
    front, core.making = core.mix + core.delay, n
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
            if has_failed(coming(core, v)):
                fail(core, core.top)


@njit(**INNER)
def clear_past(core: Record, v: int, d: int, end: int, count: int) -> None:
    """Forget the sound of a deck: ``count`` network samples before ``end``, PAST for all of it."""
    for side in range(sides(core, v)):
        row = side * core.voices + v
        past = past_of(core, row, d)
        for i in range(end - count, end):
            set_f32(past, i & (PAST - 1), np.float32(0.0))
        deck = deck_at(core.deck_memory, row * 2 + d)
        deck.decoded, deck.previous, deck.step = 0.0, 0.0, 0.0
        deck.jumped, deck.speech_left = 0, 0


@njit(**INNER)
def land(core: Record, v: int, k: int, away: int) -> None:
    """Put voice v on slot k at once, fresh and with no past: for a voice that nobody hears.

    AWAY is a voice that is not mixed until its network goes on, THERE any other. Only what the resampler reaches of
    its past is cleared then: all of it takes 10 us a deck, and many voices may come and go at one sample.
    """
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
    deck.first = network_index(core.mix + core.delay, slot.source, slot.target)
    reach = core.delay * slot.source // slot.target + slot.taps + 2
    clear_past(core, v, voice.deck, deck.first, reach if away else _ALL)
    clear_past(core, v, 1 - voice.deck, ZERO, ZERO if away else _ALL)
    voice.phase = STEADY
    voice.slot = k
    voice.wanted = -1
    for side in range(sides(core, v)):
        voice_at(core.voice_memory, side * core.voices + v).runaway = 0.0
    voice.fault = 0


@njit(**INNER)
def beside_the_line(core: Record, slot: Record, index: int) -> int:
    """How many samples before ``index`` the frames of the voices on a slot begin.

    Lanes whose frames begin together are made together on a GPU; others cost a launch each.
    """
    beside: int = (index - network_index(core.line, slot.source, slot.target)) % slot.frame
    return beside


@njit(**INNER)
def line_up(core: Record, v: int) -> None:
    """Voice v, which has just landed, hears as much silence as brings its frames into line with others'."""
    deck = deck_at(core.deck_memory, v * 2 + voice_at(core.voice_memory, v).deck)
    slot = slot_at(core.slot_memory, deck.slot)
    count = beside_the_line(core, slot, deck.first)
    if core.phase != SILENT and count > 0:
        row = slot.tokens + v * slot.stride * 4
        for i in range(count):
            set_i32(row, i, slot.q_levels // 2)
        call_4(slot.prime, (slot.context, v, row, count))


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
        land(core, v, k, THERE)
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
    clear_past(core, v, 1 - voice.deck, ZERO, _ALL)
    b.started = network_index(front, new.source, new.target)
    b.origin = b.started - prime_length(core, a, old, new, front)
    b.origin -= beside_the_line(core, new, b.origin)
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
    b, new = deck_at(core.deck_memory, v * 2 + 1 - voice_at(core.voice_memory, v).deck), coming(core, v)
    now = network_index(front, new.source, new.target)
    if not is_silent(core, b.slot):
        feed(core, v, min(now, b.origin + b.rate * (now - b.started)), front)


@njit(**INNER)
def coming(core: Record, v: int) -> Record:
    """The slot that voice v is changing to."""
    return slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + 1 - voice_at(core.voice_memory, v).deck).slot)


@njit(**INNER)
def feed(core: Record, v: int, due: int, front: int) -> None:
    """Feed the coming network up to its sample ``due``, the session having been generated up to ``front``."""
    voice, new = voice_at(core.voice_memory, v), coming(core, v)
    b = deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
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
        if word not in HEADER:
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
    """Dice key ``key``, position 0, for every network that voice v sounds through; random states count anew with it."""
    voice = voice_at(core.voice_memory, v)
    end_loop(core, v)
    loop_at(core.loop_memory, v).chances = 0
    for d in range(2):
        if d == voice.deck or voice.phase == FADING:
            deck = deck_at(core.deck_memory, v * 2 + d)
            throw_anew(lane_state(slot_at(core.slot_memory, deck.slot), v), key)
            if deck.company != ALONE:
                throw_anew(lane_state(slot_at(core.slot_memory, deck.partner), partner_lane(core, v, d)), key)


@njit(**INNER)
def throw_anew(state: int, key: int) -> None:
    """The header of a lane as `seed` of the engine leaves it: its key, and no dice thrown yet."""
    set_i64(state, KEY, key)
    for word in (DICE, RESETS, FRESH_DICE):
        set_i64(state, word, 0)


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
        n = min(n, voice.rest_start + voice.rest_length - core.mix)
    return n
