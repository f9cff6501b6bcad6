"""Weights as every backend consumes them, from one definition: folded in float64, rounded once.

Two exact folds make the sample step cheap. Embedding times first dense layer of the sample level is a table of
``mlp_dim`` numbers for each position in the frame and each level. And without skip connections, the tier's input (a
linear of raw samples plus the conditioning of the tier above) goes straight into the first recurrent layer, so
``W_ih W_in`` and ``W_ih U`` are single matrices. Not where W_ih has been pruned (``Checkpoint.apart``): the product of
two matrices with few blocks has nearly all, so there it is multiplied by itself.

Precision ``int8`` says where values round:

- matrices: integers in [-64, 64], one fp32 scale a row (``row_scale``, absmax / 64);
- what multiplies them: one byte. A recurrent state in [-1, 1] is floor(127 a + 128.5); a rectified activation is
  floor(a 255 / range + 0.5), a tier's input or skip output floor(a 127 / range + 128.5), all clipped to a byte;
- a product is an exact int32 sum, converted to fp32, times one fp32 factor a row, plus the fp32 bias;
- tables: integers in [-127, 127], one fp32 scale a column (absmax over all places and levels / 127); a sum of rows is
  exact, converted to fp32, times the scale;
- everything else fp32, multiply and add kept apart, in the order written here.

Precision ``fp16`` rounds the matrices and tables to half precision, and nothing else: activations and sums are fp32.

255 * 64 + 255 * 64 = 32640 stays below 2^15, so that the pairwise int16 sums of x86's pmaddubsw never saturate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import Checkpoint, check_playing
from engine.config import ModelConfig

PRECISIONS = ("int8", "fp32", "fp16")
HALF_MAX = 65504.0  # the largest number of half precision
WEIGHT_MAX = 64  # integer weights lie in [-64, 64]
TABLE_MAX = 127  # and entries of the tables in [-127, 127]
TINY = 1e-12  # weights below this are zero: products with them must not become denormal
PART_ROWS = 64  # rounded at once: whole matrices of float64 took twice as long and more

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Dense:
    """y = W a + b.

    Attributes:
        weight: (rows, cols) fp32 values (those of half precision under ``fp16``), or int8 under precision ``int8``.
        bias: (rows,) fp32.
        factor: (rows,) fp32, row scale times activation scale (int8; ones otherwise).
        zero: the byte that stands for activation 0: 128 for signed values, 0 for rectified ones.
    """

    weight: NDArray[np.float32] | NDArray[np.int8]
    bias: F32
    factor: F32
    zero: int

    @property
    def offset(self) -> NDArray[np.int32]:
        """What a sum starts from, (rows,): minus ``zero`` times the row's sum."""
        if not self.zero:
            return np.zeros(len(self.weight), np.int32)
        sums: NDArray[np.int64] = self.weight.astype(np.int64).sum(axis=1)
        return (-self.zero * sums).astype(np.int32)


@dataclass(frozen=True)
class Layer:
    """One recurrent layer: gates from below, from the tier's input (skip), and from its own past.

    ``below`` is None in the first layer; ``entry`` is None but with skip connections, and in the first layer of a
    network kept apart; ``skip`` is its share of the tier's output.
    """

    below: Dense | None
    entry: Dense | None
    hh: Dense
    skip: Dense | None


@dataclass(frozen=True)
class FoldedTier:
    """One tier. Its entry vector is frames @ x + entry_bias[slot] + cond[slot] @ (output of the tier above).

    Attributes:
        frames: (entry_rows, frame_size) fp32; x = 2 (q / (Q/2) - 1) of the frame's samples.
        entry_bias: (slots of the tier above or 1, entry_rows).
        cond: a Dense for each slot of the tier above, without bias; empty for the top tier.
        layers: the recurrent layers. The entry vector is the first layer's gates (rows gates*dim); where that layer
            has an ``entry``, it is the tier's input (rows dim).
        up: a Dense for each slot this tier gives the sample level; empty above the bottom tier (folded into cond).
        h0, c0: (n_rnn, dim); c0 is zeros for a GRU.
    """

    frames: F32
    entry_bias: F32
    cond: tuple[Dense, ...]
    layers: tuple[Layer, ...]
    up: tuple[Dense, ...]
    h0: F32
    c0: F32


