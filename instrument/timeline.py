"""Moments and places: where in the session a gesture takes effect, L after it, and what moment a place belongs to.

A moment is seconds of ``time.monotonic``, a place is session seconds or, counted, a session sample. Whoever holds the
controller's lock calls this; what the device published is smoothed by :mod:`instrument.clock`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from instrument.clock import SampleClock


class Timeline:
    """One session's time.

    Args:
        published: what the device's callback published last, (sample, moment); (0, 0.0) before anything plays.
        sample_rate: of the session, Hz.
        latency: L in samples.
        now: the time.
    """

    def __init__(
        self, published: Callable[[], tuple[int, float]], sample_rate: int, latency: int, now: Callable[[], float]
    ) -> None:
        self.now = now
        self._published, self._rate, self._latency = published, sample_rate, latency
        self._clock = SampleClock(sample_rate)
        self._pinned: tuple[float, int] | None = None  # a moment whose sample is settled

    def observe(self) -> None:
        """Follow the device."""
        self._clock.observe(*self._published())

    def sample(self, moment: float) -> int:
        """Where a gesture of that moment takes effect; sample 0 before anything plays."""
        if self._pinned is not None:
            return max(0, self._pinned[1] + round((moment - self._pinned[0]) * self._rate))
        self.observe()
        if not self._clock.running:
            return 0
        return max(0, round(self._clock.sample(moment)) + self._latency)

    def read_at(self, moment: float) -> int:
        """The session sample that the device was given at that moment."""
        self.observe()
        return max(0, round(self._clock.sample(moment)))

    def place(self, moment: float) -> float:
        """Session seconds that are heard at that moment; 0 before anything plays."""
        self.observe()
        return self._clock.sample(moment) / self._rate

    def heard_at(self, moment: float) -> float:
        """Session seconds at which a gesture of that moment is heard."""
        return self.sample(moment) / self._rate

    def moment_of(self, seconds: float) -> float:
        """The moment whose gestures are heard at those session seconds; far from now before anything plays."""
        if not self._clock.running:
            return self.now() + seconds
        return self._clock.moment(seconds * self._rate - self._latency)

    @contextlib.contextmanager
    def pinned(self, moment: float, sample: int | None = None) -> Iterator[None]:
        """Every gesture of ``moment`` inside takes effect at one sample: at ``sample``, or where it would now."""
        before, self._pinned = self._pinned, (moment, self.sample(moment) if sample is None else sample)
        try:
            yield
        finally:
            self._pinned = before
