"""The arithmetic of engine/reference.py, compiled: the same operations in the same order, many voices at a time.

A kernel gets the context (engine/cpu/packing.py) and a list of lanes, and works on their blocks in place. Weights are
read once for all lanes of a list. Nothing allocates, raises or prints.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine.cpu.memory import f32, f64, i32, i64
from engine.cpu.packing import (
    BYTES,
    CLOCK,
    DENSE_STRIDE,
    DIM,
    ENTROPY,
    ENTRY_ROWS,
    F_DRAW,
    F_MLP1,
    F_MLP2,
    F_TIER,
    F_UNIT,
    FLOATS,
    FRAME,
    GATE,
    GATES,
    HIDDEN,
    IDS,
    IDS_BOTH,
    IDS_DUE,
    IDS_FROM,
    IDS_SLOT,
    IDS_TO,
    INT8,
    L_BELOW,
    L_ENTRY,
    L_HH,
    L_SKIP,
    LANE_BYTES,
    LANES,
    LAYER_STRIDE,
    LAYERS,
    LEVELS,
    LOGITS,
    LOOKBACK,
    LSTM,
    MLP,
    MOST_LANES,
    OUTPUT,
    PAST,
    RIGHT_ID,
    SIDE,
    SKIP,
    STEREO,
    SUMS,
    T_BIAS,
    T_C,
    T_COND,
    T_FRAMES,
    T_H,
    T_IN,
    T_LAYERS,
    T_OUT,
    T_OUT_BYTES,
    T_SIZE,
    T_SLOTS,
    T_UP,
    TABLE,
    TABLE_SCALE,
    TEAM,
    TIER_STRIDE,
    TIER_WORDS,
    TIERS,
    TOKENS,
    VOICES,
    X,
)
from engine.cpu.products import OPTIONS
from engine.cpu.team import foresee, product
from engine.cpu.tiles import ROWS
from engine.cpu.vectors import (
    HUGE,
    draw_weights,
    gru_step,
    lstm_step,
    rank,
    relu,
    table_bytes,
    table_floats,
    to_bytes,
    top,
    weighted_rows,
)

_HALF, _H_SCALE, _H_ZERO, _HUGE = np.float32(0.5), np.float32(127.0), np.float32(128.5), np.float32(HUGE)
_L15, _L13, _L11, _L9, _L7, _L5, _L3 = (1.0 / n for n in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0))
_PER_LN2 = 2.0 / math.log(2.0)


@njit(**OPTIONS)
def lane_at(ctx, lane):
    """Address of the block of a lane, or of its right side."""
    return ctx[LANES] + (lane & (RIGHT_ID - 1)) * ctx[LANE_BYTES] + lane // RIGHT_ID * ctx[SIDE]


@njit(**OPTIONS)
def is_stereo(ctx, lane):
    """1 if a lane has a right side, else 0."""
    return (ctx[STEREO] >> (lane % ctx[VOICES])) & 1


@njit(**OPTIONS)
def dense(ctx, d, ids, n, source, out):
    """y = W a + b for n lanes; ``source`` and ``out`` are offsets in their blocks (bytes or fp32, by precision)."""
    outs = ctx[IDS] + IDS_TO * 8
    product(ctx, d, n, places(ctx, ids, n, source, ctx[IDS] + IDS_FROM * 8), places(ctx, ids, n, out, outs))


@njit(**OPTIONS)
def places(ctx, ids, n, offset, room):
    """List, at address ``room``, of where ``offset`` is in each lane's block."""
    found = i64(room, n)
    for i in range(n):
        found[i] = lane_at(ctx, ids[i]) + offset
    return room


@njit(**OPTIONS)
def ahead(ctx, d, count, ids, n, source):
    """Whoever helps may begin with ``count`` matrices from ``d`` on: what they will multiply is known."""
    foresee(ctx, d, count, n, places(ctx, ids, n, source, ctx[IDS] + IDS_FROM * 8))


@njit(**OPTIONS)
def due(ctx, size, ids, n, chosen):
    """Of n lanes, those at the beginning of a frame of ``size``; returns how many."""
    count = 0
    for i in range(n):
        clock = i64(lane_at(ctx, ids[i]), 8)[CLOCK]
        if clock % size == 0:
            chosen[count] = ids[i]
            count += 1
    return count


@njit(**OPTIONS)
def same_slot(ctx, size, slots, ids, n, first, chosen):
    """From ``first`` on, the lanes in the same slot as lane ``first``; 0 if an earlier lane's group had it."""
    slot = slot_of(ctx, size, slots, ids[first])
    count = 0
    for i in range(n):
        if slot_of(ctx, size, slots, ids[i]) == slot:
            if i < first:
                return 0
            chosen[count] = ids[i]
            count += 1
    return count


