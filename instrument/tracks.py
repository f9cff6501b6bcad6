"""What a parameter's value is at a moment: gestures, ramps and sweep segments on a line of time.

Pure; whoever holds the controller's lock calls this. The render loop does the moving; this is how the control side
knows where it is, to answer ``get``, to stop a sweep where it stands, to let a knob pick up. Times are seconds of
time.monotonic, values natural units; the loop's 20 ms glide of a value without a ramp is not modelled.
"""

from __future__ import annotations

from bisect import insort_right
from dataclasses import dataclass

GLIDE = 0.02  # seconds the render loop takes to a value without a ramp


@dataclass(frozen=True)
class Motion:
    """From wherever the value is at ``start``, in a straight line to ``target`` within ``seconds``.

    ``run`` is the number of the sweep it belongs to, 0 for a gesture.
    """

    start: float
    target: float
    seconds: float = 0.0
    run: int = 0

    def at(self, moment: float, origin: float) -> float:
        """The value at ``moment`` if it was ``origin`` at the start."""
        if moment >= self.start + self.seconds:
            return self.target
        return origin + (self.target - origin) * (moment - self.start) / self.seconds


class Track:
    """One parameter of one voice (or of all)."""

    def __init__(self, value: float) -> None:
        self._base = value
        self._motions: list[Motion] = []

    def value(self, moment: float) -> float:
        """The natural value at ``moment``."""
        value = self._base
        for i, motion in enumerate(self._motions):
            if motion.start > moment:
                break
            until = self._motions[i + 1].start if i + 1 < len(self._motions) else moment
            value = motion.at(min(until, moment), value)
        return value

    def course(self, moment: float) -> tuple[float, float]:
        """Where the loop is going at ``moment`` and in how many seconds; the value itself and 0 if nothing moves.

        Unlike the values, this knows the loop's glide: what follows a jump begins when the jump is over.
        """
        started = [motion for motion in self._motions if motion.start <= moment]
        jumps = [m for m in started[-2:-1] if m.seconds == 0.0 and m.start == started[-1].start]
        for motion in (*jumps, *started[-1:]):
            left = motion.start + (motion.seconds or GLIDE) - moment
            if left > 0.0 or motion is started[-1]:
                return motion.target, max(0.0, left)
        return self._base, 0.0

    def target(self, moment: float) -> float:
        """Where the value is going at ``moment``: the end of what began last."""
        return next((m.target for m in reversed(self._motions) if m.start <= moment), self._base)

    def leads_to(self, value: float, moment: float) -> bool:
        """Whether it is at ``value``, or on the way to it, or will be."""
        if self.value(moment) == value or self.target(moment) == value:
            return True
        return any(m.target == value and m.start > moment for m in self._motions)

    def gliding(self, moment: float) -> float:
        """Seconds that the loop's glide of the last jump goes on from ``moment``."""
        latest = next((m for m in reversed(self._motions) if m.start <= moment), None)
        return 0.0 if latest is None or latest.seconds else max(0.0, latest.start + GLIDE - moment)

    def add(self, motion: Motion) -> None:
        """A new motion; behind those that start at the same moment."""
        insort_right(self._motions, motion, key=lambda m: m.start)

    def end_runs(self, moment: float) -> None:
        """Forget the sweep segments that would start after ``moment``."""
        self._motions = [m for m in self._motions if m.run == 0 or m.start <= moment]

    def rests_at(self, value: float, moment: float) -> bool:
        """Whether the value is ``value`` at ``moment`` and nothing is moving or waiting to."""
        latest = self._motions[-1] if self._motions else None
        return (latest is None or latest.start + latest.seconds <= moment) and self.value(moment) == value

    def ends(self) -> list[float]:
        """When its motions are over."""
        return [motion.start + motion.seconds for motion in self._motions]

    def forget(self, moment: float) -> None:
        """Drop what lies before ``moment`` and no longer matters."""
        while len(self._motions) > 1 and self._motions[1].start <= moment:
            self._base = self._motions[0].at(self._motions[1].start, self._base)
            del self._motions[0]
