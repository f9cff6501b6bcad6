"""Ways from one value to another, and the straight lines that stand for them.

Pure. A curve is a bend from -1 (fast, then slow) over 0 (straight) to 1 (slow, then fast), or ``smooth`` (slow at both
ends) or ``step`` (nothing, then all at the end). The render loop knows straight lines only: :func:`corners` says where
they meet, closer to the curve than 0.5 % of the way.
"""

from __future__ import annotations

import math
from functools import lru_cache

Curve = float | str

BENDS = {"linear": 0.0, "exp": 0.5, "log": -0.5}
SMOOTH, STEP, DROP = "smooth", "step", "drop"  # drop is step backwards: all at the beginning
WORDS = (*BENDS, SMOOTH, STEP)
STEEPEST = 8.0  # a bend of 1 is exp(8 u): its second half makes 98 % of the way
NEAR = 0.004  # of the way: where a chord may run beside its curve


def shape(curve: Curve, u: float) -> float:
    """How much of the way is made after ``u``, 0..1, of the time."""
    if u <= 0.0 or u >= 1.0:
        return 1.0 if u >= 1.0 or (curve == DROP and u >= 0.0) else 0.0
    if isinstance(curve, str):
        return {SMOOTH: u * u * (3.0 - 2.0 * u), STEP: 0.0, DROP: 1.0}[curve]
    k = STEEPEST * curve
    return u if abs(k) < 1e-9 else math.expm1(k * u) / math.expm1(k)


def mirrored(curve: Curve) -> Curve:
    """The same way backwards."""
    if isinstance(curve, str):
        return {SMOOTH: SMOOTH, STEP: DROP, DROP: STEP}[curve]
    return -curve


def read_curve(word: float | str) -> Curve:
    """A curve as patches write it: a word or a bend."""
    return BENDS.get(word, word) if isinstance(word, str) else float(word)


@lru_cache(1024)
def corners(curve: Curve, shortest: float) -> tuple[tuple[float, float], ...]:
    """(share of the time, share of the way) where lines meet, the last (1, 1); none shorter than ``shortest``."""
    if curve in (STEP, DROP):
        return ((1.0, 1.0),)
    found: list[tuple[float, float]] = []
    open_ = [(0.0, 1.0)]
    while open_:
        a, b = open_.pop()
        middle = (a + b) / 2
        if b - a < 2.0 * shortest or _is_straight(curve, a, b):
            found.append((b, shape(curve, b)))
        else:
            open_ += [(middle, b), (a, middle)]
    return tuple(found)


def _is_straight(curve: Curve, a: float, b: float) -> bool:
    low, high = shape(curve, a), shape(curve, b)
    return all(abs(shape(curve, a + (b - a) * w) - (low + (high - low) * w)) < NEAR for w in (0.21, 0.35, 0.65, 0.79))
