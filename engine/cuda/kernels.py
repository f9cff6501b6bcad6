"""The sample step on a GPU: what is drawn, and every layer, as Triton kernels (one, or many lanes at a time).

Rows and columns are padded with zeros, so weights are read without masks. A lane is one voice's tiers; a sample lane is
one side of a voice (the left ones first, then the right sides there are). Weights are fp16, all else is fp32; for many
lanes the tensor cores multiply the upper and the lower half of each activation, so that its 22 bits count there too.
Compiled with ``enable_fp_fusion=False``: multiply and add stay apart, as in ``engine/reference.py``.

With PDL (programmatic dependent launch) a kernel starts while the one before it still runs, and holds its weights by
the time that one is through. So each lets the next one start at once (``signal``), reads of its weights what it can
hold (``early``), and waits. The wait is for all of the kernel before, whose own wait was for all before that: hence
every program of every kernel waits, on every path, before it reads what another writes or writes what another may read.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

try:
    from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait
except ImportError:  # an older Triton
    gdc_launch_dependents = gdc_wait = None

OVERLAPS = gdc_wait is not None
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
def signal(PDL: tl.constexpr):
    """The next kernel of the chain may be started."""
    if PDL:
        gdc_launch_dependents()


@triton.jit
def wait(PDL: tl.constexpr):
    """All kernels before this one are through, and what they wrote is there. Not in the interpreter."""
    if PDL:
        gdc_wait()


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
def early(weight, row, COLS: tl.constexpr, STEP: tl.constexpr, DOT: tl.constexpr):
    """(BR, STEP): the first columns of rows of a matrix (.., COLS), held in registers; of no use to tensor cores."""
    if DOT:
        w = row
    else:
        w = tl.load(weight + row[:, None] * COLS + tl.arange(0, STEP)[None, :])
    return w


@triton.jit
def single(held, weight, row, x, COLS: tl.constexpr, STEP: tl.constexpr):
    """(BR,): rows of a matrix (.., COLS) times one vector; ``held`` is what was read early."""
    k = tl.arange(0, STEP)
    total = tl.sum(held.to(tl.float32) * tl.load(x + k)[None, :], 1)
    for at in range(STEP, COLS, STEP):
        w = tl.load(weight + row[:, None] * COLS + at + k[None, :]).to(tl.float32)
        total += tl.sum(w * tl.load(x + at + k)[None, :], 1)
    return total


@triton.jit
def product(
    held, weight, row, x, lane, COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """(BR, BV): rows of a matrix (.., COLS) times the vectors of ``lane`` (BV,); ``held`` is what was read early."""
    if DOT:
        total = tl.zeros([BR, BV], tl.float32)
        for at in range(0, COLS, STEP):
            k = at + tl.arange(0, STEP)
            w = tl.load(weight + row[:, None] * COLS + k[None, :])
            a = tl.load(x + lane[None, :] * COLS + k[:, None])
            upper = a.to(tl.float16)
            lower = (a - upper.to(tl.float32)).to(tl.float16)
            total = tl.dot(w, upper, total)
            total = tl.dot(w, lower, total)
    else:
        total = single(held, weight, row, x + tl.program_id(1) * COLS, COLS, STEP)[:, None]
    return total


@triton.jit
def products(
    weight, unit, x, lane, GATES: tl.constexpr, THERE: tl.constexpr, COLS: tl.constexpr, STEP: tl.constexpr,
    BR: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Four times (BR, BV): ``product`` of each gate's rows by tensor cores, which read the vectors once for all.

    Zeros if there is no such matrix.
    """
    t0, t1 = tl.zeros([BR, BV], tl.float32), tl.zeros([BR, BV], tl.float32)
    t2, t3 = tl.zeros([BR, BV], tl.float32), tl.zeros([BR, BV], tl.float32)
    if THERE:
        for at in range(0, COLS, STEP):
            k = at + tl.arange(0, STEP)
            w = weight + unit[:, None] * COLS + k[None, :]
            a = tl.load(x + lane[None, :] * COLS + k[:, None])
            upper = a.to(tl.float16)
            lower = (a - upper.to(tl.float32)).to(tl.float16)
            w0, w1, w2 = tl.load(w), tl.load(w + COLS * COLS), tl.load(w + 2 * COLS * COLS)
            t0 = tl.dot(w0, lower, tl.dot(w0, upper, t0))
            t1 = tl.dot(w1, lower, tl.dot(w1, upper, t1))
            t2 = tl.dot(w2, lower, tl.dot(w2, upper, t2))
            if GATES == 4:
                w3 = tl.load(w + 3 * COLS * COLS)
                t3 = tl.dot(w3, lower, tl.dot(w3, upper, t3))
    return t0, t1, t2, t3


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
    STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out (V, ROWS) = weight x + bias, for several matrices in a row: grid (ROWS / BR, V / BV, matrices)."""
    signal(PDL)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    matrix = tl.program_id(2)
    weight += matrix * ROWS * COLS
    held = early(weight, row, COLS, STEP, DOT)
    b = tl.load(bias + matrix * ROWS + row)
    wait(PDL)
    y = product(held, weight, row, x, lane, COLS, STEP, BR, BV, DOT) + b[:, None]
    if RELU:
        y = tl.maximum(y, 0.0)
    to = out + matrix * matrix_out + lane[None, :] * ROWS + row[:, None]
    if ADD:
        y += tl.load(to)
    tl.store(to, y, mask=own[None, :])


@triton.jit
def ready(
    row, bias, frames, lead, SIZE: tl.constexpr, SPAN: tl.constexpr, FRAMES: tl.constexpr, LEAD: tl.constexpr,
    COLS: tl.constexpr, STEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Of ``given``'s weights what is read early: bias (BR,), frames (BR, SPAN) and the first columns of ``lead``."""
    b = tl.load(bias + row)
    f = b
    w = b
    if FRAMES and not DOT:
        j = tl.arange(0, SPAN)[None, :]
        f = tl.load(frames + row[:, None] * SIZE + j, mask=j < SIZE, other=0.0)
    if LEAD:
        w = early(lead, row, COLS, STEP, DOT)
    return b, f, w


