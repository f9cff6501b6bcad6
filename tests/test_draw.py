"""The dice, against Random123's own known answers and their distribution."""

import numpy as np
import pytest

from engine import draw

# kat_vectors of Random123 1.14: philox4x32, 10 rounds.
KNOWN = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN)
def test_philox_known_answers(key, counter, words):
    assert draw.philox_block(key, counter) == words


def test_draw_covers_and_respects_weights():
    weights = np.array([0, 3, 0, 1], dtype=np.int32)
    edges = [draw.draw_from_weights(weights, word) for word in (0, 0xBFFFFFFF, 0xC0000000, 0xFFFFFFFF)]
    assert edges == [1, 1, 3, 3]


def test_beta_of():
    assert draw.beta_of(0.0) == np.inf
    assert draw.beta_of(1.25) == np.float32(0.8)
    with pytest.raises(ValueError, match="temperature"):
        draw.beta_of(float("nan"))
    with pytest.raises(ValueError, match="temperature"):
        draw.beta_of(-1.0)
