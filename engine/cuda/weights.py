"""A folded network as the GPU's kernels read it: padded matrices in one block of memory each kind, fp16 and fp32.

Shapes come from the architecture alone, so that another network of it is copied over this one while nothing plays it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.folding import Dense, Folded, FoldedTier

PAD = 64  # rows and columns come in multiples of it
LARGEST_STEP = 1024  # columns read at once

Arrays = dict[str, NDArray[np.float32]]
Architecture = tuple[ModelConfig, bool]


def padded(n: int) -> int:
    """``n`` rounded up."""
    return -(-n // PAD) * PAD


def step_of(columns: int) -> int:
    """Columns read at once: the largest power of two that divides them."""
    return min(columns & -columns, LARGEST_STEP)


def architecture(folded: Folded) -> Architecture:
    """Equal for networks that may be loaded over each other."""
    return folded.config, _apart(folded)


class Weights:
    """All tensors of a network on ``device``, by name; ``halves`` are matrices and tables.

    Raises ValueError from :meth:`load` for a network of another architecture.
    """

    def __init__(self, folded: Folded, device: torch.device) -> None:
        self.config = folded.config
        self.apart = _apart(folded)
        arrays = {name: _arrays(folded, name) for name in ("halves", "floats")}
        kinds = {"halves": torch.float16, "floats": torch.float32}
        self._shapes = {kind: {name: a.shape for name, a in found.items()} for kind, found in arrays.items()}
        self._blocks = {
            kind: torch.zeros(sum(_room(a) for a in found.values()), dtype=kinds[kind], device=device)
            for kind, found in arrays.items()
        }
        self.at: dict[str, torch.Tensor] = {}
        for kind, found in arrays.items():
            start = 0
            for name, array in found.items():
                self.at[name] = self._blocks[kind][start : start + array.size].view(array.shape)
                start += _room(array)
        self.load(folded)

    def load(self, folded: Folded) -> None:
        """Copy a network over this one: of one architecture, so nothing is allocated on the device."""
        arrays = {name: _arrays(folded, name) for name in ("halves", "floats")}
        shapes = {kind: {name: a.shape for name, a in found.items()} for kind, found in arrays.items()}
        if folded.config != self.config or shapes != self._shapes:
            raise ValueError("network: of another architecture")
        for kind, block in self._blocks.items():
            packed = np.zeros(len(block), np.float16 if kind == "halves" else np.float32)
            start = 0
            for array in arrays[kind].values():
                packed[start : start + array.size] = array.ravel()
                start += _room(array)
            block.copy_(torch.from_numpy(packed))


def _apart(folded: Folded) -> bool:
    """Whether tiers' inputs are vectors of their own, and no part of the first layer's gates."""
    return folded.tiers[0].layers[0].entry is not None


def _room(array: NDArray[Any]) -> int:
    """Numbers from one tensor to the next: each begins on 256 bytes."""
    return -(-array.size // 128) * 128


def _arrays(folded: Folded, kind: str) -> Arrays:
    """Matrices (``halves``) or the rest (``floats``) by name, padded."""
    found: Arrays = {}
    c = folded.config
    mlp = padded(c.mlp_dim)
    if kind == "halves":
        found["table"] = _grown(folded.table.astype(np.float32), mlp)
    for name, d in (("hidden", folded.hidden), ("output", folded.output)):
        if d is not None:
            found |= _dense(name, [d], kind, c, gates=False)
    for i, tier in enumerate(folded.tiers):
        found |= _tier(f"tier.{i}", tier, kind, c)
    return found


def _tier(name: str, tier: FoldedTier, kind: str, c: ModelConfig) -> Arrays:
    found: Arrays = {}
    gates = tier.layers[0].entry is None
    if kind == "floats":
        found[f"{name}.frames"] = _rows(tier.frames, c, gates)
        found[f"{name}.entry.bias"] = np.stack([_rows(bias, c, gates) for bias in tier.entry_bias])
    if tier.cond:
        found |= {key: a for key, a in _dense(f"{name}.cond", tier.cond, kind, c, gates).items() if "bias" not in key}
    if tier.up:
        found |= _dense(f"{name}.up", tier.up, kind, c, gates=False)
    for k, layer in enumerate(tier.layers):
        for part in ("below", "entry", "hh", "skip"):
            matrix: Dense | None = getattr(layer, part)
            if matrix is not None:
                found |= _dense(f"{name}.{k}.{part}", [matrix], kind, c, gates=part != "skip")
    return found


def _dense(name: str, matrices: Sequence[Dense], kind: str, c: ModelConfig, gates: bool) -> Arrays:
    if kind == "halves":
        grown = [_grown(_rows(d.weight.astype(np.float32), c, gates), padded(d.weight.shape[1])) for d in matrices]
        return {name: np.stack(grown)}
    return {f"{name}.bias": np.stack([_rows(d.bias, c, gates) for d in matrices])}


def _rows(values: NDArray[np.float32], c: ModelConfig, gates: bool) -> NDArray[np.float32]:
    """More rows, zeros: behind each gate, or behind all."""
    parts = np.split(values, c.gates) if gates else [values]
    grown = [np.concatenate([p, np.zeros((padded(len(p)) - len(p), *p.shape[1:]), p.dtype)]) for p in parts]
    return np.concatenate(grown)


def _grown(values: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """More columns, zeros."""
    result = np.zeros((*values.shape[:-1], columns), np.float32)
    result[..., : values.shape[-1]] = values
    return result