@dataclass(frozen=True)
class Folded:
    """A whole network, ready for a backend.

    Attributes:
        table: (frame_sizes[0], q_levels, mlp_dim), as matrices are; sums of it times table_scale.
        table_scale: (mlp_dim,) fp32; ones but under ``int8``: the others multiply by nothing.
        hidden: second hidden layer, or None.
        ranges: activation ranges under ``int8``: ``mlp.1``, ``mlp.2``, ``tier.i.input``, ``tier.i.output``.
        scales: what an activation is multiplied by to become a byte, by the same names (127 or 255 over the range).
    """

    config: ModelConfig
    precision: str
    tiers: tuple[FoldedTier, ...]
    table: NDArray[np.float32] | NDArray[np.int8]
    table_scale: F32
    hidden: Dense | None
    output: Dense
    scales: dict[str, np.float32]


def fold(checkpoint: Checkpoint, precision: str = "fp32") -> Folded:
    """Fold and round ``checkpoint`` for ``precision``.

    Raises:
        ValueError: unknown precision, or ``int8`` without activation ranges in ``checkpoint.playing``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: {precision!r}: one of {', '.join(PRECISIONS)} expected")
    config = checkpoint.config
    rounding = _Rounding(precision, _scales(checkpoint) if precision == "int8" else {})
    tiers = tuple(_fold_tier(checkpoint, i, rounding) for i in range(config.n_tiers))
    weight, embedding = checkpoint.weight("mlp.input"), checkpoint.vector("embedding")
    table, scale = rounding.table(embedding @ weight.transpose(1, 2, 0))  # einsum took 0.15 s a start
    hidden = None
    if config.mlp_layers == 2:
        hidden = rounding.dense(checkpoint.weight("mlp.hidden"), checkpoint.vector("mlp.hidden.bias"), "mlp.1")
    last = f"mlp.{config.mlp_layers}"
    output = rounding.dense(checkpoint.weight("mlp.output"), checkpoint.vector("mlp.output.bias"), last)
    return Folded(config, precision, tiers, table, scale, hidden, output, rounding.scales)


class _Rounding:
    """Turns float64 matrices into what one precision multiplies with."""

    def __init__(self, precision: str, scales: dict[str, np.float32]) -> None:
        self.precision = precision
        self.scales = scales

    def dense(self, weight: NDArray[np.float64], bias: NDArray[np.float64] | None, source: str) -> Dense:
        """``source`` names the activation's range; ``h`` is a recurrent state."""
        b = np.zeros(len(weight)) if bias is None else bias
        if self.precision != "int8":
            return Dense(_rounded(weight, self.precision), b.astype(np.float32), np.ones(len(weight), np.float32), 0)
        whole, row_scale = _integers(weight)
        by = np.float32(127.0) if source == "h" else self.scales[source]
        factor = (row_scale / float(by)).astype(np.float32)
        return Dense(whole, b.astype(np.float32), factor, 0 if source.startswith("mlp") else 128)

    def table(self, table: NDArray[np.float64]) -> tuple[NDArray[np.float32] | NDArray[np.int8], F32]:
        """(places, levels, columns) and the scale of each column."""
        if self.precision != "int8":
            return _rounded(table, self.precision), np.ones(table.shape[-1], np.float32)
        scale = np.maximum(np.abs(table).max(axis=(0, 1)), TINY) / TABLE_MAX
        return np.floor(table / scale + 0.5).astype(np.int8), scale.astype(np.float32)


def _rounded(weight: NDArray[np.float64], precision: str) -> F32:
    """fp32, without what is too small; under fp16 numbers of half precision. Raises ValueError for what that lacks."""
    result, kind = np.empty(weight.shape, np.float32), np.float16 if precision == "fp16" else np.float32
    for rows in _parts(weight):
        part = np.where(np.abs(weight[rows]) < TINY, 0.0, weight[rows])
        if precision == "fp16" and np.abs(part).max() > HALF_MAX:
            raise ValueError(f"precision: fp16: a weight of {np.abs(part).max():.3g}: {HALF_MAX:.0f} at most expected")
        result[rows] = part.astype(kind)
    return result


