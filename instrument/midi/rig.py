"""Everything of MIDI that a set has: its ear, its mouth, and what was learned.

Built and stopped by the session; learned lines come on the ear's thread, patches and triggers from any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from instrument import patch_edit
from instrument.arguments import Value
from instrument.faults import words
from instrument.midi import feedback, learning, mapping
from instrument.midi.feedback import Feedback
from instrument.midi.input import Clock, MidiInput
from instrument.midi.learning import Line
from instrument.midi.mapping import Start
from instrument.midi.ports import Ports
from instrument.midi.saving import Saving
from instrument.parameters import MIDI
from instrument.patch import Patch
from instrument.patch_midi import Binding, Known
from instrument.places import is_shipped


class Desk(mapping.Desk, feedback.Desk, Protocol):
    """What is needed of the controller."""

    bank: list[str]

    def offer(self, name: str, action: Callable[[list[Value]], None]) -> None: ...


class Midi:
    """A set's MIDI.

    Args:
        desk: the controller.
        patch: whose map is played.
        say: takes a line for the terminal; must not block.
        device: part of the name of the inputs to listen to; every input if None.
        start: ``start[voice][code]``, where controller 121 puts the parameters.
        clock: the transport, which knows whether MIDI's clock is its own.
        ports, outputs: where inputs and outputs come from; the machine's if left out.
    """

    def __init__(
        self,
        desk: Desk,
        patch: Patch,
        say: Callable[[str], None],
        device: str | None = None,
        start: Start | None = None,
        clock: Clock | None = None,
        ports: Ports | None = None,
        outputs: Ports | None = None,
    ) -> None:
        self._desk, self._patch, self._say, self._outputs = desk, patch, say, outputs
        self._lines, self._asked = _lines(patch), device is not None
        self._saving = Saving()
        self._starting, self._running = threading.Lock(), False
        self.input = MidiInput(
            desk,
            patch.midi,
            say,
            device,
            ports,
            known=known(patch, desk),
            start=start,
            clock=clock,
            virtual=patch.midi_port,
            learned=self._learned,
        )
        self.feedback = self._mouth()

    def start(self) -> None:
        """Take the triggers that are for MIDI; listen and tell, if there is a map or somebody asked for an input."""
        self._desk.offer("learn", self._arm)
        self._desk.offer("learn/stop", lambda _given: self.input.learner.stop())
        self._desk.offer("resend", lambda _given: self.resend())
        if self._asked or self._patch.midi_out or self._patch.midi_port or _listens(self._patch):
            self._begin()

    def _begin(self) -> None:
        with self._starting:
            if self._running:
                return
            self._running = True
            self.input.start()
            if self.feedback is not None:
                self.feedback.start()

    def _arm(self, given: list[Value]) -> None:
        self.input.arm(given[0])
        self._begin()

    def stop(self) -> None:
        """Stop both; waits for their threads. Safe to call twice, or without a start."""
        with self._starting:
            self._running = True  # nobody begins any more
        self.input.stop()
        self._saving.finish()
        if self.feedback is not None:
            self.feedback.stop()

    def change(self, patch: Patch, start: Start | None = None, renewed: bool = False) -> None:
        """Another patch's map, or ``renewed`` what this one says now, from between two messages on. Any thread."""

        def act() -> None:
            self._patch, self._lines = patch, _lines(patch)
            self.input.switch(patch.midi, known(patch, self._desk), start, renewed)
            self.resend()

        self.input.do(act)
        if _listens(patch):
            self._begin()

    def resend(self) -> None:
        """Tell every device everything again. Any thread."""
        if self.feedback is not None:
            self.feedback.resend()

    @property
    def armed(self) -> str:
        """What the next control will be for; empty if nothing is to be learned."""
        found = self.input.learner.armed
        return found.text if found else ""

    @property
    def last(self) -> str:
        """The last message that came, with its device."""
        return self.input.last

    def _mouth(self) -> Feedback | None:
        where = self._patch.midi_out
        if where is None:
            return None
        ear = self.input
        return Feedback(self._desk, ear.mapper, ear.latest, lambda: ear.inputs, self._say, where, self._outputs)

    def _learned(self, line: Line, device: str) -> None:
        """Put it into the map, at once, and into the file, behind that."""
        if len(self.input.inputs) > 1:
            line = {**line, "device": device.split(":")[0]}
        bindings = list(self.input.mapper.bindings)
        new = learning.read(line, self.input.learner.known)
        at = learning.place(bindings, new, device)
        old = None
        if at is not None:
            old, was = self._lines[at], bindings[at]
            line, new = self._merged(line, old, new)
            bindings[at], self._lines[at] = new, line
            what = f" (was {was.to})" if was.to != new.to else ""
        else:
            bindings.append(new)
            self._lines.append(line)
            what = ""
        self.input.mapper.change(bindings)
        self.resend()
        path = self._patch.path
        self._saving.put(lambda: self._say(f"MIDI: {patch_edit.flow(line)} learned{what}{_save(path, line, old)}"))

    def _merged(self, line: Line, old: Line, new: Binding) -> tuple[Line, Binding]:
        both = learning.merged(line, old)
        try:
            return both, learning.read(both, self.input.learner.known)
        except ValueError:
            return line, new


def _save(path: Path | None, line: Line, old: Line | None) -> str:
    """Where it is kept, to be said. Never raises."""
    if path is None:
        return ", for this set only: there is no patch file"
    if is_shipped(path):
        return f", for this set only: {path.name} came with the program; copy it to change it"
    try:
        replaced = patch_edit.save_line(path, line, old)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f", for this set only: {path}: {why}"
    except Exception as error:  # the next line that is learned needs this thread
        return f", for this set only: {path}: {words(error)}"
    if old is not None and not replaced:
        there = patch_edit.flow(old)
        return f", in {path}; {there} is not there but in the set's file: take it out, or both act next time"
    return f", in {path}"


def known(patch: Patch, desk: Desk) -> Known:
    """What learned lines may refer to."""
    tables = {name: patch.data.get(f"{name}s") or {} for name in ("sweep", "lfo", "macro")}
    return Known(desk.voices, desk.bank, tables)


def _lines(patch: Patch) -> list[dict[str, Any]]:
    return [dict(line) for line in patch.data.get("midi") or []]


def _listens(patch: Patch) -> bool:
    """Whether it has a use for inputs."""
    return bool(patch.midi) or patch.movements.clock == MIDI
