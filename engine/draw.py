"""The dice: a counter-based generator and the draw of one level, in integers.

One definition for every backend; the functions here are slow and obvious, and the kernels are held to them.
Nothing depends on the order in which anything is computed: sample ``i`` of voice ``v`` under seed ``s`` always
meets the same random word.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

DICE = 0  # purpose: the draw of one sample
STATE = 1  # purpose: elements of a random h0

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF


def philox(key: int, index: int, voice: int, purpose: int) -> int:
    """Word 0 of Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    Args:
        key: 64-bit seed.
        index: 64-bit position; its low and high halves are counter words 0 and 1.
        voice, purpose: counter words 2 and 3.

    Returns:
        A uniform 32-bit word.
    """
    counter = (index & _MASK, index >> 32 & _MASK, voice & _MASK, purpose & _MASK)
    return philox_block((key & _MASK, key >> 32 & _MASK), counter)[0]


def philox_block(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """All four words of Philox4x32-10, for the published test vectors."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def beta_of(temperature: NDArray[np.floating] | float) -> NDArray[np.float32]:
    """fp32 of 1 / temperature, made outside every kernel; infinity (argmax) where that overflows.

    Raises:
        ValueError: a temperature below 0 or not a number.
    """
    t = np.asarray(temperature, dtype=np.float64)
    if not np.all(t >= 0):
        raise ValueError(f"temperature: {temperature!r}: 0 or above expected")
    with np.errstate(divide="ignore", over="ignore"):
        return (1.0 / t).astype(np.float32)


def weight_scale(q_levels: int) -> np.float32:
    """2^(30 - ceil(log2 Q)): what one certain level weighs, so that Q of them stay below 2^30 + Q."""
    return np.float32(2.0 ** (30 - math.ceil(math.log2(q_levels))))


def draw_from_weights(weights: NDArray[np.integer], word: int) -> int:
    """The token that ``word`` picks: r = high half of word * total, token = count(cdf <= r)."""
    cdf = np.cumsum(weights.astype(np.int64))
    r = int(cdf[-1]) * word >> 32
    return int(np.count_nonzero(cdf <= r))
