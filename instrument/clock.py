"""The sample clock as gestures see it: which session sample belongs to a moment of ``time.monotonic``.

The device's callback publishes (sample, time) once a block, and a scheduler calls it early or late by milliseconds. A
gesture's place must not shake with it, so the offset between the two clocks is smoothed. A block that the device has
left out moves everything behind it, at once and for good: that is followed as soon as it is certain. Whoever holds the
controller's lock calls this; reading the published pair is left to the link.
"""

from __future__ import annotations

import math

SETTLING = 1.0  # seconds; a device 200 ppm fast then lags by 0.2 ms, always the same way
JUMP = 0.05  # seconds; more than a late callback: a device was lost, or samples were dropped
APART = 0.001  # seconds: less than a block; callbacks of a steady device lie around the mean, a later one comes alone
CERTAIN = 0.05  # seconds, and STEPS pairs, that all lie apart on one side: the device has left something out
STEPS = 6


class SampleClock:
    """``sample = rate * time + offset``, the offset a running mean at first and a slow average later."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._offset: float | None = None
        self._latest = 0.0
        self._seen = 0
        self._apart: list[tuple[float, float]] = []  # (moment, offset) of the last pairs, all apart on one side

    @property
    def running(self) -> bool:
        """Whether anything has read a block yet."""
        return self._offset is not None

    def observe(self, sample: int, moment: float) -> None:
        """Take in a published pair; the same one twice, or none yet (moment 0.0), changes nothing."""
        if moment <= 0.0 or moment == self._latest:
            return
        offset = sample - self.rate * moment
        if self._offset is None or abs(offset - self._offset) > JUMP * self.rate:
            self._begin(offset)
        elif self._stepped(offset, moment, self._offset):
            self._begin(sum(each for _, each in self._apart) / len(self._apart), len(self._apart))
        else:
            self._seen += 1
            share = 1.0 - math.exp(-abs(moment - self._latest) / SETTLING)
            self._offset += (offset - self._offset) * max(share, 1.0 / (self._seen + 1) if self._seen < 50 else 0.0)
        self._latest = moment

    def _begin(self, offset: float, seen: int = 0) -> None:
        self._offset, self._seen = offset, seen
        self._apart.clear()

    def _stepped(self, offset: float, moment: float, mean: float) -> bool:
        """Whether what was published lately lies elsewhere, all of it."""
        before = self._apart[-1][1] if self._apart else offset
        if abs(offset - mean) < APART * self.rate or (offset - mean) * (before - mean) < 0:
            self._apart.clear()
            return False
        self._apart.append((moment, offset))
        return len(self._apart) >= STEPS and moment - self._apart[0][0] >= CERTAIN

    def sample(self, moment: float) -> float:
        """The session sample of ``moment`` (seconds of time.monotonic); 0 before anything was read."""
        return 0.0 if self._offset is None else self.rate * moment + self._offset

    def moment(self, sample: float) -> float:
        """The moment of a session sample; only while :attr:`running`."""
        assert self._offset is not None
        return (sample - self._offset) / self.rate
