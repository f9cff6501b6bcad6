"""The slow, obvious generator that defines truth, at every named precision. NumPy only.

One voice at a time, one sample at a time, every float32 operation written in the order that all other backends keep.
Under ``int8`` the kernels must give the same tokens; under ``fp32`` they may differ by rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine import draw
from engine.folding import F32, Dense, Folded, FoldedTier
from engine.generator import (
    Generator,
    betas,
    blends,
    check_partner,
    checked_batch,
    checked_hidden,
    checked_lookback,
    checked_reset,
    checked_sides,
    keys,
)

Vector = NDArray[np.float32]

_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_EXP_POLYNOMIAL = [
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
]
_NOTHING = np.float32(0.0)
SMALLEST = np.float32(1e-15)  # states below this are zero, so that denormals never arise


def exp(x: Vector) -> Vector:
    """e^x for x clamped to [-87, 87]; Cephes' expf (Moshier): reduction by ln 2 in two parts, degree 7."""
    x = np.minimum(np.maximum(x, np.float32(-87.0)), np.float32(87.0))
    n = np.floor(x * _LOG2E + np.float32(0.5))
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = np.full_like(r, _EXP_POLYNOMIAL[0])
    for c in _EXP_POLYNOMIAL[1:]:
        p = p * r + c
    p = p * (r * r) + r
    p = p + np.float32(1.0)
    power = ((n.astype(np.int32) + np.int32(127)) << 23).view(np.float32)
    result: Vector = p * power
    return result


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + e^-x), x clamped to [-30, 30]."""
    x = np.minimum(np.maximum(x, np.float32(-30.0)), np.float32(30.0))
    return np.float32(1.0) / (np.float32(1.0) + exp(-x))


def tanh(x: Vector) -> Vector:
    """2 sigmoid(2 x) - 1: absolute error about 1e-7, and one function less to agree on."""
    return np.float32(2.0) * sigmoid(np.float32(2.0) * x) - np.float32(1.0)


def byte_of(a: Vector, scale: np.float32, zero: int) -> NDArray[np.int32]:
    """An activation as int8 precision multiplies with it: floor(a scale + zero + 0.5), clipped to a byte."""
    whole: NDArray[np.int32] = np.clip(np.floor(a * scale + np.float32(zero + 0.5)), 0, 255).astype(np.int32)
    return whole


def dense(d: Dense, a: Vector, scale: np.float32 | None) -> Vector:
    """W a + b; ``scale`` turns the activation into bytes (int8), None is fp32."""
    if scale is None:
        return (d.weight @ a + d.bias).astype(np.float32)
    total = d.weight.astype(np.int32) @ byte_of(a, scale, d.zero) + d.offset
    return total.astype(np.float32) * d.factor + d.bias


class _Voice:
    """One lane's state, and the network stepping through it.

    ``tokens`` are the left side's last samples and the tiers'; a stereo lane has ``right``, its right side's own.
    """

    def __init__(self, folded: Folded, stereo: bool = False) -> None:
        self.folded = folded
        self.config = folded.config
        self.stereo = stereo
        self.key = self.dice = self.number = self.resets = 0
        self.spread = self.fresh = 0
        self.entropy = 0.0
        self.fault = False
        self.start()

    def start(self) -> None:
        """h0 as the checkpoint says, silence behind, clock 0; the dice stay."""
        c = self.config
        self.tokens = [c.q_zero] * c.lookback
        self.right = list(self.tokens)
        self.clock = 0
        self.outputs: list[Vector] = [np.zeros(c.dim, np.float32)] * c.n_tiers
        self.set_h(c.h0)

    def set_h(self, mode: str) -> None:
        """``learned``, ``zeros`` or ``random`` h and c in every tier; what is already conditioning stays."""
        self.h = [tier.h0.copy() for tier in self.folded.tiers]
        self.c = [tier.c0.copy() for tier in self.folded.tiers]
        if mode == "zeros":
            self.h = [np.zeros_like(h) for h in self.h]
            self.c = [np.zeros_like(c) for c in self.c]
        if mode == "random":
            self._random_h()

    def _random_h(self) -> None:
        """Uniform in [-1, 1): word / 2^31 - 1 of element e = ((tier * n_rnn + layer) * 2 + is_c) * dim + unit."""
        shape = (self.config.n_rnn, 2, self.config.dim)
        for i in range(self.config.n_tiers):
            first = i * int(np.prod(shape))
            words = [
                draw.philox(self.key, (self.resets << 32) + first + e, self.number, draw.STATE)
                for e in range(int(np.prod(shape)))
            ]
            # 24 bits, so that fp32 holds every value exactly
            values = (np.array(words, np.int64) >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)
            self.h[i], self.c[i] = values.reshape(shape)[:, 0].copy(), values.reshape(shape)[:, 1].copy()
        self.resets = (self.resets + 1) & 0xFFFFFFFF

    def scale(self, name: str) -> np.float32 | None:
        if self.folded.precision != "int8":
            return None
        return np.float32(127.0) if name == "h" else self.folded.scales[name]

    def run_tiers(self) -> None:
        """Every tier whose frame begins now, from the top."""
        for i in reversed(range(self.config.n_tiers)):
            if self.clock % self.config.frame_sizes[i] == 0:
                self._run_tier(i, self.folded.tiers[i])

    def output_scale(self, i: int) -> np.float32 | None:
        return self.scale(f"tier.{i}.output" if self.config.skip else "h")

    def _run_tier(self, i: int, tier: FoldedTier) -> None:
        c = self.config
        size = c.frame_sizes[i]
        slot = (self.clock // size) % len(tier.entry_bias)
        entry = tier.entry_bias[slot]
        unit = np.float32(4.0 / c.q_levels)
        for j, q in enumerate(self.tokens[-size:]):
            entry = entry + tier.frames[:, j] * (np.float32(q - c.q_zero) * unit)
        if tier.cond:
            entry = entry + dense(tier.cond[slot], self.outputs[i + 1], self.output_scale(i + 1))
        output = None
        for k, layer in enumerate(tier.layers):
            gates = entry
            if layer.below:
                gates = dense(layer.below, self.h[i][k - 1], self.scale("h"))
            if layer.entry:
                share = dense(layer.entry, entry, self.scale(f"tier.{i}.input"))
                gates = gates + share if layer.below else share
            past = dense(layer.hh, self.h[i][k], self.scale("h"))
            self._cell(i, k, gates, past)
            if layer.skip:
                share = dense(layer.skip, self.h[i][k], self.scale("h"))
                output = share if output is None else output + share
        self.outputs[i] = self.h[i][-1] if output is None else output

    def _cell(self, i: int, k: int, gates: F32, past: F32) -> None:
        """torch.nn.GRU's and torch.nn.LSTM's cells (reset gate after the matrix)."""
        h = self.h[i][k]
        if self.config.rnn == "gru":
            (gr, gz, gn), (pr, pz, pn) = np.split(gates, 3), np.split(past, 3)
            r, z = sigmoid(gr + pr), sigmoid(gz + pz)
            n = tanh(gn + r * pn)
            new = n + z * (h - n)
        else:
            gi, gf, gg, go = np.split(gates + past, 4)
            cell = sigmoid(gf) * self.c[i][k] + sigmoid(gi) * tanh(gg)
            cell = np.where(np.abs(cell) < SMALLEST, np.float32(0.0), cell)
            self.c[i][k] = cell
            new = sigmoid(go) * tanh(cell)
        self.h[i][k] = np.where(np.abs(new) < SMALLEST, np.float32(0.0), new)

    def logits(self, side: int = 0) -> Vector:
        """(q_levels,) of the next sample of the left (0) or right (1) side, the tiers having run."""
        c, f = self.config, self.folded
        x = dense(f.tiers[0].up[self.clock % c.frame_sizes[0]], self.outputs[0], self.output_scale(0))
        behind = self.right if side else self.tokens
        rows = [f.table[k, q] for k, q in enumerate(behind[-c.frame_sizes[0] :])]
        if f.precision == "int8":
            x = np.sum(rows, axis=0, dtype=np.int32).astype(np.float32) * f.table_scale + x
        else:
            x = np.sum(rows, axis=0, dtype=np.float32) + x
        x = np.maximum(x, np.float32(0.0))
        if f.hidden is not None:
            x = np.maximum(dense(f.hidden, x, self.scale("mlp.1")), np.float32(0.0))
        return dense(f.output, x, self.scale(f"mlp.{c.mlp_layers}"))

    def append(self, token: int, right: int) -> None:
        """A sample of each side is known; a mono lane's sides are one."""
        self.tokens = [*self.tokens[1:], int(token)]
        self.right = [*self.right[1:], int(right)]
        self.clock += 1

    def step(self, beta: np.float32, partner: _Voice | None = None, blend: np.float32 = _NOTHING) -> tuple[int, int]:
        """Draw one sample of each side, from the blend with a partner if there is one; it hears the same."""
        self.run_tiers()
        if partner is not None:
            partner.run_tiers()
        left = self._drawn(0, beta, partner, blend)
        right = self._drawn(1, beta, partner, blend) if self.stereo else left
        self._advance()
        for lane in (self, partner):
            if lane is not None:
                lane.append(left, right)
        return left, right

    def _drawn(self, side: int, beta: np.float32, partner: _Voice | None, blend: np.float32) -> int:
        logits = self.logits(side)
        if partner is not None and blend >= 1:
            logits = partner.logits(side)
        elif partner is not None and blend > 0:
            logits = (np.float32(1.0) - blend) * logits + blend * partner.logits(side)
        return self._pick(logits, beta, self._word(side), side)

    def _word(self, side: int) -> int:
        """The dice of the next sample of the left (0) or right (1) side."""
        word = draw.philox(self.key, self.dice, self.number, draw.DICE + side * draw.RIGHT)
        if not self.spread:
            return word
        fresh = draw.philox(self.key, self.fresh, self.number, draw.FRESH + side * draw.RIGHT)
        return draw.varied(word, fresh, self.spread)

    def _advance(self) -> None:
        """The dice move on; fresh ones only while they are in use."""
        self.dice = (self.dice + 1) & (1 << 64) - 1
        if self.spread:
            self.fresh = (self.fresh + 1) & (1 << 64) - 1

    def _pick(self, logits: Vector, beta: np.float32, word: int, side: int) -> int:
        measuring = side == 0 and self.clock % draw.ENTROPY_EVERY == 0
        if measuring:
            self.entropy = 0.0
        if not np.isfinite(logits).all():
            self.fault = True
            return self.config.q_zero
        if np.isinf(beta):
            return int(np.argmax(logits))
        with np.errstate(over="ignore"):
            x = (logits - logits.max()) * beta
        weights = np.floor(exp(x) * draw.weight_scale(len(logits)) + np.float32(0.5)).astype(np.int32)
        if measuring:
            self.entropy = draw.entropy(weights)
        return draw.draw_from_weights(weights, word)


