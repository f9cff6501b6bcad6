"""What the audio path calls: generate, prime and reset as C functions (docs/design.md), and teacher-forced logits.

Those that compute set flush-to-zero and put back what they found; `reset` only copies.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit, types

from engine import draw
from engine.cpu.kernels import OPTIONS, append, lane_at, logits, measure, padded_dim, pick, run_tiers
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
    NUMBER,
    RESETS,
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

LEARNED, ZEROS, RANDOM, FRESH, REWIND = range(5)

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_DRAW, _STATE, _FRESH = np.uint64(draw.DICE), np.uint64(draw.STATE), np.uint64(draw.FRESH)
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
def next_word(header):
    """The dice of a lane's next sample, which fresh ones move (engine.draw.varied) where they may; both go on."""
    word = np.int64(philox(np.uint64(header[KEY]), np.uint64(header[DICE]), np.uint64(header[NUMBER]), _DRAW))
    header[DICE] += 1
    if header[SPREAD] == 0:
        return word
    fresh = philox(np.uint64(header[KEY]), np.uint64(header[FRESH_DICE]), np.uint64(header[NUMBER]), _FRESH)
    header[FRESH_DICE] += 1
    return (word + (((np.int64(fresh) - 0x80000000) * header[SPREAD]) >> 32)) & 0xFFFFFFFF


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
def generate(context, lanes, n, betas, tokens, stride):
    """Draw n samples for every lane of the mask; returns the mask of lanes whose logits were not finite."""
    before = flush_denormals()
    ctx = i64(context, _MANY)
    ids = i64(ctx[IDS], 64)
    count = chosen_lanes(ctx, lanes, ids)
    beta, out = f32(betas, ctx[VOICES] * stride), i32(tokens, ctx[VOICES] * stride)
    fault = np.int64(0)
    for s in range(n):
        run_tiers(ctx, ids, count)
        logits(ctx, ids, count)
        for i in range(count):
            lane = ids[i]
            block = lane_at(ctx, lane)
            header = i64(block, 8)
            token = pick(ctx, block, beta[lane * stride + s], next_word(header))
            if header[CLOCK] % _MEASURED == 0:
                measure(ctx, block, beta[lane * stride + s], token)
            if token < 0:
                fault |= np.int64(1) << lane
                token = ctx[LEVELS] // 2
            append(ctx, block, token)
            out[lane * stride + s] = token
    restore_denormals(before)
    return fault


@njit(**OPTIONS)
def prime(context, lane, tokens, n):
    """Run n known samples through one lane; the dice do not move."""
    before = flush_denormals()
    ctx = i64(context, _MANY)
    ids, known = i64(ctx[IDS], 64), i32(tokens, n)
    ids[0] = lane
    block = lane_at(ctx, lane)
    for s in range(n):
        run_tiers(ctx, ids, 1)
        append(ctx, block, known[s])
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
        silence(ctx, block)
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
    """Teacher-forced: n known samples a lane, and before each its fp32 logits to ``out`` (lane, n, levels)."""
    before = flush_denormals()
    ctx = i64(context, _MANY)
    ids, levels = i64(ctx[IDS], 64), ctx[LEVELS]
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
            append(ctx, block, known[ids[i] * stride + s])
    restore_denormals(before)
    return 0


def address_of(function: Any) -> int:
    """C address of one of the entries above: numba compiles a C wrapper beside every function it compiles.

    It ends up the same machine code as a ``@cfunc`` calling it, without compiling everything below it once more (8 s).
    """
    arguments = (types.int64,) * function.py_func.__code__.co_argcount
    function.compile(arguments)
    result = function.get_compile_result(types.int64(*arguments))
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))
