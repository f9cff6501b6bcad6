"""What a training run is made of: its settings, the named recipes, and how ``--set key=value`` changes them.

Standard library only (besides engine.config), so that a wrong key is refused before torch is imported.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from engine.config import ModelConfig


@dataclass(frozen=True)
class Training:
    """Settings of a run besides the network's shape.

    Attributes:
        steps: optimiser steps of the whole run; the learning rate reaches zero at the last.
        batch: streams read side by side.
        seq_len: samples of one truncated back-propagation.
        lr: Adam's learning rate at its highest.
        warmup: steps of linear rise to ``lr``.
        decay: share of the run, at its end, over which the rate falls to zero in a straight line.
        clip: limit on each gradient element, or on the norm of all of them; 0 for none.
        clip_mode: ``value`` or ``norm``.
        keep: share of bottom-tier frames whose samples count in a step's loss; every tier still runs everywhere.
        forget_bias: initial forget-gate bias of an LSTM.
        stretches: speeds of the copies of the sound (pitch kept); 1.0 is the sound itself.
        gap: seconds to which silences are cut; 0 leaves them.
        gap_level: dB of full scale under which sound counts as silence.
        excerpt: seconds that a stream follows one excerpt (as far as the material goes).
        dither: width, in quantiser steps, of the uniform noise added before quantising.
        heldout: number of held-out windows.
        epoch_steps: steps of an epoch; 0 means one pass over the sound and its copies.
        save_steps: steps between saves of what ``--resume`` needs.
        threads: of torch's arithmetic; 0 for its own choice. Another number gives other bits in the last place.
        clips: clips made after every epoch, at each temperature; 0 for none. They change nothing of what is learned.
        clip_seconds: length of each.
        clip_temperatures: at which they are made.
        seed: of everything random.
        title, author, licence: of the sound, for the checkpoints.
    """

    steps: int = 3000
    batch: int = 64
    seq_len: int = 1024
    lr: float = 1e-3
    warmup: int = 20
    decay: float = 1.0
    clip: float = 1.0
    clip_mode: str = "value"
    keep: float = 1.0
    forget_bias: float = 1.0
    stretches: tuple[float, ...] = (0.94, 0.97, 1.0, 1.03, 1.06)
    gap: float = 0.075
    gap_level: float = -50.0
    excerpt: float = 8.0
    dither: float = 1.0
    heldout: int = 8
    epoch_steps: int = 0
    save_steps: int = 50
    threads: int = 0
    clips: int = 4
    clip_seconds: float = 4.0
    clip_temperatures: tuple[float, ...] = (0.9, 0.95, 1.0)
    seed: int = 0
    title: str = ""
    author: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value!r}: from {low} to {high} expected")
        if self.clip_mode not in ("value", "norm"):
            raise ValueError(f"clip_mode: {self.clip_mode!r}: value or norm expected")
        if not self.stretches or not all(0.5 <= s <= 2.0 for s in self.stretches):
            raise ValueError(f"stretches: {self.stretches!r}: speeds from 0.5 to 2 expected, 1.0 for the sound itself")
        if not self.clip_temperatures or not all(0.0 <= t <= 2.0 for t in self.clip_temperatures):
            raise ValueError(f"clip_temperatures: {self.clip_temperatures!r}: one or more from 0 to 2 expected")

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary of every field."""
        values = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def learning(self) -> dict[str, Any]:
        """A plain dictionary of the fields that decide what is learned: all but those of the clips."""
        return {key: value for key, value in self.to_json().items() if key not in CLIP_KEYS}


CLIP_KEYS = ("clips", "clip_seconds", "clip_temperatures")

_LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 10_000_000),
    "batch": (1, 4096),
    "seq_len": (1, 1 << 20),
    "lr": (0.0, 1.0),
    "warmup": (0, 100_000),
    "decay": (0.0, 1.0),
    "clip": (0.0, 1e6),
    "keep": (0.001, 1.0),
    "forget_bias": (-10.0, 10.0),
    "gap": (0.0, 60.0),
    "gap_level": (-120.0, 0.0),
    "excerpt": (0.05, 600.0),
    "dither": (0.0, 8.0),
    "heldout": (1, 1000),
    "epoch_steps": (0, 1_000_000),
    "save_steps": (1, 100_000),
    "threads": (0, 256),
    "clips": (0, 1000),
    "clip_seconds": (0.25, 3600.0),
    "seed": (0, 2**63 - 1),
}

