"""The shape of a network: one frozen dataclass, its derived sizes and every cross-field rule.

Standard library only, so that anything may import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

Q_TYPES = ("linear", "mu-law")
RNNS = ("gru", "lstm")
H0S = ("learned", "zeros", "random")

# Sizes beyond these are taken for a corrupt or hostile file rather than an ambition.
_LIMITS: dict[str, tuple[int, int]] = {
    "sample_rate": (1000, 384_000),
    "q_levels": (2, 4096),
    "dim": (1, 8192),
    "mlp_dim": (0, 8192),
    "mlp_layers": (1, 2),
    "emb_size": (1, 4096),
    "n_rnn": (1, 16),
}


@dataclass(frozen=True)
class ModelConfig:
    """A SampleRNN's architecture; everything a checkpoint needs to say about its shape.

    Attributes:
        sample_rate: Hz of the sound it was trained on.
        q_levels: amplitude levels of one sample.
        q_type: ``linear`` or ``mu-law`` spacing of the levels.
        preemphasis: coefficient a of y[n] = x[n] - a x[n-1] before quantising, 0 for none, mu-law only
            (with linear levels it is worse than nothing).
        frame_sizes: samples a frame of each recurrent tier, absolute, bottom tier first; each a multiple of
            the one below: ``(8, 16)``, ``(16,)``, ``(2, 8)``.
        dim: hidden units of every recurrent layer.
        mlp_dim: width of the sample-level hidden layers; 0 means ``dim``.
        mlp_layers: hidden layers of the sample-level network, 1 or 2.
        emb_size: width of a sample's embedding at the sample level.
        rnn: ``gru`` or ``lstm``.
        n_rnn: recurrent layers in each tier.
        skip: every layer above the first also takes the tier's input, and the tier's output is a sum of a
            linear of each layer (Zukowski and Carr 2017).
        weight_norm: trained with weight normalisation; checkpoints hold both factors.
        h0: where a voice's state starts: ``learned``, ``zeros`` or ``random``.
    """

    sample_rate: int = 44100
    q_levels: int = 256
    q_type: str = "linear"
    preemphasis: float = 0.0
    frame_sizes: tuple[int, ...] = (8, 16)
    dim: int = 256
    mlp_dim: int = 0
    mlp_layers: int = 2
    emb_size: int = 256
    rnn: str = "gru"
    n_rnn: int = 1
    skip: bool = False
    weight_norm: bool = True
    h0: str = "learned"

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            _check_integer(name, getattr(self, name), low, high)
        _check_choice("q_type", self.q_type, Q_TYPES)
        _check_choice("rnn", self.rnn, RNNS)
        _check_choice("h0", self.h0, H0S)
        for name in ("skip", "weight_norm"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: {getattr(self, name)!r}: true or false expected")
        self._check_preemphasis()
        object.__setattr__(self, "frame_sizes", _checked_frame_sizes(self.frame_sizes))
        if self.mlp_dim == 0:
            object.__setattr__(self, "mlp_dim", self.dim)

    def _check_preemphasis(self) -> None:
        a = self.preemphasis
        if isinstance(a, bool) or not isinstance(a, (int, float)) or not 0.0 <= a < 1.0:
            raise ValueError(f"preemphasis: {a!r}: a number from 0 up to, not including, 1 expected")
        if a and self.q_type != "mu-law":
            raise ValueError(f"preemphasis: {a!r} with q_type linear: use it with mu-law, or 0")

    @property
    def n_tiers(self) -> int:
        """How many recurrent tiers."""
        return len(self.frame_sizes)

    @property
    def lookback(self) -> int:
        """Samples of the past the network sees: the largest frame."""
        return self.frame_sizes[-1]

    @property
    def hop(self) -> int:
        """Samples of one top-tier frame."""
        return self.frame_sizes[-1]

    @property
    def q_zero(self) -> int:
        """The index of silence."""
        return self.q_levels // 2

    @property
    def gates(self) -> int:
        """Gate blocks of one recurrent layer: 3 (r, z, n) or 4 (i, f, g, o)."""
        return 3 if self.rnn == "gru" else 4

    def slots(self, tier: int) -> int:
        """Conditioning vectors a frame of ``tier`` gives the level below it."""
        below = self.frame_sizes[tier - 1] if tier else 1
        return self.frame_sizes[tier] // below

    def out_dim(self, tier: int) -> int:
        """Width of the conditioning that ``tier`` gives the level below it."""
        return self.dim if tier else self.mlp_dim

    def layer_in(self, layer: int) -> int:
        """Input width of recurrent ``layer`` (0 is the lowest)."""
        return 2 * self.dim if self.skip and layer else self.dim

    @property
    def range_names(self) -> list[str]:
        """Activations whose range precision ``int8`` must know of any network of this shape; see Checkpoint."""
        names = ["mlp.1", "mlp.2"][: self.mlp_layers]
        if self.skip:
            names += [f"tier.{i}.{what}" for i in range(self.n_tiers) for what in ("input", "output")]
        return names

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, as a checkpoint's metadata keeps it."""
        return {**asdict(self), "frame_sizes": list(self.frame_sizes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Read what :meth:`to_json` wrote. Raises ValueError with the field's name and value."""
        if not isinstance(data, Mapping):
            raise ValueError(f"model: {data!r}: a table of fields expected")
        known = {field.name for field in fields(cls)}
        for name in data:
            if name not in known:
                raise ValueError(f"model.{name}: unknown field; known: {', '.join(sorted(known))}")
        try:
            return cls(**data)
        except ValueError as error:
            raise ValueError(f"model.{error}") from None


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name}: {value!r}: an integer from {low} to {high} expected")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: {value!r}: one of {', '.join(choices)} expected")


def _checked_frame_sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or not 1 <= len(value) <= 8:
        raise ValueError(f"frame_sizes: {value!r}: one to eight integers expected, bottom tier first")
    for size in value:
        _check_integer("frame_sizes", size, 2, 4096)
    for below, above in pairwise(value):
        if above % below or above == below:
            raise ValueError(
                f"frame_sizes: {tuple(value)}: {above} is no larger multiple of the tier below it ({below})"
            )
    return tuple(value)


def sound_differs(a: ModelConfig, b: ModelConfig) -> str:
    """What keeps two networks from hearing the same samples, in words; empty if one's samples are the other's."""
    names = ("sample_rate", "q_levels", "q_type", "preemphasis")
    pairs = [(name, getattr(a, name), getattr(b, name)) for name in names]
    return ", ".join(f"{name} is {there}, not {here}" for name, here, there in pairs if here != there)
