"""The numba backend: one compiled sample step for every architecture, precision and number of voices. No torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.cpu import hop, products
from engine.cpu.building import address_of
from engine.cpu.lanes import Lanes, mask_of, signed
from engine.cpu.memory import address
from engine.cpu.packing import (
    GATE,
    LANE_BYTES,
    PRODUCTS,
    T_IN,
    T_OUT,
    TEAM,
    TIER_STRIDE,
    TIER_WORDS,
    Packed,
    X,
)
from engine.folding import Folded
from engine.generator import (
    Generator,
    Program,
    betas,
    blends,
    check_partner,
    checked_batch,
    checked_rows,
    checked_sides,
)
from engine.reference import log_softmax

_SCORED = 64  # lanes, and so sequences, scored together


class CpuGenerator(Lanes):
    """See :class:`engine.generator.Generator`."""

    backend = "cpu"

    def __init__(self, folded: Folded, voices: int, stereo: tuple[bool, ...] = (), spare: int = 0) -> None:
        stereo = stereo or (False,) * voices
        packed = Packed(folded, voices, mask_of(stereo), spare)
        packed.words[PRODUCTS] = address_of(products.multiply)
        super().__init__(folded, packed, voices, stereo, spare)

    @property
    def program(self) -> Program:
        """C addresses for the audio path; the generator's own voices are what they play."""
        packed = self._packed
        return Program(
            self.config,
            self.voices,
            packed.context,
            address_of(hop.generate),
            address_of(hop.prime),
            address_of(hop.reset),
            address(packed.lanes),
            int(packed.words[LANE_BYTES]),
            (self, packed),
            address_of(hop.blend),
            mask_of(self.stereo),
            self._spare,
            packed.context + TEAM * 8,
        )

    def have_help(self, team: int) -> None:
        """From the next sample on, of a team at that address (engine.cpu.team), 0 for none; not while one is made."""
        self._packed.words[TEAM] = team

    def generate(
        self,
        n: int,
        temperature: ArrayLike = 1.0,
        partner: Generator | None = None,
        blend: ArrayLike = 0.0,
    ) -> NDArray[np.int32]:
        beta = betas(temperature, self.voices, n)
        tokens: NDArray[np.int32] = np.empty((2, self.voices, n), np.int32)
        if partner is None:
            everyone = signed((1 << self.voices) - 1)
            hop.generate(self._packed.context, everyone, n, address(beta), address(tokens), n)
        else:
            check_partner(self, partner)
            assert isinstance(partner, CpuGenerator)
            self._blend(partner, beta, blends(blend, self.voices, n), tokens)
        return self._heard(tokens)

    def _blend(
        self, partner: CpuGenerator, beta: NDArray[np.float32], share: NDArray[np.float32], tokens: NDArray[np.int32]
    ) -> None:
        ours, theirs, n = self._packed.context, partner._packed.context, beta.shape[1]
        for v in range(self.voices):
            left, right = (address(side[v]) for side in tokens)
            hop.blend(ours, v, theirs, v, n, address(beta[v]), address(share[v]), left, right)

    def prime(self, indices: NDArray[np.integer]) -> None:
        left, right = checked_sides(indices, self.config, self.stereo)
        for lane, row in enumerate(left):
            before = self._tail(lane) if self.stereo[lane] else row
            hop.prime(self._packed.context, lane, address(row), len(row))
            if self.stereo[lane]:  # all that a right side remembers are its last samples
                self._set_tail(lane, np.concatenate([before, right[lane]])[-self.config.lookback :])

    def score(self, indices: NDArray[np.integer]) -> NDArray[np.float64]:
        tokens = checked_batch(indices, self.config)
        parts = [self._logits(tokens[i : i + _SCORED]) for i in range(0, len(tokens), _SCORED)]
        return log_softmax(np.concatenate(parts))

    def _logits(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Teacher-forced from the learned h0, in lanes of their own."""
        c, lanes = self.config, len(tokens)
        other = CpuGenerator(self.folded, lanes)
        other.reset("learned")
        for lane, row in enumerate(tokens):
            other._lookback(lane)[:] = np.tile(row[: c.lookback], 2)
        return other.force(tokens[:, c.lookback :])

    def force(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Run known samples (voices, T) through every layer; returns the logits before each, (voices, T, q_levels)."""
        known = checked_rows(indices, self.config, self.voices)
        n = known.shape[1]
        out = np.empty((self.voices, n, self.config.q_levels), np.float32)
        everyone = signed((1 << self.voices) - 1)
        hop.force(self._packed.context, everyone, n, address(known), n, address(out))
        return out

    def activations(self) -> dict[str, NDArray[np.float32]]:
        """What the newest sample's activations were under fp32, by the names of Checkpoint.range_names."""
        c = self.config
        assert self.precision == "fp32"
        found = {"mlp.1": self._floats(X, c.mlp_dim)}
        if c.mlp_layers == 2:
            found["mlp.2"] = self._floats(GATE, c.mlp_dim)
        for i, folded in enumerate(self.folded.tiers):
            tier = int(self._packed.words[TIER_WORDS]) + i * TIER_STRIDE
            if folded.layers[0].entry:
                found[f"tier.{i}.input"] = self._floats(T_IN + tier, c.dim)
            if c.skip:
                found[f"tier.{i}.output"] = self._floats(T_OUT + tier, c.dim)
        return found

    def _floats(self, word: int, n: int) -> NDArray[np.float32]:
        """(voices, n) of a vector in every lane's block."""
        at = int(self._packed.words[word])
        return np.stack([self._block(v)[at : at + 4 * n].view(np.float32) for v in range(self.voices)])