_METAL: dict[str, Any] = {
    "frame_sizes": (16,), "rnn": "lstm", "skip": True, "h0": "random", "forget_bias": 3.0, "decay": 0.5,
}  # fmt: skip

RECIPES: dict[str, dict[str, Any]] = {
    # small enough to be played live on one core of a CPU, and trained there; what went furthest in half an hour
    # (docs/training.md)
    "default": {
        "keep": 0.25,
        "lr": 2e-3,
        "batch": 32,
        "decay": 0.7,
        "dither": 0.5,
        "gap": 0.06,
        "gap_level": -32.0,
        "steps": 4000,
    },
    # McDonald's poster of 2018: one short sound, several slightly stretched copies, 44.1 kHz
    "poster": {"dim": 1024, "batch": 128, "clips": 5, "clip_temperatures": (1.0,)},
    # Zukowski and Carr 2017, whole albums at 16 kHz; five of the five to nine layers
    "metal": {
        **_METAL,
        "sample_rate": 16000,
        "dim": 1024,
        "n_rnn": 5,
        "batch": 128,
        "stretches": (1.0,),
        "gap": 0.0,
        "clips": 10,
        "clip_seconds": 30.0,
        "clip_temperatures": (1.0,),
    },
    # a cousin of it that may be played live
    "live-metal": {**_METAL, "dim": 256, "n_rnn": 3},
    # Mehri et al. 2017, three tiers counting the sample level
    "paper": {"sample_rate": 16000, "frame_sizes": (2, 8), "dim": 1024, "batch": 128, "stretches": (1.0,), "gap": 0.0},
}


def known_keys() -> dict[str, Any]:
    """Every key that ``--set`` accepts, with its default."""
    return {
        **{f.name: getattr(ModelConfig(), f.name) for f in fields(ModelConfig)},
        **{f.name: getattr(Training(), f.name) for f in fields(Training)},
    }


def resolve(recipe: str, overrides: Mapping[str, str]) -> tuple[ModelConfig, Training]:
    """The network and the settings of ``recipe`` after ``--set``.

    Raises:
        ValueError: one line: an unknown recipe or key with the nearest known one, or a value that does not fit.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe: {recipe!r}: {_choose(recipe, RECIPES)}")
    known = known_keys()
    values = dict(RECIPES[recipe])
    for key, text in overrides.items():
        if key not in known:
            raise ValueError(f"--set {key}: unknown setting; {_choose(key, known)}")
        values[key] = parsed(key, text, known[key])
    return build(values)


def build(values: Mapping[str, Any]) -> tuple[ModelConfig, Training]:
    """The network and the settings out of one flat table of values."""
    shape = {f.name for f in fields(ModelConfig)}
    config = ModelConfig(**{key: value for key, value in values.items() if key in shape})
    rest: dict[str, Any] = {key: value for key, value in values.items() if key not in shape}
    rest |= {key: tuple(value) for key, value in rest.items() if isinstance(value, list)}
    training = Training(**rest)
    if training.seq_len % config.hop or training.seq_len == config.hop:
        hop = config.hop
        raise ValueError(f"seq_len: {training.seq_len}: twice the largest frame ({hop}) or a larger multiple expected")
    return config, training


def parsed(key: str, text: str, default: object) -> Any:
    """``text`` as the type of ``default``; tuples are numbers with commas between."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            of = type(default[0])
            return tuple(of(part) for part in text.strip("()[] ").split(",") if part.strip())
        if isinstance(default, (int, float)):
            return type(default)(text)
    except (ValueError, KeyError):
        kind = "true or false" if isinstance(default, bool) else "numbers" if isinstance(default, tuple) else "a number"
        raise ValueError(f"--set {key}: {text!r}: {kind} like {_shown(default)} expected") from None
    return text


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _choose(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
