"""Filter, drive, level and output channels: against theory, without clicks, and as if not there when at rest."""

import math
import re

import numpy as np
import pytest
from fake_program import make_program
from numba import njit
from test_audio_loop import offline, play

from instrument import patch
from instrument.audio import dsp
from instrument.audio.callback import serve_counted
from instrument.audio.performance import Performance
from instrument.audio.shape import FILL, driven, swept
from instrument.audio.slots import Slot
from instrument.audio.state import CORE, LINE, SHAPE, core_at, shape_at
from instrument.controls import DEFAULTS, DRIVE, FILTER, GAIN, LEVEL, OUTPUT, PAN, Command, Op
from instrument.plan import starting_values
from instrument.replay import commands_of
from instrument.shared import W_PAIRS, set_word

RATE = 44100
GLIDE = 882


@njit(error_model="numpy")
def run_filter(core, shape, x, knobs, out):
    for i in range(len(x)):
        out[i] = swept(core_at(core, 0), shape_at(shape, 0), x[i], knobs[i])


@njit(error_model="numpy")
def run_drive(core, shape, lines, x, drives, out):
    for i in range(len(x)):
        out[i] = driven(core_at(core, 0), shape_at(shape, 0), lines, x[i], i, drives[i])


class Bench:
    """Filter and drive alone."""

    def __init__(self, rate=RATE, power=0.0):
        self.core, self.shape, self.table = np.zeros(1, CORE), np.zeros(1, SHAPE), dsp.tangents(rate)
        self.lines = np.zeros((3, LINE))
        self.core["tangents"], self.core["glide"] = self.table.ctypes.data, int(0.02 * rate)
        self.core["drive_rise"], self.core["drive_fall"] = 1 / (0.1 * rate), 1 / (2 * rate)
        self.core["drive_mean"] = 1 / (0.016 * rate)
        self.shape["power"] = power

    def filter(self, x, knobs):
        out = np.zeros(len(x))
        knobs = np.broadcast_to(np.float64(knobs), len(x)).copy()
        run_filter(self.core.ctypes.data, self.shape.ctypes.data, x, knobs, out)
        return out

    def drive(self, x, decibels):
        out = np.zeros(len(x))
        drives = np.broadcast_to(np.float64(decibels), len(x)).copy()
        run_drive(self.core.ctypes.data, self.shape.ctypes.data, self.lines.ctypes.data, x, drives, out)
        return out


def row(**values):
    """A voice's starting values."""
    codes = {"gain": GAIN, "pan": PAN, "filter": FILTER, "drive": DRIVE, "level": LEVEL, "output": OUTPUT}
    made = list(DEFAULTS)
    for name, value in values.items():
        made[codes[name]] = value
    return made


