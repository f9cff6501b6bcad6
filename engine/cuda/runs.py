"""A run: the samples that one launch makes, as a sequence of kernels. Captured on a GPU, called one by one elsewhere.

``place`` is where in a top-tier frame a run begins; with it and the length everything is decided but what lies in the
block (``engine.cuda.buffers``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import torch

from engine.cuda import kernels
from engine.cuda.buffers import Block, Scratch, Shape
from engine.cuda.weights import Weights, padded, step_of
from engine.draw import weight_scale

MANY = 8  # lanes from which on the tensor cores multiply
MULTIPROCESSORS = 132  # of an H100 or H200
MOST_REGISTERS = 255  # that a thread can have; unsaid, ptxas kept a cell of 16 lanes to 128, and spilled
FROM_CACHE, BY_ONE = 5.5e6, 0.08e6  # bytes a us: what the second-level cache gives in all, and to one multiprocessor
OPTIONS: dict[str, Any] = {"enable_fp_fusion": False}


class Steps(Protocol):
    """What a run is made of; a player has one of them."""

    scratch: Scratch

    def begin(self, tiers: Sequence[int], samples: int) -> None:
        """What is known before the first of ``samples``; ``tiers`` have a frame among them."""

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
        """The draw of the last of ``samples``, if any were made, and all that the next run needs to be in the block."""


def run(steps: Steps, shape: Shape, place: int, samples: int, known: bool = False) -> None:
    """Call everything that ``samples`` samples from ``place`` take, in order; where they are ``known``, tiers only."""
    c = shape.config
    steps.begin([i for i in range(c.n_tiers) if -place % c.frame_sizes[i] < samples], samples)
    for s in range(samples):
        at = place + s
        begun = [i for i in range(c.n_tiers) if at % c.frame_sizes[i] == 0]
        if s and begun and not known:
            steps.draw(s)
        for i in reversed(begun):
            steps.tier(i, s, at // c.frame_sizes[i] % c.slots(i + 1) if i + 1 < c.n_tiers else 0)
        slot = at % c.frame_sizes[0]
        if (s == 0 or slot == 0) and not known:
            steps.up(slot, min(c.frame_sizes[0] - slot, samples - s))
        if again := [i for i in begun if s + c.frame_sizes[i] < samples]:
            steps.ahead(again)
        if not known:
            steps.sample(s, slot)
    steps.finish(0 if known else samples)


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


class Tile(NamedTuple):
    """What one program makes: columns it takes at once, rows, lanes; whether tensor cores multiply; steps in flight."""

    step: int
    rows: int
    lanes: int
    dot: bool
    stages: int

    def grid(self, rows: int, lanes: int) -> tuple[int, int]:
        return rows // self.rows, -(-lanes // self.lanes)


class Fused:
    """The kernels of ``engine.cuda.kernels``: two a sample for one sample lane, three for more.

    What a frame's own chain need not wait for is launched in branches: its layers' past as soon as their states are
    known, for the next frame; layers' shares of a tier's output but the last one's; for several lanes what the bottom
    tier says to others than the next sample. A branch is joined before the first kernel that reads it, or that writes
    what it reads.

    Args:
        programmatic: kernels of the chain start before the one in front has ended (programmatic dependent launch); None
            is wherever that can be had, from Hopper on.
        beside: where branches go; None is a second stream on a GPU.
    """

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        block: Block,
        programmatic: bool | None = None,
        beside: Beside | None = None,
    ) -> None:
        self.shape, self.weights, self.block = shape, weights, block
        device = block.device.device
        self.beside: Beside = beside or (SecondStream(device) if device.type == "cuda" else InOrder())
        self.programmatic = can_overlap(device) if programmatic is None else programmatic
        self.scratch = Scratch(shape, device)
        c = shape.config
        self._few = shape.lanes == 1
        self._dim, self._mlp, self._levels = padded(c.dim), padded(c.mlp_dim), padded(c.q_levels)
        self._room = c.lookback + shape.samples
        self._scale = float(weight_scale(c.q_levels))
        self._width = 1 << (c.q_levels - 1).bit_length()
        self._h = [[self.block.at["h"][i, k] for k in range(c.n_rnn)] for i in range(c.n_tiers)]
        self._clear()

    def _clear(self) -> None:
        """A run begins."""
        c = self.shape.config
        self._h = [[self.block.at["h"][i, k] for k in range(c.n_rnn)] for i in range(c.n_tiers)]
        self._ran: set[int] = set()
        self._linked = False  # the launch before is a kernel of the chain, and nothing else has been waited for
        self._aside = False  # what is launched goes into a branch
        self._forked = False  # a branch is under way
        self._said: int | None = None  # the slot whose share of it came first: the others' are in that branch
        self._next: list[int] = []  # tiers whose past is launched behind that branch
        self._undrawn = False  # the next kernel that hears samples draws the last of them

    def begin(self, tiers: Sequence[int], samples: int) -> None:
        s = self.scratch
        self._clear()
        self._samples = samples
        self.ahead(tiers)
        width = 1 << (self.shape.samples - 1).bit_length()
        kernels.dice[(self.shape.lanes,)](
            self.block.at["lanes"], s.lane_of, s.side_of, s.words, self.shape.samples, width, **OPTIONS
        )
        self._linked = True
        if self._few:
            self._back(0, 0, speak=False)

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
        """For one sample lane only the first: each sample's last kernel makes the next one's."""
        self._up(first, 1)
        if count > 1 and not self._few:
            with self._fork():
                self._up(first + 1, count - 1)
            self._said = first

    def draw(self, s: int) -> None:
        """By the tiers' own kernels where each program of theirs has one lane."""
        if self._tile(self.shape.voices, self._dim, self._dim).dot:
            self._last(s)
        else:
            self._undrawn = True

    def sample(self, s: int, slot: int) -> None:
        c = self.shape.config
        # at a frame's end it is joined one kernel before the next frame's first needs it: that one has more to read
        if self._said not in (slot, None) or slot == c.frame_sizes[0] - 1:
            self._join()
            self._past()
        if self._few:
            self._front(s, slot)
            self._back(s, slot, speak=True)
            return
        w, k = self.weights.at, self.scratch
        self._gather(s, slot)
        source = k.first
        if c.mlp_layers == 2:
            self._products(w["hidden"], w["hidden.bias"], k.first, k.second, 1, relu=True)
            source = k.second
        tile = self._tile(self.shape.lanes, self._levels, self._mlp)
        self._launch(
            kernels.speak, tile.grid(self._levels, self.shape.lanes), tile.stages,
            w["output"], w["output.bias"], source, k.logits, s,
            self.shape.lanes, c.q_levels, self._mlp, *tile[:4],
        )  # fmt: skip

    def finish(self, samples: int) -> None:
        c, block = self.shape.config, self.block.at
        self._join()
        if samples:
            self._last(samples)
        for i in sorted(self._ran):
            for layer, h in enumerate(self._h[i]):
                if h.data_ptr() != block["h"][i, layer].data_ptr():
                    block["h"][i, layer].copy_(h)
            if not c.skip:
                block["out"][i].copy_(self._h[i][-1])

    def _launch(self, kernel: Any, grid: tuple[int, ...], stages: int, *args: Any) -> None:
        """One kernel, of the chain or of a branch.

        A programmatic edge of a graph leads from a kernel to a kernel. So the first kernel of a run, behind a copy, is
        launched without; and so is what is behind a join, which has two edges: the one from the branch is a full one,
        and what a capture makes of the other is nowhere said. An edge to a branch is full of itself: it is an event's.
        """
        overlapping = self.programmatic and self._linked and not self._aside
        options = {**OPTIONS, "num_stages": stages} | ({"launch_pdl": True} if overlapping else {})
        if stages > 1:
            options["maxnreg"] = MOST_REGISTERS
        kernel[grid](*args, self.programmatic, **options)
        self._linked = self._linked or not self._aside

    @contextmanager
    def _fork(self) -> Iterator[None]:
        self._forked = self._aside = True
        with self.beside.fork():
            yield
        self._aside = False

    def _join(self) -> None:
        """Wait for the branches that are under way."""
        if self._forked:
            self.beside.join()
            self._linked = False
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

    def _drawing(self) -> tuple[torch.Tensor, ...]:
        block = self.block.at
        return (
            self.scratch.logits, block["betas"], self.scratch.words, block["forced"], block["tokens"], block["faults"]
        )  # fmt: skip

    def _last(self, s: int) -> None:
        c, k, block = self.shape.config, self.scratch, self.block.at
        self._launch(
            kernels.last, (self.shape.lanes,), 1,
            *self._drawing(), k.lane_of, block["lanes"], block["measured"], s, self._scale,
            self.shape.voices, self.shape.lanes, self.shape.samples, self._room, c.q_levels, self._width,
        )  # fmt: skip

    def _out(self, i: int) -> torch.Tensor:
        """What tier ``i`` said last, (voices, dim)."""
        return self._h[i][-1] if i in self._ran and not self.shape.config.skip else self.block.at["out"][i]

    def _enter(self, i: int, s: int, slot: int) -> None:
        tile = self._tile(self.shape.voices, self._dim, self._dim)
        frames, bias, lead, x = self._entry(i, slot)
        self._launch(
            kernels.enter, tile.grid(self._dim, self.shape.voices), tile.stages,
            *self._drawing(), self._scale, frames, s, bias, lead, x, self.scratch.inside,
            *self._frame(i), i + 1 < self.shape.config.n_tiers, self._dim, *tile[:4],
        )  # fmt: skip
        self._undrawn = False

    def _entry(self, i: int, slot: int) -> tuple[torch.Tensor, ...]:
        """A tier's raw samples' matrix, bias, the matrix for what the tier above said, and that."""
        w, name = self.weights.at, f"tier.{i}"
        frames, bias = w[f"{name}.frames"], w[f"{name}.entry.bias"][slot]
        if i + 1 == self.shape.config.n_tiers:
            return frames, bias, frames, frames
        return frames, bias, w[f"{name}.cond"][slot], self._out(i + 1)

    def _frame(self, i: int) -> tuple[Any, ...]:
        c, size = self.shape.config, self.shape.config.frame_sizes[i]
        return (
            self.shape.voices, self.shape.lanes, self._undrawn, self._width, self._room, self.shape.samples, size,
            span(size), c.q_levels,
        )  # fmt: skip

    def _cell(self, i: int, k: int, s: int, slot: int) -> None:
        c, w, name = self.shape.config, self.weights.at, f"tier.{i}.{k}"
        h = self._h[i][k]
        new = self.scratch.h[i, k] if h.data_ptr() == self.block.at["h"][i, k].data_ptr() else self.block.at["h"][i, k]
        carried = self.block.at["c"][i, k] if c.rnn == "lstm" else h
        first, more = k == 0 and not self.shape.apart, k > 0 and f"{name}.entry" in w
        inside = (w[f"{name}.entry"][0], w[f"{name}.entry.bias"][0], self.scratch.inside) if more else (h, h, h)
        if first:
            frames, bias, lead, x = self._entry(i, slot)
        else:
            part, x = ("below", self._h[i][k - 1]) if k else ("entry", self.scratch.inside)
            frames, bias, lead = h, w[f"{name}.{part}.bias"][0], w[f"{name}.{part}"][0]
        tile = self._tile(self.shape.voices, self._dim, self._dim, matrices=c.gates)
        self._launch(
            kernels.cell, tile.grid(self._dim, self.shape.voices), tile.stages,
            *self._drawing(), self._scale, frames, s, bias, lead, x, *inside, self.scratch.past[i, k], h, new, carried,
            *self._frame(i), c.rnn == "lstm", first, not first or i + 1 < c.n_tiers, more, self._dim, *tile[:4],
        )  # fmt: skip
        self._h[i][k] = new
        self._undrawn = self._undrawn and not first

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
        tile = self._tile(lanes, rows, columns)  # not by how many: sums would depend on where a launch begins
        self._launch(
            kernels.rows, (*tile.grid(rows, lanes), matrices), tile.stages,
            weight, bias, x, out, lanes * rows, lanes, rows, columns, relu, add, *tile[:4],
        )  # fmt: skip

    def _gather(self, s: int, slot: int) -> None:
        c, k = self.shape.config, self.scratch
        column = min(128, self._mlp & -self._mlp)
        # a frame's first is drawn before its tiers, but right sides, which no tier hears
        apart = self.shape.lanes > self.shape.voices and not self._tile(self.shape.voices, self._dim, self._dim).dot
        self._launch(
            kernels.gather, (self.shape.lanes, self._mlp // column), 1,
            *self._drawing(), k.lane_of, self.weights.at["table"], k.x[slot], k.first, s, self._scale,
            s > 0 and (slot > 0 or apart), self.shape.lanes, self.shape.samples, self._room, c.frame_sizes[0],
            power(c.frame_sizes[0]), c.q_levels, self._width, self._mlp, column,
        )  # fmt: skip

    def _front(self, s: int, slot: int) -> None:
        c, w, k = self.shape.config, self.weights.at, self.scratch
        two = c.mlp_layers == 2
        tile = self._tile(1, self._mlp, self._mlp)
        hidden = w["hidden"] if two else w["table"]
        self._launch(
            kernels.front, (self._mlp // tile.rows,), tile.stages,
            *self._drawing(), w["table"], k.ahead, k.x[slot], hidden, w["hidden.bias"] if two else k.ahead, k.second,
            s, self._scale, s > 0 and slot > 0, two, self.shape.samples, self._room, c.frame_sizes[0], c.q_levels,
            self._width, self._mlp, tile.step, tile.rows,
        )  # fmt: skip

    def _back(self, s: int, slot: int, speak: bool) -> None:
        c, w, k = self.shape.config, self.weights.at, self.scratch
        up = speak and slot + 1 < c.frame_sizes[0] and s + 1 < self._samples
        after = slot + 1 if up else slot
        own, more = self._tile(1, self._levels, self._mlp), self._tile(1, self._mlp, self._dim)
        columns = min(128, self._mlp & -self._mlp)
        programs = self._levels // own.rows if speak else 0
        programs += self._mlp // columns + (self._mlp // more.rows if up else 0)
        self._launch(
            kernels.back, (programs,), own.stages,
            w["output"], w["output.bias"], k.second, k.logits, w["table"], self.block.at["tokens"], k.ahead,
            w["tier.0.up"][after], w["tier.0.up.bias"][after], self._out(0), k.x[after], s,
            c.q_levels, self._levels, self.shape.samples, self._room, c.frame_sizes[0], power(c.frame_sizes[0]),
            self._mlp,
            own.step, own.rows, columns, speak, up, self._dim, more.step, more.rows,
        )  # fmt: skip

    def _tile(self, lanes: int, rows: int, columns: int, matrices: int = 1) -> Tile:
        """The tile for ``rows`` of ``lanes``; ``matrices`` is how many rows a program makes for each of its own."""
        if lanes < MANY:
            return Tile(step_of(columns), single_rows(rows, matrices), 1, False, 1)
        return min(
            tiles(lanes, rows, columns, matrices), key=lambda tile: load_of(tile, lanes, rows, columns, matrices)
        )


def single_rows(rows: int, matrices: int) -> int:
    """Rows a program for one lane: one or two programs for each multiprocessor, and columns that registers hold.

    Of gates fewer: at dim 1024 three or four matrices of eight rows would leave the kernel in front no registers.
    """
    return 16 if rows < 256 else 4 if rows < 512 or matrices > 1 else 8


def tiles(lanes: int, rows: int, columns: int, matrices: int) -> list[Tile]:
    """What tensor cores may be given: 8 to 24 kB a step, four steps in flight, hide what memory takes to answer."""
    found = []
    for across in (16, 32, 64):
        for along in (16, 32, 64):
            if rows % across == 0 and along < 2 * max(lanes, 16):
                step = min(step_of(columns), 128 if across * matrices * 2 + along * 4 <= 128 else 64)
                found.append(Tile(step, across, along, True, 5))
    return found


def load_of(tile: Tile, lanes: int, rows: int, columns: int, matrices: int) -> tuple[float, int]:
    """How many us reading takes, of all programs together or of the multiprocessor that has most; and the programs.

    Small tiles read vectors again and again, large ones leave multiprocessors without any: of 64 voices' 256 kB each
    row of tiles reads all.
    """
    programs = rows // tile.rows * -(-lanes // tile.lanes)
    each = (tile.rows * matrices * 2 + tile.lanes * 4) * columns
    return max(programs * each / FROM_CACHE, -(-programs // MULTIPROCESSORS) * each / BY_ONE), programs


def power(n: int) -> int:
    """The power of two that ``n`` fits into."""
    return 1 << (n - 1).bit_length()


def span(size: int) -> int:
    """Samples of a frame as a kernel reads them; 32 at least, since every thread holds the whole of a small tile."""
    return max(32, power(size))


def can_overlap(device: torch.device) -> bool:
    """Whether programmatic dependent launch can be had."""
    if device.type != "cuda" or not kernels.OVERLAPS:
        return False
    return torch.cuda.get_device_capability(device) >= (9, 0)
