"""A run: the samples that one launch makes, as a sequence of kernels. Captured on a GPU, called one by one elsewhere.

``place`` is where in a top-tier frame a run begins; with it and the length everything is decided but what lies in the
block (``engine.cuda.buffers``).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from engine.cuda import kernels
from engine.cuda.buffers import Block, Scratch, Shape
from engine.cuda.weights import Weights, padded, step_of
from engine.draw import weight_scale

MANY = 8  # lanes from which on the tensor cores multiply
OPTIONS: dict[str, Any] = {"enable_fp_fusion": False}


class Steps(Protocol):
    """What a run is made of; a player has one of them."""

    scratch: Scratch

    def begin(self, samples: int) -> None:
        """What is known before the first sample."""

    def tier(self, i: int, s: int, slot: int) -> None:
        """A frame of tier ``i`` that begins with sample ``s``, in ``slot`` of the tier above."""

    def up(self, first: int, count: int) -> None:
        """What the bottom tier says to ``count`` samples of its frame from its ``first`` on."""

    def draw(self, s: int) -> None:
        """The sample before sample ``s``, where a frame begins that has to know it."""

    def sample(self, s: int, slot: int) -> None:
        """Everything of sample ``s``, which is the ``slot``-th of its frame, but its draw; of others than the first of
        a frame the draw of the one before.
        """

    def finish(self, samples: int) -> None:
        """The draw of the last of ``samples``, if any were made, and all that the next run needs to be in the block."""


def run(steps: Steps, shape: Shape, place: int, samples: int, known: bool = False) -> None:
    """Call everything that ``samples`` samples from ``place`` take, in order; where they are ``known``, tiers only."""
    c = shape.config
    steps.begin(samples)
    for s in range(samples):
        at = place + s
        if s and at % c.frame_sizes[0] == 0 and not known:
            steps.draw(s)
        for i in reversed(range(c.n_tiers)):
            if at % c.frame_sizes[i] == 0:
                steps.tier(i, s, at // c.frame_sizes[i] % c.slots(i + 1) if i + 1 < c.n_tiers else 0)
        if known:
            continue
        slot = at % c.frame_sizes[0]
        if s == 0 or slot == 0:
            steps.up(slot, min(c.frame_sizes[0] - slot, samples - s))
        steps.sample(s, slot)
    steps.finish(0 if known else samples)


class Fused:
    """The kernels of ``engine.cuda.kernels``: two a sample for one sample lane, three for more."""

    def __init__(self, shape: Shape, weights: Weights, block: Block) -> None:
        self.shape, self.weights, self.block = shape, weights, block
        self.scratch = Scratch(shape, block.device.device)
        c = shape.config
        self._few = shape.lanes == 1
        self._dim, self._mlp, self._levels = padded(c.dim), padded(c.mlp_dim), padded(c.q_levels)
        self._room = c.lookback + shape.samples
        self._scale = float(weight_scale(c.q_levels))
        self._width = 1 << (c.q_levels - 1).bit_length()
        self._h = [[self.block.at["h"][i, k] for k in range(c.n_rnn)] for i in range(c.n_tiers)]
        self._ran: set[int] = set()

    def begin(self, samples: int) -> None:
        c, s, block = self.shape.config, self.scratch, self.block.at
        self._h = [[block["h"][i, k] for k in range(c.n_rnn)] for i in range(c.n_tiers)]
        self._ran = set()
        width = 1 << (self.shape.samples - 1).bit_length()
        kernels.dice[(self.shape.lanes,)](
            block["lanes"], s.lane_of, s.side_of, s.words, self.shape.samples, width, **OPTIONS
        )
        if self._few:
            self._back(0, speak=False)

    def tier(self, i: int, s: int, slot: int) -> None:
        c = self.shape.config
        self._ran.add(i)
        if self.shape.apart:
            self._enter(i, s, slot)
        for k in range(c.n_rnn):
            self._cell(i, k, s, slot)
            if c.skip:
                skip = f"tier.{i}.{k}.skip"
                self._rows(skip, self._h[i][k], self.block.at["out"][i], add=k > 0)

    def up(self, first: int, count: int) -> None:
        weight, bias = self.weights.at["tier.0.up"], self.weights.at["tier.0.up.bias"]
        self._products(weight[first], bias[first], self._out(0), self.scratch.x[first], count)

    def draw(self, s: int) -> None:
        c, k, block = self.shape.config, self.scratch, self.block.at
        kernels.last[(self.shape.lanes,)](
            *self._draw(), k.lane_of, block["lanes"], block["measured"], s, self._scale,
            self.shape.voices, self.shape.lanes, self.shape.samples, self._room, c.q_levels, self._width, **OPTIONS,
        )  # fmt: skip

    def sample(self, s: int, slot: int) -> None:
        if self._few:
            self._front(s, slot)
            self._back(s, speak=True)
            return
        c, w, k = self.shape.config, self.weights.at, self.scratch
        column = min(128, self._mlp & -self._mlp)
        kernels.gather[(self.shape.lanes, self._mlp // column)](
            *self._draw(), k.lane_of, w["table"], k.x[slot], k.first, s, self._scale,
            s > 0 and slot > 0, self.shape.lanes, self.shape.samples, self._room, c.frame_sizes[0], c.q_levels,
            self._width, self._mlp, column, **OPTIONS,
        )  # fmt: skip
        source = k.first
        if c.mlp_layers == 2:
            self._products(w["hidden"], w["hidden.bias"], k.first, k.second, 1, relu=True)
            source = k.second
        br, bv, dot = self._tiles(self.shape.lanes, self._levels)
        kernels.speak[(self._levels // br, -(-self.shape.lanes // bv))](
            w["output"], w["output.bias"], source, k.logits, s,
            self.shape.lanes, c.q_levels, self._mlp, self._step(self._mlp, dot), br, bv, dot, **OPTIONS,
        )  # fmt: skip

    def finish(self, samples: int) -> None:
        c, block = self.shape.config, self.block.at
        if samples:
            self.draw(samples)
        for i in sorted(self._ran):
            for layer, h in enumerate(self._h[i]):
                if h.data_ptr() != block["h"][i, layer].data_ptr():
                    block["h"][i, layer].copy_(h)
            if not c.skip:
                block["out"][i].copy_(self._h[i][-1])

    def _draw(self) -> tuple[torch.Tensor, ...]:
        block = self.block.at
        return (
            self.scratch.logits, block["betas"], self.scratch.words, block["forced"], block["tokens"], block["faults"]
        )  # fmt: skip

    def _out(self, i: int) -> torch.Tensor:
        """What tier ``i`` said last, (voices, dim)."""
        return self._h[i][-1] if i in self._ran and not self.shape.config.skip else self.block.at["out"][i]

    def _enter(self, i: int, s: int, slot: int) -> None:
        br, bv, dot = self._tiles(self.shape.voices, self._dim)
        kernels.enter[(self._dim // br, -(-self.shape.voices // bv))](
            *self._entry(i), self.scratch.inside, s, slot, self.shape.voices, self._dim, *self._frame(i),
            self._dim, self._step(self._dim, dot), br, bv, dot, **OPTIONS,
        )  # fmt: skip

    def _entry(self, i: int) -> tuple[torch.Tensor, ...]:
        w, above = self.weights.at, i + 1 < self.shape.config.n_tiers
        name = f"tier.{i}"
        nothing = w[f"{name}.frames"]
        return (
            self.block.at["tokens"], nothing, w[f"{name}.entry.bias"], w[f"{name}.cond"] if above else nothing,
            self._out(i + 1) if above else nothing,
        )  # fmt: skip

    def _frame(self, i: int) -> tuple[int, int, int, int, bool]:
        c = self.shape.config
        return self._room, self.shape.samples, c.frame_sizes[i], c.q_levels, i + 1 < c.n_tiers

    def _cell(self, i: int, k: int, s: int, slot: int) -> None:
        c, w, name = self.shape.config, self.weights.at, f"tier.{i}.{k}"
        nothing = w[f"tier.{i}.frames"]
        below, entry = f"{name}.below" in w, f"{name}.entry" in w
        h = self._h[i][k]
        new = self.scratch.h[i, k] if h.data_ptr() == self.block.at["h"][i, k].data_ptr() else self.block.at["h"][i, k]
        br, bv, dot = self._tiles(self.shape.voices, self._dim)
        carried = self.block.at["c"][i, k] if c.rnn == "lstm" else nothing
        kernels.cell[(self._dim // br, -(-self.shape.voices // bv))](
            *self._entry(i), s, slot,
            w[f"{name}.below"] if below else nothing, w[f"{name}.below.bias"] if below else nothing,
            self._h[i][k - 1] if below else nothing,
            w[f"{name}.entry"] if entry else nothing, w[f"{name}.entry.bias"] if entry else nothing,
            self.scratch.inside, w[f"{name}.hh"], w[f"{name}.hh.bias"], h, new, carried,
            self.shape.voices, c.rnn == "lstm", c.gates * self._dim, *self._frame(i),
            k == 0 and not self.shape.apart, below, entry,
            self._dim, self._step(self._dim, dot), br, bv, dot, **OPTIONS,
        )  # fmt: skip
        self._h[i][k] = new

    def _rows(self, name: str, x: torch.Tensor, out: torch.Tensor, add: bool) -> None:
        self._products(self.weights.at[name][0], self.weights.at[f"{name}.bias"][0], x, out, 1, add=add)

    def _products(
        self, weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, out: torch.Tensor, matrices: int,
        relu: bool = False, add: bool = False,
    ) -> None:  # fmt: skip
        """out = weight x + bias for matrices in a row, each (rows, columns)."""
        rows, columns = weight.shape[-2:]
        lanes = len(x)
        br, bv, dot = self._tiles(lanes, rows)
        kernels.rows[(rows // br, -(-lanes // bv), matrices)](
            weight, bias, x, out, lanes * rows, lanes, rows, columns, relu, add,
            self._step(columns, dot), br, bv, dot, **OPTIONS,
        )  # fmt: skip

    def _front(self, s: int, slot: int) -> None:
        c, w, k = self.shape.config, self.weights.at, self.scratch
        two = c.mlp_layers == 2
        br = self._few_rows(self._mlp)
        hidden = w["hidden"] if two else w["table"]
        kernels.front[(self._mlp // br,)](
            *self._draw(), w["table"], k.ahead, k.x[slot], hidden, w["hidden.bias"] if two else k.ahead, k.second, s,
            self._scale, s > 0 and slot > 0, two, self.shape.samples, self._room, c.frame_sizes[0], c.q_levels,
            self._width, self._mlp, self._step(self._mlp, False), br, **OPTIONS,
        )  # fmt: skip

    def _back(self, s: int, speak: bool) -> None:
        c, w, k = self.shape.config, self.weights.at, self.scratch
        br, columns = self._few_rows(self._levels), min(128, self._mlp & -self._mlp)
        kernels.back[((self._levels // br if speak else 0) + self._mlp // columns,)](
            w["output"], w["output.bias"], k.second, k.logits, w["table"], self.block.at["tokens"], k.ahead, s,
            c.q_levels, self._levels, self.shape.samples, self._room, c.frame_sizes[0], self._mlp,
            self._step(self._mlp, False), br, columns, speak, **OPTIONS,
        )  # fmt: skip

    def _few_rows(self, rows: int) -> int:
        """Rows a program: few enough that every multiprocessor of a large GPU has one."""
        return 8 if rows >= 512 else 4 if rows >= 128 else 16

    def _tiles(self, lanes: int, rows: int) -> tuple[int, int, bool]:
        """Rows and lanes a program, and whether the tensor cores multiply them."""
        if lanes < MANY:
            return self._few_rows(rows), 1, False
        return 16, max(16, min(64, 1 << (lanes - 1).bit_length())), True

    def _step(self, columns: int, dot: bool) -> int:
        return min(step_of(columns), 128) if dot else step_of(columns)
