"""A patch's ``osc:``: where to listen and send, whose messages are taken, whether to be found on the network.

Main thread, before anything plays; standard library only. A fault is a ValueError of one line.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from instrument.parameters import shorten
from instrument.schema import ListOf, Record, Switch, Text

NOTHING = "none"
_ENDPOINT = Text(
    270,
    rf"^(\[?[A-Za-z0-9_.:-]+\]?:[0-9]{{1,5}}|{NOTHING})$",
    f"HOST:PORT, like 127.0.0.1:9000, or {NOTHING}",
)
_NETWORK_FORM = "an address or a network, like 10.0.0.7 or 192.168.1.0/24"
_NETWORK = Text(49, r"^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$", _NETWORK_FORM)
OSC = Record(
    {"listen": _ENDPOINT, "send": _ENDPOINT, "allow": ListOf(_NETWORK, 0, 64), "announce": Switch()},
    help={
        "listen": "where to listen; this machine alone, unless it says otherwise",
        "send": "where every reply goes besides its asker",
        "allow": "whose messages are taken, besides this machine's; private networks if left out",
        "announce": "whether to be found: OSCQuery over HTTP, and zeroconf",
    },
)


@dataclass(frozen=True)
class Osc:
    """Endpoints as (host, port), None is nowhere; ``allow`` as written, None where nothing is said."""

    listen: tuple[str, int] | None = ("127.0.0.1", 9000)
    send: tuple[str, int] | None = None
    allow: tuple[str, ...] | None = None
    announce: bool = False


def read(fields: dict[str, Any]) -> Osc:
    """The checked table's meaning. Raises ValueError."""
    ends = {name: endpoint(fields[name], f"osc.{name}") for name in ("listen", "send") if name in fields}
    allow = fields.get("allow")
    for i, text in enumerate(allow or ()):
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"osc.allow[{i}]: {shorten(text)} is not {_NETWORK_FORM}") from None
    return Osc(**ends, allow=allow, announce=bool(fields.get("announce", False)))


def endpoint(text: str, where: str) -> tuple[str, int] | None:
    """``HOST:PORT`` -> (host, port), ``none`` -> None; port 0 is the system's choice. Raises ValueError."""
    if text == NOTHING:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) <= 65535):
        raise ValueError(f"{where}: {shorten(text)} is not HOST:PORT, like 127.0.0.1:9000, or none")
    host = host.strip("[]")
    if not all(0 < len(part) < 64 for part in host.removesuffix(".").split(".")):  # no resolver can be asked for it
        raise ValueError(f"{where}: {shorten(text)} is no host's name: between its dots are 1 to 63 characters")
    return host, int(port)
