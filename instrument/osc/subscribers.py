"""Who gets telemetry over OSC, how often, and when it is next due.

The OSC server's thread only. Each subscriber has a connected socket of its own, because only a connected one is told
that nobody listens at the other end. What is sent is left to the server.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

MOST = 16
DEFAULT_RATE = 20.0  # a second
PATIENCE = 10.0  # seconds nobody may be listening before a subscriber is forgotten

Endpoint = tuple[str, int]


class Subscriber:
    """One place telemetry goes to."""

    def __init__(self, endpoint: Endpoint, rate: float, now: float) -> None:
        self.interval, self.due = 1.0 / rate, now
        family, _, _, _, address = socket.getaddrinfo(*endpoint, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(address)
        self._answered = now

    def send(self, datagrams: Iterable[bytes], now: float) -> bool:
        """Send, never waiting. Returns False when nobody has been listening for long."""
        refused = False
        for datagram in datagrams:
            try:
                self._socket.send(datagram)
            except ConnectionRefusedError:
                refused = True
            except OSError:
                pass  # a full buffer or a network that is away: telemetry may be lost
        if not refused:
            self._answered = now
        self.due = max(self.due + self.interval, now)
        return now - self._answered < PATIENCE

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Subscribers:
    """All of them, by endpoint."""

    def __init__(self) -> None:
        self._all: dict[Endpoint, Subscriber] = {}

    def add(self, endpoint: Endpoint, rate: float, now: float) -> None:
        """A new one, or a new rate. Raises ValueError if there are too many or the endpoint cannot be reached."""
        if endpoint not in self._all and len(self._all) >= MOST:
            raise ValueError(f"subscribe: there are {MOST} subscribers already")
        try:
            subscriber = Subscriber(endpoint, rate, now)
        except OSError as error:
            raise ValueError(f"subscribe: {endpoint[0]}:{endpoint[1]}: {error.strerror}") from None
        self.remove(*endpoint)
        self._all[endpoint] = subscriber

    def remove(self, host: str, port: int | None = None) -> None:
        """Forget that endpoint, or every one of ``host``."""
        for endpoint in [e for e in self._all if e[0] == host and port in (None, e[1])]:
            self._all.pop(endpoint).close()

    def wait(self, now: float, longest: float) -> float:
        """Seconds until one is due, at most ``longest``."""
        return max(0.0, min([longest, *(s.due - now for s in self._all.values())]))

    def due(self, now: float) -> dict[Endpoint, Subscriber]:
        """Those whose turn it is."""
        return {endpoint: s for endpoint, s in self._all.items() if s.due <= now}

    def close(self) -> None:
        """Forget them all."""
        with contextlib.suppress(OSError):
            for subscriber in self._all.values():
                subscriber.close()
        self._all.clear()
