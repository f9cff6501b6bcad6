"""The same runs by PyTorch's own kernels: the fallback where Triton fails, and a second opinion on its kernels.

Weights are kept in fp32 (of half precision's numbers), since PyTorch's products of fp16 round their results.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from engine import draw
from engine.cuda.buffers import Block, Scratch, Shape
from engine.cuda.weights import Weights
from engine.draw import weight_scale

_MASK = 0xFFFFFFFF
_M0, _M1, _W0, _W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_HUGE, _SMALLEST = 3.0e38, 1e-15


def exp(x: Tensor) -> Tensor:
    """engine.reference.exp."""
    x = x.clamp(-87.0, 87.0)
    n = torch.floor(x * 1.44269504088896341 + 0.5)
    r = x - n * 0.693359375
    r = r - n * -2.12194440e-4
    p = torch.full_like(r, _POLYNOMIAL[0])
    for factor in _POLYNOMIAL[1:]:
        p = p * r + factor
    p = p * (r * r) + r
    return (p + 1.0) * ((n.to(torch.int32) + 127) << 23).view(torch.float32)


def sigmoid(x: Tensor) -> Tensor:
    return 1.0 / (1.0 + exp(-x.clamp(-30.0, 30.0)))


def tanh(x: Tensor) -> Tensor:
    return 2.0 * sigmoid(2.0 * x) - 1.0


def kept(x: Tensor) -> Tensor:
    """Without what is too small."""
    return torch.where(x.abs() < _SMALLEST, 0.0, x)


def philox(key: Tensor, index: Tensor, number: Tensor, purpose: Tensor) -> Tensor:
    """engine.draw.philox on int64 tensors that hold 32- and 64-bit words."""
    k0, k1 = key & _MASK, key >> 32 & _MASK
    c0, c1, c2, c3 = index & _MASK, index >> 32 & _MASK, number & _MASK, purpose + torch.zeros_like(index)
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2  # wraps; the upper half is right all the same
        c0, c1, c2, c3 = (p1 >> 32 & _MASK) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32 & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = k0 + _W0 & _MASK, k1 + _W1 & _MASK
    return c0


class Plain:
    """See :class:`engine.cuda.runs.Steps`."""

    def __init__(self, shape: Shape, weights: Weights, block: Block) -> None:
        self.shape, self.weights, self.block = shape, weights, block
        self.scratch = Scratch(shape, block.device.device)
        c, device = shape.config, block.device.device
        self.wide: dict[str, Tensor] = {
            name: tensor.float() for name, tensor in weights.at.items() if tensor.dtype == torch.float16
        }
        self._scale = float(weight_scale(c.q_levels))
        self._levels = torch.arange(c.q_levels, device=device)
        self._places = torch.arange(c.frame_sizes[0], device=device) * c.q_levels
        self._times = torch.arange(shape.samples, device=device)

    def widen(self) -> None:
        """The weights have changed."""
        for name, tensor in self.wide.items():
            tensor.copy_(self.weights.at[name])

    def begin(self, tiers: Sequence[int], samples: int) -> None:
        k = self.scratch
        key, at, number, spread, fresh, _ = self.block.at["lanes"][k.lane_of].T[:, :, None]
        purpose = k.side_of[:, None] * draw.RIGHT
        word = philox(key, at + self._times, number, purpose + draw.DICE)
        other = philox(key, fresh + self._times, number, purpose + draw.FRESH)
        k.words.copy_(word + ((other - (1 << 31)) * spread >> 32) & _MASK)

    def tier(self, i: int, s: int, slot: int) -> None:
        c, block, name = self.shape.config, self.block.at, f"tier.{i}"
        given = self._entry(i, s, slot)
        for k in range(c.n_rnn):
            gates = given
            if f"{name}.{k}.below" in self.wide:
                gates = self._dense(f"{name}.{k}.below", block["h"][i, k - 1])
            if f"{name}.{k}.entry" in self.wide:
                share = self._dense(f"{name}.{k}.entry", given)
                gates = gates + share if f"{name}.{k}.below" in self.wide else share
            self._cell(i, k, gates, self._dense(f"{name}.{k}.hh", block["h"][i, k]))
            if c.skip:
                share = self._dense(f"{name}.{k}.skip", block["h"][i, k])
                block["out"][i].copy_(block["out"][i] + share if k else share)
        if not c.skip:
            block["out"][i].copy_(block["h"][i, -1])

    def up(self, first: int, count: int) -> None:
        for slot in range(first, first + count):
            self.scratch.x[slot].copy_(self._dense("tier.0.up", self.block.at["out"][0], slot))

    def ahead(self, tiers: Sequence[int]) -> None:
        """Nothing: each frame does all of its own."""

    def sample(self, s: int, slot: int) -> None:
        c, k, tokens = self.shape.config, self.scratch, self.block.at["tokens"]
        if s and slot:
            self.draw(s)
        at = c.lookback + s - c.frame_sizes[0]
        rows = tokens[:, at : at + c.frame_sizes[0]] + self._places
        x = functional.embedding(rows, self.wide["table"].flatten(0, 1)).sum(1)
        x = torch.relu(x + k.x[slot][k.lane_of])
        if c.mlp_layers == 2:
            x = torch.relu(self._dense("hidden", x))
        k.logits[s].copy_(self._dense("output", x)[:, : c.q_levels])

    def finish(self, samples: int) -> None:
        if not samples:
            return
        self.draw(samples)
        block, v = self.block.at, self.shape.voices
        when = block["lanes"][:, 5]
        found = self.scratch.logits[when.clamp(0, samples - 1), torch.arange(v, device=when.device)]
        block["measured"].copy_(torch.where(when[:, None] >= 0, found, block["measured"]))

    def _entry(self, i: int, s: int, slot: int) -> Tensor:
        c, w, name = self.shape.config, self.weights.at, f"tier.{i}"
        size = c.frame_sizes[i]
        behind = self.block.at["tokens"][: self.shape.voices, c.lookback + s - size : c.lookback + s]
        samples = (behind - c.q_zero).float() * (4.0 / c.q_levels)
        y = w[f"{name}.entry.bias"][slot] + samples @ w[f"{name}.frames"].T
        if i + 1 < c.n_tiers:
            y = y + self.block.at["out"][i + 1] @ self.wide[f"{name}.cond"][slot].T
        return y

    def _dense(self, name: str, x: Tensor, matrix: int = 0) -> Tensor:
        return functional.linear(x, self.wide[name][matrix], self.weights.at[f"{name}.bias"][matrix])

    def _cell(self, i: int, k: int, gates: Tensor, past: Tensor) -> None:
        h = self.block.at["h"][i, k]
        if self.shape.config.rnn == "gru":
            (gr, gz, gn), (pr, pz, pn) = gates.chunk(3, 1), past.chunk(3, 1)
            n = tanh(gn + sigmoid(gr + pr) * pn)
            h.copy_(kept(n + sigmoid(gz + pz) * (h - n)))
            return
        c = self.block.at["c"][i, k]
        gi, gf, gg, go = (gates + past).chunk(4, 1)
        c.copy_(kept(sigmoid(gf) * c + sigmoid(gi) * tanh(gg)))
        h.copy_(kept(sigmoid(go) * tanh(c)))

    def draw(self, s: int) -> None:
        c, k, block = self.shape.config, self.scratch, self.block.at
        s -= 1
        x, beta = k.logits[s], block["betas"][k.lane_of, s][:, None]
        broken = ~(x.abs() <= _HUGE).all(1)
        top = x.amax(1, keepdim=True)
        weight = torch.floor(exp((x - top) * beta.clamp(max=_HUGE)) * self._scale + 0.5).nan_to_num().to(torch.int64)
        cdf = weight.cumsum(1)
        r = cdf[:, -1] * (k.words[:, s].to(torch.int64) & _MASK) >> 32
        token = (cdf <= r[:, None]).sum(1)
        certain = torch.where(x == top, self._levels, c.q_levels - 1).amin(1)
        token = torch.where(beta[:, 0] > _HUGE, certain, token)
        token = torch.where(broken, c.q_zero, token).clamp(max=c.q_levels - 1)
        known = block["forced"][:, s]
        block["tokens"][:, c.lookback + s] = torch.where(known >= 0, known, token.to(torch.int32))
        block["faults"].index_put_((k.lane_of,), (broken & (known < 0)).to(torch.int32), accumulate=True)
