"""A GPU's runs as C functions for the audio path: lanes' states go into the pinned block, a graph runs, they come back.

Same signatures as ``engine.cpu.hop``. The driver is called by address; nothing here allocates, raises or enters the
interpreter. Lanes whose frames begin elsewhere than the others' take launches of their own.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from llvmlite import ir
from numba import njit, types
from numpy.typing import NDArray

from engine import draw
from engine.cpu.building import I64, Values, as_intrinsic
from engine.cpu.hop import chosen_lanes
from engine.cpu.kernels import append, is_stereo, lane_at, measure, padded_dim, pick
from engine.cpu.memory import address, f32, flush_denormals, i32, i64, relax, restore_denormals
from engine.cpu.packing import (
    CLOCK,
    DEVICE,
    DICE,
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
    SIDE,
    SPREAD,
    STEREO,
    T_C,
    T_H,
    T_OUT,
    TIER_STRIDE,
    TIER_WORDS,
    TIERS,
    TOKENS,
    VOICES,
)
from engine.cpu.products import OPTIONS
from engine.cuda.driver import Driver

# Words of a player: sizes, addresses in the pinned block, the driver's functions and handles; from GRAPHS on graphs,
# for each kind so many as a hop has places to begin from: of a whole run, of a hop, of a single sample; and of runs and
# hops that are known already, which are told and not drawn. 0: there is none.
(
    SAMPLES, HOP, AT_LANES, AT_BETAS, AT_FORCED, AT_TOKENS, AT_H, AT_C, AT_OUT, AT_MEASURED, AT_FAULTS,
    SET_CONTEXT, LAUNCH, QUERY, DRIVER_CONTEXT, STREAM, AT_FAILED, LAUNCHED, GRAPHS,
) = range(19)  # fmt: skip
RUN, HOPS, ONE, KNOWN_RUN, KNOWN_HOPS = range(5)
KINDS = 5
DRAWN, TOLD, HEARD = range(3)  # samples that are drawn; that are told; that are told, and every logit is wanted
LANE_WORDS = 6
NOT_READY = 600  # CUDA_ERROR_NOT_READY
HUNG = 1 << 20  # our own: a run that does not end
_POLLS = 500_000  # each takes a microsecond or two, and the longest run some milliseconds
_PAUSES = 32
_MANY = 1 << 20
_MEASURED = draw.ENTROPY_EVERY


def point(words: NDArray[np.int64], driver: Driver) -> None:
    """Have a player's words lead to ``driver``."""
    for word, value in (
        (SET_CONTEXT, driver.set_context), (LAUNCH, driver.launch), (QUERY, driver.query),
        (DRIVER_CONTEXT, driver.context), (STREAM, driver.stream), (AT_FAILED, address(driver.failed)),
    ):  # fmt: skip
        words[word] = value


def _build_ask(b: ir.IRBuilder, args: Values) -> ir.Value:
    """(address, two words): the int that a C function returns."""
    address, *arguments = args
    kind = ir.FunctionType(ir.IntType(32), [I64] * len(arguments))
    return b.zext(b.call(b.inttoptr(address, kind.as_pointer()), arguments), I64)


_ask = as_intrinsic(_build_ask, "iii", types.int64)  # a second argument does no harm where one is taken


@njit(**OPTIONS)
def generate(context, lanes, n, betas, tokens, stride):
    """engine.cpu.hop.generate; once the GPU has failed, every lane asked for is silent and at fault."""
    ctx = i64(context, _MANY)
    out, beta = i32(tokens, 2 * ctx[VOICES] * stride), f32(betas, ctx[VOICES] * stride)
    return each_place(ctx, lanes, n, beta, out, stride, DRAWN)


@njit(**OPTIONS)
def prime(context, lane, tokens, n):
    """engine.cpu.hop.prime."""
    ctx = i64(context, _MANY)
    each_place(ctx, np.int64(1) << lane, n, f32(tokens, n), i32(tokens, n), n, TOLD)
    return 0


@njit(**OPTIONS)
def hear(context, lane, tokens, n):
    """The same, every layer run for each sample: the last launch's logits are to be had."""
    ctx = i64(context, _MANY)
    each_place(ctx, np.int64(1) << lane, n, f32(tokens, n), i32(tokens, n), n, HEARD)
    return 0


