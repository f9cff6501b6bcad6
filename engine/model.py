"""SampleRNN in PyTorch: the teacher-forced network that training and importing use.

Every shape a ModelConfig can name. The parameters carry the names and shapes of engine.checkpoint.tensor_shapes, so
that a checkpoint is the model's own dictionary. Generation is left to the backends; the optimiser, the data and
the decision when a stream's state starts afresh are left to engine.training.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.checkpoint import Checkpoint, tensor_shapes
from engine.config import ModelConfig
from engine.recurrence import product, recur

State = list[tuple[Tensor, ...]]  # by tier, from the bottom: (h,) or (h, c), each (n_rnn, B, dim)

# Rows of the sample level worked on at once: on a processor so few that the four (rows, dim) arrays stay in cache, on a
# GPU so many that its products are large and starting them is nothing beside them.
_CHUNK_ROWS, _CHUNK_ROWS_GPU = 1024, 1 << 15


class SampleRNN(nn.Module):
    """Mehri et al. 2017, with Zukowski and Carr's (2017) skip connections.

    Args:
        config: the shape.
        seed: of the initial weights.
        forget_bias: initial bias of an LSTM's forget gate (ignored by GRUs).
    """

    def __init__(self, config: ModelConfig, seed: int = 0, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        values = {
            name: _initial(name, shape, config, generator, forget_bias)
            for name, shape in tensor_shapes(config, weight_norm=False).items()
        }
        self.tensors = nn.ParameterDict()
        for name, value in values.items():
            if config.weight_norm and name.endswith(".weight"):
                self._put(f"{name}_v", value)
                self._put(f"{name}_g", _row_norms(name, value))
            else:
                self._put(name, value)

    def _put(self, name: str, value: Tensor) -> None:
        learned = not name.endswith((".h0", ".c0")) or self.config.h0 == "learned"
        self.tensors[name.replace(".", "/")] = nn.Parameter(value, requires_grad=learned)

    def tensor(self, name: str) -> Tensor:
        """The parameter that a checkpoint calls ``name``."""
        return cast(Tensor, self.tensors[name.replace(".", "/")])

    def weight(self, name: str) -> Tensor:
        """Matrix ``name`` as it is used: g v / |v|, one g a row (Salimans and Kingma 2016)."""
        if not self.config.weight_norm:
            return self.tensor(f"{name}.weight")
        v, g = self.tensor(f"{name}.weight_v"), self.tensor(f"{name}.weight_g")
        rows = g.numel()
        return torch._weight_norm(v.reshape(rows, -1), g.reshape(rows, 1), 0).reshape(v.shape)

    def tables(self) -> Tensor:
        """Embedding times first sample-level layer, (f0 * q_levels, mlp_dim); row k Q + q is what q at k adds."""
        w = self.weight("mlp.input")  # (mlp_dim, f0, emb_size)
        e = self.tensor("embedding")  # (Q, emb_size)
        return torch.matmul(e, w.permute(1, 2, 0)).reshape(-1, w.shape[0])

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State of a fresh start: learned or zeros; a ``random`` h0 is uniform in [-1, 1) out of ``generator``."""
        names = ("h0", "c0") if self.config.rnn == "lstm" else ("h0",)
        if self.config.h0 == "random" and generator is not None:
            shape = (self.config.n_rnn, batch, self.config.dim)
            return [
                tuple(torch.rand(shape, generator=generator) * 2 - 1 for _ in names) for _ in self.config.frame_sizes
            ]
        return [
            tuple(self.tensor(f"tier.{i}.{name}")[:, None].expand(-1, batch, -1) for name in names)
            for i in range(self.config.n_tiers)
        ]

    def frames(self, indices: Tensor, state: State, low: torch.dtype = torch.float32) -> tuple[Tensor, State]:
        """Output of the bottom tier, (T / f0, B, dim), before its up-projection, and the state afterwards.

        Args:
            indices: (B, lookback + T), T a multiple of the hop.
            low: what the products are made in; states stay in fp32.
        """
        c = self.config
        length = indices.shape[1] - c.lookback
        if length <= 0 or length % c.hop:
            raise ValueError(f"indices: {indices.shape[1]} samples: {c.lookback} and a multiple of {c.hop} expected")
        scaled = indices.to(torch.float32) * (2.0 / (c.q_levels / 2)) - 2.0  # 2 (q / (Q/2) - 1)
        after: State = [()] * c.n_tiers
        cond: Tensor | None = None
        out = scaled
        for i in reversed(range(c.n_tiers)):
            size = c.frame_sizes[i]
            frames = scaled[:, c.lookback - size : c.lookback - size + length].reshape(len(scaled), -1, size)
            x = functional.linear(
                frames.transpose(0, 1), self.weight(f"tier.{i}.input"), self.tensor(f"tier.{i}.input.bias")
            )
            out, after[i] = self._recur(i, x if cond is None else x + cond, state[i], low)
            if i:
                cond = self._up(i, out, low)
        return out, after

    def _recur(
        self, i: int, x: Tensor, state: tuple[Tensor, ...], low: torch.dtype = torch.float32
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All layers of tier ``i`` over ``x`` (F, B, dim)."""
        out, total = x, None
        last: list[tuple[Tensor, ...]] = []
        for k in range(self.config.n_rnn):
            name = f"tier.{i}.rnn.{k}"
            weights = [
                self.weight(f"{name}.ih"),
                self.weight(f"{name}.hh"),
                self.tensor(f"{name}.bias_ih"),
                self.tensor(f"{name}.bias_hh"),
            ]
            below = torch.cat([out, x], dim=-1) if self.config.skip and k else out
            out, after = recur(self.config.rnn, below, tuple(part[k] for part in state), weights, low)
            last.append(after)
            if self.config.skip:
                part = product(out, self.weight(f"tier.{i}.skip.{k}"), None, low)
                total = part if total is None else total + part
        stacked = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        return (out if total is None else total + self.tensor(f"tier.{i}.skip.bias")), stacked

    def _up(self, i: int, out: Tensor, low: torch.dtype) -> Tensor:
        """Conditioning of the level below tier ``i``: (F, B, dim) to (F * slots, B, out_dim)."""
        w, b = self.weight(f"tier.{i}.up"), self.tensor(f"tier.{i}.up.bias")
        up = product(out, w.flatten(0, 1), b.flatten(), low).reshape(*out.shape[:2], *b.shape)
        return up.transpose(1, 2).flatten(0, 1)  # from (F, B, slots, out)

    def _windows(self, indices: Tensor) -> Tensor:
        """Rows of the tables that each sample sees: (B, lookback + T) to (T / f0, B, f0, f0)."""
        c = self.config
        size = c.frame_sizes[0]
        past = indices[:, c.lookback - size : -1].unfold(1, size, 1)  # (B, T, f0)
        rows = past + torch.arange(size, device=past.device) * c.q_levels
        return rows.reshape(len(rows), -1, size, size).transpose(0, 1)

    def forward(self, indices: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, q_levels) of the samples after the first ``lookback``, and the state afterwards.

        Args:
            indices: (B, lookback + T) integers, T a multiple of the hop.
            state: what the last call returned, for indices that go on where those ended (their last ``lookback``
                samples come again first); None for a fresh start.
        """
        out, after = self.frames(indices, self.initial_state(len(indices)) if state is None else state)
        up = functional.linear(out, self.weight("tier.0.up").flatten(0, 1), self.tensor("tier.0.up.bias").flatten())
        windows = self._windows(indices)
        x = functional.embedding_bag(windows.reshape(-1, windows.shape[-1]), self.tables(), mode="sum")
        x = functional.relu(x + up.reshape(x.shape))
        if self.config.mlp_layers == 2:
            x = functional.relu(functional.linear(x, self.weight("mlp.hidden"), self.tensor("mlp.hidden.bias")))
        logits = functional.linear(x, self.weight("mlp.output"), self.tensor("mlp.output.bias"))
        return logits.reshape(*windows.shape[:3], -1).transpose(0, 1).flatten(1, 2), after

    def loss(
        self, indices: Tensor, state: State, keep: Tensor | None = None, low: torch.dtype = torch.float32
    ) -> tuple[Tensor, State]:
        """Mean negative log-likelihood in nats of the samples after the first ``lookback``; arguments as forward's.

        Exactly forward's, but the sample level runs in pieces that stay in cache and makes its gradients on the
        way, so that nothing of size (samples, dim) is kept: 1.6 times as fast on one core.

        Args:
            keep: bottom-tier frames, numbered over (T / f0, B) in that order, whose samples count; None for all.
            low: what large products are made in, torch.bfloat16 for mixed precision (Micikevicius et al. 2018; without
                a loss scale: bfloat16 has fp32's exponents). Weights, states, table sums and the loss stay fp32.
        """
        out, after = self.frames(indices, state, low)
        size = self.config.frame_sizes[0]
        rows = self._windows(indices).reshape(-1, size, size)
        targets = indices[:, self.config.lookback :].reshape(len(indices), -1, size).transpose(0, 1).reshape(-1, size)
        out = out.flatten(0, 1)
        if keep is not None:
            out, rows, targets = out[keep], rows[keep], targets[keep]
        two = self.config.mlp_layers == 2
        return cast(
            Tensor,
            _SampleLevel.apply(  # type: ignore[no-untyped-call]
                low,
                out,
                rows,
                targets,
                self.weight("tier.0.up").flatten(0, 1),
                self.tensor("tier.0.up.bias").flatten(),
                self.tables(),
                self.weight("mlp.hidden") if two else None,
                self.tensor("mlp.hidden.bias") if two else None,
                self.weight("mlp.output"),
                self.tensor("mlp.output.bias"),
            ),
        ), after

    def to_checkpoint(self, **sections: Any) -> Checkpoint:
        """The network as a checkpoint in fp32; ``sections``: training, source, playing, name."""
        arrays = {name.replace("/", "."): p.detach().cpu().numpy().copy() for name, p in self.tensors.items()}
        return Checkpoint(self.config, arrays, **sections)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> SampleRNN:
        """The network in a checkpoint; baked matrices become v, with g = |v|."""
        model = cls(checkpoint.config)
        with torch.no_grad():
            for key, parameter in model.tensors.items():
                parameter.copy_(_stored(checkpoint, key.replace("/", ".")))
        return model


def _stored(checkpoint: Checkpoint, name: str) -> Tensor:
    """Tensor ``name`` of a checkpoint, made from the other form of weight normalisation where it must be."""
    if name in checkpoint.tensors:
        return torch.from_numpy(checkpoint.tensors[name].astype(np.float32))
    matrix = name.removesuffix("_v").removesuffix("_g")
    value = torch.from_numpy(checkpoint.weight(matrix.removesuffix(".weight")).astype(np.float32))
    return _row_norms(matrix, value) if name.endswith("_g") else value


def _row_norms(name: str, value: Tensor) -> Tensor:
    axes = tuple(range(2 if name.endswith(".up.weight") else 1, value.ndim))
    return value.square().sum(dim=axes, keepdim=True).sqrt()


def _initial(
    name: str, shape: tuple[int, ...], config: ModelConfig, generator: torch.Generator, forget_bias: float
) -> Tensor:
    """Initial value of a tensor, after the paper's code: He and LeCun uniform, orthogonal into the candidate gate."""
    value = torch.zeros(shape)
    if name == "embedding":
        return value.normal_(generator=generator)
    if name.endswith("bias_ih") and config.rnn == "lstm":
        value[config.dim : 2 * config.dim] = forget_bias
    if not name.endswith(".weight"):
        return value
    fan_in = math.prod(shape[2:] if ".up." in name else shape[1:])
    gain = 3.0 if ".rnn." in name or name == "mlp.output.weight" else 6.0
    value.uniform_(-math.sqrt(gain / fan_in), math.sqrt(gain / fan_in), generator=generator)
    if name.endswith(".hh.weight"):
        n = config.dim
        for gate in range(config.gates) if config.rnn == "lstm" else (2,):
            nn.init.orthogonal_(value[gate * n : (gate + 1) * n], generator=generator)
    return value


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b; the sum is fp32 whatever the factors are."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


class _SampleLevel(torch.autograd.Function):
    """Mean nll of the sample level over rows of bottom-tier frames, gradients made in the forward pass.

    For frame row r and slot s: x = relu(sum_k table[rows[r, s, k]] + up(out[r])[s]), x = relu(hidden x), logits.
    The loss is a mean, so its gradient is known up to the factor that backward is given. Products are made in ``low``,
    everything they are added to is fp32; nothing waits for the device.
    """

    @staticmethod
    def forward(
        ctx: Any, low: torch.dtype, out: Tensor, rows: Tensor, targets: Tensor, *weights: Tensor | None
    ) -> Tensor:
        up_w, up_b, table, hid_w, hid_b, out_w, out_b = (
            w if w is None or i == 2 else w.to(low) for i, w in enumerate(weights)
        )
        assert up_w is not None
        assert up_b is not None
        assert table is not None
        assert out_w is not None
        assert out_b is not None
        grads = [None if w is None else torch.zeros_like(w) for w in weights]
        g_up, g_up_b, g_table, g_hid, g_hid_b, g_out, g_out_b = cast(list[Tensor], grads)
        g_rows = torch.empty_like(out)
        g_first = out.new_empty(targets.numel(), table.shape[1])
        scale = 1.0 / targets.numel()
        kind = out.device.type
        total = out.new_zeros((), dtype=torch.float32 if kind == "mps" else torch.float64)  # which has no float64
        slots = targets.shape[1]
        step = max(1, (_CHUNK_ROWS if kind == "cpu" else _CHUNK_ROWS_GPU) // slots)
        for at in range(0, len(out), step):
            h, want = out[at : at + step].to(low), targets[at : at + step].reshape(-1, 1)
            seen = rows[at : at + step].reshape(len(want), -1)
            x = functional.embedding_bag(seen, table, mode="sum")
            x.view(len(h), -1).add_(torch.addmm(up_b, h, up_w.t()))
            x = x.relu_().to(low)
            y = x if hid_w is None else torch.addmm(cast(Tensor, hid_b), x, hid_w.t()).relu_()
            p = torch.log_softmax(torch.addmm(out_b, y, out_w.t()).float(), dim=1)
            total -= p.gather(1, want).sum(dtype=total.dtype)
            p.exp_().scatter_add_(1, want, p.new_full((1, 1), -1.0).expand(len(want), 1)).mul_(scale)
            g_out_b += p.sum(0)
            p = p.to(low)
            _add_product(g_out, p.t(), y)
            d = torch.ops.aten.threshold_backward(p @ out_w, y, 0)
            if hid_w is not None:
                _add_product(g_hid, d.t(), x)
                g_hid_b += d.sum(0, dtype=torch.float32)
                d = torch.ops.aten.threshold_backward(d @ hid_w, x, 0)
            g_first[at * slots : at * slots + len(want)] = d
            d = d.view(len(h), -1)
            _add_product(g_up, d.t(), h)
            g_up_b += d.sum(0, dtype=torch.float32)
            g_rows[at : at + step] = d @ up_w
        for k in range(rows.shape[2]):
            g_table.add_(
                torch.ops.aten.embedding_dense_backward(g_first, rows[:, :, k].flatten(), len(table), -1, False)
            )
        ctx.save_for_backward(g_rows, *grads)
        return (total * scale).to(out.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        g_rows, *grads = ctx.saved_tensors
        return (None, g_rows * grad, None, None, *(None if g is None else g * grad for g in grads))
