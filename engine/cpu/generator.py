"""The numba backend: one compiled sample step for every architecture, precision and number of voices. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine import draw
from engine.cpu import hop, products
from engine.cpu.building import address_of
from engine.cpu.memory import address
from engine.cpu.packing import (
    CLOCK,
    DICE,
    ENTROPY,
    FRESH_DICE,
    GATE,
    HEADER_WORDS,
    KEY,
    LANE_BYTES,
    NUMBER,
    PRODUCTS,
    RESETS,
    SIDE,
    SPREAD,
    T_C,
    T_H,
    T_IN,
    T_OUT,
    TEAM,
    TIER_STRIDE,
    TIER_WORDS,
    TOKENS,
    Packed,
    X,
    padded,
)
from engine.folding import Folded
from engine.generator import RESETS as RESET_NAMES
from engine.generator import (
    Generator,
    Program,
    betas,
    blends,
    check_partner,
    checked_batch,
    checked_hidden,
    checked_lookback,
    checked_reset,
    checked_rows,
    checked_sides,
    keys,
)
from engine.reference import log_softmax

_SCORED = 64  # lanes, and so sequences, scored together


class CpuGenerator:
    """See :class:`engine.generator.Generator`."""

    backend = "cpu"

    def __init__(self, folded: Folded, voices: int, stereo: tuple[bool, ...] = (), spare: int = 0) -> None:
        self.config, self.precision, self.voices = folded.config, folded.precision, voices
        self.folded, self.stereo, self._spare = folded, stereo or (False,) * voices, spare
        self._packed = Packed(folded, voices, sum(side << v for v, side in enumerate(self.stereo)), spare)
        self._packed.words[PRODUCTS] = address_of(products.multiply)
        self.reset()
        for lane in range(voices, voices + spare):
            hop.reset(self._packed.context, lane, hop.FRESH)

    @property
    def context(self) -> int:
        """Address of the packed network and its lanes."""
        return self._packed.context

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
            sum(side << v for v, side in enumerate(self.stereo)),
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
            everyone = _signed((1 << self.voices) - 1)
            hop.generate(self._packed.context, everyone, n, address(beta), address(tokens), n)
        else:
            check_partner(self, partner)
            assert isinstance(partner, CpuGenerator)
            self._blend(partner, beta, blends(blend, self.voices, n), tokens)
        if not any(self.stereo):
            left: NDArray[np.int32] = tokens[0]
            return left
        mono = [not side for side in self.stereo]
        tokens[1, mono] = tokens[0, mono]
        return tokens

    def _blend(
        self, partner: CpuGenerator, beta: NDArray[np.float32], share: NDArray[np.float32], tokens: NDArray[np.int32]
    ) -> None:
        ours, theirs, n = self._packed.context, partner._packed.context, beta.shape[1]
        for v in range(self.voices):
            left, right = (address(side[v]) for side in tokens)
            hop.blend(ours, v, theirs, v, n, address(beta[v]), address(share[v]), left, right)

    def reset(self, h0: str | None = None, voice: int | None = None) -> None:
        lanes = checked_reset(h0, voice, self.voices)
        mode = hop.FRESH if h0 is None else RESET_NAMES.index(h0)
        for lane in lanes:
            hop.reset(self._packed.context, lane, mode)

    def seed(self, seed: int | Sequence[int]) -> None:
        for lane, (key, number) in enumerate(zip(*keys(seed, self.voices), strict=True)):
            header = self._header(lane)
            header[KEY], header[NUMBER], header[DICE], header[RESETS] = _signed(key), number, 0, 0
            header[FRESH_DICE] = 0

    def vary(self, voice: int, variation: float) -> None:
        (lane,) = checked_reset(None, voice, self.voices)
        self._header(lane)[SPREAD] = draw.spread_of(variation)

    def entropy(self, voice: int) -> float:
        (lane,) = checked_reset(None, voice, self.voices)
        return float(self._header(lane)[ENTROPY : ENTROPY + 1].view(np.float64)[0])

    def prime(self, indices: NDArray[np.integer]) -> None:
        left, right = checked_sides(indices, self.config, self.stereo)
        for lane, row in enumerate(left):
            before = self._tail(lane) if self.stereo[lane] else row
            hop.prime(self._packed.context, lane, address(row), len(row))
            if self.stereo[lane]:  # all that a right side remembers are its last samples
                self._set_tail(lane, np.concatenate([before, right[lane]])[-self.config.lookback :])

    def hidden(self, voice: int) -> NDArray[np.float32]:
        (lane,) = checked_reset(None, voice, self.voices)
        return np.stack([np.stack(part) for part in self._minds(lane)]).copy()

    def jump(self, voice: int, hidden: NDArray[np.floating], tokens: NDArray[np.integer]) -> None:
        (lane,) = checked_reset(None, voice, self.voices)
        parts, behind = checked_hidden(hidden, self.config), checked_lookback(tokens, self.config)
        hop.reset(self._packed.context, lane, hop.FRESH)
        for part, views in zip(parts, self._minds(lane), strict=True):
            for values, view in zip(part, views, strict=True):
                view[:] = values
        for side in range(1 + self.stereo[lane]):
            self._lookback(lane, side)[:] = np.tile(behind, 2)

    def frozen(self, hidden: NDArray[np.floating], tokens: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The bytes of a lane that has jumped there; lane 0 is used for it and left there."""
        self.jump(0, hidden, tokens)
        return self._block(0).copy()

    def _minds(self, lane: int) -> list[list[NDArray[np.float32]]]:
        """h, and c of an LSTM, of every tier, (n_rnn, dim), in place."""
        c, step = self.config, padded(self.config.dim)
        words = [T_H, T_C] if c.rnn == "lstm" else [T_H]
        at = [int(self._packed.words[TIER_WORDS]) + i * TIER_STRIDE for i in range(c.n_tiers)]
        return [[self._layers(lane, int(self._packed.words[word + tier]), step) for tier in at] for word in words]

    def _layers(self, lane: int, at: int, step: int) -> NDArray[np.float32]:
        block = self._block(lane)[at : at + 4 * self.config.n_rnn * step].view(np.float32)
        return block.reshape(self.config.n_rnn, step)[:, : self.config.dim]

    def state(self) -> NDArray[np.uint8]:
        return self._packed.lanes.copy()

    def restore(self, state: NDArray[np.uint8]) -> None:
        lanes, found = self._packed.lanes, np.asarray(state)
        if found.dtype != np.uint8 or found.shape != lanes.shape:
            raise ValueError(f"state: {found.dtype} {found.shape}: {len(lanes)} bytes expected")
        blocks = found.reshape(self.voices + self._spare, -1)
        for side in range(1 + any(self.stereo)):
            at = int(self._packed.words[TOKENS]) + side * int(self._packed.words[SIDE])
            tokens = np.ascontiguousarray(blocks[:, at : at + 8 * self.config.lookback]).view(np.int32)
            if tokens.min() < 0 or tokens.max() >= self.config.q_levels:  # the kernels look weights up by them
                raise ValueError(f"state: samples {tokens.min()}..{tokens.max()}: of another network")
        lanes[:] = found

    def repeat(self, state: NDArray[np.uint8]) -> None:
        kept = [self._header(lane)[[SPREAD, FRESH_DICE]] for lane in range(self.voices)]
        self.restore(state)
        for lane, words in enumerate(kept):
            self._header(lane)[[SPREAD, FRESH_DICE]] = words

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
        everyone = _signed((1 << self.voices) - 1)
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

    def _block(self, lane: int) -> NDArray[np.uint8]:
        size = int(self._packed.words[LANE_BYTES])
        return self._packed.lanes[lane * size : (lane + 1) * size]

    def _header(self, lane: int) -> NDArray[np.int64]:
        return self._block(lane)[: HEADER_WORDS * 8].view(np.int64)

    def _lookback(self, lane: int, side: int = 0) -> NDArray[np.int32]:
        at = int(self._packed.words[TOKENS]) + side * int(self._packed.words[SIDE])
        return self._block(lane)[at : at + 8 * self.config.lookback].view(np.int32)

    def _tail(self, lane: int) -> NDArray[np.int32]:
        """The last samples of a right side, (lookback,), the oldest first."""
        at = int(self._header(lane)[CLOCK]) % self.config.lookback
        return self._lookback(lane, 1)[at : at + self.config.lookback].copy()

    def _set_tail(self, lane: int, tokens: NDArray[np.int32]) -> None:
        """Give a right side these last samples."""
        self._lookback(lane, 1)[:] = np.tile(np.roll(tokens, int(self._header(lane)[CLOCK]) % len(tokens)), 2)


def _signed(word: int) -> int:
    """A 64-bit pattern as the int64 that numba takes."""
    return word - (1 << 64) if word >> 63 else word
