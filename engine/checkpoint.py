"""One self-describing file in and out: a ``.safetensors`` whose metadata says what the network is.

Read without torch. Nothing in a file is trusted: that it is a file, the format, every field of the configuration, every
tensor's name, type, shape and size of values are checked before anything else sees them, and each error is one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from engine import sparse
from engine.blocks import WORTH, density
from engine.config import ModelConfig

FORMAT = 1
LARGEST_RANGE = 1e6  # of an activation
LARGEST_WEIGHT = 1e4  # trained ones stay below 10; up to here no network of any shape leaves fp32's range
MOMENTS = "moments."  # tensors by such names are places to jump to (engine.moments)
MOST_MOMENTS = 64
_TOLD = ("sample_rate", "q_type", "preemphasis", "h0")  # fields that the shapes of the tensors do not give away
_MAX_BYTES = 4 << 30
_MAX_HEADER = 1 << 24

Tensors = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Checkpoint:
    """A network as it lies on disk.

    Attributes:
        config: its shape.
        tensors: unfolded weights by name, fp32 or fp16; see :func:`tensor_shapes`.
        training: recipe, steps, epoch, nll_bits ...
        source: title, author, licence of the sound.
        playing: ``ranges`` (activation ranges for integer precisions), ``loudness`` (dB of a free run).
        name: the file's stem.
        sha256: of the file's bytes, empty for one that was never on disk.
        moments: tensors ``moments.times``, ``.hidden``, ``.tokens``, ``.levels`` and ``.attack`` (engine.moments).
    """

    config: ModelConfig
    tensors: Tensors
    training: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    playing: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    sha256: str = ""
    moments: dict[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def apart(self) -> bool:
        """Whether the first layers' input matrices are multiplied by themselves: always with skip connections, and
        where the bottom tier's was pruned (engine.folding)."""
        if self.config.skip:
            return True
        name = "tier.0.rnn.0.ih.weight"
        return density(self.tensors[name if name in self.tensors else f"{name}_v"]) <= WORTH

    @property
    def range_names(self) -> list[str]:
        """Activations whose range precision ``int8`` must know."""
        names = self.config.range_names
        if self.apart and not self.config.skip:
            names += [f"tier.{i}.input" for i in range(self.config.n_tiers)]
        return names

    @property
    def ranges_known(self) -> bool:
        """Whether ``playing.ranges`` is there, and has what this network needs beside what any of its shape does."""
        ranges = self.playing.get("ranges", {})
        more = set(self.range_names) - set(self.config.range_names)
        return "ranges" in self.playing and not (isinstance(ranges, dict) and more - ranges.keys())

    def weight(self, name: str) -> NDArray[np.float64]:
        """Matrix ``name`` in float64 with weight norm baked: g v / |v|, norms over the last axis (axes)."""
        if f"{name}.weight" in self.tensors:
            return self.tensors[f"{name}.weight"].astype(np.float64)
        v = self.tensors[f"{name}.weight_v"].astype(np.float64)
        g = self.tensors[f"{name}.weight_g"].astype(np.float64)
        axes = tuple(i for i in range(v.ndim) if g.shape[i] == 1 and v.shape[i] != 1)
        norm = np.sqrt(np.sum(v * v, axis=axes, keepdims=True))
        weight: NDArray[np.float64] = g * v / np.maximum(norm, np.finfo(np.float64).tiny)
        return weight

    def vector(self, name: str) -> NDArray[np.float64]:
        """Bias, h0 or embedding ``name`` in float64."""
        return self.tensors[name].astype(np.float64)

    def baked(self, dtype: type[np.floating] = np.float16) -> Checkpoint:
        """The same network with weight norm multiplied out and everything rounded to ``dtype``."""
        tensors: Tensors = {}
        for name in tensor_shapes(self.config, weight_norm=False):
            matrix = name.endswith(".weight")
            value = self.weight(name.removesuffix(".weight")) if matrix else self.vector(name)
            tensors[name] = value.astype(dtype)
        return replace(self, tensors=tensors, sha256="")


