"""A folded network as the kernels read it: one table of int64 words holding sizes, addresses and offsets.

Every size and index is derived from a checked ModelConfig here, once; the kernels trust what they find.

A lane's block holds its state (header, tokens, h, c, tier outputs) and its scratch. All vectors are padded to 64 and
start on a cache line. Of a stereo network every block also holds, SIDE bytes on, the right side's own copy of what the
sample level needs: header (only its clock counts), tokens and scratch, at the same offsets; tiers are the left's. A
lane's id is its number; with RIGHT_ID added it means that right side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import blocks
from engine.config import H0S
from engine.cpu.memory import ALIGN, address, aligned
from engine.cpu.tiles import ROWS, STRIP, started
from engine.draw import weight_scale
from engine.folding import Dense, Folded, FoldedTier

# Words of the context.
(
    VOICES, INT8, LSTM, TIERS, LAYERS, DIM, MLP, LEVELS, LOOKBACK, SKIP, HIDDEN, OUTPUT, LANES, LANE_BYTES, TABLE,
    FRAME, FLOATS, TIER_WORDS, START, ENTRY_ROWS, GATES, IDS, TOKENS, GATE, PAST, BYTES, X, LOGITS, SUMS, STEREO, SIDE,
    TEAM, SELF, PRODUCTS, TABLE_SCALE, SERIAL, DEVICE, CONTEXT_WORDS,
) = range(38)  # fmt: skip

# Words of one tier.
(
    T_SIZE, T_SLOTS, T_FRAMES, T_BIAS, T_COND, T_UP, T_LAYERS, T_H0, T_C0, T_IN, T_H, T_C, T_OUT, T_OUT_BYTES,
    TIER_STRIDE,
) = range(15)  # fmt: skip

# Words of one recurrent layer: where its matrices' words begin, 0 for none.
L_BELOW, L_ENTRY, L_HH, L_SKIP, LAYER_STRIDE = range(5)

# Words of one matrix.
# Of one with few blocks D_COLUMNS (else 0) and
# D_FIRST are the column group of each block, and the first block of each strip and the end.
# D_WORK is about how many ns of one core a lane takes. A team computes it ahead as number D_PLACE of the matrices of
# its job D_JOB (0: not at all).
(
    D_WEIGHT, D_OFFSET, D_FACTOR, D_BIAS, D_TILES, D_COLS, D_COLUMNS, D_FIRST, D_WORK, D_JOB, D_PLACE, DENSE_STRIDE,
) = range(12)  # fmt: skip
JOBS = 16  # of a team

# Words of a lane's header (docs/design.md).
KEY, DICE, CLOCK, RESETS, NUMBER, SPREAD, FRESH_DICE, ENTROPY, HEADER_WORDS = range(9)

# fp32 constants: then one pair a tier, input scale and output scale.
F_MLP1, F_MLP2, F_DRAW, F_UNIT, F_TIER = range(5)


# Lists of lane ids at IDS: those asked for, these with their right sides, those whose frame begins, those of one slot.
MOST_LANES = 64  # that one call may name
# Then addresses for a product: of each lane's input and output.
IDS_BOTH, IDS_DUE, IDS_SLOT, IDS_FROM, IDS_TO, IDS_ROOM = 64, 192, 256, 320, 448, 576
RIGHT_ID = 1 << 16


_SERIALS = itertools.count()  # of networks: addresses are used again


def padded(n: int) -> int:
    """``n`` rounded up to a tile's rows."""
    return -(-n // ROWS) * ROWS


class Packed:
    """The context of one network with ``voices`` lanes, and everything its addresses point to.

    Args:
        stereo: mask of the voices that have a right side.
        spare: lanes behind those of the voices, which no mask names; lane n belongs to voice n % voices.
        lean: without weights, for lanes whose samples are made elsewhere.
    """

    def __init__(self, folded: Folded, voices: int, stereo: int = 0, spare: int = 0, lean: bool = False) -> None:
        self.keep: list[NDArray[Any]] = []
        self._words: list[int] = [0] * CONTEXT_WORDS
        self._offset = HEADER_WORDS * 8
        c = folded.config
        entry_rows = len(folded.tiers[0].frames)
        sizes = {
            VOICES: voices, INT8: folded.precision == "int8", LSTM: c.rnn == "lstm", TIERS: c.n_tiers,
            LAYERS: c.n_rnn, DIM: c.dim, MLP: c.mlp_dim, LEVELS: c.q_levels, LOOKBACK: c.lookback, SKIP: c.skip,
            FRAME: c.frame_sizes[0], START: H0S.index(c.h0), ENTRY_ROWS: entry_rows, GATES: c.gates * c.dim,
        }  # fmt: skip
        for word, value in sizes.items():
            self._words[word] = int(value)
        self._words[SERIAL] = next(_SERIALS)
        self._reserve_lane(folded)
        self._words[STEREO] = stereo - (1 << 64) if stereo >> 63 else stereo
        side = -(-self._offset // ALIGN) * ALIGN  # what a right side holds of its own
        self._reserve_tiers(folded)
        self._lean = lean
        if not lean:
            self._words[TABLE] = self._array(_padded_last(folded.table))
            self._words[TABLE_SCALE] = self._array(_padded_last(folded.table_scale))
        self._words[FLOATS] = self._array(_constants(folded))
        self._tiers(folded.tiers, c.n_rnn)
        if not lean:
            self._words[HIDDEN] = self._dense([folded.hidden]) if folded.hidden else 0
            self._words[OUTPUT] = self._dense([folded.output])
        self._words[SIDE] = self._reserve(side, 1) if stereo else 0
        self._finish(voices + spare)

    def _array(self, values: NDArray[Any]) -> int:
        """Address of an aligned copy that lives as long as this object."""
        copy = aligned(values.size, values.dtype)
        copy[:] = values.ravel()
        self.keep.append(copy)
        return address(copy)

    def _reserve(self, n: int, item: int = 4) -> int:
        """Offset of ``n`` items in every lane's block."""
        at = -(-self._offset // ALIGN) * ALIGN
        self._offset = at + n * item
        return at

    def _reserve_lane(self, folded: Folded) -> None:
        c = folded.config
        gates, dim, mlp = padded(c.gates * c.dim), padded(c.dim), padded(c.mlp_dim)
        for word, n in (
            (TOKENS, 2 * c.lookback), (GATE, max(gates, mlp)), (X, mlp),
            (LOGITS, padded(c.q_levels)), (SUMS, max(padded(c.q_levels), 2 * padded(c.lookback))),
        ):  # fmt: skip
            self._words[word] = self._reserve(n)
        self._words[BYTES] = self._reserve(max(dim, mlp), 1)

    def _reserve_tiers(self, folded: Folded) -> None:
        """What only the tiers use."""
        self._words[PAST] = self._reserve(padded(folded.config.gates * folded.config.dim))

    def _tiers(self, tiers: tuple[FoldedTier, ...], n_rnn: int) -> None:
        rows = [self._tier(tier, n_rnn) for tier in tiers]
        self._words[TIER_WORDS] = self._append(word for row in rows for word in row)
        if self._lean:
            return
        foreseen = list(self._foreseeable(tiers))
        crews = max(1, (JOBS - 1) // len(foreseen))  # networks that play in turns do not close each other's jobs
        begin = 1 + self._words[SERIAL] % crews * len(foreseen)
        for job, (first, count) in enumerate(foreseen, begin):
            for k in range(count):
                at = first + k * DENSE_STRIDE
                self._words[at + D_JOB], self._words[at + D_PLACE] = (job, k) if job < JOBS else (0, 0)

    def _foreseeable(self, tiers: tuple[FoldedTier, ...]) -> Iterable[tuple[int, int]]:
        """Words of matrices in a row, and how many, whose input is known before they are wanted; the soonest first."""
        at = [self._words[TIER_WORDS] + i * TIER_STRIDE for i in range(len(tiers))]
        yield self._words[at[0] + T_UP] + DENSE_STRIDE, len(tiers[0].up) - 1
        for tier, folded in zip(at, tiers[:-1], strict=False):
            yield self._words[tier + T_COND] + DENSE_STRIDE, len(folded.cond) - 1
        for tier, folded in zip(at, tiers, strict=True):
            for k in range(len(folded.layers)):
                yield self._words[self._words[tier + T_LAYERS] + k * LAYER_STRIDE + L_HH], 1

    def _tier(self, tier: FoldedTier, n_rnn: int) -> list[int]:
        dim = padded(tier.h0.shape[1])
        layers = [
            word
            for layer in tier.layers
            for word in (self._dense([d]) if d else 0 for d in (layer.below, layer.entry, layer.hh, layer.skip))
        ]
        return [
            tier.frames.shape[1],
            len(tier.entry_bias),
            self._array(_padded_last(tier.frames.T)),
            self._array(_padded_last(tier.entry_bias)),
            self._dense(tier.cond) if tier.cond else 0,
            self._dense(tier.up) if tier.up else 0,
            self._append(layers),
            self._array(_padded_last(tier.h0)),
            self._array(_padded_last(tier.c0)),
            self._reserve(padded(tier.frames.shape[0])),
            self._reserve(n_rnn * dim),
            self._reserve(n_rnn * dim),
            self._reserve(dim),
            self._reserve(dim, 1),
        ]

    def _dense(self, matrices: Iterable[Dense]) -> int:
        """Words of one or several matrices, in a row."""
        if self._lean:
            return 0
        return self._append([word for d in matrices for word in self._matrix(d)])

    def _matrix(self, d: Dense) -> list[int]:
        rows, cols = padded(d.weight.shape[0]), padded(d.weight.shape[1])
        weight = np.zeros((rows, cols), d.weight.dtype)
        weight[: d.weight.shape[0], : d.weight.shape[1]] = d.weight
        vectors = [self._array(_padded_last(v)) for v in (started(d.offset, d.weight), d.factor, d.bias)]
        share = blocks.density(d.weight)
        work = int(rows * cols * (share if share <= blocks.WORTH else 1.0) * weight.dtype.itemsize) // 64
        if share <= blocks.WORTH:
            weights, *places = self._strips(weight)
            return [weights, *vectors, rows // ROWS, cols, *places, work, 0, 0]
        group = 4 if weight.dtype == np.int8 else 1
        strips = weight.reshape(rows // STRIP, STRIP, cols // group, group).transpose(0, 2, 1, 3)
        return [self._array(np.ascontiguousarray(strips)), *vectors, rows // ROWS, cols, 0, 0, work, 0, 0]

    def _strips(self, weight: NDArray[Any]) -> list[int]:
        """Addresses of the blocks that are there, of the column group of each, and of each strip's first.

        A block of fp32 lies column by column. A strip of nothing gets one of zeros: no loop runs nought times.
        """
        there = blocks.there(weight)
        there[:, 0] |= ~there.any(axis=1)
        found = blocks.split(weight)[there]
        if found.dtype != np.int8:
            found = found.swapaxes(-1, -2)
        first = np.concatenate([[0], there.sum(axis=1).cumsum()])
        arrays = (np.ascontiguousarray(found), np.nonzero(there)[1].astype(np.uint16), first.astype(np.int64))
        return [self._array(array) for array in arrays]

    def _append(self, words: Iterable[int]) -> int:
        at = len(self._words)
        self._words.extend(int(word) for word in words)
        return at

    def _finish(self, lanes: int) -> None:
        lane_bytes = -(-self._offset // ALIGN) * ALIGN
        self.lanes = aligned(lanes * lane_bytes, np.uint8)
        self._words[LANES], self._words[LANE_BYTES] = address(self.lanes), lane_bytes
        ids = aligned(IDS_ROOM, np.int64)
        self.keep.append(ids)
        self._words[IDS] = address(ids)
        self.words = np.array(self._words, dtype=np.int64)
        self.context = self.words[SELF] = address(self.words)


def _padded_last(values: NDArray[Any]) -> NDArray[Any]:
    """Zeros appended to the last axis up to a whole tile."""
    result = np.zeros((*values.shape[:-1], padded(values.shape[-1])), values.dtype)
    result[..., : values.shape[-1]] = values
    return result


def _constants(folded: Folded) -> NDArray[np.float32]:
    c, scales = folded.config, folded.scales
    values = [
        scales.get("mlp.1", 1.0),
        scales.get("mlp.2", 1.0),
        weight_scale(c.q_levels),
        np.float32(4.0 / c.q_levels),
    ]
    for i in range(c.n_tiers):
        values.append(scales.get(f"tier.{i}.input", 1.0))
        values.append(scales.get(f"tier.{i}.output", 127.0))
    return np.array(values, np.float32)
