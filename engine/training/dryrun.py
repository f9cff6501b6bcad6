"""``samplernn train --dry-run``: what a run would take, and whether this machine could play what comes of it.

A few steps are really made, on noise and on the device that the run would take, and a random network of the same shape
is really played: speeds are measured here. Memory is reckoned, by what real runs took. Nothing is written. Needs
torch.
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
from engine.training.data import Material
from engine.training.judging import TOGETHER
from engine.training.recipes import Training
from engine.training.runs import Plan
from engine.training.trainer import chosen_device, chosen_precision

FEW, MORE = 4, 12  # streams of the steps that are measured on a processor: what a step takes grows in a line with them
SAMPLES = 512  # a round of playing
ROUNDS = 5
# What runs took on Linux, by their largest resident size (docs/training.md):
BASE = 0.5e9  # bytes of torch, numba's compiler and the libraries of sound
ADAM = 4  # times the weights: themselves, their gradients, two averages
SAVING = 7  # times the weights more, while an epoch is saved and its int8 network is made
LEVELS = 48  # bytes a sample of the sound while its levels are measured
JUDGED = 2048  # samples of every held-out window that are judged at once


def report(plan: Plan) -> list[str]:
    """Lines about the run. Raises ValueError for sounds that cannot be learned, and a device that is not there."""
    config, t = plan.config, plan.training
    device = torch.device(chosen_device(t.device))
    material = data.prepare(plan.sounds, config, t)
    weights = sum(math.prod(shape) for shape in files.tensor_shapes(config).values())
    per_step = step_seconds(config, t)
    whole = max(1, int(60.0 * t.minutes / per_step)) if t.minutes else t.steps
    steps = t.epoch_steps or max(1, round(material.samples / (t.batch * t.seq_len)))
    gpu = device.type != "cpu"
    beside = f", and {learning(plan, material, weights) / 1e9:.1f} GB of the GPU's" * gpu
    taken = f"about {memory(plan, material, weights, gpu) / 1e9:.1f} GB of memory{beside}"
    speed = f"{clock(steps * per_step)} here on {device.type} ({t.batch * t.seq_len / per_step:,.0f} samples/s)"
    return [
        f"sound     {material.seconds:.1f} s, {material.samples / config.sample_rate:.1f} s with its copies",
        f"network   {weights / 1e6:.2f} M weights; {taken}",
        f"epoch     {steps} steps, {speed}",
        f"run       {whole} steps, {whole / steps:.1f} epochs, {clock(whole * per_step)} here",
        f"playing   {playing(config)}",
    ]


def step_seconds(config: ModelConfig, t: Training, local: int = 0) -> float:
    """Seconds of one optimiser step on the device that ``t`` asks for, the faster of two after one that counts nothing.

    On a processor with few streams and with more, and reckoned up from both; a GPU makes them side by side, so
    there with all. Raises ValueError for a device that is not there.
    """
    device = torch.device(chosen_device(t.device, local))
    torch.set_num_threads(t.threads or torch.get_num_threads())
    if device.type != "cpu" or t.batch <= MORE:
        return _measured(config, t, device, t.batch)
    few, more = (_measured(config, t, device, streams) for streams in (FEW, MORE))
    return more + (t.batch - MORE) * max(0.0, more - few) / (MORE - FEW)


def _measured(config: ModelConfig, t: Training, device: torch.device, streams: int) -> float:
    """Seconds of a step of so many streams."""
    low = chosen_precision(t.precision, device)
    model = SampleRNN(config, 0, t.forget_bias).to(device)
    learned = [p for p in model.tensors.values() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=0.0, fused=True)
    rng = np.random.default_rng(0)
    indices = torch.from_numpy(rng.integers(0, config.q_levels, (streams, config.lookback + t.seq_len))).to(device)
    frames = streams * t.seq_len // config.frame_sizes[0]
    keep = None if t.keep == 1.0 else torch.arange(max(1, round(frames * t.keep)), device=device)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss, _ = model.loss(indices, model.initial_state(streams), keep, low)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait_for(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _wait_for(device: torch.device) -> None:
    """A GPU is given its work and does it later."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def memory(plan: Plan, material: Material, weights: int, gpu: bool) -> float:
    """Bytes that the run takes at most, besides those of a GPU; right to a third or so, on Linux."""
    config, t = plan.config, plan.training
    sound = 4.0 * (material.samples + len(material.line))
    if t.varispeed or t.invert or t.layer:
        sound += 4.0 * 2 * t.batch * t.excerpt * config.sample_rate  # excerpts, once they are drawn
    network = 4.0 * SAVING * weights + (4.0 * ADAM * weights if gpu else learning(plan, material, weights))
    return BASE + sound + max(LEVELS * len(material.line), network)


def learning(plan: Plan, material: Material, weights: int) -> float:
    """Bytes where torch computes: the weights and what Adam keeps of them, and the larger of a step and of judging."""
    config, t = plan.config, plan.training
    frames = sum(t.batch * t.seq_len / size for size in config.frame_sizes)
    kept = frames * config.n_rnn * config.dim * (config.gates + 3)  # gates, inputs and outputs of every layer
    heads = t.batch * t.seq_len * t.keep * config.mlp_dim  # gradients of the first layer's sums
    judged = min(TOGETHER, len(material.windows)) * JUDGED * 3 * (config.mlp_dim + config.q_levels)
    return 4.0 * (ADAM * weights + max(kept + heads, judged))


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
