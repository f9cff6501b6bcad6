"""What a training run is made of: its settings, the named recipes, and how ``--set key=value`` changes them.

Standard library and PyYAML, so that a wrong key is refused before torch is imported. The recipes lie in
``recipe_files/``, one file each, with their sources named.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine.config import ModelConfig


@dataclass(frozen=True)
class Training:
    """Settings of a run besides the network's shape.

    Attributes:
        steps: optimiser steps of the whole run; the learning rate reaches zero at the last.
        minutes: length of the run instead: as many steps as this machine makes in that time, measured when it begins
            and fixed from then on; 0 for ``steps``. ``--set steps=N`` puts a recipe's minutes out of force.
        batch: streams read side by side.
        seq_len: samples of one truncated back-propagation.
        lr: Adam's learning rate at its highest.
        warmup: steps of linear rise to ``lr``.
        decay: share of the run, at its end, over which the rate falls to zero in a straight line.
        clip: limit on each gradient element, or on the norm of all of them; 0 for none.
        clip_mode: ``value`` or ``norm``.
        keep: share of bottom-tier frames whose samples count in a step's loss; every tier still runs everywhere.
        average: decay a step of the running average of the weights, which is what is judged and saved; 0 for none.
        patience: epochs without fewer held-out bits after which a run ends early; 0 for never. The learning rate has
            not come down then.
        restarts: times that a run begins anew with the next seed when, in its first two epochs (and 200 steps), its
            loss is no number any more or nothing has been learned. Later its epochs are kept, and the run ends.
        density_frames, density_sample, density_output: share of the weights of the tiers, of the sample level, of its
            output layer that is left at the end, in blocks of 16 x 4; 1 for all (engine.training.pruning).
        density_gates: how the gates of a recurrent layer share ``density_frames``, one weight each (r, z, n or i, f, g,
            o), as 1,1,2; one number for no difference.
        prune_from, prune_to: shares of the run between which the others go.
        forget_bias: initial forget-gate bias of an LSTM.
        stretches: speeds of the copies of the sound (pitch kept); 1.0 is the sound itself.
        varispeed: semitones by which an excerpt may be played faster or slower, pitch and all, drawn anew each time.
        invert: share of excerpts whose polarity is turned round.
        layer: share of excerpts that another one is laid under, at a random level down to -12 dB.
        limit: dB of full scale that a look-ahead limiter keeps the sound below before its level is set; 0 for none.
        gap: seconds to which silences are cut; 0 leaves them.
        gap_level: dB of full scale under which sound counts as silence.
        excerpt: seconds that a stream follows one excerpt (as far as the material goes).
        dither: width, in quantiser steps, of the uniform noise added before quantising.
        heldout: number of held-out windows.
        valid, test: shares of the sound that are held out in chunks of ``excerpt`` seconds instead: ``valid`` is judged
            after each epoch, ``test`` once at the end; 0 for ``heldout`` windows and no test.
        epoch_steps: steps of an epoch; 0 means one pass over the sound and its copies.
        save_steps: steps between saves of what ``--resume`` needs.
        device: where torch computes: ``auto`` (CUDA if there is a GPU, else the processor), ``cpu``, ``cuda``, ``mps``;
            CUDA multiplies matrices in TF32.
        precision: of the large products of a step: ``fp32``, ``bf16`` (mixed: weights, states and the optimiser stay
            fp32), or ``auto``, which is bf16 on a GPU made for it and fp32 elsewhere. On a processor that does not
            multiply bfloat16 either is fp32. Judging is done without it.
        threads: of torch's arithmetic; 0 for its own choice. Another number gives other bits in the last place.
        clips: clips made after every epoch, at each temperature; 0 for none. They change nothing of what is learned.
        clip_seconds: length of each.
        clip_temperatures: at which they are made.
        moments: places of the sound stored in the last checkpoint (engine.moments), 16 to 64; 0 for none.
        start: a checkpoint whose weights the run begins with, of the same shape; random ones if left out.
        seed: of everything random.
        title, author, licence: of the sound, for the checkpoints.
    """

    steps: int = 3000
    minutes: float = 0.0
    batch: int = 64
    seq_len: int = 1024
    lr: float = 1e-3
    warmup: int = 20
    decay: float = 1.0
    clip: float = 1.0
    clip_mode: str = "value"
    keep: float = 1.0
    average: float = 0.0
    patience: int = 0
    restarts: int = 2
    density_frames: float = 1.0
    density_sample: float = 1.0
    density_output: float = 1.0
    density_gates: tuple[float, ...] = (1.0,)
    prune_from: float = 0.1
    prune_to: float = 0.6
    forget_bias: float = 1.0
    stretches: tuple[float, ...] = (0.94, 0.97, 1.0, 1.03, 1.06)
    varispeed: float = 0.0
    invert: float = 0.0
    layer: float = 0.0
    limit: float = 0.0
    gap: float = 0.075
    gap_level: float = -50.0
    excerpt: float = 8.0
    dither: float = 1.0
    heldout: int = 8
    valid: float = 0.0
    test: float = 0.0
    epoch_steps: int = 0
    save_steps: int = 50
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    clips: int = 4
    clip_seconds: float = 4.0
    clip_temperatures: tuple[float, ...] = (0.9, 0.95, 1.0)
    moments: int = 32
    start: str = ""
    seed: int = 0
    title: str = ""
    author: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value!r}: from {low} to {high} expected")
        for name, choices in (("device", DEVICES), ("precision", PRECISIONS), ("clip_mode", ("value", "norm"))):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name}: {value!r}: one of {', '.join(choices)} expected")
        if self.test and not self.valid:
            raise ValueError(f"test: {self.test!r}: together with valid, the share that epochs are judged by")
        if self.prune_from > self.prune_to:
            raise ValueError(f"prune_from: {self.prune_from!r}: at most prune_to ({self.prune_to!r}) expected")
        if not all(0.0 < weight <= 100.0 for weight in self.density_gates):
            raise ValueError(f"density_gates: {self.density_gates!r}: numbers above 0, to 100, expected")
        if 0 < self.moments < 16:
            raise ValueError(f"moments: {self.moments!r}: 16 to 64, or 0 for none, expected")
        if not self.stretches or not all(0.5 <= s <= 2.0 for s in self.stretches):
            raise ValueError(f"stretches: {self.stretches!r}: speeds from 0.5 to 2 expected, 1.0 for the sound itself")
        if not self.clip_temperatures or not all(0.0 <= t <= 2.0 for t in self.clip_temperatures):
            raise ValueError(f"clip_temperatures: {self.clip_temperatures!r}: one or more from 0 to 2 expected")

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary of every field."""
        values = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def learning(self) -> dict[str, Any]:
        """A plain dictionary of the fields that decide what is learned."""
        return {key: value for key, value in self.to_json().items() if key not in BESIDE}


DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
BESIDE = ("clips", "clip_seconds", "clip_temperatures", "moments")  # settings that change nothing of what is learned

_LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 10_000_000),
    "minutes": (0.0, 100_000.0),
    "batch": (1, 4096),
    "seq_len": (1, 1 << 20),
    "lr": (0.0, 1.0),
    "warmup": (0, 100_000),
    "decay": (0.0, 1.0),
    "clip": (0.0, 1e6),
    "keep": (0.001, 1.0),
    "average": (0.0, 0.99999),
    "patience": (0, 100_000),
    "restarts": (0, 100),
    "density_frames": (0.01, 1.0),
    "density_sample": (0.01, 1.0),
    "density_output": (0.01, 1.0),
    "prune_from": (0.0, 1.0),
    "prune_to": (0.0, 1.0),
    "forget_bias": (-10.0, 10.0),
    "varispeed": (0.0, 12.0),
    "invert": (0.0, 1.0),
    "layer": (0.0, 1.0),
    "limit": (-40.0, 0.0),
    "gap": (0.0, 60.0),
    "gap_level": (-120.0, 0.0),
    "excerpt": (0.05, 600.0),
    "dither": (0.0, 8.0),
    "heldout": (1, 1000),
    "valid": (0.0, 0.5),
    "test": (0.0, 0.5),
    "epoch_steps": (0, 1_000_000),
    "save_steps": (1, 100_000),
    "threads": (0, 256),
    "clips": (0, 1000),
    "clip_seconds": (0.25, 3600.0),
    "moments": (0, 64),
    "seed": (0, 2**63 - 1),
}

