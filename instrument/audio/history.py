"""A bank that is a training history: its epochs in their order, for `maturity` to move through, and new ones that join.

Render thread only, compiled. A new epoch's slot lies ready behind the bank (`Performance.add`) before the command that
lets it in is on the ring; from then on `maturity` means a place in the longer history.
"""

# mypy: disable-error-code="no-any-return"
# (records are untyped to mypy; numba checks them)
from __future__ import annotations

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import njit

from instrument.audio.decks import value_at
from instrument.audio.loading import admit
from instrument.audio.memory import INNER
from instrument.audio.state import PLAYING, WELL, Record, voice_at
from instrument.audio.voices import destination, switch
from instrument.controls import KEEP_STATE, MATURITY

_KEEP_STATE, _MATURITY = np.int64(KEEP_STATE), np.int64(MATURITY)


@njit(**INNER)
def epoch_of(core: Record, v: int) -> int:
    """The slot that voice v's maturity says."""
    return int(value_at(core, v, _MATURITY, core.mix + core.delay) * (core.slots - 1) + 0.5)


@njit(**INNER)
def grow(core: Record) -> None:
    """Every voice plays the epoch that its maturity says, once it says another.

    Looked at on the grid only, which a replay has too.
    """
    if core.history == 0 or core.phase != PLAYING or core.mix % core.turn != 0 or core.health != WELL:
        return
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        k = epoch_of(core, v)
        if k != voice.grown:
            voice.grown = k
            switch(core, v, k, core.growing, _KEEP_STATE)


@njit(**INNER)
def join(core: Record, count: int) -> None:
    """The bank is the first ``count`` slots from now on.

    A voice that was put somewhere else by hand stays there until its maturity moves.
    """
    for k in range(core.slots, count):
        admit(core, k)
    core.slots = count
    for v in range(core.voices):
        voice = voice_at(core.voice_memory, v)
        if destination(core, v) != voice.grown:
            voice.grown = epoch_of(core, v)
