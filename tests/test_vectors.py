"""The vectors between matrix products, each against the same in NumPy, at sizes that fill them and that do not."""

import numpy as np
import pytest

from engine import reference
from engine.cpu import vectors
from engine.cpu.memory import address, aligned
from engine.folding import TABLE_MAX

SIZES = [2, 24, 64, 100]
F = np.float32


@pytest.fixture(params=SIZES)
def n(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def padded(values):
    """As they lie in a lane's block: with zeros up to 64."""
    found = aligned(-(-len(values) // 64) * 64, np.asarray(values).dtype)
    found[: len(values)] = values
    return found


def numbers(rng, n, scale=3.0):
    return padded((rng.normal(size=n) * scale).astype(F))


def test_bytes(rng, n):
    x, out = numbers(rng, n), padded(np.zeros(n, np.uint8))
    x[0] = np.nan
    vectors.to_bytes(address(x), n, F(20), F(128.5), address(out))
    np.testing.assert_array_equal(out[1:n], reference.byte_of(x[1:n], F(20), 128))
    assert out[0] == 0


def test_relu(rng, n):
    x = numbers(rng, n)
    expected = np.maximum(x[:n], F(0))
    vectors.relu(address(x), n)
    np.testing.assert_array_equal(x[:n], expected)


def test_gru(rng, n):
    now, past, h = numbers(rng, 3 * n), numbers(rng, 3 * n), numbers(rng, n, 0.5)
    r, z = (reference.sigmoid(now[k * n : (k + 1) * n] + past[k * n : (k + 1) * n]) for k in (0, 1))
    new = reference.tanh(now[2 * n : 3 * n] + r * past[2 * n : 3 * n])
    expected = new + z * (h[:n] - new)
    vectors.gru_step(address(now), address(past), address(h), n)
    np.testing.assert_array_equal(h[:n], expected)
    assert not h[n:].any()  # what is padding stays nothing


def test_lstm(rng, n):
    now, past, h, c = numbers(rng, 4 * n), numbers(rng, 4 * n), numbers(rng, n, 0.5), numbers(rng, n, 0.5)
    gates = [now[k * n : (k + 1) * n] + past[k * n : (k + 1) * n] for k in range(4)]
    i, f, o = (reference.sigmoid(gates[k]) for k in (0, 1, 3))
    cell = f * c[:n] + i * reference.tanh(gates[2])
    vectors.lstm_step(address(now), address(past), address(h), address(c), n)
    np.testing.assert_array_equal(c[:n], cell)
    np.testing.assert_array_equal(h[:n], o * reference.tanh(cell))
    assert not h[n:].any()
    assert not c[n:].any()


def test_small_states_are_nothing():
    zero = padded(np.zeros(48, F))
    past = padded(np.zeros(48, F))
    past[16:32] = 30.0  # z: h stays as it is
    h = padded(np.full(16, 1e-16, F))
    vectors.gru_step(address(zero), address(past), address(h), 16)
    assert not h.any()


@pytest.mark.parametrize("frame", [1, 8, vectors.TABLE_PLACES, vectors.TABLE_PLACES + 1])
@pytest.mark.parametrize("low", [-TABLE_MAX, TABLE_MAX])  # at the latter all add up to the most there can be
def test_tables_of_integers(rng, n, frame, low):
    tables = [padded(rng.integers(low, TABLE_MAX + 1, n).astype(np.int8)) for _ in range(frame)]
    tables[0][0] = -low
    rows, x, out = np.array([address(t) for t in tables]), numbers(rng, n), padded(np.zeros(n, np.uint8))
    scale = padded((rng.random(n) * 0.1 / frame).astype(F))
    vectors.table_bytes(address(rows), frame, address(x), n, address(scale), F(20), address(out))
    sums = np.sum([t[:n] for t in tables], axis=0, dtype=np.int32).astype(F) * scale[:n] + x[:n]
    np.testing.assert_array_equal(out[:n], reference.byte_of(np.maximum(sums, F(0)), F(20), 0))


def test_tables_of_floats(rng, n):
    tables, x = [numbers(rng, n) for _ in range(5)], numbers(rng, n)
    rows, expected = np.array([address(t) for t in tables]), x[:n].copy()
    for table in tables:
        expected = expected + table[:n]
    vectors.table_floats(address(rows), 5, address(x), n)
    np.testing.assert_array_equal(x[:n], np.maximum(expected, F(0)))


def test_weighted_rows(rng, n):
    rows, bias, samples = [numbers(rng, n) for _ in range(8)], numbers(rng, n), numbers(rng, 8)
    whole, out, expected = padded(np.concatenate(rows)), padded(np.zeros(n, F)), bias[:n].copy()
    for row, sample in zip(rows, samples, strict=False):
        expected = expected + row[:n] * sample
    vectors.weighted_rows(address(whole), len(rows[0]) * 4, address(samples), 8, address(bias), n, address(out))
    np.testing.assert_array_equal(out[:n], expected)


def test_greatest_logit(rng, n):
    x = numbers(rng, n) - F(50)  # below the padding
    assert vectors.top(address(x), n) == x[:n].max()


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_strange_logits_are_told(rng, n, strange):
    x = numbers(rng, n)
    x[n - 1] = strange
    assert not abs(vectors.top(address(x), n)) < vectors.HUGE


def test_draw(rng, n):
    """Weights, their sum, and the token of every kind of word, against the reference's arithmetic."""
    x, out, scale, beta = numbers(rng, n), padded(np.zeros(n, np.int32)), F(2.0**20), F(1.25)
    highest = x[:n].max()
    total = vectors.draw_weights(address(x), n, highest, beta, scale, address(out))
    expected = np.floor(reference.exp((x[:n] - highest) * beta) * scale + F(0.5)).astype(np.int32)
    np.testing.assert_array_equal(out[:n], expected)
    assert total == expected.sum()
    cdf = np.cumsum(expected)
    edges = [r for c in cdf for r in (c - 1, c) if 0 <= r < total]
    for r in [0, *edges, *rng.integers(0, total, 50)]:
        assert vectors.rank(address(out), int(r)) == (cdf <= r).sum()
