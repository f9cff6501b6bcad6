"""Samples a second of a training step, with the folded input layer and without it, side by side in one run.

    python tools/throughput.py [--dim 256] [--batch 64] [--seq-len 1024] [--rounds 5] [--threads 1] [--keep 1.0 0.25]
    python tools/throughput.py --device cuda --precision bf16 --dim 1024 --batch 128 --keep 1.0   # the poster, on a GPU

"unfolded" is the same network with the embedding looked up for every sample of every frame and multiplied by the first
layer, its loss and gradients left to autograd: the step as samplernn-pytorch makes it. Rounds are interleaved; medians
are printed, of the process's own processor time, or on a GPU of the wall's.
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
from engine.training.trainer import chosen_device, chosen_precision  # noqa: E402


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


def folded_loss(
    model: SampleRNN, indices: torch.Tensor, keep: torch.Tensor | None = None, low: torch.dtype = torch.float32
) -> torch.Tensor:
    """The trainer's own."""
    return model.loss(indices, model.initial_state(len(indices)), keep, low)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=float, nargs="+", default=[1.0, 0.25])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the folded steps")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(chosen_device(args.device))
    low = chosen_precision(args.precision, device)
    config = ModelConfig(dim=args.dim)
    model = SampleRNN(config).to(device)
    indices = torch.randint(0, config.q_levels, (args.batch, config.lookback + args.seq_len), device=device)
    frames = args.batch * args.seq_len // config.frame_sizes[0]
    steps: dict[str, Callable[[], torch.Tensor]] = {"unfolded": lambda: unfolded_loss(model, indices)}
    for share in args.keep:
        kept = None if share == 1.0 else torch.randperm(frames)[: round(frames * share)].sort().values.to(device)
        steps[f"folded, keep {share:g}"] = lambda kept=kept: folded_loss(model, indices, kept, low)
    with torch.no_grad():
        difference = abs(float(unfolded_loss(model, indices) - folded_loss(model, indices)))
    assert difference < 1e-3, difference
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds + 1):
        for name, step in steps.items():
            began = clock()
            model.zero_grad(set_to_none=True)
            step().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append(clock() - began)
    slow = statistics.median(times["unfolded"][1:])
    for name, found in times.items():
        middle = statistics.median(found[1:])
        rate = args.batch * args.seq_len / middle
        print(f"{name:<18} {middle:6.2f} s a step, {rate:8,.0f} samples/s, {slow / middle:.2f} times the unfolded")


if __name__ == "__main__":
    main()
