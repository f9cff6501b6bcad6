"""How a player's runs may be made, the best first; the next is taken where one cannot be captured, or is not right.

``overlapping``: Triton's kernels, branches beside the chain, each kernel started before the one in front has ended.
``ordered``: the same kernels one after another. ``plain``: PyTorch's own.
"""

from __future__ import annotations

from engine.cuda.buffers import Block, Shape
from engine.cuda.plain import Plain
from engine.cuda.runs import Steps
from engine.cuda.weights import Weights

NEWS = {
    "ordered": "the GPU's kernels cannot overlap ({}): they run one after another, somewhat slower",
    "plain": "the GPU's kernels cannot be had ({}): PyTorch's own, several times slower",
}


def ways(path: str, on_gpu: bool) -> list[str]:
    """What ``path`` may mean: ``auto`` all of them, ``triton`` all that are Triton's, else what it says."""
    kernels = ["overlapping", "ordered"] if on_gpu else ["ordered"]
    return {"auto": [*kernels, "plain"], "triton": kernels}.get(path, [path])


def make(way: str, shape: Shape, weights: Weights, block: Block) -> Steps:
    """The steps of one way. Raises whatever Triton has against it."""
    if way == "plain":
        return Plain(shape, weights, block)
    from engine.cuda.runs import Fused, InOrder

    return Fused(shape, weights, block) if way == "overlapping" else Fused(shape, weights, block, False, InOrder())
