"""A run: the samples that one launch makes, as a sequence of kernels. Captured on a GPU, called one by one elsewhere.

``place`` is where in a top-tier frame a run begins; with it and the length everything is decided but what lies in the
block (``engine.cuda.buffers``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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

    def begin(self, tiers: Sequence[int]) -> None:
        """What is known before the first sample; ``tiers`` have a frame in this run."""

    def tier(self, i: int, s: int, slot: int) -> None:
        """A frame of tier ``i`` that begins with sample ``s``, in ``slot`` of the tier above."""

    def up(self, first: int, count: int) -> None:
        """What the bottom tier says to ``count`` samples of its frame from its ``first`` on."""

    def ahead(self, tiers: Sequence[int]) -> None:
        """What their past says to the next frame of tiers that have just ended one, and will begin another."""

    def draw(self, s: int) -> None:
        """The sample before sample ``s``, where a frame begins that has to know it."""

    def sample(self, s: int, slot: int) -> None:
        """Everything of sample ``s``, which is the ``slot``-th of its frame, but its draw; of others than the first of
        a frame the draw of the one before.
        """

    def finish(self, samples: int) -> None:
        """The last draw, and all that the next run needs to be in the block."""


def run(steps: Steps, shape: Shape, place: int, samples: int) -> None:
    """Call everything that ``samples`` samples from ``place`` take, in order."""
    c = shape.config
    steps.begin([i for i in range(c.n_tiers) if -place % c.frame_sizes[i] < samples])
    for s in range(samples):
        at = place + s
        begun = [i for i in range(c.n_tiers) if at % c.frame_sizes[i] == 0]
        if s and begun:
            steps.draw(s)
        for i in reversed(begun):
            steps.tier(i, s, at // c.frame_sizes[i] % c.slots(i + 1) if i + 1 < c.n_tiers else 0)
        slot = at % c.frame_sizes[0]
        if s == 0 or slot == 0:
            steps.up(slot, min(c.frame_sizes[0] - slot, samples - s))
        if again := [i for i in begun if s + c.frame_sizes[i] < samples]:
            steps.ahead(again)
        steps.sample(s, slot)
    steps.finish(samples)


class Beside(Protocol):
    """Where a run's branches go: kernels whose results are needed later than what comes behind them."""

    def fork(self) -> AbstractContextManager[None]:
        """What is launched within waits for all that was launched before, and holds up nothing behind."""

    def join(self) -> None:
        """What is launched behind waits for every branch there has been."""


class InOrder:
    """No branches: one after the other, where there is no GPU."""

    @contextmanager
    def fork(self) -> Iterator[None]:
        yield

    def join(self) -> None:
        pass


