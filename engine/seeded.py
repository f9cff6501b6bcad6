"""Networks of random weights, whole or with blocks taken away: something to measure. NumPy alone.

How fast a network plays is its shape's doing, and of its blocks that are there; not of what it has learned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine import blocks
from engine.checkpoint import Checkpoint, tensor_shapes
from engine.config import ModelConfig

Shares = tuple[float, float, float]  # of the blocks left: of the tiers, of the sample level, of its output
DENSE: Shares = (1.0, 1.0, 1.0)
_RANGE = 6.0  # of any activation: none of a random network's is measured


def network(config: ModelConfig, name: str, left: Shares = DENSE, seed: int = 0) -> Checkpoint:
    """Random weights that keep every unit busy, without weight norm; ready to be played at any precision."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for tensor, shape in tensor_shapes(config, weight_norm=False).items():
        fan_in = int(np.prod(shape[2 if ".up." in tensor else 1 :])) if len(shape) > 1 else 16
        tensors[tensor] = rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan_in))
    return pruned(Checkpoint(config, tensors, name=name), left)


def pruned(checkpoint: Checkpoint, left: Shares) -> Checkpoint:
    """``checkpoint``, of which the least blocks are zero; what nothing is taken from is the same array."""
    tensors: dict[str, Any] = dict(checkpoint.tensors)
    for name, weight in tensors.items():
        if (share := blocks.share_of(name, *left)) < 1.0:
            tensors[name] = np.where(blocks.largest(weight, share), weight, np.float32(0.0))
    found = replace(checkpoint, tensors=tensors)
    return replace(found, playing={**found.playing, "ranges": dict.fromkeys(found.range_names, _RANGE)})
