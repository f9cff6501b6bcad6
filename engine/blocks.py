"""Blocks of a matrix, 16 rows by 4 columns: what pruning takes away and a kernel leaves out.

A block of int8 weights is one cache line, and what one AVX-512 register (or two of AVX2) multiplies. Which blocks go is
left to ``engine.training.pruning``, how the rest is multiplied to ``engine.cpu.tiles``. NumPy alone.
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
