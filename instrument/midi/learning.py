"""Learn: the next control that moves is for what was named.

The MIDI input's thread; arming may come from any. A note or a program is known at once; a controller is listened to
for a moment, because only a few messages tell an encoder, or a pair of 14 bits, from a knob. Putting the line into the
map and the file is left to whoever asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instrument.arguments import Value
from instrument.midi.encoders import FINE, guess
from instrument.midi.mapping import admits
from instrument.midi.wire import Heard
from instrument.notes import name_of
from instrument.parameters import PARAMETERS, TRIGGERS, shorten
from instrument.patch_midi import BINDING, Binding, Known, is_followed, read_binding

LISTEN = 0.25  # seconds from a controller's first message to the verdict
ENOUGH = 8  # messages that are a verdict before that
TOUCHED = 32  # of pressure: less is a finger that rests

Line = dict[str, Any]


@dataclass(frozen=True)
class Aim:
    """What is to be learned: a target, a voice and a value, as a line of the map has them."""

    text: str
    fields: Line

    @property
    def to(self) -> str:
        """The target."""
        return str(self.fields["to"])


def aim(text: str) -> Aim:
    """``temperature``, ``voice/2/gain``, ``macro/storm``, ``sweep unhinge`` as an aim. Raises ValueError."""
    to, _, value = text.strip().partition(" ")
    fields: Line = {}
    if to.startswith("voice/"):
        number, _, to = to.removeprefix("voice/").partition("/")
        if not (number.isascii() and number.isdigit() and 0 < len(number) < 4):
            raise ValueError(f"learn: {shorten(text)} is not voice/<n>/<target>")
        fields["voice"] = int(number)
    BINDING.fields["to"].read(to, "learn")
    fields = {"to": to, **fields}
    if value:
        fields["value"] = _number(value.strip())
    elif not is_followed(to) and to not in ("checkpoint", "reseed") and not TRIGGERS[to].arguments[0].optional:
        raise ValueError(f"learn: {to} needs a {TRIGGERS[to].arguments[0].name}, like: {to} NAME")
    return Aim(text.strip(), fields)


class Learner:
    """What is armed, and what was heard since.

    Args:
        known: what lines may refer to.
        now: the time, for tests.
    """

    def __init__(self, known: Known, now: Callable[[], float] = time.monotonic) -> None:
        self.known, self._now = known, now
        self.armed: Aim | None = None
        self.device = ""  # that the last verdict is about
        self._turned: list[tuple[Heard, str]] = []
        self._first = 0.0

    def arm(self, target: Value) -> None:
        """From now on the next control is for ``target``. Raises ValueError."""
        found = aim(str(target))
        if not self._fits(found):
            raise ValueError(f"learn: nothing of MIDI can be for {shorten(found.text)}")
        self.armed, self._turned = found, []

    def stop(self) -> None:
        """Learn nothing."""
        self.armed, self._turned = None, []

    @property
    def listening(self) -> bool:
        """Whether a controller has moved and there is no verdict yet."""
        return bool(self._turned)

    def hears(self, found: Heard, device: str) -> Line | None:
        """One message: the line that it (and those before it) is; None if that is not known yet."""
        if self.armed is None or found.source == "off" or (found.source == "pressure" and found.value < TOUCHED):
            return None
        if found.source == "cc":
            if not self._turned:
                self._first = self._now()
            self._turned.append((found, device))
            return self.verdict() if len(self._turned) >= ENOUGH else None
        self.device = device
        line = {**_plain(found, self.armed.to), **self.armed.fields, "channel": found.channel + 1}
        return line if self._reads(line) else None

    def verdict(self) -> Line | None:
        """The line of the controller that moved most, once it was listened to for long enough."""
        if (
            self.armed is None
            or not self._turned
            or (len(self._turned) < ENOUGH and self._now() - self._first < LISTEN)
        ):
            return None
        turned, self._turned = self._turned, []
        self.device = turned[-1][1]
        line: Line = {**_controller([heard for heard, _ in turned], is_followed(self.armed.to)), **self.armed.fields}
        line["channel"] = turned[-1][0].channel + 1
        return line if self._reads(line) else None

    def _reads(self, line: Line) -> bool:
        try:
            read(line, self.known)
        except ValueError:
            return False  # a note for a tempo, a program for a gain: not this one
        return True

    def _fits(self, found: Aim) -> bool:
        kinds: tuple[Line, ...] = ({"cc": 1}, {"note": 1}, {"note": 1, "gate": True}, {"program": "any"})
        faults: list[ValueError] = []
        for kind in kinds:
            try:
                read({**kind, **found.fields}, self.known)
            except ValueError as error:
                faults.append(error)
        if len(faults) == len(kinds):
            raise ValueError(str(faults[0]).replace("midi.", "learn ").replace("midi:", "learn:"))
        return True


def read(line: Line, known: Known) -> Binding:
    """A learned line as the patch's reader takes it. Raises ValueError."""
    return read_binding("midi", BINDING.read(line, "midi"), known)


def place(bindings: Sequence[Binding], new: Binding, device: str) -> int | None:
    """Which line a learned one replaces: of the same control, the one with the same target first; None for none."""
    channel = (new.channel or 1) - 1
    same = [
        i
        for i, old in enumerate(bindings)
        if (old.source, old.number) == (new.source, new.number) and admits(old, channel, device)
    ]
    return next(
        (i for i in same if (bindings[i].to, bindings[i].voice) == (new.to, new.voice)), same[0] if same else None
    )


def merged(line: Line, old: Mapping[str, Any]) -> Line:
    """The learned line, with what the line that it replaces says besides, if that is for the same target."""
    if (old.get("to"), old.get("voice")) != (line.get("to"), line.get("voice")):
        return line
    kept = {key: value for key, value in old.items() if key not in ("relative", "step", "bits")}
    if "relative" in line:
        kept.pop("takeover", None)
    learned = {key: value for key, value in line.items() if key != "channel" or "channel" in old}
    return {**kept, **learned}


def _plain(found: Heard, to: str) -> Line:
    """A line's beginning, for a message that is known at once."""
    if found.source == "note":
        gate = {"gate": True} if to in PARAMETERS else {}
        return {"note": name_of(found.number), **gate}
    if found.source == "program":
        return {"program": "any" if to == "checkpoint" else found.number}
    if found.source == "pressure" and found.number >= 0:
        return {"pressure": name_of(found.number)}
    return {found.source: "any"}


def _controller(turned: Sequence[Heard], followed: bool) -> Line:
    """The controller that moved most, and how it speaks."""
    numbers = [heard.number for heard in turned]
    number = max(dict.fromkeys(numbers), key=numbers.count)
    if number >= FINE and number - FINE in numbers:
        number -= FINE
    if not followed:
        return {"cc": number}
    if number < FINE and number + FINE in numbers:
        return {"cc": number, "bits": 14}
    coding = guess([heard.value for heard in turned if heard.number == number])
    return {"cc": number} if coding is None else {"cc": number, "relative": coding}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
