"""From one patch to another, at one sample: bank, voices, parameters, sweeps, and what MIDI and OSC are told.

Whoever holds the controller's lock calls this; it only sends commands. Reading files and loading checkpoints is done
before, by :mod:`instrument.sets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from instrument.loading import Bank
from instrument.parameters import MAX_VOICES, PARAMETERS
from instrument.patch import DEFAULT_CROSSFADE, Patch
from instrument.plan import starting_values

if TYPE_CHECKING:
    from instrument.controller import Controller

CHANGE_S = 0.5  # to another patch, if it does not say how long that takes
Values = Sequence[Sequence[float]]


class Changing:
    """The patch that plays, and the way to the next.

    Args:
        controller: whose voices they are.
        told: called with every patch that comes into effect, and whether it is another version of the one before.
        voices: how many sound, whatever patches say; None as they say.
    """

    def __init__(
        self, controller: Controller, patch: Patch, bank: Bank, told: Callable[[Patch, bool], None], voices: int | None
    ) -> None:
        self._controller, self._told, self._asked_voices = controller, told, voices
        self.patch, self.bank = patch, bank

    def sounding(self, patch: Patch) -> int:
        """How many voices ``patch`` lets sound in this set."""
        return min(self._controller.voices, self._asked_voices or patch.voices)

    def go(self, patch: Patch, bank: Bank, moment: float) -> None:
        """Change to another patch: everything is as if it had been started with."""
        c, seconds = self._controller, CHANGE_S if patch.crossfade is None else patch.crossfade
        with c.at_one_sample(moment):
            c.still(moment)
            programs = [patch.program(voice) for voice in range(1, c.voices + 1)]
            self._take(patch, None, bank, programs, seconds, moment)
            self._set(values_of(patch, c.voices), None, seconds, moment)

    def renew(self, patch: Patch, bank: Bank, moment: float) -> None:
        """Take over what its file says now: what is the same in it stays where hands put it."""
        c, before = self._controller, self.patch
        fade = DEFAULT_CROSSFADE if patch.crossfade is None else patch.crossfade
        with c.at_one_sample(moment):
            programs = self._programs(patch, bank)
            then = values_of(before, c.voices)
            self._take(patch, before, bank, programs, fade, moment)
            self._set(values_of(patch, c.voices), then, patch.crossfade or 0.0, moment)

    def _programs(self, patch: Patch, bank: Bank) -> list[int]:
        """What each voice plays from now on: what it did, unless its start was changed, or it is not there any more."""
        c, found = self._controller, []
        for voice in range(c.voices):
            now = c.table.asked[voice]
            start = patch.program(voice + 1)
            same = now is not None and not _moved(self.patch, patch, voice + 1)
            found.append(_again(self.bank, bank, now, start) if same and now is not None else start)
        return found

    def _take(
        self, patch: Patch, before: Patch | None, bank: Bank, programs: Sequence[int], seconds: float, moment: float
    ) -> None:
        c = self._controller
        slots = [None if program is None else c.table.slots[program] for program in c.table.asked]
        c.adopt(patch, before, bank.slots, moment)
        self.patch, self.bank = patch, bank
        changed = [slot != bank.slots[program] for slot, program in zip(slots, programs, strict=True)]
        if len(set(programs)) == 1 and (any(changed) or c.silent):  # from panic's silence even if nothing is new
            c.switch(programs[0], tuple(range(c.voices)), seconds, moment)
        for voice, program in enumerate(programs):
            if c.table.asked[voice] is None and (changed[voice] or c.silent):
                c.switch(program, (voice,), seconds, moment)
            c.table.asked[voice] = program
        for voice in range(c.voices):
            gone = c.partners[voice] not in (-1, *bank.slots)
            if gone or before is None or _partner(before, voice + 1) != _partner(patch, voice + 1):
                partner = patch.partner(voice + 1)
                c.pair(voice, c.table.slots[partner] if partner >= 0 else -1, moment)
        c.resting.sound(self.sounding(patch), moment, self._come_and_go(before, patch))
        self._told(patch, before is not None)

    def _come_and_go(self, before: Patch | None, patch: Patch) -> Iterable[int]:
        """Voices that ``patch`` has a say about: all; of another version of ``before``, those that it has otherwise."""
        if before is None:
            return range(self._controller.voices)
        return range(*sorted((self.sounding(before), self.sounding(patch))))

    def _set(self, values: Values, then: Values | None, seconds: float, moment: float) -> None:
        """Set what differs from ``then``, or everything; what all voices agree on, for all at once."""
        c = self._controller
        for parameter in PARAMETERS.values():
            column = [row[parameter.code] for row in values]
            changed = [then is None or then[v][parameter.code] != value for v, value in enumerate(column)]
            if all(changed) and len(set(column)) == 1:
                c.set(parameter.name, column[0], None, seconds, moment)
                continue
            for voice, value in enumerate(column):
                if changed[voice]:
                    c.set(parameter.name, value, voice + 1, seconds, moment)


def _partner(patch: Patch, voice: int) -> str:
    """Whom a patch blends voice ``voice`` (from 1) with at the start, by name; nothing for nobody."""
    index = patch.partner(voice)
    return patch.bank[index].name if index >= 0 else ""


def values_of(patch: Patch, voices: int) -> Values:
    """Starting values, by voice and code."""
    return [starting_values(patch, voice) for voice in range(1, voices + 1)]


def restarts(before: Patch, now: Patch, voices: int | None) -> list[str]:
    """Fields that changed and take effect at the next start only; ``voices``: the most there can be, if that counts."""
    fields = {
        "voices": voices is not None and now.voices > voices and now.voices != before.voices,
        "seed": now.seed != before.seed,
        "output": now.output != before.output,
        "fallback": now.fallback != before.fallback,
        "stereo": _sides(now) != _sides(before),
        "osc.listen": now.osc.listen != before.osc.listen,
        "osc.announce": now.osc.announce != before.osc.announce,
        "midi_out": now.midi_out != before.midi_out,
        "midi_port": now.midi_port != before.midi_port,
        "history": now.history != before.history,
    }
    return [name for name, changed in fields.items() if changed]


def _sides(patch: Patch) -> tuple[bool, ...]:
    """Which voices have a right side of their own, or would have."""
    return tuple(patch.is_stereo(voice) for voice in range(1, MAX_VOICES + 1))


def _moved(before: Patch, now: Patch, voice: int) -> bool:
    """Whether the file names another checkpoint to start ``voice`` with."""
    old, new = before.bank[before.program(voice)], now.bank[now.program(voice)]
    return old.path != new.path


def _again(before: Bank, now: Bank, program: int, start: int) -> int:
    """Where program ``program`` of the bank before is now: the same network, else the same file; else ``start``."""
    for old, new in ((before.keys, now.keys), (before.paths, now.paths)):
        if old[program] in new:
            return _index(new, old[program])
    return start


def _index(where: Iterable[Any], what: Any) -> int:
    return list(where).index(what)
