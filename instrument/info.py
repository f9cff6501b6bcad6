"""``samplernn info``: what a checkpoint says about itself, in lines. Main thread; reads one file, imports no numba."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine import sparse
from engine.blocks import density
from engine.checkpoint import Checkpoint, header_of, load
from engine.config import ModelConfig
from instrument.console import printable


def describe(path: Path) -> str:
    """Lines about the checkpoint at ``path``. Raises ValueError naming the file and what is wrong with it."""
    checkpoint = load(path)
    size = path.stat().st_size / 1e6
    lines = [f"{checkpoint.name}  {size:.1f} MB  sha256 {checkpoint.sha256}", *_model(checkpoint)]
    lines += _packed(checkpoint, header_of(path))
    for section in ("training", "source", "playing"):
        lines += _section(section, getattr(checkpoint, section))
    count = len(next(iter(checkpoint.moments.values()), ()))
    lines += [f"  moments   {count}"] * (count > 0)
    return "\n".join(map(printable, lines))


def macs_per_sample(config: ModelConfig) -> float:
    """Multiplications a sample after the table fold: frame tiers shared over their frames, then the MLP."""
    total = 0.0
    for i, size in enumerate(config.frame_sizes):
        layers = sum(config.gates * config.dim * (config.layer_in(k) + config.dim) for k in range(config.n_rnn))
        skip = config.n_rnn * config.dim**2 if config.skip else 0
        up = config.slots(i) * config.out_dim(i) * config.dim
        total += (config.dim * size + layers + skip + up) / size
    return total + (config.mlp_layers - 1) * config.mlp_dim**2 + config.q_levels * config.mlp_dim


def _model(checkpoint: Checkpoint) -> list[str]:
    c = checkpoint.config
    weights = sum(tensor.size for tensor in checkpoint.tensors.values())
    stored = next(iter(checkpoint.tensors.values())).dtype
    sound = f"{c.q_levels} {c.q_type} levels at {c.sample_rate} Hz"
    if c.preemphasis:
        sound += f", pre-emphasis {c.preemphasis:g}"
    tiers = f"{c.n_tiers} tier{'s' * (c.n_tiers > 1)} of {c.frame_sizes} samples, {c.n_rnn} {c.rnn.upper()} x {c.dim}"
    return [
        f"  sound     {sound}",
        f"  network   {tiers}{', skip' * c.skip}{', weight norm' * c.weight_norm}, h0 {c.h0}",
        f"  samples   embedding {c.emb_size}, {c.mlp_layers} hidden of {c.mlp_dim}",
        f"  size      {weights / 1e6:.2f} M weights stored as {stored}, {macs_per_sample(c) / 1e6:.2f} M MAC a sample",
    ]


def _packed(checkpoint: Checkpoint, header: dict[str, Any]) -> list[str]:
    """Which matrices lie in the file as their blocks, the share of those that are left, and what that saves."""
    found = {name: checkpoint.tensors[name] for name in sparse.names(header) if name in checkpoint.tensors}
    if not found:
        return []
    whole = sum(value.nbytes for value in found.values())
    stored = sum(_bytes(header[f"{sparse.PACKED}{name}.{part}"]) for name in found for part in sparse.PARTS)
    shares = [f"  packed    {name} {density(value):.1%}" for name, value in found.items()]
    return [f"  packed    {stored / 1e6:.2f} MB of blocks in place of {whole / 1e6:.2f} MB", *shares]


def _bytes(about: dict[str, Any]) -> int:
    """Of a tensor, as the header says."""
    begin, end = about["data_offsets"]
    return int(end - begin)


def _section(name: str, values: dict[str, Any]) -> list[str]:
    if not values:
        return []
    shown = [
        f"{key} {_short(value)}" for key, value in values.items() if value != "" and not isinstance(value, (dict, list))
    ]
    lines = [f"  {name:<9} {', '.join(shown)}"] if shown else []
    for key, value in values.items():
        if isinstance(value, (dict, list)) and value:
            lines.append(f"  {name:<9} {key}: {_short(value)}")
    return lines


def _short(value: object) -> str:
    text = " ".join((f"{value:.4g}" if isinstance(value, float) else str(value)).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
