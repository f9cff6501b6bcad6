"""Clips of a run: the same whoever makes them, with their seed and settings inside, and none made twice."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import network

import engine
from engine.checkpoint import load, save
from engine.listening import clips
from engine.listening.clips import Wanted
from instrument import cli

WANTED = Wanted(2, 0.5, (0.9, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two epochs, under a name that is not ASCII."""
    run = tmp_path / "läufe"
    run.mkdir()
    for epoch in (1, 2):
        save(network("gru", epoch), run / f"epoch-{epoch:03d}.safetensors")
    return run


def test_a_clip_is_what_its_seed_says_and_says_it_itself(folder):
    made = clips.make(folder, 2, WANTED)
    assert [path.name for path in made] == [
        "epoch-002-t0.900-s0001.flac", "epoch-002-t0.900-s0002.flac",
        "epoch-002-t1.000-s0001.flac", "epoch-002-t1.000-s0002.flac",
    ]  # fmt: skip
    checkpoint = load(folder / "epoch-002.safetensors")
    rate = checkpoint.config.sample_rate
    alone = engine.make_generator(checkpoint, seed=[2]).generate(rate // 2, 0.9)[0]
    heard, its_rate = soundfile.read(made[1])
    assert (its_rate, len(heard)) == (rate, rate // 2)
    assert np.abs(heard - engine.dequantize(alone, checkpoint.config)).max() <= 2**-15
    tag = clips.tag_of(made[1])
    assert 0 < tag.pop("entropy_bits") < np.log2(checkpoint.config.q_levels)
    assert tag == {
        "epoch": 2, "step": checkpoint.training.get("steps"), "temperature": 0.9, "seed": 2, "seconds": 0.5,
        "backend": "cpu", "precision": "int8", "checkpoint": checkpoint.sha256, "sample_rate": rate,
    }  # fmt: skip


def test_the_entropy_is_that_of_the_distributions_that_were_drawn_from(folder):
    checkpoint = load(folder / "epoch-001.safetensors")
    generator = engine.make_generator(checkpoint, precision="fp32", voices=2, seed=3)
    n = 600  # one chunk of this rate: the probe is its beginning
    tokens, bits = clips.generated(generator, n, np.array([[0.8], [1.3]]))
    context = np.full((2, checkpoint.config.lookback), checkpoint.config.q_zero)
    known = np.concatenate([context, tokens], axis=1)[:, : checkpoint.config.lookback + clips.PROBE]
    log_p = engine.score(checkpoint, known) / np.array([0.8, 1.3])[:, None, None]
    p = np.exp(log_p) / np.exp(log_p).sum(-1, keepdims=True)
    wanted = -(p * np.log2(p)).sum(-1).mean(-1)
    np.testing.assert_allclose(bits, wanted, atol=1e-3)


def test_what_is_there_is_not_made_again_unless_it_is_of_another_network_or_length(folder):
    first = clips.make(folder, 1, Wanted(1, 0.5, (1.0,)))
    assert len(clips.make(folder, 1, WANTED)) == 3
    assert clips.make(folder, 1, WANTED) == []
    assert clips.make(folder, 1, Wanted(1, 0.25, (1.0,))) == first
    save(network("gru", 5), folder / "epoch-001.safetensors")
    assert len(clips.make(folder, 1, WANTED)) == 4
    first[0].write_bytes(b"torn")
    assert clips.make(folder, 1, WANTED) == first


def test_more_clips_than_voices(folder, monkeypatch):
    monkeypatch.setattr(clips, "VOICES", 3)
    many = clips.make(folder, 1, Wanted(4, 0.25, (1.0,)))
    kept = [path.read_bytes() for path in many]
    monkeypatch.setattr(clips, "VOICES", 64)
    for path in many:
        path.unlink()
    assert clips.make(folder, 1, Wanted(4, 0.25, (1.0,))) == many
    assert [path.read_bytes() for path in many] == kept


def test_a_runs_settings_say_what_is_wanted(folder):
    assert clips.wanted_of(folder) == Wanted(4, 4.0, (0.9, 0.95, 1.0))
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"values": {"clips": 3, "clip_temperatures": [0.5]}}))
    assert clips.wanted_of(folder) == Wanted(3, 4.0, (0.5,))
    settings.write_text(json.dumps({"values": {"dim": 3}}))
    assert clips.wanted_of(folder) == Wanted(4, 4.0, (0.9, 0.95, 1.0))
    for text in ("{", "[]", '{"values": 3}', '{"values": {"clips": "many"}}'):
        settings.write_text(text)
        with pytest.raises(ValueError, match=r"settings\.json: not the settings of a run"):
            clips.wanted_of(folder)


def test_clips_that_cannot_be_made_are_one_line(folder, monkeypatch):
    with pytest.raises(ValueError, match="no epoch 7: it has 1 to 2"):
        clips.make(folder, 7, WANTED)
    with pytest.raises(ValueError, match=r"no run: it holds no epoch-NNN\.safetensors"):
        clips.make(folder / "clips", 1, WANTED)
    unfit = ((), (3.0,), (0.9001, 0.9004))
    for wrong in ({"clips": -1}, {"seconds": 0.0}, *({"temperatures": each} for each in unfit)):
        with pytest.raises(ValueError, match="expected"):
            Wanted(**{"clips": 1, "seconds": 1.0, "temperatures": (1.0,), **wrong})

    written = []

    def full(path, blob):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(blob)

    monkeypatch.setattr(clips, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        clips.make(folder, 1, WANTED)
    monkeypatch.undo()
    assert len(clips.make(folder, 1, WANTED)) == 3  # the one that was written stays


def test_the_command_makes_what_is_missing(folder, capfd):
    line = ["clips", str(folder), "--epoch", "2", "--temperature", "0.9", "1", "--seconds", "0.25", "--clips", "2"]
    assert cli.main([*line, "--seed", "5"]) == 0
    assert [clip.seed for clip in clips.clips_of(folder)] == [5, 6, 5, 6]
    assert cli.main([*line, "--temperature", "3"]) == 1
    assert capfd.readouterr().err == "samplernn: clip_temperatures: (3.0,): one or more from 0 to 2 expected\n"
    assert cli.main([*line, "--temperature", "0.9001", "0.9004"]) == 1
    words = "clip_temperatures: 0.9001: at most three decimals expected: clips are named by them"
    assert capfd.readouterr().err == f"samplernn: {words}\n"


def test_a_clip_of_another_temperature_is_not_taken_for_the_one_of_its_name(folder):
    """As older versions made them, who took 0.9001 for 0.9."""
    [path] = clips.make(folder, 1, Wanted(1, 0.25, (0.9,)))
    audio, rate = soundfile.read(path)
    clips.write_clip(path, audio, rate, {**clips.tag_of(path), "temperature": 0.9001})
    assert clips.make(folder, 1, Wanted(1, 0.25, (0.9,))) == [path]
    assert clips.tag_of(path)["temperature"] == 0.9