def tensor_shapes(config: ModelConfig, weight_norm: bool | None = None) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a network of this shape.

    Tier i, from the bottom: ``tier.i.input`` (dim, frame_size); ``tier.i.rnn.k.ih`` (gates*dim, layer_in), ``.hh``
    (gates*dim, dim), biases ``.bias_ih``, ``.bias_hh``, gates r, z, n or i, f, g, o; ``tier.i.skip.k`` (dim, dim) and
    ``tier.i.skip.bias`` with skip connections; ``tier.i.up`` (slots, out, dim), ``tier.i.up.bias`` (slots, out);
    ``tier.i.h0`` and, for an LSTM, ``tier.i.c0`` (n_rnn, dim). Sample level: ``embedding`` (q_levels, emb_size),
    ``mlp.input`` (mlp_dim, frame_sizes[0], emb_size), ``mlp.hidden``, ``mlp.output``. A matrix ``X`` is ``X.weight``,
    or ``X.weight_v`` and ``X.weight_g`` under weight normalisation (one g a row).
    """
    c, d, gates = config, config.dim, config.gates
    matrices: dict[str, tuple[int, ...]] = {}
    vectors: dict[str, tuple[int, ...]] = {}
    for i, size in enumerate(c.frame_sizes):
        t = f"tier.{i}"
        matrices[f"{t}.input"] = (d, size)
        vectors[f"{t}.input.bias"] = (d,)
        for k in range(c.n_rnn):
            matrices[f"{t}.rnn.{k}.ih"] = (gates * d, c.layer_in(k))
            matrices[f"{t}.rnn.{k}.hh"] = (gates * d, d)
            vectors[f"{t}.rnn.{k}.bias_ih"] = vectors[f"{t}.rnn.{k}.bias_hh"] = (gates * d,)
            if c.skip:
                matrices[f"{t}.skip.{k}"] = (d, d)
        if c.skip:
            vectors[f"{t}.skip.bias"] = (d,)
        matrices[f"{t}.up"] = (c.slots(i), c.out_dim(i), d)
        vectors[f"{t}.up.bias"] = (c.slots(i), c.out_dim(i))
        vectors[f"{t}.h0"] = (c.n_rnn, d)
        if c.rnn == "lstm":
            vectors[f"{t}.c0"] = (c.n_rnn, d)
    vectors["embedding"] = (c.q_levels, c.emb_size)
    matrices["mlp.input"] = (c.mlp_dim, c.frame_sizes[0], c.emb_size)
    if c.mlp_layers == 2:
        matrices["mlp.hidden"] = (c.mlp_dim, c.mlp_dim)
        vectors["mlp.hidden.bias"] = (c.mlp_dim,)
    matrices["mlp.output"] = (c.q_levels, c.mlp_dim)
    vectors["mlp.output.bias"] = (c.q_levels,)
    if not (c.weight_norm if weight_norm is None else weight_norm):
        return {**{f"{m}.weight": s for m, s in matrices.items()}, **vectors}
    factors: dict[str, tuple[int, ...]] = {}
    for name, shape in matrices.items():
        factors[f"{name}.weight_v"] = shape
        factors[f"{name}.weight_g"] = _g_shape(name, shape)
    return {**factors, **vectors}


def _g_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """One scale a row: every axis but the rows' is 1; ``up`` has a row for each slot and output."""
    keep = 2 if name.endswith(".up") else 1
    return shape[:keep] + (1,) * (len(shape) - keep)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and check a checkpoint. Raises ValueError, one line with the file, the field and what is right."""
    path = Path(path)
    try:
        _config(_metadata(header_of(path)))  # before reading what may be gigabytes of something else
        blob = path.read_bytes()
        return replace(_parse(blob), name=path.stem, sha256=hashlib.sha256(blob).hexdigest())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def config_of(path: Path) -> ModelConfig:
    """What kind of network is in a checkpoint, its weights unread. Raises ValueError, one line with the file."""
    try:
        return _config(_metadata(header_of(path)))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def header_of(path: Path) -> dict[str, Any]:
    """The header of a safetensors file as long as that says. Raises ValueError, without the file's name, or OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # a folder has an error of its own
        raise ValueError("not a file: a .safetensors file expected")
    if found.st_size > _MAX_BYTES:
        raise ValueError("larger than 4 GiB")
    with path.open("rb") as file:
        head = file.read(8)
        size = int.from_bytes(head, "little")
        if len(head) < 8 or size > min(found.st_size - 8, _MAX_HEADER):
            raise ValueError("not a safetensors file, or cut short")
        header = _header(head + file.read(size))
    if _end(header) != found.st_size - 8 - size:
        raise ValueError("not as long as its header says: cut short, or something hangs on")
    return header