@triton.jit
def heard(
    logits, betas, words, forced, tokens, faults, s, scale, DRAW: tl.constexpr, LANES: tl.constexpr,
    ROOM: tl.constexpr, SAMPLES: tl.constexpr, SIZE: tl.constexpr, SPAN: tl.constexpr, LEVELS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """(SPAN,): the raw samples of one lane's frame that ends before sample ``s``; DRAW: the last of them drawn here."""
    lane, j = tl.program_id(1), tl.arange(0, SPAN)
    there = j < SIZE
    if DRAW:
        there = j < SIZE - 1
    q = tl.load(tokens + lane * ROOM + (ROOM - SAMPLES) + s - SIZE + j, mask=there, other=LEVELS // 2)
    if DRAW:
        first = tl.program_id(0) == 0
        token = newest(
            logits, betas, words, forced, tokens, faults, lane, lane, s, scale, first, LANES, SAMPLES, ROOM, LEVELS,
            WIDTH,
        )  # fmt: skip
        q = tl.where(j == SIZE - 1, token, q)
    return (q - LEVELS // 2).to(tl.float32) * (4.0 / LEVELS)


@triton.jit
def given(
    b, f, w, row, lane, raw, tokens, frames, s, lead, x, more, bias_more, inside,
    ROOM: tl.constexpr, SAMPLES: tl.constexpr, SIZE: tl.constexpr, LEVELS: tl.constexpr, FRAMES: tl.constexpr,
    LEAD: tl.constexpr, MORE: tl.constexpr, COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr,
    BV: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """(BR, BV): rows of a tier's entry or of a layer's gates, from everything but its own past.

    b, f and w are ``ready``'s. FRAMES: the raw samples of the frame that ends before sample ``s``, of one lane
    ``raw``; LEAD: ``lead`` times ``x``; MORE: ``more`` times ``inside``.
    """
    y = tl.zeros([BR, BV], tl.float32) + b[:, None]
    if FRAMES:
        if DOT:
            behind = tokens + lane * ROOM + (ROOM - SAMPLES) + s - SIZE
            for j in tl.static_range(SIZE):  # unrolled, so that all are under way at once
                sample = (tl.load(behind + j) - LEVELS // 2).to(tl.float32) * (4.0 / LEVELS)
                y += tl.load(frames + row * SIZE + j)[:, None] * sample[None, :]
        else:
            y += tl.sum(f * raw[None, :], 1)[:, None]
    if LEAD:
        y += product(w, lead, row, x, lane, COLS, STEP, BR, BV, DOT)
    if MORE:
        w = early(more, row, COLS, STEP, DOT)
        y += product(w, more, row, inside, lane, COLS, STEP, BR, BV, DOT) + tl.load(bias_more + row)[:, None]
    return y


@triton.jit(do_not_specialize=["s"])
def enter(
    logits, betas, words, forced, tokens, faults, scale, frames, s, bias, lead, x, out,
    V: tl.constexpr, LANES: tl.constexpr, DRAW: tl.constexpr, WIDTH: tl.constexpr,
    ROOM: tl.constexpr, SAMPLES: tl.constexpr, SIZE: tl.constexpr, SPAN: tl.constexpr, LEVELS: tl.constexpr,
    LEAD: tl.constexpr, COLS: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr,
    DOT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out (V, COLS): the entry vector where it is no part of the gates. Grid (COLS / BR, V / BV)."""
    signal(PDL)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    b, f, w = ready(row, bias, frames, lead, SIZE, SPAN, True, LEAD, COLS, STEP, DOT)
    wait(PDL)
    raw = b
    if not DOT:
        raw = heard(
            logits, betas, words, forced, tokens, faults, s, scale, DRAW, LANES, ROOM, SAMPLES, SIZE, SPAN, LEVELS,
            WIDTH,
        )  # fmt: skip
    y = given(
        b, f, w, row, lane, raw, tokens, frames, s, lead, x, lead, bias, x, ROOM, SAMPLES, SIZE, LEVELS, True, LEAD,
        False, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    tl.store(out + lane[None, :] * COLS + row[:, None], y, mask=own[None, :])


@triton.jit(do_not_specialize=["s"])
def cell(
    logits, betas, words, forced, tokens, faults, scale, frames, s, bias, lead, x, more, bias_more, inside,
    past, h, h_new, c,
    V: tl.constexpr, LANES: tl.constexpr, DRAW: tl.constexpr, WIDTH: tl.constexpr,
    ROOM: tl.constexpr, SAMPLES: tl.constexpr, SIZE: tl.constexpr, SPAN: tl.constexpr, LEVELS: tl.constexpr,
    LSTM: tl.constexpr, FRAMES: tl.constexpr, LEAD: tl.constexpr, MORE: tl.constexpr, COLS: tl.constexpr,
    STEP: tl.constexpr, BR: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One frame of one recurrent layer, torch's cells: h_new (V, COLS) from h, c in place. Grid (COLS / BR, V / BV).

    ``past`` (V, gates * COLS) is what the layer's h says to its gates; the rest is ``given``. DRAW: of a single lane
    the sample before ``s`` is drawn here, the same in every program.
    """
    signal(PDL)
    GATES: tl.constexpr = 4 if LSTM else 3
    unit = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    at = lane[None, :] * COLS + unit[:, None]
    r1 = COLS + unit
    r2 = 2 * COLS + unit
    r3 = (GATES - 1) * COLS + unit
    b0, f0, w0 = ready(unit, bias, frames, lead, SIZE, SPAN, FRAMES, LEAD, COLS, STEP, DOT)
    b1, f1, w1 = ready(r1, bias, frames, lead, SIZE, SPAN, FRAMES, LEAD, COLS, STEP, DOT)
    b2, f2, w2 = ready(r2, bias, frames, lead, SIZE, SPAN, FRAMES, LEAD, COLS, STEP, DOT)
    if LSTM:
        b3, f3, w3 = ready(r3, bias, frames, lead, SIZE, SPAN, FRAMES, LEAD, COLS, STEP, DOT)
    wait(PDL)
    before = past + lane[None, :] * (GATES * COLS) + unit[:, None]
    if DOT:  # first, while nothing else wants registers
        t0, t1, t2, t3 = products(lead, unit, x, lane, GATES, LEAD, COLS, STEP, BR, BV)
        u0, u1, u2, u3 = products(more, unit, inside, lane, GATES, MORE, COLS, STEP, BR, BV)
    p0, p1, p2, p3 = tl.load(before), tl.load(before + COLS), tl.load(before + 2 * COLS), 0.0
    if LSTM:
        p3 = tl.load(before + 3 * COLS)
    raw = b0
    if FRAMES and not DOT:
        raw = heard(
            logits, betas, words, forced, tokens, faults, s, scale, DRAW, LANES, ROOM, SAMPLES, SIZE, SPAN, LEVELS,
            WIDTH,
        )  # fmt: skip
    ALONE: tl.constexpr = LEAD and not DOT
    AND: tl.constexpr = MORE and not DOT
    g0 = given(
        b0, f0, w0, unit, lane, raw, tokens, frames, s, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE, LEVELS,
        FRAMES, ALONE, AND, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    g1 = given(
        b1, f1, w1, r1, lane, raw, tokens, frames, s, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE, LEVELS,
        FRAMES, ALONE, AND, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    g2 = given(
        b2, f2, w2, r2, lane, raw, tokens, frames, s, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE, LEVELS,
        FRAMES, ALONE, AND, COLS, STEP, BR, BV, DOT,
    )  # fmt: skip
    g3 = g2
    if LSTM:
        g3 = given(
            b3, f3, w3, r3, lane, raw, tokens, frames, s, lead, x, more, bias_more, inside, ROOM, SAMPLES, SIZE,
            LEVELS, FRAMES, ALONE, AND, COLS, STEP, BR, BV, DOT,
        )  # fmt: skip
    if DOT:
        g0, g1, g2, g3 = g0 + t0 + u0, g1 + t1 + u1, g2 + t2 + u2, g3 + t3 + u3
    if MORE and DOT:
        g0 += tl.load(bias_more + unit)[:, None]
        g1 += tl.load(bias_more + r1)[:, None]
        g2 += tl.load(bias_more + r2)[:, None]
        g3 += tl.load(bias_more + r3)[:, None]
    if LSTM:
        carried = kept(sigmoid(g1 + p1) * tl.load(c + at) + sigmoid(g0 + p0) * tanh(g2 + p2))
        tl.store(c + at, carried, mask=own[None, :])
        new = sigmoid(g3 + p3) * tanh(carried)
    else:
        z = sigmoid(g1 + p1)
        n = tanh(g2 + sigmoid(g0 + p0) * p2)
        new = n + z * (tl.load(h + at) - n)
    tl.store(h_new + at, kept(new), mask=own[None, :])


@triton.jit
def gathered(table, tokens, column, FRAME: tl.constexpr, SPAN: tl.constexpr, LEVELS: tl.constexpr, MLP: tl.constexpr):
    """Columns of the sum of all tables but the last, each at its own token: all tokens at once, then all rows."""
    k = tl.arange(0, SPAN)
    there = k < FRAME - 1
    token = tl.load(tokens + k, mask=there, other=0)
    row = table + (k * LEVELS + token) * MLP
    return tl.sum(tl.load(row[:, None] + column[None, :], mask=there[:, None], other=0.0).to(tl.float32), 0)


@triton.jit(do_not_specialize=["s"])
def front(
    logits, betas, words, forced, tokens, faults, table, ahead, x, weight, bias, out, s, scale,
    DRAW: tl.constexpr, HIDDEN: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, FRAME: tl.constexpr,
    LEVELS: tl.constexpr, WIDTH: tl.constexpr, MLP: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """One sample lane: the draw, the same in every program; its row of the last table; the hidden rows. Grid MLP / BR.

    ``ahead`` (MLP,) is the sum of the other tables. out (MLP,) is what the output multiplies.
    """
    signal(PDL)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    k = row
    if HIDDEN:
        k = tl.arange(0, STEP)
        y = tl.load(bias + row)
        w = early(weight, row, MLP, STEP, False)
    wait(PDL)
    a = tl.load(ahead + k) + tl.load(x + k)  # under way while the sample is drawn
    if DRAW:
        first = tl.program_id(0) == 0
        token = newest(
            logits, betas, words, forced, tokens, faults, 0, 0, s, scale, first, 1, SAMPLES, ROOM, LEVELS, WIDTH
        )
    else:
        token = tl.load(tokens + ROOM - SAMPLES + s - 1)
    last = table + ((FRAME - 1) * LEVELS + token) * MLP
    a = tl.maximum(a + tl.load(last + k).to(tl.float32), 0.0)
    if HIDDEN:
        y += tl.sum(w.to(tl.float32) * a[None, :], 1)
        for at in range(STEP, MLP, STEP):
            k = at + tl.arange(0, STEP)
            a = tl.maximum(tl.load(ahead + k) + tl.load(x + k) + tl.load(last + k).to(tl.float32), 0.0)
            more = tl.load(weight + row[:, None] * MLP + k[None, :]).to(tl.float32)
            y += tl.sum(more * a[None, :], 1)
        a = tl.maximum(y, 0.0)
    tl.store(out + row, a)


@triton.jit(do_not_specialize=["s"])
def back(
    weight, bias, y, logits, table, tokens, ahead, up, bias_up, said, x, s,
    LEVELS: tl.constexpr, PADDED: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, FRAME: tl.constexpr,
    SPAN: tl.constexpr, MLP: tl.constexpr, STEP: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr, SPEAK: tl.constexpr,
    UP: tl.constexpr, DIM: tl.constexpr, STEP_UP: tl.constexpr, BU: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One sample lane: logits of sample ``s``, and what the next sample needs that is known already.

    Grid PADDED / BR (if SPEAK), MLP / BC for the sum of the next sample's other tables, and (if UP) MLP / BU for what
    the bottom tier, which ``said``, says to the next sample: x (MLP,).
    """
    signal(PDL)
    at = tl.program_id(0)
    speakers: tl.constexpr = PADDED // BR if SPEAK else 0
    columns: tl.constexpr = MLP // BC
    if at < speakers:
        row = at * BR + tl.arange(0, BR)
        total = tl.load(bias + row)
        held = early(weight, row, MLP, STEP, False)
        wait(PDL)
        total += single(held, weight, row, y, MLP, STEP)
        tl.store(logits + s * LEVELS + row, total, mask=row < LEVELS)
    elif at < speakers + columns or not UP:
        column = (at - speakers) * BC + tl.arange(0, BC)
        # without SPEAK it is the first sample's, whose own window this is; else the one's behind s
        behind = tokens + ROOM - SAMPLES + s - FRAME
        if SPEAK:
            behind += 1
        wait(PDL)
        tl.store(ahead + column, gathered(table, behind, column, FRAME, SPAN, LEVELS, MLP))
    else:
        row = (at - speakers - columns) * BU + tl.arange(0, BU)
        total = tl.load(bias_up + row)
        held = early(up, row, DIM, STEP_UP, False)
        wait(PDL)
        total += single(held, up, row, said, DIM, STEP_UP)
        tl.store(x + row, total)


@triton.jit(do_not_specialize=["s"])
def gather(
    logits, betas, words, forced, tokens, faults, lane_of, table, x, out, s, scale,
    DRAW: tl.constexpr, LANES: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, FRAME: tl.constexpr,
    SPAN: tl.constexpr, LEVELS: tl.constexpr, WIDTH: tl.constexpr, MLP: tl.constexpr, BC: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """Many sample lanes: the draw and all tables, out (LANES, MLP). Grid (LANES, MLP / BC); x (voices, MLP)."""
    signal(PDL)
    at = tl.program_id(0)
    lane = tl.load(lane_of + at)
    column = tl.program_id(1) * BC + tl.arange(0, BC)
    behind = tokens + at * ROOM + ROOM - SAMPLES + s - FRAME
    wait(PDL)
    total = gathered(table, behind, column, FRAME, SPAN, LEVELS, MLP)
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
    BV: tl.constexpr, DOT: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Many sample lanes: the logits of sample ``s``, (V, LEVELS). Grid (padded levels / BR, V / BV)."""
    signal(PDL)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    lane, own = lanes_here(V, BV)
    held = early(weight, row, COLS, STEP, DOT)
    b = tl.load(bias + row)
    wait(PDL)
    total = product(held, weight, row, y, lane, COLS, STEP, BR, BV, DOT) + b[:, None]
    to = logits + (s * V + lane[None, :]) * LEVELS + row[:, None]
    tl.store(to, total, mask=own[None, :] & (row < LEVELS)[:, None])


@triton.jit(do_not_specialize=["s"])
def last(
    logits, betas, words, forced, tokens, faults, lane_of, lanes, measured, s, scale,
    VOICES: tl.constexpr, LANES: tl.constexpr, SAMPLES: tl.constexpr, ROOM: tl.constexpr, LEVELS: tl.constexpr,
    WIDTH: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The draw that ends a run, and the logits that entropy is measured from, out of it. Grid (sample lanes,)."""
    signal(PDL)
    at = tl.program_id(0)
    lane = tl.load(lane_of + at)
    wait(PDL)
    newest(logits, betas, words, forced, tokens, faults, at, lane, s, scale, True, LANES, SAMPLES, ROOM, LEVELS, WIDTH)
    if at < VOICES:
        when = tl.load(lanes + lane * LANE_WORDS + MEASURE)
        if when >= 0:
            j = tl.arange(0, WIDTH)
            x = tl.load(logits + (when * LANES + at) * LEVELS + j, mask=j < LEVELS)
            tl.store(measured + lane * LEVELS + j, x, mask=j < LEVELS)
