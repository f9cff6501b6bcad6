"""From a control's way (0..1) to a parameter's range and back, along a curve.

Pure, any thread. Every curve goes through both ends and never turns back, so that a value has one place on the control:
takeover and feedback need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from instrument.patch_midi import Binding

BEND = 15.0  # exp: half the way is a fifth of the range


def _exp(way: float) -> float:
    return math.expm1(math.log1p(BEND) * way) / BEND


def _log(way: float) -> float:
    return math.log1p(BEND * way) / math.log1p(BEND)


def _s(way: float) -> float:
    return way * way * (3.0 - 2.0 * way)


def _s_back(share: float) -> float:
    return 0.5 - math.sin(math.asin(1.0 - 2.0 * share) / 3.0)


_CURVES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "linear": (lambda way: way, lambda share: share),
    "exp": (_exp, _log),
    "log": (_log, _exp),
    "s": (_s, _s_back),
}


def shaped(curve: str, way: float) -> float:
    """Share of the range, 0..1, at that part of the control's way."""
    return _CURVES[curve][0](min(max(way, 0.0), 1.0))


def natural(binding: Binding, way: float) -> float:
    """The value at that part of the way, natural units."""
    first, last = binding.ends
    return first + (last - first) * shaped(binding.curve, way)


def way_of(binding: Binding, value: float) -> float:
    """Where on the control ``value`` lies, 0..1; its nearer end for a value beyond."""
    first, last = binding.ends
    if first == last:
        return 0.0
    share = min(max((value - first) / (last - first), 0.0), 1.0)
    return min(max(_CURVES[binding.curve][1](share), 0.0), 1.0)
