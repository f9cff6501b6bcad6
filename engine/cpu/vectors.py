"""What lies between matrix products, as vectors in LLVM's language: cells, bytes, table sums, the weights of a draw.

Each does the operations of ``engine.reference`` in their order, multiplication and addition apart, WIDTH or ROWS
numbers at a time, over whole vectors: all are padded to 64. numba's own vectoriser left much of this scalar, and wrote
conditional stores that cost 20 ns each on some processors (a ReLU of 1,024 took 0.7 us).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from llvmlite import ir
from numba import njit, types

from engine.cpu.building import F32, I8, I16, I32, I64, Values, as_intrinsic, declare, load, loop, splat, store
from engine.folding import TABLE_MAX
from engine.reference import SMALLEST

WIDTH = 16
TABLE_PLACES = 32767 // TABLE_MAX  # rows whose sums fit in 16 bits

HUGE = float(np.float32(3.0e38))  # logits beyond are not finite
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


def _same(kind: ir.Type, number: float, lanes: int = WIDTH) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, lanes), [number] * lanes)


class Vector:
    """A vector of fp32 in the function being built; numbers beside it are fp32 constants."""

    def __init__(self, b: ir.IRBuilder, value: ir.Value) -> None:
        self.b, self.value = b, value

    def like(self, other: Vector | float) -> ir.Value:
        """``other`` as a vector of this one's kind."""
        if isinstance(other, Vector):
            return other.value
        return ir.Constant(self.value.type, [float(np.float32(other))] * self.value.type.count)

    def __add__(self, other: Vector | float) -> Vector:
        return Vector(self.b, self.b.fadd(self.value, self.like(other)))

    def __sub__(self, other: Vector | float) -> Vector:
        return Vector(self.b, self.b.fsub(self.value, self.like(other)))

    def __mul__(self, other: Vector | float) -> Vector:
        return Vector(self.b, self.b.fmul(self.value, self.like(other)))

    def under(self, number: float) -> Vector:
        """number / self."""
        return Vector(self.b, self.b.fdiv(self.like(number), self.value))

    def at_least(self, low: float) -> Vector:
        """self where it is greater than ``low``, else ``low``: so of what is not a number."""
        greater = self.b.fcmp_ordered(">", self.value, self.like(low))
        return Vector(self.b, self.b.select(greater, self.value, self.like(low)))

    def at_most(self, high: float) -> Vector:
        """self where it is less than ``high``, else ``high``."""
        less = self.b.fcmp_ordered("<", self.value, self.like(high))
        return Vector(self.b, self.b.select(less, self.value, self.like(high)))

    def unary(self, name: str) -> Vector:
        """llvm.floor, llvm.fabs."""
        kind = self.value.type
        function = declare(self.b, f"llvm.{name}.v{kind.count}f32", kind, [kind])
        return Vector(self.b, self.b.call(function, [self.value]))

    def whole(self) -> ir.Value:
        """Its int32."""
        return self.b.fptosi(self.value, ir.VectorType(I32, self.value.type.count))


def exp(x: Vector) -> Vector:
    """engine.reference.exp; what is not a number counts as -87."""
    b, x = x.b, x.at_least(-87.0).at_most(87.0)
    n = (x * _LOG2E + 0.5).unary("floor")
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = r * _POLYNOMIAL[0] + _POLYNOMIAL[1]
    for c in _POLYNOMIAL[2:]:
        p = p * r + c
    p = p * (r * r) + r + 1.0
    power = b.shl(b.add(n.whole(), _same(I32, 127)), _same(I32, 23))
    return p * Vector(b, b.bitcast(power, x.value.type))


def sigmoid(x: Vector) -> Vector:
    """engine.reference.sigmoid."""
    x = x.at_least(-30.0).at_most(30.0)
    return (exp(x * -1.0) + 1.0).under(1.0)


