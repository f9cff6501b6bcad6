"""Every backend answers to the reference: the same tokens under int8, explained differences under fp32."""

import numpy as np
import pytest
from networks import ARCHITECTURES, BACKENDS, network

from engine import generator as g
from engine.draw import draw_from_weights, philox, weight_scale
from engine.reference import exp


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_int8_gives_the_reference_tokens(name):
    checkpoint = network(name)
    ours, truth = (g.make_generator(checkpoint, b, "int8", voices=2, seed=5) for b in ("cpu", "reference"))
    n = 6 * checkpoint.config.hop + 3
    temperature = np.linspace(0.5, 1.4, n)
    np.testing.assert_array_equal(ours.generate(n, temperature), truth.generate(n, temperature))
    for generator in (ours, truth):
        generator.reset("random")
        generator.prime(np.arange(5) % checkpoint.config.q_levels)
    np.testing.assert_array_equal(ours.generate(40, 0.9), truth.generate(40, 0.9))
    np.testing.assert_array_equal(ours.generate(9, 0.0), truth.generate(9, 0.0))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_scores(name, precision):
    checkpoint = network(name)
    c = checkpoint.config
    tokens = np.random.default_rng(1).integers(0, c.q_levels, (2, c.lookback + 50))
    ours = g.score(checkpoint, tokens, "cpu", precision)
    truth = g.score(checkpoint, tokens, "reference", precision)
    assert ours.shape == (2, 50, c.q_levels)
    np.testing.assert_allclose(ours, truth, atol=0 if precision == "int8" else 1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fp32_draws_differ_only_at_an_edge(name):
    """Teacher-forced: where the backends disagree, the word lies within the logit tolerance of a CDF edge."""
    checkpoint = network(name)
    c = checkpoint.config
    tokens = np.random.default_rng(2).integers(0, c.q_levels, (1, c.lookback + 200))
    ours, truth = (g.score(checkpoint, tokens, b, "fp32")[0] for b in ("cpu", "reference"))
    tolerance = np.abs(ours - truth).max()
    assert tolerance < 1e-4
    for t in range(len(ours)):
        word = philox(9, t, 0, 0)
        a, b = (draw_from_weights(weights(x[t]), word) for x in (ours, truth))
        if a != b:
            cdf = np.cumsum(np.exp(truth[t]))
            assert np.abs(cdf - word / 2**32).min() < 4 * tolerance + 1e-6


def weights(log_probs):
    x = (log_probs - log_probs.max()).astype(np.float32)
    return np.floor(exp(x) * weight_scale(len(x)) + np.float32(0.5)).astype(np.int32)


@pytest.mark.parametrize("name", ["gru", "lstm-skip"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_split_of_calls_is_the_same_sound(name, backend):
    checkpoint = network(name)
    whole, parts = (g.make_generator(checkpoint, backend, "int8", voices=2, seed=1) for _ in range(2))
    expected = whole.generate(129, 0.95)
    sizes = [1] * 7 + [63 - 5, 64]
    got = np.concatenate([parts.generate(n, 0.95) for n in sizes], axis=1)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_is_everything(backend):
    generator = g.make_generator(network("lstm-skip"), backend, "int8", voices=2, seed=3)
    generator.generate(21)
    kept = generator.state()
    first = generator.generate(50, 1.1)
    generator.reset("zeros")
    generator.generate(3)
    generator.restore(kept)
    np.testing.assert_array_equal(generator.generate(50, 1.1), first)


def test_more_voices_change_nothing():
    """A voice sounds the same alone, among others, and when the others' frames begin elsewhere."""
    checkpoint = network("three-tiers")
    alone = g.make_generator(checkpoint, "cpu", "int8", voices=1, seed=4).generate(100)
    among = g.make_generator(checkpoint, "cpu", "int8", voices=5, seed=4)
    kept = among.state()
    np.testing.assert_array_equal(among.generate(100)[0], alone[0])
    assert len({tuple(row) for row in among.generate(20)}) == 5
    among.restore(kept)
    for voice, shift in ((1, 1), (2, 3), (4, 6)):
        hop_prime(among, voice, shift)
    np.testing.assert_array_equal(among.generate(100)[0], alone[0])


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("name", ["gru", "gru-pruned"])
def test_a_voice_is_the_same_however_many_play(name, precision):
    """Products are made for several lanes at once and for what is left one by one: to the bit, in fp32 too."""
    most = g.make_generator(network(name), "cpu", precision, voices=9, seed=4).generate(60)
    for voices in range(1, 9):
        fewer = g.make_generator(network(name), "cpu", precision, voices=voices, seed=4).generate(60)
        np.testing.assert_array_equal(fewer, most[:voices])


def hop_prime(generator, voice, n):
    from engine.cpu import hop
    from engine.cpu.memory import address

    tokens = np.zeros(n, np.int32)
    hop.prime(generator._packed.context, voice, address(tokens), n)


def test_the_roof_leaves_the_sound_alone():
    """Its products scribble over scratch only."""
    from engine.cpu.roof import matvecs

    ours, other = (g.make_generator(network("lstm-skip"), seed=2) for _ in range(2))
    ours.generate(13)
    other.generate(13)
    matvecs(ours.context, 64)
    np.testing.assert_array_equal(ours.generate(50), other.generate(50))


def test_seeds():
    checkpoint = network("gru")
    listed = g.make_generator(checkpoint, "cpu", voices=3, seed=[7, 8, 7]).generate(50)
    np.testing.assert_array_equal(listed[0], listed[2])
    assert (listed[0] != listed[1]).any()
    np.testing.assert_array_equal(g.make_generator(checkpoint, "cpu", seed=8).generate(50)[0], listed[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "abacus"}, "backend: 'abacus'"),
        ({"voices": 0}, "voices: 0"),
        ({"precision": "int4"}, "precision: 'int4'"),
        ({"seed": [1, 2]}, "seed: 2 seeds"),
        ({"seed": 1 << 64}, "64-bit"),
    ],
)
def test_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        g.make_generator(network("gru"), **arguments)


def test_temperature_arguments():
    generator = g.make_generator(network("gru"), voices=2)
    with pytest.raises(ValueError, match="temperature: shape"):
        generator.generate(5, np.ones(4))
    with pytest.raises(ValueError, match="temperature"):
        generator.generate(5, -0.1)
    assert generator.generate(5, np.ones((2, 1))).shape == (2, 5)


@pytest.fixture(params=BACKENDS)
def generator(request):
    return g.make_generator(network("gru"), request.param, "int8", voices=2, seed=3)


@pytest.mark.parametrize("voice", [2, -1, 100_000, 1 << 70, True, 0.0, "0"])
def test_a_voice_that_is_not_there_is_refused(generator, voice):
    before = generator.state()
    with pytest.raises(ValueError, match=f"voice: {voice!r}: an integer from 0 to 1"):
        generator.reset("zeros", voice=voice)
    expected = generator.generate(20)
    generator.restore(before)
    np.testing.assert_array_equal(generator.generate(20), expected)
    generator.reset("zeros", voice=np.int64(1))


@pytest.mark.parametrize("shape", [(), (3, 4), (1, 2, 3), (0, 5)])
def test_samples_of_another_shape_are_refused(generator, shape):
    with pytest.raises(ValueError, match="indices: shape"):
        generator.prime(np.zeros(shape, int))
    with pytest.raises(ValueError, match="indices: shape"):
        generator.score(np.zeros(shape, int))
    if generator.backend == "cpu":
        with pytest.raises(ValueError, match="indices: shape"):
            generator.force(np.zeros(shape, int))


@pytest.mark.parametrize("level", [-1, 32, 1 << 40])
def test_samples_of_another_network_are_refused(generator, level):
    with pytest.raises(ValueError, match=r"indices: .* 0 to 31 expected"):
        generator.prime(np.full((2, 9), level))


def test_what_is_no_state_is_refused(generator):
    """The kernels go by what lies in it."""
    ours = generator.state()
    expected = generator.generate(20)
    other = g.make_generator(network("gru-skip"), generator.backend, "int8", voices=2)
    hostile = [other.state(), ours[:1], None, "state", {"h": 1}, np.full(np.shape(ours), 0.5), [1, 2]]
    if generator.backend == "cpu":
        hostile += [np.full_like(ours, 255), ours.view(np.int8), ours.reshape(2, -1)]
    for state in hostile:
        with pytest.raises(ValueError, match=r"^state: "):
            generator.restore(state)
    generator.restore(ours)
    np.testing.assert_array_equal(generator.generate(20), expected)