# --- filter


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000, 384_000])
@pytest.mark.parametrize("knob", [-1.0, -0.9, -0.5, -0.2, 0.1, 0.5, 0.8, 1.0])
def test_the_filters_response_is_theorys(rate, knob):
    n = 1 << 17
    impulse = np.zeros(n)
    impulse[0] = 1.0
    found = np.fft.rfft(Bench(rate).filter(impulse, knob))
    hertz = np.arange(n // 2 + 1) * rate / n
    near, octaves = (18_000, math.log2(60 / 18_000)) if knob < 0 else (20, math.log2(8000 / 20))
    cutoff = min(0.45 * rate, near * 2 ** (octaves * abs(knob)))
    assert dsp.cutoff(knob, rate) == pytest.approx(cutoff, rel=1e-9)
    s = 1j * np.tan(np.pi * np.minimum(hertz, 0.499999 * rate) / rate) / np.tan(np.pi * cutoff / rate)
    wanted = (s**2 if knob > 0 else 1.0) / (s**2 + dsp.DAMPING * s + 1.0)  # bilinear, prewarped
    inside = slice(64, n // 2 - 64)  # below that the impulse response is longer than this one
    np.testing.assert_allclose(found[inside], wanted[inside], rtol=2e-3, atol=2e-4)


def test_the_filter_opens_to_the_left_at_18_khz_and_closes_at_60_hz():
    found = [dsp.cutoff(knob, 48000) for knob in (-1.0, -1e-9, 1e-9, 1.0)]
    assert found == pytest.approx([60.0, 18_000.0, 20.0, 8_000.0], rel=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 384_000])
def test_no_way_of_turning_the_filter_makes_it_blow_up(rate):
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 100_000)
    for knobs in (rng.uniform(-1, 1, len(x)), np.sign(np.sin(np.arange(len(x)) * 0.3)), np.repeat([-1.0, 1.0], 50_000)):
        out = Bench(rate).filter(x, knobs)
        assert np.isfinite(out).all()
        assert np.abs(out).max() < 8.0
    alone = Bench(rate)
    alone.filter(x[:1000], -0.5)
    before = float(alone.shape["band"][0] ** 2 + alone.shape["low"][0] ** 2)
    for knob in rng.uniform(-1, -0.01, 2000):  # without input the states only shrink
        alone.filter(np.zeros(1), knob)
        after = float(alone.shape["band"][0] ** 2 + alone.shape["low"][0] ** 2)
        assert after <= before * (1 + 1e-12)
        before = after


def test_a_hand_sweeps_the_filter_without_zipper_noise():
    t = np.arange(RATE) / RATE
    x = 0.5 * np.sin(2 * np.pi * 300 * t)
    for knobs in (np.linspace(-1, 1, RATE), np.interp(t, [0, 0.4, 0.42, 1], [-0.9, -0.9, 0.9, 0.9])):
        out = Bench().filter(x, knobs)
        sharp = np.abs(np.diff(out, 3))[10:]
        assert sharp.max() < 3 * np.abs(np.diff(x, 3)).max() + 1e-3
    steps = Bench().filter(x, np.where(t < 0.5, -0.2, -0.8))  # a click, to know that it would be found
    assert np.abs(np.diff(steps, 3)).max() > 0.0


# --- drive


def sine(hertz, level=0.3, n=RATE):
    return level * np.sin(2 * np.pi * hertz * np.arange(n) / RATE)


def test_drive_is_clean_when_it_is_hardly_turned():
    x = sine(1000)
    y = Bench(power=0.045).drive(x, 0.05)
    late = LINE - 1
    settled = slice(4000, 20_000)
    np.testing.assert_allclose(y[settled], x[4000 - late : 20_000 - late], atol=0.01)


def test_drive_comes_and_goes_without_a_click():
    x = sine(150, n=30_000)
    drives = np.zeros(len(x))
    drives[5000:15_000] = np.minimum(24.0, np.arange(10_000) / GLIDE * 24)
    drives[15_000:] = np.maximum(0.0, 24.0 - np.arange(15_000) / GLIDE * 24)
    bench = Bench(power=0.045)
    y = bench.drive(x, drives)
    assert np.abs(np.diff(y, 2)).max() < 0.02
    after = 15_000 + GLIDE + GLIDE + FILL + 10
    assert bench.shape["count"][0] <= 0
    np.testing.assert_array_equal(y[after:], x[after:])
    assert np.abs(y[10_000:14_000] - x[10_000:14_000]).max() > 0.05


@pytest.mark.parametrize(("hertz", "most"), [(1000.3, -40), (2503.1, -29), (5011.7, -30), (9001.9, -30)])
def test_what_drive_folds_back_stays_low(hertz, most):
    y = Bench(power=0.045).drive(sine(hertz, n=1 << 16), 36.0)[-(1 << 15) :] * np.blackman(1 << 15)
    power = np.abs(np.fft.rfft(y)) ** 2
    at = np.arange(len(power)) * RATE / (1 << 15)
    wanted = at < 30
    for k in range(1, int(RATE / 2 / hertz) + 1):
        wanted |= np.abs(at - k * hertz) < 8
    assert 10 * math.log10(power[~wanted].sum() / power[wanted].sum()) < most


