"""MIDI in: every input that is wanted, whenever it is there.

The system's threads only put (time, device, message) on a queue; one thread of ours plays them and, once a second,
looks which inputs have come or gone (no system tells). They are known by name without numbers, so that one plugged in
again is the same. What a message means is left to the mapping.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from instrument.faults import Faults
from instrument.midi.mapping import Desk, Mapper
from instrument.midi.ports import Opened, Ports, SystemPorts, none_found, plain, wanted
from instrument.patch import Binding

POLL = 1.0  # seconds between looks at which inputs there are
MOST = 10_000  # messages that may wait


class MidiInput:
    """The instrument's MIDI ear.

    Args:
        desk: the controller.
        bindings: the patch's map.
        say: takes a line for the terminal; must not block.
        device: part of the name of the inputs to listen to; every input if None.
        ports: where inputs come from; the machine's if left out.
        poll: seconds between looks.
    """

    def __init__(
        self,
        desk: Desk,
        bindings: Sequence[Binding],
        say: Callable[[str], None],
        device: str | None = None,
        ports: Ports | None = None,
        poll: float = POLL,
    ) -> None:
        self._device, self._ports, self._poll, self._say = device, ports or SystemPorts(), poll, say
        self._faults = Faults(say)
        self._mapper = Mapper(desk, bindings, self._faults.report)
        self._named = [b.device for b in bindings if b.device is not None]
        self._opened: dict[str, Opened] = {}
        self._queue: queue.Queue[tuple[float, str, Any] | None] = queue.Queue(MOST)
        self._thread: threading.Thread | None = None
        self._missed: set[str | None] = set()

    def start(self) -> None:
        """Listen, on a thread of our own. What is missing is said in one line, and taken up when it appears."""
        self._thread = threading.Thread(target=self._run, name="midi", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; waits for the thread. Safe to call twice, or without a start."""
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=1.0)
            self._thread.join(2.0)
            self._thread = None

    @property
    def inputs(self) -> list[str]:
        """Names of what is listened to."""
        return [plain(name) for name in self._opened]

    def look(self) -> None:
        """Open what has come, close what has gone. Our thread (or a test)."""
        try:
            names = self._ports.names()
        except OSError as error:
            self._complain("system", f"MIDI: {error}; playing without")
            names = []
        else:
            self._missed.discard("system")
            self._miss(names)
        there = wanted(names, self._device)
        for name in [name for name in self._opened if name not in there]:
            self._close(name)
            self._say(f"MIDI: {plain(name)} is gone; waiting for it")
        for name in there:
            if name not in self._opened:
                self._open(name)
        self._faults.flush()

    def drain(self) -> None:
        """Play what is waiting. Our thread (or a test)."""
        with contextlib.suppress(queue.Empty):
            while item := self._queue.get_nowait():
                self._mapper.play(item[2], item[1], item[0])

    def _run(self) -> None:
        due = 0.0
        running = True
        while running:
            now = time.monotonic()
            if now >= due:
                self._guarded(self.look)
                due = time.monotonic() + self._poll
            with contextlib.suppress(queue.Empty):
                item = self._queue.get(timeout=max(0.001, due - time.monotonic()))
                running = item is not None
                if item is not None:
                    self._guarded(self._mapper.play, item[2], item[1], item[0])
        for name in list(self._opened):
            self._close(name)
        self._ports.close()

    def _guarded(self, act: Callable[..., None], *arguments: Any) -> None:
        """Whatever goes wrong is a line, and the thread goes on."""
        try:
            act(*arguments)
        except Exception as error:
            self._faults.report(f"MIDI: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _open(self, name: str) -> None:
        device = plain(name)

        def arrived(message: Any) -> None:  # on the system's thread: nothing but the queue
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait((time.monotonic(), device, message))

        try:
            self._opened[name] = self._ports.open(name, arrived)
        except OSError as error:
            self._faults.report(f"MIDI: {device}: {error}")
        else:
            self._say(f"MIDI: listening to {device}")

    def _close(self, name: str) -> None:
        with contextlib.suppress(Exception):  # a device that was pulled out may not close any more
            self._opened.pop(name).close()

    def _miss(self, names: list[str]) -> None:
        """Say, once, which inputs are asked for and not there."""
        asked: list[str | None] = [self._device] if self._device is not None else [*self._named] or [None]
        for device in asked:
            if wanted(names, device):
                self._missed.discard(device)
            elif wanted(list(self._opened), device):
                self._missed.add(device)  # about to be called gone: that is its line
            else:
                self._complain(device, none_found(device, names))

    def _complain(self, about: str | None, text: str) -> None:
        if about not in self._missed:
            self._missed.add(about)
            self._say(text)
