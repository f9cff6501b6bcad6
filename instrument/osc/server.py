"""OSC in and out over UDP: datagrams to gestures, in the order they came; answers, faults and telemetry back.

One thread of its own, which reads, answers and sends telemetry, and which nothing that arrives can end. Replies go to
the sender's port and to the configured send address, because Max and TouchDesigner listen on another socket than they
send from. What a gesture does is left to the controller; this imports neither it nor the engine.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol

from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from instrument.arguments import read_arguments
from instrument.faults import Faults
from instrument.osc.addresses import OUTGOING, Route, routes
from instrument.osc.pattern import Pattern, is_pattern
from instrument.osc.subscribers import DEFAULT_RATE, Endpoint, Subscribers
from instrument.osc.validate import check_datagram
from instrument.parameters import PARAMETERS, PREFIX, TRIGGERS, shorten, suggest

IDLE = 0.1  # seconds between looks at the stop flag
WAITING = 4 << 20  # bytes that the system is asked to keep for us; when they are full it drops what is newest
MOST = 50_000  # datagrams that may wait here; more are left to the system
_HERE = ("trigger", "get"), ("trigger", "ping"), ("trigger", "subscribe"), ("trigger", "unsubscribe")


class Desk(Protocol):
    """What is needed of the controller."""

    voices: int

    def set(
        self, name: str, value: object, voice: int | None, ramp: object, when: float | None, source: object
    ) -> None: ...
    def set_norm(self, name: str, norm: object, ramp: object, when: float | None, source: object) -> None: ...
    def trigger(self, name: str, *given: object, voice: int | None, when: float | None, source: object) -> None: ...
    def get(self, name: str) -> float | str: ...
    def telemetry(self) -> dict[str, float]: ...


class OscServer:
    """The instrument's OSC ear and mouth.

    Args:
        desk: the controller.
        listen: (host, port); port 0 lets the system choose (see :attr:`endpoint`).
        send: (host, port) that gets every reply too, or None.
        say: takes a line for the terminal; must not block.
        version: what ``ping`` answers.
    """

    def __init__(
        self, desk: Desk, listen: Endpoint, send: Endpoint | None, say: Callable[[str], None], version: str = ""
    ) -> None:
        self._desk, self._listen, self._send_to, self._version = desk, listen, send, version
        self._say, self._faults = say, Faults(say)
        self._routes = routes(desk.voices)
        self._matching = lru_cache(256)(self._match)
        self._unknown = lru_cache(256)(self._describe_unknown)  # looking for the nearest name takes 2 ms
        self._subscribers = Subscribers()
        self._arrived: deque[tuple[bytes, Endpoint, float]] = deque()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it listens; None while it does not."""
        return self._socket.getsockname()[:2] if self._socket else None

    def start(self) -> bool:
        """Listen. If that cannot be, say so in one line and return False: the set goes on without OSC."""
        host, port = self._listen
        try:
            self._socket = _bound(host, port)
        except OSError as error:
            self._say(f"OSC: {host}:{port}: {error.strerror or error}; playing without OSC")
            return False
        self._send_to = self._resolved(self._send_to, self._socket.family)
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Stop listening; waits for the thread. Safe to call twice, or without a start."""
        self._stopping.set()
        if self._thread:
            self._thread.join(2.0)
            self._thread = None

    def _resolved(self, endpoint: Endpoint | None, family: int) -> Endpoint | None:
        """The send address as numbers, once, so that no reply waits for a name server."""
        if endpoint is None:
            return None
        try:
            found = socket.getaddrinfo(*endpoint, family, socket.SOCK_DGRAM)[0][4]
            return str(found[0]), int(found[1])
        except OSError as error:
            self._say(f"OSC: {endpoint[0]}:{endpoint[1]}: {error.strerror or error}; replies go to senders only")
            return None

    # --- the thread

    def _run(self) -> None:
        assert self._socket
        while not self._stopping.is_set():
            self._guarded(None, self._turn, self._socket)
        self._subscribers.close()
        self._socket.close()
        self._socket = None

    def _turn(self, opened: socket.socket) -> None:
        """Wait for a datagram if none waits here, take what has come, read one."""
        now = time.monotonic()
        wait = 0.0 if self._arrived else max(1e-4, self._subscribers.wait(now, IDLE))
        self._drain(opened, wait)
        if self._arrived:
            self.receive(*self._arrived.popleft())
        else:
            self._faults.flush()
        self._publish(time.monotonic())

    def _drain(self, opened: socket.socket, wait: float) -> None:
        """Take all there is: reading a datagram takes 50 times as long as taking it, and a flood is over by then."""
        opened.settimeout(wait)
        with contextlib.suppress(OSError):  # nothing (more) there, or Windows telling that a reply found nobody
            while len(self._arrived) < MOST:
                data, sender = opened.recvfrom(65536)
                self._arrived.append((data, sender[:2], time.monotonic()))
                opened.settimeout(0.0)

    def receive(self, data: bytes, sender: Endpoint, moment: float) -> None:
        """One datagram that arrived at ``moment`` of time.monotonic. Never raises."""
        try:
            check_datagram(data)
            packet = OscMessage(data) if data.startswith(b"/") else OscBundle(data)
        except ValueError as error:
            self._fault(str(error), sender)
            return
        offset = moment - time.time()
        for message, when in _messages(packet, moment, offset):
            self._guarded(sender, self._message, message, when, sender)

    def _guarded(self, sender: Endpoint | None, act: Callable[..., None], *arguments: Any) -> None:
        """Whatever goes wrong is a line, and the thread goes on."""
        try:
            act(*arguments)
        except ValueError as error:
            self._fault(str(error), sender)
        except Exception as error:
            self._fault(f"OSC: {type(error).__name__}: {' '.join(str(error).split())[:200]}", sender)

    def _message(self, message: OscMessage, when: float, sender: Endpoint) -> None:
        address = message.address
        route = self._routes.get(address)
        if route is not None:
            self._act(route, message.params, when, sender)
        elif is_pattern(address):
            for found in self._matching(address):
                self._guarded(sender, self._act, found, message.params, when, sender)
        elif address.removeprefix(f"{PREFIX}/").split("/")[0] not in OUTGOING:
            raise ValueError(self._unknown(address))

    def _match(self, pattern: str) -> list[Route]:
        fits = Pattern(pattern).matches
        found = [route for address, route in self._routes.items() if fits(address)]
        if not found:
            raise ValueError(f"no address matches {shorten(pattern, 80)}")
        return found

    def _describe_unknown(self, address: str) -> str:
        parts = address.split("/")
        if parts[:3] == ["", PREFIX[1:], "voice"] and len(parts) > 4 and f"{PREFIX}/voice/1/{parts[4]}" in self._routes:
            return f"no voice {shorten(parts[3])}; there are {self._desk.voices}, from 1"
        base = [known for known in self._routes if "/voice/" not in known or "/voice/1/" in known]
        hint = suggest(address, base)
        return f"no address {shorten(address, 80)}{hint if 'did you mean' in hint else ''}"

    def _act(self, route: Route, params: list[Any], when: float, sender: Endpoint) -> None:
        if (route.kind, route.name) in _HERE:
            self._answer(route.name, params, sender)
        elif route.kind == "trigger":
            self._desk.trigger(route.name, *params, voice=route.voice, when=when, source=sender)
        elif not 1 <= len(params) <= 2:
            raise ValueError(f"{route.name}: {len(params)} arguments; it takes value [ramp seconds]")
        elif route.kind == "norm":
            self._desk.set_norm(route.name, params[0], _ramp(params), when, sender)
        else:
            self._desk.set(route.name, params[0], route.voice, _ramp(params), when, sender)

    def _answer(self, name: str, params: list[Any], sender: Endpoint) -> None:
        arguments = read_arguments(TRIGGERS[name], tuple(params))
        match name:
            case "get":
                asked = str(arguments[0])
                self._reply(sender, "value", asked, self._desk.get(asked))
            case "ping":
                self._reply(sender, "pong", self._version)
            case "subscribe":
                rate = DEFAULT_RATE if arguments[1] is None else float(arguments[1])
                self._subscribers.add((sender[0], int(arguments[0] or 0)), rate, time.monotonic())
            case _:
                self._subscribers.remove(sender[0], None if arguments[0] is None else int(arguments[0]))

    # --- outwards

    def _publish(self, now: float) -> None:
        due = self._subscribers.due(now)
        if not due:
            return
        datagrams = [build(f"out/{name}", float(value)) for name, value in self._desk.telemetry().items()]
        for (host, port), subscriber in due.items():
            if not subscriber.send(datagrams, now):
                self._subscribers.remove(host, port)
                self._say(f"OSC: nobody listens at {host}:{port} any more; unsubscribed")

    def _fault(self, text: str, sender: Endpoint | None) -> None:
        self._faults.report(text)
        if sender is not None:
            self._reply(sender, "error", text)

    def _reply(self, sender: Endpoint, address: str, *values: float | str) -> None:
        datagram = build(address, *values)
        for endpoint in {sender, self._send_to or sender}:
            try:
                if self._socket:
                    self._socket.sendto(datagram, endpoint)
            except OSError as error:
                self._faults.report(f"OSC: {endpoint[0]}:{endpoint[1]}: {error.strerror}")


def _bound(host: str, port: int) -> socket.socket:
    """A UDP socket that listens there. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    opened = socket.socket(family, socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING)
    try:
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def build(address: str, *values: float | str) -> bytes:
    """A message below the prefix, with floats and texts."""
    builder = OscMessageBuilder(f"{PREFIX}/{address}")
    for value in values:
        builder.add_arg(value)
    return bytes(builder.build().dgram)


def _messages(packet: OscMessage | OscBundle, moment: float, offset: float) -> Iterator[tuple[OscMessage, float]]:
    """Every message and when it is meant, in order; ``offset`` takes the wall clock to time.monotonic.

    A bundle's time tag counts if it lies in the future; how far ahead is believed is left to the controller.
    """
    if isinstance(packet, OscMessage):
        yield packet, moment
        return
    when = max(moment, packet.timestamp + offset)
    for content in packet:
        if isinstance(content, OscMessage):
            yield content, when
        else:
            yield from _messages(content, moment, offset)


def _ramp(params: list[Any]) -> Any:
    return params[1] if len(params) > 1 else 0.0


assert not set(PARAMETERS) & set(TRIGGERS)
