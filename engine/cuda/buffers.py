"""The memory of one player on the GPU: what a run is given, what it gives back, and what it writes in between.

Given and given back lie in one block, a copy of which is pinned on the host; one copy in and one out are all that a
graph's first and last node do. Times are samples of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.config import ModelConfig
from engine.cuda.weights import padded

LANE_WORDS = 6  # KEY, DICE, NUMBER, SPREAD, FRESH, MEASURE of engine.cuda.kernels, int64
ALIGN = 256  # bytes


@dataclass(frozen=True)
class Shape:
    """What a player is made for.

    Attributes:
        samples: the most that one run makes.
        rights: voices that have a right side, whose sample lanes come behind those of all voices.
    """

    config: ModelConfig
    voices: int
    rights: tuple[int, ...]
    samples: int
    apart: bool

    @property
    def lanes(self) -> int:
        """Sample lanes."""
        return self.voices + len(self.rights)


class Block:
    """Named tensors in one piece of memory: on ``device``, and pinned on the host where that is a GPU.

    ``lanes`` (voices, 6) int64, ``betas`` (voices, samples), ``forced`` (sample lanes, samples) int32, -1 for what is
    to be drawn; ``tokens`` (sample lanes, lookback + samples) int32; ``h`` and ``c`` (tiers, layers, voices, dim),
    ``out`` (tiers, voices, dim); ``measured`` (voices, levels); ``faults`` (voices,) int32. From ``tokens`` on it is
    given back.
    """

    def __init__(self, shape: Shape, device: torch.device) -> None:
        c, v, n = shape.config, shape.voices, shape.samples
        self.levels, dim = c.q_levels, padded(c.dim)
        states = (c.n_tiers, c.n_rnn, v, dim)
        parts: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "lanes": ((v, LANE_WORDS), torch.int64),
            "betas": ((v, n), torch.float32),
            "forced": ((shape.lanes, n), torch.int32),
            "tokens": ((shape.lanes, c.lookback + n), torch.int32),
            "h": (states, torch.float32),
            "c": (states if c.rnn == "lstm" else (1,), torch.float32),
            "out": ((c.n_tiers, v, dim), torch.float32),
            "measured": ((v, c.q_levels), torch.float32),
            "faults": ((v,), torch.int32),
        }
        self.offsets: dict[str, int] = {}
        size = 0
        for name, (dims, kind) in parts.items():
            self.offsets[name] = size
            size += -(-torch.Size(dims).numel() * kind.itemsize // ALIGN) * ALIGN
        self.device = torch.zeros(size, dtype=torch.uint8, device=device)
        self.host = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self.at, self.beside = (_views(whole, parts, self.offsets) for whole in (self.device, self.host))
        self.beside["forced"].fill_(-1)

    def disturb(self, seed: int) -> None:
        """Any state and any dice that there may be, on the host: the same for the same seed."""
        found = torch.Generator().manual_seed(seed)
        for name in ("h", "c", "out"):
            part = self.beside[name]
            part.copy_(torch.rand(part.shape, generator=found) - 0.5)
        for name, low, high in (("tokens", 0, self.levels), ("lanes", 0, 1 << 31)):
            part = self.beside[name]
            part.copy_(torch.randint(low, high, part.shape, generator=found))
        self.beside["lanes"][:, 3:] = 0  # no variation, and entropy measured once
        self.beside["betas"].fill_(1.0)
        self.beside["forced"].fill_(-1)

    def give(self) -> None:
        """Host to device, behind whatever is under way."""
        self.device.copy_(self.host, non_blocking=True)

    def give_back(self) -> None:
        """What a run has made, device to host."""
        first = self.offsets["tokens"]
        self.host[first:].copy_(self.device[first:], non_blocking=True)


class Scratch:
    """What a run writes for itself.

    ``words`` (sample lanes, samples) int32; ``logits`` (samples, sample lanes, levels); ``x`` (frame, voices, mlp) what
    the bottom tier says to each of its samples; ``inside`` (voices, dim) a tier's input; ``h`` where the next state
    goes while this one is read; ``past`` (tiers, layers, voices, gates dim) what a layer's state says to its gates in
    the next frame; ``first`` and ``second`` (sample lanes, mlp) the sample level's layers; ``ahead`` (mlp,);
    ``lane_of`` and ``side_of`` (sample lanes,).
    """

    def __init__(self, shape: Shape, device: torch.device) -> None:
        c, v, s = shape.config, shape.voices, shape.lanes
        dim, mlp = padded(c.dim), padded(c.mlp_dim)

        def zeros(*dims: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(dims, dtype=kind, device=device)

        self.words = zeros(s, shape.samples, kind=torch.int32)
        self.logits = zeros(shape.samples, s, c.q_levels)
        self.x = zeros(c.frame_sizes[0], v, mlp)
        self.inside = zeros(v, dim)
        self.h = zeros(c.n_tiers, c.n_rnn, v, dim)
        self.past = zeros(c.n_tiers, c.n_rnn, v, c.gates * dim)
        self.first, self.second, self.ahead = zeros(s, mlp), zeros(s, mlp), zeros(mlp)
        sides = [(lane, 0) for lane in range(v)] + [(lane, 1) for lane in shape.rights]
        self.lane_of, self.side_of = (
            torch.tensor([each[i] for each in sides], dtype=torch.int64, device=device) for i in (0, 1)
        )


def _views(
    whole: torch.Tensor, parts: dict[str, tuple[tuple[int, ...], torch.dtype]], offsets: dict[str, int]
) -> dict[str, torch.Tensor]:
    found = {}
    for name, (dims, kind) in parts.items():
        size = torch.Size(dims).numel() * kind.itemsize
        found[name] = whole[offsets[name] : offsets[name] + size].view(kind).view(dims)
    return found
