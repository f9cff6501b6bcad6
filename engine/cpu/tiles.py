"""The inner loops, written straight into LLVM's language: 64 rows of a matrix times one vector.

Matrices are packed in tiles of 64 rows. Under int8 a tile holds, for every four inputs, 64 rows x 4 weights (256
bytes), and the four activation bytes are broadcast to all rows: one ``pmaddubsw`` and one ``pmaddwd`` do 32 (AVX2) or
64 (AVX-512) multiplies. Where neither exists a plain loop of shifts, multiplies and adds does the same sums; integers
make all of them equal to the bit. Under fp32 a tile holds 64 weights for every input.

numba's own vectoriser reached a tenth of this on int8.

Of a matrix with many blocks of nothing (16 rows x 4 columns) a strip of 16 rows holds the others alone, each with the
number of its column group: one cache line of int8 weights, and one activation group broadcast, a block.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from engine import blocks

ROWS = 64
STRIP, GROUP = blocks.ROWS, blocks.COLUMNS
BLOCK = STRIP * GROUP
VARIANTS = ("avx512", "avx2", "plain")

_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
Builder = Callable[[ir.IRBuilder, list[ir.Value]], None]


def variant() -> str:
    """The int8 tile this machine runs: SAMPLERNN_KERNEL if set, else the widest it has.

    Raises ValueError for a variant that does not exist or that this CPU lacks.
    """
    has = llvm.get_host_cpu_features()
    able = {
        "avx512": has.get("avx512bw", False) and has.get("avx512vl", False),
        "avx2": has.get("avx2", False),
        "plain": True,
    }
    asked = os.environ.get("SAMPLERNN_KERNEL", "")
    if not asked:
        return next(name for name in VARIANTS if able[name])
    if not able.get(asked, False):
        here = ", ".join(name for name in VARIANTS if able[name])
        raise ValueError(f"SAMPLERNN_KERNEL: {asked!r}: this machine runs {here}")
    return asked


def build_int8_tile(name: str) -> Builder:
    """IR of one tile: (weights, bytes, quads, offset, factor, bias, out), all int64 addresses but ``quads``.

    out[r] = float(offset[r] + sum w[r, i] a[i]) * factor[r] + bias[r] for 64 rows r and 4 * quads inputs.
    """
    step = {"avx512": _avx512_step, "avx2": _avx2_step, "plain": _plain_step}[name]
    lanes = {"avx512": 16, "avx2": 8, "plain": 64}[name]

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, activations, quads, offset, factor, bias, out = args
        vector, n = ir.VectorType(_I32, lanes), ROWS // lanes
        start = [_load(b, offset, vector, t * lanes * 4) for t in range(n)]

        def body(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(_I64, ROWS * 4)))
            quad = _load(b, b.add(activations, b.mul(j, ir.Constant(_I64, 4))), _I32, 0, align=4)
            return step(b, at, quad, sums)

        _dequantised(b, _loop(b, quads, start, body), factor, bias, out)

    return build


def _dequantised(b: ir.IRBuilder, sums: list[ir.Value], factor: ir.Value, bias: ir.Value, out: ir.Value) -> None:
    """out = float(sums) * factor + bias, multiply and add kept apart."""
    lanes = sums[0].type.count
    floats = ir.VectorType(_F32, lanes)
    for t, total in enumerate(sums):
        y = b.sitofp(total, floats)
        y = b.fmul(y, _load(b, factor, floats, t * lanes * 4))
        y = b.fadd(y, _load(b, bias, floats, t * lanes * 4))
        _store(b, y, out, t * lanes * 4)


def build_fp32_tile() -> Builder:
    """IR of one tile: (weights, inputs, cols, bias, out): out[r] = bias[r] + sum w[r, i] a[i], fused if it can be."""
    vector = ir.VectorType(_F32, 8)

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, inputs, cols, bias, out = args
        muladd = _declare(b, "llvm.fmuladd.v8f32", vector, [vector] * 3)

        def body(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(_I64, ROWS * 4)))
            a = _splat(b, _load(b, b.add(inputs, b.mul(j, ir.Constant(_I64, 4))), _F32, 0, align=4), 8)
            return [b.call(muladd, [_load(b, at, vector, t * 32), a, s]) for t, s in enumerate(sums)]

        start = [_load(b, bias, vector, t * 32) for t in range(ROWS // 8)]
        for t, total in enumerate(_loop(b, cols, start, body)):
            _store(b, total, out, t * 32)

    return build


def build_int8_strip(name: str) -> Builder:
    """IR of one strip: (weights, columns, count, bytes, offset, factor, bias, out), all int64 addresses but ``count``.

    As the tile, for 16 rows and ``count`` blocks, 1 or more; ``columns`` holds each one's first column / 4, uint16.
    """
    step = {"avx512": _avx512_step, "avx2": _avx2_step, "plain": _plain_step}[name]
    lanes = {"avx512": 16, "avx2": 8, "plain": 16}[name]

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, columns, count, activations, offset, factor, bias, out = args
        vector, n = ir.VectorType(_I32, lanes), STRIP // lanes
        start = [_load(b, offset, vector, t * lanes * 4) for t in range(n)]

        def body(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(_I64, BLOCK)))
            quad = _load(b, _column(b, activations, columns, j, 1), _I32, 0, align=4)
            return step(b, at, quad, sums)

        _dequantised(b, _loop(b, count, start, body), factor, bias, out)

    return build


def build_fp32_strip() -> Builder:
    """IR of one strip: (weights, columns, count, inputs, bias, out): out[r] = bias[r] + sum w[r, i] a[i], 16 rows."""
    vector = ir.VectorType(_F32, 8)
    halves = STRIP // 8

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, columns, count, inputs, bias, out = args
        muladd = _declare(b, "llvm.fmuladd.v8f32", vector, [vector] * 3)

        def body(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(_I64, BLOCK * 4)))
            from_ = _column(b, inputs, columns, j, 4)
            result = []
            for i in range(GROUP):  # a chain of sums for each column: four blocks are under way at once
                a = _splat(b, _load(b, from_, _F32, i * 4, align=4), 8)
                for t in range(halves):
                    w = _load(b, at, vector, (i * STRIP + t * 8) * 4)
                    result.append(b.call(muladd, [w, a, sums[i * halves + t]]))
            return result

        zero = ir.Constant(vector, [0.0] * 8)
        start = [_load(b, bias, vector, t * 32) for t in range(halves)] + [zero] * (halves * (GROUP - 1))
        sums = _loop(b, count, start, body)
        for t in range(halves):
            low = b.fadd(sums[t], sums[halves + t])
            high = b.fadd(sums[2 * halves + t], sums[3 * halves + t])
            _store(b, b.fadd(low, high), out, t * 32)

    return build


def _column(b: ir.IRBuilder, vector: ir.Value, columns: ir.Value, j: ir.Value, item: int) -> ir.Value:
    """Address of the four activations that block j multiplies."""
    group = _load(b, b.add(columns, b.mul(j, ir.Constant(_I64, 2))), _I16, 0, align=2)
    return b.add(vector, b.mul(b.zext(group, _I64), ir.Constant(_I64, GROUP * item)))


def _avx2_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _pair_step(b, at, quad, sums, 8, "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd")


def _avx512_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _pair_step(b, at, quad, sums, 16, "llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")


def _pair_step(
    b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value], lanes: int, by_byte: str, by_word: str
) -> list[ir.Value]:
    """sums += pmaddwd(pmaddubsw(broadcast(quad), weights), 1)."""
    bytes_t, words_t = ir.VectorType(_I8, lanes * 4), ir.VectorType(_I16, lanes * 2)
    sums_t = ir.VectorType(_I32, lanes)
    first = _declare(b, by_byte, words_t, [bytes_t, bytes_t])
    second = _declare(b, by_word, sums_t, [words_t, words_t])
    a = b.bitcast(_splat(b, quad, lanes), bytes_t)
    ones = ir.Constant(words_t, [1] * (lanes * 2))
    result = []
    for t, total in enumerate(sums):
        w = _load(b, at, bytes_t, t * lanes * 4)
        result.append(b.add(total, b.call(second, [b.call(first, [a, w]), ones])))
    return result


def _plain_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    """Each 32-bit word of the tile is one row's four weights: shift each into place, multiply, add."""
    (total,) = sums
    rows, vector = total.type.count, total.type
    words = _load(b, at, vector, 0)
    for i in range(4):
        left, right = (ir.Constant(vector, [n] * rows) for n in (24 - 8 * i, 24))
        weight = b.ashr(b.shl(words, left), right)
        byte = b.and_(b.lshr(quad, ir.Constant(_I32, 8 * i)), ir.Constant(_I32, 255))
        total = b.add(total, b.mul(weight, _splat(b, byte, rows)))
    return [total]


