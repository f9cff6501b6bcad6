"""Datagrams that wait to be read: in their order, bounded, and of a flood only what still matters.

The OSC thread only. While more wait than can be read within the control path's 2 ms, a plain message to a continuous
address makes an earlier one to the same address, of the same sender, void: the last value wins, and the controller is
not asked for those it replaces. Everything else stays, in order. When there is no room the rest is left to the system,
which counts what it drops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from instrument.osc.arrivals import Arrival

BEHIND = 16  # waiting datagrams from which on there is a flood: reading one takes about 0.13 ms
MOST = 50_000
MOST_BYTES = 16 << 20


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
            if self._count > BEHIND and (address := self._address(arrival.data)):
                self._overtake((address, arrival.sender), place)

    def _address(self, data: bytes) -> bytes:
        """Of a plain message to a continuous value; empty for anything else."""
        address = data[: data.find(b"\0")] if data.startswith(b"/") else b""
        return address if address and self._continuous(address) else b""

    def _overtake(self, key: tuple[bytes, object], place: list[Arrival | None]) -> None:
        before = self._latest.get(key)
        if before is not None and before[0] is not None:
            self._drop(before[0])
            before[0] = None
            self.overtaken += 1
        if len(self._latest) >= MOST:
            self._latest.clear()
        self._latest[key] = place

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