def tanh(x: Vector) -> Vector:
    """engine.reference.tanh."""
    return sigmoid(x * 2.0) * 2.0 - 1.0


def _every(b: ir.IRBuilder, n: ir.Value, body: Callable[[ir.Value], None], width: int = WIDTH) -> None:
    """``body`` for 0, width, 2 width ... below n."""

    def step(j: ir.Value, _carried: Values) -> Values:
        body(j)
        return []

    loop(b, n, [], step, by=width)


def _at(b: ir.IRBuilder, base: ir.Value, index: ir.Value, item: int = 4) -> ir.Value:
    return b.add(base, b.mul(index, I64(item)))


def _floats(b: ir.IRBuilder, base: ir.Value, index: ir.Value, offset: int = 0) -> Vector:
    """Of a padded or unpadded vector in a lane's block, or of weights: WIDTH numbers from ``index`` on."""
    return Vector(b, load(b, _at(b, base, index), ir.VectorType(F32, WIDTH), offset))


def _inside(b: ir.IRBuilder, index: ir.Value, n: ir.Value) -> ir.Value:
    """Which of WIDTH places from ``index`` on lie before ``n``."""
    places = ir.Constant(ir.VectorType(I32, WIDTH), list(range(WIDTH)))
    return b.icmp_signed("<", places, splat(b, b.trunc(b.sub(n, index), I32), WIDTH))


def _or_nothing(chosen: ir.Value, x: Vector) -> Vector:
    """x where it is chosen, else 0."""
    return Vector(x.b, x.b.select(chosen, x.value, x.like(0.0)))


def _settled(x: Vector) -> Vector:
    """Small states are zero, so that denormals never arise."""
    large = x.b.fcmp_ordered(">=", x.unary("fabs").value, x.like(float(SMALLEST)))
    return _or_nothing(large, x)


def _byte(x: Vector) -> ir.Value:
    """engine.reference.byte_of, scale and zero having been applied."""
    whole = x.at_least(0.0).at_most(255.0).whole()  # which is the floor of what is not negative
    return x.b.trunc(whole, ir.VectorType(I8, WIDTH))


def build_to_bytes(b: ir.IRBuilder, args: Values) -> None:
    """(numbers, n, scale, zero, out): bytes of n numbers; ``zero`` has the rounding half added."""
    numbers, n, scale, zero, out = args
    factor, offset = (Vector(b, splat(b, value, WIDTH)) for value in (scale, zero))

    def body(j: ir.Value) -> None:
        store(b, _byte(_floats(b, numbers, j) * factor + offset), b.add(out, j), align=1)

    _every(b, n, body)


def build_relu(b: ir.IRBuilder, args: Values) -> None:
    """(numbers, n): max(x, 0) in place. As a choice LLVM would make a conditional store of it, slow on AMD."""
    numbers, n = args

    def body(j: ir.Value) -> None:
        x = _floats(b, numbers, j)
        kind = x.value.type
        greatest = declare(b, f"llvm.maxnum.v{WIDTH}f32", kind, [kind, kind])
        store(b, b.call(greatest, [x.value, x.like(0.0)]), _at(b, numbers, j))

    _every(b, n, body)


def build_gru_cell(b: ir.IRBuilder, args: Values) -> None:
    """(now, past, h, dim): h = n + z (h - n); gates r, z, n of the share from below, and of the recurrent share."""
    now, past, h, dim = args

    def gates(j: ir.Value, k: int) -> tuple[Vector, Vector]:
        at = b.add(j, b.mul(dim, I64(k)))
        return _floats(b, now, at), _floats(b, past, at)

    def body(j: ir.Value) -> None:
        r, z, (below, before) = (*(sigmoid(x + y) for x, y in (gates(j, 0), gates(j, 1))), gates(j, 2))
        n = tanh(below + r * before)
        new = n + z * (_floats(b, h, j) - n)
        store(b, _or_nothing(_inside(b, j, dim), _settled(new)).value, _at(b, h, j))

    _every(b, dim, body)


