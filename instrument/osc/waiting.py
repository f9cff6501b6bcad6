"""Datagrams that wait to be read: in their order, bounded, and of a flood only what still matters.

The OSC thread only. While more wait than can be read within the control path's 2 ms, a plain value for a continuous
address makes an earlier message to the same address, of the same sender, void: the last value wins, and the controller
is not asked for those it replaces. Everything else stays, in order, and nothing is overtaken across it: a snapshot
stores the values that were sent before it. A value with a ramp overtakes none, for the one before may be where it
starts. When there is no room the rest is left to the system, which counts what it drops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from instrument.osc.arrivals import Arrival

BEHIND = 16  # waiting datagrams from which on there is a flood: reading one takes about 0.13 ms
MOST = 50_000
MOST_BYTES = 16 << 20
_ONE_NUMBER = frozenset(b"," + tag + b"\0\0" for tag in (b"i", b"f", b"h", b"d", b"T", b"F"))


class Waiting:
    """A queue of arrivals.

    Args:
        continuous: whether an address (as bytes) leads to a value of which only the last matters.
    """

    def __init__(self, continuous: Callable[[bytes], bool]) -> None:
        self.overtaken = 0  # values that a later one made void before they were read
        self._continuous = continuous
        self._queue: deque[list[Arrival | None]] = deque()
        self._latest: dict[tuple[bytes, object], list[Arrival | None]] = {}
        self._bytes = self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether nothing more is taken now."""
        return len(self._queue) >= MOST or self._bytes >= MOST_BYTES

    def extend(self, arrivals: Iterable[Arrival]) -> None:
        """Put behind."""
        for arrival in arrivals:
            place: list[Arrival | None] = [arrival]
            self._queue.append(place)
            self._count += 1
            self._bytes += len(arrival.data)
            self._place(arrival, place)

    def _place(self, arrival: Arrival, place: list[Arrival | None]) -> None:
        """Let it overtake what it may, and be overtaken, or stand between what comes before and after it."""
        end = arrival.data.find(b"\0")
        address = arrival.data[:end] if arrival.data.startswith(b"/") else b""
        if not self._continuous(address):
            self._latest.clear()
        elif self._count > BEHIND:
            key = address, arrival.sender
            tags = end + 4 - end % 4
            if arrival.data[tags : tags + 4] in _ONE_NUMBER:
                self._overtake(key)
            if len(self._latest) >= MOST:
                self._latest.clear()
            self._latest[key] = place

    def _overtake(self, key: tuple[bytes, object]) -> None:
        before = self._latest.get(key)
        if before is not None and before[0] is not None:
            self._drop(before[0])
            before[0] = None
            self.overtaken += 1

    def _drop(self, arrival: Arrival) -> None:
        self._count -= 1
        self._bytes -= len(arrival.data)

    def next(self) -> Arrival | None:
        """The one that has waited longest; None when nothing waits."""
        while self._queue:
            place = self._queue.popleft()
            if (arrival := place[0]) is not None:
                place[0] = None
                self._drop(arrival)
                return arrival
        self._latest.clear()
        return None
