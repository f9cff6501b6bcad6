"""MIDI out: faders, rings and pads are told where things stand.

A thread of its own, thirty times a second: sending may block, and nothing waits for it. What the map's controls should
show is reckoned from the controller's values, and only what changed is sent: everything again when a device appears or
somebody asks. A control that moves is left alone until it rests, and then hears only what it does not know already.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from instrument.faults import Faults
from instrument.midi.curves import way_of
from instrument.midi.encoders import FINE
from instrument.midi.mapping import Mapper
from instrument.midi.ports import Ports, Sender, SystemPorts, counterparts, none_found, plain, wanted
from instrument.midi.wire import Heard
from instrument.parameters import PARAMETERS
from instrument.patch_midi import MACRO, Binding

SAME = "same"
PERIOD = 1 / 30  # seconds
POLL = 0.5
RESTS = 0.3  # seconds after its last message that a control rests

Key = tuple[str, int, int]  # cc, note or bend; number; channel from 0
Control = tuple[str, str, int, int]  # device, source, number, channel


class Desk(Protocol):
    """What is needed of the controller."""

    def values(self) -> dict[str, tuple[float, object]]: ...
    def active(self, trigger: str, what: object, voice: int | None) -> bool: ...


@dataclass
class _Device:
    """An output, and what it was told: the value, and when the control had moved last."""

    sender: Sender
    told: dict[Key, tuple[int, float | None]] = field(default_factory=dict)


class Feedback:
    """The instrument's MIDI mouth.

    Args:
        desk: the controller.
        mapper: the map, and which gates are held.
        latest: when each control last moved and what it said; the input writes it.
        inputs: names of the inputs that are listened to.
        say: takes a line for the terminal; must not block.
        where: part of the outputs' names, or ``same``: those that belong to the inputs.
        ports: where outputs come from; the machine's if left out.
    """

    def __init__(
        self,
        desk: Desk,
        mapper: Mapper,
        latest: Mapping[Control, tuple[float, Heard]],
        inputs: Callable[[], list[str]],
        say: Callable[[str], None],
        where: str,
        ports: Ports | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._mapper, self._latest, self._inputs = desk, mapper, latest, inputs
        self._say, self.where, self._ports, self._now = say, where, ports or SystemPorts(outputs=True), now
        self._faults = Faults(say)
        self._devices: dict[str, _Device] = {}
        self._stop, self._again = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._missed = False

    def start(self) -> None:
        """Begin, on a thread of our own."""
        self._thread = threading.Thread(target=self._run, name="midi-out", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; waits for the thread, but not for a device that blocks it. Safe to call twice."""
        self._stop.set()
        if self._thread:
            self._thread.join(2.0)
            self._thread = None

    def resend(self) -> None:
        """Tell everything again. Any thread."""
        self._again.set()

    def look(self) -> None:
        """Open what has come, close what has gone. Our thread (or a test)."""
        try:
            names = self._ports.names()
        except OSError:
            names = []  # the input's thread says why
        there = counterparts(names, self._inputs()) if self.where == SAME else wanted(names, self.where)
        for name in [name for name in self._devices if name not in there]:
            self._close(name)
        for name in there:
            if name not in self._devices:
                self._open(name)
        if not there and self.where != SAME and not self._missed:
            self._say(none_found(self.where, names, "output"))
        self._missed = not there
        self._faults.flush()

    def tell(self) -> None:
        """Send what has changed. Our thread (or a test)."""
        if self._again.is_set():
            self._again.clear()
            for device in self._devices.values():
                device.told.clear()
        if not self._devices:
            return
        values, now = self._desk.values(), self._now()
        latest = dict(self._latest)
        for name, device in list(self._devices.items()):
            try:
                self._tell(plain(name), device, values, latest, now)
            except OSError as error:
                self._faults.report(f"MIDI: {plain(name)}: {error}")
                self._close(name)

    def _tell(
        self,
        name: str,
        device: _Device,
        values: Mapping[str, tuple[float, object]],
        latest: Mapping[Control, tuple[float, Heard]],
        now: float,
    ) -> None:
        moved = {control[1:]: last for control, last in latest.items() if counterparts([name], [control[0]])}
        for key, (value, free) in self._shown(name, values, moved).items():
            kind, number, channel = key
            told, known = device.told.get(key, (None, None))
            last, heard = moved.get(("off", number, channel) if kind == "note" else key, (None, None))
            if last is not None and heard is not None and kind != "note" and not free and now - last < RESTS:
                continue
            if last != known and heard is not None:  # it has said something since: many pads put their own light out
                told = None if kind == "note" or free else heard.value if kind == "cc" else heard.value + 8192
            if value != told:
                device.sender.send(_bytes(kind, number, channel, value))
            device.told[key] = value, last

    def _shown(
        self, name: str, values: Mapping[str, tuple[float, object]], moved: Mapping[Key, object]
    ) -> dict[Key, tuple[int, bool]]:
        """What each control of that device should show, and whether it may be told while it moves."""
        shown: dict[Key, tuple[int, bool]] = {}
        for binding in self._mapper.bindings:
            if binding.device is not None and binding.device.lower() not in name.lower():
                continue
            for kind, number, value in self._state(binding, values):
                channel = _channel(binding, kind, number, moved)
                before = shown.get((kind, number, channel))
                if before is None or (kind == "note" and before[0] == 0):
                    shown[kind, number, channel] = value, binding.relative is not None
        return shown

    def _state(self, binding: Binding, values: Mapping[str, tuple[float, object]]) -> list[tuple[str, int, int]]:
        """(kind, number, value) that show a line's state; none for what shows nothing."""
        if binding.source not in ("cc", "note", "bend") or (binding.number is None and binding.source != "bend"):
            return []
        number = -1 if binding.number is None else binding.number
        if not binding.follows:
            on = self._is_on(binding, values)
            return [(binding.source, number, (binding.led if binding.source == "note" else 127) if on else 0)]
        found = _value(binding, values)
        if found is None:
            return []
        way = way_of(binding, found)
        if binding.source == "bend":
            return [("bend", -1, round(way * 16383))]
        if binding.bits == 14:
            fine = round(way * 16383)
            return [("cc", number, fine >> 7), ("cc", number + FINE, fine & 127)]
        return [("cc", number, round(way * 127))]

    def _is_on(self, binding: Binding, values: Mapping[str, tuple[float, object]]) -> bool:
        if binding.gate:
            return self._mapper.gates.sounding(binding)
        if binding.to in PARAMETERS or binding.to.startswith(MACRO):
            found = _value(binding, values)
            return found is not None and binding.value is not None and abs(found - float(binding.value)) < 1e-9
        return self._desk.active(binding.to, binding.value, binding.voice)

    def _run(self) -> None:
        due = 0.0
        while not self._stop.wait(PERIOD):
            try:
                if self._now() >= due:
                    due = self._now() + POLL
                    self.look()
                self.tell()
            except Exception as error:  # a fault here must cost no more than a line
                self._faults.report(f"MIDI out: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        for name in list(self._devices):
            self._close(name)
        self._ports.close()

    def _open(self, name: str) -> None:
        try:
            self._devices[name] = _Device(self._ports.open_output(name))
        except OSError as error:
            self._faults.report(f"MIDI: {plain(name)}: {error}")
        else:
            self._say(f"MIDI: telling {plain(name)}")

    def _close(self, name: str) -> None:
        with contextlib.suppress(Exception):  # a device that was pulled out may not close any more
            self._devices.pop(name).sender.close()


def _value(binding: Binding, values: Mapping[str, tuple[float, object]]) -> float | None:
    name = binding.to if binding.voice is None else f"voice/{binding.voice}/{binding.to}"
    return values[name][0] if name in values else None


def _channel(binding: Binding, kind: str, number: int, moved: Mapping[Key, object]) -> int:
    """The line's channel; for any, the one that the control was last heard on, else the first."""
    if binding.channel is not None:
        return binding.channel - 1
    return next((c for k, n, c in reversed(list(moved)) if (k, n) == (kind, number)), 0)


def _bytes(kind: str, number: int, channel: int, value: int) -> list[int]:
    if kind == "bend":
        return [0xE0 | channel, value & 127, value >> 7]
    return [(0xB0 if kind == "cc" else 0x90) | channel, number, value]
