"""Curves, filter, limiter and resampler of the sound path, against what they should be."""

import math

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
import pytest
import soxr
from numba import njit

from instrument.audio import dsp
from instrument.audio.dsp import LIMITER_ROOM, limit, lookahead, make_resampler, network_index, resampled

PAST = 1 << 15


def test_curves():
    x = np.linspace(0, 1, 401)
    np.testing.assert_allclose([dsp.quarter_sine(v) for v in x], np.sin(x * np.pi / 2), atol=1e-10)
    assert (dsp.quarter_sine(0.0), dsp.quarter_sine(1.0)) == (0.0, 1.0)
    decibels = np.linspace(-54, 12, 500)
    np.testing.assert_allclose([dsp.amplitude(v) for v in decibels], 10 ** (decibels / 20), rtol=1e-12)
    assert (dsp.amplitude(0.0), dsp.amplitude(-60.0), dsp.amplitude(-80.0)) == (1.0, 0.0, 0.0)
    low = [dsp.amplitude(v) for v in np.linspace(-60, -54, 100)]
    assert np.all(np.diff(low) > 0)


@pytest.mark.parametrize("rate", [16000, 44100, 96000])
def test_highpass(rate):
    b0, b1, b2, a1, a2 = dsp.highpass(rate)
    z = np.exp(-2j * np.pi * np.array([0.0, 2.5, 25.0, 100.0, 1000.0]) / rate)
    gain = np.abs((b0 + b1 * z + b2 * z**2) / (1 + a1 * z + a2 * z**2))
    assert gain[0] < 1e-9
    assert gain[1] == pytest.approx(0.01, rel=0.02)  # 12 dB an octave
    assert gain[2] == pytest.approx(math.sqrt(0.5), rel=1e-3)
    assert gain[3:] == pytest.approx([1.0, 1.0], abs=3e-3)


@njit
def limited(x, need, held, needs, helds, ahead, release):
    mask = LIMITER_ROOM - 1
    out = np.zeros_like(x)
    for i in range(len(x)):
        needs[i & mask] = 1.0 if abs(x[i]) <= 0.98 else 0.98 / abs(x[i])
        gain = limit(need, held, i, ahead, release)
        if i >= ahead:
            out[i - ahead] = x[i - ahead] * gain
    return out[: len(x) - ahead]


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_limiter_never_passes_its_ceiling(rate):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, 40_000)
    x[rng.integers(0, len(x), 300)] *= 20
    x[5000:9000] *= 5
    x[-3000:] *= 0.01
    needs, helds = np.ones(LIMITER_ROOM), np.ones(LIMITER_ROOM)
    ahead = lookahead(rate)
    assert 1 <= ahead <= 0.001 * rate
    assert ahead < LIMITER_ROOM - 1
    y = limited(x, needs.ctypes.data, helds.ctypes.data, needs, helds, ahead, 1 - math.exp(-1 / (0.05 * rate)))
    assert np.abs(y).max() <= 0.98 + 1e-12
    quiet = np.abs(x[: len(y)]) > 1e-9
    gain = y[quiet] / x[: len(y)][quiet]
    assert np.abs(np.diff(gain)).max() < 2.0 / ahead  # the gain itself does not click
    untouched = np.zeros(500) + 0.5
    needs[:], helds[:] = 1.0, 1.0
    same = limited(untouched, needs.ctypes.data, helds.ctypes.data, needs, helds, ahead, 0.001)
    assert np.all(same == 0.5)


@njit
def convert(past, samples, first, count, source, target, taps, phases, table):
    out = np.zeros(count)
    for i in range(count):
        out[i] = resampled(past, PAST - 1, first + i, source, target, taps, phases, table)
    return out


def through(x, network_rate, session_rate):
    """``x`` (at most PAST samples at the network's rate) as the session hears it."""
    r = make_resampler(network_rate, session_rate)
    past = np.zeros(PAST, np.float32)
    past[: len(x)] = x
    count = len(x) * session_rate // network_rate - r.delay - 1
    return convert(past.ctypes.data, past, 0, count, r.source, r.target, r.taps, r.phases, r.table.ctypes.data), r


RATES = [(16000, 44100), (22050, 44100), (44100, 48000), (48000, 44100), (96000, 44100), (44100, 44099)]


@pytest.mark.parametrize(("network", "session"), RATES)
def test_tones_pass_and_what_does_not_belong_is_gone(network, session):
    n = PAST
    lower = min(network, session) / 2
    worst = 0.0
    for hertz in np.geomspace(50, 0.9 * lower, 12):
        x = 0.5 * np.sin(2 * np.pi * hertz * np.arange(n) / network)
        y, r = through(x, network, session)
        t = np.arange(len(y)) / session
        inside = slice(r.delay + 10, None)
        wanted = 0.5 * np.sin(2 * np.pi * hertz * t)  # no shift at all: the delay is made good exactly
        worst = max(worst, np.abs(y - wanted)[inside].max() / 0.5)
    assert 20 * math.log10(worst) < -80, "images, ripple or a shift"
    if network > 1.05 * session:
        for hertz in np.linspace(session / 2, network / 2 * 0.99, 12):
            x = 0.5 * np.sin(2 * np.pi * hertz * np.arange(n) / network)
            y, r = through(x, network, session)
            assert 20 * math.log10(np.abs(y[r.delay + 200 :]).max() / 0.5) < -80, f"{hertz} Hz comes back"


@pytest.mark.parametrize(("network", "session"), [(16000, 44100), (44100, 48000), (48000, 44100)])
def test_a_sweep_agrees_with_soxr(network, session):
    n = PAST
    t = np.arange(n) / network
    end = 0.85 * min(network, session) / 2
    x = 0.5 * np.sin(2 * np.pi * (20 * t + (end - 20) / (2 * t[-1]) * t**2))
    y, r = through(x, network, session)
    wanted = soxr.resample(x.astype(np.float32).astype(np.float64), network, session, quality="VHQ")
    inside = slice(r.delay + 1000, len(y) * 7 // 8)  # soxr hears the sweep break off from far away
    error = np.abs(y[inside] - wanted[: len(y)][inside]).max()
    assert 20 * math.log10(error / 0.5) < -85


def test_equal_rates_are_left_alone():
    x = np.random.default_rng(0).normal(0, 0.2, 1000).astype(np.float32)
    y, r = through(x, 44100, 44100)
    assert r.delay == 0
    np.testing.assert_array_equal(y, x[: len(y)])


def test_network_index_counts_samples_before_a_session_sample():
    for source, target in [(1, 1), (1, 2), (147, 160), (160, 147), (5, 2)]:
        for s in (0, 1, 2, 159, 160, 10**9 + 7):
            assert network_index(s, source, target) == math.ceil(s * source / target) if s < 10**6 else True
            assert network_index(s, source, target) == -((-s * source) // target)
