"""A matrix, or some of its rows, times the vectors of several lanes: weights are read once for all of them.

The addresses of a lane's vector and of where its product goes lie in lists. Nothing allocates, raises or prints.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine.cpu.building import as_intrinsic, build_call
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
    PRODUCTS,
    SELF,
)
from engine.cpu.tiles import (
    BLOCK,
    GROUP,
    LANES,
    ROWS,
    STRIP,
    fp32_strip,
    fp32_strip_lanes,
    fp32_tile,
    fp32_tile_lanes,
    int8_strip,
    int8_strip_lanes,
    int8_tile,
    int8_tile_lanes,
)

STRIPS = ROWS // STRIP
_MANY = 1 << 20  # words of any context: only the view's bound
_call = as_intrinsic(build_call, "i" * 8)
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


@njit(**OPTIONS)
def part(ctx, d, begin, end, n, sources, outs):
    """Rows of tiles ``begin`` to ``end`` of y = W a + b for n lanes; y begins with the matrix's first row."""
    _call(ctx[PRODUCTS], ctx[SELF], d, begin, end, n, sources, outs)


@njit(**OPTIONS)
def multiply(context, d, begin, end, n, sources, outs):
    """What PRODUCTS is the address of: so tiles are compiled here once, and not wherever part() is called."""
    ctx = i64(context, _MANY)
    if ctx[d + D_COLUMNS]:
        sparse(ctx, d, begin, end, n, sources, outs)
    else:
        dense(ctx, d, begin, end, n, sources, outs)
    return 0


@njit(**OPTIONS)
def dense(ctx, d, begin, end, n, sources, outs):
    """part() of a whole matrix: strip by strip for LANES lanes at a time, tile by tile for each that is left over."""
    int8, groups = ctx[INT8], ctx[d + D_COLS] // GROUP
    offset, factor, bias = ctx[d + D_OFFSET], ctx[d + D_FACTOR], ctx[d + D_BIAS]
    size = groups * BLOCK * (1 if int8 else 4)
    for s in range(begin * STRIPS, end * STRIPS):
        at, down, i = ctx[d + D_WEIGHT] + s * size, s * STRIP * 4, 0
        while i + LANES <= n:
            if int8:
                int8_tile_lanes(at, groups, sources + i * 8, offset, factor, bias, outs + i * 8, down)
            else:
                fp32_tile_lanes(at, groups, sources + i * 8, bias, outs + i * 8, down)
            i += LANES
        while i < n and s % STRIPS == 0:
            if int8:
                int8_tile(at, groups, sources + i * 8, offset, factor, bias, outs + i * 8, down)
            else:
                fp32_tile(at, groups, sources + i * 8, bias, outs + i * 8, down)
            i += 1


@njit(**OPTIONS)
def sparse(ctx, d, begin, end, n, sources, outs):
    """part() of a matrix with few blocks: strip by strip for LANES lanes at a time, and for each that is left over."""
    int8, item = ctx[INT8], 1 if ctx[INT8] else 4
    offset, factor, bias = ctx[d + D_OFFSET], ctx[d + D_FACTOR], ctx[d + D_BIAS]
    first = i64(ctx[d + D_FIRST], ctx[d + D_TILES] * STRIPS + 1)
    for s in range(begin * STRIPS, end * STRIPS):
        count, down, i = first[s + 1] - first[s], s * STRIP * 4, 0
        at, columns = ctx[d + D_WEIGHT] + first[s] * BLOCK * item, ctx[d + D_COLUMNS] + first[s] * 2
        while i + LANES <= n:
            if int8:
                int8_strip_lanes(at, columns, count, sources + i * 8, offset, factor, bias, outs + i * 8, down)
            else:
                fp32_strip_lanes(at, columns, count, sources + i * 8, bias, outs + i * 8, down)
            i += LANES
        while i < n:
            if int8:
                int8_strip(at, columns, count, sources + i * 8, offset, factor, bias, outs + i * 8, down)
            else:
                fp32_strip(at, columns, count, sources + i * 8, bias, outs + i * 8, down)
            i += 1
