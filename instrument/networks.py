"""What voices play, as gestures ask for it: checkpoints, partners, memories, dice, moments.

Acts are made on the thread of the gesture and happen under the controller's lock. When they happen is left to the
controller, what a switch does to the render loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from instrument.arguments import Value
from instrument.controls import KEEP_STATE, Command, Op, Telemetry
from instrument.launch import Act
from instrument.movement import Voices
from instrument.patch import DEFAULT_CROSSFADE, bank_index, partner_index
from instrument.programs import Programs

MODES = {"learned": 0, "zeros": 1, "random": 2}  # of a reseed, as the loop knows them


class Desk(Protocol):
    """What the controller does for this module."""

    voices: int
    sample_rate: int

    @property
    def bank(self) -> Sequence[str]:
        """Names of the checkpoints, program 0 first."""

    @property
    def silent(self) -> bool:
        """Whether a panic has silenced everything."""

    def sounds(self) -> None:
        """It is silent no more."""

    def sample(self, moment: float) -> int:
        """Where a gesture of that moment takes effect."""

    def send(self, command: Command, asked: float | None) -> None:
        """To the ring."""

    def send_each(self, command: Command, voices: Voices, moment: float, *, gesture: bool = True) -> None:
        """``command`` for these voices at the sample of ``moment``."""


class Networks:
    """What each voice was last sent to.

    Args:
        desk: the controller.
        table: programs and their slots.
        look: what the loop shows.
        say: takes a line for the terminal.
        misfit: what keeps one slot from being the partner of another, in words; nothing if it fits.
        keep_state: a switch keeps the recurrent state where architectures agree, instead of priming.
        history: the maturity says what plays.
    """

    def __init__(
        self,
        desk: Desk,
        table: Programs,
        look: Callable[[], Telemetry],
        say: Callable[[str], None],
        *,
        misfit: Callable[[int, int], str],
        keep_state: bool,
        history: bool,
    ) -> None:
        self._desk, self._table, self._look, self._say = desk, table, look, say
        self._misfit, self._history = misfit, history
        self.keep_state = keep_state
        self.partners = [-1] * desk.voices  # slot of each voice's, as last asked for; -1 is none
        self.actions: dict[str, Callable[[list[Value], Voices], Act]] = {
            "checkpoint": self._checkpoint,
            "reseed": self._reseed,
            "seed": self._seed,
            "moment": self._moment,
            "partner": self._partner,
        }

    def switch(self, index: int, voices: Voices, seconds: float | None, moment: float) -> None:
        """Play another checkpoint of the bank, unless the maturity says what plays."""
        if not self._history:
            self._play(index, voices, DEFAULT_CROSSFADE if seconds is None else seconds, moment)

    def pair(self, voice: int, slot: int, moment: float) -> None:
        """A patch's partner for a voice (from 0), if it has another; -1 is none."""
        if self.partners[voice] != slot:
            self.partners[voice] = slot
            self._desk.send(Command(self._desk.sample(moment), Op.PARTNER, voice, number=slot), None)

    def _checkpoint(self, arguments: list[Value], voices: Voices) -> Act:
        entry, crossfade = arguments
        index = bank_index(entry, self._desk.bank, "checkpoint")
        seconds = DEFAULT_CROSSFADE if crossfade is None else float(crossfade)
        name = self._desk.bank[index]

        def act(moment: float) -> None:
            if name in self._desk.bank[index : index + 1]:
                self._play(index, voices, seconds, moment)
            else:
                self._say(f"checkpoint: {name} was of the patch before")

        return act

    def _play(self, index: int, voices: Voices, seconds: float, moment: float) -> None:
        """Another checkpoint, unless it plays."""
        ramp = max(1, round(seconds * self._desk.sample_rate))
        if self._desk.silent or any(self._table.asked[voice] != index for voice in voices):
            self._desk.sounds()
            flags = KEEP_STATE if self.keep_state else 0
            command = Command(0, Op.SWITCH, ramp=ramp, number=self._table.slots[index], flags=flags)
            self._desk.send_each(command, voices, moment)
            for voice in voices:
                self._table.asked[voice] = index

    def _reseed(self, arguments: list[Value], voices: Voices) -> Act:
        mode = MODES[arguments[0]] if isinstance(arguments[0], str) else MODES["random"]
        return lambda moment: self._desk.send_each(Command(0, Op.RESEED, parameter=mode), voices, moment)

    def _seed(self, arguments: list[Value], voices: Voices) -> Act:
        key = int(arguments[0] or 0)
        return lambda moment: self._desk.send_each(Command(0, Op.SEED, number=key), voices, moment)

    def _moment(self, arguments: list[Value], voices: Voices) -> Act:
        index = int(arguments[0] or 0)
        return lambda moment: self._desk.send_each(Command(0, Op.MOMENT, number=index), voices, moment)

    def _partner(self, arguments: list[Value], voices: Voices) -> Act:
        """Raises ValueError for a network that fits no voice."""
        bank = self._desk.bank
        index = partner_index(arguments[0], bank, "partner")
        slot = self._table.slots[index] if index >= 0 else -1
        faults = [self._misfit(self._playing(voice), slot) if index >= 0 else "" for voice in voices]
        if all(faults):
            name = self._table.name(self._playing(voices[0]))
            raise ValueError(f"partner: {bank[index]} does not fit {name}: its {faults[0]}")

        def act(moment: float) -> None:
            for voice in voices:
                self.partners[voice] = slot
            self._desk.send_each(Command(0, Op.PARTNER, number=slot), voices, moment)

        return act

    def _playing(self, voice: int) -> int:
        """The slot of a voice (from 0), or where it is going."""
        program = self._table.asked[voice]
        return self._look().voices[voice].slot if program is None else self._table.slots[program]
