"""From a control's way (0..1) to a parameter's range and back, along a curve.

Pure, any thread. Every curve goes through both ends and never turns back, so that a value has one place on the control:
takeover and feedback need it.
"""

from __future__ import annotations

import math

from instrument.curves import BENDS, SMOOTH, STEEPEST, shape
from instrument.patch_midi import Binding


def shaped(curve: str, way: float) -> float:
    """Share of the range, 0..1, at that part of the control's way."""
    return shape(SMOOTH if curve == "s" else BENDS[curve], min(max(way, 0.0), 1.0))


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
    return min(max(_back(binding.curve, share), 0.0), 1.0)


def _back(curve: str, share: float) -> float:
    """The inverse of :func:`shaped`."""
    if curve == "s":
        return 0.5 - math.sin(math.asin(1.0 - 2.0 * share) / 3.0)
    bend = STEEPEST * BENDS[curve]
    return math.log1p(share * math.expm1(bend)) / bend if bend else share
