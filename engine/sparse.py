"""Pruned matrices as a checkpoint's file keeps them: the blocks that are there, and where they go.

In place of matrix X (..., rows, columns) with few blocks (``engine.blocks``) stand ``packed.X.blocks`` (n, 16, 4),
``packed.X.columns`` (n,) uint16, each one's group of four columns, and ``packed.X.first`` (strips + 1,) uint32, each
strip of 16 rows' first block and the end. Strips are counted through all leading axes. Reading checks all of it and
puts the whole matrix back together, so that nothing else knows of this. NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.blocks import COLUMNS, ROWS, WORTH, density, joined, split, there

PACKED = "packed."
PARTS = ("blocks", "columns", "first")
MOST_BYTES = 1 << 30  # of the matrices of one file, whole

Tensors = Mapping[str, NDArray[Any]]


def is_matrix(name: str) -> bool:
    """Whether tensor ``name`` of a network can be packed."""
    return name.endswith((".weight", ".weight_v"))


def packed(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """``tensors`` with every matrix of few blocks as its blocks; a zero's sign is lost."""
    result: dict[str, NDArray[Any]] = {}
    for name, value in tensors.items():
        if is_matrix(name) and density(value) <= WORTH:
            found = there(value)
            parts: tuple[NDArray[Any], ...] = (
                split(value)[found],
                np.nonzero(found)[-1].astype(np.uint16),
                _first(found),
            )
            result |= {f"{PACKED}{name}.{part}": array for part, array in zip(PARTS, parts, strict=True)}
        else:
            result[name] = value
    return result


def _first(found: NDArray[np.bool_]) -> NDArray[np.uint32]:
    counts = found.sum(axis=-1).ravel()
    return np.concatenate([[0], counts.cumsum()]).astype(np.uint32)


def names(stored: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Which matrices lie packed among the tensors named."""
    ends = f".{PARTS[0]}"
    return [name[len(PACKED) : -len(ends)] for name in stored if name.startswith(PACKED) and name.endswith(ends)]


def unpacked(stored: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """``stored`` with every packed matrix whole; other tensors named ``packed.`` are others' and left out.

    Args:
        shapes: name and shape of every tensor of the network.

    Raises:
        ValueError: what lies packed is no matrix of this shape, or there twice.
    """
    result = {name: value for name, value in stored.items() if not name.startswith(PACKED)}
    ours = {name: shape for name, shape in shapes.items() if is_matrix(name) and _any_of(stored, name)}
    if 4 * sum(math.prod(shape) for shape in ours.values()) > MOST_BYTES:
        raise ValueError("larger than 1 GiB with its packed matrices whole")
    for name, shape in ours.items():
        if name in result:
            raise ValueError(f"tensor {name}: there twice, as it is and packed")
        result[name] = _whole(stored, name, shape)
    return result


def _any_of(stored: Tensors, name: str) -> bool:
    return any(f"{PACKED}{name}.{part}" in stored for part in PARTS)


def _whole(stored: Tensors, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """One matrix, its parts checked."""
    *outer, rows, columns = shape
    strips, groups = math.prod(outer) * -(-rows // ROWS), -(-columns // COLUMNS)
    places = _part(stored, name, "columns", (np.uint16,), (None,))
    n = len(places)
    first = _part(stored, name, "first", (np.uint32,), (strips + 1,)).astype(np.int64)
    found = _part(stored, name, "blocks", (np.float16, np.float32), (n, ROWS, COLUMNS))
    if first[0] != 0 or first[-1] != n or (np.diff(first) < 0).any():
        raise ValueError(f"tensor {PACKED}{name}.first: places that rise from 0 to {n} expected")
    if n and places.max() >= groups:
        raise ValueError(f"tensor {PACKED}{name}.columns: {places.max()} in it: 0 to {groups - 1} expected")
    strip = np.repeat(np.arange(strips), np.diff(first))
    if (np.diff(strip * groups + places) <= 0).any():
        raise ValueError(f"tensor {PACKED}{name}.columns: numbers that rise within each strip expected")
    value, beyond = joined(found, strip, places, shape)
    if beyond:
        raise ValueError(f"tensor {PACKED}{name}.blocks: zeros beyond the matrix's {shape} expected")
    return value


def _part(
    stored: Tensors, name: str, part: str, kinds: tuple[type, ...], shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Tensor ``packed.name.part``, if it is of one of these kinds and this shape; None is any length."""
    whole = f"{PACKED}{name}.{part}"
    if whole not in stored:
        raise ValueError(f"tensor {whole} is missing")
    value = stored[whole]
    if value.dtype not in kinds:
        raise ValueError(f"tensor {whole}: type {value.dtype}: {' or '.join(k.__name__ for k in kinds)} expected")
    if len(value.shape) != len(shape) or any(want not in (None, n) for n, want in zip(value.shape, shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"tensor {whole}: shape {value.shape}: ({wanted}) expected")
    return value
