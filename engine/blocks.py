"""Blocks of a matrix, 16 rows by 4 columns: what pruning takes away and a kernel leaves out.

A block of int8 weights is one cache line, and what one AVX-512 register (or two of AVX2) multiplies. Which blocks go is
left to ``engine.training.pruning`` in a network that learns, how the rest is multiplied to ``engine.cpu.tiles``. NumPy
alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 16, 4
WORTH = 0.75  # share of blocks up to which leaving out the others is faster than multiplying with all


def split(weight: NDArray[Any]) -> NDArray[Any]:
    """(..., strips, column groups, ROWS, COLUMNS) of (..., rows, columns), zeros appended where they do not divide."""
    *outer, rows, columns = weight.shape
    padding = [(0, 0)] * len(outer) + [(0, -rows % ROWS), (0, -columns % COLUMNS)]
    whole = np.pad(weight, padding)
    shape = (*outer, whole.shape[-2] // ROWS, ROWS, whole.shape[-1] // COLUMNS, COLUMNS)
    return whole.reshape(shape).swapaxes(-3, -2)


def there(weight: NDArray[Any]) -> NDArray[np.bool_]:
    """Which blocks of (..., rows, columns) hold anything but zeros, (..., strips, column groups)."""
    found: NDArray[np.bool_] = (split(weight) != 0).any(axis=(-1, -2))
    return found


def density(weight: NDArray[Any]) -> float:
    """Share of the blocks of (..., rows, columns) that hold anything but zeros."""
    return float(there(weight).mean())


def joined(
    found: NDArray[Any], strip: NDArray[np.integer], group: NDArray[np.integer], shape: tuple[int, ...]
) -> tuple[NDArray[Any], bool]:
    """A matrix (..., rows, columns) of zeros and n blocks, and whether one holds anything beyond its rows and columns.

    Args:
        found: (n, ROWS, COLUMNS).
        strip: (n,) of each block, counted through all leading axes.
        group: (n,) of each block, its first column / COLUMNS.
    """
    *outer, rows, columns = shape
    strips, groups = -(-rows // ROWS), -(-columns // COLUMNS)
    whole = np.zeros((math.prod(outer) * strips, ROWS, groups, COLUMNS), found.dtype)
    whole[strip, :, group] = found
    whole = whole.reshape(*outer, strips * ROWS, groups * COLUMNS)
    beyond = bool(whole[..., rows:, :].any() or whole[..., columns:].any())
    return np.ascontiguousarray(whole[..., :rows, :columns]), beyond


def share_of(name: str, frames: float, sample: float, output: float) -> float:
    """What shall be left of tensor ``name`` of a checkpoint; 1 of tables, frames, biases and scales, which all stay.

    ``frames``: of the tiers; ``sample``: of the sample level; ``output``: of its last layer.
    """
    if not name.endswith((".weight", ".weight_v")) or ".input." in name:
        return 1.0
    if name.startswith("mlp.output"):
        return output
    return sample if name.startswith(("mlp.hidden", "tier.0.up")) else frames


def largest(weight: NDArray[Any], left: float) -> NDArray[np.bool_]:
    """Which weights of (..., rows, columns) lie in its largest blocks by magnitude, a share ``left`` of them all.

    Every sixteen rows keep their largest, as in training.
    """
    sizes = np.abs(split(weight.reshape(-1, weight.shape[-1]))).sum(axis=(-1, -2))
    kept = np.zeros(sizes.size, np.bool_)
    kept[np.argsort(-sizes, axis=None)[: max(1, round(left * sizes.size))]] = True
    kept = kept.reshape(sizes.shape)
    np.put_along_axis(kept, sizes.argmax(axis=1, keepdims=True), True, axis=1)
    whole = kept.repeat(ROWS, 0).repeat(COLUMNS, 1)
    return whole[: weight.size // weight.shape[-1], : weight.shape[-1]].reshape(weight.shape)
