"""Checkpoints -> slots: the networks of a set, made by the engine and readied for the render loop.

Main thread, before anything plays, where kernels compile and a GPU's graphs are captured; then the threads that let
networks in. Shared by playing and replaying, so that both have the same networks. What a slot does is left to
``instrument.audio``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from engine import moments
from engine.checkpoint import Checkpoint
from engine.config import ModelConfig
from engine.generator import AT_ONCE, USUAL, Unavailable, cuda_players, make_generator
from instrument.audio.slots import Places, Slot

_COMPUTING = ("samplernn-live", "numpy", "numba", "llvmlite")


class Maker:
    """Makes the slots of one set: lanes for each voice, and for a partner on each of its decks.

    Args:
        stereo: which voices have a right side; none if left out.
        launch: samples that a GPU makes at once.

    Attributes:
        news: lines about what is not as it should be.

    Raises Unavailable for a backend that this machine does not have.
    """

    def __init__(
        self, backend: str, precision: str, voices: int, stereo: Sequence[bool] = (), launch: int = AT_ONCE
    ) -> None:
        self._backend, self._precision = backend, precision
        self._sides = tuple(stereo) or (False,) * voices
        self._players: Any = cuda_players(voices, self._sides, launch) if backend == "cuda" else None
        self._faults: list[str] = []

    def slots(self, checkpoints: Sequence[Checkpoint], names: Sequence[str]) -> list[Slot]:
        """A slot for each program. Raises ValueError naming what cannot be played, Unavailable without the backend."""
        return [self.slot(*pair) for pair in zip(checkpoints, names, strict=True)]

    def slot(self, checkpoint: Checkpoint, name: str) -> Slot:
        """One more. Raises ValueError."""
        return self._slot(checkpoint, name, self._backend, self._precision)

    def fallback(self, checkpoint: Checkpoint, name: str) -> Slot:
        """One that the processor plays, whatever plays the others. Raises ValueError."""
        return self._slot(checkpoint, name, "cpu", USUAL["cpu"])

    def reserve(self, configs: Iterable[ModelConfig]) -> None:
        """Be ready for one network more of each of these while the set plays: a GPU allocates nothing then."""
        for config, count in Counter(configs).items() if self._players else ():
            try:
                self._players.reserve(config, count)
            except Unavailable as error:
                line = f"{error}: networks that shall join the set later may not"
                self._faults += [line] if line not in self._faults else []

    def begin(self) -> None:
        """The set begins."""
        if self._players:
            self._players.begin()

    @property
    def versions(self) -> dict[str, str]:
        """Of this program and of what computes."""
        return versions() | (self._players.versions if self._players else {})

    @property
    def news(self) -> list[str]:
        return [*(self._players.news if self._players else ()), *self._faults]

    def _slot(self, checkpoint: Checkpoint, name: str, backend: str, precision: str) -> Slot:
        voices = len(self._sides)
        players = self._players if backend == "cuda" else None
        generator: Any = make_generator(
            checkpoint, backend, precision, voices, stereo=self._sides, spare=2 * voices, players=players
        )
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


def make_slots(
    checkpoints: Sequence[Checkpoint],
    names: Sequence[str],
    backend: str,
    precision: str,
    voices: int,
    stereo: Sequence[bool] = (),
) -> list[Slot]:
    """The slots of a set that nothing joins. Raises ValueError naming what cannot be played."""
    return Maker(backend, precision, voices, stereo).slots(checkpoints, names)


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
