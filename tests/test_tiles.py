"""int8 on every instruction set: the same sums, by the instructions meant, in registers alone."""

import re
from dataclasses import dataclass
from functools import cache

import emulated
import numpy as np
import pytest

from engine import blocks, kernel_cache  # noqa: F401  (before numba)

# isort: split
from numba import njit

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


@cache
def text_of(name):
    return tiles.assembly(name, MACHINES[name].triple, MACHINES[name].cpu)


def functions(text):
    """Assembly of each part; Apple's begin with a line below."""
    _, *found = re.split(rf"^_?({'|'.join(tiles.PARTS)}):", text, flags=re.M)
    return dict(zip(found[::2], found[1::2], strict=True))


def loops(name, part):
    """Bodies of a part's loops: from a label to the branch back to it."""
    text = functions(text_of(name))[part]
    return [m[2] for m in re.finditer(r"^(\.L\w+):.*\n((?:(?!\.L\w+:).*\n)*?\s+(?:j|b\.)\w+\s+\1$)", text, re.M)]


def test_every_variant_is_looked_at():
    assert MACHINES.keys() == tiles.VARIANTS.keys()


@pytest.mark.parametrize("part", tiles.PARTS)
@pytest.mark.parametrize("name", MACHINES)
def test_it_is_the_instruction_meant(name, part):
    machine, text = MACHINES[name], text_of(name)
    assert loops(name, part)
    for body in loops(name, part):
        assert machine.product in body
        assert machine.register in body
        assert bool(re.search("prefetcht0|prfm", body)) == (tiles.PARTS[part].lanes > 1)
    assert "fmadd" not in text  # multiply and add stay apart
    assert "fmla" not in text


@pytest.mark.parametrize(
    ("name", "cpu", "product"),
    [("dotprod", "apple-m1", "sdot"), ("i8mm", "apple-m2", "usdot"), ("plain", "apple-m1", "mla")],
)
def test_apples_processors_have_them(name, cpu, product):
    """By their names alone, as numba asks LLVM for them."""
    found = functions(tiles.assembly(name, "arm64-apple-macosx", cpu))
    assert found.keys() == tiles.PARTS.keys()
    assert all(product in text for text in found.values())


@pytest.mark.parametrize("part", tiles.PARTS)
@pytest.mark.parametrize("name", [name for name in MACHINES if name != "plain"])
def test_a_loop_keeps_its_sums_in_registers(name, part):
    """It stores nothing, multiplies as often as its sums are many, or a multiple of that, and reads no weight twice."""
    form, shape = tiles.VARIANTS[name], tiles.PARTS[part]
    registers = shape.strips * tiles.STRIP // form.lanes
    for body in loops(name, part):
        lines = [line.split("\t")[1:] for line in body.splitlines() if "prefetch" not in line]
        products = [line for line in body.splitlines() if MACHINES[name].product in line]
        assert len(products) % (registers * shape.lanes) == 0
        assert not [line for line in lines if line[0].startswith("st") or line[-1].endswith(")")], body
        assert not re.search(r"\b[re]?sp\b", body)
        if shape.lanes > 1:
            assert not [line for line in products if "(" in line or "[" in line], body


@pytest.mark.parametrize(("part", "apart"), [("tile", 8), ("strip", 4), ("tile_lanes", 8), ("strip_lanes", 8)])
def test_slow_sums_are_several(part, apart):
    """As many accumulators as the loop that does most has products: none waits for the one before it."""
    longest = max(loops("avx512vnni", part), key=len)
    sums = [line.rpartition(",")[2] for line in longest.splitlines() if "vpdpbusd" in line]
    assert len(set(sums)) == len(sums) == apart


class Memory:
    """Arrays that lie one behind the other from ``base`` on, each on a cache line."""

    def __init__(self, base):
        self.base, self.parts, self.size = base, [], 0

    def put(self, array):
        """Its address."""
        blob = np.ascontiguousarray(array).tobytes()
        at = self.base + self.size
        self.parts.append(blob + bytes(-len(blob) % 64))
        self.size += len(self.parts[-1])
        return at

    def listed(self, arrays):
        """Address of the list of their addresses."""
        return self.put(np.array([self.put(array) for array in arrays], np.int64))


BEFORE = tiles.STRIP  # rows of the matrix that are somebody else's
CASES = [
    *(("tile", count) for count in (16, 17, 128)),
    *(("tile_lanes", count) for count in (1, 17, 256)),
    *((part, count) for part in ("strip", "strip_lanes") for count in (1, 7, 40)),
]


