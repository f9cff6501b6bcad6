"""Matrices of few blocks in a checkpoint's file: whole again when read, refused in one line when anything is wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import network
from safetensors.numpy import load_file, save_file

from engine import blocks, sparse
from engine.checkpoint import load, save, tensor_shapes
from instrument.info import describe

PRUNED = "gru-pruned"
NAME = "tier.0.rnn.0.hh.weight_v"  # (216, 72): 14 strips, the last of 8 rows, of 18 groups
HH = f"packed.{NAME}"

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 40)) | st.tuples(*[st.integers(1, 40)] * 3)


@given(shape=SHAPES, left=st.floats(0, 1), seed=st.integers(0, 99), dtype=st.sampled_from([np.float16, np.float32]))
def test_what_is_packed_comes_back(shape, left, seed, dtype):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=shape).astype(dtype)
    mask = rng.random(blocks.there(matrix).shape) < left
    matrix = matrix * mask.repeat(16, -2).repeat(4, -1)[..., : shape[-2], : shape[-1]].astype(dtype)
    stored = sparse.packed({"a.weight": matrix, "a": matrix})
    assert ("a.weight" in stored) == (mask.mean() > blocks.WORTH)
    back = sparse.unpacked(stored, {"a.weight": shape, "a": shape})
    assert back.keys() == {"a.weight", "a"}
    for value in back.values():
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, matrix)


@pytest.mark.parametrize("name", [PRUNED, "lstm-pruned", "skip-pruned"])
@pytest.mark.parametrize("small", [False, True])
def test_a_pruned_checkpoint_comes_back(name, small, tmp_path):
    checkpoint = network(name).baked() if small else network(name)
    save(checkpoint, tmp_path / "a.safetensors")
    stored = load_file(tmp_path / "a.safetensors")
    assert {name.rpartition(".")[0] for name in stored if name.startswith("packed.")}
    whole = sum(value.nbytes for value in checkpoint.tensors.values())
    assert sum(value.nbytes for value in stored.values()) < 0.8 * whole
    back = load(tmp_path / "a.safetensors")
    assert back.tensors.keys() == checkpoint.tensors.keys()
    for tensor, value in checkpoint.tensors.items():
        np.testing.assert_array_equal(back.tensors[tensor], value)
        assert back.tensors[tensor].flags.c_contiguous
    save(back, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_nothing_of_a_whole_network_is_packed(tmp_path):
    save(network("gru"), tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors").keys() == tensor_shapes(network("gru").config).keys()


def test_a_file_of_before_is_read(tmp_path):
    checkpoint = network(PRUNED)
    head = {"format": 1, "model": checkpoint.config.to_json()}
    save_file(checkpoint.tensors, tmp_path / "a.safetensors", metadata={"samplernn": json.dumps(head)})
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors").tensors[NAME], checkpoint.tensors[NAME])
    assert "packed" not in describe(tmp_path / "a.safetensors")


def changed(part, change):
    """A fault that changes one part of the packed matrix."""

    def broken(tensors):
        tensors[f"{HH}.{part}"] = change(tensors[f"{HH}.{part}"].copy())

    return broken


def at(place, value):
    def change(array):
        array[place] = value
        return array

    return change


def last_of_a_strip(tensors):
    """The column group of its last block repeats the one before."""
    end = int(np.flatnonzero(np.diff(tensors[f"{HH}.first"]) >= 2)[0])
    place = int(tensors[f"{HH}.first"][end + 1]) - 1
    tensors[f"{HH}.columns"][place] = tensors[f"{HH}.columns"][place - 1]


FAULTS = {
    "no blocks": (lambda t: t.pop(f"{HH}.blocks"), f"{HH}.blocks is missing"),
    "no columns": (lambda t: t.pop(f"{HH}.columns"), f"{HH}.columns is missing"),
    "no first": (lambda t: t.pop(f"{HH}.first"), f"{HH}.first is missing"),
    "nothing": (lambda t: [t.pop(f"{HH}.{part}") for part in sparse.PARTS], f"tensor {NAME} is missing"),
    "twice": (lambda t: t.update({NAME: np.zeros((216, 72), np.float32)}), f"{NAME}: there twice"),
    "kind of blocks": (changed("blocks", lambda a: a.astype(np.int8)), f"{HH}.blocks: type int8"),
    "kind of columns": (changed("columns", lambda a: a.astype(np.int16)), f"{HH}.columns: type int16"),
    "kind of first": (changed("first", lambda a: a.astype(np.int64)), f"{HH}.first: type int64"),
    "fewer blocks": (changed("blocks", lambda a: a[1:]), f"{HH}.blocks: shape"),
    "flat blocks": (changed("blocks", np.ravel), f"{HH}.blocks: shape"),
    "shape of blocks": (changed("blocks", lambda a: a.reshape(-1, 4, 16)), f"{HH}.blocks: shape"),
    "more columns": (changed("columns", lambda a: np.append(a, a[-1:])), f"{HH}.blocks: shape"),
    "fewer strips": (changed("first", lambda a: a[:-1]), f"{HH}.first: shape (14,): (15) expected"),
    "another begin": (changed("first", at(0, 1)), f"{HH}.first: places that rise from 0"),
    "another end": (changed("first", at(-1, 3)), f"{HH}.first: places that rise from 0"),
    "an end far away": (changed("first", at(3, 2**32 - 1)), f"{HH}.first: places that rise from 0"),
    "a step back": (changed("first", at(5, 0)), f"{HH}.first: places that rise from 0"),
    "a column too far": (changed("columns", at(2, 18)), f"{HH}.columns: 18 in it: 0 to 17 expected"),
    "a column twice": (last_of_a_strip, f"{HH}.columns: numbers that rise"),
    "columns in disorder": (changed("columns", lambda a: a[::-1].copy()), f"{HH}.columns: numbers that rise"),
    "beyond the rows": (changed("blocks", at((-1, 8), 1.0)), f"{HH}.blocks: zeros beyond"),
    "not a number": (changed("blocks", at((0, 0), np.nan)), f"{NAME}: nan in it"),
    "too large": (changed("blocks", at((0, 0), 2e4)), f"{NAME}: 20000 in it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_in_one_line(fault, tmp_path):
    change, words = FAULTS[fault]
    path = tmp_path / "bad.safetensors"
    checkpoint = network(PRUNED)
    tensors = sparse.packed(checkpoint.tensors)
    change(tensors)
    head = {"format": 1, "model": checkpoint.config.to_json()}
    save_file(tensors, path, metadata={"samplernn": json.dumps(head)})
    with pytest.raises(ValueError, match=r"bad\.safetensors: ") as caught:
        load(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(data=st.data())
def test_no_bytes_of_the_parts_lead_astray(data):
    """Whatever the parts say, a matrix of the right shape comes of it, or a ValueError."""
    good = sparse.packed({NAME: network(PRUNED).tensors[NAME]})
    part = data.draw(st.sampled_from(sparse.PARTS))
    blob = bytearray(good[f"{HH}.{part}"].tobytes())
    for place in data.draw(st.lists(st.integers(0, len(blob) - 1), min_size=1, max_size=3)):
        blob[place] = data.draw(st.integers(0, 255))
    like = good[f"{HH}.{part}"]
    good[f"{HH}.{part}"] = np.frombuffer(bytes(blob), like.dtype).reshape(like.shape)
    try:
        (value,) = sparse.unpacked(good, {NAME: (216, 72)}).values()
    except ValueError as error:
        said = str(error)
    else:
        assert value.shape == (216, 72)
        assert part != "columns" or blocks.there(value).sum() == len(good[f"{HH}.columns"])
        return
    assert said.startswith(f"tensor {HH}.")


def test_a_small_file_does_not_become_a_huge_network():
    shapes = {f"tier.{i}.up.weight": (64, 8192, 8192) for i in range(2)}
    stored = sparse.packed({name: np.zeros((16, 4), np.float16) for name in shapes})
    with pytest.raises(ValueError, match="larger than 1 GiB with its packed matrices whole"):
        sparse.unpacked(stored, shapes)


def test_info_says_what_is_packed(tmp_path):
    save(network(PRUNED), tmp_path / "a.safetensors")
    lines = [line for line in describe(tmp_path / "a.safetensors").splitlines() if line.startswith("  packed")]
    assert re.fullmatch(r"  packed    0\.\d\d MB of blocks in place of 0\.\d\d MB", lines[0])
    named = {line.split()[1]: float(line.split()[2].rstrip("%")) for line in lines[1:]}
    assert named[NAME] == pytest.approx(100 * blocks.density(network(PRUNED).tensors[NAME]), abs=0.05)
    assert len(named) == len(sparse.names(load_file(tmp_path / "a.safetensors")))


def test_the_recipe_of_the_docs(tmp_path):
    """docs/design.md reads a packed matrix with NumPy alone."""
    save(network(PRUNED), tmp_path / "a.safetensors")
    text = (Path(__file__).parent.parent / "docs" / "design.md").read_text()
    (recipe,) = re.findall(r"```python\n(import numpy as np\n.*?)```", text, re.S)
    names = {}
    exec(recipe, names)
    tensors = load_file(tmp_path / "a.safetensors")
    for name in (NAME, "tier.0.up.weight_v"):
        want = network(PRUNED).tensors[name]
        np.testing.assert_array_equal(names["whole"](tensors, name, want.shape), want)
