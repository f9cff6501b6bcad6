"""Tempo out of what hands and cables send: taps, and MIDI clock's pulses, which come early and late by milliseconds.

Pure; moments are seconds of time.monotonic. A straight line through the last pulses (least squares) steadies them: the
longer the window the steadier, so it grows to 32 beats, and falls to what still fits when the tempo has moved. What
the beat is for is left to :mod:`instrument.transport`.
"""

from __future__ import annotations

import itertools
import statistics
from collections import deque

import numpy as np
from numpy.typing import NDArray

from instrument.parameters import FASTEST, SLOWEST

PER_BEAT = 24  # MIDI clock's pulses
LONGEST = 32 * PER_BEAT  # at +-5 ms of jitter the line's end is then within 1 ms (a spread of 0.21 ms)
SHORTEST = PER_BEAT // 2  # fewer say nothing about a tempo
GONE = 1.0  # seconds without a pulse: the clock has stopped coming
TAPS = 8  # intervals of taps that count
STRAY = 0.2  # share by which an interval may differ from the median of all


class Taps:
    """Beats tapped by hand."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=TAPS + 1)

    def tap(self, moment: float) -> float | None:
        """Beats a minute after this tap; None from the first two, and after a pause longer than the slowest beat."""
        if self._moments and not 0.0 < moment - self._moments[-1] <= 60.0 / SLOWEST:
            self._moments.clear()
        self._moments.append(moment)
        if len(self._moments) < 3:
            return None
        taps = list(self._moments)
        intervals = [b - a for a, b in itertools.pairwise(taps)]
        middle = statistics.median(intervals)
        kept = [each for each in intervals if abs(each - middle) <= STRAY * middle]
        return min(max(60.0 / statistics.fmean(kept or [middle]), SLOWEST), FASTEST)


class Pulses:
    """MIDI clock, steadied.

    Attributes:
        count: pulses so far; the latest is number ``count - 1``.
        place: moment of the latest pulse as the line has it.
        period: seconds a pulse, as the line has them; 0.0 until there are enough.
    """

    def __init__(self) -> None:
        self.count = 0
        self.place = self.period = 0.0
        self._moments: deque[float] = deque(maxlen=LONGEST)

    def pulse(self, moment: float) -> None:
        """One arrived."""
        if self._moments and moment - self._moments[-1] > GONE:
            self._moments.clear()
            self.period = 0.0
        self._moments.append(moment)
        self.count += 1
        self._fit()

    def gone(self, now: float) -> bool:
        """Whether it has stopped coming: nothing for a second."""
        return not self._moments or now - self._moments[-1] > GONE

    def _fit(self) -> None:
        """The line through the longest of the windows that it fits."""
        if len(self._moments) < SHORTEST:
            self.place, self.period = self._moments[-1], 0.0
            return
        moments = np.array(self._moments)
        n = len(moments)
        place, period, fits = _line(moments)
        while not fits:
            n = max(PER_BEAT, n // 2)
            place, period, fits = _line(moments[-n:])
        for _ in range(len(moments) - n):
            self._moments.popleft()
        if period > 0.0:
            self.place, self.period = place, period


def _line(moments: NDArray[np.float64]) -> tuple[float, float, bool]:
    """(the line at the last, its slope, whether the last beat lies on it) of least squares through ``moments``.

    2.4 ms is four times the spread of the mean of 24 pulses of +-5 ms, 4.1 ms that of 8: more is a tempo that moved. A
    window of a beat always fits.
    """
    n = len(moments)
    x = np.arange(n) - (n - 1) / 2
    middle = float(moments.mean())
    slope = float(x @ (moments - middle)) * 12.0 / (n * (n * n - 1.0))
    off = moments - middle - slope * x
    fits = n <= PER_BEAT or (abs(float(off[-24:].mean())) < 0.0024 and abs(float(off[-8:].mean())) < 0.0041)
    return middle + slope * (n - 1) / 2, slope, fits
