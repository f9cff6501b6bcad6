"""What the instrument holds, by the names of its addresses: for who listens to changes, and for who asks for a dump.

The OSC server's thread; the desk's own lock keeps each picture whole. Sending is left to the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from instrument.osc.arrivals import Endpoint
from instrument.osc.wire import build, single, text

AT_ONCE, PACE = 32, 0.005  # datagrams and seconds: a dump is 6,400 datagrams a second, a buffer of 200 kB holds 270


class Desk(Protocol):
    """What is needed of the controller here."""

    bank: list[str]

    def values(self) -> dict[str, tuple[float, object]]: ...
    def playing(self) -> dict[str, tuple[str, object]]: ...


def state(desk: Desk) -> tuple[dict[str, bytes], dict[str, object]]:
    """(every value as the message that sets it, whose gesture it was last), by name."""
    values: dict[str, tuple[float | str, object]] = {**desk.values(), **desk.playing()}
    if name := _patch(desk):
        values["patch"] = name, None
    return {name: _message(name, value) for name, (value, _) in values.items()}, {
        name: author for name, (_, author) in values.items()
    }


def _patch(desk: Desk) -> str:
    """Name of the patch that plays; empty where nobody has said it."""
    found = getattr(desk, "patch", None)
    return str(found[1]) if found else ""


def _message(name: str, value: float | str) -> bytes:
    return text(name, value) if isinstance(value, str) else single(name, value)


def dump(desk: Desk) -> list[bytes]:
    """``/samplernn/value name value`` of everything, then ``/samplernn/dump/end count``."""
    pairs: list[tuple[str, float | str]] = [(name, value) for name, (value, _) in desk.values().items()]
    pairs += [(name, value) for name, (value, _) in desk.playing().items()]
    for what in ("bank", "sweeps", "lfos", "snapshots", "patches"):
        pairs += _names(what, getattr(desk, what, ()))
    if name := _patch(desk):
        pairs.append(("patch", name))
    return [*(build("value", name, value) for name, value in pairs), build("dump/end", float(len(pairs)))]


def _names(what: str, found: Sequence[str] | Mapping[str, object]) -> list[tuple[str, float | str]]:
    """``bank/0 tabla``, ``bank/1 glass`` ..."""
    return [(f"{what}/{i}", str(name)) for i, name in enumerate(found)]


class Dumps:
    """Dumps under way, one for each who asked; another of the same begins anew."""

    def __init__(self) -> None:
        self._left: dict[Endpoint, deque[bytes]] = {}
        self._due = 0.0

    def add(self, asker: Endpoint, datagrams: list[bytes]) -> None:
        """Begin one. Raises ValueError if there are too many."""
        if asker not in self._left and len(self._left) >= 16:
            raise ValueError("dump: 16 are under way already")
        self._left[asker] = deque(datagrams)

    def wait(self, now: float, longest: float) -> float:
        """Seconds until there is more to send, at most ``longest``."""
        return min(longest, max(0.0, self._due - now)) if self._left else longest

    def send(self, now: float, reply: Callable[[Endpoint, bytes], None]) -> None:
        """A few datagrams more of each, if it is time."""
        if not self._left or now < self._due:
            return
        self._due = now + PACE
        for asker, left in list(self._left.items()):
            for _ in range(min(AT_ONCE, len(left))):
                reply(asker, left.popleft())
            if not left:
                del self._left[asker]