def drawn(part, count):
    """Weights (rows, columns) of all 7 bits and the lanes' bytes of all 8, at their ends too; which groups are left."""
    shape, rng = tiles.PARTS[part], np.random.default_rng(count)
    groups = np.sort(rng.choice(250, count, replace=False)) if shape.listed else np.arange(count)
    columns = 1000 if shape.listed else 4 * count
    weight = rng.integers(-64, 65, (shape.strips * tiles.STRIP, columns)).astype(np.int8)
    bytes_ = rng.integers(0, 256, (shape.lanes, columns)).astype(np.uint8)
    weight[0], weight[1], bytes_[:, : columns // 2] = 64, -64, 255
    left = np.isin(np.arange(columns // 4), groups).repeat(4)
    return weight * left, bytes_, groups.astype(np.uint16)


def around(values):
    """``values`` of the rows with others of the rows before."""
    return np.concatenate([np.full(BEFORE, 77, values.dtype), values])


def put_case(memory, name, part, count, out):
    """Arguments of a kernel of variant ``name`` whose results go to ``out``, and what they must be, (lanes, rows)."""
    weight, bytes_, groups = drawn(part, count)
    rng, rows = np.random.default_rng(count), len(weight)
    offset = rng.integers(-(1 << 20), 1 << 20, rows).astype(np.int32)
    factor, bias = rng.normal(size=(2, rows)).astype(np.float32)
    found = blocks.split(weight)[:, groups]
    start = tiles.started(offset, weight, name)
    arguments = [memory.put(found), *([memory.put(groups)] if tiles.PARTS[part].listed else []), count]
    arguments += [memory.listed(bytes_), *(memory.put(around(v)) for v in (start, factor, bias))]
    outs = memory.put(np.array([out + i * (BEFORE + rows) * 4 for i in range(len(bytes_))], np.int64))
    total = bytes_.astype(np.int32) @ weight.T.astype(np.int32) + offset
    return [*arguments, outs, BEFORE * 4], total.astype(np.float32) * factor + bias


def all_cases(base, name):
    """Memory, the calls of every case, where the results are and how many bytes, and what must be there, in a row."""
    sizes = [(BEFORE + part.strips * tiles.STRIP) * part.lanes for part in (tiles.PARTS[p] for p, _ in CASES)]
    memory, calls, want = Memory(base), [], []
    begin = at = memory.put(np.zeros(sum(sizes), np.float32))
    for (part, count), size in zip(CASES, sizes, strict=True):
        arguments, expected = put_case(memory, name, part, count, at)
        calls.append((part, arguments))
        want.append(np.pad(expected, ((0, 0), (BEFORE, 0))).ravel())
        at += size * 4
    return b"".join(memory.parts), calls, (begin, at - begin), np.concatenate(want)


@pytest.mark.skipif(bool(emulated.NO_ARM), reason=emulated.NO_ARM)
@pytest.mark.parametrize("name", ["i8mm", "dotprod", "plain"])
def test_arm_gives_the_same_sums(name, tmp_path):
    """Run by an emulator."""
    memory, calls, (_, size), want = all_cases(emulated.ARM_MEMORY, name)
    after = emulated.on_arm(text_of(name), memory, calls, tmp_path)
    np.testing.assert_array_equal(np.frombuffer(after[:size], np.float32), want)


@pytest.mark.skipif(bool(emulated.NO_AVX512), reason=emulated.NO_AVX512)
@pytest.mark.parametrize("name", ["avx512vnni", "avx512", "avxvnni"])
def test_avx512_gives_the_same_sums(name, tmp_path):
    """Run by an emulator. It knows vpdpbusd on ymm as a part of AVX-512 only: another prefix, the same work."""
    memory, calls, out, want = all_cases(emulated.PC_MEMORY, name)
    after = emulated.on_avx512(text_of(name).replace("{vex}", ""), memory, calls, out, tmp_path)
    np.testing.assert_array_equal(np.frombuffer(after, np.float32), want)


def call(kernel, *arguments):
    """One of the kernels, which only what numba compiles can call."""

    @njit
    def caller(*words):
        kernel(*words)

    caller(*arguments)


def test_this_machine_gives_the_same_sums():
    place = aligned(1 << 17, np.uint8)
    memory, calls, (_, size), want = all_cases(address(place), "")
    place[: len(memory)] = np.frombuffer(memory, np.uint8)
    for part, arguments in calls:
        call(getattr(tiles, f"int8_{part}"), *arguments)
    np.testing.assert_array_equal(np.frombuffer(place[:size].tobytes(), np.float32), want)


@pytest.mark.parametrize("listed", [False, True])
def test_fp32_is_the_same_sum_for_one_lane_and_for_several(listed):
    """To the bit; and it is the sum, to fp32's precision."""
    count, rows = 9, tiles.STRIP if listed else tiles.ROWS
    rng = np.random.default_rng(4)
    weight, bias = rng.normal(size=(rows, count * 4)).astype(np.float32), rng.normal(size=rows).astype(np.float32)
    inputs = rng.normal(size=(tiles.LANES, count * 4)).astype(np.float32)
    packed = aligned(weight.size, np.float32)
    packed[:] = blocks.split(weight).swapaxes(-1, -2).ravel()
    groups = np.arange(count, dtype=np.uint16)
    outs = np.zeros((2, tiles.LANES, rows), np.float32)
    sources, to = (np.array([address(v) for v in vectors], np.int64) for vectors in (inputs, outs.reshape(-1, rows)))
    columns = [address(groups)] if listed else []
    one, several = (tiles.fp32_strip, tiles.fp32_strip_lanes) if listed else (tiles.fp32_tile, tiles.fp32_tile_lanes)
    for i in range(tiles.LANES):
        call(one, address(packed), *columns, count, address(sources) + i * 8, address(bias), address(to) + i * 8, 0)
    for s in range(rows // tiles.STRIP):
        at, down = address(packed) + s * count * tiles.BLOCK * 4, s * tiles.STRIP * 4
        call(several, at, *columns, count, address(sources), address(bias), address(to) + tiles.LANES * 8, down)
    np.testing.assert_array_equal(outs[1], outs[0])
    np.testing.assert_allclose(outs[0], inputs.astype(np.float64) @ weight.T.astype(np.float64) + bias, atol=1e-5)


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