def build_lstm_cell(b: ir.IRBuilder, args: Values) -> None:
    """(now, past, h, c, dim): c = f c + i g; h = o tanh(c). Gates i, f, g, o."""
    now, past, h, c, dim = args

    def gate(j: ir.Value, k: int) -> Vector:
        at = b.add(j, b.mul(dim, I64(k)))
        return _floats(b, now, at) + _floats(b, past, at)

    def body(j: ir.Value) -> None:
        i, f, g, o = sigmoid(gate(j, 0)), sigmoid(gate(j, 1)), tanh(gate(j, 2)), sigmoid(gate(j, 3))
        inside = _inside(b, j, dim)
        cell = _or_nothing(inside, _settled(f * _floats(b, c, j) + i * g))
        store(b, cell.value, _at(b, c, j))
        store(b, _or_nothing(inside, _settled(o * tanh(cell))).value, _at(b, h, j))

    _every(b, dim, body)


def _row_sums(
    b: ir.IRBuilder, rows: ir.Value, count: ir.Value, start: Values, take: Callable[[ir.Value, Values], Values]
) -> Values:
    """Carried vectors over a list of ``count`` addresses."""
    return loop(b, count, start, lambda k, sums: take(load(b, _at(b, rows, k, 8), I64, align=8), sums))


def table_bytes_builder(sum_kind: ir.Type) -> Callable[[ir.IRBuilder, Values], None]:
    """IR of (rows, count, x, n, scale, byte scale, out): bytes of relu(sum of int8 rows * scale + x).

    ``rows`` lists the addresses of the rows, ``scale`` is a vector; the ReLU is the bytes' own lower end. n is padded
    to 64. ``sum_kind`` is what the sums of ``count`` rows fit in: int16 (TABLE_PLACES of them) or int32.
    """
    parts = 64 // WIDTH
    entries, sums_t = ir.VectorType(I8, WIDTH), ir.VectorType(sum_kind, WIDTH)

    def build(b: ir.IRBuilder, args: Values) -> None:
        rows, count, x, n, scale, byte_scale, out = args
        byte_factor = Vector(b, splat(b, byte_scale, WIDTH))

        def body(j: ir.Value) -> None:
            def take(row: ir.Value, sums: Values) -> Values:
                at = b.add(row, j)
                return [b.add(s, b.sext(load(b, at, entries, t * WIDTH), sums_t)) for t, s in enumerate(sums)]

            for t, total in enumerate(_row_sums(b, rows, count, [_same(sum_kind, 0)] * parts, take)):
                whole = Vector(b, b.sitofp(total, ir.VectorType(F32, WIDTH)))
                y = whole * _floats(b, scale, j, t * WIDTH * 4) + _floats(b, x, j, t * WIDTH * 4)
                store(b, _byte(y * byte_factor + 0.5), b.add(out, b.add(j, I64(t * WIDTH))), align=1)

        _every(b, n, body, 64)

    return build


def build_table_floats(b: ir.IRBuilder, args: Values) -> None:
    """(rows, count, x, n): x = relu(x + fp32 rows, one after the other). n is padded to 64."""
    rows, count, x, n = args
    parts = 64 // WIDTH

    def body(j: ir.Value) -> None:
        def take(row: ir.Value, sums: Values) -> Values:
            return [(Vector(b, s) + _floats(b, row, j, t * WIDTH * 4)).value for t, s in enumerate(sums)]

        start = [_floats(b, x, j, t * WIDTH * 4).value for t in range(parts)]
        for t, total in enumerate(_row_sums(b, rows, count, start, take)):
            store(b, Vector(b, total).at_least(0.0).value, _at(b, x, b.add(j, I64(t * WIDTH))))

    _every(b, n, body, 64)


