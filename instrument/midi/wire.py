"""Bytes as a MIDI driver hands them over -> messages, whatever they are.

The MIDI input's thread. mido parses. System exclusive data is thrown away before (nothing here is played by it, and it
may be long), and so is what is longer than any packet of messages: bytes cost time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST = 256  # bytes of one packet that are looked at; a driver hands messages over one by one
_EXCLUSIVE = re.compile(rb"\xf0[\x00-\x7f\xf8-\xff]*\xf7?")
CLOCK = ("clock", "start", "stop", "continue", "songpos")


class Heard(NamedTuple):
    """A message as maps name it.

    Attributes:
        source: ``cc``, ``note``, ``off``, ``program``, ``bend`` or ``pressure``.
        number: 0..127; -1 where the whole channel is meant.
        value: 0..127; of a bend -8192..8191.
        channel: from 0.
    """

    source: str
    number: int
    value: int
    channel: int

    @property
    def way(self) -> float:
        """The value as a part of the control's way; a bend's middle is 0.5."""
        if self.source != "bend":
            return self.value / 127
        return 0.5 + 0.5 * self.value / (8191 if self.value > 0 else 8192)


def messages(data: Sequence[int]) -> list[Any]:
    """The mido messages in a packet; none for what is none. Never raises."""
    import mido

    try:
        packet = bytes(data)
    except (ValueError, TypeError):
        return []
    if b"\xf0" in packet:
        packet = _EXCLUSIVE.sub(b"", packet)
    parser = mido.Parser()
    for byte in packet[:MOST]:
        try:
            parser.feed_byte(byte)
        except (ValueError, TypeError, KeyError, IndexError):  # a message that is none: the next byte begins anew
            continue
    return list(parser)


def heard(message: Any) -> Heard | None:
    """What a map may know it by; None for the rest."""
    match message.type:
        case "control_change":
            return Heard("cc", message.control, message.value, message.channel)
        case "note_on" if message.velocity > 0:  # velocity 0 is a note-off
            return Heard("note", message.note, message.velocity, message.channel)
        case "note_on" | "note_off":
            return Heard("off", message.note, 0, message.channel)
        case "program_change":
            return Heard("program", message.program, 127, message.channel)
        case "pitchwheel":
            return Heard("bend", -1, message.pitch, message.channel)
        case "aftertouch":
            return Heard("pressure", -1, message.value, message.channel)
        case "polytouch":
            return Heard("pressure", message.note, message.value, message.channel)
        case _:
            return None
