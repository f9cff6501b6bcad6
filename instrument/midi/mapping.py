"""MIDI messages -> gestures, by the patch's map.

The MIDI input's thread. A knob that is not where its parameter is waits until it passes it (pickup), which is noticed
by crossing: fast turns skip values, so nearness would miss. What a gesture does is left to the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from instrument.parameters import PARAMETERS
from instrument.patch import Binding

PRESSED = 64  # a controller used as a button is down from here


class Desk(Protocol):
    """What is needed of the controller."""

    def set(self, name: str, value: object, voice: int | None, ramp: object, when: float | None) -> None: ...
    def trigger(self, name: str, *given: object, voice: int | None, when: float | None) -> None: ...
    def value(self, name: str, voice: int | None) -> float: ...
    def target(self, name: str, voice: int | None) -> float: ...


class Pickup:
    """One knob: where it was, and the value it set last."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._mine: float | None = None

    def takes(self, new: float, current: float, target: float, ends: tuple[float, float]) -> bool:
        """Whether the knob at ``new`` has its parameter in hand.

        Args:
            current: where the parameter is.
            target: where it is going (the same when at rest).
            ends: natural values at both ends of the knob; a parameter beyond an end is picked up there.
        """
        place = min(max(current, min(ends)), max(ends))
        in_hand = self._mine is not None and self._mine == target
        crossed = new == place or (self._last is not None and (self._last - place) * (new - place) <= 0.0)
        self._last = new
        self._mine = new if in_hand or crossed else None
        return in_hand or crossed


class Mapper:
    """A patch's map at work; ``report`` takes a line about what a message could not do."""

    def __init__(self, desk: Desk, bindings: Sequence[Binding], report: Callable[[str], None]) -> None:
        self._desk, self._report = desk, report
        self._bindings: dict[str, list[Binding]] = {"cc": [], "note": [], "program": []}
        for binding in bindings:
            self._bindings[binding.source].append(binding)
        self._knobs: dict[Hashable, Pickup] = {}
        self._buttons: dict[Hashable, bool] = {}

    def play(self, message: Any, device: str, moment: float) -> None:
        """Do what the map says about a mido message that arrived at ``moment`` from ``device``. Never raises."""
        source, number, value = _read(message)
        for binding in self._bindings.get(source, ()):
            if binding.number in (None, number) and _admits(binding, message.channel, device):
                try:
                    self._act(binding, number, value, (id(binding), device, message.channel), moment)
                except ValueError as error:
                    self._report(f"MIDI: {source} {number}: {error}")

    def _act(self, binding: Binding, number: int, value: int, key: Hashable, moment: float) -> None:
        if binding.source == "cc" and binding.to in PARAMETERS:
            self._turn(binding, value, key, moment)
        elif binding.source == "cc" and not self._pressed(key, value):
            return
        elif binding.to in PARAMETERS:
            self._desk.set(binding.to, binding.value, binding.voice, binding.seconds or 0.0, moment)
        else:
            self._desk.trigger(binding.to, *_arguments(binding, number), voice=binding.voice, when=moment)

    def _turn(self, binding: Binding, value: int, key: Hashable, moment: float) -> None:
        parameter = PARAMETERS[binding.to]
        low, high = binding.range or (parameter.low, parameter.high)
        new = parameter.clip(low + (high - low) * value / 127)
        if binding.takeover == "pickup" and not parameter.whole:
            knob = self._knobs.setdefault(key, Pickup())
            current = self._desk.value(binding.to, binding.voice)
            if not knob.takes(new, current, self._desk.target(binding.to, binding.voice), (low, high)):
                return
        self._desk.set(binding.to, new, binding.voice, binding.seconds or 0.0, moment)

    def _pressed(self, key: Hashable, value: int) -> bool:
        """Whether a controller used as a button has just gone down."""
        before = self._buttons.get(key, False)
        self._buttons[key] = value >= PRESSED
        return value >= PRESSED and not before


def _read(message: Any) -> tuple[str, int, int]:
    """(source, number, value) of a mido message; what no map can name has an empty source."""
    match message.type:
        case "control_change":
            return "cc", message.control, message.value
        case "note_on" if message.velocity > 0:  # velocity 0 is a note-off
            return "note", message.note, message.velocity
        case "program_change":
            return "program", message.program, 127
        case _:
            return "", 0, 0


def _admits(binding: Binding, channel: int, device: str) -> bool:
    """Whether the binding listens to that channel (from 0, as mido counts) of that device."""
    named = binding.device is None or binding.device.lower() in device.lower()
    return named and binding.channel in (None, channel + 1)


def _arguments(binding: Binding, number: int) -> tuple[object, ...]:
    """A trigger's arguments."""
    if binding.to == "checkpoint":
        entry = number if binding.value is None else binding.value
        return (entry,) if binding.seconds is None else (entry, binding.seconds)
    if binding.to == "reseed":
        return (binding.mode,)
    return () if binding.value is None else (binding.value,)
