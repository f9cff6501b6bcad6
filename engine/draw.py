"""The dice: a counter-based generator and the draw of one level, in integers.

One definition for every backend; the functions here are slow and obvious, and the kernels are held to them.
Nothing depends on the order in which anything is computed: sample ``i`` of voice ``v`` under seed ``s`` always
meets the same random word. In a loop with variation a second word, of dice that are never rewound, moves it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

DICE = 0  # purpose: the draw of one sample
STATE = 1  # purpose: elements of a random h0
FRESH = 2  # purpose: what varies the passes of a loop
CHANCE = 3  # purpose: which steps of a pass it varies

ENTROPY_EVERY = 64  # samples of a voice's own clock from one measurement of entropy to the next
RIGHT = 16  # added to the purpose of whatever a stereo voice's right side draws: same position, words of its own

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


def spread_of(variation: float) -> int:
    """floor(variation 2^32): how far fresh dice may move a word, 0 to 2^32.

    Raises:
        ValueError: a variation outside 0 to 1, or not a number.
    """
    if not 0.0 <= variation <= 1.0:
        raise ValueError(f"variation: {variation!r}: 0 to 1 expected")
    return math.floor(float(variation) * 2.0**32)


def varied(word: int, fresh: int, spread: int) -> int:
    """``word`` moved by up to half of ``spread`` to either side, by a fresh word, around the circle of 2^32.

    A uniform word stays uniform at any spread, so every pass of a loop is a fair draw of its network; at 2^32 nothing
    of ``word`` is left.
    """
    return word + ((fresh - (1 << 31)) * spread >> 32) & _MASK


def draw_from_weights(weights: NDArray[np.integer], word: int) -> int:
    """The token that ``word`` picks: r = high half of word * total, token = count(cdf <= r)."""
    cdf = np.cumsum(weights.astype(np.int64))
    r = int(cdf[-1]) * word >> 32
    return int(np.count_nonzero(cdf <= r))


def entropy(weights: NDArray[np.integer]) -> float:
    """Bits of the distribution of ``weights``: log2 W - sum(w log2 w) / W, W their sum.

    w log2 w rounds to float32; the sum is float64 in rising order. 0 for one certain level.
    """
    w = weights.astype(np.float64)
    parts = (w * log2(np.maximum(w, 1.0))).astype(np.float32).astype(np.float64)
    total = np.array([int(weights.astype(np.int64).sum())], np.float64)
    inside = np.cumsum(parts)[-1]  # one after another; np.sum would add in pairs
    return float(log2(total)[0] - inside / total[0])


def log2(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log2 of whole numbers from 1 to 2^53; float64, multiplications and additions apart, off by less than 2e-9.

    The exponent, and for the mantissa m in [1, 2): ln m = 2 atanh((m - 1) / (m + 1)), its series to the 15th power.
    """
    bits = x.view(np.int64)
    whole = (bits >> 52) - 1023
    m = (bits & (1 << 52) - 1 | 1023 << 52).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    p = np.full_like(s, 1.0 / 15.0)
    for n in (13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        p = p * square + 1.0 / n
    result: NDArray[np.float64] = whole.astype(np.float64) + p * s * (2.0 / math.log(2.0))
    return result
