"""tools/smaller_types.py: its networks are those that play, and its roundings round."""

import sys
from pathlib import Path

import numpy as np
import pytest
from networks import network

import engine
from engine.folding import TABLE_MAX

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import smaller_types as tool


@pytest.mark.parametrize("name", ["gru", "one-tier", "three-tiers", "gru-pruned"])
def test_its_networks_are_the_engines(name):
    checkpoint = network(name)
    c = checkpoint.config
    indices = np.random.default_rng(3).integers(0, c.q_levels, (2, c.lookback + 45))
    whole = tool.fold(checkpoint, "fp32")
    for precision, rounding in (("fp32", None), ("int8", tool.as_int8)):
        table = tool.tables(whole, TABLE_MAX, tool.COLUMNS) if rounding else np.asarray(whole.table)
        got = tool.Network(checkpoint, rounding, table).nats(indices, 45)
        log_probs = engine.score(checkpoint, indices, "reference", precision)
        want = -np.take_along_axis(log_probs, indices[:, c.lookback :, None], axis=-1)[..., 0]
        np.testing.assert_allclose(got, want, atol=1e-4)
        some = tool.Network(checkpoint, rounding, table).nats(indices, 30, 2)
        np.testing.assert_allclose(some[~np.isnan(some)], got[:, -30:][~np.isnan(some)], atol=1e-5)
        assert 0.2 < np.isnan(some).mean() < 0.8


def test_other_networks_are_refused():
    checkpoint = network("lstm")
    with pytest.raises(SystemExit, match="lstm: a GRU without skip connections expected"):
        tool.Network(checkpoint, None, np.zeros(1, np.float32))


@pytest.mark.parametrize("feedback", [False, True])
def test_groups(feedback):
    weight = np.random.default_rng(0).normal(size=(5, 70)).astype(np.float32)
    rounded = tool.in_groups(weight, None, 4, 32, feedback)
    for begin in range(0, 70, 32):
        part, found = weight[:, begin : begin + 32], rounded[:, begin : begin + 32]
        scale = np.abs(part).max(axis=1, keepdims=True) / 7
        np.testing.assert_allclose(found / scale, np.round(found / scale), atol=1e-4)
        errors = (found - part).cumsum(axis=1) if feedback else (found - part) / 2
        assert (np.abs(errors) <= 1.01 * scale / (1 if feedback else 4)).all()
    np.testing.assert_allclose(tool.in_groups(weight, None, 20, 32, feedback), weight, atol=1e-4)


def test_errors_are_made_good_by_the_other_inputs():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(400, 24)) @ rng.normal(size=(24, 64))
    weight = rng.normal(size=(16, 64)).astype(np.float32)
    plain, better = tool.in_groups(weight, None, 4, 32), tool.compensated(weight, inputs.T @ inputs, 4, 32)
    wrong = [np.square(inputs @ (found - weight).T).mean() for found in (plain, better)]
    assert wrong[1] < 0.3 * wrong[0]


def test_tables_by_column():
    whole = tool.fold(network("gru"), "fp32")
    one, each = tool.tables(whole, TABLE_MAX), tool.tables(whole, TABLE_MAX, tool.COLUMNS)
    errors = [np.abs(found - whole.table).mean() for found in (one, each)]
    assert errors[1] < errors[0]
    assert np.abs(each - whole.table).max() <= np.abs(whole.table).max() / 254 + 1e-7
