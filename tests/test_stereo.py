"""Stereo from one mono network: tiers once, fed by the left side; two sample levels with dice of their own."""

import numpy as np
import pytest
from networks import ARCHITECTURES, BACKENDS, network

from engine import draw
from engine import generator as g


def pair(name, precision="int8", backends=BACKENDS, **rest):
    return [
        g.make_generator(network(name), b, precision, **{"voices": 2, "seed": 5, "stereo": True, **rest})
        for b in backends
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_int8_gives_the_reference_tokens(name):
    ours, truth = pair(name)
    c = ours.config
    n = 5 * c.hop + 3
    temperature = np.linspace(0.5, 1.4, n)
    heard = ours.generate(n, temperature)
    assert heard.shape == (2, 2, n)
    np.testing.assert_array_equal(heard, truth.generate(n, temperature))
    sides = np.random.default_rng(0).integers(0, c.q_levels, (2, 2, 2 * c.lookback + 1))
    for known in (np.arange(5) % c.q_levels, sides, sides[:, :, :3]):
        for generator in (ours, truth):
            generator.reset("random")
            generator.prime(known)
        np.testing.assert_array_equal(ours.generate(21, 0.9), truth.generate(21, 0.9))
    for generator in (ours, truth):
        generator.jump(1, np.zeros_like(ours.hidden(1)), np.arange(c.lookback) % c.q_levels)
    np.testing.assert_array_equal(ours.generate(9, 0.0), truth.generate(9, 0.0))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_left_side_is_the_mono_voice(precision):
    (stereo,) = pair("lstm-skip", precision, ["cpu"])
    mono = g.make_generator(network("lstm-skip"), "cpu", precision, voices=2, seed=5)
    left, right = stereo.generate(200)
    np.testing.assert_array_equal(left, mono.generate(200))
    assert (left != right).mean() > 0.5


def test_some_voices_may_be_stereo():
    ours, truth = pair("gru", voices=3, stereo=[False, True, False])
    left, right = ours.generate(60)
    np.testing.assert_array_equal((left, right), truth.generate(60))
    np.testing.assert_array_equal(left[[0, 2]], right[[0, 2]])
    assert (left[1] != right[1]).any()
    np.testing.assert_array_equal(left, g.make_generator(network("gru"), voices=3, seed=5).generate(60))


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_split_of_calls_is_the_same_sound(backend):
    (whole,), (parts,) = pair("lstm-skip", backends=[backend]), pair("lstm-skip", backends=[backend])
    expected = whole.generate(129, 0.95)
    got = np.concatenate([parts.generate(n, 0.95) for n in [1] * 7 + [58, 64]], axis=-1)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_is_everything(backend):
    (generator,) = pair("lstm-skip", backends=[backend])
    generator.generate(21)
    kept = generator.state()
    first = generator.generate(50, 1.1)
    generator.reset()
    generator.generate(3)
    generator.restore(kept)
    np.testing.assert_array_equal(generator.generate(50, 1.1), first)
    mono = g.make_generator(network("lstm-skip"), backend, "int8", voices=2)
    with pytest.raises(ValueError, match=r"^state: "):
        generator.restore(mono.state())


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_both_sides_hear_is_all_they_remember(backend):
    """Primed alike, the sides differ by their dice alone: at temperature 0 not at all."""
    (generator,) = pair("gru", backends=[backend])
    generator.generate(33)
    generator.prime(np.arange(40) % 32)
    left, right = generator.generate(30, 0.0)
    np.testing.assert_array_equal(left, right)


def test_the_sides_have_words_of_their_own():
    """No voice meets another's: purposes differ, whatever the voice's number."""
    purposes = [draw.DICE, draw.STATE, draw.DICE + draw.RIGHT, draw.STATE + draw.RIGHT]
    words = {draw.philox(7, i, v, p) for i in range(50) for v in range(3) for p in purposes}
    assert len(words) == 50 * 3 * 4
    a, b = (g.make_generator(network("gru"), voices=1, seed=seed, stereo=True).generate(80)[1, 0] for seed in (1, 2))
    assert (a != b).any()


def test_scores_are_of_the_mono_network():
    tokens = np.random.default_rng(1).integers(0, 32, (2, 30))
    for generator in pair("gru"):
        mono = g.make_generator(network("gru"), generator.backend, "int8", voices=2)
        np.testing.assert_array_equal(generator.score(tokens), mono.score(tokens))


@pytest.mark.parametrize("stereo", [[True], [True, False, True], "no", [1, 0]])
def test_arguments(stereo):
    with pytest.raises(ValueError, match=r"stereo: .* voices expected"):
        g.make_generator(network("gru"), voices=2, stereo=stereo)
