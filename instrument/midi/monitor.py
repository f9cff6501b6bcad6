"""``samplernn midi monitor``: what the inputs send, a line a message, as a patch would name it.

Main thread, until Ctrl-C; the system's threads only fill a queue. Pairs of 14 bits and encoders show only after a few
messages, and are guesses.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from instrument.midi.encoders import FINE, guess, steps
from instrument.midi.ports import Opened, Ports, SystemPorts, none_found, plain, wanted
from instrument.midi.wire import Heard, heard, messages
from instrument.notes import name_of

POLL = 0.5
REMEMBERED = 6  # messages of a channel's controllers that a guess looks at
BEAT = 24  # clock messages a line
MOST = 10_000  # packets that may wait

Queue = queue.Queue[tuple[str, Sequence[int]]]


def run(device: str | None, show: Callable[[str], None]) -> None:
    """Show what inputs whose name holds ``device`` send, until interrupted. Raises ValueError without a MIDI system."""
    for line in lines(SystemPorts(), device):
        show(line)


def lines(ports: Ports, device: str | None = None, poll: float = POLL) -> Iterator[str]:
    """One line for every input that comes or goes and every message. Raises ValueError without a MIDI system."""
    arrived: Queue = queue.Queue(MOST)
    opened: dict[str, Opened] = {}
    monitor = Monitor()
    try:
        yield from _news(ports, device, opened, arrived)
        if not opened:
            yield none_found(device, ports.names())
        due = time.monotonic() + poll
        while True:
            with contextlib.suppress(queue.Empty):
                name, data = arrived.get(timeout=max(0.001, due - time.monotonic()))
                for message in messages(data):
                    if line := monitor.describe(message, name):
                        yield f"{plain(name)}  {line}"
            if time.monotonic() >= due:
                yield from _news(ports, device, opened, arrived)
                due = time.monotonic() + poll
    except OSError as error:
        raise ValueError(f"MIDI: {error}") from None
    finally:
        for each in opened.values():
            each.close()
        ports.close()


class Monitor:
    """Messages in words, with what was heard before in mind."""

    def __init__(self) -> None:
        self._turned: dict[tuple[str, int], deque[Heard]] = {}
        self._beats = 0

    def describe(self, message: Any, device: str = "") -> str:
        """A mido message as a line of a patch's map where there is one, else as it is; empty for what is no news."""
        found = heard(message)
        if found is None:
            return self._other(message)
        channel = f", channel: {found.channel + 1}}}"
        match found.source:
            case "cc":
                return self._controller(found, device)
            case "note" | "off":
                how = f"velocity {found.value}" if found.source == "note" else "off"
                return f"{{note: {name_of(found.number)}{channel}  {how}"
            case "program":
                return f"{{program: {found.number}{channel}"
            case "pressure" if found.number >= 0:
                return f"{{pressure: {name_of(found.number)}{channel}  value {found.value}"
            case source:
                return f"{{{source}: any{channel}  value {found.value}"

    def _controller(self, found: Heard, device: str) -> str:
        turned = self._turned.setdefault((device, found.channel), deque(maxlen=REMEMBERED))
        turned.append(found)
        channel = f", channel: {found.channel + 1}}}"
        coarse = found.number % FINE
        if found.number < 2 * FINE and (pair := _pair(turned, coarse)) is not None:
            return f"{{cc: {coarse}, bits: 14{channel}  value {pair}"
        coding = guess([each.value for each in turned if each.number == found.number])
        if coding is not None:
            return f"{{cc: {found.number}, relative: {coding}{channel}  step {steps(coding, found.value):+d}"
        return f"{{cc: {found.number}{channel}  value {found.value}"

    def _other(self, message: Any) -> str:
        if message.type == "active_sensing":
            return ""
        if message.type == "clock":
            self._beats += 1
            return "clock  a beat" if self._beats % BEAT == 1 else ""
        return str(message)


def _pair(turned: Sequence[Heard], coarse: int) -> int | None:
    """The value of two controllers that come in turns; None if they do not."""
    numbers = [each.number for each in turned]
    if not 2 <= numbers.count(coarse) + numbers.count(coarse + FINE) == len(numbers):
        return None
    latest = {each.number: each.value for each in turned}
    return 128 * latest[coarse] + latest[coarse + FINE] if coarse in latest and coarse + FINE in latest else None


def _put(arrived: Queue, name: str, data: Sequence[int], _delta: float) -> None:
    with contextlib.suppress(queue.Full):
        arrived.put_nowait((name, data))


def _news(ports: Ports, device: str | None, opened: dict[str, Opened], arrived: Queue) -> Iterator[str]:
    there = wanted(ports.names(), device)
    for name in [name for name in opened if name not in there]:
        opened.pop(name).close()
        yield f"{plain(name)} is gone"
    for name in there:
        if name not in opened:
            opened[name] = ports.open(name, partial(_put, arrived, name))
            yield f"listening to {plain(name)}"