FOLDER = Path(__file__).parent / "recipe_files"


@dataclass(frozen=True)
class Recipe:
    """A named set of choices, as its file has it: what for, whose, and the settings that differ from the defaults."""

    about: str
    source: str
    values: Mapping[str, Any]


def names() -> list[str]:
    """The recipes that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(recipe: str) -> Recipe:
    """The recipe of that name, or in the file of that name (.yaml). Raises ValueError, one line."""
    named = not recipe.endswith((".yaml", ".yml"))
    if named and recipe not in names():
        raise ValueError(f"recipe: {recipe!r}: {_choose(recipe, dict.fromkeys(names()))}, or a .yaml file")
    path = FOLDER / f"{recipe}.yaml" if named else Path(recipe)
    try:
        return _recipe(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())[:200]}") from None


def _recipe(text: str) -> Recipe:
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("values"), dict):
        raise ValueError("a table with about, source and values expected")
    for key in data:
        if key not in ("about", "source", "values"):
            raise ValueError(f"{str(key)[:40]!r}: about, source and values expected")
    known = known_keys()
    for key in data["values"]:
        if key not in known:
            raise ValueError(f"values.{str(key)[:40]}: unknown setting; {_choose(str(key), known)}")
    values = {key: typed(key, value) for key, value in data["values"].items()}
    return Recipe(str(data.get("about", "")), str(data.get("source", "")), values)


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
    known, values = known_keys(), dict(load(recipe).values)
    for key, text in overrides.items():
        if key not in known:
            raise ValueError(f"--set {key}: unknown setting; {_choose(key, known)}")
        values[key] = parsed(key, text, known[key])
    if "steps" in overrides and "minutes" not in overrides:
        values["minutes"] = 0.0
    return build(values)


def build(values: Mapping[str, Any]) -> tuple[ModelConfig, Training]:
    """The network and the settings out of one flat table of values."""
    shape = {f.name for f in fields(ModelConfig)}
    config = ModelConfig(**{key: value for key, value in values.items() if key in shape})
    rest: dict[str, Any] = {key: value for key, value in values.items() if key not in shape}
    rest |= {key: tuple(value) for key, value in rest.items() if isinstance(value, list)}
    training = Training(**rest)
    if len(training.density_gates) not in (1, config.gates):
        raise ValueError(
            f"density_gates: {training.density_gates!r}: one number, or one for each gate of {config.gates}"
        )
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
            number = float(text)
            return int(number) if isinstance(default, int) and number == int(number) else type(default)(text)
    except (ValueError, KeyError, OverflowError):
        kind = "true or false" if isinstance(default, bool) else "numbers" if isinstance(default, tuple) else "a number"
        raise ValueError(f"--set {key}: {text!r}: {kind} like {_shown(default)} expected") from None
    return text


def typed(key: str, value: object) -> Any:
    """``value`` of a file, if it is of the kind that setting ``key`` takes; files have lists for tuples.

    Raises ValueError.
    """
    known = known_keys()
    if key not in known:
        raise ValueError(f"values.{key}: unknown setting")
    default = known[key]
    if isinstance(default, tuple) and isinstance(value, list) and all(type(v) in (int, float) for v in value):
        return tuple(value)
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if type(value) not in kinds:
        raise ValueError(f"values.{key}: {str(value)[:50]!r}: a value like {default!r} expected")
    return value


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _choose(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
