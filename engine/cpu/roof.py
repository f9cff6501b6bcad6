"""The roof of the sample step: its own matrix products alone, back to back, on the same weights in the same order.

What the whole hop takes beyond this is everything else: gates, tables, exponentials, the draw.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine.cpu.kernels import dense
from engine.cpu.memory import i64
from engine.cpu.packing import (
    BYTES,
    DENSE_STRIDE,
    FRAME,
    GATE,
    HIDDEN,
    IDS,
    INT8,
    L_BELOW,
    L_SKIP,
    LAYER_STRIDE,
    LAYERS,
    LOGITS,
    OUTPUT,
    PAST,
    T_COND,
    T_LAYERS,
    T_SIZE,
    T_SLOTS,
    T_UP,
    TIER_STRIDE,
    TIER_WORDS,
    TIERS,
    X,
)
from engine.cpu.products import OPTIONS


@njit(**OPTIONS)
def matvecs(context, n):
    """Every matrix product of n samples of lane 0; scribbles over its scratch, not its state."""
    ctx = i64(context, 1 << 20)
    ids = i64(ctx[IDS], 64)
    ids[0] = 0
    source = ctx[BYTES] if ctx[INT8] else ctx[X]
    for s in range(n):
        for i in range(ctx[TIERS]):
            tier = ctx[TIER_WORDS] + i * TIER_STRIDE
            if s % ctx[tier + T_SIZE] == 0:
                tier_matvecs(ctx, tier, s // ctx[tier + T_SIZE], ids)
        up = ctx[ctx[TIER_WORDS] + T_UP] + s % ctx[FRAME] * DENSE_STRIDE
        dense(ctx, up, ids, 1, source, ctx[X])
        if ctx[HIDDEN]:
            dense(ctx, ctx[HIDDEN], ids, 1, source, ctx[X])
        dense(ctx, ctx[OUTPUT], ids, 1, source, ctx[LOGITS])


@njit(**OPTIONS)
def tier_matvecs(ctx, tier, frame, ids):
    """One frame's products: conditioning of the slot, then what every layer has."""
    source = ctx[BYTES] if ctx[INT8] else ctx[X]
    if ctx[tier + T_COND]:
        dense(ctx, ctx[tier + T_COND] + frame % ctx[tier + T_SLOTS] * DENSE_STRIDE, ids, 1, source, ctx[GATE])
    for k in range(ctx[LAYERS]):
        layer = ctx[tier + T_LAYERS] + k * LAYER_STRIDE
        for word in range(L_BELOW, L_SKIP + 1):
            if ctx[layer + word]:
                dense(ctx, ctx[layer + word], ids, 1, source, ctx[PAST])