@njit(**OPTIONS)
def slot_of(ctx, size, slots, lane):
    """Which of ``slots`` frames of ``size`` a lane is in."""
    return (i64(lane_at(ctx, lane), 8)[CLOCK] // size) % slots


@njit(**OPTIONS)
def each_slot(ctx, d, size, slots, ids, n, source, out):
    """dense() with, for every lane, the matrix of its slot; lanes usually share one."""
    group = i64(ctx[IDS] + IDS_SLOT * 8, MOST_LANES)
    for first in range(n):
        count = same_slot(ctx, size, slots, ids, n, first, group)
        if count:
            slot = slot_of(ctx, size, slots, ids[first])
            dense(ctx, d + slot * DENSE_STRIDE, group, count, source, out)


@njit(**OPTIONS)
def enter(ctx, tier, lane):
    """The entry vector's share of raw samples: bias of the slot, then frame sample by sample."""
    rows, size, lookback = ctx[ENTRY_ROWS], ctx[tier + T_SIZE], ctx[LOOKBACK]
    block, stride = lane_at(ctx, lane), (rows + ROWS - 1) // ROWS * ROWS * 4
    clock = i64(block, 8)[CLOCK]
    bias = ctx[tier + T_BIAS] + (clock // size) % ctx[tier + T_SLOTS] * stride
    tokens = i32(block + ctx[TOKENS] + (clock % lookback + lookback - size) * 4, size)
    unit, middle = f32(ctx[FLOATS], F_TIER)[F_UNIT], ctx[LEVELS] // 2
    samples = f32(block + ctx[SUMS], size)
    for j in range(size):
        samples[j] = np.float32(tokens[j] - middle) * unit
    weighted_rows(ctx[tier + T_FRAMES], stride, block + ctx[SUMS], size, bias, rows, block + ctx[tier + T_IN])


@njit(**OPTIONS)
def add(ctx, ids, n, rows, share, total):
    """total += share, both offsets of fp32 vectors in the lanes' blocks."""
    for i in range(n):
        block = lane_at(ctx, ids[i])
        x, y = f32(block + share, rows), f32(block + total, rows)
        for r in range(rows):
            y[r] = y[r] + x[r]


@njit(**OPTIONS)
def from_h(ctx, ids, n, h):
    """Where a matrix over a recurrent state reads it: the state itself (fp32), or its bytes, made here (int8)."""
    if not ctx[INT8]:
        return h
    for i in range(n):
        block = lane_at(ctx, ids[i])
        to_bytes(block + h, ctx[DIM], _H_SCALE, _H_ZERO, block + ctx[BYTES])
    return ctx[BYTES]


@njit(**OPTIONS)
def run_tier(ctx, i, ids, n):
    """One frame of tier i for n lanes."""
    tier = ctx[TIER_WORDS] + i * TIER_STRIDE
    above = tier + TIER_STRIDE
    for lane in range(n):
        enter(ctx, tier, ids[lane])
    if ctx[tier + T_COND]:
        source = ctx[above + T_OUT_BYTES] if ctx[INT8] else ctx[above + T_OUT]
        each_slot(ctx, ctx[tier + T_COND], ctx[tier + T_SIZE], ctx[tier + T_SLOTS], ids, n, source, ctx[GATE])
        add(ctx, ids, n, ctx[ENTRY_ROWS], ctx[GATE], ctx[tier + T_IN])
    for k in range(ctx[LAYERS]):
        run_layer(ctx, i, tier, k, ids, n)
    h = ctx[tier + T_H] + (ctx[LAYERS] - 1) * padded_dim(ctx) * 4
    scale, zero = f32(ctx[FLOATS], F_TIER + 2 * i + 2)[F_TIER + 2 * i + 1], _H_ZERO
    for lane in range(n):
        block = lane_at(ctx, ids[lane])
        if not ctx[SKIP]:
            out, last = f32(block + ctx[tier + T_OUT], ctx[DIM]), f32(block + h, ctx[DIM])
            for j in range(ctx[DIM]):
                out[j] = last[j]
        if ctx[INT8]:
            to_bytes(block + ctx[tier + T_OUT], ctx[DIM], scale, zero, block + ctx[tier + T_OUT_BYTES])
    if ctx[TEAM]:
        below = ctx[tier + T_UP] if i == 0 else ctx[tier - TIER_STRIDE + T_COND]
        slots = ctx[FRAME] if i == 0 else ctx[tier - TIER_STRIDE + T_SLOTS]
        source = ctx[tier + T_OUT_BYTES] if ctx[INT8] else ctx[tier + T_OUT]
        ahead(ctx, below + DENSE_STRIDE, slots - 1, ids, n, source)


@njit(**OPTIONS)
def padded_dim(ctx):
    """Numbers from one layer's h to the next."""
    return (ctx[DIM] + ROWS - 1) // ROWS * ROWS


@njit(**OPTIONS)
def run_layer(ctx, i, tier, k, ids, n):
    """One recurrent layer: its gates from below and from the tier's input, its past, its cell, its skip output."""
    layer = ctx[tier + T_LAYERS] + k * LAYER_STRIDE
    step = padded_dim(ctx) * 4
    h, c = ctx[tier + T_H] + k * step, ctx[tier + T_C] + k * step
    gates = ctx[tier + T_IN]
    if ctx[layer + L_BELOW]:
        gates = ctx[GATE]
        dense(ctx, ctx[layer + L_BELOW], ids, n, from_h(ctx, ids, n, h - step), gates)
    if ctx[layer + L_ENTRY]:
        source = ctx[tier + T_IN]
        if ctx[INT8]:
            source = ctx[BYTES]
            scale = f32(ctx[FLOATS], F_TIER + 2 * i + 2)[F_TIER + 2 * i]
            for lane in range(n):
                block = lane_at(ctx, ids[lane])
                to_bytes(block + ctx[tier + T_IN], ctx[DIM], scale, _H_ZERO, block + ctx[BYTES])
        into = ctx[PAST] if ctx[layer + L_BELOW] else ctx[GATE]
        dense(ctx, ctx[layer + L_ENTRY], ids, n, source, into)
        if ctx[layer + L_BELOW]:
            add(ctx, ids, n, ctx[GATES], ctx[PAST], ctx[GATE])
        gates = ctx[GATE]
    dense(ctx, ctx[layer + L_HH], ids, n, from_h(ctx, ids, n, h), ctx[PAST])
    for lane in range(n):
        block = lane_at(ctx, ids[lane])
        if ctx[LSTM]:
            lstm_step(block + gates, block + ctx[PAST], block + h, block + c, ctx[DIM])
        else:
            gru_step(block + gates, block + ctx[PAST], block + h, ctx[DIM])
    if ctx[TEAM]:
        ahead(ctx, ctx[layer + L_HH], 1, ids, n, from_h(ctx, ids, n, h))
    if ctx[layer + L_SKIP]:
        into = ctx[PAST] if k else ctx[tier + T_OUT]
        dense(ctx, ctx[layer + L_SKIP], ids, n, from_h(ctx, ids, n, h), into)
        if k:
            add(ctx, ids, n, ctx[DIM], ctx[PAST], ctx[tier + T_OUT])


@njit(**OPTIONS)
def run_tiers(ctx, ids, n):
    """Every tier whose frame begins now, from the top."""
    chosen = i64(ctx[IDS] + IDS_DUE * 8, MOST_LANES)
    for step in range(ctx[TIERS]):
        i = ctx[TIERS] - 1 - step
        count = due(ctx, ctx[ctx[TIER_WORDS] + i * TIER_STRIDE + T_SIZE], ids, n, chosen)
        if count:
            run_tier(ctx, i, chosen, count)


@njit(**OPTIONS)
def first_layer(ctx, block):
    """relu(sum of tables + X): in X, or under int8 in BYTES."""
    frame, width, lookback = ctx[FRAME], ctx[MLP], ctx[LOOKBACK]
    clock = i64(block, 8)[CLOCK]
    row = (width + ROWS - 1) // ROWS * ROWS * (1 if ctx[INT8] else 4)
    tokens = i32(block + ctx[TOKENS] + (clock % lookback + lookback - frame) * 4, frame)
    rows, floats = i64(block + ctx[SUMS], frame), f32(ctx[FLOATS], F_TIER)
    for k in range(frame):
        rows[k] = ctx[TABLE] + (k * ctx[LEVELS] + tokens[k]) * row
    x = block + ctx[X]
    if ctx[INT8]:
        table_bytes(block + ctx[SUMS], frame, x, width, ctx[TABLE_SCALE], floats[F_MLP1], block + ctx[BYTES])
    else:
        table_floats(block + ctx[SUMS], frame, x, width)


@njit(**OPTIONS)
def with_rights(ctx, ids, n, both):
    """The lanes of ``ids`` and their right sides, which share what the tiers say (X). Returns how many."""
    count, width = n, ctx[MLP]
    for i in range(n):
        both[i] = ids[i]
    for i in range(n):
        if is_stereo(ctx, ids[i]):
            both[count] = ids[i] + RIGHT_ID
            left, right = f32(lane_at(ctx, ids[i]) + ctx[X], width), f32(lane_at(ctx, both[count]) + ctx[X], width)
            for j in range(width):
                right[j] = left[j]
            count += 1
    return count


@njit(**OPTIONS)
def logits(ctx, chosen, count):
    """LOGITS of the next sample of so many lanes and of their right sides, the tiers having run."""
    bottom, int8, width = ctx[TIER_WORDS], ctx[INT8], ctx[MLP]
    source = ctx[bottom + T_OUT_BYTES] if int8 else ctx[bottom + T_OUT]
    each_slot(ctx, ctx[bottom + T_UP], 1, ctx[FRAME], chosen, count, source, ctx[X])
    ids = i64(ctx[IDS] + IDS_BOTH * 8, 2 * MOST_LANES)
    n = with_rights(ctx, chosen, count, ids)
    floats = f32(ctx[FLOATS], F_TIER)
    source = ctx[BYTES] if int8 else ctx[X]
    for i in range(n):
        first_layer(ctx, lane_at(ctx, ids[i]))
    if ctx[HIDDEN]:
        into = ctx[X] if int8 else ctx[GATE]
        dense(ctx, ctx[HIDDEN], ids, n, source, into)
        for i in range(n):
            block = lane_at(ctx, ids[i])
            if int8:  # a byte's lower end is the ReLU
                to_bytes(block + ctx[X], width, floats[F_MLP2], _HALF, block + ctx[BYTES])
            else:
                relu(block + into, width)
        source = ctx[BYTES] if int8 else into
    dense(ctx, ctx[OUTPUT], ids, n, source, ctx[LOGITS])


@njit(**OPTIONS)
def pick(ctx, block, beta, word):
    """The token that ``word`` draws from LOGITS at 1/T = beta, or -1 where a logit is not finite."""
    levels, at = ctx[LEVELS], block + ctx[LOGITS]
    highest = top(at, levels)
    if not np.abs(highest) < _HUGE:
        return -1
    if beta > _HUGE:
        return first_of(at, highest)
    total = draw_weights(at, levels, highest, beta, f32(ctx[FLOATS], F_TIER)[F_DRAW], block + ctx[SUMS])
    return rank(block + ctx[SUMS], (total * word) >> 32)


@njit(**OPTIONS)
def first_of(logits, value):
    """Index of the first logit that equals ``value``, one of them."""
    x, j = f32(logits, 1), 0
    while x[j] != value:
        j += 1
    return j


@njit(**OPTIONS)
def measure(ctx, block, beta, token):
    """The lane's ENTROPY: engine.draw.entropy of the weights that ``pick`` drew ``token`` from; scribbles on LOGITS."""
    levels = ctx[LEVELS]
    weights, parts, out = i32(block + ctx[SUMS], levels), f32(block + ctx[LOGITS], levels), f64(block, ENTROPY + 1)
    out[ENTROPY] = 0.0
    if token < 0 or beta > _HUGE:
        return
    total = np.int64(0)
    for j in range(levels):
        total += weights[j]
    for j in range(levels):
        w = np.float64(weights[j])
        parts[j] = np.float32(w * log2(max(w, 1.0)))
    inside = 0.0
    for j in range(levels):
        inside += np.float64(parts[j])
    whole = np.float64(total)
    out[ENTROPY] = log2(whole) - inside / whole


@njit(**OPTIONS)
def log2(x):
    """engine.draw.log2 for one number."""
    bits = np.float64(x).view(np.int64)
    m = np.int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    p = _L15 * square + _L13
    p = p * square + _L11
    p = p * square + _L9
    p = p * square + _L7
    p = p * square + _L5
    p = p * square + _L3
    p = p * square + 1.0
    return np.float64((bits >> 52) - 1023) + p * s * _PER_LN2


@njit(**OPTIONS)
def append(ctx, block, token):
    """A sample is known: it becomes the newest of the lookback, and the clock moves on."""
    lookback = ctx[LOOKBACK]
    header, tokens = i64(block, 8), i32(block + ctx[TOKENS], 2 * lookback)
    at = header[CLOCK] % lookback
    tokens[at] = token
    tokens[at + lookback] = token
    header[CLOCK] += 1
