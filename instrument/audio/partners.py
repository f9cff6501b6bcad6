"""Partners taken and dropped while the set plays: primed with what the voice said, faded in and out of the blend.

Render thread only, compiled. What a voice is asked to have is its ``partner``; what its decks have follows from here,
looked at in every turn, where turns are cut for it. A partner hears what its deck said lately, some samples for each
one said meanwhile, until it has caught up; then both draw together (``instrument.audio.generating``), and its share in
the blend rises. One that is dropped falls out of the blend first. What a switch of the voice's own network brings
along, and what a voice has that nobody hears, is arranged where that happens.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from instrument.audio.decks import past_of
from instrument.audio.dsp import network_index
from instrument.audio.generating import fitting, seat, set_share, share_at, tell_partner
from instrument.audio.memory import INNER, get_f32, get_i64, set_i32
from instrument.audio.state import (
    ALONE,
    FADING,
    JOINED,
    LISTENING,
    PARKED,
    PARTING,
    PAST,
    SILENT,
    STEADY,
    Record,
    deck_at,
    slot_at,
    voice_at,
)
from instrument.audio.voices import ceil_div, destination, level_of


@njit(**INNER)
def welcome(core: Record, v: int, p: int) -> bool:
    """Whether voice v may have slot ``p`` as its partner, or (-1) none: where it is, or where it is going."""
    if p < 0:
        return True
    k = deck_at(core.deck_memory, v * 2 + voice_at(core.voice_memory, v).deck).slot
    return fitting(core, k, p) >= 0 or fitting(core, destination(core, v), p) >= 0


@njit(**INNER)
def change_partners(core: Record) -> None:
    """Every deck that sounds takes a step towards the partner that its voice is to have, if it is time for one."""
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        for d in range(2):
            if d == voice.deck or voice.phase == FADING:
                while step_company(core, v, d):
                    pass


@njit(**INNER)
def step_company(core: Record, v: int, d: int) -> bool:
    """One step of deck d, if one is due at the front; whether there was."""
    deck, front = deck_at(core.deck_memory, v * 2 + d), core.mix + core.delay
    wanted = fitting(core, deck.slot, voice_at(core.voice_memory, v).partner)
    if deck.company == ALONE:
        if wanted >= 0:
            invite(core, v, d, wanted)
        return wanted >= 0
    if deck.company == LISTENING:
        if wanted != deck.partner:
            deck.company = ALONE
            return True
        return arrive(core, deck, front)
    if deck.company == JOINED:
        if wanted == deck.partner:
            return False
        set_share(core, deck, front, share_at(core, deck, front - 1), 0.0)
        deck.company, deck.company_at = PARTING, front + core.glide
        return True
    if wanted == deck.partner:
        set_share(core, deck, front, share_at(core, deck, front - 1), 1.0)
        deck.company = JOINED
        return True
    if front >= deck.company_at:
        deck.company = ALONE
        return True
    return False


@njit(**INNER)
def arrive(core: Record, deck: Record, front: int) -> bool:
    """A partner that has heard everything draws along, its share rising from nothing."""
    if front < deck.company_at:
        return False
    set_share(core, deck, front, 0.0, 1.0)
    deck.company = JOINED
    return True


@njit(**INNER)
def invite(core: Record, v: int, d: int, p: int) -> None:
    """Slot ``p`` begins to hear what deck d said lately; at once with it where nobody hears the voice."""
    voice, deck, front = voice_at(core.voice_memory, v), deck_at(core.deck_memory, v * 2 + d), core.mix + core.delay
    if core.phase == SILENT or voice.parked == PARKED or front == 0:
        seat(core, v, d, p, JOINED)
        return
    seat(core, v, d, p, LISTENING)
    slot = slot_at(core.slot_memory, deck.slot)
    other = slot_at(core.slot_memory, p)
    started = network_index(front, slot.source, slot.target)
    known = max(0, min(min(started - deck.first, PAST // 2), other.prime_length))
    deck.company_started, deck.company_origin, deck.company_primed = started, started - known, started - known
    deck.company_rate = get_i64(core.rates, deck.slot * core.room + p)
    caught_up = started + ceil_div(known, deck.company_rate - 1)
    # the first session sample before which ``caught_up`` network samples lie
    deck.company_at = max(front, ((caught_up - 1) * slot.target) // slot.source + 1)


@njit(**INNER)
def listen(core: Record, front: int) -> None:
    """Partners that are catching up hear as much as is due when the session has been generated up to ``front``."""
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        for d in range(2):
            sounds = d == voice.deck or voice.phase == FADING
            if sounds and deck_at(core.deck_memory, v * 2 + d).company == LISTENING and voice.parked != PARKED:
                catch_up(core, v, d, front)


@njit(**INNER)
def catch_up(core: Record, v: int, d: int, front: int) -> None:
    """The partner of deck d hears what the deck said, as the samples that they were."""
    deck = deck_at(core.deck_memory, v * 2 + d)
    slot, other = slot_at(core.slot_memory, deck.slot), slot_at(core.slot_memory, deck.partner)
    now = network_index(front, slot.source, slot.target)
    due = min(now, deck.company_origin + deck.company_rate * (now - deck.company_started))
    row, past = other.tokens + v * other.stride * 4, past_of(core, v, d)
    while deck.company_primed < due:
        count = min(due - deck.company_primed, other.stride)
        for i in range(count):
            at = deck.company_primed + i
            before = float(get_f32(past, (at - 1) & (PAST - 1)))
            y = float(get_f32(past, at & (PAST - 1))) - other.preemphasis * before
            set_i32(row, i, level_of(other.edges, other.q_levels - 1, y))
        tell_partner(core, v, d, row, count)
        deck.company_primed += count


@njit(**INNER)
def kept_company(core: Record, v: int, k: int) -> bool:
    """Whether voice v has, or is to have, slot k as its partner."""
    voice = voice_at(core.voice_memory, v)
    for d in range(2):
        deck = deck_at(core.deck_memory, v * 2 + d)
        if (d == voice.deck or voice.phase != STEADY) and deck.company != ALONE and deck.partner == k:
            return True
    return voice.partner == k
