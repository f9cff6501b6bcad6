"""The live listener: hears that a voice is stuck, and does what the performer wants done about it.

A thread of its own, off the audio path, takes down what every voice's network says
(:meth:`instrument.audio.performance.Performance.overhear`) while `escape` is not off, and judges it once a second; what
it hears is ``engine.listening``'s to say. What it does about it are gestures like any other: logged, and replayed from
the log. `flux` is worked out when somebody asks for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.listening import live
from instrument.faults import Faults
from instrument.worker import Worker

if TYPE_CHECKING:
    from instrument.audio.performance import Overheard

LOOK_S = 0.25  # what the loop remembers of a voice is twice as long
JUDGED = 4  # looks from one judgement to the next: it takes 50 ms a voice
KEPT_S = live.TRAP_SECONDS
NUDGE, NUDGE_S = 0.1, 2.0  # share of the temperature, and how long it takes to go there
FLUX_WINDOW_S, FLUX_HOP_S = 0.023, 0.0116
STATES = ("", "silence", "tone", "noise", "trap")  # as telemetry counts them


class Desk(Protocol):
    """What is needed of the controller."""

    voices: int
    escape: str
    also: dict[str, Callable[[], float]]

    def set(self, name: str, value: object, voice: int | None, ramp: object, when: Any, source: object) -> None: ...
    def trigger(self, name: str, *given: object, voice: int | None) -> None: ...
    def value(self, name: str, voice: int | None) -> float: ...


class Stage(Protocol):
    """What is needed of the performance."""

    def overhear(self, voice: int, since: int) -> Overheard | None: ...


class Memory:
    """The last KEPT_S of one voice, begun anew whenever something else plays."""

    def __init__(self) -> None:
        self._sound: NDArray[np.float32] = np.zeros(0, np.float32)
        self._slot, self.upto = -1, 0

    def hear(self, heard: Overheard | None) -> None:
        """Add what was said since ``upto``; None is nothing that could be judged."""
        if heard is None or heard.looping:  # what a loop repeats is meant to be repeated
            self.forget()
            return
        if heard.slot != self._slot:
            self._sound = np.zeros(0, np.float32)
        self._slot, self.upto = heard.slot, heard.first + len(heard.sound)
        self._sound = np.concatenate([self._sound, heard.sound])[-round(KEPT_S * heard.rate) :]
        self.rate, self.recurrence, self.moments = heard.rate, heard.recurrence, heard.moments

    def forget(self) -> None:
        """Nothing of before counts any more."""
        self._sound, self._slot = np.zeros(0, np.float32), -1

    def stuck(self) -> str:
        """What it is stuck on, or nothing."""
        return live.stuck(self._sound, self.rate, self.recurrence) if len(self._sound) else ""


class Ear:
    """The listener of one set.

    Args:
        desk: the controller; its ``escape`` says what to do, its ``also`` gets the telemetry.
        stage: the performance.
        say: takes lines for the performer; must not block.
        seed: of the choice among moments.
    """

    def __init__(self, desk: Desk, stage: Stage, say: Callable[[str], None], seed: int = 0) -> None:
        self._desk, self._stage, self._say, self._faults = desk, stage, say, Faults(say)
        self._memories = [Memory() for _ in range(desk.voices)]
        self._states = [""] * desk.voices
        self._looks = 0
        self._random = random.Random(seed)
        self._worker = Worker("ear", LOOK_S, self._turn, lambda text: self._faults.report(f"listening: {text}"))
        self.start, self.finish = self._worker.start, self._worker.finish
        desk.also["flux"] = self.flux
        desk.also["stuck"] = lambda: float(STATES.index(self._states[0]))

    @property
    def stuck(self) -> tuple[str, ...]:
        """What each voice is stuck on; nothing for one that is not, and while nothing is listened to. Any thread."""
        return tuple(self._states)

    def flux(self) -> float:
        """How much of voice 1's sound is new just now, 0 to 1. Any thread."""
        heard = self._stage.overhear(0, -1)
        if heard is None:
            return 0.0
        size, hop = round(FLUX_WINDOW_S * heard.rate), round(FLUX_HOP_S * heard.rate)
        if len(heard.sound) < size + hop:
            return 0.0
        return live.flux(heard.sound[-size - hop : -hop], heard.sound[-size:])

    def _turn(self) -> None:
        self.look()
        self._faults.flush()

    def look(self) -> None:
        """Hear every voice once, and every so often judge and act. The listener's thread (or a test)."""
        mode = self._desk.escape
        self._looks += 1
        for voice, memory in enumerate(self._memories):
            if mode == "off":
                memory.forget()
                self._states[voice] = ""
                continue
            memory.hear(self._stage.overhear(voice, memory.upto))
            if self._looks % JUDGED:
                continue
            self._states[voice], before = memory.stuck(), self._states[voice]
            if self._states[voice] and (mode != "warn" or self._states[voice] != before):
                self._act(mode, voice, memory)

    def _act(self, mode: str, voice: int, memory: Memory) -> None:
        state = self._states[voice]
        what = f"voice {voice + 1} is stuck: {state}"
        if mode == "warn":
            self._say(what)
            return
        if mode == "temperature":
            what += self._nudge(voice + 1, up=state != "noise")
        elif memory.moments:
            index = self._random.randrange(memory.moments)
            self._desk.trigger("moment", index, voice=voice + 1)
            what += f"; to moment {index}"
        else:
            self._desk.trigger("reseed", "random", voice=voice + 1)
            what += "; its network has no moments, reseeded"
        self._say(what)
        memory.forget()

    def _nudge(self, voice: int, up: bool) -> str:
        before = self._desk.value("temperature", voice)
        after = max(before, 0.1) * (1.0 + NUDGE) if up else before * (1.0 - NUDGE)
        self._desk.set("temperature", after, voice, NUDGE_S, time.monotonic(), "escape")
        return f"; temperature {self._desk.value('temperature', voice):.2f} to {min(after, 2.0):.2f}"
