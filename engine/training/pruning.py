"""Weights taken away in blocks while a network learns, so that what is left plays faster.

Blocks of 16 rows by 4 columns, what one vector register of an integer kernel multiplies: those of least magnitude go,
few at first and ever fewer towards the end (Zhu and Gupta 2017, To prune, or not to prune: a share of
1 - (1 - s)^3 of all that will go, s from 0 at ``prune_from`` to 1 at ``prune_to``). Kalchbrenner et al. 2018 made
WaveRNN so. Inside weight norm it is the direction v that is pruned. What is gone is exactly zero and stays so, in the
averaged weights too; nothing has to be remembered to go on with a run.

Of a recurrent matrix the blocks on the diagonal of each gate stay (Valin and Skoglund 2019, LPCNet: a unit must be able
to remember itself), and gates may have unequal shares of what is left.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.blocks import COLUMNS, ROWS, share_of
from engine.training.recipes import Training

EVERY = 10  # steps between two looks at which blocks are the least


class Pruning:
    """The blocks of a network that are still there.

    Made of a network as it is, one that was pruned before included: what is zero there is gone.

    Args:
        learned: the network's parameters by name, as SampleRNN holds them.
        training: ``density_frames``, ``density_sample``, ``density_output``: what is left at the end, 1 for all.
    """

    def __init__(self, learned: Mapping[str, Tensor], training: Training) -> None:
        self._training = training
        shares = {name: density(name, training) for name in learned}
        self._matrices = {name: (learned[name].detach(), share) for name, share in shares.items() if share < 1.0}
        self._gates = next((len(w) // w.shape[1] for name, w in learned.items() if "/rnn/0/hh/weight" in name), 1)
        self._masks = {name: _spread(_sizes(matrix) > 0, matrix) for name, (matrix, _) in self._matrices.items()}

    @property
    def left(self) -> float:
        """Share of the weights still there, of all that may go; 1.0 where none may."""
        there = sum(float(mask.sum()) for mask in self._masks.values())
        return there / sum(mask.numel() for mask in self._masks.values()) if self._masks else 1.0

    @torch.no_grad()
    def apply(self, step: int, averaged: Mapping[str, Tensor]) -> None:
        """After optimiser step ``step`` (from 0): take away what is due, keep away what is gone. In place."""
        look = step % EVERY == 0 or step == self._training.steps - 1
        for name, (matrix, share) in self._matrices.items():
            matrix.mul_(self._masks[name])
            if look and (gone := progress(step, self._training)):
                self._masks[name] = self._mask(name, matrix, share, gone)
                matrix.mul_(self._masks[name])
            if name in averaged:
                averaged[name].mul_(self._masks[name])

    def _mask(self, name: str, matrix: Tensor, share: float, gone: float) -> Tensor:
        """What is left of a matrix of which ``gone`` of all that will go has gone: gate by gate if they differ."""
        weights = self._training.density_gates
        square = "/hh/" in name
        if "/rnn/" not in name or len(set(weights)) == 1:
            return mask(matrix, 1.0 - (1.0 - share) * gone, self._gates if square else 0)
        mean = sum(weights) / len(weights)
        shares = [min(1.0, share * weight / mean) for weight in weights]
        parts = zip(matrix.chunk(self._gates), shares, strict=True)
        return torch.cat([mask(part, 1.0 - (1.0 - left) * gone, int(square)) for part, left in parts])


def density(name: str, training: Training) -> float:
    """What shall be left of parameter ``name`` at the end; 1 of tables, frames, biases and scales, which all stay."""
    t = training
    return share_of(name.replace("/", "."), t.density_frames, t.density_sample, t.density_output)


def progress(step: int, training: Training) -> float:
    """Share of all that will go that is gone after ``step``, 0 to 1."""
    first, last = training.prune_from * training.steps, training.prune_to * training.steps
    s = min(1.0, max(0.0, (step + 1 - first) / max(1.0, last - first)))
    return 1.0 - (1.0 - s) ** 3


def mask(matrix: Tensor, left: float, squares: int = 0) -> Tensor:
    """Ones where the largest blocks of ``matrix`` (..., columns) lie, a share ``left`` of them, zeros elsewhere.

    Every sixteen rows keep their largest block: a row of nothing has no direction, and no norm. ``squares``: of so many
    square matrices one over the other the diagonals stay, unless they would be more than half of what is left.
    """
    sizes = _sizes(matrix)
    if squares and left * matrix.shape[1] >= 2 * ROWS:  # dim / 4 blocks of dim / 16 times dim / 4
        sizes = torch.where((sizes > 0) & _diagonals(sizes, squares), sizes + sizes.max(), sizes)
    keep = torch.zeros_like(sizes, dtype=torch.bool)
    keep.view(-1)[sizes.flatten().topk(max(1, round(left * sizes.numel()))).indices] = True
    keep.scatter_(1, sizes.argmax(dim=1, keepdim=True), True)
    return _spread(keep & (sizes > 0), matrix)  # what is gone stays gone, though a longer plan would have more left


def _sizes(matrix: Tensor) -> Tensor:
    """Sum of the magnitudes of each block, (rows / 16, columns / 4), rounded up."""
    flat = matrix.reshape(-1, matrix.shape[-1]).abs()
    padded = torch.nn.functional.pad(flat, (0, -flat.shape[1] % COLUMNS, 0, -flat.shape[0] % ROWS))
    return padded.reshape(padded.shape[0] // ROWS, ROWS, -1, COLUMNS).sum(dim=(1, 3))


def _diagonals(sizes: Tensor, squares: int) -> Tensor:
    """Which blocks hold a piece of a diagonal, in the shape of ``sizes``, (squares * dim / 16, dim / 4)."""
    strip = torch.arange(sizes.shape[0] // squares, device=sizes.device).repeat(squares)[:, None]
    group = torch.arange(sizes.shape[1], device=sizes.device)[None]
    return strip == group // (ROWS // COLUMNS)


def _spread(blocks: Tensor, like: Tensor) -> Tensor:
    """One number for each block as one for each weight, in the shape of ``like``."""
    rows, columns = like.reshape(-1, like.shape[-1]).shape
    whole = blocks.repeat_interleave(ROWS, 0).repeat_interleave(COLUMNS, 1)[:rows, :columns]
    return whole.reshape(like.shape).to(like.dtype)
