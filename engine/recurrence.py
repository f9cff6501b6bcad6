"""Recurrent layers over many frames, for training.

torch's own layers on a GPU. On a processor the GRU is ours: torch differentiates it one frame after the other, adds
every frame's gradient to the recurrent matrix as a product of its own, and has none in bfloat16. Here only what truly
is recurrent goes frame by frame, one product each way; the matrix's gradient is one product over all frames.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def recur(
    rnn: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor], low: torch.dtype = torch.float32
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One recurrent layer over ``x`` (F, B, in) from ``state`` (B, dim) each: outputs (F, B, dim) and state.

    torch's cells: GRU gates r, z, n with the reset gate after the matmul, LSTM gates i, f, g, o.

    Args:
        weights: of the inputs (gates * dim, in), of the state (gates * dim, dim), and the biases of both.
        low: what our own GRU's products are made in; its state stays fp32.
    """
    if rnn == "gru" and x.device.type == "cpu":
        ih, hh, bias_ih, bias_hh = weights
        given = product(x, ih, bias_ih, low)
        out = cast(Tensor, _Gru.apply(low, given, state[0], hh, bias_hh))  # type: ignore[no-untyped-call]
        return out, (out[-1],)
    start = tuple(part[None] for part in state)
    if rnn == "gru":
        out, h = torch._VF.gru(x, start[0], weights, True, 1, 0.0, True, False, False)
        return out, (h[0],)
    out, h, c = torch._VF.lstm(x, start, weights, True, 1, 0.0, True, False, False)
    return out, (h[0], c[0])


def product(x: Tensor, weight: Tensor, bias: Tensor | None, low: torch.dtype) -> Tensor:
    """weight x + bias, made in ``low``, in the type of ``x``."""
    if low == x.dtype:
        return functional.linear(x, weight, bias)
    return functional.linear(x.to(low), weight.to(low), None if bias is None else bias.to(low)).to(x.dtype)


class _Gru(torch.autograd.Function):
    """Outputs (F, B, dim) of a GRU that is ``given`` its inputs' products (F, B, 3 dim), from ``h`` (B, dim)."""

    @staticmethod
    def forward(ctx: Any, low: torch.dtype, given: Tensor, h: Tensor, hh: Tensor, bias: Tensor) -> Tensor:
        size = h.shape[1]
        states = torch.cat([h[None], given.new_empty(given.shape[0], *h.shape)])
        gates = torch.empty_like(given)  # r, z, n
        resets = given.new_empty(given.shape[0], *h.shape)  # what r multiplies
        across, bias = hh.to(low).t(), bias.to(low)
        for t in range(len(given)):
            own = torch.addmm(bias, states[t].to(low), across)
            open_ = torch.add(given[t, :, : 2 * size], own[:, : 2 * size], out=gates[t, :, : 2 * size]).sigmoid_()
            resets[t] = own[:, 2 * size :]
            n = torch.addcmul(
                given[t, :, 2 * size :], open_[:, :size], own[:, 2 * size :], out=gates[t, :, 2 * size :]
            ).tanh_()
            torch.lerp(n, states[t], open_[:, size:], out=states[t + 1])
        ctx.low = low
        ctx.save_for_backward(states, gates, resets, hh)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, gates, resets, hh = ctx.saved_tensors
        r, z, n = gates.chunk(3, dim=2)
        # what a change of the state behind a frame does to the three sums, each frame by itself
        slopes = gates.new_empty(*gates.shape[:2], 4, gates.shape[2] // 3)
        new = torch.mul(1 - z, 1 - n * n)
        slopes[:, :, 0] = new * resets * r * (1 - r)
        slopes[:, :, 1] = (states[:-1] - n) * z * (1 - z)
        slopes[:, :, 2] = new * r  # through the state's own product
        slopes[:, :, 3] = new  # through the inputs'
        sums = slopes[:, :, :3]
        behind, back = grad.new_zeros(grad.shape[1:]), hh.to(ctx.low)
        total = torch.empty_like(grad)
        for t in reversed(range(len(grad))):
            d = torch.add(grad[t], behind, out=total[t])
            own = (sums[t] * d[:, None]).flatten(1)
            behind = torch.addcmul(own.to(ctx.low) @ back, d, z[t])
        slopes *= total[:, :, None]
        own = slopes[:, :, :3].flatten(2).flatten(0, 1)
        given = torch.cat([slopes[:, :, :2], slopes[:, :, 3:]], dim=2).flatten(2)
        of_hh = (own.to(ctx.low).t() @ states[:-1].flatten(0, 1).to(ctx.low)).to(hh.dtype)
        return None, given, behind, of_hh, own.sum(0)