@pytest.mark.parametrize("kind", ["noise", "strokes", "drone", "quiet"])
def test_drive_does_not_just_get_louder(kind):
    rng, n = np.random.default_rng(1), 8 * RATE
    t = np.arange(n) / RATE
    x = {
        "noise": 0.1 * rng.standard_normal(n),
        "strokes": 0.6 * np.exp(-((t % 0.5) * 12)) * np.sin(2 * np.pi * 180 * t) + 1e-3 * rng.standard_normal(n),
        "drone": 0.08 * (np.sin(2 * np.pi * 110 * t) + np.sin(2 * np.pi * 165.3 * t)),
        "quiet": 0.008 * rng.standard_normal(n),
    }[kind]
    before = np.sqrt(np.mean(x[RATE:] ** 2))
    for decibels in (3, 6, 12, 18, 24, 30, 36):
        after = np.sqrt(np.mean(Bench(power=before**2).drive(x, decibels)[RATE:] ** 2))
        assert abs(20 * math.log10(after / before)) < 2.5, decibels


def test_the_halfband_is_kaisers():
    offsets = 2 * (np.arange(16) - 7.5)
    wanted = np.sinc(offsets / 2) * np.i0(6 * np.sqrt(1 - (offsets / 16) ** 2)) / np.i0(6)
    np.testing.assert_allclose(dsp.HALFBAND, (wanted / wanted.sum())[:8], atol=1e-11)


# --- in the loop


def moves():
    return [
        Command(900, Op.SET, parameter=FILTER, value=-0.7, ramp=3000),
        Command(1200, Op.SET, voice=0, parameter=DRIVE, value=30.0, ramp=2000),
        Command(2500, Op.MODULATE, voice=1, parameter=FILTER, value=1.4, ramp=900),
        Command(3300, Op.SET, voice=1, parameter=LEVEL, value=0.1, ramp=500),
        Command(4000, Op.MODULATE, parameter=LEVEL, value=-0.4, ramp=700),
        Command(4500, Op.SET, parameter=OUTPUT, value=2.0),
        Command(5000, Op.SET, voice=0, parameter=FILTER, value=0.8),
        Command(6000, Op.MODULATE, parameter=DRIVE, value=-36.0, ramp=1),
        Command(9000, Op.MODULATE, parameter=DRIVE, value=0.0, ramp=1),
        Command(9001, Op.SET, parameter=FILTER, value=0.0, ramp=1),
        Command(9500, Op.SET, parameter=LEVEL, value=0.0),
        Command(11_500, Op.SET, parameter=LEVEL, value=1.0, ramp=1),
    ]


def pair():
    return [Slot(make_program(voices=2)), Slot(make_program(voices=2, period=37, sample_rate=22050))]


def test_nothing_of_it_depends_on_the_cuts_or_on_the_channels():
    whole, told = play(offline(pair(), 2, start=[0, 1]), 14_000, moves())
    cuts = np.unique(np.random.default_rng(1).integers(1, 13_900, 400))
    pieces, retold = play(offline(pair(), 2, start=[0, 1], channels=4), 14_000, moves(), cuts)
    np.testing.assert_array_equal(whole, pieces)
    assert sorted(map(repr, told)) == sorted(map(repr, retold))
    assert len(told) == len(moves())


def test_a_replay_has_the_same_bits():
    more = {"start": [0, 1], "parameters": [row(drive=6), row(filter=0.3, output=2)]}
    live, told = play(offline(pair(), 2, channels=4, **more), 14_000, moves())
    again, retold = play(offline(pair(), 2, **more), 14_000, commands_of(told))
    np.testing.assert_array_equal(live, again)
    assert [(e.at, e.op, e.value) for e in told] == [(e.at, e.op, e.value) for e in retold]


