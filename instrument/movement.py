"""Parameters in motion: gestures, ramps and sweeps, and the commands that make them.

Whoever holds the controller's lock calls this. The latest gesture wins: it takes its voices out of a running sweep of
the parameter. A sweep's lines go onto the ring shortly before they begin; one that is there already when the sweep
ends is overtaken by a command right behind it. Deciding when a gesture happens is left to the controller, what sways
around a value to :mod:`instrument.modulation`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from instrument.controls import Command, Op
from instrument.parameters import PARAMETERS, Parameter
from instrument.sweeps import BEATS, CHUNK, Line, Sweep, lines
from instrument.tracks import GLIDE, Motion, Track
from instrument.transport import Transport

LEAD = 0.25  # seconds a sweep's segment is on the ring before it begins: an interpreter stalled for 200 ms misses none
DOUBT = 2.0  # seconds by which the clock may be ahead of what is played, while a lost device is not known to be lost

Voices = tuple[int, ...]  # from 0


class Desk(Protocol):
    """What the controller does for this module."""

    voices: int
    sample_rate: int
    transport: Transport

    def send(self, command: Command, asked: float | None) -> None:
        """To the ring; ``asked`` is when the gesture was, None if it is not one."""

    def now(self) -> float:
        """Seconds of time.monotonic."""

    def sample(self, moment: float) -> int:
        """Where a gesture of that moment takes effect."""

    def moment_of(self, seconds: float) -> float:
        """The moment whose gestures take effect at those session seconds."""


@dataclass
class Run:
    """A sweep under way.

    Attributes:
        voices: those it still leads.
        lines: what it will draw, ``line`` the next of them; None when all is on the ring.
        moment, first, count: its start: as a gesture, as a session sample, in the transport's count of beats.
        end: moment of the end of what was drawn.
    """

    number: int
    name: str
    parameter: Parameter
    voices: set[int]
    beats: bool
    lines: Iterator[Line]
    line: Line | None
    moment: float
    first: int
    count: float
    end: float = -math.inf


@dataclass(frozen=True)
class Segment:
    """A line that lies on the ring from sample ``at`` and cannot be taken back, begun or not.

    Known by its sample alone: moments slip away from samples with every underrun and every device that is lost.
    """

    parameter: Parameter
    voices: frozenset[int]
    at: int


class Movement:
    """Every parameter of every voice on its line of time.

    Args:
        desk: the controller.
        initial: ``initial[voice][code]`` in natural units; the table's defaults if left out.
    """

    def __init__(self, desk: Desk, initial: Sequence[Sequence[float]] | None = None) -> None:
        self._desk = desk
        self._tracks = {p.name: _tracks(p, desk.voices, initial) for p in PARAMETERS.values()}
        self._runs: list[Run] = []
        self._pushed: list[Segment] = []
        self._numbers = itertools.count(1)

    def value(self, parameter: Parameter, voice: int | None, moment: float) -> float:
        """Where a parameter is: of a voice (from 0), or as last set for all."""
        return self._tracks[parameter.name][-1 if voice is None else voice].value(moment)

    def target(self, parameter: Parameter, voice: int | None, moment: float) -> float:
        """Where it is going."""
        return self._tracks[parameter.name][-1 if voice is None else voice].target(moment)

    def leads_to(self, parameter: Parameter, voice: int | None, value: float, moment: float) -> bool:
        """Whether it is there, or going there."""
        return self._tracks[parameter.name][-1 if voice is None else voice].leads_to(value, moment)

    def running(self) -> set[str]:
        """Names of the sweeps that lead anything."""
        return {run.name for run in self._runs if run.voices}

    def set(self, parameter: Parameter, value: float, voices: Voices, seconds: float, moment: float) -> None:
        """Go to ``value``; nothing at all if it is there and at rest."""
        tracks = self._touched(parameter, voices)
        for track in tracks:
            track.forget(min(moment, self._desk.now()))  # a flood of values must not make each one dearer
        if all(track.rests_at(value, moment) for track in tracks) and not self._led(parameter, voices):
            return
        overtaken = self._leave_runs(parameter, voices, moment)
        wait = self._rest_of_jump(tracks, moment, seconds)
        for track in tracks:
            track.add(Motion(moment, value, seconds))
        at, delay = self._desk.sample(moment), 0.0
        if wait and not overtaken:  # one at a time: a flood of these must not make each one dearer
            at, delay = at + wait, wait / self._desk.sample_rate
            self._pushed.append(Segment(parameter, frozenset(voices), at))
            seconds -= delay
        self._send(parameter, voices, at, value, seconds, moment + delay)
        self._overtake(parameter, voices, overtaken)

    def run(self, name: str, sweep: Sweep, moment: float) -> None:
        """Start a sweep."""
        parameter = PARAMETERS[sweep.parameter]
        voices = (sweep.voice - 1,) if sweep.voice else tuple(range(self._desk.voices))
        overtaken = self._leave_runs(parameter, voices, moment)
        first = self._desk.sample(moment)
        count = self._desk.transport.count(first / self._desk.sample_rate)
        coming = _chunks(lines(sweep)) if sweep.unit == BEATS else lines(sweep)
        run = Run(
            next(self._numbers), name, parameter, set(voices), sweep.unit == BEATS, coming, None, moment, first, count
        )
        run.line = next(run.lines)
        self._runs.append(run)
        self._draw(run, self._desk.now())
        self._overtake(parameter, voices, overtaken)

    def pump(self, now: float) -> None:
        """Push what has come near at ``now``, when launches were looked at as well; end what is over."""
        for run in self._runs:
            self._draw(run, now)
            if run.line is None and run.end <= now:
                run.voices.clear()

    def stop(self, name: str | None, moment: float) -> None:
        """End the sweeps called ``name``, or all, where they are."""
        for run in list(self._runs):
            if run.voices and name in (None, run.name):
                self._hold(run, moment)

    def forget(self, moment: float) -> None:
        """Drop what lies before ``moment``."""
        for tracks in self._tracks.values():
            for track in tracks:
                track.forget(moment)
        self._runs = [run for run in self._runs if run.voices]
        if self._pushed:
            begun = self._desk.sample(moment) - round(DOUBT * self._desk.sample_rate)
            self._pushed = [segment for segment in self._pushed if segment.at > begun]

    def _draw(self, run: Run, now: float) -> None:
        """Push the run's lines that begin within LEAD."""
        while run.line is not None and run.voices:
            start, at, seconds = self._place(run, run.line)
            if start - LEAD > now:
                return
            voices = tuple(sorted(run.voices))
            for track in self._touched(run.parameter, voices):
                track.add(Motion(start, run.line.value, seconds, run.number))
            wait = min(GLIDE, seconds) if run.line.jumped else 0.0  # the line begins wherever the jump then is
            at += round(wait * self._desk.sample_rate)
            self._pushed.append(Segment(run.parameter, frozenset(voices), at))
            self._send(run.parameter, voices, at, run.line.value, seconds - wait, None)
            run.end = start + seconds
            run.line = next(run.lines, None)

    def _place(self, run: Run, line: Line) -> tuple[float, int, float]:
        """(moment, sample, seconds) of a line's start and length, as the tempo and the clock now are."""
        rate, transport = self._desk.sample_rate, self._desk.transport
        if run.beats:
            begin = transport.seconds(run.count + line.start)
            at, seconds = round(begin * rate), transport.seconds(run.count + line.start + line.length) - begin
        else:
            at, seconds = run.first + round(line.start * rate), line.length
            begin = at / rate
        start = self._desk.moment_of(begin) if line.start else run.moment  # behind what else happened then
        return start, at, seconds

    def _rest_of_jump(self, tracks: Sequence[Track], moment: float, seconds: float) -> int:
        """Samples that a ramp of ``seconds`` waits, so that it begins at the value that was set just before it.

        It ends when it was to end. One that is over before the loop's glide is begins wherever that then is.
        """
        rate = self._desk.sample_rate
        rest = round(max(track.gliding(moment) for track in tracks) * rate)
        return rest if rest < round(seconds * rate) else 0

    def _led(self, parameter: Parameter, voices: Voices) -> bool:
        """Whether a sweep of the parameter leads one of ``voices``."""
        return any(run.parameter is parameter and run.voices.intersection(voices) for run in self._runs)

    def _hold(self, run: Run, moment: float) -> None:
        by_value: dict[float, list[int]] = {}
        for voice in sorted(run.voices):
            by_value.setdefault(self.value(run.parameter, voice, moment), []).append(voice)
        for value, voices in by_value.items():
            self.set(run.parameter, value, tuple(voices), 0.0, moment)

    def _leave_runs(self, parameter: Parameter, voices: Voices, moment: float) -> list[Segment]:
        """Take ``voices`` out of the parameter's sweeps.

        Returns the segments that will begin all the same, whichever sweep they were of: one that an earlier gesture
        overtook is followed by that gesture's course, which is no longer right either.
        """
        for run in self._runs:
            if run.parameter is parameter:
                run.voices.difference_update(voices)
        for track in self._touched(parameter, voices):
            track.end_runs(moment)
        found = [s for s in self._pushed if s.parameter is parameter and s.voices.intersection(voices)]
        here = self._desk.sample(moment) if found else 0
        return sorted((s for s in found if s.at > here), key=lambda s: s.at)

    def _overtake(self, parameter: Parameter, voices: Voices, segments: list[Segment]) -> None:
        """Right behind each segment that comes all the same, back to the course that replaced it."""
        for segment in segments:
            start = self._desk.moment_of(segment.at / self._desk.sample_rate)
            target, seconds = self._tracks[parameter.name][voices[0]].course(start)
            self._send(parameter, voices, segment.at + 1, target, seconds, None)

    def _touched(self, parameter: Parameter, voices: Voices) -> list[Track]:
        """The lines of those voices, and the one of all if they are all."""
        tracks = self._tracks[parameter.name]
        return [*(tracks[voice] for voice in voices), *([tracks[-1]] if len(voices) == self._desk.voices else [])]

    def _send(self, p: Parameter, voices: Voices, at: int, value: float, seconds: float, asked: float | None) -> None:
        ramp = round(seconds * self._desk.sample_rate)
        for voice in spoken(voices, self._desk.voices):
            self._desk.send(Command(at, Op.SET, voice, p.code, value, ramp), asked)


def spoken(voices: Voices, of: int) -> Voices:
    """Voices as commands say them: all at once is -1."""
    return (-1,) if len(voices) == of else voices


def _chunks(coming: Iterator[Line]) -> Iterator[Line]:
    """The same lines, drawn anew eight times a beat: each goes on to the same end, in the time that is then left."""
    for line in coming:
        yield line
        for k in range(1, math.ceil(line.length / CHUNK)):
            yield Line(line.start + k * CHUNK, line.length - k * CHUNK, line.value)


def _tracks(p: Parameter, voices: int, initial: Sequence[Sequence[float]] | None) -> list[Track]:
    """A line for each voice, and one for all."""
    values = [float(each[p.code]) for each in initial] if initial else [p.default] * voices
    return [Track(value) for value in (*values, values[0])]