def build_enter(b: ir.IRBuilder, args: Values) -> None:
    """(weights, stride, samples, size, bias, n, out): out = bias + weights[k] samples[k], one after the other.

    ``stride`` bytes from one sample's weights to the next; fp32 samples. n is padded to 64.
    """
    weights, stride, samples, size, bias, n, out = args
    parts = 64 // WIDTH

    def body(j: ir.Value) -> None:
        def take(k: ir.Value, sums: Values) -> Values:
            x = Vector(b, splat(b, load(b, _at(b, samples, k), F32), WIDTH))
            row = b.add(weights, b.mul(k, stride))
            return [(Vector(b, s) + _floats(b, row, j, t * WIDTH * 4) * x).value for t, s in enumerate(sums)]

        start = [_floats(b, bias, j, t * WIDTH * 4).value for t in range(parts)]
        for t, total in enumerate(loop(b, size, start, take)):
            store(b, total, _at(b, out, b.add(j, I64(t * WIDTH))))

    _every(b, n, body, 64)


def build_top(b: ir.IRBuilder, args: Values) -> ir.Value:
    """(logits, levels) -> the greatest, or what is not a number if one of them is not finite."""
    logits, levels = args

    def body(at: ir.Value, carried: Values) -> Values:
        x, inside = _floats(b, logits, at), _inside(b, at, levels)
        finite = b.fcmp_ordered("<", x.unary("fabs").value, x.like(HUGE))
        top, strange = carried
        greater = b.and_(inside, b.fcmp_ordered(">", x.value, top))
        return [b.select(greater, x.value, top), b.or_(strange, b.and_(inside, b.not_(finite)))]

    start = [_same(F32, -HUGE), ir.Constant(ir.VectorType(ir.IntType(1), WIDTH), [0] * WIDTH)]
    top, strange = loop(b, levels, start, body, by=WIDTH)
    best = b.extract_element(top, I32(0))
    for lane in range(1, WIDTH):
        other = b.extract_element(top, I32(lane))
        best = b.select(b.fcmp_ordered(">", other, best), other, best)
    mask = b.bitcast(strange, ir.IntType(WIDTH))
    return b.select(b.icmp_unsigned("!=", mask, ir.IntType(WIDTH)(0)), ir.Constant(F32, float("nan")), best)


def build_weights(b: ir.IRBuilder, args: Values) -> ir.Value:
    """(logits, levels, top, beta, scale, out) -> their sum: floor(exp((x - top) beta) scale + 0.5), int32, to ``out``.

    What lies behind the last level, up to a whole WIDTH, is 0.
    """
    logits, levels, top, beta, scale, out = args
    highest, factor, unit = (Vector(b, splat(b, value, WIDTH)) for value in (top, beta, scale))

    def body(at: ir.Value, carried: Values) -> Values:
        weight = (exp((_floats(b, logits, at) - highest) * factor) * unit + 0.5).unary("floor").whole()
        weight = b.select(_inside(b, at, levels), weight, _same(I32, 0))
        store(b, weight, _at(b, out, at))
        return [b.add(carried[0], weight)]

    (sums,) = loop(b, levels, [_same(I32, 0)], body, by=WIDTH)
    return b.sext(_total(b, sums), I64)


