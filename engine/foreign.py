"""Other people's checkpoints: the state dictionaries of deepsound-project/samplernn-pytorch, read into a Checkpoint.

Only tensors are read (``weights_only=True``), by torch, which is imported when a file looks like one of its own. The
file says neither sample rate nor quantisation: the caller does. Weight norm is multiplied out, because that project
normalises some matrices only and its up-projection along another axis. Its frame sizes are ratios, ours absolute; its
tier i has the keys ``model.frame_level_rnns.{i}``.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import Checkpoint, Tensors, check_tensors
from engine.config import ModelConfig

Array = NDArray[np.float32]

EXPECTED = "a state_dict saved by samplernn-pytorch expected"


class _Dictionary:
    """A state dictionary whose matrices are fetched with their weight norm multiplied out."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays

    def vector(self, key: str, axes: int) -> Array:
        if key not in self.arrays:
            raise ValueError(f"tensor model.{key} is missing: not a samplernn-pytorch checkpoint")
        if self.arrays[key].ndim != axes:
            raise ValueError(f"tensor model.{key}: shape {self.arrays[key].shape}: {axes} axes expected")
        return self.arrays[key]

    def matrix(self, key: str) -> Array:
        """Weight ``key`` of three axes: plain, or g v / |v| with the norm over every axis but the first."""
        if f"{key}.weight" in self.arrays:
            return self.vector(f"{key}.weight", 3)
        new = f"{key}.parametrizations.weight.original"
        old = f"{key}.weight_"
        g_key, v_key = (f"{new}0", f"{new}1") if f"{new}0" in self.arrays else (f"{old}g", f"{old}v")
        g, v = self.vector(g_key, 3).astype(np.float64), self.vector(v_key, 3).astype(np.float64)
        norm = np.sqrt(np.sum(v * v, axis=(1, 2), keepdims=True))
        with np.errstate(all="ignore"):  # what comes of it is looked at later
            baked: Array = (g * v / norm).astype(np.float32)
        return baked

    @property
    def ratios(self) -> tuple[int, ...]:
        """Frames of one tier in a frame of the next, lowest first, as that project's ``frame_sizes``."""
        found: list[int] = []
        while f"frame_level_rnns.{len(found)}.upsampling.bias" in self.arrays:
            found.append(self.vector(f"frame_level_rnns.{len(found)}.upsampling.bias", 2).shape[-1])
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
    check_file(path)
    try:
        return _converted(_Dictionary(_read(path)), path.stem, sample_rate, q_type, source or {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Array]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the file was made
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of any kind: its reader believes what the file says
        raise ValueError(f"torch cannot read it safely: {EXPECTED}") from None
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError(f"no dictionary of tensors: {EXPECTED}")
    try:
        return {re.sub(r"^model\.", "", str(key)): value.float().numpy() for key, value in loaded.items()}
    except (RuntimeError, TypeError, NotImplementedError):
        raise ValueError(f"sparse, quantised or empty tensors in it: {EXPECTED}") from None


def check_file(path: Path) -> None:
    """Raise ValueError for what torch.save has not written, before torch, which takes seconds, is imported."""
    try:
        if not path.is_file():
            raise ValueError("not a file" if path.exists() else "no such file")
        with path.open("rb") as file:
            pickled = file.read(1) == b"\x80"
        if not pickled and not _is_archive(path):
            raise ValueError("not what torch.save writes")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}: {EXPECTED}") from None


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def _converted(d: _Dictionary, name: str, sample_rate: int, q_type: str, source: dict[str, Any]) -> Checkpoint:
    ratios = d.ratios
    embedding = d.vector("sample_level_mlp.embedding.weight", 2)
    n_rnn, dim = d.vector("frame_level_rnns.0.h0", 2).shape
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
        tensors[f"mlp.{level}.bias"] = d.vector(f"{mlp}.{level}.bias", 1)
    tensors = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}
    check_tensors(tensors, config)
    return Checkpoint(config, tensors, {"recipe": "samplernn-pytorch"}, source, name=name)


def _tier(d: _Dictionary, i: int, n_rnn: int) -> Tensors:
    """Tensors of tier ``i`` under our names; their transposed convolution is (in, out, slot), ours (slot, out, in)."""
    theirs, ours = f"frame_level_rnns.{i}", f"tier.{i}"
    tensors: Tensors = {
        f"{ours}.input.weight": d.matrix(f"{theirs}.input_expand")[:, :, 0],
        f"{ours}.input.bias": d.vector(f"{theirs}.input_expand.bias", 1),
        f"{ours}.up.weight": d.matrix(f"{theirs}.upsampling.conv_t").transpose(2, 1, 0),
        f"{ours}.up.bias": d.vector(f"{theirs}.upsampling.bias", 2).T,
        f"{ours}.h0": d.vector(f"{theirs}.h0", 2),
    }
    for k in range(n_rnn):
        for half in ("ih", "hh"):
            tensors[f"{ours}.rnn.{k}.{half}.weight"] = d.vector(f"{theirs}.rnn.weight_{half}_l{k}", 2)
            tensors[f"{ours}.rnn.{k}.bias_{half}"] = d.vector(f"{theirs}.rnn.bias_{half}_l{k}", 1)
    return tensors
