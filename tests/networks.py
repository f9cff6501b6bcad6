"""Small random networks of every architecture, lively enough to wander over all levels."""

from functools import cache

import numpy as np

from engine import blocks
from engine.checkpoint import Checkpoint, tensor_shapes
from engine.config import ModelConfig

ARCHITECTURES = {
    "gru": ModelConfig(dim=24, emb_size=8, frame_sizes=(4, 8), q_levels=32),
    "one-tier": ModelConfig(dim=20, emb_size=8, frame_sizes=(16,), q_levels=64, n_rnn=3, mlp_dim=32, weight_norm=False),
    "three-tiers": ModelConfig(dim=16, emb_size=5, frame_sizes=(2, 4, 8), q_levels=16, mlp_layers=1, mlp_dim=70),
    "lstm": ModelConfig(dim=12, emb_size=8, frame_sizes=(2, 8), q_levels=32, rnn="lstm", n_rnn=2, h0="random"),
    "lstm-skip": ModelConfig(dim=18, emb_size=8, frame_sizes=(4, 8), q_levels=32, rnn="lstm", n_rnn=3, skip=True),
    "gru-skip": ModelConfig(dim=66, emb_size=8, frame_sizes=(16,), q_levels=256, n_rnn=2, skip=True, h0="zeros"),
    "mu-law": ModelConfig(dim=32, emb_size=8, frame_sizes=(4, 16), q_levels=256, q_type="mu-law", preemphasis=0.85),
    "gru-pruned": ModelConfig(dim=72, emb_size=8, frame_sizes=(4, 8), q_levels=64, mlp_dim=88),
    "lstm-pruned": ModelConfig(dim=40, emb_size=8, frame_sizes=(2, 4, 8), q_levels=32, rnn="lstm", n_rnn=2),
    "skip-pruned": ModelConfig(
        dim=36, emb_size=8, frame_sizes=(8,), q_levels=32, n_rnn=2, skip=True, weight_norm=False
    ),
}
BACKENDS = ("cpu", "reference")  # that compute anywhere, at every precision (the GPU's: test_cuda.py)
LEFT = 0.35  # share of the blocks of a pruned one's matrices


@cache
def network(name: str, seed: int = 0) -> Checkpoint:
    """A checkpoint with random weights and generous activation ranges."""
    config = ARCHITECTURES[name]
    rng = np.random.default_rng(seed)
    tensors = {}
    for tensor, shape in tensor_shapes(config).items():
        fan_in = np.prod(shape[2 if ".up." in tensor else 1 :]) if len(shape) > 1 else 4
        scale = 1.0 if tensor.endswith(("weight_g", "h0", "c0", "embedding")) else 1.5 / np.sqrt(fan_in)
        tensors[tensor] = (rng.normal(size=shape) * scale).astype(np.float32)
    tensors["mlp.output.bias"] *= 0.1
    if name.endswith("pruned"):
        prune(tensors, rng)
    ranges = {"mlp.1": 6.0, "mlp.2": 6.0}
    for i in range(config.n_tiers):
        ranges |= {f"tier.{i}.input": 5.0, f"tier.{i}.output": 5.0}
    return Checkpoint(config, tensors, playing={"ranges": ranges}, name=name)


def prune(tensors, rng) -> None:
    """Only some blocks stay of every matrix that the trainer prunes; of the output and one other all do."""
    for name, value in tensors.items():
        pruned = name.endswith((".weight", ".weight_v")) and ".input" not in name and "mlp.output" not in name
        if pruned and "rnn.1.hh" not in name:
            there = blocks.there(value)
            left = rng.random(there.shape) < LEFT
            if name.endswith("weight_v"):  # a row of nothing has no direction
                left[..., 0] |= ~left.any(axis=-1)
            whole = left.repeat(blocks.ROWS, axis=-2).repeat(blocks.COLUMNS, axis=-1)
            value *= whole[..., : value.shape[-2], : value.shape[-1]]
