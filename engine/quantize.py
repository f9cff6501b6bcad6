"""Sound to level indices and back: linear or mu-law, with optional pre-emphasis. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig


def levels(config: ModelConfig) -> NDArray[np.float32]:
    """Amplitude of every index, (q_levels,), rising, in [-1, 1); index q_zero is exactly 0.

    Linear: q / (Q/2) - 1. Mu-law: the same grid expanded by ITU-T G.711's curve
    sign(y) ((1 + mu)^|y| - 1) / mu with mu = Q - 1.
    """
    half = config.q_levels / 2
    y = (np.arange(config.q_levels) - config.q_zero) / half
    if config.q_type == "mu-law":
        mu = config.q_levels - 1
        y = np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu
    return y.astype(np.float32)


def thresholds(config: ModelConfig) -> NDArray[np.float32]:
    """Decision edges between neighbouring levels, (q_levels - 1,): index = count(edges <= x).

    Edges lie midway on the uniform grid (before expansion), so that mu-law rounds where G.711 does.
    """
    half = config.q_levels / 2
    y = (np.arange(1, config.q_levels) - config.q_zero - 0.5) / half
    if config.q_type == "mu-law":
        mu = config.q_levels - 1
        y = np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu
    return y.astype(np.float32)


def quantize(
    audio: NDArray[np.floating], config: ModelConfig, dither: NDArray[np.floating] | None = None
) -> NDArray[np.int32]:
    """Indices of ``audio`` (..., T), floats in [-1, 1]; what lies outside clips.

    Args:
        dither: same shape, in units of one level (uniform in [-0.5, 0.5) is half-step dither), added on the
            uniform grid just before rounding.
    """
    x = np.asarray(audio, dtype=np.float64)
    if config.preemphasis:
        x = x - config.preemphasis * np.concatenate([np.zeros_like(x[..., :1]), x[..., :-1]], axis=-1)
    x = np.clip(x, -1.0, 1.0)
    if config.q_type == "mu-law":
        mu = config.q_levels - 1
        x = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    y = x * (config.q_levels / 2) + config.q_zero + 0.5
    if dither is not None:
        y = y + dither
    return np.clip(np.floor(y), 0, config.q_levels - 1).astype(np.int32)


def dequantize(indices: NDArray[np.integer], config: ModelConfig) -> NDArray[np.float32]:
    """Audio (..., T), float32 in [-1, 1], of ``indices``; pre-emphasis undone from a silent start."""
    audio = levels(config)[np.asarray(indices)]
    if config.preemphasis:
        audio = _deemphasize(audio, config.preemphasis)
    return np.clip(audio, -1.0, 1.0)


def _deemphasize(x: NDArray[np.float32], a: float) -> NDArray[np.float32]:
    """y[n] = x[n] + a y[n-1] along the last axis, by doubling: a^(2^k) is nothing after a few rounds."""
    y = x.astype(np.float64)
    power, shift = a, 1
    while shift < y.shape[-1] and power > 1e-12:
        y[..., shift:] = y[..., shift:] + power * y[..., :-shift]
        power, shift = power * power, shift * 2
    return y.astype(np.float32)
