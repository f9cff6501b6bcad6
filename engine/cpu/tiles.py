"""The inner loops, written straight into LLVM's language: some rows of a matrix times one vector or several.

Matrices are packed in strips of 16 rows, four of them a tile. Under int8 a strip holds, for every four inputs, 16 rows
x 4 weights (64 bytes, a block), and the four activation bytes are broadcast to all rows: one ``pmaddubsw`` and one
``pmaddwd`` do 32 (AVX2) or 64 (AVX-512) multiplies; ``vpdpbusd`` does them in one instruction where there is VNNI, and
``usdot`` or ``sdot`` do 16 on Arm. Where none of these exists a plain loop of shifts, multiplies and adds does the same
sums; integers make all of them equal to the bit. Under fp32 a block holds 16 weights for each input, one after another.

numba's own vectoriser reached a tenth of this on int8.

Of a matrix with many blocks of nothing a strip holds the others alone, each with the number of its column group.

One vector is multiplied by four strips at once, which are four streams for the caches to read ahead; LANES vectors by
one strip, whose weights are then read once for all of them.
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
from numpy.typing import NDArray

from engine import blocks
from engine.cpu.building import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Values,
    as_intrinsic,
    declare,
    load,
    loop,
    prefetch,
    splat,
    store,
)

ROWS = 64
STRIP, GROUP = blocks.ROWS, blocks.COLUMNS
BLOCK = STRIP * GROUP
LANES = 4  # multiplied at once: of 16 rows their sums are 8 registers of AVX2, of 16
AHEAD = 2048  # bytes: the caches' own reading ahead did not keep up with four lanes
_MOST_CHAINS = 4  # what is left of a count is added up in one
_FLOATS = ir.VectorType(F32, 8)
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


@dataclass(frozen=True)
class Part:
    """What one kernel multiplies, its loop's body being small enough for the registers.

    Attributes:
        strips: of 16 rows, each contiguous, one behind the other.
        lanes: vectors that each weight is multiplied by when it has been read.
        listed: whether a strip holds only blocks that are in a list.
    """

    strips: int
    lanes: int
    listed: bool


PARTS = {
    "tile": Part(ROWS // STRIP, 1, False),
    "tile_lanes": Part(1, LANES, False),
    "strip": Part(1, 1, True),
    "strip_lanes": Part(1, LANES, True),
}


def build_int8(name: str, part: Part) -> Builder:
    """IR of a part: (weights, [columns,] count, sources, offset, factor, bias, outs, down), int64, most addresses.

    y[r] = float(offset[r] + sum w[r, i] a[i]) * factor[r] + bias[r] for the part's rows r and ``count`` blocks; the
    lists ``sources`` and ``outs`` say where each lane's a and y are, and ``down`` how many bytes behind the beginning
    of offset, factor, bias and y the part's first row is. ``columns`` holds each block's first column / 4, uint16.
    ``offset`` is what :func:`started` makes of it.
    """
    form = VARIANTS[name]

    def build(b: ir.IRBuilder, args: Values) -> None:
        weights, *columns, count, sources, offset, factor, bias, outs, down = args
        block = _blocks(b, part, 1, weights, columns, count, sources)
        start = _vectors(b, b.add(offset, down), ir.VectorType(I32, form.lanes), part.strips)
        sums = _sums(b, form, count, start * part.lanes, block)
        n = len(start)
        for i, out in enumerate(_addresses(b, outs, part.lanes)):
            _dequantised(b, sums[i * n : (i + 1) * n], b.add(factor, down), b.add(bias, down), b.add(out, down))

    return build


def _addresses(b: ir.IRBuilder, listed: ir.Value, n: int) -> Values:
    """What a list of ``n`` addresses holds."""
    return [load(b, listed, I64, i * 8, align=8) for i in range(n)]


def _vectors(b: ir.IRBuilder, at: ir.Value, kind: ir.Type, strips: int) -> Values:
    """Numbers of 4 bytes, one for each row of so many strips, in registers."""
    return [load(b, at, kind, t * 4) for t in range(0, strips * STRIP, kind.count)]


def _blocks(
    b: ir.IRBuilder,
    part: Part,
    item: int,
    weights: ir.Value,
    columns: Values,
    count: ir.Value,
    sources: ir.Value,
) -> Callable[[ir.Value], tuple[Values, Values]]:
    """block(j): addresses of its weights in each strip and, in each lane, of the four activations they multiply."""
    lanes = _addresses(b, sources, part.lanes)
    strips = [b.add(weights, b.mul(count, I64(s * BLOCK * item))) for s in range(part.strips)]

    def block(j: ir.Value) -> tuple[Values, Values]:
        group = j
        if part.listed:
            group = b.zext(load(b, b.add(columns[0], b.mul(j, I64(2))), I16, align=2), I64)
        down, across = b.mul(j, I64(BLOCK * item)), b.mul(group, I64(GROUP * item))
        if part.lanes > 1:
            for line in range(0, BLOCK * item, 64):
                prefetch(b, b.add(strips[0], down), AHEAD + line)
        return [b.add(strip, down) for strip in strips], [b.add(lane, across) for lane in lanes]

    return block


def _sums(
    b: ir.IRBuilder,
    form: Variant,
    count: ir.Value,
    start: Values,
    block: Callable[[ir.Value], tuple[Values, Values]],
) -> Values:
    """``start`` (lane by lane, strip by strip) and the products of ``count`` blocks.

    Where an addition takes several cycles, several blocks (a power of two) are added up apart, so that one need not
    wait for the sum of another.
    """
    n, chains = len(start), min(_MOST_CHAINS, max(1, form.under_way // len(start)))

    def one(j: ir.Value, sums: Values) -> Values:
        strips, lanes = block(j)
        size = n // (len(strips) * len(lanes))
        parts = [sums[k : k + size] for k in range(0, n, size)]
        quads = [load(b, lane, I32) for lane in lanes]
        pairs = [(at, quad) for quad in quads for at in strips]
        return [total for pair, mine in zip(pairs, parts, strict=True) for total in form.step(b, *pair, mine)]

    if chains == 1:
        return loop(b, count, start, one)

    def several(j: ir.Value, sums: Values) -> Values:
        places = [(b.add(j, I64(k)), sums[k * n : (k + 1) * n]) for k in range(chains)]
        return [total for place, mine in places for total in one(place, mine)]

    whole, zero = b.and_(count, I64(-chains)), ir.Constant(start[0].type, None)
    sums = loop(b, whole, start + [zero] * (n * (chains - 1)), several, by=chains)
    while len(sums) > n:
        half = len(sums) // 2
        sums = [b.add(left, right) for left, right in zip(sums[:half], sums[half:], strict=True)]
    return loop(b, count, sums, one, first=whole)


def _dequantised(b: ir.IRBuilder, sums: Values, factor: ir.Value, bias: ir.Value, out: ir.Value) -> None:
    """out = float(sums) * factor + bias, multiply and add kept apart."""
    lanes = sums[0].type.count
    floats = ir.VectorType(F32, lanes)
    for t, total in enumerate(sums):
        y = b.sitofp(total, floats)
        y = b.fmul(y, load(b, factor, floats, t * lanes * 4))
        y = b.fadd(y, load(b, bias, floats, t * lanes * 4))
        store(b, y, out, t * lanes * 4)


def build_fp32(part: Part) -> Builder:
    """IR of a part: (weights, [columns,] count, sources, bias, outs, down): y[r] = bias[r] + sum w[r, i] a[i].

    As :func:`build_int8`, fused if it can be. A row's sum is one chain over its columns; where they are listed, one
    chain for the first columns of all blocks, one for the second and so on, four under way at once, whatever the lanes.
    """

    def build(b: ir.IRBuilder, args: Values) -> None:
        weights, *columns, count, sources, bias, outs, down = args
        block = _blocks(b, part, 4, weights, columns, count, sources)
        start = _vectors(b, b.add(bias, down), _FLOATS, part.strips) * part.lanes
        if part.listed:
            zero, each = [ir.Constant(_FLOATS, [0.0] * 8)] * len(start), GROUP // part.lanes
            chains = []
            for first in range(0, GROUP, each):  # as many at once as there are registers
                begin = [total for c in range(first, first + each) for total in (zero if c else start)]
                chains += _chains(b, count, begin, block, range(first, first + each))
            n = len(start)
            parts = [chains[k * n : (k + 1) * n] for k in range(GROUP)]
            sums = [b.fadd(b.fadd(p, q), b.fadd(r, s)) for p, q, r, s in zip(*parts, strict=True)]
        else:
            sums = loop(b, count, start, lambda j, sums: _in_a_row(b, block(j), sums))
        n = len(sums) // part.lanes
        for i, out in enumerate(_addresses(b, outs, part.lanes)):
            for t, total in enumerate(sums[i * n : (i + 1) * n]):
                store(b, total, b.add(out, down), t * 32)

    return build


def _chains(
    b: ir.IRBuilder,
    count: ir.Value,
    start: Values,
    block: Callable[[ir.Value], tuple[Values, Values]],
    columns: range,
) -> Values:
    """Sums over ``count`` blocks, a chain of them for each of these columns of a block."""
    n = len(start) // len(columns)

    def body(j: ir.Value, sums: Values) -> Values:
        at, parts = block(j), [sums[k : k + n] for k in range(0, len(sums), n)]
        return [total for c, mine in zip(columns, parts, strict=True) for total in _column(b, at, c, mine)]

    return loop(b, count, start, body)


def _in_a_row(b: ir.IRBuilder, at: tuple[Values, Values], sums: Values) -> Values:
    """``sums`` and the products of a block, column by column."""
    for c in range(GROUP):
        sums = _column(b, at, c, sums)
    return sums


def _column(b: ir.IRBuilder, at: tuple[Values, Values], c: int, sums: Values) -> Values:
    """``sums`` (lane by lane, strip by strip) and the products of column c of a block, fused if they can be."""
    muladd = declare(b, "llvm.fmuladd.v8f32", _FLOATS, [_FLOATS] * 3)
    strips, lanes = at
    inputs = [splat(b, load(b, lane, F32, c * 4), 8) for lane in lanes]
    places = [(strip, half) for strip in strips for half in range(STRIP // 8)]
    weights = [load(b, strip, _FLOATS, (c * STRIP + half * 8) * 4) for strip, half in places]
    pairs = [(w, a) for a in inputs for w in weights]
    return [b.call(muladd, [*pair, total]) for pair, total in zip(pairs, sums, strict=True)]


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
        lanes: rows of one register.
        step: adds one block's products to the sums.
        under_way: sums that should be, where an addition takes several cycles.
        signed: whether activation bytes are taken with 128 less.
    """

    needs: tuple[str, ...]
    lanes: int
    step: Callable[[ir.IRBuilder, ir.Value, ir.Value, list[ir.Value]], list[ir.Value]]
    under_way: int = 1
    signed: bool = False


