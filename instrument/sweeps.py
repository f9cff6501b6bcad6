"""A sweep as the straight lines that the render loop can draw, one after the other, for ever if it loops.

Pure; times are in the sweep's own unit, seconds or beats, from its start. When lines go onto the ring is left to
:mod:`instrument.movement`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from instrument.curves import DROP, STEP, Curve, corners, mirrored

SECONDS, BEATS = UNITS = ("seconds", "beats")
SHORTEST = 0.05  # seconds or beats: a shorter sweep does not loop
FINEST = 0.01  # seconds or beats a line lasts at least
CHUNK = 0.125  # beats after which a line is drawn anew, as the tempo then is


@dataclass(frozen=True)
class Sweep:
    """A parameter led along points of (time, natural value); times never go back.

    Attributes:
        curves: of the way to each point; all straight if empty.
        loop: again from the start, for ever.
        pingpong: and back again to the first point.
        unit: ``seconds`` or ``beats``.
        voice: from 1, None for all.
    """

    parameter: str
    points: tuple[tuple[float, float], ...]
    voice: int | None = None
    curves: tuple[Curve, ...] = ()
    loop: bool = False
    pingpong: bool = False
    unit: str = SECONDS


@dataclass(frozen=True)
class Line:
    """From wherever the value is at ``start`` straight to ``value`` within ``length``; ``jumped``: behind a jump."""

    start: float
    length: float
    value: float
    jumped: bool = False


@dataclass(frozen=True)
class Leg:
    """The way between two points; ``origin`` is None where it begins wherever the value is."""

    length: float
    origin: float | None
    value: float
    curve: Curve


def lines(sweep: Sweep) -> Iterator[Line]:
    """The lines of a sweep, in order."""
    at, jumped = 0.0, False
    for leg in _legs(sweep):
        for line in _lines(leg, at):
            yield Line(line.start, line.length, line.value, jumped and line.length > 0.0)
            jumped = line.length == 0.0
        at += leg.length


def period(sweep: Sweep) -> float:
    """How long one time through takes, in the sweep's unit."""
    first, last = sweep.points[0][0], sweep.points[-1][0]
    return 2.0 * (last - first) if sweep.pingpong else last


def _legs(sweep: Sweep) -> Iterator[Leg]:
    there = _there(sweep)
    back = [Leg(leg.length, leg.value, leg.origin or 0.0, mirrored(leg.curve)) for leg in reversed(there[1:])]
    yield from there
    if sweep.pingpong:
        yield from back
    while sweep.loop and period(sweep) >= SHORTEST:
        if sweep.pingpong:
            yield from (*there[1:], *back)
        elif there[0].length > 0.0 or there[0].value != there[-1].value:
            yield from there
        else:
            yield from there[1:]


def _there(sweep: Sweep) -> list[Leg]:
    curves = sweep.curves or (0.0,) * len(sweep.points)
    legs, before, origin = [], 0.0, None
    for (t, value), curve in zip(sweep.points, curves, strict=True):
        legs.append(Leg(t - before, origin, value, 0.0 if origin is None and curve != STEP else curve))
        before, origin = t, value
    return legs


def _lines(leg: Leg, at: float) -> Iterator[Line]:
    if leg.length == 0.0 or leg.curve == DROP:
        yield Line(at, 0.0, leg.value)
    elif leg.curve == STEP:
        yield Line(at + leg.length, 0.0, leg.value)
    elif leg.origin is None:
        yield Line(at, leg.length, leg.value)
    else:
        before = 0.0
        for u, share in corners(leg.curve, min(0.5, FINEST / leg.length)):
            yield Line(at + before * leg.length, (u - before) * leg.length, _between(leg, share))
            before = u


def _between(leg: Leg, share: float) -> float:
    assert leg.origin is not None
    return leg.value if share == 1.0 else leg.origin + (leg.value - leg.origin) * share
