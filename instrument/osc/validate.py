"""The one gate in front of python-osc: what passes here, its parser takes without raising and in bounded time.

Pure; the receiving thread asks about every datagram, then about every message in it, so that a value that is refused
costs nothing else in its bundle. python-osc alone loops for ever on a negative element size,
recurses as deep as it is told to, raises what it does not declare on bad UTF-8, and reads missing bytes as zeros (seen
in 1.10.2). Formats as in the OSC 1.0 specification. What an address means is left to the server.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

MAX_BYTES = 16384
MAX_DEPTH = 4  # bundles in bundles, and arrays in arrays
MAX_MESSAGES = 256  # checked in 2 ms
MAX_ARGUMENTS = 64
MAX_ADDRESS = 256
_SINCE_1900 = 2_208_988_800  # seconds from there, where time tags begin, to 1970
_BUNDLE = b"#bundle\0"
_SIZES = {"i": 4, "f": 4, "r": 4, "m": 4, "h": 8, "d": 8, "t": 8, "T": 0, "F": 0, "N": 0}


def check_datagram(data: bytes) -> None:
    """Accept an OSC message or bundle, but for what is in its messages (:func:`check_message`).

    Raises ValueError, one line saying what is wrong with it.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"OSC: a datagram of more than {MAX_BYTES} bytes")
    if not data or len(data) % 4:
        raise ValueError(f"OSC: a datagram of {len(data)} bytes, not a multiple of 4")
    if _packet(data, 0) > MAX_MESSAGES:
        raise ValueError(f"OSC: a bundle of more than {MAX_MESSAGES} messages")


def check_message(data: bytes) -> None:
    """Accept one message of a datagram that was accepted. Raises ValueError, one line saying what is wrong with it."""
    address, index = _string(data, 0, "address")
    if len(address) > MAX_ADDRESS or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError(f"OSC: an address of other than 1 to {MAX_ADDRESS} printable characters")
    if index == len(data):
        return  # older senders leave the type tags out when there are no arguments
    tags, index = _string(data, index, "type tags")
    if not tags.startswith(",") or len(tags) > MAX_ARGUMENTS + 1:
        raise ValueError(f"OSC: {address[:80]}: type tags that are not a comma and up to {MAX_ARGUMENTS} letters")
    for tag in _flattened(tags[1:], address):
        index = _argument(data, index, tag, address)
    if index != len(data):
        raise ValueError(f"OSC: {address[:80]}: {len(data) - index} bytes after the arguments")


def messages(data: bytes, wall: float = 0.0) -> Iterator[tuple[bytes, float]]:
    """Every message of a datagram that was accepted, in order, and when it is meant: seconds of the wall clock.

    0.0 is immediately; a message outside a bundle is meant at ``wall``.
    """
    if data.startswith(b"/"):
        yield data, wall
        return
    (tag,) = struct.unpack_from(">Q", data, 8)
    wall = 0.0 if tag == 1 else tag / 2**32 - _SINCE_1900
    index = 16
    while index < len(data):
        (size,) = struct.unpack_from(">i", data, index)
        yield from messages(data[index + 4 : index + 4 + size], wall)
        index += 4 + size


def _packet(data: bytes, depth: int) -> int:
    """Check the frame of one message or bundle; how many messages it holds."""
    if data.startswith(b"/"):
        return 1
    if not data.startswith(_BUNDLE):
        raise ValueError("OSC: neither a message (it would begin with /) nor a bundle")
    if depth >= MAX_DEPTH:
        raise ValueError(f"OSC: bundles nested deeper than {MAX_DEPTH}")
    if len(data) < 16:
        raise ValueError("OSC: a bundle cut off before its time tag ends")
    return _elements(data, depth)


def _elements(data: bytes, depth: int) -> int:
    messages, index = 0, 16
    while index < len(data):
        (size,) = struct.unpack_from(">i", data, index)  # a multiple of 4 is left, so there are 4 bytes
        index += 4
        if size <= 0 or size % 4 or size > len(data) - index:
            raise ValueError(f"OSC: a bundle element of {size} bytes where {len(data) - index} are left")
        messages += _packet(data[index : index + size], depth + 1)
        index += size
    return messages


def _flattened(tags: str, address: str) -> str:
    """The tags without array brackets, which must match."""
    depth = 0
    for tag in tags:
        depth += (tag == "[") - (tag == "]")
        if not 0 <= depth <= MAX_DEPTH:
            raise ValueError(f"OSC: {address[:80]}: brackets that do not match, or nest deeper than {MAX_DEPTH}")
    if depth:
        raise ValueError(f"OSC: {address[:80]}: brackets that do not match")
    return tags.replace("[", "").replace("]", "")


def _argument(data: bytes, index: int, tag: str, address: str) -> int:
    """Check the argument at ``index``; where the next one begins."""
    if tag == "s":
        return _string(data, index, f"{address[:80]}: a text")[1]
    if tag == "b":
        return _blob(data, index, address)
    if tag not in _SIZES:
        raise ValueError(f"OSC: {address[:80]}: an argument of type {tag!r}, which is none of ifsbhdtTFNrm[]")
    end = index + _SIZES[tag]
    if end > len(data):
        raise ValueError(f"OSC: {address[:80]}: an argument that is cut off")
    if tag in "fd":
        (value,) = struct.unpack_from(">f" if tag == "f" else ">d", data, index)
        if not math.isfinite(value):
            raise ValueError(f"OSC: {address[:80]}: {value} is not a finite number")
    return end


def _blob(data: bytes, index: int, address: str) -> int:
    size = struct.unpack_from(">i", data, index)[0] if index + 4 <= len(data) else -1
    end = index + 4 + size + -size % 4
    if size < 0 or end > len(data):
        raise ValueError(f"OSC: {address[:80]}: a blob that is cut off")
    return int(end)


def _string(data: bytes, index: int, what: str) -> tuple[str, int]:
    """The text at ``index``, and where what follows begins: the next multiple of 4 behind its zero byte."""
    end = data.find(b"\0", index)
    if end < 0:
        raise ValueError(f"OSC: {what} without an end")
    try:
        return data[index:end].decode("utf-8"), end + 4 - end % 4
    except UnicodeDecodeError:
        raise ValueError(f"OSC: {what} that is not UTF-8") from None
