"""What the audio path calls: generate, prime and reset as C functions (docs/design.md), and teacher-forced logits.

Those that compute set flush-to-zero and put back what they found; `reset` only copies.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

from engine import draw
from engine.cpu.kernels import append, is_stereo, lane_at, logits, measure, padded_dim, pick, run_tiers
from engine.cpu.memory import f32, flush_denormals, i32, i64, restore_denormals
from engine.cpu.packing import (
    CLOCK,
    DICE,
    DIM,
    FRESH_DICE,
    IDS,
    KEY,
    LAYERS,
    LEVELS,
    LOGITS,
    LOOKBACK,
    LSTM,
    MOST_LANES,
    NUMBER,
    RESETS,
    SIDE,
    SPREAD,
    START,
    T_C,
    T_C0,
    T_H,
    T_H0,
    TIER_STRIDE,
    TIER_WORDS,
    TIERS,
    TOKENS,
    VOICES,
)
from engine.cpu.products import OPTIONS

LEARNED, ZEROS, RANDOM, FRESH, REWIND = range(5)

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_DRAW, _STATE, _FRESH, _RIGHT = (np.uint64(purpose) for purpose in (draw.DICE, draw.STATE, draw.FRESH, draw.RIGHT))
_LEFT = np.uint64(0)
_STEP, _ONE, _ZERO = np.float32(2.0**-23), np.float32(1.0), np.float32(0.0)
_MEASURED = draw.ENTROPY_EVERY
_MANY = 1 << 20  # words of any context: only the view's bound, never read beyond what was packed


@njit(**OPTIONS)
def philox(key, index, voice, purpose):
    """engine.draw.philox on uint64 words."""
    k0, k1 = key & _LOW, key >> _SHIFT
    c0, c1, c2, c3 = index & _LOW, index >> _SHIFT, voice & _LOW, purpose
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0


@njit(**OPTIONS)
def next_word(header, side):
    """The dice of a lane's next sample on its left (0) or right (1); fresh ones move them (engine.draw.varied)."""
    aside = _RIGHT if side else _LEFT
    number = np.uint64(header[NUMBER])
    word = np.int64(philox(np.uint64(header[KEY]), np.uint64(header[DICE]), number, _DRAW + aside))
    if header[SPREAD] == 0:
        return word
    fresh = philox(np.uint64(header[KEY]), np.uint64(header[FRESH_DICE]), number, _FRESH + aside)
    return (word + (((np.int64(fresh) - 0x80000000) * header[SPREAD]) >> 32)) & 0xFFFFFFFF


@njit(**OPTIONS)
def advance(header):
    """The dice of a lane go on; fresh ones only while they are in use."""
    header[DICE] += 1
    if header[SPREAD] != 0:
        header[FRESH_DICE] += 1


@njit(**OPTIONS)
def chosen_lanes(ctx, lanes, ids):
    """The lanes of a mask, as a list; returns how many."""
    n = 0
    for lane in range(ctx[VOICES]):
        if (lanes >> lane) & 1:
            ids[n] = lane
            n += 1
    return n


@njit(**OPTIONS)
def throw(ctx, block, side, beta):
    """The token that a lane's left (0) or right (1) side draws from its LOGITS, or -1; the dice stay where they are.

    Entropy is the left side's.
    """
    header = i64(block, 8)
    token = pick(ctx, block + side * ctx[SIDE], beta, next_word(header, side))
    if side == 0 and header[CLOCK] % _MEASURED == 0:
        measure(ctx, block, beta, token)
    return token


@njit(**OPTIONS)
def generate(context, lanes, n, betas, tokens, stride):
    """Draw n samples for every lane of the mask; returns the mask of lanes whose logits were not finite."""
    before = flush_denormals()
    ctx = i64(context, _MANY)
    ids = i64(ctx[IDS], MOST_LANES)
    count = chosen_lanes(ctx, lanes, ids)
    beta, out = f32(betas, ctx[VOICES] * stride), i32(tokens, 2 * ctx[VOICES] * stride)
    fault = np.int64(0)
    for s in range(n):
        run_tiers(ctx, ids, count)
        logits(ctx, ids, count)
        for i in range(count):
            lane = ids[i]
            block = lane_at(ctx, lane)
            for side in range(1 + is_stereo(ctx, lane)):
                token = throw(ctx, block, side, beta[lane * stride + s])
                if token < 0:
                    fault |= np.int64(1) << lane
                    token = ctx[LEVELS] // 2
                append(ctx, block + side * ctx[SIDE], token)
                out[(side * ctx[VOICES] + lane) * stride + s] = token
            advance(i64(block, 8))
    restore_denormals(before)
    return fault


@njit(**OPTIONS)
def blend(context, lane, partner, other, n, betas, blends, tokens, right):
    """Draw n samples for one lane from its own distribution and, where blends are above 0, that of a partner's lane.

    Both hear what is drawn. Returns 1 if logits were not finite.
    """
    before = flush_denormals()
    ours, theirs = i64(context, _MANY), i64(partner, _MANY)
    beta, share, left_out = f32(betas, n), f32(blends, n), i32(tokens, n)
    right_out = i32(right if right else tokens, n)
    block, beside = lane_at(ours, lane), lane_at(theirs, other)
    sides = 1 + is_stereo(ours, lane)
    fault = np.int64(0)
    for s in range(n):
        think(ours, lane, share[s] < _ONE)
        think(theirs, other, share[s] > _ZERO)
        for side in range(sides):
            at, there = block + side * ours[SIDE], beside + side * theirs[SIDE]
            mingle(ours[LEVELS], at + ours[LOGITS], there + theirs[LOGITS], share[s])
            token = throw(ours, block, side, beta[s])
            if token < 0:
                fault = np.int64(1)
                token = ours[LEVELS] // 2
            append(ours, at, token)
            append(theirs, there, token)
            if side:
                right_out[s] = token
            else:
                left_out[s] = token
        advance(i64(block, 8))
    restore_denormals(before)
    return fault


