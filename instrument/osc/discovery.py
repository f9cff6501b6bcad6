"""Being found: OSCQuery served, and both services advertised by zeroconf, only where the patch asks for it.

Advertising happens on a thread of its own, since the library takes half a second to import and two to be sure of its
name; the set neither waits for it nor ends with it. No network and no library are a line each.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from instrument.osc import tree
from instrument.osc.allow import Allowed, plain
from instrument.osc.arrivals import Endpoint
from instrument.osc.query import QueryServer

QUERY, OSC = "_oscjson._tcp.local.", "_osc._udp.local."
PATIENCE = 2.0  # seconds that the goodbyes may take
LONGEST = 60  # characters of a service's name; the standard has room for 63 bytes


class Discovery:
    """What makes the instrument found, from :meth:`start` to :meth:`stop`.

    Args:
        desk: the controller.
        osc: (host, port) where OSC is listened for.
        allowed: whose requests are answered.
        say: takes a line for the terminal; must not block.
    """

    def __init__(self, desk: tree.Desk, osc: Endpoint, allowed: Allowed, say: Callable[[str], None]) -> None:
        self._osc, self._say = osc, say
        self.name = f"samplernn-live on {socket.gethostname().split('.')[0]}".encode("ascii", "replace").decode()[
            :LONGEST
        ]
        self.query = QueryServer(desk, osc, self.name, allowed, say)
        self._zeroconf: Any = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.advertised = threading.Event()

    def start(self) -> None:
        """Serve at once, advertise as soon as may be."""
        if self.query.start():
            self._thread = threading.Thread(target=self._advertise, name="zeroconf", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Say goodbye to the network, and serve no more. Safe to call twice, or without a start."""
        self._stopping.set()
        if self._thread:
            self._thread.join(PATIENCE)
            farewell = threading.Thread(target=self._withdraw, name="zeroconf goodbye", daemon=True)
            farewell.start()
            farewell.join(PATIENCE)
            self._thread = None
        self.query.stop()

    def _advertise(self) -> None:
        try:
            from zeroconf import InterfaceChoice, ServiceInfo, Zeroconf

            every = plain(self._osc[0]).is_unspecified
            addresses = _ours() if every else [self._osc[0]]
            self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All if every else addresses)
            for kind, port in ((QUERY, self.query.port), (OSC, self._osc[1])):
                if not self._stopping.is_set():
                    service = ServiceInfo(
                        kind, f"{self.name}.{kind}", port, parsed_addresses=addresses, server=_server()
                    )
                    self._zeroconf.register_service(service, allow_name_change=True)
            self.advertised.set()
        except Exception as error:  # the network's business, not the set's
            if not self._stopping.is_set():
                why = " ".join(str(error).split())[:200] or type(error).__name__
                self._say(f"OSC: not advertised on the network: {why}; OSCQuery answers on port {self.query.port}")

    def _withdraw(self) -> None:
        found, self._zeroconf = self._zeroconf, None
        if found is None:
            return
        try:
            found.unregister_all_services()
        finally:
            found.close()


def _ours() -> list[str]:
    """Every IPv4 address of this machine but the loopback, which is nobody else's."""
    from zeroconf import get_all_addresses  # type: ignore[attr-defined]

    found = [address for address in get_all_addresses() if not plain(address).is_loopback]
    return found or ["127.0.0.1"]


def _server() -> str:
    """A host name for the records."""
    name = "".join(c if c.isalnum() else "-" for c in socket.gethostname().split(".")[0])
    return f"{name[:40] or 'samplernn'}-samplernn.local."