class ReferenceGenerator:
    """See :class:`engine.generator.Generator`."""

    backend = "reference"

    def __init__(self, folded: Folded, voices: int, stereo: tuple[bool, ...] = ()) -> None:
        self.config, self.precision, self.voices = folded.config, folded.precision, voices
        self.folded, self.stereo = folded, stereo or (False,) * voices
        self._lanes = [_Voice(folded, side) for side in self.stereo]

    def generate(
        self,
        n: int,
        temperature: ArrayLike = 1.0,
        partner: Generator | None = None,
        blend: ArrayLike = 0.0,
    ) -> NDArray[np.int32]:
        beta, share = betas(temperature, self.voices, n), blends(blend, self.voices, n)
        others: list[_Voice | None] = [None] * self.voices
        if partner is not None:
            check_partner(self, partner)
            assert isinstance(partner, ReferenceGenerator)
            others = [*partner._lanes]
        rows = [
            [lane.step(b, other, s) for b, s in zip(*row, strict=True)]
            for lane, other, *row in zip(self._lanes, others, beta, share, strict=True)
        ]
        sides = np.array(rows, dtype=np.int32).reshape(self.voices, n, 2).transpose(2, 0, 1)
        return sides.copy() if any(self.stereo) else sides[0].copy()

    def reset(self, h0: str | None = None, voice: int | None = None) -> None:
        for lane in checked_reset(h0, voice, self.voices):
            if h0 is None:
                self._lanes[lane].start()
            else:
                self._lanes[lane].set_h(h0)

    def seed(self, seed: int | Sequence[int]) -> None:
        for lane, key, number in zip(self._lanes, *keys(seed, self.voices), strict=True):
            lane.key, lane.number, lane.dice, lane.resets, lane.fresh = key, number, 0, 0, 0

    def vary(self, voice: int, variation: float) -> None:
        (lane,) = checked_reset(None, voice, self.voices)
        self._lanes[lane].spread = draw.spread_of(variation)

    def entropy(self, voice: int) -> float:
        (lane,) = checked_reset(None, voice, self.voices)
        return self._lanes[lane].entropy

    def prime(self, indices: NDArray[np.integer]) -> None:
        for lane, *sides in zip(self._lanes, *checked_sides(indices, self.config, self.stereo), strict=True):
            for left, right in zip(*sides, strict=True):
                lane.run_tiers()
                lane.append(left, right)

    def hidden(self, voice: int) -> NDArray[np.float32]:
        (lane,) = checked_reset(None, voice, self.voices)
        parts = (self._lanes[lane].h, self._lanes[lane].c)
        return np.stack([np.stack(part) for part in parts[: 2 if self.config.rnn == "lstm" else 1]])

    def jump(self, voice: int, hidden: NDArray[np.floating], tokens: NDArray[np.integer]) -> None:
        (lane,) = checked_reset(None, voice, self.voices)
        parts, behind = checked_hidden(hidden, self.config), checked_lookback(tokens, self.config)
        self._lanes[lane].start()
        self._lanes[lane].h = [tier.copy() for tier in parts[0]]
        self._lanes[lane].c = [tier.copy() for tier in parts[-1]]
        self._lanes[lane].tokens = [int(token) for token in behind]
        self._lanes[lane].right = list(self._lanes[lane].tokens)

    def state(self) -> list[_Voice]:
        return [copy.copy(lane) for lane in self._copies(self._lanes)]

    def restore(self, state: list[_Voice]) -> None:
        if not isinstance(state, list) or not all(isinstance(lane, _Voice) for lane in state):
            raise ValueError(f"state: {type(state).__name__}: what state() gave expected")
        if len(state) != self.voices:
            raise ValueError(f"state: {len(state)} voices: {self.voices} expected")
        if any((lane.config, lane.folded.precision) != (self.config, self.precision) for lane in state) or (
            tuple(lane.stereo for lane in state) != self.stereo
        ):
            raise ValueError("state: of another network")
        self._lanes = self._copies(state)
        for lane in self._lanes:
            lane.folded = self.folded

    def repeat(self, state: list[_Voice]) -> None:
        kept = [(lane.spread, lane.fresh) for lane in self._lanes]
        self.restore(state)
        for lane, (spread, fresh) in zip(self._lanes, kept, strict=True):
            lane.spread, lane.fresh = spread, fresh

    @staticmethod
    def _copies(lanes: list[_Voice]) -> list[_Voice]:
        memo = {id(lane.folded): lane.folded for lane in lanes}  # the weights are shared, not copied
        return copy.deepcopy(lanes, memo)

    def score(self, indices: NDArray[np.integer]) -> NDArray[np.float64]:
        c = self.config
        tokens = checked_batch(indices, c)
        result = np.empty((len(tokens), tokens.shape[1] - c.lookback, c.q_levels))
        for row, out in zip(tokens, result, strict=True):
            lane = _Voice(self.folded)
            lane.set_h("learned")
            lane.tokens = [int(t) for t in row[: c.lookback]]
            for t, token in enumerate(row[c.lookback :]):
                lane.run_tiers()
                out[t] = log_softmax(lane.logits())
                lane.append(token, token)
        return result


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Over the last axis, in float64."""
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return result
