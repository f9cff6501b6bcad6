"""What a knob does that is not where its parameter is.

The MIDI input's thread. Pickup waits until the knob passes the parameter, which is noticed by crossing: fast turns skip
values, so nearness would miss. Scaling moves the parameter at once, in proportion to what both have left to the end.
"""

from __future__ import annotations


class Pickup:
    """One knob: where it was, and the value it set last."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._mine: float | None = None

    def takes(self, new: float, current: float, target: float, ends: tuple[float, float]) -> bool:
        """Whether the knob at ``new`` has its parameter in hand.

        Args:
            current: where the parameter is.
            target: where it is going (the same when at rest).
            ends: natural values at both ends of the knob; a parameter beyond an end is picked up there.
        """
        place = min(max(current, min(ends)), max(ends))
        in_hand = self._mine is not None and self._mine == target
        crossed = new == place or (self._last is not None and (self._last - place) * (new - place) <= 0.0)
        self._last = new
        self._mine = new if in_hand or crossed else None
        return in_hand or crossed


class Scaling:
    """One knob: where it was."""

    def __init__(self) -> None:
        self._last: float | None = None

    def moves(self, new: float, current: float) -> float | None:
        """Where the parameter goes when the knob goes to ``new``, both as parts of the way; None at the first touch.

        Both reach an end together; once they have met they stay together.
        """
        last, self._last = self._last, new
        if last is None or new == last:
            return None
        if new > last:
            return 1.0 if last >= 1.0 else current + (1.0 - current) * (new - last) / (1.0 - last)
        return current * new / last
