"""What the arithmetic promises: temperature, tiles of every instruction set, kernels that cannot fail, playing data."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import network

import engine
from engine import playing
from engine.checkpoint import check_playing, load, save
from engine.playing import loudness, with_loudness, with_ranges


def test_zero_temperature_is_argmax():
    checkpoint = network("gru")
    generator = engine.make_generator(checkpoint, "cpu", "fp32")
    tokens = np.concatenate([np.full((1, 8), 16), generator.generate(120, 0.0)], axis=1)
    expected = engine.score(checkpoint, tokens, "cpu", "fp32")[0].argmax(axis=-1)
    np.testing.assert_array_equal(tokens[0, 8:], expected)


def test_entropy_rises_with_temperature():
    """Of the distributions drawn from, over several seeds."""
    checkpoint = network("mu-law")
    logits = engine.score(checkpoint, np.full((1, 400), 128), "cpu", "fp32")[0]
    drawn = []
    for temperature in (0.3, 0.6, 0.9, 1.2, 1.6):
        generator = engine.make_generator(checkpoint, "cpu", voices=8, seed=11)
        counts = np.bincount(generator.generate(1500, temperature).ravel(), minlength=256) / 12000
        drawn.append(-np.sum(counts * np.log(counts + 1e-12)))
    assert drawn == sorted(drawn)
    assert drawn[-1] - drawn[0] > 0.5
    assert np.isfinite(logits).all()


def test_an_extreme_temperature_is_harmless():
    generator = engine.make_generator(network("gru"))
    greedy = engine.make_generator(network("gru"))
    np.testing.assert_array_equal(generator.generate(50, 1e-30), greedy.generate(50, 0.0))
    tokens = engine.make_generator(network("gru")).generate(2000, 1e30)
    assert len(np.unique(tokens)) == 32


def test_a_network_that_overflows_is_reported_and_stays_silent():
    checkpoint = network("gru")
    bias = checkpoint.tensors["mlp.output.bias"].copy()
    bias[3] = 3.4e38
    weight = checkpoint.tensors["mlp.output.weight_g"] * np.float32(1e37)
    broken = replace(checkpoint, tensors={**checkpoint.tensors, "mlp.output.bias": bias, "mlp.output.weight_g": weight})
    generator = engine.make_generator(broken, "cpu", "fp32", voices=2)
    assert (generator.generate(20) == checkpoint.config.q_zero).all()


def test_ranges_and_loudness():
    bare = replace(network("lstm-skip"), playing={})
    checkpoint = with_loudness(with_ranges(bare), seconds=0.5)
    ranges = checkpoint.playing["ranges"]
    assert set(ranges) == {"mlp.1", "mlp.2", *(f"tier.{i}.{x}" for i in (0, 1) for x in ("input", "output"))}
    assert all(value > 0.01 for value in ranges.values())
    assert -60 < checkpoint.playing["loudness"] < 0
    assert engine.make_generator(bare).generate(10).shape == (1, 10)  # measured on the way


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A checkpoint in a file that knows no ranges, a cache of its own, and how often ranges are measured."""
    monkeypatch.setenv("SAMPLERNN_CACHE", str(tmp_path / "cache"))
    counted = []
    measure = playing.measured_ranges
    monkeypatch.setattr(playing, "measured_ranges", lambda c: counted.append(c.name) or measure(c))
    save(replace(network("gru"), playing={"loudness": -20.0}), tmp_path / "bare.safetensors")
    return load(tmp_path / "bare.safetensors"), counted


def test_ranges_are_measured_once_for_a_file(bare, tmp_path):
    checkpoint, counted = bare
    first = with_ranges(checkpoint)
    assert with_ranges(checkpoint).playing == first.playing == {"loudness": -20.0, **first.playing}
    assert counted == ["bare"]
    (kept,) = (tmp_path / "cache" / "ranges").iterdir()
    for damage in (b"", b"[1]", b'{"mlp.1": -1}', b'{"mlp.1": 1e99, "mlp.2": 1}', b"[" * 100_000):
        kept.write_bytes(damage)
        assert with_ranges(checkpoint).playing == first.playing
    assert len(counted) == 6


def test_ranges_that_cannot_be_kept_are_measured_again(bare, tmp_path):
    checkpoint, counted = bare
    (tmp_path / "cache").write_text("a file in the way")
    assert with_ranges(checkpoint).playing == with_ranges(checkpoint).playing
    assert len(counted) == 2


def test_ranges_of_a_network_that_overflows_can_be_saved():
    g = network("gru").tensors["mlp.input.weight_g"] * np.float32(1e20)
    wild = replace(network("gru"), tensors={**network("gru").tensors, "mlp.input.weight_g": g}, playing={})
    check_playing(with_ranges(wild).playing, wild.range_names)


def test_loudness_of_a_sine():
    t = np.arange(48000 * 2) / 48000
    sine = 0.5 * np.sin(2 * np.pi * 440 * t)
    assert loudness(sine[None], 48000) == pytest.approx(-9.03, abs=0.05)
    gaps = np.concatenate([sine, np.zeros(96000)])
    assert loudness(gaps[None], 48000) == pytest.approx(-9.03, abs=0.05)
    assert loudness(np.zeros((1, 48000)), 48000) == -70.0


@pytest.mark.parametrize("values", ["many", None, {}, {"mlp.1": -1, "mlp.2": 1}, {"mlp.1": "x", "mlp.2": 1}])
def test_hostile_ranges(values):
    with pytest.raises(ValueError, match=r"playing\.ranges"):
        engine.make_generator(replace(network("gru"), playing={"ranges": values}))


