"""Checkpoints -> slots: the networks of a set, made by the engine and readied for the render loop.

Main thread, before anything plays; compiles or loads kernels on the way. Shared by playing and replaying, so that both
have the same networks. What a slot does is left to ``instrument.audio``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from engine import moments
from engine.checkpoint import Checkpoint
from engine.generator import make_generator
from instrument.audio.slots import Places, Slot

_COMPUTING = ("samplernn-live", "numpy", "numba", "llvmlite")


def make_slots(
    checkpoints: Sequence[Checkpoint],
    names: Sequence[str],
    backend: str,
    precision: str,
    voices: int,
    stereo: Sequence[bool] = (),
) -> list[Slot]:
    """A slot for each program: lanes for each voice, ``stereo`` or not, and for a partner on each of its decks.

    Raises ValueError naming what cannot be played.
    """
    sides = tuple(stereo) or (False,) * voices
    return [_slot(*pair, backend, precision, sides) for pair in zip(checkpoints, names, strict=True)]


def _slot(checkpoint: Checkpoint, name: str, backend: str, precision: str, stereo: Sequence[bool]) -> Slot:
    voices = len(stereo)
    generator: Any = make_generator(checkpoint, backend, precision, voices, stereo=stereo, spare=2 * voices)
    program = getattr(generator, "program", None)
    if program is None:
        raise ValueError(f"--backend {backend}: cannot play live, only render; cpu expected")
    loudness, places = checkpoint.playing.get("loudness"), moments.of(checkpoint)
    return Slot(
        program,
        name=name,
        loudness=loudness,
        precision=precision,
        moments=_frozen(generator, places),
        recurrence=checkpoint.playing.get("recurrence"),
    )


def _frozen(generator: Any, places: moments.Moments | None) -> Places | None:
    """A checkpoint's moments as the states of a lane."""
    if places is None:
        return None
    pairs = zip(places.hidden, places.tokens, strict=True)
    states = np.stack([generator.frozen(hidden, tokens) for hidden, tokens in pairs])
    return Places(states, np.ascontiguousarray(places.attack, np.int32), np.ascontiguousarray(places.levels))


def kernel_variant() -> str:
    """Which instruction set the integer kernels use here."""
    from engine.cpu.tiles import variant

    return variant()


def versions() -> dict[str, str]:
    """Of this program and of what computes."""
    found = {}
    for name in _COMPUTING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
