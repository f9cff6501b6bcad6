"""Compile every kernel as the poster's and the metal network launch it, for sm_90; no GPU is needed.

    python tests/cuda_compile.py [--plain] [--table] [voices ...]

Prints programs, registers and shared memory of each, and fails where registers spill or where a kernel that waits for
the one in front has not read the weights by then that it is to hold, or has read something else. ``--plain`` is without
programmatic dependent launch, ``--table`` only counts. A script for a child process: Triton must not be told to
interpret.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from engine.config import ModelConfig
from engine.cuda import kernels, runs
from engine.cuda.buffers import Block, Shape
from engine.cuda.weights import Weights
from engine.folding import fold
from engine.seeded import network

POSTER = ModelConfig(dim=1024, frame_sizes=(8, 16))
METAL = ModelConfig(dim=1024, frame_sizes=(16,), rnn="lstm", n_rnn=5, skip=True, sample_rate=16000)
NAMES = ("dice", "rows", "enter", "cell", "front", "back", "gather", "speak", "last")
KERNELS = {name: getattr(kernels, name) for name in NAMES}
BIN = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip
WIDTHS = {".U8": 1, ".S8": 1, ".U16": 2, ".S16": 2, ".64": 8, ".128": 16}  # bytes a thread of SASS loads, or 4
WARPS = 4
# What no kernel of a run writes.
CONSTANT = {"weight", "bias", "lead", "frames", "up", "bias_up", "lane_of", "side_of"}


class Recorder:
    """Takes launches instead of a kernel: (name, programs, options, kinds of arguments) and how often."""

    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def __getitem__(self, grid):
        def launched(*args, **options):
            kinds = [self._kind(p, a) for p, a in zip(KERNELS[self.name].params, args, strict=True)]
            self.seen[self.name, prod(grid), tuple(sorted(options.items())), *kinds] += 1

        return launched

    @staticmethod
    def _kind(param, value):
        if param.is_constexpr:
            return ("constexpr", value)
        if isinstance(value, torch.Tensor):
            return (TYPES[value.dtype], None)
        return ("i32" if isinstance(value, int) else "fp32", None)


def launches(config, voices, programmatic):
    """Every kernel of a run of 64, and how often."""
    weights = Weights(fold(network(config, "seeded"), "fp16"), torch.device("cpu"))
    shape = Shape(config, voices, (), 64, weights.apart)
    steps = runs.Fused(shape, weights, Block(shape, torch.device("cpu")), programmatic)
    seen = Counter()
    for name in NAMES:
        setattr(kernels, name, Recorder(name, seen))
    runs.run(steps, shape, 0, 64)
    return seen


def compiled(name, options, kinds):
    """One kernel for sm_90."""
    function = KERNELS[name]
    signature = {p.name: kind for p, (kind, _) in zip(function.params, kinds, strict=True)}
    constants = {(i,): v for i, (kind, v) in enumerate(kinds) if kind == "constexpr"}
    attributes = {(i,): [["tt.divisibility", 16]] for i, (kind, _) in enumerate(kinds) if kind.startswith("*")}
    source = ASTSource(function, signature, constants, attributes)
    return triton.compile(source, GPUTarget("cuda", 90, 32), options=dict(options))


def disassembled(made):
    """(registers, bytes of stack, the lines of SASS): what a thread spills lies on its stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [BIN / "cuobjdump", "-res-usage", "-sass", file.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = (int(re.search(rf"{word}:(\d+)", said)[1]) for word in ("REG", "STACK"))
    return registers, stack, said.splitlines()


def early_bytes(lines):
    """Of each wait of a kernel, in SASS: bytes that a program has asked memory for since the branch before it."""
    found, held = [], 0
    for line in lines:
        if ".L_x" in line or (re.search(r"\b(BRA|EXIT)\b", line) and "@" not in line):
            held = 0
        if load := re.search(r"\bLDG(?:STS)?\.E((?:\.\w+)*)", line):
            widths = [WIDTHS[f".{part}"] for part in load[1].split(".") if f".{part}" in WIDTHS]
            held += (widths or [4])[0] * WARPS * 32
        if "ACQBULK" in line:
            found.append(held)
            held = 0
    return found


def read_early(ptx, names):
    """Arguments that a kernel reads memory of before it waits, and those after: addresses followed back in PTX."""
    made, early, late, block = {}, set(), set(), []
    for line in ptx.splitlines():
        if param := re.search(r"ld\.param\.\w+\s+(%\w+), \[\w+_param_(\d+)\]", line):
            made[param[1]] = {names[int(param[2])]} if int(param[2]) < len(names) else set()
        elif load := re.search(r"(?:ld\.global|cp\.async\.c)\S*\s+(?:\{.*?\}|\[.*?\]|%\w+), \[\s*(%\w+)", line):
            block.append(made.get(load[1], set()))
        elif "griddepcontrol.wait" in line:
            early |= set().union(*block)
            block = []
        elif re.search(r"^\$L__BB|\bbra\b", line):
            late |= set().union(*block)
            block = []
        elif step := re.search(r"^\s*(?:@\S+ )?\w\S*\s+(%rd\d+), (.*);", line):
            made[step[1]] = set().union(*(made.get(word, set()) for word in re.findall(r"%rd\d+", step[2])))
    return early, late | set().union(*block)


def held_bytes(name, constants):
    """What each wait of a kernel has to find in registers, in order; weights of tensor cores are not among it."""
    c = {"DOT": False, **constants}
    if name == "back":
        speaking = [c["BR"] * c["STEP"] * 2] if c["SPEAK"] else []
        return [*speaking, 0, *([c["BU"] * c["STEP_UP"] * 2] if c["UP"] else [])]
    if name in ("dice", "gather", "last") or c["DOT"] or not c.get("LEAD", True) or not c.get("HIDDEN", True):
        return [0] if name != "dice" else []
    return [(4 if c.get("LSTM") else 3 if name == "cell" else 1) * c["BR"] * c["STEP"] * 2]


def looked_at(kernel, options, kinds, waits):
    """A line about one compiled kernel, and what is wrong with it."""
    made = compiled(kernel, options, kinds)
    registers, stack, lines = disassembled(made)
    line, wrong = f"{registers:3} registers {stack:3} spilled {made.metadata.shared:6} shared", []
    if stack:
        wrong.append("spills")
    if waits:
        params = KERNELS[kernel].params
        names = [p.name for p in params if not p.is_constexpr]
        constants = {p.name: v for p, (_, v) in zip(params, kinds, strict=True) if p.is_constexpr}
        early, late = read_early(made.asm["ptx"], names)
        held, wanted = early_bytes(lines), held_bytes(kernel, constants)
        line += f"  early {held}"
        if not early <= CONSTANT:
            wrong.append(f"reads {early - CONSTANT} before it waits")
        # biases and the like are a few bytes a thread
        if len(held) != len(wanted) or any(not w <= h < w + 16384 for h, w in zip(held, wanted, strict=False)):
            wrong.append(f"holds {held} bytes as it waits: {wanted} expected")
        if sum(wanted) and not constants.get("MORE") and late & {"weight", "lead", "up"}:
            wrong.append(f"reads {late & CONSTANT} after it has waited")
    return line, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("voices", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    known, failed = {}, []
    for config, name in ((POSTER, "poster"), (METAL, "metal")):
        for count in asked.voices:
            for (kernel, programs, options, *kinds), times in launches(config, count, not asked.plain).items():
                said = f"{name:6} {count:2} voices  {kernel:6} {times:3} a run {programs:4} programs"
                fixed = tuple(option for option in options if option[0] != "launch_pdl")
                key = kernel, fixed, *kinds
                if not asked.table and key not in known:
                    known[key] = looked_at(kernel, fixed, kinds, not asked.plain)
                line, wrong = known.get(key, ("", []))
                overlaps = "overlaps" if len(fixed) < len(options) else "        "
                print(f"{said}  {overlaps}  {line}", flush=True)
                failed += [f"{said}: {each}" for each in wrong]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
