"""Entropy held: a factor on a voice's temperature, moved until its network is as uncertain as it is asked to be.

Render thread only, compiled. Looked at on the grid only, from what the network measured before the line (a word of the
lane's header), so that a replay steers alike.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.decks import lane_state, sounding, value_at
from instrument.audio.memory import INNER, get_f64
from instrument.audio.state import MEASURED, PARKED, SILENT, Record, deck_at, slot_at, voice_at
from instrument.controls import ENTROPY, TEMPERATURE

LOWEST_FACTOR, HIGHEST_FACTOR = 0.5, 2.0
SMOOTHED_S = 0.1  # time constant of what is measured
STEERED_S = 0.5  # in which an error of one bit moves the temperature by a factor of e, and in which the factor returns
_NEAR = 1e-4  # to 1: there it ends
_TEMPERATURE, _ENTROPY = np.int64(TEMPERATURE), np.int64(ENTROPY)


@njit(**INNER)
def steer(core: Record) -> None:
    """Measure and steer every voice, on a line of the grid."""
    if core.phase == SILENT or core.mix % core.turn != 0:
        return
    for v in range(core.voices):
        if voice_at(core.voice_memory, v).parked != PARKED:
            measure_voice(core, v)
            steer_voice(core, v)


@njit(**INNER)
def measure_voice(core: Record, v: int) -> None:
    """Smooth what the network last measured, and sum it up for the report."""
    voice = voice_at(core.voice_memory, v)
    slot = slot_at(core.slot_memory, deck_at(core.deck_memory, v * 2 + sounding(core, v)).slot)
    bits = get_f64(lane_state(slot, v), MEASURED)
    voice.entropy += core.entropy_blend * (bits - voice.entropy)
    voice.entropy_total += bits
    voice.measured += 1


@njit(**INNER)
def steer_voice(core: Record, v: int) -> None:
    """Move the factor by the error, within its range; without a target back to 1. At temperature 0 it rests."""
    voice, front = voice_at(core.voice_memory, v), core.mix + core.delay
    target = value_at(core, v, _ENTROPY, front)
    if target > 0.0:
        if value_at(core, v, _TEMPERATURE, front) > 0.0:
            factor = voice.steer * (1.0 + core.steer_blend * (target - voice.entropy))
            voice.steer = min(max(factor, LOWEST_FACTOR), HIGHEST_FACTOR)
    elif voice.steer != 1.0:
        voice.steer += core.steer_blend * (1.0 - voice.steer)
        if abs(voice.steer - 1.0) < _NEAR:
            voice.steer = 1.0