# vpdpbusd and the dot products of Arm take 3 to 5 cycles and begin once or twice a cycle, so 8 of them should be under
# way; a strip of zmm is one sum, of ymm two, of Arm's registers four.
VARIANTS = {
    "avx512vnni": Variant(("avx512vnni", "avx512bw", "avx512vl"), 16, _vnni512_step, 8),
    "avx512": Variant(("avx512bw", "avx512vl"), 16, _avx512_step),
    "avxvnni": Variant(("avxvnni", "avx2"), 8, _vnni256_step, 8),
    "avx2": Variant(("avx2",), 8, _avx2_step),
    "i8mm": Variant(("i8mm",), 4, _i8mm_step, 8),
    "dotprod": Variant(("dotprod",), 4, _dotprod_step, 8, signed=True),
    "plain": Variant((), STRIP, _plain_step),
}


def started(offset: NDArray[np.int32], weight: NDArray[Any], name: str = "") -> NDArray[np.int32]:
    """What the sums of variant ``name`` (this machine's) start from, (rows,), to come out as if from ``offset``.

    Bytes taken with 128 less leave each row's sum 128 times its weights' too small. Nothing is to be done under fp32.
    """
    if weight.dtype != np.int8 or not VARIANTS[name or variant()].signed:
        return offset
    sums: NDArray[np.int32] = weight.sum(axis=1, dtype=np.int32)
    return offset + 128 * sums


