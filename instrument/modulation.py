"""LFOs at work: what sways around the values that gestures set, as the modulation glides of the render loop.

Whoever holds the controller's lock calls this. Several LFOs of one parameter add up, voice by voice, in one chain of
straight lines, which lies on the ring shortly ahead. When one starts, ends or changes its depth the chain is drawn anew
from there; what lies on the ring already is overtaken by a command right behind it. Base values are left to
:mod:`instrument.movement`, what an LFO's value is to :mod:`instrument.lfos`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from instrument.controls import Command, Op
from instrument.lfos import Lfo, Running
from instrument.movement import LEAD, Desk, Voices, spoken
from instrument.parameters import PARAMETERS, Parameter
from instrument.tracks import GLIDE, Motion, Track

SHORTEST = 0.005  # seconds a line lasts at least
EVERY = 0.02  # seconds between two drawings anew of a chain: a knob on a depth comes a thousand times a second
REDRAWN = 0.5  # beats after which a line in beats is drawn anew, as the tempo then is
STEP = 1e-3  # of the parameter's range: what is farther off is a jump, which glides
_ATOM = 1e-6  # seconds: either side of a corner


@dataclass
class Chain:
    """One parameter's modulation.

    Attributes:
        tracks: each voice's offset by session seconds, as far as it is on the ring.
        pushed: samples of commands that may still lie on the ring.
        until: how far it is drawn, in samples.
        drawn: moment of the last drawing anew.
        due: whether it must be drawn anew.
    """

    parameter: Parameter
    tracks: list[Track]
    pushed: list[int] = field(default_factory=list)
    until: int = 0
    drawn: float = -math.inf
    due: bool = False


class Modulation:
    """Every LFO of a performance; ``desk`` is the controller, ``lfos`` the patch's by name."""

    def __init__(self, desk: Desk, lfos: Mapping[str, Lfo]) -> None:
        self._desk, self.lfos = desk, dict(lfos)
        self._running: dict[str, Running] = {}
        self._factors: dict[str, Track] = {}
        self._chains = {p.name: Chain(p, [Track(0.0) for _ in range(desk.voices)]) for p in PARAMETERS.values()}

    @property
    def running(self) -> tuple[str, ...]:
        """Names of those under way."""
        return tuple(self._running)

    def offset(self, name: str, voice: int, seconds: float) -> float:
        """How far a parameter of a voice (from 0) is swayed at a place of the session, natural units."""
        return self._chains[name].tracks[voice].value(seconds)

    def factor(self, name: str, seconds: float) -> float:
        """Which share of its depth an LFO has, or will have."""
        return self._factor(name).value(seconds)

    def forget(self) -> None:
        """Every LFO has its whole depth again when it starts: those that run keep what they have."""
        self._factors = {}

    def start(self, name: str, moment: float) -> None:
        """From the beginning of its cycle."""
        lfo, at = self.lfos[name], self._desk.sample(moment)
        seconds = at / self._desk.sample_rate
        origin = seconds if lfo.rate else self._desk.transport.count(seconds)
        self._reach(lfo.parameter, at)
        self._running[name] = Running(lfo, origin, self._factor(name))
        self._redraw(self._chains[lfo.parameter], at)

    def fade(self, name: str, factor: float, length: float, moment: float) -> None:
        """To that share of its depth within ``length`` seconds; one that does not run keeps it for its start."""
        at = self._desk.sample(moment)
        self._factor(name).add(Motion(at / self._desk.sample_rate, factor, length))
        if name in self._running:
            chain = self._chains[self.lfos[name].parameter]
            chain.due = True
            self._refresh(chain)

    def stop(self, name: str | None, moment: float) -> None:
        """End that one, or all: what they added glides to nothing."""
        at = self._desk.sample(moment)
        for each in [each for each in self._running if name in (None, each)]:
            parameter = self._running[each].lfo.parameter
            self._reach(parameter, at)
            del self._running[each]
            self._redraw(self._chains[parameter], at)

    def pump(self) -> None:
        """Push what has come near."""
        now = self._desk.sample(self._desk.now())
        for chain in self._chains.values():
            runs = self._of(chain)
            if not (runs or chain.pushed or chain.due):
                continue
            self._refresh(chain)
            if runs:
                self._draw(chain, max(chain.until, now), now + self._ahead)
            chain.pushed = [at for at in chain.pushed if at >= now]
            for track in chain.tracks:
                track.forget(now / self._desk.sample_rate)
        for factor in self._factors.values():
            factor.forget(now / self._desk.sample_rate)

    # --- how

    @property
    def _ahead(self) -> int:
        return round(LEAD * self._desk.sample_rate)

    def _factor(self, name: str) -> Track:
        return self._factors.setdefault(name, Track(1.0))

    def _of(self, chain: Chain) -> list[Running]:
        return [each for each in self._running.values() if each.lfo.parameter == chain.parameter.name]

    def _refresh(self, chain: Chain) -> None:
        """Draw anew if that is due and not too soon."""
        if chain.due and self._desk.now() - chain.drawn >= EVERY:
            self._redraw(chain, self._desk.sample(self._desk.now()))

    def _reach(self, name: str, at: int) -> None:
        """See that what runs is drawn up to there, before it changes."""
        chain = self._chains[name]
        if self._of(chain):
            self._draw(chain, chain.until, at)

    def _redraw(self, chain: Chain, at: int) -> None:
        """From that sample on as the LFOs now are, over what lies on the ring."""
        chain.due, chain.drawn = False, self._desk.now()
        for track in chain.tracks:
            track.end_runs(at / self._desk.sample_rate)
        until = self._desk.sample(self._desk.now()) + self._ahead
        self._draw(chain, at, max(until, at + 1, *(each + 2 for each in chain.pushed)))

    def _draw(self, chain: Chain, at: int, until: int) -> None:
        """Lines from there on, the last ending at or behind ``until``; none if nothing runs, only the way back."""
        runs = self._of(chain)
        over = sorted(each + 1 for each in chain.pushed if each >= at)
        if not runs:
            self._clear(chain, [at, *over])
            return
        while at < until:
            end, corner = self._next(runs, at, over)
            for voices in self._groups(runs):
                self._line(chain, [r for r in runs if _leads(r, voices[0])], voices, at, end, corner)
            at = end
        chain.until = at

    def _clear(self, chain: Chain, places: list[int]) -> None:
        """Nothing sways any more, whatever lies on the ring."""
        for at in places:
            self._send(chain, tuple(range(self._desk.voices)), at, 0.0, round(GLIDE * self._desk.sample_rate))

    def _next(self, runs: list[Running], at: int, over: list[int]) -> tuple[int, float]:
        """Where the line that begins at ``at`` ends: (sample, the same in seconds and not rounded)."""
        rate, transport = self._desk.sample_rate, self._desk.transport
        corners = [run.corner(at / rate, transport) for run in runs]
        corners += [end for run in runs for end in run.factor.ends() if end > at / rate + _ATOM]
        if any(run.lfo.beats for run in runs):
            corners.append(transport.seconds(transport.count(at / rate) + REDRAWN))
        corner = max(min(corners), at / rate + SHORTEST)
        end = min((each for each in over if each > at), default=1 << 62)
        return (end, end / rate) if end < corner * rate else (math.ceil(corner * rate), corner)

    def _groups(self, runs: list[Running]) -> list[Voices]:
        """Voices that the same LFOs sway, together."""
        found: dict[tuple[int, ...], list[int]] = {}
        for voice in range(self._desk.voices):
            found.setdefault(tuple(i for i, run in enumerate(runs) if _leads(run, voice)), []).append(voice)
        return [tuple(voices) for voices in found.values()]

    def _line(self, chain: Chain, runs: list[Running], voices: Voices, at: int, end: int, corner: float) -> None:
        """One line of a few voices; a jump at its beginning glides first."""
        rate = self._desk.sample_rate
        glide = round(GLIDE * rate)
        begin, target = (self._sum(runs, each) for each in (at / rate + _ATOM, corner - _ATOM))
        off = max(abs(chain.tracks[voice].value(at / rate) - begin) for voice in voices)
        if off <= STEP * (chain.parameter.high - chain.parameter.low):
            self._send(chain, voices, at, target, end - at)
        elif end - at <= 2 * glide:
            self._send(chain, voices, at, target, min(end - at, glide))
        else:
            behind = self._sum(runs, (at + glide) / rate)
            self._send(chain, voices, at, behind, glide)
            if behind != target:
                self._send(chain, voices, at + glide, target, end - at - glide)

    def _sum(self, runs: list[Running], seconds: float) -> float:
        return math.fsum(run.value(seconds, self._desk.transport) for run in runs)

    def _send(self, chain: Chain, voices: Voices, at: int, offset: float, ramp: int) -> None:
        seconds, rate = at / self._desk.sample_rate, self._desk.sample_rate
        pushed = at in chain.pushed or at - 1 in chain.pushed
        if not pushed and all(chain.tracks[v].rests_at(offset, seconds) for v in voices):
            return
        for voice in voices:
            chain.tracks[voice].add(Motion(seconds, offset, ramp / rate, 1))
        for voice in spoken(voices, self._desk.voices):
            self._desk.send(Command(at, Op.MODULATE, voice, chain.parameter.code, offset, ramp), None)
        chain.pushed = [each for each in chain.pushed if each not in (at - 1, at)] + [at]


def _leads(run: Running, voice: int) -> bool:
    return run.lfo.voice in (None, voice + 1)
