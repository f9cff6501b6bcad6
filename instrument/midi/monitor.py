"""``samplernn midi monitor``: what the inputs send, a line a message, as a patch would name it.

Main thread, until Ctrl-C; the system's threads only fill a queue.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from instrument.midi.ports import Opened, Ports, SystemPorts, none_found, plain, wanted
from instrument.notes import name_of

POLL = 1.0


def run(device: str | None, show: Callable[[str], None]) -> None:
    """Show what inputs whose name holds ``device`` send, until interrupted. Raises ValueError without a MIDI system."""
    for line in lines(SystemPorts(), device):
        show(line)


def lines(ports: Ports, device: str | None = None, poll: float = POLL) -> Iterator[str]:
    """One line for every input that comes or goes and every message. Raises ValueError without a MIDI system."""
    arrived: queue.Queue[tuple[str, Any]] = queue.Queue()
    opened: dict[str, Opened] = {}
    try:
        yield from _news(ports, device, opened, arrived)
        if not opened:
            yield none_found(device, ports.names())
        due = time.monotonic() + poll
        while True:
            with contextlib.suppress(queue.Empty):
                name, message = arrived.get(timeout=max(0.001, due - time.monotonic()))
                yield f"{plain(name)}  {describe(message)}"
            if time.monotonic() >= due:
                yield from _news(ports, device, opened, arrived)
                due = time.monotonic() + poll
    except OSError as error:
        raise ValueError(f"MIDI: {error}") from None
    finally:
        for each in opened.values():
            each.close()
        ports.close()


def describe(message: Any) -> str:
    """A mido message as a line of a patch's map where there is one, else as it is."""
    match message.type:
        case "control_change":
            found = f"cc: {message.control}, channel: {message.channel + 1}}}  value {message.value}"
        case "note_on" | "note_off":
            on = message.type == "note_on" and message.velocity > 0
            note = name_of(message.note)
            found = f"note: {note}, channel: {message.channel + 1}}}  {f'velocity {message.velocity}' if on else 'off'}"
        case "program_change":
            found = f"program: {message.program}, channel: {message.channel + 1}}}"
        case "pitchwheel" | "aftertouch" | "polytouch":
            values = {name: value for name, value in message.dict().items() if name not in ("type", "time", "channel")}
            told = "  ".join(f"{name} {value}" for name, value in values.items())
            return f"{message.type}, channel: {message.channel + 1}  {told}"
        case _:
            return str(message)
    return "{" + found


def _put(arrived: queue.Queue[tuple[str, Any]], name: str, message: Any) -> None:
    arrived.put((name, message))


def _news(
    ports: Ports, device: str | None, opened: dict[str, Opened], arrived: queue.Queue[tuple[str, Any]]
) -> Iterator[str]:
    there = wanted(ports.names(), device)
    for name in [name for name in opened if name not in there]:
        opened.pop(name).close()
        yield f"{plain(name)} is gone"
    for name in there:
        if name not in opened:
            opened[name] = ports.open(name, partial(_put, arrived, name))
            yield f"listening to {plain(name)}"
