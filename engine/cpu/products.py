"""A matrix, or some of its rows, times the vectors of several lanes: weights are read once for all of them.

The addresses of a lane's vector and of where its product goes lie in lists. Nothing allocates, raises or prints.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine.cpu.memory import i64
from engine.cpu.packing import (
    D_BIAS,
    D_COLS,
    D_COLUMNS,
    D_FACTOR,
    D_FIRST,
    D_OFFSET,
    D_TILES,
    D_WEIGHT,
    INT8,
)
from engine.cpu.tiles import BLOCK, ROWS, STRIP, fp32_strip, fp32_tile, int8_strip, int8_tile

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


@njit(**OPTIONS)
def part(ctx, d, begin, end, n, sources, outs):
    """Rows of tiles ``begin`` to ``end`` of y = W a + b for n lanes; y begins with the matrix's first row."""
    if ctx[d + D_COLUMNS]:
        sparse(ctx, d, begin, end, n, sources, outs)
        return
    weight, cols = ctx[d + D_WEIGHT], ctx[d + D_COLS]
    offset, factor, bias = ctx[d + D_OFFSET], ctx[d + D_FACTOR], ctx[d + D_BIAS]
    a, y = i64(sources, n), i64(outs, n)
    for t in range(begin, end):
        down = t * ROWS * 4
        for i in range(n):
            if ctx[INT8]:
                int8_tile(
                    weight + t * ROWS * cols, a[i], cols // 4, offset + down, factor + down, bias + down, y[i] + down
                )
            else:
                fp32_tile(weight + down * cols, a[i], cols, bias + down, y[i] + down)


@njit(**OPTIONS)
def sparse(ctx, d, begin, end, n, sources, outs):
    """part() of a matrix with few blocks, strip by strip."""
    weight, columns, strips = ctx[d + D_WEIGHT], ctx[d + D_COLUMNS], ctx[d + D_TILES] * (ROWS // STRIP)
    offset, factor, bias = ctx[d + D_OFFSET], ctx[d + D_FACTOR], ctx[d + D_BIAS]
    first, a, y = i64(ctx[d + D_FIRST], strips + 1), i64(sources, n), i64(outs, n)
    for s in range(begin * (ROWS // STRIP), end * (ROWS // STRIP)):
        at, count, down = first[s], first[s + 1] - first[s], s * STRIP * 4
        for i in range(n):
            if ctx[INT8]:
                int8_strip(
                    weight + at * BLOCK, columns + at * 2, count, a[i],
                    offset + down, factor + down, bias + down, y[i] + down,
                )  # fmt: skip
            else:
                fp32_strip(weight + at * BLOCK * 4, columns + at * 2, count, a[i], bias + down, y[i] + down)