def test_at_rest_it_is_not_there():
    plain, _ = play(offline(pair(), 2, start=[0, 1]), 12_000)
    used = [
        Command(2000, Op.SET, parameter=FILTER, value=-0.5),
        Command(2000, Op.SET, parameter=DRIVE, value=20.0),
        Command(2000, Op.SET, parameter=LEVEL, value=0.3),
        Command(5000, Op.SET, parameter=FILTER, value=0.0, ramp=100),
        Command(5000, Op.SET, parameter=DRIVE, value=0.0, ramp=100),
        Command(5000, Op.SET, parameter=LEVEL, value=1.0, ramp=100),
    ]
    p = offline(pair(), 2, start=[0, 1], parameters=[row(gain=-20)] * 2)  # below the limiter, which remembers
    q = offline(pair(), 2, start=[0, 1], parameters=[row(gain=-20)] * 2)
    quiet, shaped = play(p, 12_000)[0], play(q, 12_000, used)[0]
    np.testing.assert_array_equal(quiet[:2000], shaped[:2000])
    assert np.abs(quiet[3500:5000] - shaped[3500:5000]).max() > 0.01
    np.testing.assert_array_equal(quiet[5100 + GLIDE + FILL :], shaped[5100 + GLIDE + FILL :])
    assert np.abs(plain).max() > 0.3


def test_level_is_linear_and_ramps():
    p = offline([Slot(make_program())], parameters=[row(gain=-12)])
    q = offline([Slot(make_program())], parameters=[row(gain=-12, level=0.25)])
    full, quarter = play(p, 8000)[0], play(q, 8000)[0]
    np.testing.assert_allclose(quarter, 0.25 * full, atol=1e-7)
    r = offline([Slot(make_program())], parameters=[row(gain=-12)])
    fading, _ = play(r, 8000, [Command(3000, Op.SET, parameter=LEVEL, value=0.0, ramp=2000)])
    wanted = full * np.clip((4999 - np.arange(8000)) / 2000, 0, 1)[:, None]
    np.testing.assert_allclose(fading, wanted, atol=1e-6)


# --- pairs of channels


def listen(channels, length, commands=(), outs=None, pairs=None, rows=None, voices=2):
    """What a device of ``outs`` channels gets of a live performance: (length, outs), and the tap's (length, 2)."""
    slots = [Slot(make_program(voices=voices))]
    p = Performance(slots, sample_rate=RATE, voices=voices, parameters=rows, tap=True, channels=channels)
    if pairs is not None:
        set_word(p.link.shared.words, W_PAIRS, pairs)
    for command in commands:
        assert p.link.push(command)
    p.start()
    outs, heard, count = outs or channels, [], 0
    try:
        while not p.prefill_done():
            pass
        while count < length + 128:
            if p.link.telemetry().fill >= 320:  # never less than half full, or voices would rest
                out = np.full(64 * outs, 9.0, np.float32)
                serve_counted(p.link.shared.words, p.link.shared.samples, out, 64, 0)
                heard.append(out.reshape(-1, outs))
                count += 64
        tap = np.zeros((count, 2), np.float32)
        assert p.link.tap(tap) >= length
    finally:
        p.close(0.05)
    return np.concatenate(heard)[:length], tap[:length]


def rms(x):
    return np.sqrt(np.mean(np.float64(x) ** 2, axis=0))


def test_voices_go_to_their_pairs_and_recordings_have_the_sum():
    rows = [row(gain=-12, pan=-1, output=1), row(gain=-12, pan=1, output=2)]
    heard, tap = listen(4, 8000, rows=rows)
    found = rms(heard[4000:])
    assert found[[0, 3]] == pytest.approx(rms(tap[4000:]), rel=1e-4)
    assert found[1] == found[2] == 0.0
    assert found.max() > 0.05
    stereo, same = listen(2, 8000, rows=rows)
    np.testing.assert_array_equal(tap, same)  # whatever the pairs
    np.testing.assert_array_equal(stereo[300:], same[300:])  # the callback fades in