@njit(**OPTIONS)
def each_place(ctx, lanes, n, beta, tokens, stride, known):
    """Runs for the lanes of a mask, those that are at one place of their hop together. Returns the lanes at fault."""
    before = flush_denormals()
    player = i64(ctx[DEVICE], _MANY)
    ids, fault = i64(ctx[IDS], MOST_LANES), np.int64(0)
    left = lanes
    while left:
        count = chosen_lanes(ctx, left, ids)
        place, kept = i64(lane_at(ctx, ids[0]), 8)[CLOCK] % player[HOP], 0
        for i in range(count):
            if i64(lane_at(ctx, ids[i]), 8)[CLOCK] % player[HOP] == place:
                left ^= np.int64(1) << ids[i]
                ids[kept] = ids[i]
                kept += 1
        fault |= runs(ctx, player, ids, kept, place, n, beta, tokens, stride, known)
    restore_denormals(before)
    return fault


@njit(**OPTIONS)
def runs(ctx, player, ids, count, place, n, beta, tokens, stride, known):
    """n samples of lanes that are all at ``place``, in as few launches as there are graphs for."""
    fault, done = np.int64(0), np.int64(0)
    while done < n:
        length, graph = fitting(player, place, n - done, known)
        for i in range(count):
            give(ctx, player, ids[i], length, beta, tokens, stride, done, known)
        launch(player, graph)
        if failure(player):
            return fault | (np.int64(0) if known else still(ctx, ids, count, n, tokens, stride, done))
        for i in range(count):
            fault |= take(ctx, player, ids[i], length, beta, tokens, stride, done, known)
        place = (place + length) % player[HOP]
        done += length
    return fault


@njit(**OPTIONS)
def fitting(player, place, left, known):
    """How many of the samples that are left the next launch makes, and its graph."""
    run, hops = (KNOWN_RUN, KNOWN_HOPS) if known == TOLD else (RUN, HOPS)
    graph = graph_at(player, run, place)
    if graph and left >= player[SAMPLES]:
        return player[SAMPLES], graph
    graph = graph_at(player, hops, place)
    if graph and left >= player[HOP]:
        return player[HOP], graph
    return np.int64(1), graph_at(player, ONE, place)


@njit(**OPTIONS)
def graph_at(player, kind, place):
    """The graph of a kind that begins at a place, 0 if there is none."""
    return player[GRAPHS + kind * player[HOP] + place]


@njit(**OPTIONS)
def still(ctx, ids, count, n, tokens, stride, done):
    """Silence for what no run made; returns the lanes."""
    fault = np.int64(0)
    for i in range(count):
        fault |= np.int64(1) << ids[i]
        for side in range(1 + is_stereo(ctx, ids[i])):
            for j in range(done, n):
                tokens[(side * ctx[VOICES] + ids[i]) * stride + j] = ctx[LEVELS] // 2
    return fault


@njit(**OPTIONS)
def launch(player, graph):
    """Run one graph to its end; the GPU's word of failure is what the driver said if it did not come to it."""
    if failure(player):
        return
    code = _ask(player[SET_CONTEXT], player[DRIVER_CONTEXT], 0)
    if code == 0:
        code = _ask(player[LAUNCH], graph, player[STREAM])
    polls = 0
    while code == 0 or code == NOT_READY:
        code = _ask(player[QUERY], player[STREAM], 0)
        if code == 0:
            player[LAUNCHED] += 1
            return
        for _ in range(_PAUSES):
            relax()
        polls += 1
        if polls > _POLLS:
            code = HUNG
    i64(player[AT_FAILED], 1)[0] = code


@njit(**OPTIONS)
def failure(player):
    """What the driver said when the GPU failed, 0 while all is well."""
    return i64(player[AT_FAILED], 1)[0]


@njit(**OPTIONS)
def stir(context, _lane, _mode):
    """Keep a GPU that nobody asks for samples from slowing down: have it busy until the next time, behind all else."""
    player = i64(context, _MANY)
    if failure(player) != 0 or _ask(player[SET_CONTEXT], player[DRIVER_CONTEXT], 0) != 0:
        return 0
    if _ask(player[QUERY], player[STREAM], 0) == 0 and _ask(player[LAUNCH], player[GRAPHS], player[STREAM]) == 0:
        player[LAUNCHED] += 1
    return 0


@njit(**OPTIONS)
def sample_lane(ctx, lane, side):
    """Row of a voice's left (0) or right (1) side among all sample lanes: rights are numbered by those before them."""
    row = lane
    if side:
        row = ctx[VOICES]
        for other in range(lane):
            row += (ctx[STEREO] >> other) & 1
    return row


