"""Tempo, beat and bar: where the music is, and which session sample a beat falls on.

Under the controller's lock, which the methods for other threads take themselves. Beats lie on session seconds (samples
over the rate), so that bars are exactly equally long where no clock from outside says otherwise. Two counts: ``count``
runs with the tempo for ever, for what moves in beats; ``position`` is the count from where the transport was started,
and stands while it is stopped. What waits for a line is left to :mod:`instrument.launch`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from instrument.parameters import BAR, FASTEST, INTERNAL, LINK, MIDI, SLOWEST
from instrument.pulses import PER_BEAT, Pulses, Taps

GRACE = 0.015  # seconds after a line at which a gesture still counts as on it
LEAP = 0.05  # beats by which a clock from outside may correct the position; more is a jump


@dataclass(frozen=True)
class Piece:
    """From ``start`` (session seconds) the count is ``count`` and grows by ``tempo`` beats a minute."""

    start: float
    count: float
    tempo: float

    @property
    def rate(self) -> float:
        """Beats a second."""
        return self.tempo / 60.0

    def at(self, seconds: float) -> float:
        """The count there."""
        return self.count + (seconds - self.start) * self.rate


class Transport:
    """The beat of one performance.

    Args:
        place: session seconds of a moment (seconds of time.monotonic).
        lock: the controller's, taken by the methods that any thread may call.
        say: takes a line for the terminal.
        tempo: beats a minute, 20 to 300.
        clock: ``internal``, ``midi`` or ``link``: who says the tempo.
        meter: beats a bar.

    Attributes:
        jumps: how often the position was moved; what waits for a line looks for it anew.
        propose: takes the tempo that a hand wants of a shared session (Link's), if there is one.
    """

    def __init__(
        self,
        place: Callable[[float], float],
        *,
        lock: contextlib.AbstractContextManager[Any],
        say: Callable[[str], None],
        tempo: float = 120.0,
        clock: str = INTERNAL,
        meter: int = 4,
    ) -> None:
        self.clock, self.meter, self.jumps = clock, meter, 0
        self.running = clock != MIDI
        self.propose: Callable[[float], None] | None = None
        self._place, self._lock, self._say = place, lock, say
        self._pieces = [Piece(0.0, 0.0, tempo)]
        self._steady = tempo
        self._offset = self._held = 0.0  # position = count + offset while it runs, else what is held
        self._taps, self._pulses = Taps(), Pulses()
        self._base = 0.0  # the count at pulse 0
        self._from: float | None = None  # the position that the next pulse starts
        self._missed = True

    # --- questions

    @property
    def tempo(self) -> float:
        """Beats a minute, as last said."""
        return self._pieces[-1].tempo

    @property
    def steady_tempo(self) -> float:
        """The same, but what a thousandth or less has moved it stays: lengths must not change with every pulse."""
        if abs(self.tempo - self._steady) > 1e-3 * self._steady:
            self._steady = self.tempo
        return self._steady

    def count(self, seconds: float) -> float:
        """Beats counted at a place of the session."""
        piece = self._pieces[-1]
        return (piece if seconds >= piece.start else self._pieces[0]).at(seconds)

    def seconds(self, count: float) -> float:
        """Where in the session that count is."""
        piece = self._pieces[-1] if count >= self._pieces[-1].count else self._pieces[0]
        return piece.start + (count - piece.count) / piece.rate

    def position(self, seconds: float) -> float:
        """Beats since the start; stands while the transport is stopped."""
        return self.count(seconds) + self._offset if self.running else self._held

    def beat(self, moment: float) -> float:
        """Beats since the bar's line, 0 to the meter."""
        return self.position(self._place(moment)) % self.meter

    def line(self, seconds: float, launch: str) -> float:
        """The count of the next line, ``beat`` or ``bar``, of a gesture there; one just passed counts."""
        every = self.meter if launch == BAR else 1
        from_ = self.count(seconds) + self._offset - GRACE * self._pieces[-1].rate
        return math.ceil(from_ / every) * every - self._offset

    # --- by hand; under the lock

    def set_tempo(self, bpm: float, seconds: float) -> None:
        """Another tempo from there on; the beat goes on where it is."""
        self._lay(seconds, self.count(seconds), bpm)
        if self.propose:
            self.propose(bpm)

    def tap(self, moment: float) -> None:
        """A beat tapped: from the third on their tempo, and a beat's line under the tap."""
        bpm = self._taps.tap(moment)
        if bpm is None:
            return
        here = self._place(moment)
        self.set_tempo(bpm, here)
        if self.clock == INTERNAL:
            self._turn_to(round(self.position(here)), here)

    def turn(self, how: str, moment: float) -> None:
        """``start`` from the first bar, ``stop``, or ``continue`` from where it was stopped, by hand."""
        here = self._place(moment)
        if how == "stop":
            self._stop(here)
        elif how == "start" or not self.running:
            self._turn_to(0.0 if how == "start" else self._held, here)

    def by_hand(self, moment: float) -> None:
        """Raises ValueError where the tempo comes from a MIDI clock that is there."""
        if self.clock == MIDI and not self._pulses.gone(moment):
            raise ValueError("tempo: it comes from the MIDI clock (the patch says clock: midi)")

    def lead(self, clock: str, seconds: float) -> None:
        """Who says the tempo from there on. The beat goes on, also one that only waits for MIDI's start."""
        if clock == self.clock:
            return
        if self.clock == MIDI and not self.running:
            self._turn_to(self._held, seconds)
        self.clock, self._pulses, self._from, self._missed = clock, Pulses(), None, True

    # --- MIDI clock; any thread

    def pulse(self, moment: float) -> None:
        """A timing clock message, 24 a beat, arrived at ``moment``."""
        with self._lock:
            if self.clock == MIDI:
                self._pulse(moment)

    def start(self, moment: float) -> None:
        """A start message: the next pulse is the first beat of the first bar."""
        with self._lock:
            if self.clock == MIDI:
                self._stop(self._place(moment))
                self._from = 0.0

    def continue_(self, moment: float) -> None:
        """A continue message: the next pulse goes on from where it was stopped, or was told to."""
        with self._lock:
            if self.clock == MIDI:
                self._from = self.position(self._place(moment))

    def stop(self, moment: float) -> None:
        """A stop message."""
        with self._lock:
            if self.clock == MIDI:
                self._stop(self._place(moment))

    def song_position(self, sixteenths: int) -> None:
        """A song position message: where to continue."""
        with self._lock:
            if self.clock == MIDI and not self.running:
                self._held = sixteenths / 4.0

    def look(self, now: float) -> None:
        """Notice that a clock from outside has stopped coming; under the lock, every few milliseconds."""
        if self.clock == MIDI and not self._missed and self._pulses.gone(now):
            self._missed = True
            self._say(f"MIDI clock: none for a second; the tempo stays at {self.tempo:.1f}")

    # --- a shared session; any thread

    def follow(self, moment: float, position: float, bpm: float, playing: bool | None = None) -> None:
        """At ``moment`` the session was at ``position`` beats, at that tempo; ``playing`` if it has just said so."""
        with self._lock:
            if self.clock != LINK:  # it has just been left
                return
            here, tempo = self._place(moment), min(max(bpm, SLOWEST), FASTEST)
            if playing is not None and playing != self.running:
                self._stop(here) if self.running else self._turn_to(position, here)
            off = position - (self.count(here) + self._offset)
            if abs(off) > LEAP:
                self._offset += off
                self.jumps += 1
            elif abs(off) > 1e-4 * tempo / 60.0 or tempo != self.tempo:  # a tenth of a millisecond is the wire's
                self._lay(here, position - self._offset, tempo)

    # --- how

    def _pulse(self, moment: float) -> None:
        was_gone = self._pulses.gone(moment)
        self._missed = False
        self._pulses.pulse(moment)
        index = (self._pulses.count - 1) / PER_BEAT
        if was_gone:  # from the pulse nearest to where the beat has gone meanwhile
            self._base = round((self.count(self._place(moment)) - index) * PER_BEAT) / PER_BEAT
        here = self._place(self._pulses.place)
        if self._pulses.period:
            bpm = 60.0 / (PER_BEAT * self._pulses.period)
            self._lay(here, self._base + index, min(max(bpm, SLOWEST), FASTEST))
        elif self._from is not None or was_gone:
            self._lay(here, self._base + index, self.tempo)
        if self._from is not None:
            self._offset = self._from - (self._base + index)
            self.running, self._from = True, None
            self.jumps += 1

    def _lay(self, seconds: float, count: float, tempo: float) -> None:
        """The line from there on; the last one stays for what lies before."""
        before = [piece for piece in self._pieces[-1:] if piece.start <= seconds]
        self._pieces = [*before, Piece(seconds, count, tempo)]

    def _turn_to(self, position: float, seconds: float) -> None:
        self.running = True
        self._offset = position - self.count(seconds)
        self.jumps += 1

    def _stop(self, seconds: float) -> None:
        self._held, self.running, self._from = self.position(seconds), False, None
