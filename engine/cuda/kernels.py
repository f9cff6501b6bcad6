"""The sample step on a GPU: what is drawn, and every layer, as Triton kernels (one, or many lanes at a time).

Rows and columns are padded with zeros, so weights are read without masks. A lane is one voice's tiers; a sample lane is
one side of a voice (the left ones first, then the right sides there are). Weights are fp16, all else is fp32; for many
lanes the tensor cores multiply the upper and the lower half of each activation, so that its 22 bits count there too.
Compiled with ``enable_fp_fusion=False``: multiply and add stay apart, as in ``engine/reference.py``.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

HUGE = tl.constexpr(3.0e38)
LOG2E = tl.constexpr(1.44269504088896341)
LN2_HIGH = tl.constexpr(0.693359375)
LN2_LOW = tl.constexpr(-2.12194440e-4)
E0, E1, E2, E3, E4, E5 = (
    tl.constexpr(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
SMALLEST = tl.constexpr(1e-15)

# Words of the dice of one lane, int64.
KEY, DICE, NUMBER, SPREAD, FRESH, MEASURE = (tl.constexpr(i) for i in range(6))
LANE_WORDS = tl.constexpr(6)
PURPOSE_FRESH, PURPOSE_RIGHT = tl.constexpr(2), tl.constexpr(16)  # engine.draw


@triton.jit
def exp(x):
    """engine.reference.exp."""
    x = tl.minimum(tl.maximum(x, -87.0), 87.0)
    n = tl.floor(x * LOG2E + 0.5)
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    p = r * E0 + E1
    p = p * r + E2
    p = p * r + E3
    p = p * r + E4
    p = p * r + E5
    p = p * (r * r) + r
    p = p + 1.0
    return p * ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def sigmoid(x):
    x = tl.minimum(tl.maximum(x, -30.0), 30.0)
    return tl.div_rn(1.0 + tl.zeros_like(x), 1.0 + exp(-x))


@triton.jit
def tanh(x):
    return 2.0 * sigmoid(2.0 * x) - 1.0


@triton.jit
def kept(x):
    """Without what is too small."""
    return tl.where(tl.abs(x) < SMALLEST, 0.0, x)


@triton.jit
def random(key, index, number, purpose):
    """Word 0 of engine.draw.philox for every index, as int64."""
    low, high = (index & 0xFFFFFFFF).to(tl.uint32), ((index >> 32) & 0xFFFFFFFF).to(tl.uint32)
    third = tl.zeros_like(low) + (number & 0xFFFFFFFF).to(tl.uint32)
    fourth = tl.zeros_like(low) + purpose.to(tl.uint32)
    word, _, _, _ = tl.philox(key, low, high, third, fourth)
    return word.to(tl.int64) & 0xFFFFFFFF


@triton.jit
def dice(lanes, lane_of, side_of, words, SAMPLES: tl.constexpr, WIDTH: tl.constexpr):
    """Every word of a run: (sample lanes,) programs; words (sample lanes, SAMPLES) int32."""
    at = tl.program_id(0)
    mine = lanes + tl.load(lane_of + at) * LANE_WORDS
    purpose = tl.load(side_of + at) * PURPOSE_RIGHT
    key, number, spread = tl.load(mine + KEY), tl.load(mine + NUMBER), tl.load(mine + SPREAD)
    s = tl.arange(0, WIDTH)
    word = random(key, tl.load(mine + DICE) + s, number, purpose)
    if spread != 0:
        fresh = random(key, tl.load(mine + FRESH) + s, number, purpose + PURPOSE_FRESH)
        word = (word + (((fresh - 0x80000000) * spread) >> 32)) & 0xFFFFFFFF
    tl.store(words + at * SAMPLES + s, word.to(tl.uint32).to(tl.int32, bitcast=True), mask=s < SAMPLES)


@triton.jit
def drawn(logits, beta, word, scale, LEVELS: tl.constexpr, WIDTH: tl.constexpr):
    """(token, whether a logit was not finite) that ``word`` draws at 1/T = beta."""
    j = tl.arange(0, WIDTH)
    x = tl.load(logits + j, mask=j < LEVELS, other=-HUGE)
    broken = tl.sum((tl.abs(x) <= HUGE).to(tl.int32), 0) < WIDTH
    top = tl.max(x, 0)
    below = tl.where((j < LEVELS) & (tl.abs(x) <= HUGE), x - top, 0.0)
    weight = tl.floor(exp(below * tl.where(beta > HUGE, 0.0, beta)) * scale + 0.5).to(tl.int32)
    weight = tl.where(j < LEVELS, weight, 0)
    cdf = tl.cumsum(weight, 0)
    total = tl.sum(weight, 0)
    r = tl.umulhi(word.to(tl.uint32, bitcast=True), total.to(tl.uint32, bitcast=True)).to(tl.int32, bitcast=True)
    token = tl.sum(((cdf <= r) & (j < LEVELS)).to(tl.int32), 0)
    certain = tl.min(tl.where(x == top, j, WIDTH), 0)
    token = tl.where(beta > HUGE, certain, token)
    return tl.where(broken, LEVELS // 2, token), broken


@triton.jit
def newest(
    logits, betas, words, forced, tokens, faults, at, lane, s, scale, first,
    LANES: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, LEVELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The sample before sample ``s`` of a sample lane: drawn here, unless it is known. ``first`` stores it."""
    before = s - 1
    beta, word = tl.load(betas + lane * SAMPLES + before), tl.load(words + at * SAMPLES + before)
    token, broken = drawn(logits + (before * LANES + at) * LEVELS, beta, word, scale, LEVELS, WIDTH)
    known = tl.load(forced + at * SAMPLES + before)
    token = tl.where(known >= 0, known, token)
    if first:
        tl.store(tokens + at * ROOM + (ROOM - SAMPLES) + before, token)
        if broken & (known < 0):
            tl.store(faults + lane, 1)
    return token