# Called from kernels only: a function of numba's around each would take half a second to compile.
int8_tile = as_intrinsic(build_int8(variant(), PARTS["tile"]), "i" * 8)
int8_tile_lanes = as_intrinsic(build_int8(variant(), PARTS["tile_lanes"]), "i" * 8)
int8_strip = as_intrinsic(build_int8(variant(), PARTS["strip"]), "i" * 9)
int8_strip_lanes = as_intrinsic(build_int8(variant(), PARTS["strip_lanes"]), "i" * 9)
fp32_tile = as_intrinsic(build_fp32(PARTS["tile"]), "i" * 6)
fp32_tile_lanes = as_intrinsic(build_fp32(PARTS["tile_lanes"]), "i" * 6)
fp32_strip = as_intrinsic(build_fp32(PARTS["strip"]), "i" * 7)
fp32_strip_lanes = as_intrinsic(build_fp32(PARTS["strip_lanes"]), "i" * 7)


def assembly(name: str, triple: str, cpu: str, features: str = "") -> str:
    """Assembly of the int8 kernels of variant ``name``, a function for each of PARTS, for people and tests.

    The machine need not be this one.
    """
    module = ir.Module(name=name)
    for label, part in PARTS.items():
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * (8 + part.listed)), name=label)
        b = ir.IRBuilder(function.append_basic_block("entry"))
        build_int8(name, part)(b, list(function.args))
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
