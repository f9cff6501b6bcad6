"""Whose messages are taken: this machine's always, others' by a list of networks.

Pure apart from a cache; any thread. Replies and telemetry go only to who may speak, and only to the address that spoke,
so that a forged sender cannot make the instrument flood a third party outside the list.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache, partial

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")


class Allowed:
    """The list, asked by host.

    Args:
        networks: addresses and networks, like 192.168.1.0/24; None for those that are never on the Internet.

    Raises ValueError for what is neither.
    """

    def __init__(self, networks: Iterable[str] | None = None) -> None:
        self.change(networks)

    def change(self, networks: Iterable[str] | None) -> None:
        """Another list, from now on. Any thread. Raises ValueError like the first."""
        listed = PRIVATE if networks is None else networks
        read = tuple(ipaddress.ip_network(text, strict=False) for text in (*LOOPBACK, *listed))
        self._known = lru_cache(1024)(partial(_among, read))

    def __call__(self, host: str) -> bool:
        """Whether ``host``, an address in digits, may speak."""
        return self._known(host)


def _among(networks: tuple[Network, ...], host: str) -> bool:
    try:
        address = plain(host)
    except ValueError:
        return False
    return any(address in network for network in networks if network.version == address.version)


def plain(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without its interface; IPv4 where it is only dressed as IPv6. Raises ValueError."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, as an address in digits."""
    try:
        return plain(host).is_loopback
    except ValueError:
        return False
