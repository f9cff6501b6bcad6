"""A set that has fallen silent costs no more than one that sounds: no denormal number slows anything down."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoint import load
from instrument import bank
from instrument.audio.performance import Performance

RATE = 48000  # not the networks' own: the resampler takes part
SHIPPED = sorted((Path(__file__).parent.parent / "checkpoints").glob("*.safetensors"))[0]


def silenced(checkpoint):
    """The same network, only that it is always sure of silence; its states wander on as silence lets them."""
    bias = checkpoint.tensors["mlp.output.bias"].astype(np.float32)
    bias[checkpoint.config.q_zero] += 1000.0
    return replace(checkpoint, tensors={**checkpoint.tensors, "mlp.output.bias": bias})


def performance(checkpoint):
    slots = bank.make_slots([checkpoint], ["network"], "cpu", "int8", 1)
    return Performance(slots, sample_rate=RATE, seed=7, offline=True)


def cost_of(sound, silence, seconds):
    """Processor seconds of each, made in turns of a second, after one that counts nothing."""
    costs = np.zeros((2, seconds + 1))
    levels = np.zeros(2)
    for second in range(seconds + 1):
        for i, set_ in enumerate((sound, silence)):
            begun = time.thread_time()
            frames = set_.render_to((second + 1) * RATE)
            costs[i, second] = time.thread_time() - begun
            if second:
                levels[i] = max(levels[i], np.abs(frames).max())
    assert levels[0] > 0.01
    assert levels[1] < 1e-3
    return np.median(costs[:, 1:], axis=1)


def check(seconds, most):
    checkpoint = load(SHIPPED)
    sound, silence = performance(checkpoint), performance(silenced(checkpoint))
    try:
        loud, quiet = cost_of(sound, silence, seconds)
    finally:
        sound.close()
        silence.close()
    print(f"a second of sound takes {1000 * loud:.0f} ms, of silence {1000 * quiet:.0f} ms")
    assert quiet < most * loud


def test_silence_costs_no_more_than_sound():
    check(4, 1.3)  # a denormal multiply takes fifty times as long: a little of that is far more than this


@pytest.mark.soak
def test_five_minutes_of_silence_cost_no_more_than_sound():
    check(300, 1.05)