def _loop(
    b: ir.IRBuilder,
    count: ir.Value,
    start: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """``for j in range(count)`` over loop-carried vectors, kept in registers; count is at least 1."""
    before, head = b.block, b.append_basic_block("tile")
    b.branch(head)
    b.position_at_end(head)
    j = b.phi(_I64)
    carried = [b.phi(value.type) for value in start]
    after = body(j, list(carried))
    following = b.add(j, ir.Constant(_I64, 1))
    j.add_incoming(ir.Constant(_I64, 0), before)
    j.add_incoming(following, head)
    for phi, first, again in zip(carried, start, after, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(again, head)
    end = b.append_basic_block("done")
    b.cbranch(b.icmp_signed("<", following, count), head, end)
    b.position_at_end(end)
    return after


def _declare(b: ir.IRBuilder, name: str, result: ir.Type, args: list[ir.Type]) -> ir.Function:
    if name in b.module.globals:
        return b.module.globals[name]
    return ir.Function(b.module, ir.FunctionType(result, args), name)


def _splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    order = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), order)


def _load(b: ir.IRBuilder, address: ir.Value, kind: ir.Type, offset: int, align: int = 32) -> ir.Value:
    pointer = b.inttoptr(b.add(address, ir.Constant(_I64, offset)), kind.as_pointer())
    return b.load(pointer, align=align)


