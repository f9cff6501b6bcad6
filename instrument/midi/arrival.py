"""When a message really came: a driver's own times, in terms of ``time.monotonic``.

The thread that a driver calls. A driver says how long after the message before it each one came; when it tells us is
later, by however long other threads kept it waiting, and never earlier. So the offset between its clock and ours is the
least that was seen, let up slowly, because clocks drift apart. A driver whose clock jumped, or that leaves times out,
is believed anew once it has been late by too much for too long.

The moment is never after the call and, as long as the driver's times are right, at most as early or late as
the least delay of the messages lately seen plus DRIFT times the pause since.
"""

from __future__ import annotations

import math

DRIFT = 1e-4  # seconds a second that the two clocks may part
FAR = 0.25  # seconds: nothing is that late; the driver's clock has jumped
NEAR = 0.02  # seconds: late by more, again and again for LONG, it has jumped too
LONG = 1.0  # seconds


class Arrivals:
    """One input's clock."""

    def __init__(self) -> None:
        self._theirs = 0.0
        self._offset: float | None = None  # ours minus theirs
        self._seen = 0.0
        self._late_since: float | None = None
        self._least = math.inf  # offset seen since then

    def moment(self, delta: float, called: float) -> float:
        """When a message came, seconds of time.monotonic.

        Args:
            delta: seconds since the message before it by the driver's clock; anything.
            called: time.monotonic of the driver's call.
        """
        if not 0.0 <= delta < 1e6:  # NaN too
            self._offset = None
            delta = 0.0
        self._theirs += delta
        offset = called - self._theirs
        if self._offset is None:
            self._anchor(offset)
        else:
            self._offset = min(self._offset + DRIFT * max(0.0, called - self._seen), offset)
            self._watch(offset, called)
        self._seen = called
        assert self._offset is not None
        return self._theirs + self._offset

    def _watch(self, offset: float, called: float) -> None:
        """Believe the driver anew if every message for a while was late."""
        assert self._offset is not None
        late = offset - self._offset
        if late > FAR:
            self._anchor(offset)
        elif late <= NEAR:
            self._late_since = None
        elif self._late_since is None:
            self._late_since, self._least = called, offset
        else:
            self._least = min(self._least, offset)
            if called - self._late_since > LONG:
                self._anchor(self._least)

    def _anchor(self, offset: float) -> None:
        self._offset, self._late_since = offset, None