@triton.jit
def product(
    weight, row, x, lane, COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """(BR, BV): rows of a matrix (.., COLS) times the vectors of ``lane`` (BV,), each COLS long."""
    total = tl.zeros([BR, BV], tl.float32)
    for at in range(0, COLS, STEP):
        k = at + tl.arange(0, STEP)
        w = tl.load(weight + row[:, None] * COLS + k[None, :])
        if DOT:
            a = tl.load(x + lane[None, :] * COLS + k[:, None])
            upper = a.to(tl.float16)
            lower = (a - upper.to(tl.float32)).to(tl.float16)
            total = tl.dot(w, upper, total)
            total = tl.dot(w, lower, total)
        else:
            a = tl.load(x + tl.sum(lane, 0) * COLS + k)
            total += tl.sum(w.to(tl.float32) * a[None, :], 1)[:, None]
    return total


@triton.jit
def lanes_here(V: tl.constexpr, BV: tl.constexpr):
    """The lanes of this program, (BV,), the last one again and again behind them; which of them it is to store, (BV,).

    Those again behind them only read: a row that is added to in place is no longer what it was once it is stored.
    """
    lane = tl.program_id(1) * BV + tl.arange(0, BV)
    return tl.minimum(lane, V - 1), lane < V


@triton.jit
def rows(
    weight, bias, x, out, matrix_out,
    V: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, RELU: tl.constexpr, ADD: tl.constexpr,
    STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """out (V, ROWS) = weight x + bias, for several matrices in a row: grid (ROWS / BR, V / BV, matrices)."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    matrix = tl.program_id(2)
    y = product(weight + matrix * ROWS * COLS, row, x, lane, COLS, STEP, BR, BV, DOT)
    y += tl.load(bias + matrix * ROWS + row)[:, None]
    if RELU:
        y = tl.maximum(y, 0.0)
    to = out + matrix * matrix_out + lane[None, :] * ROWS + row[:, None]
    if ADD:
        y += tl.load(to)
    tl.store(to, y, mask=own[None, :])


@triton.jit
def given(
    row, lane, tokens, frames, s, bias, lead, x, more, bias_more, inside,
    ROOM: tl.constexpr, SAMPLES: tl.constexpr, SIZE: tl.constexpr, LEVELS: tl.constexpr, FRAMES: tl.constexpr,
    LEAD: tl.constexpr, MORE: tl.constexpr, COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr,
    BV: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """(BR, BV): rows of a tier's entry or of a layer's gates, from everything but its own past.

    bias; FRAMES: the raw samples of the frame that ends before sample ``s``; LEAD: ``lead`` times ``x``; MORE: ``more``
    times ``inside``.
    """
    y = tl.zeros([BR, BV], tl.float32) + tl.load(bias + row)[:, None]
    if FRAMES:
        behind = tokens + lane * ROOM + (ROOM - SAMPLES) + s - SIZE
        for j in range(SIZE):
            sample = (tl.load(behind + j) - LEVELS // 2).to(tl.float32) * (4.0 / LEVELS)
            y += tl.load(frames + row * SIZE + j)[:, None] * sample[None, :]
    if LEAD:
        y += product(lead, row, x, lane, COLS, STEP, BR, BV, DOT)
    if MORE:
        y += product(more, row, inside, lane, COLS, STEP, BR, BV, DOT) + tl.load(bias_more + row)[:, None]
    return y


@triton.jit(do_not_specialize=["s"])
def enter(
    tokens, frames, s, bias, lead, x, out, V: tl.constexpr, ROOM: tl.constexpr, SAMPLES: tl.constexpr,
    SIZE: tl.constexpr, LEVELS: tl.constexpr, LEAD: tl.constexpr, COLS: tl.constexpr,
    STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """out (V, COLS): the entry vector where it is no part of the gates. Grid (COLS / BR, V / BV)."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    y = given(
        row, lane, tokens, frames, s, bias, lead, x, lead, bias, x, ROOM, SAMPLES, SIZE, LEVELS, True, LEAD, False,
        COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    tl.store(out + lane[None, :] * COLS + row[:, None], y, mask=own[None, :])


@triton.jit(do_not_specialize=["s"])
def cell(
    tokens, frames, s, bias, lead, x, more, bias_more, inside, past, h, h_new, c,
    V: tl.constexpr, LSTM: tl.constexpr, ROOM: tl.constexpr, SAMPLES: tl.constexpr, SIZE: tl.constexpr,
    LEVELS: tl.constexpr, FRAMES: tl.constexpr, LEAD: tl.constexpr, MORE: tl.constexpr,
    COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One frame of one recurrent layer, torch's cells: h_new (V, COLS) from h, c in place. Grid (COLS / BR, V / BV).

    ``past`` (V, gates * COLS) is what the layer's h says to its gates; the rest is ``given``.
    """
    GATES: tl.constexpr = 4 if LSTM else 3
    unit = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    at = lane[None, :] * COLS + unit[:, None]
    stored = own[None, :]
    r1 = COLS + unit
    r2 = 2 * COLS + unit
    g0 = given(
        unit, lane, tokens, frames, s, bias, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE, LEVELS,
        FRAMES, LEAD, MORE, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    g1 = given(
        r1, lane, tokens, frames, s, bias, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE, LEVELS,
        FRAMES, LEAD, MORE, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    g2 = given(
        r2, lane, tokens, frames, s, bias, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE, LEVELS,
        FRAMES, LEAD, MORE, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    before = past + lane[None, :] * (GATES * COLS) + unit[:, None]
    p0, p1, p2 = tl.load(before), tl.load(before + COLS), tl.load(before + 2 * COLS)
    if LSTM:
        g3 = given(
            3 * COLS + unit, lane, tokens, frames, s, bias, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE,
            LEVELS, FRAMES, LEAD, MORE, COLS, STEP, BR, BV, DOT,
        )  # fmt: skip
        p3 = tl.load(before + 3 * COLS)
        carried = kept(sigmoid(g1 + p1) * tl.load(c + at) + sigmoid(g0 + p0) * tanh(g2 + p2))
        tl.store(c + at, carried, mask=stored)
        new = sigmoid(g3 + p3) * tanh(carried)
    else:
        z = sigmoid(g1 + p1)
        n = tanh(g2 + sigmoid(g0 + p0) * p2)
        new = n + z * (tl.load(h + at) - n)
    tl.store(h_new + at, kept(new), mask=stored)


@triton.jit
def gathered(table, tokens, column, width, FRAME: tl.constexpr, LEVELS: tl.constexpr, MLP: tl.constexpr):
    """Columns of the sum of the first ``width`` tables, each at its own token."""
    total = tl.zeros_like(column).to(tl.float32)
    for k in range(width):
        token = tl.load(tokens + k)
        total += tl.load(table + (k * LEVELS + token) * MLP + column).to(tl.float32)
    return total


@triton.jit(do_not_specialize=["s"])
def front(
    logits, betas, words, forced, tokens, faults, table, ahead, x, weight, bias, out, s, scale,
    DRAW: tl.constexpr, HIDDEN: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, FRAME: tl.constexpr,
    LEVELS: tl.constexpr, WIDTH: tl.constexpr, MLP: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr,
):  # fmt: skip
    """One sample lane: the draw, the same in every program; its row of the last table; the hidden rows. Grid MLP / BR.

    ``ahead`` (MLP,) is the sum of the other tables. out (MLP,) is what the output multiplies.
    """
    first = tl.program_id(0) == 0
    if DRAW:
        token = newest(
            logits, betas, words, forced, tokens, faults, 0, 0, s, scale, first, 1, SAMPLES, ROOM, LEVELS, WIDTH
        )
    else:
        token = tl.load(tokens + ROOM - SAMPLES + s - 1)
    last = table + ((FRAME - 1) * LEVELS + token) * MLP
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    if HIDDEN:
        y = tl.load(bias + row)
        for at in range(0, MLP, STEP):
            k = at + tl.arange(0, STEP)
            a = tl.load(ahead + k) + tl.load(last + k).to(tl.float32) + tl.load(x + k)
            w = tl.load(weight + row[:, None] * MLP + k[None, :]).to(tl.float32)
            y += tl.sum(w * tl.maximum(a, 0.0)[None, :], 1)
    else:
        y = tl.load(ahead + row) + tl.load(last + row).to(tl.float32) + tl.load(x + row)
    tl.store(out + row, tl.maximum(y, 0.0))


@triton.jit(do_not_specialize=["s"])
def back(
    weight, bias, y, logits, table, tokens, ahead, s,
    LEVELS: tl.constexpr, PADDED: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, FRAME: tl.constexpr,
    MLP: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr, SPEAK: tl.constexpr,
):  # fmt: skip
    """One sample lane: logits of sample ``s``, and in the programs behind those what is known of the next one's tables.

    Grid PADDED / BR (if SPEAK) and then MLP / BC.
    """
    at = tl.program_id(0)
    speakers: tl.constexpr = PADDED // BR if SPEAK else 0
    if at < speakers:
        row = at * BR + tl.arange(0, BR)
        total = tl.load(bias + row)
        for start in range(0, MLP, STEP):
            k = start + tl.arange(0, STEP)
            w = tl.load(weight + row[:, None] * MLP + k[None, :]).to(tl.float32)
            total += tl.sum(w * tl.load(y + k)[None, :], 1)
        tl.store(logits + s * LEVELS + row, total, mask=row < LEVELS)
    else:
        column = (at - speakers) * BC + tl.arange(0, BC)
        # without SPEAK it is the first sample's, whose own window this is; else the one's behind s
        behind = tokens + ROOM - SAMPLES + s - FRAME
        if SPEAK:
            behind += 1
        tl.store(ahead + column, gathered(table, behind, column, FRAME - 1, FRAME, LEVELS, MLP))


@triton.jit(do_not_specialize=["s"])
def gather(
    logits, betas, words, forced, tokens, faults, lane_of, table, x, out, s, scale,
    DRAW: tl.constexpr, LANES: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, FRAME: tl.constexpr,
    LEVELS: tl.constexpr, WIDTH: tl.constexpr, MLP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Many sample lanes: the draw and all tables, out (LANES, MLP). Grid (LANES, MLP / BC); x (voices, MLP)."""
    at = tl.program_id(0)
    lane = tl.load(lane_of + at)
    column = tl.program_id(1) * BC + tl.arange(0, BC)
    behind = tokens + at * ROOM + ROOM - SAMPLES + s - FRAME
    total = gathered(table, behind, column, FRAME - 1, FRAME, LEVELS, MLP)
    if DRAW:
        first = tl.program_id(1) == 0
        token = newest(
            logits, betas, words, forced, tokens, faults, at, lane, s, scale, first, LANES, SAMPLES, ROOM, LEVELS,
            WIDTH,
        )  # fmt: skip
    else:
        token = tl.load(behind + FRAME - 1)
    total += tl.load(table + ((FRAME - 1) * LEVELS + token) * MLP + column).to(tl.float32)
    total += tl.load(x + lane * MLP + column)
    tl.store(out + at * MLP + column, tl.maximum(total, 0.0))


@triton.jit(do_not_specialize=["s"])
def speak(
    weight, bias, y, logits, s,
    V: tl.constexpr, LEVELS: tl.constexpr, COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr,
    BV: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Many sample lanes: the logits of sample ``s``, (V, LEVELS). Grid (padded levels / BR, V / BV)."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    total = product(weight, row, y, lane, COLS, STEP, BR, BV, DOT) + tl.load(bias + row)[:, None]
    to = logits + (s * V + lane[None, :]) * LEVELS + row[:, None]
    tl.store(to, total, mask=own[None, :] & (row < LEVELS)[:, None])


@triton.jit(do_not_specialize=["s"])
def last(
    logits, betas, words, forced, tokens, faults, lane_of, lanes, measured, s, scale,
    VOICES: tl.constexpr, LANES: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, LEVELS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """The draw that ends a run, and the logits that entropy is measured from, out of it. Grid (sample lanes,)."""
    at = tl.program_id(0)
    lane = tl.load(lane_of + at)
    newest(logits, betas, words, forced, tokens, faults, at, lane, s, scale, True, LANES, SAMPLES, ROOM, LEVELS, WIDTH)
    if at < VOICES:
        when = tl.load(lanes + lane * LANE_WORDS + MEASURE)
        if when >= 0:
            j = tl.arange(0, WIDTH)
            x = tl.load(logits + (when * LANES + at) * LEVELS + j, mask=j < LEVELS)
            tl.store(measured + lane * LEVELS + j, x, mask=j < LEVELS)
