"""int8 on every instruction set: the same sums, by the instructions meant, in registers alone."""

import re
from dataclasses import dataclass

import emulated
import numpy as np
import pytest

from engine import blocks
from engine.cpu import tiles
from engine.cpu.memory import address, aligned
from engine.reference import byte_of

X86, ARM = "x86_64-linux-gnu", "aarch64-linux-gnu"


@dataclass(frozen=True)
class Machine:
    triple: str
    cpu: str
    product: str  # the instruction that multiplies
    register: str  # what its sums are in


MACHINES = {
    "avx512vnni": Machine(X86, "cascadelake", "vpdpbusd", "zmm"),
    "avx512": Machine(X86, "skylake-avx512", "vpmaddubsw", "zmm"),
    "avxvnni": Machine(X86, "alderlake", "{vex}\tvpdpbusd", "ymm"),
    "avx2": Machine(X86, "haswell", "vpmaddubsw", "ymm"),
    "i8mm": Machine(ARM, "neoverse-n2", "usdot", "v"),
    "dotprod": Machine(ARM, "neoverse-n1", "sdot", "v"),
    "plain": Machine(ARM, "cortex-a72", "mla", "v"),
}
PARTS = {"tile": tiles.ROWS, "strip": tiles.STRIP}


def text_of(name, part):
    return tiles.assembly(name, MACHINES[name].triple, MACHINES[name].cpu, part=part)


def loops(text):
    """Bodies of the loops: from a label to the branch back to it."""
    return [m[2] for m in re.finditer(r"^(\.L\w+):.*\n((?:(?!\.L\w+:).*\n)*?\s+(?:j|b\.)\w+\s+\1$)", text, re.M)]


def test_every_variant_is_looked_at():
    assert MACHINES.keys() == tiles.VARIANTS.keys()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", MACHINES)
def test_it_is_the_instruction_meant(name, part):
    machine, text = MACHINES[name], text_of(name, part)
    assert loops(text)
    for body in loops(text):
        assert machine.product in body
        assert machine.register in body
    assert "fmadd" not in text  # multiply and add stay apart
    assert "fmla" not in text


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("name", "cpu", "product"),
    [("dotprod", "apple-m1", "sdot"), ("i8mm", "apple-m2", "usdot"), ("plain", "apple-m1", "mla")],
)
def test_apples_processors_have_them(name, cpu, product, part):
    """By their names alone, as numba asks LLVM for them."""
    assert product in tiles.assembly(name, "arm64-apple-macosx", cpu, part=part)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", [name for name in MACHINES if name != "plain"])
def test_a_loop_keeps_its_sums_in_registers(name, part):
    """It stores nothing, and multiplies as often as its sums are many, or a multiple of that."""
    form = tiles.VARIANTS[name]
    registers = PARTS[part] // form.lanes
    for body in loops(text_of(name, part)):
        products = [line for line in body.splitlines() if MACHINES[name].product in line]
        assert len(products) % registers == 0
        lines = [line.split("\t")[1:] for line in body.splitlines()]
        assert not [line for line in lines if line[0].startswith("st") or line[-1].endswith(")")], body
        assert not re.search(r"\b[re]?sp\b", body)


@pytest.mark.parametrize(("name", "part", "apart"), [("avx512vnni", "tile", 8), ("avx512vnni", "strip", 4)])
def test_slow_sums_are_several(name, part, apart):
    """As many accumulators as the loop that does most has products: none waits for the one before it."""
    longest = max(loops(text_of(name, part)), key=len)
    sums = [line.rpartition(",")[2] for line in longest.splitlines() if "vpdpbusd" in line]
    assert len(set(sums)) == len(sums) == apart


