"""The inner loops, written straight into LLVM's language: 64 rows of a matrix times one vector.

Matrices are packed in tiles of 64 rows. Under int8 a tile holds, for every four inputs, 64 rows x 4 weights (256
bytes), and the four activation bytes are broadcast to all rows: one ``pmaddubsw`` and one ``pmaddwd`` do 32 (AVX2) or
64 (AVX-512) multiplies; ``vpdpbusd`` does them in one instruction where there is VNNI, and ``usdot`` or ``sdot`` do 16
on Arm. Where none of these exists a plain loop of shifts, multiplies and adds does the same sums; integers make all of
them equal to the bit. Under fp32 a tile holds 64 weights for every input.

numba's own vectoriser reached a tenth of this on int8.

Of a matrix with many blocks of nothing (16 rows x 4 columns) a strip of 16 rows holds the others alone, each with the
number of its column group: one cache line of int8 weights, and one activation group broadcast, a block.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit
from numpy.typing import NDArray

from engine import blocks
from engine.cpu.building import F32, I8, I16, I32, I64, Values, as_intrinsic, declare, load, loop, splat, store

ROWS = 64
STRIP, GROUP = blocks.ROWS, blocks.COLUMNS
BLOCK = STRIP * GROUP
Builder = Callable[[ir.IRBuilder, Values], None]


def variant() -> str:
    """The int8 tile this machine runs: SAMPLERNN_KERNEL if set, else the first of VARIANTS that it has.

    Raises ValueError for a variant that does not exist or that this CPU lacks.
    """
    has = _host_features()
    able = [name for name, form in VARIANTS.items() if all(has.get(feature, False) for feature in form.needs)]
    asked = os.environ.get("SAMPLERNN_KERNEL", "")
    if not asked:
        return able[0]
    if asked not in able:
        raise ValueError(f"SAMPLERNN_KERNEL: {asked!r}: this machine runs {', '.join(able)}")
    return asked


def _host_features() -> dict[str, bool]:
    """What this CPU has, by LLVM's names. Of Apple's it tells the name alone: all have dotprod, from the M2 on i8mm."""
    has, cpu = dict(llvm.get_host_cpu_features()), llvm.get_host_cpu_name()
    if cpu.startswith("apple-m"):
        has |= {"dotprod": True, "i8mm": cpu != "apple-m1"}
    return has


def build_int8_tile(name: str) -> Builder:
    """IR of one tile: (weights, bytes, quads, offset, factor, bias, out), all int64 addresses but ``quads``.

    out[r] = float(offset[r] + sum w[r, i] a[i]) * factor[r] + bias[r] for 64 rows r and 4 * quads inputs. ``offset`` is
    what :func:`started` makes of it.
    """
    form = VARIANTS[name]

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, activations, quads, offset, factor, bias, out = args

        def block(j: ir.Value) -> tuple[ir.Value, ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(I64, ROWS * 4)))
            return at, load(b, b.add(activations, b.mul(j, ir.Constant(I64, 4))), I32)

        sums = _sums(b, form, form.tile_chains, quads, _start(b, form, offset, ROWS), block)
        _dequantised(b, sums, factor, bias, out)

    return build


def _start(b: ir.IRBuilder, form: Variant, offset: ir.Value, rows: int) -> list[ir.Value]:
    """Registers of what the sums of ``rows`` rows start from."""
    lanes = min(form.lanes, rows)
    return [load(b, offset, ir.VectorType(I32, lanes), t * 4) for t in range(0, rows, lanes)]


def _sums(
    b: ir.IRBuilder,
    form: Variant,
    chains: int,
    count: ir.Value,
    start: list[ir.Value],
    block: Callable[[ir.Value], tuple[ir.Value, ir.Value]],
) -> list[ir.Value]:
    """``start`` and the products of ``count`` blocks; ``block(j)`` is one's weights' address and its four activations.

    ``chains`` (a power of two) blocks are added up apart, so that one need not wait for the sum of another.
    """

    def one(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        return form.step(b, *block(j), sums)

    if chains == 1:
        return loop(b, count, start, one)
    n, zero = len(start), ir.Constant(start[0].type, None)

    def several(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        places = [(b.add(j, ir.Constant(I64, k)), sums[k * n : (k + 1) * n]) for k in range(chains)]
        return [total for place, mine in places for total in one(place, mine)]

    whole = b.and_(count, ir.Constant(I64, -chains))
    sums = loop(b, whole, start + [zero] * (n * (chains - 1)), several, by=chains)
    while len(sums) > n:
        half = len(sums) // 2
        sums = [b.add(left, right) for left, right in zip(sums[:half], sums[half:], strict=True)]
    return loop(b, count, sums, one, first=whole)


def _dequantised(b: ir.IRBuilder, sums: list[ir.Value], factor: ir.Value, bias: ir.Value, out: ir.Value) -> None:
    """out = float(sums) * factor + bias, multiply and add kept apart."""
    lanes = sums[0].type.count
    floats = ir.VectorType(F32, lanes)
    for t, total in enumerate(sums):
        y = b.sitofp(total, floats)
        y = b.fmul(y, load(b, factor, floats, t * lanes * 4))
        y = b.fadd(y, load(b, bias, floats, t * lanes * 4))
        store(b, y, out, t * lanes * 4)


def build_fp32_tile() -> Builder:
    """IR of one tile: (weights, inputs, cols, bias, out): out[r] = bias[r] + sum w[r, i] a[i], fused if it can be."""
    vector = ir.VectorType(F32, 8)

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, inputs, cols, bias, out = args
        muladd = declare(b, "llvm.fmuladd.v8f32", vector, [vector] * 3)

        def body(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(I64, ROWS * 4)))
            a = splat(b, load(b, b.add(inputs, b.mul(j, ir.Constant(I64, 4))), F32), 8)
            return [b.call(muladd, [load(b, at, vector, t * 32), a, s]) for t, s in enumerate(sums)]

        start = [load(b, bias, vector, t * 32) for t in range(ROWS // 8)]
        for t, total in enumerate(loop(b, cols, start, body)):
            store(b, total, out, t * 32)

    return build


def build_int8_strip(name: str) -> Builder:
    """IR of one strip: (weights, columns, count, bytes, offset, factor, bias, out), all int64 addresses but ``count``.

    As the tile, for 16 rows and ``count`` blocks; ``columns`` holds each one's first column / 4, uint16.
    """
    form = VARIANTS[name]

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, columns, count, activations, offset, factor, bias, out = args

        def block(j: ir.Value) -> tuple[ir.Value, ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(I64, BLOCK)))
            return at, load(b, _column(b, activations, columns, j, 1), I32)

        sums = _sums(b, form, form.strip_chains, count, _start(b, form, offset, STRIP), block)
        _dequantised(b, sums, factor, bias, out)

    return build


def build_fp32_strip() -> Builder:
    """IR of one strip: (weights, columns, count, inputs, bias, out): out[r] = bias[r] + sum w[r, i] a[i], 16 rows."""
    vector = ir.VectorType(F32, 8)
    halves = STRIP // 8

    def build(b: ir.IRBuilder, args: list[ir.Value]) -> None:
        weights, columns, count, inputs, bias, out = args
        muladd = declare(b, "llvm.fmuladd.v8f32", vector, [vector] * 3)

        def body(j: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            at = b.add(weights, b.mul(j, ir.Constant(I64, BLOCK * 4)))
            from_ = _column(b, inputs, columns, j, 4)
            result = []
            for i in range(GROUP):  # a chain of sums for each column: four blocks are under way at once
                a = splat(b, load(b, from_, F32, i * 4), 8)
                for t in range(halves):
                    w = load(b, at, vector, (i * STRIP + t * 8) * 4)
                    result.append(b.call(muladd, [w, a, sums[i * halves + t]]))
            return result

        zero = ir.Constant(vector, [0.0] * 8)
        start = [load(b, bias, vector, t * 32) for t in range(halves)] + [zero] * (halves * (GROUP - 1))
        sums = loop(b, count, start, body)
        for t in range(halves):
            low = b.fadd(sums[t], sums[halves + t])
            high = b.fadd(sums[2 * halves + t], sums[3 * halves + t])
            store(b, b.fadd(low, high), out, t * 32)

    return build


def _column(b: ir.IRBuilder, vector: ir.Value, columns: ir.Value, j: ir.Value, item: int) -> ir.Value:
    """Address of the four activations that block j multiplies."""
    group = load(b, b.add(columns, b.mul(j, ir.Constant(I64, 2))), I16, align=2)
    return b.add(vector, b.mul(b.zext(group, I64), ir.Constant(I64, GROUP * item)))


def _avx2_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _pair_step(b, at, quad, sums, 8, "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd")


def _avx512_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _pair_step(b, at, quad, sums, 16, "llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")


def _pair_step(
    b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value], lanes: int, by_byte: str, by_word: str
) -> list[ir.Value]:
    """sums += pmaddwd(pmaddubsw(broadcast(quad), weights), 1)."""
    bytes_t, words_t = ir.VectorType(I8, lanes * 4), ir.VectorType(I16, lanes * 2)
    sums_t = ir.VectorType(I32, lanes)
    first = declare(b, by_byte, words_t, [bytes_t, bytes_t])
    second = declare(b, by_word, sums_t, [words_t, words_t])
    a = b.bitcast(splat(b, quad, lanes), bytes_t)
    ones = ir.Constant(words_t, [1] * (lanes * 2))
    result = []
    for t, total in enumerate(sums):
        w = load(b, at, bytes_t, t * lanes * 4)
        result.append(b.add(total, b.call(second, [b.call(first, [a, w]), ones])))
    return result


def _plain_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    """Each 32-bit word of the tile is one row's four weights: shift each into place, multiply, add."""
    (total,) = sums  # of all rows: how many fit a register is left to LLVM
    rows, vector = total.type.count, total.type
    words = load(b, at, vector)
    for i in range(4):
        left, right = (ir.Constant(vector, [n] * rows) for n in (24 - 8 * i, 24))
        weight = b.ashr(b.shl(words, left), right)
        byte = b.and_(b.lshr(quad, ir.Constant(I32, 8 * i)), ir.Constant(I32, 255))
        total = b.add(total, b.mul(weight, splat(b, byte, rows)))
    return [total]