@njit(**OPTIONS)
def give(ctx, player, lane, length, beta, tokens, stride, at, known):
    """One lane's state, temperatures and known samples into the block."""
    block, room = lane_at(ctx, lane), ctx[LOOKBACK] + player[SAMPLES]
    header = i64(block, 8)
    words = i64(player[AT_LANES] + lane * LANE_WORDS * 8, LANE_WORDS)
    words[0], words[1], words[2] = header[KEY], header[DICE], header[NUMBER]
    words[3], words[4] = header[SPREAD], header[FRESH_DICE]
    first = -header[CLOCK] % _MEASURED
    words[5] = first if first < length and not known else -1
    for side in range(1 + is_stereo(ctx, lane)):
        row, start = sample_lane(ctx, lane, side), header[CLOCK] % ctx[LOOKBACK]
        behind = i32(block + side * ctx[SIDE] + ctx[TOKENS] + start * 4, ctx[LOOKBACK])
        to = i32(player[AT_TOKENS] + row * room * 4, ctx[LOOKBACK])
        for j in range(ctx[LOOKBACK]):
            to[j] = behind[j]
        forced = i32(player[AT_FORCED] + row * player[SAMPLES] * 4, length)
        told = i32(player[AT_TOKENS] + (row * room + ctx[LOOKBACK]) * 4, length)
        for j in range(length):
            forced[j] = tokens[at + j] if known else -1
            if known:
                told[j] = tokens[at + j]
    heat = f32(player[AT_BETAS] + lane * player[SAMPLES] * 4, length)
    for j in range(length):
        heat[j] = np.float32(1.0) if known else beta[lane * stride + at + j]
    carry(ctx, player, lane, False)
    i32(player[AT_FAULTS], MOST_LANES)[lane] = 0


@njit(**OPTIONS)
def carry(ctx, player, lane, back):
    """h, c and what tiers said last, between a lane and the block."""
    block, voices, layers, dim = lane_at(ctx, lane), ctx[VOICES], ctx[LAYERS], padded_dim(ctx)
    for i in range(ctx[TIERS]):
        tier = ctx[TIER_WORDS] + i * TIER_STRIDE
        for k in range(layers):
            there = ((i * layers + k) * voices + lane) * dim * 4
            move(block + ctx[tier + T_H] + k * dim * 4, player[AT_H] + there, dim, back)
            if ctx[LSTM]:
                move(block + ctx[tier + T_C] + k * dim * 4, player[AT_C] + there, dim, back)
        move(block + ctx[tier + T_OUT], player[AT_OUT] + (i * voices + lane) * dim * 4, dim, back)


@njit(**OPTIONS)
def move(here, there, n, back):
    """n fp32 numbers from ``here`` to ``there``, or back."""
    x, y = f32(there if back else here, n), f32(here if back else there, n)
    for j in range(n):
        y[j] = x[j]


@njit(**OPTIONS)
def take(ctx, player, lane, length, beta, tokens, stride, at, known):
    """What a run made of one lane: its samples, its state, its entropy, its dice. Returns its bit if it is at fault."""
    block, room = lane_at(ctx, lane), ctx[LOOKBACK] + player[SAMPLES]
    header = i64(block, 8)
    first = -header[CLOCK] % _MEASURED
    if first < length and not known:
        weigh(ctx, player, lane, beta[lane * stride + at + first])
    carry(ctx, player, lane, True)
    for side in range(1 + is_stereo(ctx, lane)):
        row = sample_lane(ctx, lane, side)
        made = i32(player[AT_TOKENS] + (row * room + ctx[LOOKBACK]) * 4, length)
        for j in range(length):
            append(ctx, block + side * ctx[SIDE], made[j])
            if not known:
                tokens[(side * ctx[VOICES] + lane) * stride + at + j] = made[j]
    if known:
        return np.int64(0)
    header[DICE] += length
    if header[SPREAD] != 0:
        header[FRESH_DICE] += length
    return np.int64(i32(player[AT_FAULTS], MOST_LANES)[lane] != 0) << lane


@njit(**OPTIONS)
def weigh(ctx, player, lane, beta):
    """Entropy of the sample that ``measured`` has the logits of."""
    block, levels = lane_at(ctx, lane), ctx[LEVELS]
    x, y = f32(player[AT_MEASURED] + lane * levels * 4, levels), f32(block + ctx[LOGITS], levels)
    for j in range(levels):
        y[j] = x[j]
    measure(ctx, block, beta, pick(ctx, block, beta, np.int64(0)))
