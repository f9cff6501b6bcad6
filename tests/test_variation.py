"""Dice of a loop: the same again, a little otherwise, or quite another pass; and how uncertain a network is."""

import numpy as np
import pytest
from networks import ARCHITECTURES, BACKENDS, network

from engine import draw
from engine import generator as g

LOOP, PASS = 70, 150


def words(purpose, n=1 << 14, key=5):
    return np.array([draw.philox(key, i, 0, purpose) for i in range(n)], np.int64)


@pytest.fixture(scope="module")
def dice():
    return words(draw.DICE), words(draw.FRESH)


def moved(dice, variation):
    spread = draw.spread_of(variation)
    return np.array([draw.varied(int(w), int(f), spread) for w, f in zip(*dice, strict=True)], np.int64)


def test_no_variation_moves_nothing(dice):
    np.testing.assert_array_equal(moved(dice, 0.0), dice[0])


@pytest.mark.parametrize("variation", [1e-6, 0.01, 0.3])
def test_a_word_moves_by_half_of_the_variation_at_most(dice, variation):
    shift = (moved(dice, variation) - dice[0] + (1 << 31)) % (1 << 32) - (1 << 31)
    assert np.abs(shift).max() <= variation * 2**31
    assert np.abs(shift).max() > 0.99 * variation * 2**31 - 1


@pytest.mark.parametrize("variation", [0.0, 0.1, 0.5, 1.0])
def test_words_stay_uniform(dice, variation):
    """Chi squared of 64 classes: 63 +- 11; 105 lies beyond 0.1 %."""
    counts = np.bincount(moved(dice, variation) >> 26, minlength=64)
    assert ((counts - len(dice[0]) / 64) ** 2 / (len(dice[0]) / 64)).sum() < 105


def test_at_full_variation_nothing_of_the_loop_is_left(dice):
    """Independence of loop and pass, in 8 x 8 classes: 63 +- 11; and half of it is far from that."""
    n = len(dice[0])

    def dependence(variation):
        table = np.bincount((dice[0] >> 29) * 8 + (moved(dice, variation) >> 29), minlength=64)
        return ((table - n / 64) ** 2 / (n / 64)).sum()

    assert dependence(1.0) < 105
    assert dependence(0.9) > 500
    assert abs(np.corrcoef(dice[0], moved(dice, 1.0))[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize("variation", [-0.1, 1.1, float("nan")])
def test_variation_has_a_range(variation):
    with pytest.raises(ValueError, match="variation"):
        draw.spread_of(variation)
    for backend in BACKENDS:
        with pytest.raises(ValueError, match="variation"):
            g.make_generator(network("gru"), backend, "int8").vary(0, variation)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_passes_and_entropy_are_the_references(name):
    checkpoint = network(name)
    ours, truth = (g.make_generator(checkpoint, b, "int8", voices=2, seed=5) for b in ("cpu", "reference"))
    kept = [generator.generate(LOOP, 0.9) is not None and generator.state() for generator in (ours, truth)]
    passes = []
    for variation in (0.0, 0.02, 1.0):
        for generator, state in zip((ours, truth), kept, strict=True):
            generator.repeat(state)
            generator.vary(1, variation)
        passes.append(ours.generate(PASS, np.linspace(0.7, 1.2, PASS)))
        np.testing.assert_array_equal(passes[-1], truth.generate(PASS, np.linspace(0.7, 1.2, PASS)))
        assert [ours.entropy(v) for v in range(2)] == [truth.entropy(v) for v in range(2)]
        assert ours.entropy(0) > 0
    np.testing.assert_array_equal(passes[0][0], passes[2][0])  # voice 1 was not varied
    assert (passes[0][1] != passes[1][1]).any()
    assert (passes[1][1] != passes[2][1]).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_pass_is_another_and_restoring_is_exact(backend):
    generator = g.make_generator(network("gru"), backend, "int8", seed=3)
    generator.generate(LOOP)
    loop = generator.state()
    generator.vary(0, 0.5)
    passes = []
    for _ in range(3):
        generator.repeat(loop)
        passes.append(generator.generate(100))
    assert (passes[0] != passes[1]).any()
    assert (passes[1] != passes[2]).any()
    whole = generator.state()
    after = generator.generate(50)
    generator.restore(whole)
    np.testing.assert_array_equal(generator.generate(50), after)
    generator.restore(loop)  # of before the variation
    once = generator.generate(100)
    generator.repeat(loop)
    np.testing.assert_array_equal(generator.generate(100), once)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_rewinds_the_fresh_dice(backend):
    generator = g.make_generator(network("gru"), backend, "int8", seed=3)
    generator.vary(0, 1.0)
    first = generator.generate(80)
    generator.reset()
    generator.seed(3)
    np.testing.assert_array_equal(generator.generate(80), first)


def test_logarithm():
    x = np.unique(np.round(np.geomspace(1, 2**45, 5000)))
    np.testing.assert_allclose(draw.log2(x), np.log2(x), rtol=0, atol=2e-9)


def test_entropy_of_known_distributions():
    assert draw.entropy(np.full(256, 1 << 22)) == pytest.approx(8.0, abs=1e-6)
    assert draw.entropy(np.array([0, 1 << 22, 0])) == 0.0
    w = np.random.default_rng(1).integers(0, 1 << 22, 256)
    p = w / w.sum()
    assert draw.entropy(w) == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_entropy_is_that_of_the_temperature_in_use(backend):
    generator = g.make_generator(network("gru"), backend, "int8", seed=3)
    assert generator.entropy(0) == 0.0
    found = []
    for temperature in (0.2, 1.0, 2.0, 0.0):
        generator.reset()
        generator.generate(1, temperature)
        found.append(generator.entropy(0))
    assert 0.0 < found[0] < found[1] < found[2] < 5.0
    assert found[3] == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_entropy_is_measured_every_64th_sample(backend):
    generator = g.make_generator(network("gru"), backend, "int8", seed=3)
    found = [generator.generate(1) is not None and generator.entropy(0) for _ in range(130)]
    changes = [i for i in range(1, 130) if found[i] != found[i - 1]]
    assert changes == [64, 128]
