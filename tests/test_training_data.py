"""Training material: what is refused, what is cleaned, what is held out, and what a step draws."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.config import ModelConfig
from engine.quantize import quantize
from engine.training import data, sounds
from engine.training.recipes import Training

RATE = 8000
CONFIG = ModelConfig(sample_rate=RATE, dim=8, frame_sizes=(4, 8))
TRAINING = Training(batch=6, seq_len=64, excerpt=0.5, gap=0.0, dither=0.0, stretches=(0.9, 1.0))


def noise(seconds, seed=0, rate=RATE):
    return (np.random.default_rng(seed).normal(size=int(seconds * rate)) * 0.1).astype(np.float32)


def written(path: Path, audio, **options):
    soundfile.write(path, audio, options.pop("rate", RATE), **options)
    return path


def audio_faults(folder):
    yield "silent", written(folder / "silent.wav", np.zeros(3 * RATE)), "silent"
    yield "constant", written(folder / "constant.wav", np.full(3 * RATE, 0.25)), "constant: every sample is 0.25"
    yield "faint", written(folder / "faint.wav", noise(3) * 1e-5, subtype="FLOAT"), "silent: no sample above -80 dB"
    yield "short", written(folder / "short.wav", noise(1)), "1.0 s of sound"
    yield "no samples", written(folder / "empty.wav", np.zeros(0)), "empty"
    (folder / "zero.wav").write_bytes(b"")
    yield "no bytes", folder / "zero.wav", "libsndfile"
    (folder / "text.wav").write_text("not a sound\n" * 50)
    yield "text", folder / "text.wav", "libsndfile"
    yield "folder", folder, "folder"
    yield "missing", folder / "missing.wav", "no such file"
    yield "nan", written(folder / "nan.wav", np.full(RATE, np.nan), subtype="FLOAT"), "finite"


@pytest.mark.parametrize("number", range(10))
def test_bad_files_are_named_in_one_line(tmp_path, number):
    _, path, message = list(audio_faults(tmp_path))[number]
    with pytest.raises(ValueError, match=message) as caught:
        data.prepare([path], CONFIG, TRAINING)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_eight_bit_stereo_at_another_rate_loads(tmp_path):
    stereo = np.stack([noise(4, 1, 11025), noise(4, 2, 11025)], axis=1)
    path = written(tmp_path / "old.wav", stereo, rate=11025, subtype="PCM_U8")
    audio = sounds.read(path, RATE)
    assert audio.ndim == 1
    assert len(audio) == pytest.approx(4 * RATE, abs=2)
    assert data.prepare([path], CONFIG, TRAINING).seconds == pytest.approx(4.0, abs=0.01)


def test_offset_and_level_belong_to_the_data_set(tmp_path):
    loud, soft = noise(3, 1), noise(3, 2) * 0.1 + 0.3
    paths = [Path("loud.wav"), Path("soft.wav")]
    a, b = sounds.cleaned([loud, soft], paths)
    line = np.concatenate([a, b])
    assert abs(line.mean()) < 1e-4
    assert np.abs(line).max() == pytest.approx(sounds.PEAK)
    assert (b.mean() - a.mean()) / b.std() == pytest.approx((soft.mean() - loud.mean()) / soft.std(), rel=1e-3)
    assert a.std() / b.std() == pytest.approx(loud.std() / soft.std(), rel=1e-3)


def test_long_gaps_are_cut_and_short_ones_kept():
    burst, rest = noise(0.5), np.zeros
    audio = np.concatenate([burst, rest(RATE), burst, rest(RATE // 20), burst]).astype(np.float32)
    out = sounds.trimmed(audio, RATE, 0.08, -50.0)
    assert len(out) == pytest.approx(1.5 * RATE + 0.08 * RATE + RATE // 20, abs=RATE // 50)
    np.testing.assert_array_equal(out[: RATE // 2], burst)
    np.testing.assert_array_equal(out[-RATE // 2 :], burst)


def test_active_means_sound_within_twenty_milliseconds():
    audio = np.concatenate([np.zeros(RATE), noise(1), np.zeros(RATE)]).astype(np.float32)
    on = np.flatnonzero(sounds.active(audio, RATE))
    assert on[0] == pytest.approx(RATE, abs=0.01 * RATE + 1)
    assert on[-1] == pytest.approx(2 * RATE, abs=0.01 * RATE + 1)
    assert sounds.active(audio, RATE)[RATE : 2 * RATE].all()


def test_stretching_keeps_the_pitch_and_the_straight_line():
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(8 * 44100) / 44100)).astype(np.float32)
    out = data.stretched(tone, 44100, 0.94)
    assert len(out) == pytest.approx(len(tone) / 0.94, abs=2)
    middle = out[44100 : 5 * 44100]
    peak = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * 44100 / len(middle)
    assert peak == pytest.approx(440, abs=0.5)
    clicks = np.zeros(8 * 44100, np.float32)
    clicks[22050::22050] = 0.9
    out = data.stretched(clicks, 44100, 1.06)
    for k in range(1, 16):
        near = int(k * 22050 / 1.06)
        found = near - 4000 + int(np.abs(out[near - 4000 : near + 4000]).argmax())
        assert found * len(clicks) / len(out) == pytest.approx(k * 22050, rel=0.002, abs=100)


def test_shares_are_held_out_in_chunks(tmp_path):
    """88 for training, 6 to judge epochs by, 6 for the end; what lies beside a chunk is lost to its margins only."""
    path = written(tmp_path / "long.wav", noise(200), subtype="FLOAT")
    shares = replace(TRAINING, valid=0.06, test=0.06, excerpt=1.0, stretches=(1.0,))
    material = data.prepare([path], CONFIG, shares)
    assert (len(material.windows), len(material.tests)) == (12, 12)
    spans = sorted((window.start, window.stop) for window in (*material.windows, *material.tests))
    assert all(stop - start == RATE for start, stop in spans)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
    assert [start * 24 // (200 * RATE) for start, _ in spans] == list(range(24)), "one in each stratum"
    assert material.samples == 200 * RATE - 24 * (RATE + 2 * CONFIG.lookback)
    with pytest.raises(ValueError, match=r"long\.wav: valid, test: shares of 200 s that hold no chunk of 40 s"):
        data.prepare([path], CONFIG, replace(shares, excerpt=40.0))


def test_a_sound_that_comes_twice_is_learned_once(tmp_path):
    """Or what is held out of the one is learned from the other."""
    paths = [written(tmp_path / f"{name}.wav", noise(5, seed)) for name, seed in (("a", 1), ("b", 2), ("again", 1))]
    material = data.prepare([*paths, paths[1]], CONFIG, TRAINING)
    assert material.seconds == pytest.approx(10.0, abs=0.01)
    assert material.left_out == (
        "again.wav: the same sound as a.wav: learned once",
        "b.wav: the same sound as b.wav: learned once",
    )


def test_channels_that_cancel_are_not_called_silent(tmp_path):
    path = written(tmp_path / "anti.wav", np.stack([noise(3), -noise(3)], axis=1))
    with pytest.raises(ValueError, match=r"anti\.wav: its channels cancel each other when mixed to mono: turn one"):
        data.prepare([path], CONFIG, TRAINING)


def test_a_limited_part_has_the_level_of_the_whole(tmp_path):
    """Limited alone, so that no window has a say in it, and yet as loud and as dense as what is heard."""
    audio = noise(20) * np.where(np.arange(20 * RATE) % 2000 < 20, 8, 1).astype(np.float32)
    path = written(tmp_path / "peaks.wav", audio / np.abs(audio).max(), subtype="FLOAT")
    free, held = (data.prepare([path], CONFIG, replace(TRAINING, limit=level)) for level in (0.0, -20.0))
    loud = [np.sqrt(np.mean(np.square(np.concatenate([part.audio for part in m.parts])))) for m in (free, held)]
    assert loud[1] > 2 * loud[0]
    whole = float(np.sqrt(np.mean(np.square(held.line))))
    assert loud[1] == pytest.approx(whole, rel=0.15)
    assert max(float(np.abs(part.audio).max()) for part in held.parts if part.speed == 1.0) == pytest.approx(
        sounds.PEAK
    )


@pytest.mark.parametrize("shares", [{}, {"valid": 0.1, "test": 0.1}, {"limit": -20.0}], ids=str)
def test_no_copy_holds_a_trace_of_a_held_out_window(tmp_path, shares):
    """Everything held out is turned round in time: the training material stays the same to the bit."""
    audio = noise(20)
    training = replace(TRAINING, **shares)
    before = data.prepare([written(tmp_path / "a.wav", audio, subtype="FLOAT")], CONFIG, training)
    assert bool(before.tests) == ("test" in shares)
    for window in (*before.windows, *before.tests):
        audio[window.start : window.stop] = audio[window.start : window.stop][::-1].copy()
    after = data.prepare([written(tmp_path / "a.wav", audio, subtype="FLOAT")], CONFIG, training)
    assert len(before.parts) == len(after.parts) > 8
    for a, b in zip(before.parts, after.parts, strict=True):
        np.testing.assert_array_equal(a.audio, b.audio)
    for a, b in zip(before.windows, after.windows, strict=True):
        assert not np.array_equal(a.audio, b.audio)
    assert before.fingerprint() != after.fingerprint()


def test_windows_are_spread_over_source_time_and_kept_clear(tmp_path):
    paths = [written(tmp_path / f"{k}.wav", noise(s, k)) for k, s in enumerate((9, 5, 16))]
    material = data.prepare(paths, CONFIG, TRAINING)
    total = 30 * RATE
    assert len(material.windows) == 8
    for k, window in enumerate(material.windows):
        assert abs(window.start - k * total / 8) < total / 8
        assert window.stop - window.start == pytest.approx(0.5 * RATE, abs=CONFIG.hop)
        assert not any(window.start < edge * RATE < window.stop for edge in (9, 14))
        for part in material.parts:
            assert part.stop <= window.start - CONFIG.lookback or part.start >= window.stop + CONFIG.lookback
    assert {part.speed for part in material.parts} == {0.9, 1.0}
    context = len(material.windows[3].audio) - len(material.windows[3].active)
    assert context >= 0.25 * RATE


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds") / "a.wav"
    return data.prepare([written(path, noise(12), subtype="FLOAT")], CONFIG, TRAINING)


VARIED = {"varispeed": 2.0, "invert": 0.5, "layer": 0.5}


@pytest.mark.parametrize("varied", [{}, VARIED], ids=["plain", "varied"])
def test_a_batch_is_a_function_of_seed_and_step(material, varied):
    dithered = replace(TRAINING, dither=1.0, **varied)
    ahead = data.Streams(material, CONFIG, dithered)
    for step in range(40):
        ahead.batch(step)
    for step in (39, 7, 0):
        want, fresh = ahead.batch(step)
        got, fresh_again = data.Streams(material, CONFIG, dithered).batch(step)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(fresh_again, fresh)
    other = data.Streams(material, CONFIG, replace(dithered, seed=1)).batch(7)[0]
    assert not np.array_equal(other, data.Streams(material, CONFIG, dithered).batch(7)[0])


@pytest.mark.parametrize("dither", [0.0, 1.0])
def test_a_stream_goes_on_where_it_was_until_it_starts_afresh(material, dither):
    streams = data.Streams(material, CONFIG, replace(TRAINING, dither=dither))
    before, fresh = streams.batch(0)
    assert fresh.all()
    starts = np.zeros(TRAINING.batch, dtype=int)
    for step in range(1, 120):
        now, fresh = streams.batch(step)
        goes_on = (now[:, : CONFIG.lookback] == before[:, -CONFIG.lookback :]).all(axis=1)
        np.testing.assert_array_equal(goes_on, ~fresh)
        assert not fresh.all(), "resets are staggered"
        starts += fresh
        before = now
    assert (starts > 0).all()


def test_an_excerpt_never_leaves_its_part(material):
    streams = data.Streams(material, CONFIG, TRAINING)
    seen = set()
    for step in range(600):
        batch, _ = streams.batch(step)
        for stream, row in enumerate(batch):
            excerpt, within = streams.locate(stream, step)
            at = excerpt.start + within * TRAINING.seq_len + 1
            audio = material.parts[excerpt.part].audio
            assert at + len(row) <= len(audio)
            np.testing.assert_array_equal(row, quantize(audio[at : at + len(row)], CONFIG))
            seen.add(excerpt.part)
    assert len(seen) == len(material.parts)


def test_preemphasis_sees_the_sample_before(material):
    config = replace(CONFIG, q_type="mu-law", preemphasis=0.85)
    streams = data.Streams(material, config, TRAINING)
    batch, _ = streams.batch(3)
    excerpt, within = streams.locate(2, 3)
    at = excerpt.start + within * TRAINING.seq_len
    whole = quantize(material.parts[excerpt.part].audio, config)
    np.testing.assert_array_equal(batch[2], whole[at + 1 : at + 1 + batch.shape[1]])


@pytest.mark.parametrize("name", VARIED)
def test_a_varied_stream_goes_on_where_it_was(material, name):
    streams = data.Streams(material, CONFIG, replace(TRAINING, **{name: VARIED[name]}))
    before, _ = streams.batch(0)
    for step in range(1, 60):
        now, fresh = streams.batch(step)
        goes_on = (now[:, : CONFIG.lookback] == before[:, -CONFIG.lookback :]).all(axis=1)
        np.testing.assert_array_equal(goes_on, ~fresh)
        before = now


def drawn(streams, steps=200):
    """Every excerpt that the first steps read."""
    seen = [streams.locate(stream, step)[0] for step in range(steps) for stream in range(TRAINING.batch)]
    return {id(excerpt): excerpt for excerpt in seen}.values()


def test_what_a_setting_asks_for_is_drawn(material):
    plain = drawn(data.Streams(material, CONFIG, TRAINING))
    assert all(excerpt.plain for excerpt in plain)
    turned = drawn(data.Streams(material, CONFIG, replace(TRAINING, invert=0.5)))
    assert {excerpt.gain for excerpt in turned} == {1.0, -1.0}
    sped = drawn(data.Streams(material, CONFIG, replace(TRAINING, varispeed=2.0)))
    speeds = np.array([excerpt.speed for excerpt in sped])
    assert len(set(speeds)) > len(speeds) / 2
    assert 2 ** (-2 / 12) <= speeds.min() < 0.95 < 1.05 < speeds.max() <= 2 ** (2 / 12)
    layered = drawn(data.Streams(material, CONFIG, replace(TRAINING, layer=0.5)))
    below = [excerpt.under for excerpt in layered if excerpt.under]
    assert 0.2 < len(below) / len(layered) < 0.8
    assert all(10 ** (-12 / 20) <= under.gain <= 1.0 for under in below)


def test_varied_sound_is_what_it_says(tmp_path):
    """A tone a semitone up, and turned round; two that are laid together stay inside full scale."""
    t = np.arange(12 * RATE) / RATE
    path = written(tmp_path / "tone.wav", 0.9 * np.sin(2 * np.pi * 200 * t), subtype="FLOAT")
    streams = data.Streams(data.prepare([path], CONFIG, TRAINING), CONFIG, TRAINING)
    up = data.Excerpt(0, 100, 0, 20, speed=2 ** (1 / 12), gain=-1.0)
    sound = streams._vary(up)
    assert len(sound) == 1 + CONFIG.lookback + 20 * TRAINING.seq_len
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 16))
    assert spectrum.argmax() * RATE / (1 << 16) == pytest.approx(200 * 2 ** (1 / 12), rel=0.005)
    plain = streams._parts[0].audio[100 : 100 + len(sound)]
    np.testing.assert_array_equal(streams._vary(replace(up, speed=1.0)), -plain)
    layered = streams._vary(data.Excerpt(0, 100, 0, 20, under=data.Excerpt(0, 100, 0, 10)))
    assert np.abs(layered).max() <= 1.0
    half = 1 + CONFIG.lookback + 10 * TRAINING.seq_len
    wanted = 2 * plain[:half] / plain.max()
    np.testing.assert_allclose(layered[:half] / layered[half : 2 * half - 1].max(), wanted, atol=0.05)


def test_a_limiter_lets_what_is_soft_come_up(tmp_path):
    rng = np.random.default_rng(0)
    sound = 0.05 * rng.normal(size=6 * RATE)
    sound[:: RATE // 2] = 1.0
    path = written(tmp_path / "peaks.wav", sound, subtype="FLOAT")
    level = {}
    for limit in (0.0, -20.0):
        parts = data.prepare([path], CONFIG, replace(TRAINING, limit=limit)).parts
        level[limit] = np.median(np.abs(np.concatenate([part.audio for part in parts])))
    assert level[-20.0] > 2 * level[0.0]
