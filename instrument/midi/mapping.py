"""MIDI messages -> gestures, by the patch's map.

The MIDI input's thread; others may read. The map can be changed between any two messages. What a gesture does is left
to the controller, what a message was to :mod:`instrument.midi.wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from instrument.midi.curves import natural, way_of
from instrument.midi.encoders import FINE, Fine, steps
from instrument.midi.gates import Gates
from instrument.midi.takeover import Pickup, Scaling
from instrument.midi.wire import Heard, heard
from instrument.parameters import PARAMETERS
from instrument.patch_midi import MACRO, Binding, arguments

Start = Sequence[Sequence[float]]  # by voice and parameter's code

PRESSED = 64  # a controller used as a button is down from here
SUSTAIN, SOUND_OFF, RESET, NOTES_OFF = 64, 120, 121, 123  # controllers that MIDI itself gives a meaning


MODES = 120  # controllers from here on are no controls: MIDI means them for the whole channel


class Beat(Protocol):
    """What is needed of the transport."""

    @property
    def tempo(self) -> float: ...


class Desk(Protocol):
    """What is needed of the controller."""

    voices: int

    @property
    def transport(self) -> Beat: ...

    def set(self, name: str, value: object, voice: int | None, ramp: object, when: float | None) -> None: ...
    def value(self, name: str, voice: int | None) -> float: ...
    def target(self, name: str, voice: int | None) -> float: ...
    @property
    def trigger(self) -> Callable[..., None]: ...


class Mapper:
    """A patch's map at work.

    Args:
        desk: the controller.
        bindings: the map.
        report: takes a line about what a message could not do.
        start: ``start[voice][code]``, where controller 121 puts the parameters back to; None: nowhere.
    """

    def __init__(
        self,
        desk: Desk,
        bindings: Sequence[Binding],
        report: Callable[[str], None],
        start: Start | None = None,
    ) -> None:
        self._desk, self._report = desk, report
        self.start = start
        self.gates = Gates(self._go, lambda binding: desk.target(binding.to, binding.voice))
        self._state: dict[Hashable, Any] = {}
        self.change(bindings)

    def change(self, bindings: Sequence[Binding]) -> None:
        """Another map; lines that stay keep what they know of their controls."""
        self.bindings = tuple(bindings)
        self._index: dict[tuple[str, int | None], list[Binding]] = {}
        for binding in self.bindings:
            self._index.setdefault((binding.source, binding.number), []).append(binding)
            if binding.bits == 14 and binding.number is not None:
                self._index.setdefault((binding.source, binding.number + FINE), []).append(binding)
        kept = set(self.bindings)
        self._state = {key: state for key, state in self._state.items() if _line(key) in kept}

    def switch(self, bindings: Sequence[Binding], start: Start | None) -> None:
        """Another patch's map: what was held was for the one before."""
        self.gates.forget()
        self.start = start
        self.change(bindings)

    def renew(self, bindings: Sequence[Binding], start: Start | None, moment: float) -> None:
        """What the patch's file says now: notes whose line is still there stay held."""
        before, self.start = self.start, start
        self.change(bindings)
        self.gates.renew(set(bindings), lambda binding: _column(before, binding) != _column(start, binding), moment)

    def play(self, message: Any, device: str, moment: float) -> None:
        """Do what the map says about a mido message that arrived at ``moment`` from ``device``. Never raises."""
        if (found := heard(message)) is not None:
            self.take(found, device, moment)

    def take(self, found: Heard, device: str, moment: float) -> None:
        """The same for what a message said."""
        place = (device, found.channel)
        if found.source == "off":
            self._try(found, lambda: self.gates.let_go(place, found.number, moment))
            return
        lines = self.lines(found, device)
        for binding in lines:
            self._try(found, self._act, binding, found, device, moment)
        lifted = found.number == SUSTAIN and found.value < PRESSED  # also where it got a line while it was down
        if found.source == "cc" and (lifted or not lines):
            self._try(found, self._channel_mode, found, device, moment)

    def lines(self, found: Heard, device: str) -> list[Binding]:
        """The lines of the map that a message is for."""
        source = found.source
        exact = self._index.get((source, found.number), ()) if found.number >= 0 else ()
        every = self._index.get((source, None), ())
        return [binding for binding in (*exact, *every) if admits(binding, found.channel, device)]

    def coalesces(self, found: Heard, device: str) -> bool:
        """Whether only the last of several such messages counts."""
        if found.source not in ("cc", "bend", "pressure"):
            return False
        lines = self.lines(found, device)
        if not lines and found.source == "cc":
            return found.number not in (SUSTAIN, SOUND_OFF, RESET, NOTES_OFF)
        return all(line.follows and line.relative is None for line in lines)

    def _try(self, found: Heard, act: Callable[..., None], *given: Any) -> None:
        try:
            act(*given)
        except ValueError as error:
            self._report(f"MIDI: {found.source} {found.number}: {error}")

    def _act(self, binding: Binding, found: Heard, device: str, moment: float) -> None:
        key = (binding, device, found.channel)
        if binding.follows:
            self._turn(binding, found, key, moment)
        elif binding.gate:
            self.gates.strike(binding, (device, found.channel), found.number, found.value, moment)
        elif found.source == "cc" and not self._pressed(key, found.value):
            return
        elif binding.value is not None and (binding.to in PARAMETERS or binding.to.startswith(MACRO)):
            self._go(binding, float(binding.value), binding.seconds or 0.0, moment)
        else:
            more = {} if binding.launch is None else {"launch": binding.launch}
            self._desk.trigger(binding.to, *arguments(binding, found.number), voice=binding.voice, when=moment, **more)

    def _turn(self, binding: Binding, found: Heard, key: Hashable, moment: float) -> None:
        """A control that says a value."""
        way = self._way(binding, found, key)
        if way is None:
            return
        value = natural(binding, way)
        p = PARAMETERS.get(binding.to)
        value = value if p is None else p.clip(value)
        if binding.relative is None and binding.takeover != "jump" and not (p and p.whole):
            taken = self._taken(binding, way, value, key)
            if taken is None:
                return
            value = taken
        self._go(binding, value, binding.seconds or 0.0, moment)

    def _way(self, binding: Binding, found: Heard, key: Hashable) -> float | None:
        """Where the control is now; None if that is not known yet, or nothing moved."""
        if binding.bits == 14:
            pair: Fine = self._kept((key, "fine"), Fine)
            return pair.way(found.value, found.number != binding.number)
        if binding.relative is None:
            return found.way
        moved = steps(binding.relative, found.value)
        first, last = binding.ends
        if moved == 0 or first == last:
            return None
        p = PARAMETERS.get(binding.to)
        step = binding.step if binding.step is not None else 1.0 if p and p.whole else abs(last - first) / 127
        where = self._where(binding)
        return way_of(binding, first if where is None else where[1]) + moved * step / abs(last - first)

    def _taken(self, binding: Binding, way: float, value: float, key: Hashable) -> float | None:
        """The value that a knob sets which may be elsewhere than its parameter; None if it has to wait."""
        where = self._where(binding)
        if where is None:
            return value
        if binding.takeover == "pickup":
            knob = self._kept((key, "pickup"), Pickup)
            return value if knob.takes(value, *where, binding.ends) else None
        moved = self._kept((key, "scaling"), Scaling).moves(way, way_of(binding, where[1]))
        return None if moved is None else natural(binding, moved)

    def _where(self, binding: Binding) -> tuple[float, float] | None:
        """Where a target is and where it is going; None for one that does not say."""
        if binding.to in PARAMETERS or binding.to.startswith(MACRO):
            return self._desk.value(binding.to, binding.voice), self._desk.target(binding.to, binding.voice)
        if binding.to == "tempo":
            return self._desk.transport.tempo, self._desk.transport.tempo
        return None

    def _go(self, binding: Binding, value: float, seconds: float, moment: float) -> None:
        """Set a line's target."""
        if binding.to in PARAMETERS or binding.to.startswith(MACRO):
            self._desk.set(binding.to, value, binding.voice, seconds, moment)
        else:
            self._desk.trigger(binding.to, value, when=moment)

    def _pressed(self, key: Hashable, value: int) -> bool:
        """Whether a controller used as a button has just gone down."""
        before = self._state.get((key, "button"), False)
        self._state[key, "button"] = value >= PRESSED
        return value >= PRESSED and not before

    def _kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._state:
            self._state[key] = make()
        return self._state[key]

    def _channel_mode(self, found: Heard, device: str, moment: float) -> None:
        """What a controller means that no line speaks of."""
        if found.number == SUSTAIN:
            self.gates.pedal((device, found.channel), found.value >= PRESSED, moment)
        elif found.number == SOUND_OFF:
            self._desk.trigger("panic", when=moment)
        elif found.number == NOTES_OFF:
            self.gates.release(moment)
        elif found.number == RESET:
            self._reset(moment)

    def _reset(self, moment: float) -> None:
        """Every parameter where the patch starts it."""
        self.gates.release(moment)
        for p in PARAMETERS.values():
            values = [float(each[p.code]) for each in self.start or ()]
            if values and len(set(values)) == 1:
                self._desk.set(p.name, values[0], None, 0.0, moment)
                continue
            for voice, value in enumerate(values, 1):
                self._desk.set(p.name, value, voice, 0.0, moment)


def is_mode(found: Heard) -> bool:
    """Whether it is a channel mode message, and no control that somebody moves."""
    return found.source == "cc" and found.number >= MODES


def admits(binding: Binding, channel: int, device: str) -> bool:
    """Whether the line listens to that channel (from 0, as mido counts) of that device."""
    named = binding.device is None or binding.device.lower() in device.lower()
    return named and binding.channel in (None, channel + 1)


def _column(start: Start | None, binding: Binding) -> list[float]:
    """Where a patch starts what a line moves, voice by voice."""
    rows = start or () if binding.voice is None else (start or ())[binding.voice - 1 : binding.voice]
    return [float(row[PARAMETERS[binding.to].code]) for row in rows]


def _line(key: Any) -> object:
    """The binding in a state's key."""
    return key[0][0]