def drawn(rows, columns, seed):
    """Weights of all 7 bits and bytes of all 8, at their ends too, offsets, factors and biases."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-64, 65, (rows, columns)).astype(np.int8)
    bytes_ = rng.integers(0, 256, columns).astype(np.uint8)
    weight[0], weight[1], bytes_[: columns // 2] = 64, -64, 255
    offset = rng.integers(-(1 << 20), 1 << 20, rows).astype(np.int32)
    factor, bias = rng.normal(size=(2, rows)).astype(np.float32)
    return weight, bytes_, offset, factor, bias


def expected(weight, bytes_, offset, factor, bias):
    total = weight.astype(np.int32) @ bytes_.astype(np.int32) + offset
    return total.astype(np.float32) * factor + bias


def memory_of(arrays):
    """One piece of memory with all of them, each on a cache line, and where they are."""
    places, parts, at = [], [], 0
    for array in arrays:
        blob = array.tobytes()
        places.append(at)
        parts.append(blob + bytes(-len(blob) % 64))
        at += len(parts[-1])
    return b"".join(parts), places


def tile_case(name, columns, seed=0):
    """Memory, arguments, which of them are addresses, where the result is, and what it must be."""
    weight, bytes_, offset, factor, bias = drawn(tiles.ROWS, columns, seed)
    packed = weight.reshape(tiles.ROWS, columns // 4, 4).swapaxes(0, 1)
    arrays = [packed, bytes_, tiles.started(offset, weight, name), factor, bias, np.zeros(tiles.ROWS, np.float32)]
    memory, at = memory_of(arrays)
    arguments = [at[0], at[1], columns // 4, *at[2:]]
    return memory, arguments, {0, 1, 3, 4, 5, 6}, expected(weight, bytes_, offset, factor, bias)


def strip_case(name, count, seed=0):
    """The same for a strip of ``count`` blocks, in a matrix of 1,000 columns."""
    weight, bytes_, offset, factor, bias = drawn(tiles.STRIP, 1000, seed)
    groups = np.sort(np.random.default_rng(seed).choice(250, count, replace=False)).astype(np.uint16)
    left = np.isin(np.arange(250), groups).repeat(4)
    weight = weight * left
    found = blocks.split(weight)[0, groups]
    arrays = [found, groups, bytes_, tiles.started(offset, weight, name), factor, bias]
    memory, at = memory_of([*arrays, np.zeros(tiles.STRIP, np.float32)])
    arguments = [at[0], at[1], count, *at[2:]]
    return memory, arguments, {0, 1, 3, 4, 5, 6, 7}, expected(weight, bytes_, offset, factor, bias)


CASES = [(tile_case, 64), (tile_case, 68), (tile_case, 1024), (strip_case, 1), (strip_case, 7), (strip_case, 40)]


def part_of(case):
    return "tile" if case is tile_case else "strip"


@pytest.mark.skipif(bool(emulated.NO_ARM), reason=emulated.NO_ARM)
@pytest.mark.parametrize(("case", "size"), CASES)
@pytest.mark.parametrize("name", ["i8mm", "dotprod", "plain"])
def test_arm_gives_the_same_sums(name, case, size, tmp_path):
    """Run by an emulator."""
    memory, arguments, addresses, want = case(name, size)
    after = emulated.on_arm(text_of(name, part_of(case)), memory, arguments, addresses, tmp_path)
    got = np.frombuffer(after, np.float32, len(want), arguments[-1])
    np.testing.assert_array_equal(got, want)


@pytest.mark.skipif(bool(emulated.NO_AVX512), reason=emulated.NO_AVX512)
@pytest.mark.parametrize(("case", "size"), CASES)
@pytest.mark.parametrize("name", ["avx512vnni", "avx512", "avxvnni"])
def test_avx512_gives_the_same_sums(name, case, size, tmp_path):
    """Run by an emulator. It knows vpdpbusd on ymm as a part of AVX-512 only: another prefix, the same work."""
    memory, arguments, addresses, want = case(name, size)
    text = text_of(name, part_of(case)).replace("{vex}", "")
    after = emulated.on_avx512(text, memory, arguments, addresses, (arguments[-1], want.nbytes), tmp_path)
    np.testing.assert_array_equal(np.frombuffer(after, np.float32), want)


@pytest.mark.parametrize(("case", "size"), CASES)
def test_this_machine_gives_the_same_sums(case, size):
    memory, arguments, addresses, want = case("", size)
    place = aligned(len(memory), np.uint8)
    place[:] = np.frombuffer(memory, np.uint8)
    real = [n + address(place) * (i in addresses) for i, n in enumerate(arguments)]
    (tiles.int8_tile if case is tile_case else tiles.int8_strip)(*real)
    np.testing.assert_array_equal(np.frombuffer(place.tobytes(), np.float32, len(want), arguments[-1]), want)


@pytest.mark.parametrize("name", ["avx2", "dotprod"])
def test_started(name):
    """What is taken away from the bytes is put back, exactly, also at the ends of what can be."""
    weight = np.concatenate([np.full((1, 8192), 64), np.full((1, 8192), -64)]).astype(np.int8)
    bytes_ = byte_of(np.full(8192, 2.0, np.float32), np.float32(127.0), 128).astype(np.int64)
    taken = bytes_ - 128 * tiles.VARIANTS[name].signed
    sums = tiles.started(np.zeros(2, np.int32), weight, name) + weight.astype(np.int64) @ taken
    np.testing.assert_array_equal(sums, weight.astype(np.int64) @ bytes_)


@pytest.mark.parametrize(
    ("cpu", "features", "chosen"),
    [
        ("sapphirerapids", "avx2 avx512bw avx512vl avx512vnni avxvnni", "avx512vnni"),
        ("skylake-avx512", "avx2 avx512bw avx512vl", "avx512"),
        ("alderlake", "avx2 avxvnni", "avxvnni"),
        ("znver3", "avx2", "avx2"),
        ("nehalem", "", "plain"),
        ("neoverse-n2", "dotprod i8mm", "i8mm"),
        ("neoverse-n1", "dotprod", "dotprod"),
        ("apple-m1", "", "dotprod"),
        ("apple-m4", "", "i8mm"),
        ("cortex-a72", "", "plain"),
    ],
)
def test_which_variant_a_machine_runs(cpu, features, chosen, monkeypatch):
    monkeypatch.delenv("SAMPLERNN_KERNEL", raising=False)
    monkeypatch.setattr(tiles.llvm, "get_host_cpu_name", lambda: cpu)
    monkeypatch.setattr(tiles.llvm, "get_host_cpu_features", lambda: dict.fromkeys(features.split(), True))
    assert tiles.variant() == chosen
