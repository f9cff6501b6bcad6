"""What every compiled generator's voices are: lanes of state in memory that kernels read and C functions reset.

State lies alike wherever the samples are made, so it is reset, seeded, kept, restored and jumped by the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine import draw
from engine.cpu import hop
from engine.cpu.packing import (
    CLOCK,
    DICE,
    ENTROPY,
    FRESH_DICE,
    HEADER_WORDS,
    KEY,
    LANE_BYTES,
    NUMBER,
    RESETS,
    SIDE,
    SPREAD,
    T_C,
    T_H,
    TIER_STRIDE,
    TIER_WORDS,
    TOKENS,
    Packed,
    padded,
)
from engine.folding import Folded
from engine.generator import RESETS as RESET_NAMES
from engine.generator import checked_hidden, checked_lookback, checked_reset, keys


class Lanes:
    """See :class:`engine.generator.Generator` for what these methods do."""

    def __init__(self, folded: Folded, packed: Packed, voices: int, stereo: tuple[bool, ...], spare: int = 0) -> None:
        self.config, self.precision, self.voices = folded.config, folded.precision, voices
        self.folded, self.stereo, self._spare = folded, stereo or (False,) * voices, spare
        self._packed = packed
        self.reset()
        for lane in range(voices, voices + spare):
            hop.reset(packed.context, lane, hop.FRESH)

    @property
    def context(self) -> int:
        """Address of the packed network and its lanes."""
        return self._packed.context

    def _heard(self, tokens: NDArray[np.int32]) -> NDArray[np.int32]:
        """What generate returns of (2, voices, n), of which the right side of mono voices was not written."""
        if not any(self.stereo):
            left: NDArray[np.int32] = tokens[0]
            return left
        mono = [not side for side in self.stereo]
        tokens[1, mono] = tokens[0, mono]
        return tokens

    def reset(self, h0: str | None = None, voice: int | None = None) -> None:
        lanes = checked_reset(h0, voice, self.voices)
        mode = hop.FRESH if h0 is None else RESET_NAMES.index(h0)
        for lane in lanes:
            hop.reset(self._packed.context, lane, mode)

    def seed(self, seed: int | Sequence[int]) -> None:
        for lane, (key, number) in enumerate(zip(*keys(seed, self.voices), strict=True)):
            header = self._header(lane)
            header[KEY], header[NUMBER], header[DICE], header[RESETS] = signed(key), number, 0, 0
            header[FRESH_DICE] = 0

    def vary(self, voice: int, variation: float) -> None:
        (lane,) = checked_reset(None, voice, self.voices)
        self._header(lane)[SPREAD] = draw.spread_of(variation)

    def entropy(self, voice: int) -> float:
        (lane,) = checked_reset(None, voice, self.voices)
        return float(self._header(lane)[ENTROPY : ENTROPY + 1].view(np.float64)[0])

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


def signed(word: int) -> int:
    """A 64-bit pattern as the int64 that numba takes."""
    return word - (1 << 64) if word >> 63 else word


def mask_of(stereo: Sequence[bool]) -> int:
    """A bit for each voice that has a right side."""
    return sum(side << v for v, side in enumerate(stereo))
