"""Held-out bits on the straight line between the weights of two epochs of a run.

    python tools/between.py runs/tabla --pairs 1-2 8-9 18-19 1-19

Whether `maturity` could move through weights instead of through checkpoints: 0, a quarter, a half, three quarters and
all of the way from one epoch to another, on the windows that the run itself held out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from engine.checkpoint import Checkpoint, load  # noqa: E402
from engine.model import SampleRNN  # noqa: E402
from engine.training.data import prepare  # noqa: E402
from engine.training.judging import held_out_bits  # noqa: E402
from engine.training.runs import make_plan  # noqa: E402

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def between(a: Checkpoint, b: Checkpoint, share: float) -> SampleRNN:
    """The network whose every tensor lies so far from ``a`` to ``b``."""
    tensors = {name: (1 - share) * value + share * b.tensors[name] for name, value in a.tensors.items()}
    return SampleRNN.from_checkpoint(replace(a, tensors=tensors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--pairs", nargs="+", default=["1-2"], metavar="A-B")
    args = parser.parse_args()
    torch.set_num_threads(1)
    plan = make_plan([], args.run, "", {}, resume=True)
    material = prepare(plan.sounds, plan.config, replace(plan.training, stretches=(1.0,)))
    print("| epochs | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |\n" + "|---" * 6 + "|")
    for pair in args.pairs:
        a, b = (load(args.run / f"epoch-{int(number):03d}.safetensors") for number in pair.split("-"))
        bits = (held_out_bits(between(a, b, share), material.windows, plan.training)["bits_active"] for share in SHARES)
        print(f"| {pair} | " + " | ".join(f"{value:.3f}" for value in bits) + " |", flush=True)


if __name__ == "__main__":
    main()
