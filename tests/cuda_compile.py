"""Compile every kernel as the poster's, the metal and the default network launch it, for sm_90; no GPU is needed.

    python tests/cuda_compile.py [voices ...]

Prints registers spilled and shared memory of each. A script for a child process: Triton must not be told to interpret.
"""

import sys
from collections import Counter
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
TYPES = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip


class Recorder:
    """Takes launches instead of a kernel."""

    def __init__(self, kernel, seen):
        self.kernel, self.seen = kernel, seen

    def __getitem__(self, grid):
        def launched(*args, **options):
            self.seen[self.kernel.__name__, *map(self._kind, self.kernel.params, args)] += 1

        return launched

    @staticmethod
    def _kind(param, value):
        if param.is_constexpr:
            return ("constexpr", value)
        if isinstance(value, torch.Tensor):
            return (TYPES[value.dtype], None)
        return ("i32" if isinstance(value, int) else "fp32", None)


def launches(config, voices, seen):
    """Every kernel of a run, with the kinds of its arguments."""
    folded = fold(network(config, "seeded"), "fp16")
    weights = Weights(folded, torch.device("cpu"))
    shape = Shape(config, voices, (), 64, weights.apart)
    steps = runs.Fused(shape, weights, Block(shape, torch.device("cpu")))
    for name in ("dice", "rows", "enter", "cell", "front", "back", "gather", "speak", "last"):
        setattr(kernels, name, Recorder(getattr(KERNELS, name), seen))
    runs.run(steps, shape, 0, 64)


class KERNELS:
    """The kernels themselves."""

    dice, rows, enter, cell = kernels.dice, kernels.rows, kernels.enter, kernels.cell
    front, back, gather, speak, last = kernels.front, kernels.back, kernels.gather, kernels.speak, kernels.last


def main():
    voices = [int(word) for word in sys.argv[1:]] or [1, 16]
    for config, name in ((POSTER, "poster"), (METAL, "metal")):
        for count in voices:
            seen = Counter()
            launches(config, count, seen)
            for (kernel, *kinds), times in seen.items():
                function = getattr(KERNELS, kernel)
                signature = {p.name: kind for p, (kind, _) in zip(function.params, kinds, strict=True)}
                constants = {(i,): v for i, (kind, v) in enumerate(kinds) if kind == "constexpr"}
                attributes = {
                    (i,): [["tt.divisibility", 16]] for i, (kind, _) in enumerate(kinds) if kind.startswith("*")
                }
                source = ASTSource(function, signature, constants, attributes)
                made = triton.compile(source, GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
                shared = made.metadata.shared
                print(f"{name:7} {count:3} voices  {kernel:7} {times:4} a run  {shared:6} bytes shared", flush=True)


if __name__ == "__main__":
    main()