def test_kernels_cannot_raise_or_allocate():
    from engine.cpu import hop, products
    from engine.cpu.building import address_of
    from engine.cpu.kernels import OPTIONS, njit

    for function in (products.multiply, hop.generate, hop.prime, hop.reset, hop.blend):
        again = njit(**{**OPTIONS, "cache": False})(function.py_func)  # cached code cannot be looked at
        address_of(again)
        (whole,) = again.inspect_llvm().values()
        parts = [body.partition("\n}")[0] for body in whole.split("\ndefine ")[1:]]
        bodies = [part for part in parts if "@_ZN7cpython" not in part and "@cfunc." not in part]
        assert bodies
        for word in ("NRT_", "PyErr", "PyObject", "numba_do_raise", "numba_unpickle", "malloc", "numba_gil"):
            assert not any(word in body for body in bodies), (function.__name__, word)


CHILD = """
import sys
sys.path.insert(0, "tests")
import engine
from networks import network
for name in ("gru-skip", "gru-pruned"):
    print(engine.make_generator(network(name), voices=2, seed=3).generate(100, 0.9).tobytes().hex())
"""


def test_plain_tiles_draw_the_same_tokens():
    """The variant without vector instructions, in a child process of its own."""
    names = ("gru-skip", "gru-pruned")
    here = [engine.make_generator(network(name), voices=2, seed=3).generate(100, 0.9) for name in names]
    top = Path(__file__).parent.parent
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "SAMPLERNN_KERNEL": "plain"},
        cwd=top,
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.split() == [tokens.tobytes().hex() for tokens in here]


def test_a_wrong_variant_is_refused():
    child = subprocess.run(
        [sys.executable, "-c", "from engine.cpu import tiles"],
        env={**os.environ, "SAMPLERNN_KERNEL": "mmx"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert "SAMPLERNN_KERNEL: 'mmx': this machine runs" in child.stderr


@pytest.fixture
def copied(tmp_path):
    """A copy of the cache's sources, and three files of which one is a kernel that calls another."""
    for package in ("engine", "engine/cpu"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    here = Path(__file__).parent.parent
    for name in ("kernel_cache.py", "kernel_locator.py"):
        shutil.copy(here / "engine" / name, tmp_path / "engine")
    (tmp_path / "engine/cpu/callee.py").write_text("from numba import njit\n\n@njit\ndef f():\n    return 1\n")
    (tmp_path / "engine/cpu/between.py").write_text("from engine.cpu.callee import f  # noqa\n")
    caller = "from engine import kernel_cache\nfrom numba import njit\nfrom engine.cpu.between import f\n"
    caller += "@njit(cache=True)\ndef g():\n    return f()\nprint(g(), sum(g.stats.cache_hits.values()))\n"
    (tmp_path / "engine/cpu/caller.py").write_text(caller)
    return tmp_path


def test_an_edited_callee_makes_its_callers_stale(copied):
    """Unchanged is served from the cache, an edit two files away is not."""
    assert [cached_run(copied), cached_run(copied)] == ["1 0", "1 1"]
    text = (copied / "engine/cpu/callee.py").read_text().replace("1", "2")
    (copied / "engine/cpu/callee.py").write_text(text)
    assert cached_run(copied) == "2 0"


def test_kernels_in_use_never_grow_old(copied):
    """Only versions that nobody has used for long are forgotten, however long ago they were compiled."""
    assert cached_run(copied) == "1 0"
    (folder,) = copied.glob("cache/kernels/*/*/caller-*")
    other = folder.with_name("caller-000000000000")
    other.mkdir()
    for old in (folder, other):
        os.utime(old, (1e9, 1e9))
    assert cached_run(copied) == "1 1"
    assert folder.stat().st_mtime > 1.1e9
    assert not other.exists()


def test_a_folder_that_another_process_removes_is_no_obstacle(tmp_path):
    """A link to nowhere is listed, and has no time, as a folder that went in between."""
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "gone").symlink_to(tmp_path / "nowhere")
    child = subprocess.run(
        [sys.executable, "-c", "from engine import kernel_cache; print(kernel_cache.FOLDER)"],
        env={**os.environ, "SAMPLERNN_CACHE": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(child.stdout.strip()).parent == kernels


FULL = """
import shutil
usage = shutil.disk_usage
def full(path):
    return usage(path)._replace(free=0) if "cache" in str(path) else usage(path)
shutil.disk_usage = full
import engine.cpu.caller
"""


def test_a_full_disk_costs_no_kernel_that_is_there(copied):
    """What was compiled before is used; what is not there yet is compiled, and not kept."""
    assert cached_run(copied, "-c", FULL) == "1 0"
    assert not list(copied.glob("cache/**/*.nbc"))
    assert cached_run(copied) == "1 0"
    assert cached_run(copied, "-c", FULL) == "1 1"


def cached_run(top, *program):
    child = subprocess.run(
        [sys.executable, *(program or ("-m", "engine.cpu.caller"))],
        env={**os.environ, "SAMPLERNN_CACHE": str(top / "cache"), "PYTHONPATH": str(top)},
        cwd=top,
        capture_output=True,
        text=True,
    )
    return child.stdout.strip() or child.stderr


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path):
    (tmp_path / "file").touch()
    child = subprocess.run(
        [sys.executable, "-c", "from engine import kernel_cache; print(kernel_cache.FOLDER)"],
        env={**os.environ, "SAMPLERNN_CACHE": str(tmp_path / "file")},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "samplernn-kernels-" in child.stdout
    assert not Path(child.stdout.strip()).exists()


def test_a_pruned_network_whose_file_lacks_what_its_fold_needs_is_measured():
    checkpoint = network("gru-pruned")
    older = replace(checkpoint, playing={"ranges": {"mlp.1": 6.0, "mlp.2": 6.0}})
    assert checkpoint.ranges_known
    assert not older.ranges_known
    assert engine.make_generator(older).generate(20).shape == (1, 20)
