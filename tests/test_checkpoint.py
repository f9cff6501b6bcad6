"""Checkpoints: written, read back, and refused in one line when anything is wrong with them."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.checkpoint import Checkpoint, load, save, tensor_shapes
from engine.config import ModelConfig
from instrument import report


def make(config: ModelConfig, seed: int = 0) -> Checkpoint:
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(size=shape).astype(np.float32) * 0.1 for name, shape in tensor_shapes(config).items()}
    return Checkpoint(config, tensors, training={"epoch": 3}, source={"title": "test"})


SMALL = ModelConfig(dim=8, emb_size=4, frame_sizes=(2, 4), q_levels=16, rnn="lstm", skip=True, n_rnn=2)


def test_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    save(make(SMALL), path)
    back = load(path)
    assert back.config == SMALL
    assert back.name == "a"
    assert len(back.sha256) == 64
    assert back.training == {"epoch": 3}
    for name, value in make(SMALL).tensors.items():
        np.testing.assert_array_equal(back.tensors[name], value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_baking_keeps_the_network(tmp_path):
    full = make(SMALL)
    small = full.baked()
    save(small, tmp_path / "b.safetensors")
    back = load(tmp_path / "b.safetensors")
    for name in ("tier.0.up", "mlp.input", "tier.1.rnn.1.hh"):
        np.testing.assert_allclose(back.weight(name), full.weight(name), atol=1e-3)
    g = full.tensors["mlp.input.weight_g"]
    norms = np.sqrt((full.weight("mlp.input") ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(norms, np.abs(g[:, 0, 0]), rtol=1e-6)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "in-the-way").mkdir()
    with pytest.raises(OSError, match="directory"):
        save(make(SMALL), tmp_path / "in-the-way")
    assert [path.name for path in tmp_path.iterdir()] == ["in-the-way"]
    with pytest.raises(ValueError, match="in-the-way: "):
        report.write(tmp_path / "in-the-way", {"seconds": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["in-the-way"]


def broken(path, change):
    head = {"format": 1, "model": SMALL.to_json()}
    tensors = dict(make(SMALL).tensors)
    change(head, tensors)
    save_file(tensors, path, metadata={"samplernn": json.dumps(head)})


FAULTS = {
    "format": (lambda h, t: h.update(format=99), "format: 99"),
    "field": (lambda h, t: h["model"].update(dim=-4), "model.dim: -4"),
    "huge": (lambda h, t: h["model"].update(dim=10**9), "model.dim"),
    "unknown": (lambda h, t: h["model"].update(colour="red"), "model.colour"),
    "tiers": (lambda h, t: h["model"].update(frame_sizes=[8, 12]), "frame_sizes"),
    "missing": (lambda h, t: t.pop("embedding"), "embedding is missing"),
    "shape": (lambda h, t: t.update(embedding=np.zeros((2, 2), np.float32)), "embedding: shape"),
    "nan": (lambda h, t: t.update(embedding=np.full((16, 4), np.nan, np.float32)), "embedding: nan in it"),
    "infinite": (lambda h, t: t.update(embedding=np.full((16, 4), -np.inf, np.float16)), "embedding: inf in it"),
    "wild": (lambda h, t: t.update({k: v * np.float32(1e30) for k, v in t.items()}), "numbers within 10000 of 0"),
    "true": (lambda h, t: h.update(format=True), "format: True"),
    "float": (lambda h, t: h.update(format=1.0), "format: 1.0"),
    "no model": (lambda h, t: h.pop("model"), "model: missing"),
    "no rate": (lambda h, t: h["model"].pop("sample_rate"), "model.sample_rate: missing"),
    "no start": (lambda h, t: h["model"].pop("h0"), "model.h0: missing"),
    "dtype": (lambda h, t: t.update(embedding=np.zeros((16, 4), np.int8)), "int8"),
    "extra": (lambda h, t: t.update(spare=np.zeros(1, np.float32)), "spare"),
    "table": (lambda h, t: h.update(model=[1]), "model"),
    "loudness": (lambda h, t: h.update(playing={"loudness": "loud"}), "playing.loudness: 'loud'"),
    "range": (lambda h, t: h.update(playing={"ranges": {"mlp.1": -1.0}}), "playing.ranges.mlp.1: -1.0"),
    "ranges": (lambda h, t: h.update(playing={"ranges": "wide"}), "playing.ranges: 'wide'"),
    "section": (lambda h, t: h.update(playing=3), "playing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_in_one_line(tmp_path, fault):
    change, words = FAULTS[fault]
    path = tmp_path / "bad.safetensors"
    broken(path, change)
    with pytest.raises(ValueError, match=r"bad\.safetensors") as caught:
        load(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packed_tensors_ride_along(tmp_path):
    path = tmp_path / "packed.safetensors"
    broken(path, lambda h, t: t.update({"packed.tier.0.up": np.zeros(3, np.int8)}))
    assert set(load(path).tensors) == set(tensor_shapes(SMALL))


def test_any_part_of_the_model_that_tensors_tell_may_be_left_out(tmp_path):
    path = tmp_path / "short.safetensors"
    told = ModelConfig(dim=8, emb_size=4, frame_sizes=(2, 4), q_levels=16)
    head = {"format": 1, "model": {k: v for k, v in told.to_json().items() if k not in ("rnn", "skip", "n_rnn")}}
    save_file(make(told).tensors, path, metadata={"samplernn": json.dumps(head)})
    assert load(path).config == told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(ValueError, match=rf"{name}\.safetensors: not a file"):
            load(tmp_path / f"{name}.safetensors")
    save(make(SMALL), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").symlink_to(tmp_path / "a.safetensors")
    assert load(tmp_path / "b.safetensors").config == SMALL


def test_a_large_file_that_is_something_else_is_not_read(tmp_path):
    save(make(SMALL), tmp_path / "small.safetensors")
    for start in ((1 << 20).to_bytes(8, "little"), (tmp_path / "small.safetensors").read_bytes()):
        with (tmp_path / "large.safetensors").open("wb") as file:
            file.write(start)
            file.truncate(3 << 30)
        began = time.process_time()
        with pytest.raises(ValueError, match=r"large\.safetensors: not a"):
            load(tmp_path / "large.safetensors")
        assert time.process_time() - began < 0.5


@pytest.mark.parametrize("keep", [0, 3, 8, 100, -1, -5000])
def test_truncated(tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    save(make(SMALL), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        load(path)


def test_not_a_checkpoint(tmp_path):
    for blob in (b"\xff" * 64, b"RIFF" + bytes(60), (8).to_bytes(8, "little") + b"[[[[[[[[", bytes(9)):
        (tmp_path / "x.safetensors").write_bytes(blob)
        with pytest.raises(ValueError, match=r"x\.safetensors"):
            load(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"absent\.safetensors: No such file"):
        load(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="directory"):
        load(tmp_path)


def test_config_rules():
    with pytest.raises(ValueError, match="preemphasis"):
        ModelConfig(preemphasis=0.85)
    assert replace(SMALL, mlp_dim=0).mlp_dim == 8
    assert ModelConfig(frame_sizes=(16,)).slots(0) == 16
    assert ModelConfig.from_json(SMALL.to_json()) == SMALL
