"""What rounding costs: bits a sample of every precision, on the sound that was held out of a checkpoint's training.

    python tools/precision_loss.py checkpoints/*.safetensors

Prints a table; the last two columns are what int8 adds to fp32, over all samples and over active ones.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import engine  # noqa: E402
from engine.training.data import Window, prepare, window_indices  # noqa: E402
from engine.training.recipes import Training, build  # noqa: E402

HEAD = "| checkpoint | fp32 | active | int8 | active | int8 adds | active |\n|---|---|---|---|---|---|---|"


def main() -> None:
    print(HEAD)
    for name in sys.argv[1:]:
        checkpoint = engine.load(name)
        rows = [bits(checkpoint, precision) for precision in ("fp32", "int8")]
        (a, b), (c, d) = rows
        print(f"| {checkpoint.name} | {a:.4f} | {b:.4f} | {c:.4f} | {d:.4f} | {c - a:+.4f} | {d - b:+.4f} |")


def bits(checkpoint: engine.Checkpoint, precision: str) -> tuple[float, float]:
    """Bits a sample over all and over active held-out samples."""
    held, training = heldout(checkpoint, ROOT / "sounds")
    everything, active = [], []
    for _, group in groupby(sorted(held, key=length), key=length):
        windows = list(group)
        losses = nats(checkpoint, windows, window_indices(windows, checkpoint.config, training), precision)
        everything.append(losses.ravel())
        active.append(losses[np.stack([window.active for window in windows])])
    return float(np.concatenate(everything).mean() / np.log(2)), float(np.concatenate(active).mean() / np.log(2))


def heldout(checkpoint: engine.Checkpoint, sounds: Path) -> tuple[list[Window], Training]:
    """Windows of the sounds in a folder that were held out of a checkpoint's training, and that training's settings."""
    _, training = build(checkpoint.training["settings"])
    found = [sounds / name for name in checkpoint.training["sounds"]]
    return list(prepare(found, checkpoint.config, training).windows), training


def length(window: Window) -> int:
    """Samples, context included: windows of one length are scored together."""
    return len(window.audio)


def nats(
    checkpoint: engine.Checkpoint, windows: list[Window], indices: NDArray[Any], precision: str
) -> NDArray[np.float64]:
    """Of every counted sample, (windows, samples)."""
    log_probs = engine.score(checkpoint, indices, "cpu", precision)
    known = indices[:, checkpoint.config.lookback :]
    losses = -np.take_along_axis(log_probs, known[..., None], axis=-1)[..., 0]
    return losses[:, -len(windows[0].active) :]


if __name__ == "__main__":
    main()
