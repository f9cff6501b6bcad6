"""``samplernn train --dry-run``: what a run would take, and whether this machine could play what comes of it.

A few steps are really made, with few streams and on noise, and a random network of the same shape is really played:
what is printed was measured here. Nothing is written. Needs torch.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import torch

from engine import checkpoint as files
from engine.config import ModelConfig
from engine.generator import make_generator
from engine.model import SampleRNN
from engine.training import data
from engine.training.recipes import Training
from engine.training.runs import Plan

STREAMS = 4  # of the steps that are measured; time grows with the streams, or a little less
SAMPLES = 512  # a round of playing
ROUNDS = 5
ADAM = 4  # times the weights: themselves, their gradients, two averages


def report(plan: Plan) -> list[str]:
    """Lines about the run. Raises ValueError for sounds that cannot be learned."""
    config, t = plan.config, plan.training
    material = data.prepare(plan.sounds, config, t)
    weights = sum(math.prod(shape) for shape in files.tensor_shapes(config).values())
    per_step = step_seconds(config, t)
    steps = t.epoch_steps or max(1, round(material.samples / (t.batch * t.seq_len)))
    return [
        f"sound     {material.seconds:.1f} s, {material.samples / config.sample_rate:.1f} s with its copies",
        f"network   {weights / 1e6:.2f} M weights; memory about {memory(config, t, weights) / 1e9:.2f} GB",
        f"epoch     {steps} steps, {clock(steps * per_step)} here ({t.batch * t.seq_len / per_step:,.0f} samples/s)",
        f"run       {t.steps} steps, {t.steps / steps:.1f} epochs, {clock(t.steps * per_step)} here",
        f"playing   {playing(config)}",
    ]


def step_seconds(config: ModelConfig, t: Training) -> float:
    """Seconds of one optimiser step, judged by two with fewer streams after one that counts nothing."""
    torch.set_num_threads(t.threads or torch.get_num_threads())
    streams = min(STREAMS, t.batch)
    model = SampleRNN(config, 0, t.forget_bias)
    learned = [p for p in model.tensors.values() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=0.0, fused=True)
    rng = np.random.default_rng(0)
    indices = torch.from_numpy(rng.integers(0, config.q_levels, (streams, config.lookback + t.seq_len)))
    frames = streams * t.seq_len // config.frame_sizes[0]
    keep = None if t.keep == 1.0 else torch.arange(max(1, round(frames * t.keep)))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss, _ = model.loss(indices, model.initial_state(streams), keep)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        times.append(time.perf_counter() - began)
    return min(times[1:]) * t.batch / streams


def memory(config: ModelConfig, t: Training, weights: int) -> float:
    """Bytes: weights and what Adam keeps of them, and what the tiers keep for the way back."""
    frames = sum(t.batch * t.seq_len / size for size in config.frame_sizes)
    kept = frames * config.n_rnn * config.dim * (config.gates + 3)  # gates, inputs and outputs of every layer
    heads = t.batch * t.seq_len * t.keep * config.mlp_dim  # gradients of the first layer's sums
    return 4.0 * (ADAM * weights + kept + heads)


def playing(config: ModelConfig) -> str:
    """Whether a network of this shape plays in time here, in words: a random one is tried, at int8."""
    checkpoint = SampleRNN(config).to_checkpoint()
    checkpoint = replace(checkpoint, playing={"ranges": dict.fromkeys(config.range_names, 4.0)})
    generator = make_generator(checkpoint, "cpu", "int8")
    generator.generate(SAMPLES)
    best = math.inf
    for _ in range(ROUNDS):
        began = time.thread_time()
        generator.generate(SAMPLES)
        best = min(best, time.thread_time() - began)
    factor = SAMPLES / best / config.sample_rate
    word = "this machine can play it live" if factor >= 1.2 else "too slow to be played live here"
    return f"{factor:.2f} times real time at int8 on one core: {word}"


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