def _store(b: ir.IRBuilder, value: ir.Value, address: ir.Value, offset: int) -> None:
    pointer = b.inttoptr(b.add(address, ir.Constant(_I64, offset)), value.type.as_pointer())
    b.store(value, pointer, align=32)


def _as_intrinsic(build: Builder, arguments: int) -> Any:
    """A numba intrinsic of ``arguments`` int64 and no result."""
    signature = types.void(*[types.int64] * arguments)

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
        build(builder, list(args))
        return _context.get_dummy_value()

    return {
        5: lambda: intrinsic(lambda _typing, a, b, c, d, e: (signature, codegen)),
        6: lambda: intrinsic(lambda _typing, a, b, c, d, e, f: (signature, codegen)),
        7: lambda: intrinsic(lambda _typing, a, b, c, d, e, f, g: (signature, codegen)),
        8: lambda: intrinsic(lambda _typing, a, b, c, d, e, f, g, h: (signature, codegen)),
    }[arguments]()


_int8_tile = _as_intrinsic(build_int8_tile(variant()), 7)
_fp32_tile = _as_intrinsic(build_fp32_tile(), 5)
_int8_strip = _as_intrinsic(build_int8_strip(variant()), 8)
_fp32_strip = _as_intrinsic(build_fp32_strip(), 6)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def int8_tile(weights: int, activations: int, quads: int, offset: int, factor: int, bias: int, out: int) -> None:
    """out = (offset + W a) * factor + bias for 64 rows; see :func:`build_int8_tile`."""
    _int8_tile(weights, activations, quads, offset, factor, bias, out)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def fp32_tile(weights: int, inputs: int, cols: int, bias: int, out: int) -> None:
    """out = bias + W a for 64 rows; see :func:`build_fp32_tile`."""
    _fp32_tile(weights, inputs, cols, bias, out)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def int8_strip(
    weights: int, columns: int, count: int, activations: int, offset: int, factor: int, bias: int, out: int
) -> None:
    """out = (offset + W a) * factor + bias for 16 rows of few blocks; see :func:`build_int8_strip`."""
    _int8_strip(weights, columns, count, activations, offset, factor, bias, out)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def fp32_strip(weights: int, columns: int, count: int, inputs: int, bias: int, out: int) -> None:
    """out = bias + W a for 16 rows of few blocks; see :func:`build_fp32_strip`."""
    _fp32_strip(weights, columns, count, inputs, bias, out)


def assembly(name: str, triple: str, cpu: str, features: str = "") -> str:
    """Assembly of the int8 tile ``name`` for a machine that need not be this one, for people and tests to read."""
    module = ir.Module(name="tile")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64] * 7), name="int8_tile")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    build_int8_tile(name)(b, list(function.args))
    b.ret_void()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = triple
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    llvm.create_pass_builder(machine, options).getModulePassManager().run(
        parsed, llvm.create_pass_builder(machine, options)
    )
    text: str = machine.emit_assembly(parsed)
    return text
