"""Other people's checkpoints: the state dictionaries of deepsound-project/samplernn-pytorch, read into a Checkpoint.

Only tensors are read (``weights_only=True``). The file says neither sample rate nor quantisation: the caller does.
Weight norm is multiplied out, because that project normalises some matrices only and its up-projection along
another axis. Its frame sizes are ratios, ours absolute; its tier i has the keys ``model.frame_level_rnns.{i}``.
"""

from __future__ import annotations

import os
import pickle
import re
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.checkpoint import Checkpoint, Tensors, tensor_shapes
from engine.config import ModelConfig

Array = NDArray[np.float32]


class _Dictionary:
    """A state dictionary whose matrices are fetched with their weight norm multiplied out."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays

    def vector(self, key: str) -> Array:
        if key not in self.arrays:
            raise ValueError(f"tensor model.{key} is missing: not a samplernn-pytorch checkpoint")
        return self.arrays[key]

    def matrix(self, key: str) -> Array:
        """Weight ``key``: plain, or g v / |v| with the norm over every axis but the first."""
        if f"{key}.weight" in self.arrays:
            return self.arrays[f"{key}.weight"]
        new = f"{key}.parametrizations.weight.original"
        old = f"{key}.weight_"
        g_key, v_key = (f"{new}0", f"{new}1") if f"{new}0" in self.arrays else (f"{old}g", f"{old}v")
        g, v = self.vector(g_key).astype(np.float64), self.vector(v_key).astype(np.float64)
        norm = np.sqrt(np.sum(v * v, axis=tuple(range(1, v.ndim)), keepdims=True))
        baked: Array = (g * v / norm).astype(np.float32)
        return baked

    @property
    def ratios(self) -> tuple[int, ...]:
        """Frames of one tier in a frame of the next, lowest first, as that project's ``frame_sizes``."""
        found: list[int] = []
        while f"frame_level_rnns.{len(found)}.upsampling.bias" in self.arrays:
            found.append(self.vector(f"frame_level_rnns.{len(found)}.upsampling.bias").shape[-1])
        if not found:
            raise ValueError("no model.frame_level_rnns tensors: not a samplernn-pytorch checkpoint")
        return tuple(found)


def load_foreign(
    path: str | os.PathLike[str],
    sample_rate: int,
    q_type: str = "linear",
    source: dict[str, Any] | None = None,
) -> Checkpoint:
    """Read a samplernn-pytorch checkpoint.

    Args:
        path: what that project's trainer saved.
        sample_rate: Hz of the sound it was trained on; the file does not say.
        q_type: how its sound was quantised (that project's default is linear).
        source: title, author, licence, for the new checkpoint.

    Raises:
        ValueError: one line with the file and what is wrong with it.
    """
    path = Path(path)
    try:
        return _converted(_Dictionary(_read(path)), path.stem, sample_rate, q_type, source or {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Array]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("not a file of tensors that torch can read safely") from None
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError("no dictionary of tensors: a samplernn-pytorch state_dict expected")
    return {re.sub(r"^model\.", "", str(key)): value.float().numpy() for key, value in loaded.items()}


def _converted(d: _Dictionary, name: str, sample_rate: int, q_type: str, source: dict[str, Any]) -> Checkpoint:
    ratios = d.ratios
    embedding = d.vector("sample_level_mlp.embedding.weight")
    n_rnn, dim = d.vector("frame_level_rnns.0.h0").shape
    config = ModelConfig(
        sample_rate=sample_rate,
        q_levels=embedding.shape[0],
        q_type=q_type,
        frame_sizes=tuple(accumulate(ratios, mul)),
        dim=dim,
        emb_size=embedding.shape[1],
        n_rnn=n_rnn,
        weight_norm=False,
    )
    tensors: Tensors = {"embedding": embedding}
    for i in range(config.n_tiers):
        tensors.update(_tier(d, i, n_rnn))
    mlp = "sample_level_mlp"
    tensors["mlp.input.weight"] = d.matrix(f"{mlp}.input").transpose(0, 2, 1)  # theirs (D, emb, f0)
    for level in ("hidden", "output"):
        tensors[f"mlp.{level}.weight"] = d.matrix(f"{mlp}.{level}")[:, :, 0]
        tensors[f"mlp.{level}.bias"] = d.vector(f"{mlp}.{level}.bias")
    for key, shape in tensor_shapes(config).items():
        if tensors[key].shape != shape:
            raise ValueError(f"tensor {key}: shape {tensors[key].shape}: {shape} expected")
        if not np.isfinite(tensors[key]).all():
            raise ValueError(f"tensor {key}: not every value is finite")
    tensors = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}
    return Checkpoint(config, tensors, {"recipe": "samplernn-pytorch"}, source, name=name)


def _tier(d: _Dictionary, i: int, n_rnn: int) -> Tensors:
    """Tensors of tier ``i`` under our names; their transposed convolution is (in, out, slot), ours (slot, out, in)."""
    theirs, ours = f"frame_level_rnns.{i}", f"tier.{i}"
    tensors: Tensors = {
        f"{ours}.input.weight": d.matrix(f"{theirs}.input_expand")[:, :, 0],
        f"{ours}.input.bias": d.vector(f"{theirs}.input_expand.bias"),
        f"{ours}.up.weight": d.matrix(f"{theirs}.upsampling.conv_t").transpose(2, 1, 0),
        f"{ours}.up.bias": d.vector(f"{theirs}.upsampling.bias").T,
        f"{ours}.h0": d.vector(f"{theirs}.h0"),
    }
    for k in range(n_rnn):
        for half in ("ih", "hh"):
            tensors[f"{ours}.rnn.{k}.{half}.weight"] = d.vector(f"{theirs}.rnn.weight_{half}_l{k}")
            tensors[f"{ours}.rnn.{k}.bias_{half}"] = d.vector(f"{theirs}.rnn.bias_{half}_l{k}")
    return tensors
