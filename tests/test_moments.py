"""Moments: taken where something begins, kept in the checkpoint, jumped to at their sample, and heard."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from networks import network

import engine
from engine import moments
from engine.checkpoint import load, save
from engine.generator import make_generator
from engine.moments import Moments
from engine.training.recipes import Training
from engine.training.sounds import laid_out
from instrument import cli

RATE = 44100


def bursts(count=20, gap=0.5, rate=RATE):
    """Noises that begin at gap, 2 gap ... seconds and die away."""
    rng, out = np.random.default_rng(3), np.zeros(round((count + 1) * gap * rate))
    for k in range(1, count + 1):
        at, n = round(k * gap * rate), round(0.15 * rate)
        out[at : at + n] = 0.5 * rng.normal(size=n) * np.exp(-np.arange(n) / (0.04 * rate))
    return np.clip(out, -1, 1)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_onsets_are_found_where_they_are(rate):
    found = sorted(moments.onsets(bursts(rate=rate), rate))
    assert len(found) == 20
    late = np.array(found) / rate - 0.5 * np.arange(1, 21)
    assert np.abs(late).max() < moments.EARLY_SECONDS


def test_places_are_onsets_first_and_then_anywhere():
    config = network("gru").config
    config = replace(config, sample_rate=RATE)
    places = np.array(moments.choose(bursts(), config, 24)) / RATE
    assert len(places) == 24
    assert np.diff(places).min() >= moments.APART_SECONDS / 4 - 1e-4
    near = [np.abs(places - 0.5 * k).min() < 0.03 for k in range(1, 20)]
    assert all(near)
    with pytest.raises(ValueError, match=r"at least 16\.6 s expected for 64 moments"):
        moments.choose(bursts(), config, 64)
    with pytest.raises(ValueError, match="16 to 64 moments"):
        moments.choose(bursts(), config, 8)


@pytest.fixture(scope="module", params=["gru", "lstm"])
def taken(request):
    checkpoint = network(request.param)
    rate = checkpoint.config.sample_rate
    return checkpoint, moments.take(checkpoint, bursts(rate=rate), 16)


def test_a_file_keeps_them(taken, tmp_path):
    checkpoint, found = taken
    save(moments.with_moments(checkpoint, found), tmp_path / "x.safetensors")
    again = moments.of(load(tmp_path / "x.safetensors"))
    for name in ("times", "hidden", "tokens", "levels", "attack"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert moments.of(checkpoint) is None
    assert load(tmp_path / "x.safetensors").tensors.keys() == checkpoint.tensors.keys()


HOSTILE = {
    "times: 1 to 64": {"times": np.zeros((2, 2), np.float32)},
    "times: 1 to 64 of": {"times": np.zeros(65, np.float32)},
    "hidden: float16 of shape": {"hidden": np.zeros((16, 1), np.float16)},
    "tokens: levels": {"tokens": np.full((16, 16), 1 << 20, np.int32)},
    "levels: finite": {"levels": np.full(16, np.nan, np.float32)},
    "levels: amplitudes": {"levels": np.full(16, 3.0, np.float32)},
    "attack: uint8 of shape": {"attack": np.zeros((16, 4), np.int32)},
    "attack: levels": {"attack": np.full((16, 4), 255, np.uint8)},
    "strange: not part": {"strange": np.zeros(1, np.float32)},
}


def test_a_moment_holds_the_attack_that_follows_it(taken):
    checkpoint, found = taken
    config = checkpoint.config
    tokens = engine.quantize(bursts(rate=config.sample_rate), config)
    length = round(moments.ATTACK_SECONDS * config.sample_rate)
    assert found.attack.shape == (16, length)
    for time, attack, before in zip(found.times, found.attack, found.tokens, strict=True):
        at = round(float(time) * config.sample_rate)
        np.testing.assert_array_equal(attack, tokens[at : at + length])
        np.testing.assert_array_equal(before, tokens[at - config.lookback : at])


def test_a_file_of_before_attacks_has_none(taken, tmp_path):
    checkpoint, found = taken
    tensors = {name: value for name, value in found.to_tensors().items() if name != "moments.attack"}
    save(replace(checkpoint, moments=tensors), tmp_path / "x.safetensors")
    assert moments.of(load(tmp_path / "x.safetensors")).attack.shape == (16, 0)


@pytest.mark.parametrize("words", HOSTILE)
def test_a_file_with_others_is_refused(words, tmp_path):
    checkpoint = network("gru")
    found = moments.take(checkpoint, bursts(rate=checkpoint.config.sample_rate), 16)
    change = dict(HOSTILE[words])
    if "tokens" in change:
        change["tokens"] = np.full_like(found.tokens, 1 << 20)
    tensors = {**found.to_tensors(), **{f"moments.{name}": value for name, value in change.items()}}
    save(replace(checkpoint, moments=tensors), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=f"x.safetensors: tensor moments.{words}"):
        load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_jump_is_the_state_that_was_there(taken, precision):
    """Both backends: what is played after a jump is what is played after the sound itself."""
    checkpoint, _ = taken
    config = checkpoint.config
    sound = engine.quantize(bursts(4, rate=config.sample_rate), config)[: 40 * config.hop]
    played = {}
    for backend in ("cpu", "reference"):
        generator = make_generator(checkpoint, backend, precision, voices=2, seed=5)
        generator.prime(sound)
        hidden = generator.hidden(1)
        straight = generator.generate(100)
        generator.reset()
        generator.seed(5)
        generator.jump(1, hidden, sound[-config.lookback :])
        jumped = generator.generate(100)
        np.testing.assert_array_equal(jumped[1], straight[1])
        assert not np.array_equal(jumped[0], straight[0])
        played[backend] = jumped
    np.testing.assert_array_equal(played["cpu"], played["reference"])


def test_jumps_that_cannot_be():
    generator = make_generator(network("gru"), voices=2)
    hidden, tokens = generator.hidden(0), np.full(generator.config.lookback, 3)
    for voice, mind, behind, words in (
        (2, hidden, tokens, "voice"),
        (0, hidden[0], tokens, "hidden: shape"),
        (0, hidden * np.nan, tokens, "hidden"),
        (0, hidden, tokens[1:], "tokens: shape"),
        (0, hidden, tokens + 1000, "indices"),
    ):
        with pytest.raises(ValueError, match=words):
            generator.jump(voice, mind, behind)
    assert isinstance(moments.take(network("gru"), bursts(rate=generator.config.sample_rate), 16), Moments)


@pytest.mark.parametrize("heard", [{"limit": -20.0}, {"gap": 0.2, "gap_level": -30.0}, {}])
def test_moments_are_of_the_sound_as_its_training_heard_it(heard, tmp_path, monkeypatch):
    """Limited and cut as then; the sound as it is for a network that says nothing of its training."""
    checkpoint, sound = network("gru"), tmp_path / "bursts.wav"
    soundfile.write(sound, bursts(rate=RATE), RATE)
    save(replace(checkpoint, training={"settings": heard}), tmp_path / "x.safetensors")
    take, taken_of = moments.take, []
    monkeypatch.setattr(moments, "take", lambda *given: taken_of.append(given[1]) or take(*given))
    assert cli.main(["moments", str(tmp_path / "x.safetensors"), str(sound), "--count", "16"]) == 0
    wanted = laid_out([sound], checkpoint.config, Training(**{"gap": 0.0, **heard}))
    np.testing.assert_array_equal(taken_of[0], np.concatenate(wanted))


def test_what_bore_the_name_is_renamed_but_the_checkpoint_itself_is_added_to(tmp_path, capfd):
    path, other, sound = tmp_path / "x.safetensors", tmp_path / "y.safetensors", tmp_path / "bursts.wav"
    soundfile.write(sound, bursts(rate=RATE), RATE)
    save(network("gru"), path)
    save(network("gru", 1), other)
    before = other.read_bytes()
    line = ["moments", str(path), str(sound), "--count", "16"]
    assert cli.main([*line, "-o", str(other)]) == 0
    kept = tmp_path / "y.old.safetensors"
    assert kept.read_bytes() == before
    assert f"{other} was there already: it is {kept} now\n" in capfd.readouterr().out
    assert len(moments.of(load(other))) == 16
    assert cli.main(line) == 0
    assert len(moments.of(load(path))) == 16
    assert sorted(tmp_path.glob("*.safetensors")) == sorted([path, kept, other])
