"""engine/folding.py: tables under int8."""

from dataclasses import replace

import numpy as np
import pytest
from networks import network

import engine
from engine.config import ModelConfig
from engine.folding import TABLE_MAX, fold
from engine.seeded import network as seeded


@pytest.mark.parametrize("name", ["gru", "one-tier", "three-tiers"])
def test_tables_have_a_scale_for_each_column(name):
    whole, small = (fold(network(name), precision) for precision in ("fp32", "int8"))
    assert (small.table.dtype, small.table_scale.dtype) == (np.int8, np.float32)
    np.testing.assert_array_equal(np.abs(small.table.astype(int)).max(axis=(0, 1)), TABLE_MAX)
    wrong = np.abs(small.table * small.table_scale - whole.table)
    assert (wrong <= 0.501 * small.table_scale).all()
    np.testing.assert_array_equal(whole.table_scale, 1.0)


def test_a_column_of_nothing():
    checkpoint = network("one-tier")
    weight = checkpoint.tensors["mlp.input.weight"].copy()
    weight[3] = 0
    weight[4] *= 1e-20
    folded = fold(replace(checkpoint, tensors={**checkpoint.tensors, "mlp.input.weight": weight}), "int8")
    assert not folded.table[..., [3, 4]].any()
    assert folded.table[..., 5].any()
    assert np.isfinite(folded.table_scale).all()


def test_more_places_than_int16_sums_hold():
    checkpoint = seeded(ModelConfig(dim=8, emb_size=4, frame_sizes=(260,), q_levels=4), "long")
    ours, truth = (engine.make_generator(checkpoint, backend, "int8", seed=1) for backend in ("cpu", "reference"))
    np.testing.assert_array_equal(ours.generate(300, 0.9), truth.generate(300, 0.9))