def test_a_change_of_pair_crossfades_without_a_click():
    change = [Command(4000, Op.SET, parameter=OUTPUT, value=3.0)]
    heard, tap = listen(6, 9000, change, rows=[row(gain=-12)], voices=1)
    first, middle, last = heard[:, 0], heard[:, 2], heard[:, 4]
    assert np.all(last[:4000] == 0.0)
    assert np.all(middle == 0.0)
    assert np.all(first[4000 + GLIDE + 1 :] == 0.0)
    np.testing.assert_allclose(last[4000 + GLIDE + 1 :], tap[4000 + GLIDE + 1 :, 0], atol=1e-6)
    still = np.abs(np.diff(tap[:, 0], 2)).max()
    assert max(np.abs(np.diff(x[1000:], 2)).max() for x in (first, last)) < 1.1 * still
    middle_of = slice(4000 + GLIDE // 2 - 50, 4000 + GLIDE // 2 + 50)
    assert rms(first[middle_of]) == pytest.approx(math.sqrt(0.5) * rms(tap[middle_of, 0]), rel=0.05)


def test_pairs_that_the_device_lacks_fold_onto_the_first():
    rows = [row(gain=-12, pan=-1, output=1), row(gain=-12, pan=1, output=2)]
    heard, tap = listen(4, 8000, outs=2, pairs=1, rows=rows)
    np.testing.assert_allclose(heard[2000:], tap[2000:], atol=1e-6)
    wide, _ = listen(4, 4000, outs=6, rows=rows)
    assert np.all(wide[:, 4:] == 0.0)  # channels that the ring does not have


def test_each_pair_has_a_limiter_of_its_own():
    rows = [row(gain=12, pan=-1, output=1), row(gain=-20, pan=1, output=2)]
    heard, tap = listen(4, 12_000, rows=rows)
    assert np.abs(heard[4000:, 0]).max() == pytest.approx(dsp.CEILING, rel=0.02)
    alone, _ = listen(4, 12_000, rows=[row(gain=-60), row(gain=-20, pan=1, output=2)])
    np.testing.assert_allclose(heard[4000:, 3], alone[4000:, 3], atol=1e-6)  # not ducked by the other pair
    assert rms(tap[4000:, 1]) < 0.5 * rms(heard[4000:, 3])  # in the sum it is: one limiter


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"output": {"channels": 3}}, "output.channels: 3 is not an even number from 2 to 16"),
        ({"output": {"channels": 18}}, "output.channels: 18 is outside 2 to 16"),
        ({"parameters": {"output": 2}}, "parameters.output: 2 is beyond the 1 pair of output.channels: 2"),
        (
            {"output": {"channels": 4}, "voices": 2, "voice": {2: {"output": 3}}},
            "voice.2.output: 3 is beyond the 2 pairs of output.channels: 4",
        ),
        ({"parameters": {"filter": -1.5}}, "parameters.filter: -1.5 is outside -1 to 1"),
        ({"parameters": {"output": 1.5}}, "parameters.output: 1.5 is not a whole number from 1 to 8"),
    ],
)
def test_patches_say_what_is_wrong_with_it(fields, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        patch.from_data({"bank": ["checkpoints/tabla.safetensors"], **fields}, None)


def test_a_patch_with_all_of_it():
    voice = {2: {"output": 2, "filter": -0.3, "drive": 9, "level": 0.5}}
    made = patch.from_data(
        {"bank": ["checkpoints/tabla.safetensors"], "output": {"channels": 4}, "voices": 2, "voice": voice}, None
    )
    assert made.output.channels == 4
    assert starting_values(made, 1) == DEFAULTS
    assert starting_values(made, 2)[FILTER : OUTPUT + 1] == (-0.3, 9.0, 0.5, 2.0)
