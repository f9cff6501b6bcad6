"""OSC in and out over UDP: datagrams to gestures, in the order they came; answers, faults, telemetry and changes back.

One thread of its own, which reads, answers and sends, and which nothing that arrives can end. Replies go to the
sender's port and to the configured send address, because Max and TouchDesigner listen on another socket than they send
from. What a gesture does is left to the controller; this imports neither it nor the engine.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pythonosc.osc_message import OscMessage

from instrument.arguments import read_arguments
from instrument.faults import Faults
from instrument.osc import dispatch, everything
from instrument.osc.allow import Allowed
from instrument.osc.arrivals import Endpoint, Inlet
from instrument.osc.subscribers import DEFAULT_RATE, Subscribers
from instrument.osc.validate import check_datagram, check_message, messages
from instrument.osc.waiting import Waiting
from instrument.osc.wire import build, single
from instrument.parameters import PARAMETERS, TRIGGERS

IDLE = 0.1  # seconds between looks at the stop flag
ROUNDS = 16  # batches taken before one datagram is read, at most
STRETCH = 0.001  # seconds; a bundle of hundreds of gestures holds up neither telemetry nor the taking of others
MOST_GESTURES = 1024  # of one datagram
HERE = ("get", "ping", "subscribe", "unsubscribe", "listen", "unlisten", "dump")  # what the wire itself answers


class Desk(dispatch.Desk, everything.Desk, Protocol):
    """What is needed of the controller."""

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
        allowed: whose messages are taken; this machine's and private networks' if left out.
    """

    def __init__(
        self,
        desk: Desk,
        listen: Endpoint,
        send: Endpoint | None,
        say: Callable[[str], None],
        version: str = "",
        allowed: Allowed | None = None,
    ) -> None:
        self._desk, self._listen, self._send_to, self._version = desk, listen, send, version
        self._say, self._faults, self._allowed = say, Faults(say), allowed or Allowed()
        self._dispatch = dispatch.Dispatch(desk, HERE, self._answer)
        self._subscribers, self._listeners = Subscribers("subscribe"), Subscribers("listen")
        self._dumps = everything.Dumps()
        self._work: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._latest: tuple[float, str, list[Any]] | None = None
        self._waiting = Waiting(self._dispatch.continuous)
        self._stopping = threading.Event()
        self._inlet: Inlet | None = None
        self._lost = 0
        self._meant = send
        self._senders: deque[Endpoint] = deque(maxlen=8)  # the latest, each once
        self._offset = time.monotonic() - time.time()
        self._thread: threading.Thread | None = None

    @property
    def last(self) -> tuple[float, str] | None:
        """The last message, in words, and when it arrived (seconds of time.monotonic); any thread."""
        if self._latest is None:
            return None
        moment, address, params = self._latest
        return moment, " ".join([address, *(f"{p:.4g}" if isinstance(p, float) else str(p)[:40] for p in params[:8])])

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it listens; None while it does not."""
        return self._inlet.socket.getsockname()[:2] if self._inlet else None

    def start(self) -> bool:
        """Listen. If that cannot be, say so in one line and return False: the set goes on without OSC."""
        host, port = self._listen
        try:
            self._inlet = Inlet(host, port)
        except (OSError, UnicodeError) as error:
            self._say(f"OSC: {host}:{port}: {_why(error)}; playing without OSC")
            return False
        self._send_to = self._resolved(self._send_to, self._inlet.socket.family)
        self._thread = threading.Thread(target=self._run, name="osc", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Stop listening; waits for the thread. Safe to call twice, or without a start."""
        self._stopping.set()
        if self._thread:
            self._thread.join(2.0)
            self._thread = None

    def send_to(self, endpoint: Endpoint | None) -> None:
        """Another address that gets every reply too, or None. Any thread; a name server may take its time."""
        if endpoint != self._meant:
            self._meant = endpoint
            threading.Thread(target=self._resolve, args=(endpoint,), name="osc-send", daemon=True).start()

    def allow(self, networks: Iterable[str] | None) -> None:
        """Whose messages are taken from now on, besides this machine's. Any thread."""
        self._allowed.change(networks)

    def _resolve(self, endpoint: Endpoint | None) -> None:
        if inlet := self._inlet:
            found = self._resolved(endpoint, inlet.socket.family)
            if endpoint == self._meant:
                self._send_to = found

    def tell_error(self, text: str) -> None:
        """One line to the configured address and to whoever has sent something lately. Any thread."""
        datagram = build("error", text)
        for endpoint in {*list(self._senders), *([self._send_to] if self._send_to else [])}:
            self._send(endpoint, datagram)

    def _resolved(self, endpoint: Endpoint | None, family: int) -> Endpoint | None:
        """The send address as numbers, once, so that no reply waits for a name server."""
        if endpoint is None:
            return None
        try:
            found = socket.getaddrinfo(*endpoint, family, socket.SOCK_DGRAM)[0][4]
            return str(found[0]), int(found[1])
        except (OSError, UnicodeError) as error:
            self._say(f"OSC: {endpoint[0]}:{endpoint[1]}: {_why(error)}; replies go to senders only")
            return None

    # --- the thread

    def _run(self) -> None:
        assert self._inlet
        while not self._stopping.is_set():
            self._guarded(None, self._turn, self._inlet)
        self._subscribers.close()
        self._listeners.close()
        self._inlet.close()
        self._inlet = None

    def _turn(self, inlet: Inlet) -> None:
        """Wait for a datagram if none waits here, take what has come, read one, send what is due.

        What has come is all taken first: reading a datagram takes 20 times as long, and a flood is over by then.
        """
        if not self._waiting and not self._work:
            inlet.wait(self._pause(time.monotonic()))
        for _ in range(ROUNDS):
            if self._waiting.full or not (found := inlet.take()):
                break
            self._waiting.extend(found)
        self._offset = inlet.clock.offset
        if not self._work and (arrival := self._waiting.next()) is not None:
            self.receive(*arrival)
        if not self.work() and not self._waiting:
            self._faults.flush()
        self._count_lost(inlet)
        self._publish(time.monotonic())

    def _pause(self, now: float) -> float:
        pause = self._subscribers.wait(now, IDLE)
        return self._dumps.wait(now, self._listeners.wait(now, pause))

    def _count_lost(self, inlet: Inlet) -> None:
        if inlet.lost != self._lost:
            self._lost = inlet.lost
            room = inlet.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2048
            self._faults.report(
                f"OSC: the system dropped datagrams before they could be read; it keeps {room} KiB (net.core.rmem_max)"
            )

    def receive(self, data: bytes, sender: Endpoint, moment: float) -> None:
        """One datagram that arrived at ``moment`` of time.monotonic: checked, and laid out for work(). Never raises."""
        if not self._allowed(sender[0]):
            self._faults.report(f"OSC: {sender[0]} is not in osc.allow; what it sends is not taken")
            return
        if sender not in self._senders:
            self._senders.append(sender)
        self._subscribers.heard(sender[0], moment)
        self._listeners.heard(sender[0], moment)
        try:
            check_datagram(data)
        except ValueError as error:
            self._fault(str(error), sender)
            return
        for message, wall in messages(data):
            self._work.append((self._open, (message, max(moment, wall + self._offset), sender)))

    def work(self) -> bool:
        """A few of the gestures that one datagram holds; whether there are more. Never raises."""
        until = time.monotonic() + STRETCH
        while self._work:
            act, arguments = self._work.popleft()
            self._guarded(arguments[-1], act, *arguments)
            if time.monotonic() >= until:
                break
        return bool(self._work)

    def _open(self, data: bytes, when: float, sender: Endpoint) -> None:
        """One message, checked: its gesture, or, of a pattern, one for each address that fits, next in line.

        A time tag counts if it lies in the future; how far ahead is believed is left to the controller.
        """
        check_message(data)
        message = OscMessage(data)
        self._latest = when, message.address, message.params
        found = self._dispatch.find(message.address)
        if len(found) == 1:
            self._dispatch.act(found[0], message.params, when, sender)
        elif len(self._work) + len(found) > MOST_GESTURES:
            raise ValueError(f"OSC: more than {MOST_GESTURES} gestures in one datagram; the rest is left out")
        else:
            self._work.extendleft((self._dispatch.act, (r, message.params, when, sender)) for r in reversed(found))

    def _guarded(self, sender: Endpoint | None, act: Callable[..., None], *arguments: Any) -> None:
        """Whatever goes wrong is a line, and the thread goes on."""
        try:
            act(*arguments)
        except ValueError as error:
            self._fault(str(error), sender)
        except Exception as error:
            self._fault(f"OSC: {type(error).__name__}: {' '.join(str(error).split())[:200]}", sender)

    def _answer(self, name: str, params: list[Any], sender: Endpoint) -> None:
        """What the wire itself is asked for; ``name`` is one of HERE."""
        arguments = read_arguments(TRIGGERS[name], tuple(params))
        match name:
            case "get":
                asked = str(arguments[0])
                self._reply(sender, build("value", asked, self._desk.get(asked)))
            case "ping":
                self._reply(sender, build("pong", self._version))
            case "dump":
                self._dumps.add(sender, everything.dump(self._desk))
            case "subscribe" | "listen":
                rate = DEFAULT_RATE if arguments[1] is None else float(arguments[1])
                wanted, author = (self._subscribers, None) if name == "subscribe" else (self._listeners, sender)
                wanted.add((sender[0], int(arguments[0] or 0)), rate, time.monotonic(), author)
            case _:
                unwanted = self._subscribers if name == "unsubscribe" else self._listeners
                unwanted.remove(sender[0], None if arguments[0] is None else int(arguments[0]))

    # --- outwards

    def _publish(self, now: float) -> None:
        self._dumps.send(now, self._reply)
        if due := self._subscribers.due(now):
            found = {name: single(f"out/{name}", value) for name, value in self._desk.telemetry().items()}
            for endpoint, subscriber in due.items():
                if not subscriber.send(found, now):
                    self._forget(self._subscribers, endpoint)
        if due := self._listeners.due(now):
            found, authors = everything.state(self._desk)
            for endpoint, listener in due.items():
                own = [name for name, author in authors.items() if author == listener.author]
                if not listener.send(found, now, own):
                    self._forget(self._listeners, endpoint)

    def _forget(self, subscribers: Subscribers, endpoint: Endpoint) -> None:
        subscribers.remove(*endpoint)
        self._say(f"OSC: nobody listens at {endpoint[0]}:{endpoint[1]} any more; nothing more is sent there")

    def _fault(self, text: str, sender: Endpoint | None) -> None:
        self._faults.report(text)
        if sender is not None:
            self._reply(sender, build("error", text))

    def _reply(self, sender: Endpoint, datagram: bytes) -> None:
        for endpoint in {sender, self._send_to or sender}:
            self._send(endpoint, datagram)

    def _send(self, endpoint: Endpoint, datagram: bytes) -> None:
        try:
            if inlet := self._inlet:
                inlet.socket.sendto(datagram, endpoint)
        except OSError as error:
            self._faults.report(f"OSC: {endpoint[0]}:{endpoint[1]}: {error.strerror}")


def _why(error: Exception) -> str:
    """Why a host cannot be had: the system says so, or the codec that its name has to go through."""
    return getattr(error, "strerror", None) or str(error)


assert not set(PARAMETERS) & set(TRIGGERS)