def _vnni512_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _vnni_step(b, at, quad, sums, 16, "llvm.x86.avx512.vpdpbusd.512")


def _vnni256_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _vnni_step(b, at, quad, sums, 8, "llvm.x86.avx512.vpdpbusd.256")


def _vnni_step(
    b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value], lanes: int, name: str
) -> list[ir.Value]:
    """sums += vpdpbusd(broadcast(quad), weights)."""
    vector = ir.VectorType(I32, lanes)
    dot = declare(b, name, vector, [vector] * 3)
    a = splat(b, quad, lanes)
    return [b.call(dot, [total, a, load(b, at, vector, t * lanes * 4)]) for t, total in enumerate(sums)]


def _i8mm_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    return _arm_step(b, at, quad, sums, "llvm.aarch64.neon.usdot.v4i32.v16i8")


def _dotprod_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
    """``sdot`` takes both for signed, so each byte is taken with 128 less: see :func:`started`."""
    return _arm_step(b, at, b.xor(quad, ir.Constant(I32, 0x80808080)), sums, "llvm.aarch64.neon.sdot.v4i32.v16i8")


def _arm_step(b: ir.IRBuilder, at: ir.Value, quad: ir.Value, sums: list[ir.Value], name: str) -> list[ir.Value]:
    """sums += dot(broadcast(quad), weights), 4 rows a register."""
    bytes_t, sums_t = ir.VectorType(I8, 16), ir.VectorType(I32, 4)
    dot = declare(b, name, sums_t, [sums_t, bytes_t, bytes_t])
    a = b.bitcast(splat(b, quad, 4), bytes_t)
    return [b.call(dot, [total, a, load(b, at, bytes_t, t * 16)]) for t, total in enumerate(sums)]


