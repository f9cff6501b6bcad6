"""Two networks' distributions blended: both hear what is drawn, the ends are exactly the one and the other."""

from dataclasses import replace

import numpy as np
import pytest
from networks import BACKENDS, network

from engine import generator as g
from engine.config import ModelConfig, sound_differs

PAIRS = [("gru", "lstm-skip"), ("lstm", "gru"), ("mu-law", "mu-law")]


def make(name, backend="cpu", precision="int8", seed=5, network_seed=0, **rest):
    return g.make_generator(network(name, network_seed), backend, precision, **{"voices": 2, "seed": seed, **rest})


@pytest.mark.parametrize("stereo", [False, [True, False]])
@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_int8_gives_the_reference_tokens(name, other, stereo):
    n = 70
    blend = np.concatenate([np.zeros(9), np.linspace(0, 1, n - 18), np.ones(9)])
    heard = []
    for backend in ("cpu", "reference"):
        ours, theirs = make(name, backend, stereo=stereo), make(other, backend, seed=9, network_seed=1, stereo=stereo)
        first = ours.generate(n, np.linspace(0.6, 1.3, n), theirs, blend)
        heard.append([first, ours.generate(5, 0.0, theirs, 0.4), theirs.generate(20), ours.generate(20)])
    for ours, truth in zip(*heard, strict=True):
        np.testing.assert_array_equal(ours, truth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_share_the_partner_is_not_heard(backend):
    """And still hears: it goes on like one that was primed with what was drawn."""
    ours, theirs, alone = make("gru", backend), make("lstm", backend), make("gru", backend)
    primed = make("lstm", backend)
    heard = ours.generate(40, 1.0, theirs, 0.0)
    np.testing.assert_array_equal(heard, alone.generate(40))
    primed.prime(heard)
    np.testing.assert_array_equal(theirs.generate(20), primed.generate(20))


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_all_of_it_only_the_partner_is_heard(backend):
    """The voice's own dice, the partner's distribution."""
    ours, theirs, alone = make("gru", backend, seed=5), make("lstm", backend, seed=6), make("lstm", backend, seed=5)
    np.testing.assert_array_equal(ours.generate(40, 0.9, theirs, 1.0), alone.generate(40, 0.9))


def test_a_network_is_its_own_partner():
    """Its distribution blended with itself is itself, but for rounding."""
    ours, theirs, alone = make("gru"), make("gru", seed=8), make("gru")
    assert (ours.generate(60, 1.0, theirs, 0.5) == alone.generate(60)).mean() > 0.95


def test_any_split_of_calls_is_the_same_sound():
    blend = np.linspace(0.0, 1.0, 129)
    whole, parts = ([make("gru"), make("lstm-skip")] for _ in range(2))
    expected = whole[0].generate(129, 0.95, whole[1], blend)
    at, got = 0, []
    for n in [1] * 7 + [58, 64]:
        got.append(parts[0].generate(n, 0.95, parts[1], blend[at : at + n]))
        at += n
    np.testing.assert_array_equal(np.concatenate(got, axis=-1), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_fit_is_refused_by_name(backend):
    ours = make("gru", backend)
    with pytest.raises(ValueError, match=r"partner: q_levels is 64, not 32$"):
        ours.generate(1, 1.0, make("one-tier", backend))
    with pytest.raises(ValueError, match="partner: another generator"):
        ours.generate(1, 1.0, ours)
    with pytest.raises(ValueError, match=r"partner: 3 voices: 2, stereo alike, expected"):
        ours.generate(1, 1.0, make("lstm", backend, voices=3))
    with pytest.raises(ValueError, match=r"blend: 1\.5: 0 to 1 expected"):
        ours.generate(1, 1.0, make("lstm", backend), 1.5)
    with pytest.raises(ValueError, match="blend: shape"):
        ours.generate(4, 1.0, make("lstm", backend), np.zeros(3))


def test_all_that_differs_is_named():
    a = ModelConfig()
    b = replace(a, sample_rate=22050, q_levels=128, q_type="mu-law", preemphasis=0.85, dim=8, rnn="lstm")
    assert sound_differs(a, b) == (
        "sample_rate is 22050, not 44100, q_levels is 128, not 256, q_type is mu-law, not linear, "
        "preemphasis is 0.85, not 0.0"
    )
    assert not sound_differs(a, replace(a, dim=8, frame_sizes=(4, 16), rnn="lstm"))
