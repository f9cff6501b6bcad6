"""Who gets telemetry or changes over OSC, how often, and when it is next due.

The OSC server's thread only. Each subscriber has a connected socket of its own, because only a connected one is told
that nobody listens at the other end. One on another machine also holds a lease, since a network may lose that answer:
any message from that machine renews it. What is sent is left to the server.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection, Mapping

from instrument.osc.allow import is_loopback
from instrument.osc.arrivals import Endpoint

MOST = 16
DEFAULT_RATE = 20.0  # a second
PATIENCE = 10.0  # seconds nobody may be listening before a subscriber is forgotten
LEASE = 3600.0  # seconds that another machine may be silent
STILL = 30.0  # a second: how often a value of telemetry that does not change is sent
AT_ONCE = 128  # changes; a receiver's usual buffer holds twice as many small datagrams
_GONE = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH}


class Subscriber:
    """One place something goes to.

    Args:
        endpoint: (host, port).
        rate: times a second.
        now: seconds of time.monotonic.
        author: who asked, for whom what they said themselves is no news; None for telemetry.

    Raises OSError if the endpoint cannot be reached.
    """

    def __init__(self, endpoint: Endpoint, rate: float, now: float, author: Endpoint | None = None) -> None:
        self.interval, self.due, self.author = 1.0 / rate, now, author
        self.renewed = now
        self._repeat = 0 if author else max(1, round(rate / STILL))  # every which tick says everything again
        self._ticks = 0
        self._known: dict[str, bytes] = {}
        family, _, _, _, address = socket.getaddrinfo(*endpoint, type=socket.SOCK_DGRAM)[0]
        self._leased = not is_loopback(str(address[0]))
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._answered = now

    def send(self, found: Mapping[str, bytes], now: float, own: Collection[str] = ()) -> bool:
        """Send what is new to it, never waiting; names in ``own`` it knows itself, after the first time.

        Returns False when nobody has been listening for long, or the lease is over.
        """
        news = self._news(found, own)
        if news and not self._send(news):
            self._answered = now
        return now - self._answered < PATIENCE and not (self._leased and now - self.renewed > LEASE)

    def _news(self, found: Mapping[str, bytes], own: Collection[str]) -> list[bytes]:
        known = self._known
        if self._repeat:
            everything = self._ticks % self._repeat == 0
            self._ticks += 1
            news = [data for name, data in found.items() if everything or known.get(name) != data]
            known.update(found)
            return news
        known.update((name, found[name]) for name in own if name in known)
        names = [name for name, data in found.items() if known.get(name) != data][:AT_ONCE]
        known.update((name, found[name]) for name in names)
        return [found[name] for name in names]

    def _send(self, datagrams: list[bytes]) -> bool:
        """Whether somebody said that nobody is there."""
        refused = False
        send = self._socket.send
        for datagram in datagrams:
            try:
                send(datagram)
            except OSError as error:  # a full buffer or a network that is away: some may be lost
                refused = refused or error.errno in _GONE
        return refused

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Subscribers:
    """All of them, by endpoint.

    Args:
        what: the trigger that adds one, for messages.
    """

    def __init__(self, what: str = "subscribe") -> None:
        self._what = what
        self._all: dict[Endpoint, Subscriber] = {}

    def add(self, endpoint: Endpoint, rate: float, now: float, author: Endpoint | None = None) -> None:
        """A new one, or a new rate. Raises ValueError if there are too many or the endpoint cannot be reached."""
        if endpoint not in self._all and len(self._all) >= MOST:
            raise ValueError(f"{self._what}: there are {MOST} subscribers already")
        try:
            subscriber = Subscriber(endpoint, rate, now, author)
        except OSError as error:
            raise ValueError(f"{self._what}: {endpoint[0]}:{endpoint[1]}: {error.strerror}") from None
        self.remove(*endpoint)
        self._all[endpoint] = subscriber

    def remove(self, host: str, port: int | None = None) -> None:
        """Forget that endpoint, or every one of ``host``."""
        for endpoint in [e for e in self._all if e[0] == host and port in (None, e[1])]:
            self._all.pop(endpoint).close()

    def heard(self, host: str, now: float) -> None:
        """Somebody on ``host`` has said something: their leases begin anew."""
        for (where, _), subscriber in self._all.items():
            if where == host:
                subscriber.renewed = now

    def wait(self, now: float, longest: float) -> float:
        """Seconds until one is due, at most ``longest``."""
        return max(0.0, min([longest, *(s.due - now for s in self._all.values())])) if self._all else longest

    def due(self, now: float) -> dict[Endpoint, Subscriber]:
        """Those whose turn it is; their next turns are set, whatever comes of this one."""
        found = {endpoint: s for endpoint, s in self._all.items() if s.due <= now}
        for subscriber in found.values():
            subscriber.due = max(subscriber.due + subscriber.interval, now)
        return found

    def __len__(self) -> int:
        return len(self._all)

    def close(self) -> None:
        """Forget them all."""
        with contextlib.suppress(OSError):
            for subscriber in self._all.values():
                subscriber.close()
        self._all.clear()