@dataclass(frozen=True)
class Variant:
    """How one instruction set multiplies int8.

    Attributes:
        needs: LLVM's names of what a CPU must have.
        lanes: rows of one register; no more than a tile or a strip has are used.
        step: adds one block's products to the sums.
        tile_chains, strip_chains: blocks that are added up apart, where an addition takes several cycles.
        signed: whether activation bytes are taken with 128 less.
    """

    needs: tuple[str, ...]
    lanes: int
    step: Callable[[ir.IRBuilder, ir.Value, ir.Value, list[ir.Value]], list[ir.Value]]
    tile_chains: int = 1
    strip_chains: int = 1
    signed: bool = False


# vpdpbusd and the dot products of Arm take 3 to 5 cycles and begin once or twice a cycle, so 8 of them should be under
# way; a strip of zmm is one sum, of ymm two, of Arm's registers four.
VARIANTS = {
    "avx512vnni": Variant(("avx512vnni", "avx512bw", "avx512vl"), 16, _vnni512_step, 2, 4),
    "avx512": Variant(("avx512bw", "avx512vl"), 16, _avx512_step),
    "avxvnni": Variant(("avxvnni", "avx2"), 8, _vnni256_step, 1, 4),
    "avx2": Variant(("avx2",), 8, _avx2_step),
    "i8mm": Variant(("i8mm",), 4, _i8mm_step, 1, 2),
    "dotprod": Variant(("dotprod",), 4, _dotprod_step, 1, 2, signed=True),
    "plain": Variant((), ROWS, _plain_step),
}


def started(offset: NDArray[np.int32], weight: NDArray[Any], name: str = "") -> NDArray[np.int32]:
    """What the sums of variant ``name`` (this machine's) start from, (rows,), to come out as if from ``offset``.

    Bytes taken with 128 less leave each row's sum 128 times its weights' too small. Nothing is to be done under fp32.
    """
    if weight.dtype != np.int8 or not VARIANTS[name or variant()].signed:
        return offset
    sums: NDArray[np.int32] = weight.sum(axis=1, dtype=np.int32)
    return offset + 128 * sums


_int8_tile = as_intrinsic(build_int8_tile(variant()), "i" * 7)
_fp32_tile = as_intrinsic(build_fp32_tile(), "i" * 5)
_int8_strip = as_intrinsic(build_int8_strip(variant()), "i" * 8)
_fp32_strip = as_intrinsic(build_fp32_strip(), "i" * 6)


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


def assembly(name: str, triple: str, cpu: str, features: str = "", part: str = "tile") -> str:
    """Assembly of the int8 ``tile`` or ``strip`` of variant ``name``, as function ``int8``, for people and tests.

    The machine need not be this one.
    """
    build, arguments = {"tile": (build_int8_tile, 7), "strip": (build_int8_strip, 8)}[part]
    module = ir.Module(name=part)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * arguments), name="int8")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    build(name)(b, list(function.args))
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