def _end(header: Mapping[str, Any]) -> int:
    """Bytes of all tensors, as the header says."""
    try:
        return max(int(about["data_offsets"][1]) for name, about in header.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        raise ValueError("not a safetensors file: its header describes no tensors") from None


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write ``checkpoint``, matrices of few blocks as their blocks (engine.sparse); see :func:`write_whole`."""
    c = checkpoint
    head = {
        "format": FORMAT,
        "model": c.config.to_json(),
        "training": c.training,
        "source": c.source,
        "playing": c.playing,
    }
    blob = save_tensors(
        {name: np.ascontiguousarray(value) for name, value in {**sparse.packed(c.tensors), **c.moments}.items()},
        metadata={"samplernn": json.dumps(head, allow_nan=False)},
    )
    write_whole(Path(path), blob)


def write_whole(path: Path, blob: bytes) -> None:
    """Write a file so that a crash leaves either the old one or the new one.

    Raises OSError with the file's name, leaving nothing new.

    A device or a pipe takes it as it is: it must not be replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(blob)
        return
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        if isinstance(error, OSError):  # a write names no file, an open names the scratch one
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def _parse(blob: bytes) -> Checkpoint:
    head = _metadata(_header(blob))
    config = _config(head)
    try:
        stored = load_tensors(blob)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"not a readable safetensors file: {_one_line(error)}") from None
    moments = {name: value for name, value in stored.items() if name.startswith(MOMENTS)}
    weights = {name: value for name, value in stored.items() if not name.startswith(MOMENTS)}
    tensors = sparse.unpacked(weights, tensor_shapes(config, _normed(weights)))
    check_tensors(tensors, config)
    if moments:
        check_moments(moments, config)
    training, source, playing = (_section(head, name) for name in ("training", "source", "playing"))
    check_playing(playing, config.range_names)
    return Checkpoint(config, tensors, training, source, playing, moments=moments)


def _config(head: Mapping[str, Any]) -> ModelConfig:
    if type(head.get("format")) is not int or head["format"] != FORMAT:
        raise ValueError(f"format: {head.get('format')!r}: this version reads format {FORMAT}")
    if "model" not in head:
        raise ValueError(f"model: missing: a table of fields expected, with {', '.join(_TOLD)}")
    config = ModelConfig.from_json(head["model"])
    for name in _TOLD:
        if name not in head["model"]:
            raise ValueError(f"model.{name}: missing: nothing else in the file tells it")
    return config


def _header(blob: bytes) -> dict[str, Any]:
    """The table at the beginning of a safetensors file: 8 bytes of length, then JSON."""
    try:
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file: its header is no JSON table")
    return header


