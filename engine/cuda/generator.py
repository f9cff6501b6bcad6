"""The GPU's backend: lanes as on the CPU, their samples made by graphs of kernels. torch, and triton for kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.cpu import hop
from engine.cpu.building import address_of
from engine.cpu.lanes import Lanes, mask_of, signed
from engine.cpu.memory import address
from engine.cpu.packing import CLOCK, DEVICE, LANE_BYTES, Packed
from engine.cuda import launching, stirring
from engine.cuda.player import Player
from engine.folding import Folded
from engine.generator import Generator, Program, Unavailable, betas, checked_batch, checked_rows, checked_sides
from engine.reference import log_softmax


class CudaGenerator(Lanes):
    """See :class:`engine.generator.Generator`. Has no partners yet.

    Args:
        player: with this network's weights, and lanes for these voices.
    """

    backend = "cuda"

    def __init__(self, folded: Folded, voices: int, stereo: tuple[bool, ...], spare: int, player: Player) -> None:
        stereo = stereo or (False,) * voices
        self.player, self.news = player, player.news
        packed = Packed(folded, voices, mask_of(stereo), spare, lean=True)
        packed.words[DEVICE] = self.player.context
        super().__init__(folded, packed, voices, stereo, spare)

    @property
    def program(self) -> Program:
        """C addresses for the audio path; the generator's own voices are what they play."""
        packed = self._packed
        return Program(
            self.config,
            self.voices,
            packed.context,
            address_of(launching.generate),
            address_of(launching.prime),
            address_of(hop.reset),
            address(packed.lanes),
            int(packed.words[LANE_BYTES]),
            (self, packed),
            stereo=mask_of(self.stereo),
            spare=self._spare,
            samples=self.player.shape.samples,
            failed=address(self.player.driver.failed),
            stir=address_of(launching.stir),
            stirred=stirring.context(self.player.driver),
        )

    def generate(
        self,
        n: int,
        temperature: ArrayLike = 1.0,
        partner: Generator | None = None,
        blend: ArrayLike = 0.0,
    ) -> NDArray[np.int32]:
        if partner is not None:
            raise ValueError("partner: the cuda backend blends nothing; `cpu` expected")
        beta = betas(temperature, self.voices, n)
        tokens: NDArray[np.int32] = np.empty((2, self.voices, n), np.int32)
        everyone = signed((1 << self.voices) - 1)
        launching.generate(self._packed.context, everyone, n, address(beta), address(tokens), n)
        self._check()
        return self._heard(tokens)

    def prime(self, indices: NDArray[np.integer]) -> None:
        left, right = checked_sides(indices, self.config, self.stereo)
        for lane, row in enumerate(left):
            before = self._tail(lane) if self.stereo[lane] else row
            launching.prime(self._packed.context, lane, address(row), len(row))
            if self.stereo[lane]:  # all that a right side remembers are its last samples
                self._set_tail(lane, np.concatenate([before, right[lane]])[-self.config.lookback :])
        self._check()

    def score(self, indices: NDArray[np.integer]) -> NDArray[np.float64]:
        tokens = checked_batch(indices, self.config)
        c = self.config
        found = []
        alone = Player(self.folded, 1, (), self.player.path, self.player.shape.samples, self.player.driver)
        for row in tokens:
            other = CudaGenerator(self.folded, 1, (), 0, alone)
            other.reset("learned")
            other._lookback(0)[:] = np.tile(row[: c.lookback], 2)
            found.append(other.force(row[None, c.lookback :])[0])
        return log_softmax(np.stack(found))

    def force(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Run known samples (voices, T) through every layer; returns the logits before each, (voices, T, q_levels)."""
        known = checked_rows(indices, self.config, self.voices)
        out = np.empty((self.voices, known.shape[1], self.config.q_levels), np.float32)
        for lane, row in enumerate(known):
            at = 0
            while at < len(row):
                n = self.player.fitting(int(self._header(lane)[CLOCK]), len(row) - at)
                launching.hear(self._packed.context, lane, address(row[at:]), n)
                out[lane, at : at + n] = self.player.logits(lane, n)
                at += n
        self._check()
        return out

    def _check(self) -> None:
        if self.player.error:
            raise Unavailable(f"backend: cuda: the GPU has failed ({self.player.error})")
