"""The triggers of time and movement: tempo, transport, launch, LFOs, macros, snapshots. Arguments become acts.

Any thread may ask for an act, which checks the arguments; whoever holds the controller's lock lets it happen. When that
is is left to the controller, what it does to the transport, the modulation, the macros and the snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from instrument.arguments import Value
from instrument.launch import Act
from instrument.macros import PREFIX, Macros
from instrument.modulation import Modulation
from instrument.movement import Voices
from instrument.parameters import INTERNAL, shorten, suggest
from instrument.patch_movement import Movements
from instrument.snapshots import Snapshots
from instrument.transport import Transport

Build = Callable[[list[Value], Voices], Act]


class Desk(Protocol):
    """What the controller does for this module."""

    transport: Transport
    launch: str

    def now(self) -> float:
        """Seconds of time.monotonic."""

    def heard_at(self, moment: float) -> float:
        """Session seconds at which a gesture of that moment is heard."""

    @property
    def bank(self) -> Sequence[str]:
        """Names of the checkpoints, program 0 first."""

    def programs(self) -> Sequence[int | None]:
        """What each voice plays, by bank index."""

    def switch(self, index: int, voices: Voices, seconds: float | None, moment: float) -> None:
        """Play another checkpoint of the bank."""

    def move_macro(self, name: str, value: float, seconds: float, moment: float) -> None:
        """Turn a macro."""


class Gestures:
    """Builders of acts, by trigger."""

    def __init__(
        self, desk: Desk, modulation: Modulation, macros: Macros, snapshots: Snapshots, say: Callable[[str], None]
    ) -> None:
        self._desk, self.modulation, self.macros, self.snapshots = desk, modulation, macros, snapshots
        self._say = say
        self.actions: dict[str, Build] = {
            "tempo": self._tempo,
            "tap": self._tap,
            "transport": self._transport,
            "quantise": self._quantise,
            "lfo": self._lfo,
            "lfo/stop": self._lfo_stop,
            "macro": self._macro,
            "snapshot": self._snapshot,
            "recall": self._recall,
        }

    def begin(self, movements: Movements, moment: float) -> None:
        """What runs from the beginning."""
        for name, lfo in movements.lfos.items():
            if lfo.start:
                self.modulation.start(name, moment)

    def adopt(self, now: Movements, before: Movements | None, moment: float) -> None:
        """Another patch's, or another version of ``before``: what is the same in it runs on; parameters stay."""
        modulation, then = self.modulation, {} if before is None else before.lfos
        for name in modulation.running:
            if before is None or now.lfos.get(name) != then.get(name):
                modulation.stop(name, moment)
        modulation.lfos = dict(now.lfos)
        if before is None:
            modulation.forget()
        for name, lfo in now.lfos.items():
            if lfo.start and lfo != then.get(name):
                modulation.start(name, moment)
        self.macros.adopt(now.macros, anew=before is None)
        self.snapshots.adopt(now.snapshots, {} if before is None else before.snapshots)
        if before is None or now.launch != before.launch:
            self._desk.launch = now.launch
        transport = self._desk.transport
        transport.meter = now.meter
        if before is not None and now.clock != before.clock:
            transport.lead(now.clock, self._desk.heard_at(moment))
        if now.tempo is not None and (before is None or now.tempo != before.tempo) and transport.clock == INTERNAL:
            transport.set_tempo(now.tempo, self._desk.heard_at(moment))

    def _tempo(self, arguments: list[Value], _voices: Voices) -> Act:
        transport, bpm = self._desk.transport, float(arguments[0] or 0.0)
        transport.by_hand(self._desk.now())
        return lambda moment: transport.set_tempo(bpm, self._desk.heard_at(moment))

    def _tap(self, _arguments: list[Value], _voices: Voices) -> Act:
        self._desk.transport.by_hand(self._desk.now())
        return self._desk.transport.tap

    def _transport(self, arguments: list[Value], _voices: Voices) -> Act:
        how = str(arguments[0])
        return lambda moment: self._desk.transport.turn(how, moment)

    def _quantise(self, arguments: list[Value], _voices: Voices) -> Act:
        def act(_moment: float) -> None:
            self._desk.launch = str(arguments[0])

        return act

    def _lfo(self, arguments: list[Value], _voices: Voices) -> Act:
        name, factor, seconds = self._lfo_name(arguments[0]), arguments[1], float(arguments[2] or 0.0)
        modulation = self.modulation

        def act(moment: float) -> None:
            if name not in modulation.lfos:  # another patch came meanwhile
                return
            runs = name in modulation.running
            if factor is not None:
                if not runs:
                    modulation.fade(name, 0.0 if seconds else float(factor), 0.0, moment)
                modulation.fade(name, float(factor), seconds, moment)
            if factor is None or not runs:
                modulation.start(name, moment)

        return act

    def _lfo_stop(self, arguments: list[Value], _voices: Voices) -> Act:
        name = self._lfo_name(arguments[0]) if isinstance(arguments[0], str) else None
        return lambda moment: self.modulation.stop(name, moment)

    def _lfo_name(self, name: Value) -> str:
        known = self.modulation.lfos
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"no lfo {shorten(name)}{suggest(name, known) or '; the patch has none'}")
        return name

    def _macro(self, arguments: list[Value], _voices: Voices) -> Act:
        name = self.macros.parameter(f"{PREFIX}{arguments[0]}").name
        value, seconds = float(arguments[1] or 0.0), float(arguments[2] or 0.0)
        return lambda moment: self._desk.move_macro(name, value, seconds, moment)

    def _snapshot(self, arguments: list[Value], _voices: Voices) -> Act:
        name = str(arguments[0])
        self.snapshots.check_room(name)

        def act(moment: float) -> None:
            bank = self._desk.bank
            plays = [None if program is None else bank[program] for program in self._desk.programs()]
            self.snapshots.store(name, plays, moment)

        return act

    def _recall(self, arguments: list[Value], _voices: Voices) -> Act:
        name, seconds = arguments[0], float(arguments[1] or 0.0)
        self.snapshots.find(name)

        def act(moment: float) -> None:
            if name not in self.snapshots.names:
                self._say(f"recall: {name} was of the patch before")
                return
            snapshot = self.snapshots.find(name)
            for checkpoint, voices in self.snapshots.checkpoints(snapshot).items():
                if checkpoint in self._desk.bank:
                    self._desk.switch(self._desk.bank.index(checkpoint), voices, seconds or None, moment)
                else:
                    self._say(f"recall {name}: {checkpoint} is not in this patch's bank; what plays stays")
            self.snapshots.morph(snapshot, seconds, moment)

        return act