def _metadata(header: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that ``samplernn`` names in a header, parsed."""
    about = header.get("__metadata__")
    text = about.get("samplernn") if isinstance(about, dict) else None
    if not isinstance(text, str):
        raise ValueError("no 'samplernn' metadata: not a checkpoint of this program")
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its 'samplernn' metadata is no JSON") from None
    if not isinstance(head, dict):
        raise ValueError("its 'samplernn' metadata is no JSON table")
    return head


def _section(head: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = head.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{name}: {value!r}: a table of fields expected")
    return value


def check_playing(playing: Mapping[str, Any], range_names: Sequence[str]) -> None:
    """Raise ValueError for ranges (those of ``range_names``), a loudness or a recurrence that nothing can be played
    with; all may be absent."""
    if "loudness" in playing:
        _check_number("playing.loudness", playing["loudness"], -200.0, 20.0)
    if "recurrence" in playing:
        _check_number("playing.recurrence", playing["recurrence"], 0.0, 10.0)
    if "ranges" not in playing:
        return
    ranges = playing["ranges"]
    if not isinstance(ranges, dict):
        raise ValueError(f"playing.ranges: {ranges!r}: a table of numbers expected")
    for name in range_names:
        _check_number(f"playing.ranges.{name}", ranges.get(name), 1e-6, LARGEST_RANGE)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name}: {value!r}: a number from {low:g} to {high:g} expected")


def check_tensors(tensors: Mapping[str, NDArray[Any]], config: ModelConfig) -> None:
    """Raise ValueError unless ``tensors`` are a network of this shape, of values that can be calculated with."""
    shapes = tensor_shapes(config, _normed(tensors))
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"tensor {name} is missing")
        value = tensors[name]
        if value.dtype not in (np.float16, np.float32):
            raise ValueError(f"tensor {name}: type {value.dtype}: float16 or float32 expected")
        if value.shape != shape:
            raise ValueError(f"tensor {name}: shape {value.shape}: {shape} expected")
        largest = _largest(value)
        if not largest <= LARGEST_WEIGHT:
            raise ValueError(f"tensor {name}: {largest:g} in it: numbers within {LARGEST_WEIGHT:g} of 0 expected")
    for name in tensors:
        if name not in shapes:
            raise ValueError(f"tensor {name}: not part of this network")


def _normed(tensors: Mapping[str, NDArray[Any]]) -> bool:
    """Whether these are a network's tensors under weight normalisation."""
    return any(name.endswith(".weight_g") for name in tensors)


def check_moments(tensors: Mapping[str, NDArray[Any]], config: ModelConfig) -> None:
    """Raise ValueError unless ``tensors`` are moments of a network of this shape; see engine.moments."""
    times = tensors.get(f"{MOMENTS}times")
    count = len(times) if times is not None and times.ndim == 1 else 0
    if not 1 <= count <= MOST_MOMENTS:
        raise ValueError(f"tensor {MOMENTS}times: 1 to {MOST_MOMENTS} of them expected")
    parts = 2 if config.rnn == "lstm" else 1
    attack = tensors.get(f"{MOMENTS}attack")
    wanted: dict[str, tuple[type, tuple[int, ...]]] = {
        "times": (np.float32, (count,)),
        "hidden": (np.float16, (count, parts, config.n_tiers, config.n_rnn, config.dim)),
        "tokens": (np.int32, (count, config.lookback)),
        "levels": (np.float32, (count,)),
    }
    if attack is not None:  # files of older versions have none
        length = attack.shape[1] if attack.ndim == 2 and attack.shape[1] <= config.sample_rate else 0
        wanted["attack"] = (attack_type(config), (count, length))
    for name, (kind, shape) in wanted.items():
        value = tensors.get(f"{MOMENTS}{name}")
        if value is None or value.dtype != kind or value.shape != shape:
            raise ValueError(f"tensor {MOMENTS}{name}: {kind.__name__} of shape {shape} expected")
        if issubclass(kind, np.floating) and not np.isfinite(value).all():
            raise ValueError(f"tensor {MOMENTS}{name}: finite numbers expected")
    for name in ("tokens", "attack"):
        tokens = tensors.get(f"{MOMENTS}{name}")
        if tokens is not None and tokens.size and (tokens.min() < 0 or tokens.max() >= config.q_levels):
            raise ValueError(f"tensor {MOMENTS}{name}: levels 0 to {config.q_levels - 1} expected")
    if np.abs(tensors[f"{MOMENTS}levels"]).max() > 1.0:
        raise ValueError(f"tensor {MOMENTS}levels: amplitudes from -1 to 1 expected")
    for name in tensors:
        if name.removeprefix(MOMENTS) not in wanted:
            raise ValueError(f"tensor {name}: not part of any moments")


def attack_type(config: ModelConfig) -> type:
    """What the samples of a moment's attack are kept as."""
    return np.uint8 if config.q_levels <= 256 else np.uint16


def _largest(value: NDArray[Any]) -> float:
    """Greatest magnitude; not a number if there is one. By bits: numpy's own took 9 ms of a start for fp16."""
    kind = np.uint16 if value.dtype == np.float16 else np.uint32
    bits: NDArray[Any] = np.ascontiguousarray(value).view(kind)
    bits = bits & kind(np.iinfo(kind).max >> 1)  # without the sign
    return float(bits.max().view(value.dtype))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
