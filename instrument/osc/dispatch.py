"""Messages to gestures: which address leads where, patterns included.

The OSC server's thread. What a gesture does is left to the controller, what the wire itself is asked for to the server.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from instrument.osc.addresses import CONTINUOUS, OUTGOING, Route, routes
from instrument.osc.arrivals import Endpoint
from instrument.osc.pattern import Pattern, is_pattern
from instrument.parameters import PREFIX, shorten

HINTS = 0.05  # seconds between two: looking for the nearest name takes a millisecond or two


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
        here: triggers that the wire itself answers.
        answer: answers them: takes name, arguments, sender.
    """

    def __init__(self, desk: Desk, here: Sequence[str], answer: Callable[[str, list[Any], Endpoint], None]) -> None:
        self._desk, self._here, self._answer = desk, frozenset(here), answer
        self._matching = lru_cache(256)(self._match)
        self._unknown = lru_cache(256)(self._describe_unknown)
        self._hinted = 0.0
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

    def find(self, address: str) -> list[Route]:
        """Where it leads: nowhere, somewhere, or wherever the pattern fits. Raises ValueError, one line."""
        route = self._routes.get(address)
        if route is None and self.refresh():
            route = self._routes.get(address)
        if route is not None:
            return [route]
        if is_pattern(address):
            return self._matching(address)
        if _is_outgoing(address):
            return []
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
        if time.monotonic() - self._hinted < HINTS:
            return f"no address {shorten(address, 80)}"
        self._hinted = time.monotonic()
        base = {known[len(PREFIX) + 1 :] for known in self._routes if "/voice/" not in known or "/voice/1/" in known}
        near = difflib.get_close_matches(address.split("/", 2)[-1][:60], sorted(base), n=1, cutoff=0.6)
        return f"no address {shorten(address, 80)}{f'; did you mean {PREFIX}/{near[0]}?' if near else ''}"

    def act(self, route: Route, params: list[Any], when: float, sender: Endpoint) -> None:
        """Do what it says, as of ``when``. Raises ValueError, one line."""
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