def _total(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    name = f"llvm.vector.reduce.add.v{WIDTH}i32"
    return b.call(declare(b, name, I32, [x.type]), [x])


def build_rank(b: ir.IRBuilder, args: Values) -> ir.Value:
    """(weights, r) -> how many of their running sums are at most r, which is less than the last of them."""
    weights, r = args
    head, done = b.append_basic_block("rank"), b.append_basic_block("found")
    before = b.block
    b.branch(head)
    b.position_at_end(head)
    j, reached = b.phi(I64), b.phi(I64)
    block = load(b, _at(b, weights, j), ir.VectorType(I32, WIDTH))
    after = b.add(reached, b.sext(_total(b, block), I64))
    following = b.add(j, I64(WIDTH))
    for phi, again in ((j, following), (reached, after)):
        phi.add_incoming(I64(0), before)
        phi.add_incoming(again, head)
    b.cbranch(b.icmp_signed("<=", after, r), head, done)
    b.position_at_end(done)
    total, rank = reached, j
    for lane in range(WIDTH):
        total = b.add(total, b.sext(b.extract_element(block, I32(lane)), I64))
        rank = b.add(rank, b.zext(b.icmp_signed("<=", total, r), I64))
    return rank


_to_bytes = as_intrinsic(build_to_bytes, "iiffi")
_relu = as_intrinsic(build_relu, "ii")
_gru_cell = as_intrinsic(build_gru_cell, "iiii")
_lstm_cell = as_intrinsic(build_lstm_cell, "iiiii")
_table_bytes = as_intrinsic(table_bytes_builder(I16), "iiiiifi")
_long_table_bytes = as_intrinsic(table_bytes_builder(I32), "iiiiifi")
_table_floats = as_intrinsic(build_table_floats, "iiii")
_enter = as_intrinsic(build_enter, "iiiiiii")
_top = as_intrinsic(build_top, "ii", types.float32)
_weights = as_intrinsic(build_weights, "iifffi", types.int64)
_rank = as_intrinsic(build_rank, "ii", types.int64)
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


@njit(**_OPTIONS)
def to_bytes(numbers: int, n: int, scale: float, zero: float, out: int) -> None:
    """engine.reference.byte_of of n numbers; ``zero`` has the rounding half added. See :func:`build_to_bytes`."""
    _to_bytes(numbers, n, scale, zero, out)


@njit(**_OPTIONS)
def relu(numbers: int, n: int) -> None:
    """max(x, 0) in place."""
    _relu(numbers, n)


@njit(**_OPTIONS)
def gru_step(now: int, past: int, h: int, dim: int) -> None:
    """A GRU's h from its gates' shares; see :func:`build_gru_cell`."""
    _gru_cell(now, past, h, dim)


@njit(**_OPTIONS)
def lstm_step(now: int, past: int, h: int, c: int, dim: int) -> None:
    """An LSTM's h and c from its gates' shares; see :func:`build_lstm_cell`."""
    _lstm_cell(now, past, h, c, dim)


@njit(**_OPTIONS)
def table_bytes(rows: int, count: int, x: int, n: int, scale: int, byte_scale: float, out: int) -> None:
    """Bytes of relu(sum of rows * scale + x); see :func:`table_bytes_builder`."""
    if count <= TABLE_PLACES:
        _table_bytes(rows, count, x, n, scale, byte_scale, out)
    else:
        _long_table_bytes(rows, count, x, n, scale, byte_scale, out)


@njit(**_OPTIONS)
def table_floats(rows: int, count: int, x: int, n: int) -> None:
    """x = relu(x + rows); see :func:`build_table_floats`."""
    _table_floats(rows, count, x, n)


@njit(**_OPTIONS)
def weighted_rows(weights: int, stride: int, samples: int, size: int, bias: int, n: int, out: int) -> None:
    """out = bias + rows times samples; see :func:`build_enter`."""
    _enter(weights, stride, samples, size, bias, n, out)


@njit(**_OPTIONS)
def top(logits: int, levels: int) -> float:
    """The greatest logit; not a number if one of them is not finite."""
    greatest: float = _top(logits, levels)
    return greatest


@njit(**_OPTIONS)
def draw_weights(logits: int, levels: int, highest: float, beta: float, scale: float, out: int) -> int:
    """Integer weights of the draw, and their sum; see :func:`build_weights`."""
    total: int = _weights(logits, levels, highest, beta, scale, out)
    return total


@njit(**_OPTIONS)
def rank(weights: int, r: int) -> int:
    """How many running sums of ``weights`` are at most r, which is less than the last of them."""
    found: int = _rank(weights, r)
    return found
