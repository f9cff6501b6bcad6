"""A GPU that fails in the middle of a set: another network goes on, on the processor, or the set fades out.

Render thread only, compiled. In the turn in which it fails its slots fall silent (``instrument.audio.generating``);
on the next line of the grid, which a replay has too, every voice changes to the fallback slot, which hears at once what
the voice said last. That takes some milliseconds of the render thread; the ring is there for it.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from instrument.audio.memory import INNER
from instrument.audio.state import (
    FADING,
    FAILED,
    LOST,
    PARKED,
    PRIMING,
    SILENT,
    STEADY,
    ZERO,
    Record,
    deck_at,
    voice_at,
)
from instrument.audio.voices import THERE, begin_switch, end_priming, feed, land, settle

MOST, LEAST = 2048, 256  # network samples that voices hear together, and each of them


@njit(**INNER)
def fall_back(core: Record) -> bool:
    """What is due after a turn in which a GPU failed. Returns whether the set has to end."""
    if core.health != FAILED or core.mix % core.turn != 0:
        return False
    core.health = LOST
    if core.fallback < 0:
        return True
    for v in range(core.voices):
        take_over(core, v, core.fallback)
    return False


@njit(**INNER)
def take_over(core: Record, v: int, k: int) -> None:
    """Voice v goes on with slot k."""
    voice, front = voice_at(core.voice_memory, v), core.mix + core.delay
    voice.wanted = -1
    if voice.phase == FADING:
        settle(core, v)
    elif voice.phase == PRIMING:
        voice.phase, voice.slot = STEADY, deck_at(core.deck_memory, v * 2 + voice.deck).slot
    if core.phase == SILENT or voice.parked == PARKED or front == 0:
        land(core, v, k, THERE)
        return
    begin_switch(core, v, k, core.fuse, ZERO)
    voice.fade_length = core.fuse
    if voice.phase == PRIMING:
        hear_at_once(core, v, front)


@njit(**INNER)
def hear_at_once(core: Record, v: int, front: int) -> None:
    """The coming network hears the last of what the voice said, and goes on."""
    voice = voice_at(core.voice_memory, v)
    b = deck_at(core.deck_memory, v * 2 + 1 - voice.deck)
    b.origin = max(b.origin, b.started - max(LEAST, MOST // core.voices))
    b.primed, b.first = b.origin, b.origin
    feed(core, v, b.started, front)
    voice.switch_at = front
    end_priming(core, v)
