"""Voices that rest: a patch with fewer voices than its set has the others parked, which then cost nothing.

Render thread only, compiled. A parked voice has faded out, is on one slot, and is neither generated nor mixed. Woken,
it begins afresh on the slot where it is, and fades in.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from instrument.audio.dsp import smooth
from instrument.audio.memory import INNER
from instrument.audio.state import AWAKE, LEAVING, PARKED, Record, voice_at
from instrument.audio.voices import destination, forget_filters, land
from instrument.shared import NEVER


@njit(**INNER)
def rest_gain(core: Record, v: int, at: int) -> float:
    """1 of a voice that is awake, 0 of one that is parked; in between its fade."""
    voice = voice_at(core.voice_memory, v)
    t = (at - voice.rest_start + 1) / core.rest
    if t >= 1.0:
        return voice.rest_to
    return voice.rest_from + (voice.rest_to - voice.rest_from) * smooth(t)


@njit(**INNER)
def park(core: Record, v: int) -> None:
    """Fade voice v out and leave; at once where nothing has been heard yet."""
    voice = voice_at(core.voice_memory, v)
    if voice.parked != AWAKE:
        return
    voice.rest_from, voice.rest_to = rest_gain(core, v, core.mix - 1), 0.0
    voice.rest_start = core.mix
    voice.parked = LEAVING
    if core.mix <= 0:
        voice.rest_from = 0.0
        leave(core, v)


@njit(**INNER)
def leave(core: Record, v: int) -> None:
    """Nobody hears voice v any more: it goes where it was going, and stays there."""
    voice = voice_at(core.voice_memory, v)
    land(core, v, destination(core, v))
    voice.parked = PARKED
    voice.fuse_at = NEVER
    voice.square, voice.peak = 0.0, 0.0
    forget_filters(core, v)


@njit(**INNER)
def wake(core: Record, v: int) -> None:
    """Begin afresh, heard as soon as the network has made it; or come back out of a fade."""
    voice = voice_at(core.voice_memory, v)
    if voice.parked == AWAKE:
        return
    voice.rest_from, voice.rest_to = rest_gain(core, v, core.mix - 1), 1.0
    voice.rest_start = core.mix
    if voice.parked == PARKED:
        land(core, v, destination(core, v))
        voice.rest_start = core.mix + core.delay
    voice.parked = AWAKE
