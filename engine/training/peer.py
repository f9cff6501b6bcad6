"""What the seeds' own tool does for one sample, rebuilt op for op in PyTorch, and a leaner loop beside it.

For ``samplernn bench`` alone: how many times faster is this instrument than the generation step of samplernn-pytorch
(Mehri et al. 2017 as that project runs it)? The modules carry that project's names, so that one of its checkpoints
loads and its log-probabilities prove the rebuilding right. It lies here because engine.training is where torch may be
imported and what an installed `samplernn bench` can still find. Any thread; one stream; sizes as in ModelConfig.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.parametrizations import weight_norm

Q = 256
CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def loops(dim: int) -> dict[str, Callable[[int], object]]:
    """What ``samplernn bench`` measures, by name: functions that make n samples of one stream on one thread."""
    torch.set_num_threads(1)
    peer = Peer(dim=dim)
    return {"samplernn-pytorch": peer.generate, "leaner loop": Lean(peer).generate}


class FrameTier(nn.Module):
    """One recurrent tier: Conv1d over the frame, a GRU, ConvTranspose1d to the tier below."""

    h0: Tensor

    def __init__(self, frame: int, ratio: int, dim: int, n_rnn: int) -> None:
        super().__init__()
        self.frame, self.ratio = frame, ratio
        self.register_buffer("h0", torch.zeros(n_rnn, dim))
        self.input_expand = weight_norm(nn.Conv1d(frame, dim, 1))
        self.rnn = nn.GRU(dim, dim, n_rnn, batch_first=True)
        self.upsampling = Upsampling(dim, ratio)
        self.hidden: Tensor | None = None

    def forward(self, samples: Tensor, upper: Tensor | None) -> Tensor:
        """(B, frames, frame) in [-1, 1] and (B, frames, dim) from above -> (B, frames * ratio, dim)."""
        x = self.input_expand(samples.permute(0, 2, 1)).permute(0, 2, 1)
        if upper is not None:
            x = x + upper
        hidden = self.hidden
        if hidden is None:
            hidden = self.h0.unsqueeze(1).expand(-1, x.shape[0], -1).contiguous()
        x, self.hidden = self.rnn(x, hidden)
        out: Tensor = self.upsampling(x.permute(0, 2, 1)).permute(0, 2, 1)
        return out


class Upsampling(nn.Module):
    """A transposed convolution with a bias for each output slot."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(dim, ratio))
        self.conv_t = weight_norm(nn.ConvTranspose1d(dim, dim, ratio, stride=ratio, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, frames) -> (B, dim, frames * ratio)."""
        out: Tensor = self.conv_t(x) + self.bias.repeat(1, x.shape[2]).unsqueeze(0)
        return out


class SampleLevel(nn.Module):
    """Embedding, Conv1d over the embedded frame, two 1x1 convolutions, log_softmax."""

    def __init__(self, frame: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(Q, Q)
        self.input = weight_norm(nn.Conv1d(Q, dim, frame, bias=False))
        self.hidden = weight_norm(nn.Conv1d(dim, dim, 1))
        self.output = weight_norm(nn.Conv1d(dim, Q, 1))

    def forward(self, samples: Tensor, upper: Tensor) -> Tensor:
        """(B, frame - 1 + T) indices and (B, T, dim) -> natural-log probabilities (B, T, Q)."""
        batch = samples.shape[0]
        x = self.embedding(samples.reshape(-1)).view(batch, -1, Q).permute(0, 2, 1)
        x = relu(self.input(x) + upper.permute(0, 2, 1))
        x = self.output(relu(self.hidden(x))).permute(0, 2, 1).contiguous()
        return torch.log_softmax(x.view(-1, Q), dim=-1).view(batch, -1, Q)


class Peer(nn.Module):
    """The whole network and its generation step, one sample after another."""

    def __init__(self, ratios: Sequence[int] = (8, 2), dim: int = 256, n_rnn: int = 1) -> None:
        super().__init__()
        frames = [ratios[0]]
        for ratio in ratios[1:]:
            frames.append(frames[-1] * ratio)
        pairs = zip(frames, ratios, strict=True)
        self.frame_level_rnns = nn.ModuleList([FrameTier(frame, ratio, dim, n_rnn) for frame, ratio in pairs])
        self.sample_level_mlp = SampleLevel(frames[0], dim)
        self.lookback = frames[-1]

    @property
    def tiers(self) -> list[FrameTier]:
        """The frame level, bottom first."""
        return cast(list[FrameTier], list(self.frame_level_rnns))

    @torch.no_grad()
    def generate(self, n: int) -> Tensor:
        """``n`` samples of one stream from a fresh start, (1, n) indices, drawn by torch's global generator."""
        sequence = torch.full((1, self.lookback + n), Q // 2, dtype=torch.long)
        self.start()
        for t in range(self.lookback, self.lookback + n):
            sequence[:, t] = self.log_probs(sequence, t).exp_().multinomial(1).squeeze(1)
        return sequence[:, self.lookback :]

    def start(self) -> None:
        """Forget every hidden state."""
        self._outputs: list[Tensor | None] = [None] * len(self.frame_level_rnns)
        for tier in self.tiers:
            tier.hidden = None

    def log_probs(self, sequence: Tensor, t: int) -> Tensor:
        """Of the sample at ``t``, (B, Q), given those before it; to be asked for each t in turn."""
        for i in reversed(range(len(self.tiers))):
            tier = self.tiers[i]
            if t % tier.frame == 0:
                samples = 2.0 * (sequence[:, t - tier.frame : t].float() / (Q / 2)) - 2.0
                self._outputs[i] = tier(samples.unsqueeze(1), self._from_above(i, t // tier.frame))
        bottom = self.tiers[0].frame
        logs: Tensor = self.sample_level_mlp(sequence[:, t - bottom : t], self._from_above(-1, t)).squeeze(1)
        return logs

    def _from_above(self, i: int, step: int) -> Tensor | None:
        if i + 1 == len(self.tiers):
            return None
        above = self._outputs[i + 1]
        assert above is not None
        return above[:, step % self.tiers[i + 1].ratio, :].unsqueeze(1)


class Lean:
    """The same arithmetic with what PyTorch users reach for first: norms baked, tables folded, plain vectors."""

    def __init__(self, peer: Peer) -> None:
        with torch.no_grad():
            mlp = peer.sample_level_mlp
            w = mlp.input.weight.detach()  # (dim, Q, frame)
            self.tables = torch.einsum("dek,qe->kqd", w, mlp.embedding.weight.detach()).contiguous()
            self.hidden, self.output = _dense(mlp.hidden), _dense(mlp.output)
            self.tiers = [LeanTier(tier) for tier in peer.tiers]
        self.slots = torch.arange(self.tables.shape[0])
        self.lookback = peer.lookback

    @torch.inference_mode()
    def generate(self, n: int) -> Tensor:
        """``n`` samples of one stream, (n,) indices."""
        sequence = torch.full((self.lookback + n,), Q // 2, dtype=torch.long)
        sound = torch.zeros(self.lookback + n)
        for tier in self.tiers:
            tier.h.copy_(tier.h0)
        for t in range(self.lookback, self.lookback + n):
            token = self._step(sequence, sound, t)
            sequence[t] = token
            sound[t] = 4.0 * token / Q - 2.0
        return sequence[self.lookback :]

    def _step(self, sequence: Tensor, sound: Tensor, t: int) -> int:
        for i in reversed(range(len(self.tiers))):
            if t % self.tiers[i].frame == 0:
                self.tiers[i].run(sound[t - self.tiers[i].frame : t], self._from_above(i, t // self.tiers[i].frame))
        frame = len(self.slots)
        upper = self._from_above(-1, t)
        assert upper is not None
        x = self.tables[self.slots, sequence[t - frame : t]].sum(0).add_(upper).relu_()
        x = torch.addmv(self.hidden[1], self.hidden[0], x).relu_()
        logits = torch.addmv(self.output[1], self.output[0], x)
        return int(torch.softmax(logits, 0).multinomial(1))

    def _from_above(self, i: int, step: int) -> Tensor | None:
        if i + 1 == len(self.tiers):
            return None
        return self.tiers[i + 1].out[step % self.tiers[i + 1].ratio]


class LeanTier:
    """One tier as plain matrices; state and output are kept in place."""

    def __init__(self, tier: FrameTier) -> None:
        self.frame, self.ratio = tier.frame, tier.ratio
        self.input = _dense(tier.input_expand)
        self.cell = [[getattr(tier.rnn, f"{name}_l{k}").detach() for name in CELL] for k in range(tier.h0.shape[0])]
        up = tier.upsampling.conv_t.weight.detach()  # (in, out, ratio)
        self.up = up.permute(2, 1, 0).reshape(-1, up.shape[0]).contiguous()
        self.up_bias = tier.upsampling.bias.detach().t().reshape(-1).contiguous()
        self.h0 = tier.h0.detach().clone()
        self.h = self.h0.clone()
        self.out = torch.zeros(self.ratio, self.h0.shape[1])

    def run(self, sound: Tensor, upper: Tensor | None) -> None:
        """One frame: (frame,) samples and (dim,) from above -> ``out`` (ratio, dim)."""
        x = torch.addmv(self.input[1], self.input[0], sound)
        if upper is not None:
            x = x + upper
        for k, weights in enumerate(self.cell):
            x = torch.gru_cell(x[None], self.h[k][None], *weights)[0]
            self.h[k] = x
        self.out = torch.addmv(self.up_bias, self.up, x).view(self.ratio, -1)


def _dense(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Matrix (out, in) and bias of a convolution of width one."""
    assert isinstance(layer, nn.Conv1d)
    assert layer.bias is not None
    return layer.weight.detach().squeeze(-1).contiguous(), layer.bias.detach()
