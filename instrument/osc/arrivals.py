"""Datagrams off the wire, each with the moment at which it came, as time.monotonic sees it.

The OSC thread only. On Linux the kernel stamps what arrives, so that an interpreter that is busy elsewhere does not
shift an event's time; in other systems the moment is that of the reading. Whose messages are taken, and what they mean,
is left to the server.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import time
from typing import NamedTuple

from instrument.osc.validate import MAX_BYTES

Endpoint = tuple[str, int]

WAITING = 4 << 20  # bytes that the system is asked to keep for us; when they are full it drops what is newest
BATCH = 64  # datagrams taken at once
_ROOM = MAX_BYTES + 8  # of a datagram; a longer one is cut off and refused
_SO_TIMESTAMPNS, _SO_RXQ_OVFL = 35, 40  # of Linux, see socket(7); Python does not name them
_TIME, _COUNT = struct.Struct("@ll"), struct.Struct("@I")
_NOTES = 128  # bytes: room for both
_CLOSE = 2e-5  # seconds: a measurement of two clocks that took longer says too little
_OLDEST = 10.0  # seconds; a stamp before that is of a clock that has been set anew


class Arrival(NamedTuple):
    """A datagram, the (host, port) that sent it, and when it arrived in seconds of time.monotonic."""

    data: bytes
    sender: Endpoint
    moment: float


class WallClock:
    """What takes the wall clock, which stamps and time tags are in, to time.monotonic."""

    def __init__(self) -> None:
        self.offset = time.monotonic() - time.time()
        self._measured = -1.0

    def steady(self) -> None:
        """Measure again. What was interrupted between its two looks counts only if there is nothing better."""
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < _CLOSE or after - self._measured > 1.0:
            self.offset, self._measured = 0.5 * (before + after) - wall, after

    def moment(self, wall: float, now: float) -> float:
        """A stamp of the wall clock as time.monotonic: never after ``now``, and ``now`` if it cannot be right."""
        moment = min(wall + self.offset, now)
        return moment if moment > now - _OLDEST else now


class Inlet:
    """A bound UDP socket. Raises OSError if it cannot be.

    Attributes:
        socket: for what is sent.
        lost: datagrams that the system had no room for, as far as it says.
        stamped: whether the kernel tells when a datagram came.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = _bound(host, port)
        self.clock = WallClock()
        self.lost = 0
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll:
            self._poll.register(self.socket, select.POLLIN)
        self.stamped = _stamped(self.socket)

    def wait(self, seconds: float) -> None:
        """Until something has come, at most that long."""
        if self._poll:
            self._poll.poll(max(0.0, 1000.0 * seconds))
        else:
            select.select([self.socket], [], [], max(0.0, seconds))

    def take(self) -> list[Arrival]:
        """What has come, at most BATCH of it, in order; nothing if nothing has. Never waits."""
        self.clock.steady()
        found: list[Arrival] = []
        with contextlib.suppress(OSError):  # nothing (more) there, or Windows telling that a reply found nobody
            while len(found) < BATCH:
                found.append(self._next())
        return found

    def _next(self) -> Arrival:
        if not self.stamped:
            data, sender = self.socket.recvfrom(_ROOM)
            return Arrival(data, sender[:2], time.monotonic())
        data, notes, _, sender = self.socket.recvmsg(_ROOM, _NOTES)
        now = time.monotonic()
        moment = now
        for level, kind, content in notes:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(content) == _TIME.size:
                seconds, nanoseconds = _TIME.unpack(content)
                moment = self.clock.moment(seconds + 1e-9 * nanoseconds, now)
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self.lost = _COUNT.unpack(content)[0]
        return Arrival(data, sender[:2], moment)

    def close(self) -> None:
        """Let go of the port."""
        self.socket.close()


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    opened = socket.socket(family, socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING)
    opened.setblocking(False)
    try:
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def _stamped(opened: socket.socket) -> bool:
    """Ask for stamps and for the count of what was dropped; whether the system has the first."""
    if sys.platform != "linux":
        return False
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    except OSError:
        return False
    return True
