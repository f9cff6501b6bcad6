"""Voices that rest, because a patch has fewer of them than its set, or somebody says so, or they are too many.

Render thread only, compiled. A parked voice has faded out, is on one slot, and is neither generated nor mixed: it costs
nothing. Woken, it begins afresh on the slot where it is, and fades in. When there are too many is left to
``instrument.audio.shedding``.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
from numba import njit

from instrument.audio.dsp import smooth
from instrument.audio.memory import INNER
from instrument.audio.state import AWAKE, LEAVING, PARKED, SILENT, Record, voice_at
from instrument.audio.voices import AWAY, THERE, destination, forget_filters, land, line_up
from instrument.shared import NEVER


@njit(**INNER)
def rest_gain(core: Record, v: int, at: int) -> float:
    """1 of a voice that is awake, 0 of one that is parked; in between its fade."""
    voice = voice_at(core.voice_memory, v)
    t = (at - voice.rest_start + 1) / voice.rest_length
    if t >= 1.0:
        return voice.rest_to
    return voice.rest_from + (voice.rest_to - voice.rest_from) * smooth(t)


@njit(**INNER)
def park(core: Record, v: int, length: int) -> None:
    """Fade voice v out within ``length`` samples and leave; at once where nothing has been heard yet."""
    voice = voice_at(core.voice_memory, v)
    if voice.parked != AWAKE:
        return
    voice.rest_from, voice.rest_to = rest_gain(core, v, core.mix - 1), 0.0
    voice.rest_start, voice.rest_length = core.mix, length
    voice.parked = LEAVING
    if core.mix <= 0:
        voice.rest_from = 0.0
        leave(core, v)


@njit(**INNER)
def leave(core: Record, v: int) -> None:
    """Nobody hears voice v any more: it goes where it was going, and stays there."""
    voice = voice_at(core.voice_memory, v)
    land(core, v, destination(core, v), AWAY)
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
    voice.rest_start, voice.rest_length = core.mix, core.rest
    if voice.parked == PARKED:
        land(core, v, destination(core, v), THERE if core.phase == SILENT else AWAY)
        line_up(core, v)
        voice.rest_start = core.mix + core.delay
    voice.parked = AWAKE
