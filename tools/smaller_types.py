"""What smaller types cost: bits a sample that tables of 8 bits and weights of 4 add, on held-out sound.

    python tools/smaller_types.py checkpoints/*.safetensors [--sounds FOLDER] [--every N]

Prints a table: what each way adds to fp32, over all samples and over active ones. Networks are computed as precision
``int8`` has them (engine.folding), teacher-forced, whole windows at once in NumPy; only the weights or the tables are
rounded otherwise. GRUs without skip connections.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from precision_loss import ROOT, heldout, length

import engine
from engine.folding import TABLE_MAX, Dense, Folded, fold
from engine.reference import byte_of, log_softmax, sigmoid, tanh
from engine.training.data import window_indices

F32 = NDArray[np.float32]


@dataclass
class Matrix:
    """y = W (byte of a - zero) + b, or W a + b where ``by`` is None; ``seen`` adds up the products of its inputs."""

    weight: F32
    bias: F32
    by: np.float32 | None
    zero: int
    seen: NDArray[np.float64] | None = None

    def __call__(self, a: F32) -> F32:
        """(n, rows) of (n, columns)."""
        if self.by is not None:
            a = (byte_of(a, self.by, self.zero) - self.zero).astype(np.float32)
        if self.seen is not None:
            self.seen += a.T @ a
        product: F32 = a @ self.weight.T + self.bias
        return product


COLUMNS = (0, 1)  # what a table's scale for each column is taken over: places and levels
HEARD = 8192  # samples of each of four voices that tell what the inputs of a matrix have in common
Rounding = Callable[[F32, Dense], F32]  # of fp32 weights, and the same as int8 has them


def as_int8(_: F32, d: Dense) -> F32:
    """The weights that precision ``int8`` multiplies bytes with."""
    weight: F32 = d.weight * d.factor[:, None]
    return weight


def in_groups(whole: F32, d: Dense, bits: int, group: int, feedback: bool = False) -> F32:
    """Integers of ``bits`` with a scale for each ``group`` inputs of a row, largest magnitude to largest integer.

    With ``feedback`` what rounding takes from one weight is given to the next, so that sums along the row are kept.
    """
    most = (1 << (bits - 1)) - 1
    rows, columns = whole.shape
    parts = np.pad(whole, ((0, 0), (0, -columns % group))).reshape(rows, -1, group)
    scale = np.maximum(np.abs(parts).max(axis=-1, keepdims=True) / most, 1e-12)
    parts = parts / scale
    if feedback:
        lost = np.zeros(parts.shape[:2])
        for i in range(group):
            wanted = parts[..., i] + lost
            parts[..., i] = np.clip(np.floor(wanted + 0.5), -most, most)
            lost = wanted - parts[..., i]
    parts = np.floor(parts + 0.5) * scale
    rounded: F32 = parts.reshape(rows, -1)[:, :columns].astype(np.float32)
    return rounded


def compensated(whole: F32, seen: NDArray[np.float64], bits: int, group: int) -> F32:
    """As :func:`in_groups`, one input after the other, what is lost made good by those still to come.

    By their correlations, ``seen`` (columns, columns): Frantar et al. 2022, GPTQ.
    """
    most, columns = (1 << (bits - 1)) - 1, whole.shape[1]
    left, rounded = whole.astype(np.float64), np.empty_like(whole)
    damped = seen + np.eye(columns) * (0.01 * np.trace(seen) / columns + 1e-9)
    share = np.linalg.cholesky(np.linalg.inv(damped)).T
    for j in range(columns):
        if j % group == 0:
            scale = np.maximum(np.abs(left[:, j : j + group]).max(axis=1) / most, 1e-12)
        rounded[:, j] = np.clip(np.floor(left[:, j] / scale + 0.5), -most, most) * scale
        left[:, j:] -= np.outer((left[:, j] - rounded[:, j]) / share[j, j], share[j, j:])
    return rounded


class Network:
    """A folded network as matrices of any rounding, and tables of any other."""

    def __init__(self, checkpoint: engine.Checkpoint, rounding: Rounding | None, table: F32) -> None:
        if checkpoint.config.skip or checkpoint.config.rnn != "gru":
            raise SystemExit(f"{checkpoint.name}: a GRU without skip connections expected")
        self.config, self.table = checkpoint.config, table
        whole, small = fold(checkpoint, "fp32"), fold(checkpoint, "int8")
        self.tiers, self._small, self._rounding = whole.tiers, small, rounding
        self.cond = [self._matrices(a.cond, b.cond, "h") for a, b in zip(whole.tiers, small.tiers, strict=True)]
        self.layers = [
            [
                [self._matrix(getattr(x, part), getattr(y, part), source) for part, source in self._parts(i)]
                for x, y in zip(a.layers, b.layers, strict=True)
            ]
            for i, (a, b) in enumerate(zip(whole.tiers, small.tiers, strict=True))
        ]
        self.up = self._matrices(whole.tiers[0].up, small.tiers[0].up, "h")
        self.hidden = self._matrix(whole.hidden, small.hidden, "mlp.1")
        self.output = self._matrix(whole.output, small.output, f"mlp.{self.config.mlp_layers}")

    @staticmethod
    def _parts(tier: int) -> list[tuple[str, str]]:
        return [("below", "h"), ("entry", f"tier.{tier}.input"), ("hh", "h")]

    def _matrices(self, whole: tuple[Dense, ...], small: tuple[Dense, ...], source: str) -> list[Any]:
        return [self._matrix(a, b, source) for a, b in zip(whole, small, strict=True)]

    def _matrix(self, whole: Dense | None, small: Dense | None, source: str) -> Matrix | None:
        """``small.factor`` has the byte's scale in it; fp32 weights are given it too."""
        if whole is None or small is None:
            return None
        if self._rounding is None:
            return Matrix(np.asarray(whole.weight, np.float32), whole.bias, None, 0)
        by = np.float32(127.0) if source == "h" else self._small.scales[source]
        weight = self._rounding(np.asarray(whole.weight, np.float32) / by, small)
        return Matrix(weight.astype(np.float32), whole.bias, by, small.zero)

    def matrices(self) -> list[Matrix]:
        """All of them, always in the same order."""
        layers = [matrix for tier in self.layers for layer in tier for matrix in layer]
        every = [*(matrix for tier in self.cond for matrix in tier), *layers, *self.up, self.hidden, self.output]
        return [matrix for matrix in every if matrix is not None]

    def nats(self, indices: NDArray[Any], counted: int, every: int = 1) -> NDArray[np.float64]:
        """Loss of the last ``counted`` samples, (B, counted) of (B, T), in every so manieth frame; others are nan."""
        above: F32 | None = None
        for i in reversed(range(self.config.n_tiers)):
            above = self._tier(i, indices, above)
        assert above is not None
        rows = zip(indices, above.swapaxes(0, 1), strict=True)
        return np.stack([self._samples(row, h, len(row) - self.config.lookback - counted, every) for row, h in rows])

    def _tier(self, i: int, indices: NDArray[Any], above: F32 | None) -> F32:
        """Outputs of tier i, (frames, B, dim)."""
        c, tier = self.config, self.tiers[i]
        size, n = c.frame_sizes[i], indices.shape[1] - c.lookback
        x = ((indices - c.q_zero) * (4.0 / c.q_levels)).astype(np.float32)
        h = np.repeat(tier.h0[:, None], len(indices), axis=1)  # (layers, B, dim)
        outputs = []
        for frame in range(-(-n // size)):
            end = frame * size + c.lookback
            slot = frame % len(tier.entry_bias)
            entry = x[:, end - size : end] @ tier.frames.T + tier.entry_bias[slot]
            if above is not None:
                entry = entry + self.cond[i][slot](above[frame // len(tier.entry_bias)])
            for k, (below, own, past) in enumerate(self.layers[i]):
                gates = below(h[k - 1]) if below else own(entry) if own else entry
                h[k] = _gru(gates, past(h[k]), h[k])
            outputs.append(h[-1].copy())
        return np.stack(outputs)

    def _samples(self, row: NDArray[Any], h: F32, first: int, every: int) -> NDArray[np.float64]:
        """Of one window from a sample on: the sample level, all that a slot of the bottom frame makes at a time."""
        c = self.config
        size, n = c.frame_sizes[0], len(row) - c.lookback
        losses = np.full(n, np.nan)
        for slot in range(size):
            places = np.arange(slot, n, size * every)
            places = places[places >= first]
            x = self.up[slot](h[places // size])
            for k in range(size):
                x += self.table[k, row[places + c.lookback - size + k]]
            x = np.maximum(x, 0.0)
            if self.hidden:
                x = np.maximum(self.hidden(x), 0.0)
            found = log_softmax(self.output(x))
            losses[places] = -found[np.arange(len(places)), row[places + c.lookback]]
        return losses[first:]


def _gru(gates: F32, past: F32, h: F32) -> F32:
    (gr, gz, gn), (pr, pz, pn) = np.split(gates, 3, axis=1), np.split(past, 3, axis=1)
    n = tanh(gn + sigmoid(gr + pr) * pn)
    new: F32 = n + sigmoid(gz + pz) * (h - n)
    return new


def tables(whole: Folded, most: int, axis: tuple[int, ...] | None = None) -> F32:
    """The tables in integers up to ``most``, with one scale for all, or for what ``axis`` is taken over."""
    table = np.asarray(whole.table, np.float32)
    scale = np.maximum(np.abs(table).max(axis=axis, keepdims=True) / most, 1e-12)
    rounded: F32 = np.floor(table / scale + 0.5) * scale
    return rounded


def ways(checkpoint: engine.Checkpoint) -> dict[str, Network]:
    """Every way to round, by what it is called."""
    whole = fold(checkpoint, "fp32")
    each, one, wide = tables(whole, TABLE_MAX, COLUMNS), tables(whole, TABLE_MAX), tables(whole, 32767)
    four = {group: partial(in_groups, bits=4, group=group) for group in (32, 64, 128)}
    fed = partial(in_groups, bits=4, group=32, feedback=True)
    made: dict[str, tuple[Rounding | None, F32]] = {
        "fp32": (None, np.asarray(whole.table, np.float32)),
        "int8 as it is (tables of 8 bits, a scale for each column)": (as_int8, each),
        "tables of 8 bits, one scale": (as_int8, one),
        "tables of 16 bits, one scale": (as_int8, wide),
        "weights of 4 bits, groups of 32": (four[32], each),
        "groups of 64": (four[64], each),
        "groups of 128": (four[128], each),
        "groups of 32, the error to the next weight": (fed, each),
    }
    result = {name: Network(checkpoint, rounding, table) for name, (rounding, table) in made.items()}
    result["groups of 32, errors made good by the other inputs"] = compensating(checkpoint, each, 32)
    result["groups of 128, errors made good by the other inputs"] = compensating(checkpoint, each, 128)
    result["the latter, tables of 16 bits"] = compensating(checkpoint, wide, 128)
    return result


def watched(checkpoint: engine.Checkpoint, table: F32) -> Network:
    """A network that has seen what its matrices multiply in a free run."""
    network = Network(checkpoint, as_int8, table)
    for matrix in network.matrices():
        columns = matrix.weight.shape[1]
        matrix.seen = np.zeros((columns, columns))
    network.nats(engine.make_generator(checkpoint, "cpu", "int8", voices=4, seed=1).generate(HEARD), HEARD // 2)
    return network


def compensating(checkpoint: engine.Checkpoint, table: F32, group: int) -> Network:
    """4 bits in groups, chosen by what a free run makes of them."""
    network = Network(checkpoint, lambda whole, _: whole, table)
    for matrix, other in zip(network.matrices(), watched(checkpoint, table).matrices(), strict=True):
        assert other.seen is not None
        matrix.weight = compensated(matrix.weight, other.seen, 4, group)
    return network


def bits(network: Network, windows: list[tuple[NDArray[Any], NDArray[np.bool_]]], every: int) -> tuple[float, float]:
    """Bits a sample over all and over active samples of windows, (indices, which are active) of each length."""
    everything, active = [], []
    for indices, mask in windows:
        losses = network.nats(indices, mask.shape[1], every)
        everything.append(losses.ravel())
        active.append(losses[mask])
    over_all, over_active = (float(np.nanmean(np.concatenate(found)) / np.log(2)) for found in (everything, active))
    return over_all, over_active


def looked_at(checkpoint: engine.Checkpoint, sounds: Path) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Samples of the held-out windows, context first, and which of those that count are active; by length."""
    windows, training = heldout(checkpoint, sounds)
    groups = [list(group) for _, group in groupby(sorted(windows, key=length), key=length)]
    return [
        (window_indices(group, checkpoint.config, training), np.stack([window.active for window in group]))
        for group in groups
    ]


def main() -> None:
    """Print a row for each way, a pair of columns for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--sounds", type=Path, default=ROOT / "sounds")
    parser.add_argument("--every", type=int, default=4, metavar="N", help="score one bottom frame of N")
    args = parser.parse_args()
    checkpoints = [engine.load(name) for name in args.checkpoints]
    columns = []
    for checkpoint in checkpoints:
        windows = looked_at(checkpoint, args.sounds)
        columns.append({name: bits(network, windows, args.every) for name, network in ways(checkpoint).items()})
        print(f"{checkpoint.name}: fp32 {columns[-1]['fp32'][0]:.4f}", file=sys.stderr, flush=True)
    print(f"| | {' | '.join(f'{checkpoint.name} | active' for checkpoint in checkpoints)} |")
    print("|---" * (2 * len(checkpoints) + 1) + "|")
    for name in list(columns[0])[1:]:
        added = [f"{column[name][k] - column['fp32'][k]:+.4f}" for column in columns for k in (0, 1)]
        print(f"| {name} | {' | '.join(added)} |")


if __name__ == "__main__":
    main()
