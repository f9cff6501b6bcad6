"""The arithmetic of engine/reference.py, compiled: the same operations in the same order, many voices at a time.

A kernel gets the context (engine/cpu/packing.py) and a list of lanes, and works on their blocks in place. Weights are
read once for all lanes of a list. Nothing allocates, raises or prints.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine.cpu.memory import f32, f64, i16, i32, i64, u8
from engine.cpu.packing import (
    BYTES,
    CLOCK,
    D_BIAS,
    D_COLS,
    D_COLUMNS,
    D_FACTOR,
    D_FIRST,
    D_OFFSET,
    D_TILES,
    D_WEIGHT,
    DENSE_STRIDE,
    DIM,
    ENTROPY,
    ENTRY_ROWS,
    F_DRAW,
    F_MLP1,
    F_MLP2,
    F_TABLE,
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
    IDS_SLOT,
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
    TIER_STRIDE,
    TIER_WORDS,
    TIERS,
    TOKENS,
    VOICES,
    X,
)
from engine.cpu.tiles import BLOCK, ROWS, STRIP, fp32_strip, fp32_tile, int8_strip, int8_tile
from engine.reference import SMALLEST

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}

_ZERO, _HALF, _ONE, _TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
_H_SCALE, _H_ZERO, _TOP = np.float32(127.0), np.float32(128.5), np.float32(255.0)
_CLAMP, _SIGMOID_CLAMP, _HUGE = np.float32(87.0), np.float32(30.0), np.float32(3.0e38)
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504088896341), np.float32(0.693359375), np.float32(-2.12194440e-4)
_E0, _E1, _E2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_E3, _E4, _E5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_SMALLEST = SMALLEST
_L15, _L13, _L11, _L9, _L7, _L5, _L3 = (1.0 / n for n in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0))
_PER_LN2 = 2.0 / math.log(2.0)


@njit(**OPTIONS)
def exp(x):
    """engine.reference.exp for one number; what is not a number counts as -87."""
    x = x if x > -_CLAMP else -_CLAMP
    x = x if x < _CLAMP else _CLAMP
    n = np.floor(x * _LOG2E + _HALF)
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = _E0 * r + _E1
    p = p * r + _E2
    p = p * r + _E3
    p = p * r + _E4
    p = p * r + _E5
    p = p * (r * r) + r
    p = p + _ONE
    power = np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23))
    return p * power.view(np.float32)


@njit(**OPTIONS)
def sigmoid(x):
    """engine.reference.sigmoid."""
    x = x if x > -_SIGMOID_CLAMP else -_SIGMOID_CLAMP
    x = x if x < _SIGMOID_CLAMP else _SIGMOID_CLAMP
    return _ONE / (_ONE + exp(-x))


@njit(**OPTIONS)
def tanh(x):
    """engine.reference.tanh."""
    return _TWO * sigmoid(_TWO * x) - _ONE


@njit(**OPTIONS)
def lane_at(ctx, lane):
    """Address of the block of a lane, or of its right side."""
    return ctx[LANES] + (lane & (RIGHT_ID - 1)) * ctx[LANE_BYTES] + lane // RIGHT_ID * ctx[SIDE]


@njit(**OPTIONS)
def is_stereo(ctx, lane):
    """1 if a lane has a right side, else 0."""
    return (ctx[STEREO] >> (lane % ctx[VOICES])) & 1


@njit(**OPTIONS)
def to_bytes(a, n, scale, zero, out):
    """engine.reference.byte_of of n numbers; ``zero`` has the rounding half added."""
    x, y = f32(a, n), u8(out, n)
    for i in range(n):
        v = np.floor(x[i] * scale + zero)
        v = v if v > _ZERO else _ZERO
        v = v if v < _TOP else _TOP
        y[i] = np.uint8(np.int32(v))


@njit(**OPTIONS)
def dense(ctx, d, ids, n, source, out):
    """y = W a + b for n lanes; ``source`` and ``out`` are offsets in their blocks (bytes or fp32, by precision)."""
    weight, tiles, cols = ctx[d + D_WEIGHT], ctx[d + D_TILES], ctx[d + D_COLS]
    offset, factor, bias = ctx[d + D_OFFSET], ctx[d + D_FACTOR], ctx[d + D_BIAS]
    if ctx[d + D_COLUMNS]:
        sparse(ctx, d, ids, n, source, out)
    elif ctx[INT8]:
        for t in range(tiles):
            down = t * ROWS * 4
            for i in range(n):
                lane = lane_at(ctx, ids[i])
                int8_tile(
                    weight + t * ROWS * cols, lane + source, cols // 4,
                    offset + down, factor + down, bias + down, lane + out + down,
                )  # fmt: skip
    else:
        for t in range(tiles):
            down = t * ROWS * 4
            for i in range(n):
                lane = lane_at(ctx, ids[i])
                fp32_tile(weight + down * cols, lane + source, cols, bias + down, lane + out + down)


@njit(**OPTIONS)
def sparse(ctx, d, ids, n, source, out):
    """dense() of a matrix with few blocks, strip by strip."""
    weight, strips, columns = ctx[d + D_WEIGHT], ctx[d + D_TILES] * (ROWS // STRIP), ctx[d + D_COLUMNS]
    offset, factor, bias = ctx[d + D_OFFSET], ctx[d + D_FACTOR], ctx[d + D_BIAS]
    first = i64(ctx[d + D_FIRST], strips + 1)
    for s in range(strips):
        at, count, down = first[s], first[s + 1] - first[s], s * STRIP * 4
        for i in range(n):
            lane = lane_at(ctx, ids[i])
            if ctx[INT8]:
                int8_strip(
                    weight + at * BLOCK, columns + at * 2, count, lane + source,
                    offset + down, factor + down, bias + down, lane + out + down,
                )  # fmt: skip
            else:
                fp32_strip(
                    weight + at * BLOCK * 4, columns + at * 2, count, lane + source, bias + down, lane + out + down
                )


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
    block = lane_at(ctx, lane)
    pad = (rows + ROWS - 1) // ROWS * ROWS
    clock = i64(block, 8)[CLOCK]
    slot = (clock // size) % ctx[tier + T_SLOTS]
    entry, bias = f32(block + ctx[tier + T_IN], rows), f32(ctx[tier + T_BIAS] + slot * pad * 4, rows)
    tokens = i32(block + ctx[TOKENS] + (clock % lookback + lookback - size) * 4, size)
    unit, middle = f32(ctx[FLOATS], 5)[F_UNIT], ctx[LEVELS] // 2
    for r in range(rows):
        entry[r] = bias[r]
    for j in range(size):
        x = np.float32(tokens[j] - middle) * unit
        weight = f32(ctx[tier + T_FRAMES] + j * pad * 4, rows)
        for r in range(rows):
            entry[r] = entry[r] + weight[r] * x


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
def gru_cell(ctx, block, gates, h_offset):
    """h = n + z (h - n); ``gates`` is the offset of the share from below, PAST holds the recurrent share."""
    dim = ctx[DIM]
    now, past = f32(block + gates, 3 * dim), f32(block + ctx[PAST], 3 * dim)
    h = f32(block + h_offset, dim)
    for j in range(2 * dim):
        past[j] = sigmoid(now[j] + past[j])
    for j in range(dim):
        n = tanh(now[2 * dim + j] + past[j] * past[2 * dim + j])
        new = n + past[dim + j] * (h[j] - n)
        h[j] = new if np.abs(new) >= _SMALLEST else _ZERO


@njit(**OPTIONS)
def lstm_cell(ctx, block, gates, h_offset, c_offset):
    """c = f c + i g; h = o tanh(c)."""
    dim = ctx[DIM]
    now, past = f32(block + gates, 4 * dim), f32(block + ctx[PAST], 4 * dim)
    h, c = f32(block + h_offset, dim), f32(block + c_offset, dim)
    for j in range(dim):
        i = sigmoid(now[j] + past[j])
        f = sigmoid(now[dim + j] + past[dim + j])
        g = tanh(now[2 * dim + j] + past[2 * dim + j])
        o = sigmoid(now[3 * dim + j] + past[3 * dim + j])
        cell = f * c[j] + i * g
        cell = cell if np.abs(cell) >= _SMALLEST else _ZERO
        c[j] = cell
        new = o * tanh(cell)
        h[j] = new if np.abs(new) >= _SMALLEST else _ZERO


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
            out, top = f32(block + ctx[tier + T_OUT], ctx[DIM]), f32(block + h, ctx[DIM])
            for j in range(ctx[DIM]):
                out[j] = top[j]
        if ctx[INT8]:
            to_bytes(block + ctx[tier + T_OUT], ctx[DIM], scale, zero, block + ctx[tier + T_OUT_BYTES])


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
            lstm_cell(ctx, block, gates, h, c)
        else:
            gru_cell(ctx, block, gates, h)
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
    """X = relu(sum of tables + X)."""
    frame, width, lookback = ctx[FRAME], ctx[MLP], ctx[LOOKBACK]
    clock = i64(block, 8)[CLOCK]
    pad = (width + ROWS - 1) // ROWS * ROWS
    tokens = i32(block + ctx[TOKENS] + (clock % lookback + lookback - frame) * 4, frame)
    x = f32(block + ctx[X], width)
    if ctx[INT8]:
        sums = i32(block + ctx[SUMS], width)
        for k in range(frame):
            row = i16(ctx[TABLE] + (k * ctx[LEVELS] + tokens[k]) * pad * 2, width)
            if k == 0:
                for j in range(width):
                    sums[j] = np.int32(row[j])
            else:
                for j in range(width):
                    sums[j] = sums[j] + np.int32(row[j])
        scale = f32(ctx[FLOATS], 5)[F_TABLE]
        for j in range(width):
            v = np.float32(sums[j]) * scale + x[j]
            x[j] = v if v > _ZERO else _ZERO
    else:
        for k in range(frame):
            weight = f32(ctx[TABLE] + (k * ctx[LEVELS] + tokens[k]) * pad * 4, width)
            for j in range(width):
                x[j] = x[j] + weight[j]
        relu(block + ctx[X], width)


@njit(**OPTIONS)
def relu(at, n):
    """max(x, 0) in place."""
    x = f32(at, n)
    for j in range(n):
        x[j] = x[j] if x[j] > _ZERO else _ZERO


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
    floats = f32(ctx[FLOATS], 5)
    source = ctx[BYTES] if int8 else ctx[X]
    for i in range(n):
        block = lane_at(ctx, ids[i])
        first_layer(ctx, block)
        if int8:
            to_bytes(block + ctx[X], width, floats[F_MLP1], _HALF, block + ctx[BYTES])
    if ctx[HIDDEN]:
        into = ctx[X] if int8 else ctx[GATE]
        dense(ctx, ctx[HIDDEN], ids, n, source, into)
        for i in range(n):
            block = lane_at(ctx, ids[i])
            relu(block + into, width)
            if int8:
                to_bytes(block + ctx[X], width, floats[F_MLP2], _HALF, block + ctx[BYTES])
        source = ctx[BYTES] if int8 else into
    dense(ctx, ctx[OUTPUT], ids, n, source, ctx[LOGITS])


@njit(**OPTIONS)
def pick(ctx, block, beta, word):
    """The token that ``word`` draws from LOGITS at 1/T = beta, or -1 where a logit is not finite."""
    levels = ctx[LEVELS]
    x, weights = f32(block + ctx[LOGITS], levels), i32(block + ctx[SUMS], levels)
    finite, top = np.int64(0), -_HUGE
    for j in range(levels):
        finite += np.int64(np.abs(x[j]) < _HUGE)
    if finite != levels:
        return -1
    best = 0
    for j in range(levels):
        if x[j] > top:
            top = x[j]
            best = j
    if beta > _HUGE:
        return best
    scale = f32(ctx[FLOATS], 5)[F_DRAW]
    for j in range(levels):
        weights[j] = np.int32(np.floor(exp((x[j] - top) * beta) * scale + _HALF))
    total = np.int64(0)
    for j in range(levels):
        total += weights[j]
    r = (total * word) >> 32
    reached = np.int64(0)
    token = np.int64(0)
    for j in range(levels):
        reached += weights[j]
        token += np.int64(reached <= r)
    return token


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