def _integers(weight: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Integers in [-64, 64] and each row's scale."""
    result, scales = np.empty(weight.shape, np.int8), np.empty(len(weight))
    for rows in _parts(weight):
        part, sizes = weight[rows], np.abs(weight[rows])
        scales[rows] = np.maximum(sizes.max(axis=1), TINY) / WEIGHT_MAX
        part = np.where(sizes < TINY, 0.0, part)
        part /= scales[rows, None]
        part += 0.5
        result[rows] = np.floor(part, out=part)
    return result, scales


def _parts(weight: NDArray[np.float64]) -> list[slice]:
    """A few rows at a time: what is made of them on the way stays in the cache."""
    return [slice(at, at + PART_ROWS) for at in range(0, len(weight), PART_ROWS)]


def _fold_tier(checkpoint: Checkpoint, i: int, rounding: _Rounding) -> FoldedTier:
    c = checkpoint.config
    name, top, apart = f"tier.{i}", i == c.n_tiers - 1, checkpoint.apart
    above = f"tier.{i + 1}.output" if c.skip else "h"
    entry, bias = checkpoint.weight(f"{name}.input"), checkpoint.vector(f"{name}.input.bias")[None]
    up = np.empty((0, c.dim, c.dim))
    if not top:
        up = checkpoint.weight(f"tier.{i + 1}.up")
        bias = bias + checkpoint.vector(f"tier.{i + 1}.up.bias")
    if not apart:
        ih = checkpoint.weight(f"{name}.rnn.0.ih")
        entry, up = ih @ entry, ih @ up
        bias = bias @ ih.T + checkpoint.vector(f"{name}.rnn.0.bias_ih")
    entry = np.where(np.abs(entry) < TINY, 0.0, entry)
    layers = tuple(_fold_layer(checkpoint, name, k, rounding) for k in range(c.n_rnn))
    output = f"{name}.output" if c.skip else "h"
    to_samples: tuple[Dense, ...] = ()
    if i == 0:
        matrices, biases = checkpoint.weight(f"{name}.up"), checkpoint.vector(f"{name}.up.bias")
        to_samples = tuple(rounding.dense(m, b, output) for m, b in zip(matrices, biases, strict=True))
    h0 = checkpoint.vector(f"{name}.h0")
    c0 = checkpoint.vector(f"{name}.c0") if c.rnn == "lstm" else np.zeros_like(h0)
    return FoldedTier(
        entry.astype(np.float32),
        bias.astype(np.float32),
        tuple(rounding.dense(m, None, above) for m in up),
        layers,
        to_samples,
        h0.astype(np.float32),
        c0.astype(np.float32),
    )


def _fold_layer(checkpoint: Checkpoint, name: str, k: int, rounding: _Rounding) -> Layer:
    c = checkpoint.config
    ih = checkpoint.weight(f"{name}.rnn.{k}.ih")
    bias_ih = checkpoint.vector(f"{name}.rnn.{k}.bias_ih")
    bias_hh = checkpoint.vector(f"{name}.rnn.{k}.bias_hh")
    hh = rounding.dense(checkpoint.weight(f"{name}.rnn.{k}.hh"), bias_hh, "h")
    below = entry = skip = None
    if k:
        below = rounding.dense(ih[:, : c.dim], bias_ih, "h")
    if c.skip or (checkpoint.apart and k == 0):
        entry = rounding.dense(ih[:, c.dim * (k > 0) :], None if k else bias_ih, f"{name}.input")
    if c.skip:
        bias = checkpoint.vector(f"{name}.skip.bias") if k == 0 else None
        skip = rounding.dense(checkpoint.weight(f"{name}.skip.{k}"), bias, "h")
    return Layer(below, entry, hh, skip)


def _scales(checkpoint: Checkpoint) -> dict[str, np.float32]:
    """Byte scales from ``playing.ranges``: 255 over the range of what is never negative, 127 over the others'."""
    if "ranges" not in checkpoint.playing:
        raise ValueError("playing.ranges: missing; int8 needs activation ranges (make_generator measures them)")
    check_playing(checkpoint.playing, checkpoint.range_names)
    ranges = checkpoint.playing["ranges"]
    return {
        name: np.float32((255.0 if name.startswith("mlp") else 127.0) / ranges[name]) for name in checkpoint.range_names
    }
