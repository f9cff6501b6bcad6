"""Slots that come and go while the set plays: which are there, and which may go.

Render thread only, compiled. A network is read, packed and measured elsewhere (``instrument.loading``); its descriptor
lies ready before the LOAD that lets it in is on the ring, and is cleared, its memory freed, only after the loop has
told of the DROP. Between the two the loop reads it, before and after it does not.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from instrument.audio.memory import INNER
from instrument.audio.partners import kept_company
from instrument.audio.state import (
    LOOPING,
    STEADY,
    STEPS,
    WELL,
    Record,
    anchor_at,
    deck_at,
    loop_at,
    slot_at,
    voice_at,
)
from instrument.audio.voices import destination


@njit(**INNER)
def ready(core: Record, k: int) -> bool:
    """Whether a voice may be switched to slot k."""
    return there(core, k) and (core.health == WELL or slot_at(core.slot_memory, k).failed == 0)


@njit(**INNER)
def there(core: Record, k: int) -> bool:
    """Whether slot k was let in, be what computes it lost."""
    return k >= 0 and k < core.room and slot_at(core.slot_memory, k).ready != 0


@njit(**INNER)
def loadable(core: Record, k: int) -> bool:
    """Whether slot k is free, and its descriptor filled in."""
    return k >= 0 and k < core.room and not there(core, k) and slot_at(core.slot_memory, k).context != 0


@njit(**INNER)
def droppable(core: Record, k: int) -> bool:
    """Whether slot k is there and nobody would miss it; a history keeps its epochs."""
    return there(core, k) and not in_use(core, k) and (core.history == 0 or k >= core.slots)


@njit(**INNER)
def in_use(core: Record, k: int) -> bool:
    """Whether any voice plays slot k, or is on its way there: whatever else holds on to a slot is to be asked here."""
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        if destination(core, v) == k or voice.slot == k or kept_company(core, v, k) or returned_to(core, v, k):
            return True
        for d in range(2):
            if d == voice.deck or voice.phase != STEADY:
                deck = deck_at(core.deck_memory, v * 2 + d)
                if deck.slot == k or says(core, k, deck):
                    return True
    return False


@njit(**INNER)
def says(core: Record, k: int, spoken: Record) -> bool:
    """Whether what a deck, or a step of a loop, still has to say is an attack that slot k holds."""
    slot = slot_at(core.slot_memory, k)
    end = slot.attacks + slot.moment_count * slot.attack_length * 4
    return spoken.speech_left > 0 and spoken.speech >= slot.attacks and spoken.speech < end


@njit(**INNER)
def returned_to(core: Record, v: int, k: int) -> bool:
    """Whether voice v's loop comes back to an attack that slot k holds."""
    loop = loop_at(core.loop_memory, v)
    if loop.state == LOOPING:
        for step in range(loop.stored):
            if says(core, k, anchor_at(core.anchor_memory, v * STEPS + step)):
                return True
    return False


@njit(**INNER)
def admit(core: Record, k: int) -> None:
    """Slot k is there from now on."""
    slot_at(core.slot_memory, k).ready = 1
    core.top = max(core.top, k + 1)


@njit(**INNER)
def drop(core: Record, k: int) -> None:
    """Slot k is not there any more; what loops knew of it as a partner is not another's in its place."""
    slot_at(core.slot_memory, k).ready = 0
    while core.top > 0 and slot_at(core.slot_memory, core.top - 1).ready == 0:
        core.top -= 1
    for i in range(core.voices * STEPS):
        if anchor_at(core.anchor_memory, i).partner == k:
            anchor_at(core.anchor_memory, i).partner = -1
