"""Settings for a run that begins with a checkpoint's weights: `samplernn prune`. Without torch.

The checkpoint says what it was trained with; what pruning needs is laid over that, and what the user says over all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.checkpoint import load
from engine.training.recipes import known_keys

# What is left plays several times as fast; half the steps for blocks to go, half to get over it. The rate is half of
# the checkpoint's: it need not find everything anew.
PRUNED = {
    "density_frames": 0.2, "density_sample": 0.3, "prune_from": 0.0, "prune_to": 0.5,
    "steps": 600, "decay": 0.5, "restarts": 0, "patience": 0,
}  # fmt: skip
MACHINES = ("device", "precision", "threads")  # of whatever machine the checkpoint was trained on


def pruning(path: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """``--set`` values of a run that prunes the checkpoint at ``path``, those of the user's ``overrides`` among them.

    Raises:
        ValueError: one line: a checkpoint that cannot be read, or an override of the network's shape.
    """
    checkpoint = load(path)
    shape = checkpoint.config.to_json()
    for key in overrides:
        if key in shape:
            raise ValueError(f"--set {key}: the shape of a network cannot be changed by pruning it")
        if key == "start":
            raise ValueError("--set start: it begins with the checkpoint that is named first")
    known = known_keys()
    trained = checkpoint.training.get("settings", {})
    values = {key: value for key, value in trained.items() if key in known} if isinstance(trained, dict) else {}
    for key in MACHINES:
        values.pop(key, None)
    lr = values.get("lr")
    if isinstance(lr, bool) or not isinstance(lr, (int, float)):
        lr = known["lr"]
    about = {key: checkpoint.source.get(key, "") for key in ("title", "author", "licence")}
    values |= {**about, **shape, **PRUNED, "lr": lr / 2, "minutes": 0.0, "start": str(path.resolve())}
    return {**{key: _text(value) for key, value in values.items()}, **overrides}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
