"""Messages to gestures: which address leads where, patterns included.

The OSC server's thread. What a gesture does is left to the controller, what the wire itself is asked for to the server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from pythonosc.osc_message import OscMessage

from instrument.osc.addresses import CONTINUOUS, OUTGOING, Route, routes
from instrument.osc.arrivals import Endpoint
from instrument.osc.pattern import Pattern, is_pattern
from instrument.parameters import PREFIX, shorten, suggest

Guarded = Callable[..., None]


class Desk(Protocol):
    """What is needed of the controller here."""

    voices: int

    def set(
        self, name: str, value: object, voice: int | None, ramp: object, when: float | None, source: object
    ) -> None: ...
    def set_norm(self, name: str, norm: object, ramp: object, when: float | None, source: object) -> None: ...
    def trigger(self, name: str, *given: object, voice: int | None, when: float | None, source: object) -> None: ...


class Dispatch:
    """The way from a message to the desk.

    Args:
        desk: the controller.
        here: triggers that the wire itself answers, and what answers them: name, arguments, sender.
        guarded: calls its second argument with the rest and makes a line of what goes wrong; the first is the sender.
    """

    def __init__(
        self, desk: Desk, here: Sequence[str], answer: Callable[[str, list[Any], Endpoint], None], guarded: Guarded
    ) -> None:
        self._desk, self._here, self._answer, self._guarded = desk, frozenset(here), answer, guarded
        self._matching = lru_cache(256)(self._match)
        self._unknown = lru_cache(256)(self._describe_unknown)  # looking for the nearest name takes 2 ms
        self._macros: tuple[str, ...] = ()
        self._routes: dict[str, Route] = {}
        self._continuous: frozenset[bytes] = frozenset()
        self._read()

    def refresh(self) -> bool:
        """Follow the desk's macros, which are another patch's by now perhaps; whether they were."""
        if tuple(getattr(self._desk, "macros", ())) == self._macros:
            return False
        self._read()
        return True

    def _read(self) -> None:
        self._macros = tuple(getattr(self._desk, "macros", ()))
        self._routes = routes(self._desk.voices, self._macros)
        self._continuous = frozenset(a.encode() for a, route in self._routes.items() if route.kind in CONTINUOUS)
        self._matching.cache_clear()
        self._unknown.cache_clear()

    def continuous(self, address: bytes) -> bool:
        """Whether only the last of many messages to ``address`` matters."""
        return address in self._continuous

    def message(self, message: OscMessage, when: float, sender: Endpoint) -> None:
        """Do what it says, as of ``when``. Raises ValueError, one line."""
        address = message.address
        route = self._routes.get(address)
        if route is None and self.refresh():
            route = self._routes.get(address)
        if route is not None:
            self._act(route, message.params, when, sender)
        elif is_pattern(address):
            for found in self._matching(address):
                self._guarded(sender, self._act, found, message.params, when, sender)
        elif not _is_outgoing(address):
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
        if route.kind == "trigger":
            given = [] if params == [None] else params  # a nil is a button without a value
            if route.name in self._here:
                self._answer(route.name, given, sender)
            else:
                self._desk.trigger(route.name, *given, voice=route.voice, when=when, source=sender)
        elif not 1 <= len(params) <= 2:
            raise ValueError(f"{route.name}: {len(params)} arguments; it takes value [ramp seconds]")
        elif route.kind == "norm":
            self._desk.set_norm(route.name, params[0], _ramp(params), when, sender)
        else:
            self._desk.set(route.name, params[0], route.voice, _ramp(params), when, sender)


def _ramp(params: list[Any]) -> Any:
    return params[1] if len(params) > 1 else 0.0


def _is_outgoing(address: str) -> bool:
    """Whether only we send there: what comes in was ours, led back."""
    name = address.removeprefix(f"{PREFIX}/")
    return name.split("/")[0] in OUTGOING or name == "dump/end"
