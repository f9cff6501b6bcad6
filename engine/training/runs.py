"""What a run's folder says, read without torch: its settings, and the head of what ``--resume`` goes on from.

So that a folder that cannot be gone on with is refused at once, before torch takes its seconds. Training, and the
tensors, are left to the trainer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoint import header_of, tensor_shapes
from engine.config import ModelConfig
from engine.training.recipes import BESIDE, Training, build, known_keys, parsed, resolve, typed

SETTINGS, RESUME, LOCK = "settings.json", "resume.safetensors", ".lock"
ABOUT = ("title", "author", "licence")
CHANGEABLE = ("steps", "save_steps", "threads", "device", "precision", *ABOUT, *BESIDE)  # by --set with --resume


@dataclass(frozen=True)
class Plan:
    """What ``settings.json`` keeps of a run."""

    sounds: list[Path]
    recipe: str
    config: ModelConfig
    training: Training

    def to_json(self) -> dict[str, Any]:
        return {
            "sounds": [str(path) for path in self.sounds],
            "sounds_at": [str(path.absolute()) for path in self.sounds],  # for --resume from another folder
            "recipe": self.recipe,
            "values": {**self.config.to_json(), **self.training.to_json()},
        }


def make_plan(sounds: list[Path], run_dir: Path, recipe: str, overrides: Mapping[str, str], resume: bool) -> Plan:
    """The plan of a new run, or of the one in ``run_dir``; see engine.training.running.run.

    Raises:
        ValueError: one line: settings that do not fit, a folder that is there already or cannot be gone on with.
    """
    if resume:
        plan = _resumed_plan(sounds, run_dir, overrides)
        if (run_dir / RESUME).exists() or any(run_dir.glob("epoch-*.safetensors")):
            head = saved_head(run_dir / RESUME, plan.config)
            _check_same(run_dir / SETTINGS, plan.training, head.get("settings", {}))
        return plan  # killed before its first save: it begins at its first step
    config, training = resolve(recipe, overrides)
    if run_dir.is_file() or (run_dir.is_dir() and any(path.name != LOCK for path in run_dir.iterdir())):
        raise ValueError(f"{run_dir}: exists already: name a new folder; `samplernn train --resume` goes on with a run")
    there = next(folder for folder in run_dir.absolute().parents if folder.exists())
    if not there.is_dir():
        raise ValueError(f"{run_dir}: {there} is no folder: a run can only be kept in one")
    return Plan(list(sounds), recipe, config, training)


def saved_head(path: Path, config: ModelConfig) -> dict[str, Any]:
    """What a saved state says of itself besides its tensors. Raises ValueError unless it is a network of this shape."""
    try:
        if not path.exists():
            raise ValueError("missing: this run was never saved")
        return _checked_head(header_of(path), config)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}; --resume cannot go on: start the run anew in another folder") from None


def _check_same(path: Path, training: Training, begun: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that are not those the saved steps were made with, if those are known."""
    now = training.learning()
    other = [key for key, value in begun.items() if key not in CHANGEABLE and now.get(key, value) != value]
    if other:
        was = ", ".join(f"{key} {str(begun[key])[:50]}" for key in other[:5])
        raise ValueError(f"{path}: not the settings that this run was begun with: {was} expected")


def _checked_head(header: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    for name, shape in tensor_shapes(config).items():
        found = header.get(f"p/{name.replace('.', '/')}")
        if not isinstance(found, dict) or found.get("shape") != list(shape):
            raise ValueError(f"tensor {name} of shape {shape} is not in it: not saved by a run of these settings")
    try:
        head = json.loads(header["__metadata__"]["samplernn-resume"])
        float.fromhex(head["nats"])
        if head["step"] < 0 or head["steps"] < 0 or not isinstance(head["material"], str):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise ValueError("its 'samplernn-resume' metadata is damaged") from None
    assert isinstance(head, dict)
    return head


def _resumed_plan(sounds: list[Path], run_dir: Path, overrides: Mapping[str, str]) -> Plan:
    path = run_dir / SETTINGS
    try:
        saved = _settings(path.read_bytes())
        kept, values = _kept_sounds(saved), dict(_field(saved, "values", dict))
        for key, value in values.items():
            values[key] = typed(key, value)
    except (FileNotFoundError, NotADirectoryError):
        why = "it has no settings.json" if run_dir.exists() else "there is no such folder: start it without --resume"
        raise ValueError(f"{run_dir}: no run to resume: {why}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for key, text in overrides.items():
        if key not in CHANGEABLE:
            raise ValueError(f"--set {key}: a resumed run can only change {', '.join(CHANGEABLE)}")
        values[key] = parsed(key, text, known_keys()[key])
    try:
        config, training = build(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Plan(list(sounds) or kept, str(saved["recipe"]), config, training)


def _settings(blob: bytes) -> dict[str, Any]:
    try:
        saved = json.loads(blob)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {str(error)[:100]}; the table that `samplernn train` wrote expected") from None
    if not isinstance(saved, dict):
        raise ValueError(f"a {type(saved).__name__}: the table that `samplernn train` wrote expected")
    _field(saved, "recipe", str)
    return saved


def _field(saved: Mapping[str, Any], name: str, kind: type) -> Any:
    kinds: dict[type, str] = {dict: "a table of settings", list: "a list of sound files", str: "a name"}
    what = kinds[kind]
    if name not in saved:
        raise ValueError(f"{name}: missing: {what} expected")
    if not isinstance(saved[name], kind):
        raise ValueError(f"{name}: {str(saved[name])[:50]!r}: {what} expected")
    return saved[name]


def _kept_sounds(saved: Mapping[str, Any]) -> list[Path]:
    """Where the sounds were when the run began, or under the names that were typed (all that old runs know)."""
    typed = _field(saved, "sounds", list)
    there = _field(saved, "sounds_at" if "sounds_at" in saved else "sounds", list)
    if not all(isinstance(name, str) for name in (*typed, *there)) or len(typed) != len(there) or not typed:
        raise ValueError("sounds, sounds_at: as many names in one as in the other expected")
    return [Path(at) if Path(at).exists() else Path(name) for at, name in zip(there, typed, strict=True)]
