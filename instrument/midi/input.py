"""MIDI in: every input that is wanted, whenever it is there.

The system's threads only put (time, device, bytes) on a queue; one thread of ours parses and plays them and, twice a
second, looks which inputs have come or gone (no system tells). They are known by name without numbers, so that one
plugged in again is the same. What a message means is left to the mapping, what is learned to :mod:`.learning`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from instrument.arguments import Value
from instrument.faults import Faults
from instrument.midi.arrival import Arrivals
from instrument.midi.learning import Learner, Line
from instrument.midi.mapping import Desk, Mapper, Start, is_mode
from instrument.midi.ports import Opened, Ports, SystemPorts, none_found, plain, wanted
from instrument.midi.wire import CLOCK, Heard, heard, messages
from instrument.patch_midi import Binding, Known

POLL = 0.5  # seconds between looks at which inputs there are
MOST = 10_000  # packets that may wait
BATCH = 256  # packets played between two looks at anything else
TICK = 0.05  # seconds between looks at what is being learned

Packet = tuple[float, str, Sequence[int]]  # when, device, bytes
Learned = Callable[[Line, str], None]  # a line of the map, and the device that it was played on


class Clock(Protocol):
    """What is needed of the transport."""

    def pulse(self, moment: float) -> None: ...
    def start(self, moment: float) -> None: ...
    def stop(self, moment: float) -> None: ...
    def continue_(self, moment: float) -> None: ...
    def song_position(self, sixteenths: int) -> None: ...


@dataclass(frozen=True)
class _Message:
    moment: float
    device: str
    message: Any
    heard: Heard | None

    @property
    def control(self) -> tuple[str, str, int, int] | None:
        return None if self.heard is None else (self.device, self.heard.source, self.heard.number, self.heard.channel)


class MidiInput:
    """The instrument's MIDI ear.

    Args:
        desk: the controller.
        bindings: the patch's map.
        say: takes a line for the terminal; must not block.
        device: part of the name of the inputs to listen to; every input if None.
        ports: where inputs come from; the machine's if left out.
        poll: seconds between looks.
        known: what learned lines may refer to.
        start: ``start[voice][code]``, where controller 121 puts the parameters.
        clock: takes the beat of MIDI clock messages; None: nobody does.
        virtual: name of an input of our own; None for none.
        learned: takes what was learned, on our thread.
    """

    def __init__(
        self,
        desk: Desk,
        bindings: Sequence[Binding],
        say: Callable[[str], None],
        device: str | None = None,
        ports: Ports | None = None,
        poll: float = POLL,
        *,
        known: Known | None = None,
        start: Start | None = None,
        clock: Clock | None = None,
        virtual: str | None = None,
        learned: Learned | None = None,
    ) -> None:
        self._device, self._ports, self._poll, self._say = device, ports or SystemPorts(), poll, say
        self._faults = Faults(say)
        self.mapper = Mapper(desk, bindings, self._faults.report, start)
        self.learner = Learner(known or Known(desk.voices, ()))
        self.clock = clock
        self.last = ""  # what came last, as `samplernn midi monitor` would show it
        self.latest: dict[
            tuple[str, str, int, int], tuple[float, Heard]
        ] = {}  # when each control last moved, and where
        self._virtual, self._learned = virtual, learned
        self._opened: dict[str, Opened] = {}
        self._queue: queue.Queue[Packet | Callable[[], None] | None] = queue.Queue(MOST)
        self._lost = 0
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

    def do(self, act: Callable[[], None]) -> None:
        """Call ``act`` between two messages, on our thread. Any thread."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(act)

    def switch(self, bindings: Sequence[Binding], known: Known, start: Start | None, renewed: bool = False) -> None:
        """Another patch's map, or ``renewed`` what the same patch says now. Our thread (see :meth:`do`)."""
        self.learner.known = known
        if renewed:
            self.mapper.renew(bindings, start, time.monotonic())
        else:
            self.mapper.switch(bindings, start)

    def arm(self, target: Value) -> None:
        """Learn what the next control is for: its line is in the map at once. Any thread. Raises ValueError."""
        self.learner.arm(target)
        self._say(f"MIDI: learning {target}; move a control")

    @property
    def inputs(self) -> list[str]:
        """Names of what is listened to."""
        return [plain(name) for name in list(self._opened) if name != self._virtual]

    def look(self) -> None:
        """Open what has come, close what has gone. Our thread (or a test)."""
        try:
            names = self._ports.names()
        except OSError as error:
            self._complain("system", f"MIDI: {error}; playing without")
            names = []
            if self._virtual in self._opened:
                self._close(self._virtual)
        else:
            self._missed.discard("system")
            self._miss(names)
            self._open_virtual()
        there = wanted(names, self._device)
        for name in [name for name in self._opened if name not in there and name != self._virtual]:
            self._close(name)
            self.mapper.gates.release(time.monotonic(), plain(name))  # nobody is left to let go
            self._say(f"MIDI: {plain(name)} is gone; waiting for it")
        for name in there:
            if name not in self._opened:
                self._open(name)
        self._faults.flush()

    def drain(self) -> None:
        """Play what is waiting. Our thread (or a test)."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._play(self._batch(self._queue.get_nowait()))

    def _run(self) -> None:
        due = 0.0
        running = True
        while running:
            now = time.monotonic()
            if now >= due:
                self._guarded(self.look)
                due = time.monotonic() + self._poll
            wait = min(due - time.monotonic(), TICK if self.learner.listening else self._poll)
            with contextlib.suppress(queue.Empty):
                batch = self._batch(self._queue.get(timeout=max(0.001, wait)))
                running = None not in batch
                self._guarded(self._play, batch)
            if self.learner.listening and (line := self.learner.verdict()) is not None:
                self._guarded(self._learn, line)
        for name in list(self._opened):
            self._close(name)
        self._ports.close()

    def _batch(self, first: Packet | Callable[[], None] | None) -> list[Packet | Callable[[], None] | None]:
        """``first`` and what waits behind it."""
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH and batch[-1] is not None:
                batch.append(self._queue.get_nowait())
        return batch

    def _play(self, batch: Sequence[Packet | Callable[[], None] | None]) -> None:
        """What waits, in order; of a control that moved several times running only where it is now."""
        read: list[_Message] = []
        for item in batch:
            if callable(item):  # the map may be another one after it
                self._hear_all(read)
                read = []
                self._guarded(item)
            elif item is not None:
                moment, device, data = item
                read += [_Message(moment, device, each, heard(each)) for each in messages(data)]
        self._hear_all(read)
        if self._lost:
            lost, self._lost = self._lost, 0
            self._faults.report(f"MIDI: {lost} messages were lost, too many came at once; every gate was let go")
            self.mapper.gates.release(time.monotonic())

    def _hear_all(self, read: Sequence[_Message]) -> None:
        for each in self._thinned(read):
            self._guarded(self._hear, each)

    def _thinned(self, read: Sequence[_Message]) -> Sequence[_Message]:
        """Without what a later message of the same control overtakes; notes and buttons are not passed."""
        if self.learner.armed is not None:
            return read
        kept: list[_Message] = []
        later: set[object] = set()
        for each in reversed(read):
            if each.heard is not None and not self.mapper.coalesces(each.heard, each.device):
                later.clear()  # a snapshot, say, which stores where the controls were before it
            elif each.heard is not None:
                if each.control in later:
                    continue
                later.add(each.control)
            kept.append(each)
        return kept[::-1]

    def _hear(self, each: _Message) -> None:
        """One message."""
        if each.message.type in CLOCK:
            self._beat(each.message, each.moment)
        elif each.heard is not None and each.control is not None:
            self.last = f"{each.device}  {each.message}"
            self.latest.pop(each.control, None)
            self.latest[each.control] = each.moment, each.heard
            if len(self.latest) > MOST:
                del self.latest[next(iter(self.latest))]
            if self.learner.armed is not None and each.heard.source != "off" and not is_mode(each.heard):
                if (line := self.learner.hears(each.heard, each.device)) is not None:
                    self._learn(line)
            else:
                self.mapper.take(each.heard, each.device, each.moment)

    def _learn(self, line: Line) -> None:
        device = self.learner.device
        self.learner.stop()
        if self._learned is not None:
            self._learned(line, device)

    def _beat(self, message: Any, moment: float) -> None:
        clock = self.clock
        if clock is None:
            return
        match message.type:
            case "clock":
                clock.pulse(moment)
            case "start":
                clock.start(moment)
            case "stop":
                clock.stop(moment)
            case "continue":
                clock.continue_(moment)
            case _:
                clock.song_position(message.pos)

    def _guarded(self, act: Callable[..., None], *arguments: Any) -> None:
        """Whatever goes wrong is a line, and the thread goes on."""
        try:
            act(*arguments)
        except Exception as error:
            self._faults.report(f"MIDI: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _open(self, name: str) -> None:
        device = plain(name)
        try:
            self._opened[name] = self._ports.open(name, self._ear(device))
        except OSError as error:
            self._faults.report(f"MIDI: {device}: {error}")
        else:
            self._say(f"MIDI: listening to {device}")

    def _open_virtual(self) -> None:
        if self._virtual is None or self._virtual in self._opened:
            return
        try:
            self._opened[self._virtual] = self._ports.open_virtual(self._virtual, self._ear(self._virtual))
        except OSError as error:
            self._complain("virtual", f"MIDI: no port {self._virtual} of our own: {error}")
        else:
            self._say(f"MIDI: our own port {self._virtual} is open")

    def _ear(self, device: str) -> Callable[[Sequence[int], float], None]:
        arrivals = Arrivals()

        def arrived(data: Sequence[int], delta: float) -> None:  # on the system's thread: nothing but the queue
            try:
                self._queue.put_nowait((arrivals.moment(delta, time.monotonic()), device, data))
            except queue.Full:
                self._lost += 1

        return arrived

    def _close(self, name: str) -> None:
        with contextlib.suppress(Exception):  # a device that was pulled out may not close any more
            self._opened.pop(name).close()

    def _miss(self, names: list[str]) -> None:
        """Say, once, which inputs are asked for and not there."""
        named = [b.device for b in self.mapper.bindings if b.device is not None]
        asked: list[str | None] = [self._device] if self._device is not None else [*named] or [None]
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
