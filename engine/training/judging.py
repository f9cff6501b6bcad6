"""What a network is worth in bits: its log-likelihood of sound it has not learned from.

Held-out windows as engine.training.data cuts them, unstretched; each is judged after a context that does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.model import SampleRNN
from engine.training.data import Window, window_indices
from engine.training.recipes import Training

TOGETHER = 16  # windows judged at once: their logits take 32 MB


def held_out_bits(model: SampleRNN, windows: Sequence[Window], training: Training) -> dict[str, float]:
    """Bits per sample over ``windows``: ``bits`` of all samples and, where there are any, ``bits_active``."""
    lengths = sorted({len(window.audio) for window in windows})
    same = [[w for w in windows if len(w.audio) == length] for length in lengths]
    groups = [group[at : at + TOGETHER] for group in same for at in range(0, len(group), TOGETHER)]
    nats = np.concatenate([window_losses(model, group, training).ravel() for group in groups])
    active = np.concatenate([window.active for group in groups for window in group])
    bits = {"bits": float(nats.mean()) / math.log(2)}
    if active.any():
        bits["bits_active"] = float(nats[active].mean()) / math.log(2)
    return bits


def window_losses(model: SampleRNN, windows: list[Window], training: Training) -> NDArray[np.float64]:
    """Nats of every counted sample, (windows, samples), of held-out windows of one length, after their context."""
    c = model.config
    device = model.tensor("embedding").device
    indices = torch.from_numpy(window_indices(windows, c, training).astype(np.int64)).to(device)
    losses, state = [], None
    chunk = max(c.hop, 2048 // c.hop * c.hop)
    with torch.no_grad():
        for at in range(0, indices.shape[1] - c.lookback, chunk):
            piece = indices[:, at : at + c.lookback + chunk]
            logits, state = model(piece, state)
            nats = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), piece[:, c.lookback :].flatten(), reduction="none"
            )
            losses.append(nats.cpu().double().numpy().reshape(len(piece), -1))
    counted: NDArray[np.float64] = np.concatenate(losses, axis=1)[:, -len(windows[0].active) :]
    return counted