@njit(**OPTIONS)
def think(ctx, lane, speaks):
    """The tiers of one lane whose frames begin now, and the next sample's logits if they are wanted."""
    ids = i64(ctx[IDS], MOST_LANES)  # two contexts may be one: written anew each time
    ids[0] = lane
    run_tiers(ctx, ids, 1)
    if speaks:
        logits(ctx, ids, 1)


@njit(**OPTIONS)
def mingle(levels, ours, theirs, share):
    """ours = (1 - share) ours + share theirs, exactly the one or the other at the ends."""
    if share <= _ZERO:
        return
    x, y = f32(ours, levels), f32(theirs, levels)
    if share >= _ONE:
        for j in range(levels):
            x[j] = y[j]
        return
    rest = _ONE - share
    for j in range(levels):
        x[j] = rest * x[j] + share * y[j]


@njit(**OPTIONS)
def prime(context, lane, tokens, n):
    """Run n known samples through one lane, both its sides hearing them; the dice do not move."""
    before = flush_denormals()
    ctx = i64(context, _MANY)
    ids, known = i64(ctx[IDS], MOST_LANES), i32(tokens, n)
    ids[0] = lane
    block = lane_at(ctx, lane)
    for s in range(n):
        run_tiers(ctx, ids, 1)
        for side in range(1 + is_stereo(ctx, lane)):
            append(ctx, block + side * ctx[SIDE], known[s])
    restore_denormals(before)
    return 0


@njit(**OPTIONS)
def reset(context, lane, mode):
    """0 learned, 1 zeros, 2 random h and c; 3 a fresh start; 4 dice to position 0 (docs/design.md)."""
    ctx = i64(context, _MANY)
    block = lane_at(ctx, lane)
    header = i64(block, 8)
    if mode == REWIND:
        header[DICE] = 0
        return 0
    if mode == FRESH:
        for side in range(1 + is_stereo(ctx, lane)):
            silence(ctx, block + side * ctx[SIDE])
        mode = ctx[START]
    for i in range(ctx[TIERS]):
        tier = ctx[TIER_WORDS] + i * TIER_STRIDE
        fill_state(ctx, block, tier, i, mode)
    if mode == RANDOM:
        header[RESETS] = (header[RESETS] + 1) & 0xFFFFFFFF
    return 0


@njit(**OPTIONS)
def silence(ctx, block):
    """Lookback of q_zero, clock 0, nothing conditioning."""
    tokens = i32(block + ctx[TOKENS], 2 * ctx[LOOKBACK])
    for j in range(2 * ctx[LOOKBACK]):
        tokens[j] = ctx[LEVELS] // 2
    i64(block, 8)[CLOCK] = 0


@njit(**OPTIONS)
def fill_state(ctx, block, tier, i, mode):
    """h and c of every layer of tier i."""
    header, layers, dim, step = i64(block, 8), ctx[LAYERS], ctx[DIM], padded_dim(ctx)
    h, c = f32(block + ctx[tier + T_H], layers * step), f32(block + ctx[tier + T_C], layers * step)
    h0, c0 = f32(ctx[tier + T_H0], layers * step), f32(ctx[tier + T_C0], layers * step)
    for k in range(layers):
        for j in range(dim):
            at = k * step + j
            if mode == LEARNED:
                h[at], c[at] = h0[at], c0[at]
            elif mode == ZEROS:
                h[at], c[at] = _ZERO, _ZERO
            else:
                element = ((i * layers + k) * 2) * dim + j
                h[at] = uniform(header, element)
                c[at] = uniform(header, element + dim) if ctx[LSTM] else _ZERO


@njit(**OPTIONS)
def uniform(header, element):
    """Element of a random state, in [-1, 1), on a grid of 2^-23."""
    index = (np.uint64(header[RESETS]) << _SHIFT) | np.uint64(element)
    word = philox(np.uint64(header[KEY]), index, np.uint64(header[NUMBER]), _STATE)
    return np.float32(np.int64(word >> np.uint64(8))) * _STEP - _ONE


@njit(**OPTIONS)
def force(context, lanes, n, tokens, stride, out):
    """Teacher-forced: n known samples a lane, and before each its (left) logits, fp32, to ``out`` (lane, n, levels)."""
    before = flush_denormals()
    ctx = i64(context, _MANY)
    ids, levels = i64(ctx[IDS], MOST_LANES), ctx[LEVELS]
    count = chosen_lanes(ctx, lanes, ids)
    known = i32(tokens, ctx[VOICES] * stride)
    for s in range(n):
        run_tiers(ctx, ids, count)
        logits(ctx, ids, count)
        for i in range(count):
            block = lane_at(ctx, ids[i])
            source, to = f32(block + ctx[LOGITS], levels), f32(out + (ids[i] * n + s) * levels * 4, levels)
            for j in range(levels):
                to[j] = source[j]
            for side in range(1 + is_stereo(ctx, ids[i])):
                append(ctx, block + side * ctx[SIDE], known[ids[i] * stride + s])
    restore_denormals(before)
    return 0
