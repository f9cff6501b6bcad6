"""Samples a second of a training step, with the folded input layer and without it, side by side in one run.

    python tools/throughput.py [--dim 256] [--batch 64] [--seq-len 1024] [--rounds 5] [--threads 1] [--keep 1.0 0.25]

"unfolded" is the same network with the embedding looked up for every sample of every frame and multiplied by the first
layer, its loss and gradients left to autograd: the step as samplernn-pytorch makes it. Rounds are interleaved, medians
of the process's own processor time are printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.nn import functional  # noqa: E402

from engine.config import ModelConfig  # noqa: E402
from engine.model import SampleRNN  # noqa: E402


def unfolded_loss(model: SampleRNN, indices: torch.Tensor) -> torch.Tensor:
    """Mean nats a sample, the first layer as a product over embedded frames."""
    c = model.config
    out, _ = model.frames(indices, model.initial_state(len(indices)))
    up = functional.linear(out, model.weight("tier.0.up").flatten(0, 1), model.tensor("tier.0.up.bias").flatten())
    size = c.frame_sizes[0]
    past = indices[:, c.lookback - size : -1].unfold(1, size, 1)  # (B, T, f0)
    embedded = functional.embedding(past, model.tensor("embedding")).flatten(2)  # (B, T, f0 * emb)
    x = functional.linear(embedded, model.weight("mlp.input").flatten(1))
    x = functional.relu(
        x + up.reshape(*up.shape[:2], size, -1).transpose(0, 1).reshape(x.shape)
    )  # from (F, B, f0, mlp)
    x = functional.relu(functional.linear(x, model.weight("mlp.hidden"), model.tensor("mlp.hidden.bias")))
    logits = functional.linear(x, model.weight("mlp.output"), model.tensor("mlp.output.bias"))
    return functional.cross_entropy(logits.flatten(0, 1), indices[:, c.lookback :].flatten())


def folded_loss(model: SampleRNN, indices: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    """The trainer's own."""
    return model.loss(indices, model.initial_state(len(indices)), keep)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=float, nargs="+", default=[1.0, 0.25])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = ModelConfig(dim=args.dim)
    model = SampleRNN(config)
    indices = torch.randint(0, config.q_levels, (args.batch, config.lookback + args.seq_len))
    frames = args.batch * args.seq_len // config.frame_sizes[0]
    steps: dict[str, Callable[[], torch.Tensor]] = {"unfolded": lambda: unfolded_loss(model, indices)}
    for share in args.keep:
        kept = None if share == 1.0 else torch.randperm(frames)[: round(frames * share)].sort().values
        steps[f"folded, keep {share:g}"] = lambda kept=kept: model.loss(indices, model.initial_state(args.batch), kept)[
            0
        ]
    with torch.no_grad():
        difference = abs(float(unfolded_loss(model, indices) - folded_loss(model, indices)))
    assert difference < 1e-4, difference
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            model.zero_grad(set_to_none=True)
            step().backward()
            times[name].append(time.process_time() - began)
    slow = statistics.median(times["unfolded"][1:])
    for name, found in times.items():
        middle = statistics.median(found[1:])
        rate = args.batch * args.seq_len / middle
        print(f"{name:<18} {middle:6.2f} s a step, {rate:8,.0f} samples/s, {slow / middle:.2f} times the unfolded")


if __name__ == "__main__":
    main()