class SecondStream:
    """A stream of its own for all branches of a run, which are in order among themselves.

    While a graph is captured, an event that the second stream waits for draws it into the graph, and one that the
    first waits for is the edge back. A capture fails if a branch has none by its end.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._side = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def fork(self) -> Iterator[None]:
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            yield

    def join(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._side)


class Fused:
    """The kernels of ``engine.cuda.kernels``: two a sample for one sample lane, three for more.

    What a frame's own chain need not wait for is launched in branches: its layers' past as soon as their states are
    known, for the next frame; layers' shares of a tier's output but the last one's; what the bottom tier says to others
    than the next sample. A branch is joined before the first kernel that reads it, or that writes what it reads.
    """

    def __init__(self, shape: Shape, weights: Weights, block: Block, beside: Beside | None = None) -> None:
        self.shape, self.weights, self.block = shape, weights, block
        device = block.device.device
        self.beside: Beside = beside or (SecondStream(device) if device.type == "cuda" else InOrder())
        self.scratch = Scratch(shape, block.device.device)
        c = shape.config
        self._few = shape.lanes == 1
        self._dim, self._mlp, self._levels = padded(c.dim), padded(c.mlp_dim), padded(c.q_levels)
        self._room = c.lookback + shape.samples
        self._scale = float(weight_scale(c.q_levels))
        self._width = 1 << (c.q_levels - 1).bit_length()
        self._h = [[self.block.at["h"][i, k] for k in range(c.n_rnn)] for i in range(c.n_tiers)]
        self._ran: set[int] = set()
        self._forked = False  # a branch is under way
        self._said: int | None = None  # the slot whose share of it came first: the others' are in that branch
        self._next: list[int] = []  # tiers whose past is launched behind that branch

    def begin(self, tiers: Sequence[int]) -> None:
        c, s, block = self.shape.config, self.scratch, self.block.at
        self._h = [[block["h"][i, k] for k in range(c.n_rnn)] for i in range(c.n_tiers)]
        self._ran, self._forked, self._said, self._next = set(), False, None, []
        self.ahead(tiers)
        width = 1 << (self.shape.samples - 1).bit_length()
        kernels.dice[(self.shape.lanes,)](
            block["lanes"], s.lane_of, s.side_of, s.words, self.shape.samples, width, **OPTIONS
        )
        if self._few:
            self._back(0, speak=False)

    def tier(self, i: int, s: int, slot: int) -> None:
        c = self.shape.config
        self._ran.add(i)
        self._join()
        if self.shape.apart:
            self._enter(i, s, slot)
        for k in range(c.n_rnn):
            self._cell(i, k, s, slot)
            if c.skip and k + 1 < c.n_rnn:
                with self._fork():
                    self._skip(i, k)
        if c.skip:
            self._join()
            self._skip(i, c.n_rnn - 1)

    def ahead(self, tiers: Sequence[int]) -> None:
        self._next = list(tiers)
        if self._said is None:
            self._past()

    def up(self, first: int, count: int) -> None:
        self._up(first, 1)
        if count > 1:
            with self._fork():
                self._up(first + 1, count - 1)
            self._said = first

    def draw(self, s: int) -> None:
        c, k, block = self.shape.config, self.scratch, self.block.at
        kernels.last[(self.shape.lanes,)](
            *self._draw(), k.lane_of, block["lanes"], block["measured"], s, self._scale,
            self.shape.voices, self.shape.lanes, self.shape.samples, self._room, c.q_levels, self._width, **OPTIONS,
        )  # fmt: skip

    def sample(self, s: int, slot: int) -> None:
        # at a frame's end it is joined one kernel before the next frame's first needs it: that one has more to read
        if self._said not in (slot, None) or slot == self.shape.config.frame_sizes[0] - 1:
            self._join()
            self._past()
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
        self._join()
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

    @contextmanager
    def _fork(self) -> Iterator[None]:
        self._forked = True
        with self.beside.fork():
            yield

    def _join(self) -> None:
        """Wait for the branches that are under way."""
        if self._forked:
            self.beside.join()
        self._forked, self._said = False, None

    def _past(self) -> None:
        """What their states say to the next frames' gates, of all tiers for which it is to be made."""
        if not self._next:
            return
        with self._fork():
            for i in self._next:
                for k, h in enumerate(self._h[i]):
                    self._rows(f"tier.{i}.{k}.hh", h, self.scratch.past[i, k])
        self._next = []

    def _enter(self, i: int, s: int, slot: int) -> None:
        br, bv, dot = self._tiles(self.shape.voices, self._dim)
        frames, bias, lead, x = self._entry(i, slot)
        kernels.enter[(self._dim // br, -(-self.shape.voices // bv))](
            self.block.at["tokens"], frames, s, bias, lead, x, self.scratch.inside,
            self.shape.voices, *self._frame(i), i + 1 < self.shape.config.n_tiers,
            self._dim, self._step(self._dim, dot), br, bv, dot, **OPTIONS,
        )  # fmt: skip

    def _entry(self, i: int, slot: int) -> tuple[torch.Tensor, ...]:
        """A tier's raw samples' matrix, bias, the matrix for what the tier above said, and that."""
        w, name = self.weights.at, f"tier.{i}"
        frames, bias = w[f"{name}.frames"], w[f"{name}.entry.bias"][slot]
        if i + 1 == self.shape.config.n_tiers:
            return frames, bias, frames, frames
        return frames, bias, w[f"{name}.cond"][slot], self._out(i + 1)

    def _frame(self, i: int) -> tuple[int, int, int, int]:
        c = self.shape.config
        return self._room, self.shape.samples, c.frame_sizes[i], c.q_levels

    def _cell(self, i: int, k: int, s: int, slot: int) -> None:
        c, w, name = self.shape.config, self.weights.at, f"tier.{i}.{k}"
        h = self._h[i][k]
        new = self.scratch.h[i, k] if h.data_ptr() == self.block.at["h"][i, k].data_ptr() else self.block.at["h"][i, k]
        br, bv, dot = self._tiles(self.shape.voices, self._dim)
        carried = self.block.at["c"][i, k] if c.rnn == "lstm" else h
        first, more = k == 0 and not self.shape.apart, k > 0 and f"{name}.entry" in w
        inside = (w[f"{name}.entry"][0], w[f"{name}.entry.bias"][0], self.scratch.inside) if more else (h, h, h)
        if first:
            frames, bias, lead, x = self._entry(i, slot)
        else:
            part, x = ("below", self._h[i][k - 1]) if k else ("entry", self.scratch.inside)
            frames, bias, lead = h, w[f"{name}.{part}.bias"][0], w[f"{name}.{part}"][0]
        kernels.cell[(self._dim // br, -(-self.shape.voices // bv))](
            self.block.at["tokens"], frames, s, bias, lead, x, *inside, self.scratch.past[i, k], h, new, carried,
            self.shape.voices, c.rnn == "lstm", *self._frame(i), first, not first or i + 1 < c.n_tiers, more,
            self._dim, self._step(self._dim, dot), br, bv, dot, **OPTIONS,
        )  # fmt: skip
        self._h[i][k] = new

    def _skip(self, i: int, k: int) -> None:
        """A layer's share of what its tier says; the first one's is the beginning of it."""
        self._rows(f"tier.{i}.{k}.skip", self._h[i][k], self.block.at["out"][i], add=k > 0)

    def _up(self, first: int, count: int) -> None:
        weight, bias = self.weights.at["tier.0.up"], self.weights.at["tier.0.up.bias"]
        self._products(weight[first], bias[first], self._out(0), self.scratch.x[first], count)

    def _rows(self, name: str, x: torch.Tensor, out: torch.Tensor, add: bool = False) -> None:
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
