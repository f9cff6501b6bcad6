"""Gestures in natural units -> commands at session samples. What OSC, MIDI, the screen and the patch play on.

Any thread may gesture; one lock of ours orders them, and the audio path never sees it. A gesture that happened at time
t takes effect at sample clock(t) + L. Values clip; NaN, infinities and what is not in the bank are refused with a
ValueError of one line. The session's control thread calls :meth:`Controller.pump` every few milliseconds for what lies
in the future, and :meth:`Controller.heard` with what the loop echoes. How values move is left to
:mod:`instrument.movement` and :mod:`instrument.modulation`, where beats fall to :mod:`instrument.transport`, reading
wires and files to the adapters and the patch.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from instrument import meters, parameters
from instrument.arguments import Value, read_arguments, read_number, read_seconds
from instrument.authors import Authors
from instrument.controls import OVERTAKEN, REFUSED, Command, Event, Op, Telemetry
from instrument.faults import words
from instrument.gestures import Gestures
from instrument.held import Held
from instrument.launch import Act, Launches
from instrument.loops import Loops
from instrument.macros import PREFIX as MACRO
from instrument.macros import Macros
from instrument.modulation import Modulation
from instrument.movement import LEAD, Movement, Voices, spoken
from instrument.networks import Networks
from instrument.outbox import Outbox
from instrument.parameters import LAUNCHES, NOW, PARAMETERS, TELEMETRY, TRIGGERS, Parameter, shorten, suggest
from instrument.patch import Patch, Sweep, bank_index
from instrument.patch_midi import NOBODY
from instrument.patch_movement import Movements
from instrument.programs import Programs
from instrument.resting import Resting
from instrument.snapshots import Snapshots
from instrument.timeline import Timeline
from instrument.transport import Transport

AHEAD = LEAD  # seconds: how early a command for the future goes onto the ring, from where none can be taken back
FARTHEST = 60.0  # seconds; a wire's clock farther ahead than this disagrees with ours, and means now
KEPT = 65536  # latencies kept for the report
MOST_WAITING = 16384  # gestures for the future: a minute of 270 a second, 4 MB
SLICE = 0.001  # seconds that what is due may keep other threads from their gestures
SLICES = 50  # in one pump: then events want to be heard
GIVE_WAY = 0.0002  # seconds between two slices: a lock that is taken again at once is nobody else's


class LinkLike(Protocol):
    """What is needed of :class:`instrument.controls.Link`."""

    def push(self, command: Command) -> bool: ...
    def clock(self) -> tuple[int, float]: ...
    def panic(self) -> None: ...
    def telemetry(self) -> Telemetry: ...


class Controller:
    """The control side of one performance.

    Args:
        link: the boundary.
        bank: names of the checkpoints, program 0 first.
        voices: how many; gestures count them from 1.
        sample_rate: of the session.
        latency: L in samples.
        say: takes a line for the terminal.
        sweeps: the patch's, by name.
        start: bank index of each voice at the start; all 0 if left out.
        initial: ``initial[voice][code]`` at the start, natural units; the table's defaults if left out.
        ring_frames: capacity of the audio ring, for telemetry.
        keep_state: a switch keeps the recurrent state where architectures agree, instead of priming.
        history: voices move through the bank by their maturity too.
        misfit: what keeps one slot from being the partner of another, in words; nothing if it fits.
        movements: the patch's tempo, launch, LFOs, macros and snapshots.
        mark: takes a marker: the session sample that the device was given at its moment, and its text.
        now: the time, for tests.
    """

    def __init__(
        self,
        link: LinkLike,
        bank: Sequence[str],
        *,
        voices: int,
        sample_rate: int,
        latency: int,
        say: Callable[[str], None],
        sweeps: Mapping[str, Sweep] | None = None,
        start: Sequence[int] | None = None,
        initial: Sequence[Sequence[float]] | None = None,
        ring_frames: int = 0,
        keep_state: bool = False,
        history: bool = False,
        movements: Movements | None = None,
        misfit: Callable[[int, int], str] = lambda _slot, _partner: "",
        mark: Callable[[int, str], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.voices, self.sample_rate, self.latency = voices, sample_rate, latency
        self.table = Programs(bank, start or [0] * voices)
        self.bank = self.table.names
        self.patch: tuple[int, str] = 0, ""  # which of the set plays, and what it is called
        self.patches: tuple[str, ...] = ()  # what all of the set are called
        self.sweeps = dict(sweeps or {})
        self.late = 0
        self._link, self._say, self.now = link, say, now
        self._time = Timeline(link.clock, sample_rate, latency, now)
        self.sample, self.place = self._time.sample, self._time.place
        self.heard_at, self.moment_of = self._time.heard_at, self._time.moment_of
        self._mark = mark
        self._ring_frames = ring_frames
        self._lock = self.lock = threading.RLock()
        self._outbox = Outbox(link.push, lambda lost: say(f"the command ring is stuck: {Op(lost.op).name} was lost"))
        self._held = Held()
        self._future: list[tuple[float, int, Callable[[], None]]] = []
        self._serials, self._asked = itertools.count(1), dict[int, float]()
        self._latencies: deque[float] = deque(maxlen=KEPT)
        self._silent, self._history = False, history
        self.at_panic: list[Callable[[], None]] = []  # what others have under way that would end its silence
        self.escape = "off"  # what the live listener shall do (instrument.ear)
        self.also: dict[str, Callable[[], float]] = {}  # telemetry that others work out, by name
        self._authors = Authors()
        self._grown_at = -1  # the last joining's sample
        moves = movements or Movements()
        self.launch = moves.launch
        self.transport = Transport(
            self.place, lock=self._lock, say=say, tempo=moves.tempo or 120.0, clock=moves.clock, meter=moves.meter
        )
        self._launches = Launches(self, self.transport, AHEAD)
        self._movement = Movement(self, initial)
        self._loops = Loops(self)
        self._networks = Networks(
            self, self.table, link.telemetry, say, misfit=misfit, keep_state=keep_state, history=history
        )
        self.partners, self.pair = self._networks.partners, self._networks.pair
        self.resting = Resting(self)
        self._modulation = Modulation(self, moves.lfos)
        self._macros = Macros(self, moves.macros, self._movement, self._modulation)
        self._gestures = Gestures(
            self, self._modulation, self._macros, Snapshots(moves.snapshots, self._movement, voices), say
        )
        self._actions: dict[str, Callable[[list[Value], Voices], Act]] = {
            **self._networks.actions,
            **self.resting.actions,
            "sweep": self._sweep,
            "sweep/stop": self._sweep_stop,
            "panic": lambda _arguments, _voices: self._panic,
            "resume": lambda _arguments, _voices: self._resume,
            **self._loops.actions,
            **self._gestures.actions,
            "marker": self._marker,
            "escape": self._escape,
        }
        self._offered: dict[str, Callable[[list[Value]], None]] = {}
        self._gestures.begin(moves, self.now())

    @property
    def silent(self) -> bool:
        """Whether a panic has silenced everything."""
        return self._silent

    def sounds(self) -> None:
        """A checkpoint ends a panic's silence too."""
        self._silent = False

    def exchange(self, op: int, slot: int) -> None:
        """A LOAD or DROP of that slot, as soon as may be."""
        with self._lock:
            self.send(Command(self.sample(self.now()), op, number=slot), None)

    def act_on(self, name: str, action: Callable[[list[Value], Voices], Act]) -> None:
        """Have ``action`` make the acts of trigger ``name``: before anybody gestures."""
        self._actions[name] = action

    # --- gestures: any thread

    def set(
        self,
        name: str,
        value: object,
        voice: int | None = None,
        ramp: object = 0.0,
        when: float | None = None,
        source: object = None,
    ) -> None:
        """Set a parameter in natural units, for all voices or one (from 1), within ``ramp`` seconds.

        ``when`` is the time.monotonic of the gesture, the future included; ``source`` is who made it, if it is a sender
        that may repeat itself (see :mod:`instrument.held`). Raises ValueError.
        """
        found = self._parameter(name)
        natural = found.clip(read_number(value, name))
        seconds = read_seconds(ramp, f"{name} ramp")
        if found.code < 0:
            self._set_macro(name, natural, voice, seconds, when, source)
            return
        voices = self._voices(voice)
        with self._lock:
            now = self.now()
            if source is not None and self._held.repeats(source, (name, voice), (natural, seconds), now):
                return

            def act(moment: float) -> None:
                self._authors.sign(name, self._each(voice), source, natural)
                self._movement.set(found, natural, voices, seconds, moment)

            self._at(when, now, AHEAD, act)

    def set_norm(
        self, name: str, norm: object, ramp: object = 0.0, when: float | None = None, source: object = None
    ) -> None:
        """The same with 0..1 over the parameter's range, for all voices."""
        found = self._parameter(name)
        self.set(name, found.natural(read_number(norm, name)), None, ramp, when, source)

    def trigger(
        self,
        name: str,
        *given: object,
        voice: int | None = None,
        when: float | None = None,
        source: object = None,
        launch: str | None = None,
    ) -> None:
        """Make a trigger of the table happen, its arguments as a wire brings them. Raises ValueError.

        ``launch`` is ``now``, ``beat`` or ``bar`` for this gesture; as ``quantise`` has it if left out.
        """
        if name not in self._actions and name not in self._offered:
            raise ValueError(f"no trigger {shorten(name)}{suggest(name, (*self._actions, *self._offered))}")
        if voice is not None and not TRIGGERS[name].voice:
            raise ValueError(f"{name}: is for all voices, not for voice {shorten(voice)}")
        if launch not in (None, *LAUNCHES):
            raise ValueError(f"{name}: launch {shorten(launch)} is not one of {', '.join(LAUNCHES)}")
        arguments = read_arguments(TRIGGERS[name], given)
        if name in self._offered:
            with self._lock:
                new = self._is_new(name, arguments, source, voice, self.now())
            if new:
                self._offered[name](arguments)
            return
        act = self._actions[name](arguments, self._voices(voice))
        with self._lock:
            now = self.now()
            if name == "checkpoint":
                act = self._signed(arguments[0], voice, source, act)
            act = self._launched(name, arguments, voice, launch or self.launch, act)
            if self._is_new(name, arguments, source, voice, now):
                ahead = 0.0 if name == "panic" else AHEAD  # its flag acts at once
                self._at(when, now, ahead, act)

    def offer(self, name: str, action: Callable[[list[Value]], None]) -> None:
        """Another part of the session does that trigger of the table: ``action`` takes its arguments.

        It is called at once, on the thread of the gesture, without our lock, must not block, and may raise ValueError.
        """
        self._offered[name] = action

    def panic(self) -> None:
        """Silence, as soon as the ring is played out."""
        self.trigger("panic")

    # --- questions: any thread

    def value(self, name: str, voice: int | None = None) -> float:
        """Where a parameter is now, natural units, of a voice (from 1) or as last set for all. Raises ValueError."""
        found = self._parameter(name)
        self._voices(voice)
        with self._lock:
            if found.code < 0:
                return self._macros.track(name).value(self.now())
            return self._movement.value(found, None if voice is None else voice - 1, self.now())

    def target(self, name: str, voice: int | None = None) -> float:
        """Where a parameter is going: the end of its ramp or sweep segment. Raises ValueError."""
        found = self._parameter(name)
        self._voices(voice)
        with self._lock:
            if found.code < 0:
                return self._macros.track(name).target(self.now())
            return self._movement.target(found, None if voice is None else voice - 1, self.now())

    def get(self, name: str) -> float | str:
        """What ``/samplernn/get name`` answers: ``gain``, ``voice/2/gain``, ``checkpoint``. Raises ValueError."""
        voice, rest = None, name
        if name.startswith("voice/"):
            number, _, rest = name[6:].partition("/")
            if not (number.isascii() and number.isdigit() and len(number) < 4):
                raise ValueError(f"get: {shorten(name)} is not voice/<n>/<parameter>")
            voice = int(number)
        if rest == "checkpoint":
            return self._plays(self._voices(voice)[0])
        if rest == "patch" and voice is None:
            return self.patch[1]
        if rest not in PARAMETERS and not (voice is None and rest in self._macros.parameters):
            raise ValueError(f"get: no parameter {shorten(name)}{suggest(rest, (*PARAMETERS, 'checkpoint', 'patch'))}")
        return self.value(rest, voice)

    def _plays(self, voice: int) -> str:
        """The checkpoint of a voice, from 0."""
        with self._lock:  # another patch's programs come all at once
            program = self.table.asked[voice]  # unknown when the switch to it was refused: what plays is what stayed
            playing = self._link.telemetry().voices[voice].slot if program is None else self.table.slots[program]
            return self.table.name(playing)

    def values(self) -> dict[str, tuple[float, object]]:
        """Every parameter now, and whose gesture it was last: ``gain``, ``voice/2/gain`` -> (natural value, source).

        For whoever shows or sends back what others do (and not to its author): cheap enough for 120 times a second.
        """
        with self._lock:
            now, found = self.now(), {}
            for p in PARAMETERS.values():
                for voice in self._each(None):
                    name = p.name if voice is None else f"voice/{voice}/{p.name}"
                    value = self._movement.value(p, None if voice is None else voice - 1, now)
                    found[name] = value, self._author(p, voice, now)
            for name in self._macros.parameters:
                track = self._macros.track(name)
                found[name] = track.value(now), self._authors.of(name, None, partial(track.leads_to, moment=now))
            return found

    def _author(self, p: Parameter, voice: int | None, now: float) -> object:
        """Who has led the value here, or leads it."""
        track = None if voice is None else voice - 1
        return self._authors.of(p.name, voice, lambda asked: self._movement.leads_to(p, track, asked, now))

    def playing(self) -> dict[str, tuple[str, object]]:
        """The checkpoint of voice 1 and of each, and who asked for it: ``checkpoint``, ``voice/2/checkpoint``."""
        found: dict[str, tuple[str, object]] = {}
        with self._lock:
            for voice in self._each(None):
                name = "checkpoint" if voice is None else f"voice/{voice}/checkpoint"
                plays = self._plays((voice or 1) - 1)
                found[name] = plays, self._authors.of("checkpoint", voice or 1, partial(operator.eq, plays))
        return found

    @property
    def lfos(self) -> tuple[str, ...]:
        """Names of the patch's LFOs."""
        return tuple(self._modulation.lfos)

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Names of the snapshots there are now."""
        return self._gestures.snapshots.names

    @property
    def macros(self) -> tuple[str, ...]:
        """The patch's macros, as ``set``, ``value`` and ``target`` know them: ``macro/<name>``."""
        return tuple(self._macros.parameters)

    def beats(self, n: float, moment: float | None = None) -> float:
        """How many seconds ``n`` beats take, from ``moment`` on, as the tempo now is."""
        with self._lock:
            return n * 60.0 / self.transport.steady_tempo

    def active(self, trigger: str, what: object = None, voice: int | None = None) -> bool:
        """Whether what a trigger begins goes on now, for whoever shows it with a light; ``what`` is its argument."""
        if voice is not None and not 1 <= voice <= self.voices:  # a line of a patch with more of them
            return False
        with self._lock:
            match trigger:
                case "checkpoint":
                    of = range(self.voices) if voice is None else (voice - 1,)
                    index = int(str(what)) if str(what).isdecimal() else len(self.bank)
                    name = self.bank[index] if index < len(self.bank) else None
                    return all(self.get(f"voice/{each + 1}/checkpoint") == name for each in of)
                case "sweep":
                    return what in self._movement.running()
                case "lfo":
                    return what in self._modulation.running
                case "loop":
                    return self.look().voices[0 if voice is None else voice - 1].looping >= 0.0
                case "panic":
                    return self._silent
                case _:
                    return False

    def moving(self) -> list[str]:
        """Names of the sweeps and LFOs under way."""
        with self._lock:
            return [*sorted(self._movement.running()), *self._modulation.running]

    def waiting(self) -> str:
        """What waits for a beat or a bar, in words; nothing if nothing does."""
        with self._lock:
            return self._launches.names()

    def telemetry(self) -> dict[str, float]:
        """What subscribers get, by the names of ``parameters.TELEMETRY``; ``voice/<n>/<name>`` of VOICE_TELEMETRY."""
        t = self.table.mapped(self._link.telemetry())
        session = {"ring_frames": self._ring_frames, "latency": self.latency, "sample_rate": self.sample_rate}
        mix = meters.overall(t, **session, patch=self.patch[0])
        with self._lock:
            mix |= {"tempo": self.transport.tempo, "beat": self.transport.beat(self.now())}
        mix |= {name: look() for name, look in list(self.also.items())}
        return {name: mix.get(name, 0.0) for name in TELEMETRY} | meters.voices(t)

    def control_latency(self) -> dict[str, float] | None:
        """Gesture to sound in milliseconds, {p1, p50, p99}; None before anything was heard."""
        with self._lock:
            found = sorted(self._latencies)
        if not found:
            return None
        place = len(found) - 1
        return {f"p{p}": round(1000.0 * found[round(place * p / 100)], 3) for p in (1, 50, 99)}

    def grow(self, name: str) -> None:
        """One checkpoint more, which lies ready behind the bank (``Performance.add``): it can be asked for now."""
        with self._lock:
            self.table.grow(name)
            self._grown_at = max(self.sample(self.now()), self._grown_at)  # in their order, whatever the clock does
            self.send(Command(self._grown_at, Op.GROW, number=len(self.bank)), None)

    # --- the session's control thread

    def pump(self) -> None:
        """Do what is due: follow the clock, push what lies near, retry what the ring had no room for.

        Call it every few milliseconds, at least five times a second.
        """
        for _ in range(SLICES):
            if not self._pump():
                return
            time.sleep(GIVE_WAY)

    def _pump(self) -> bool:
        """The same for a while; whether more is due."""
        with self._lock:
            now = self.now()
            self._time.observe()
            self._outbox.flush()
            self.transport.look(now)
            self._launches.pump(now)
            self._movement.pump(now)
            self._modulation.pump()
            more = self._do_due(now)
            self._loops.pump()
            self._movement.forget(now)
            self._macros.forget(now)
            return more

    def _do_due(self, now: float) -> bool:
        """Gestures whose time has come, for a slice; whether more of them are there."""
        until = time.perf_counter() + SLICE
        while self._future and self._future[0][0] <= now:
            if time.perf_counter() >= until:
                return True
            self._do(heapq.heappop(self._future)[2])
        return False

    def heard(self, events: Iterable[Event]) -> None:
        """Take in what the loop says took effect."""
        with self._lock:
            sample, moment = self._link.clock()
            for event in events:
                asked = self._asked.pop(event.serial, None) if event.serial else None
                if self._history and event.op in (Op.SWITCHED, Op.SETTLED):
                    self._moved(event)
                self.resting.heard(event)
                if event.flags & REFUSED:
                    self._refused(event)
                elif asked is not None and moment > 0.0:
                    heard = moment + (event.at - sample) / self.sample_rate
                    self._latencies.append(heard - asked)
                self.late += event.late > 0 and asked is not None

    # --- what patches need: under the lock

    @contextlib.contextmanager
    def at_one_sample(self, moment: float) -> Iterator[None]:
        """Every gesture of ``moment`` inside takes effect at one sample."""
        with self._lock, self._time.pinned(moment):
            yield

    def still(self, moment: float) -> None:
        """Nothing moves by itself any more; values stay where they are."""
        self._movement.stop(None, moment)
        self._modulation.stop(None, moment)

    def adopt(self, patch: Patch, before: Patch | None, slots: Sequence[int], moment: float) -> None:
        """The programs, sweeps and movements of another patch, or of another version of ``before``."""
        self.table.adopt([entry.name for entry in patch.bank], slots)
        for name in self._movement.running():
            if before is not None and patch.sweeps.get(name) != before.sweeps.get(name):
                self._movement.stop(name, moment)
        self.sweeps = dict(patch.sweeps)
        self._networks.keep_state = patch.switch == "keep"
        self._gestures.adopt(patch.movements, before.movements if before else None, moment)
        if before is None:
            self._loops.end(moment)
        if before is None or patch.escape != before.escape:
            self.escape = patch.escape

    # --- what movement needs: under the lock

    def send(self, command: Command, asked: float | None) -> None:
        """To the ring, or behind what waits for it; ``asked`` is when the gesture was, None if it is not one."""
        if asked is not None:
            command = replace(command, serial=next(self._serials))
            self._asked[command.serial] = asked
            if len(self._asked) > KEPT:
                del self._asked[next(iter(self._asked))]
        self._outbox.send(command)

    def later(self, due: float, act: Callable[[], None]) -> None:
        """Call ``act`` when ``due`` has come; at once if it has. Raises ValueError if too much waits already."""
        if due <= self.now():
            act()
        elif len(self._future) >= MOST_WAITING:
            raise ValueError(f"{MOST_WAITING} gestures wait for their time already: there is no room for more")
        else:
            heapq.heappush(self._future, (due, next(self._serials), act))

    def look(self) -> Telemetry:
        """What the loop shows."""
        return self._link.telemetry()

    def send_each(self, command: Command, voices: Voices, moment: float, *, gesture: bool = True) -> None:
        """``command`` for these voices at the sample of ``moment``; ``gesture``: whether somebody waits to hear it."""
        at = self.sample(moment)
        for voice in spoken(voices, self.voices):
            self.send(replace(command, at=at, voice=voice), moment if gesture else None)

    def act_at(self, act: Act, seconds: float) -> None:
        """Let ``act`` happen as a gesture that is heard at exactly those session seconds."""
        moment = self.moment_of(seconds)
        with self._time.pinned(moment, round(seconds * self.sample_rate)):
            self._do(lambda: act(moment))

    def _do(self, act: Callable[[], None]) -> None:
        """What has waited, and has nobody to take its fault, which must not keep back what else is due."""
        try:
            act()
        except ValueError as error:
            self._say(str(error))
        except Exception as error:
            self._say(f"a gesture that waited: {words(error)}")

    # --- what gestures need: under the lock

    def programs(self) -> Sequence[int | None]:
        """What each voice plays, by bank index; None where that is for the loop to say."""
        return self.table.asked

    def switch(self, index: int, voices: Voices, seconds: float | None, moment: float) -> None:
        """Play another checkpoint of the bank, unless the maturity says what plays: nobody's gesture by itself."""
        self._authors.sign("checkpoint", [voice + 1 for voice in voices], None, self.bank[index])
        self._networks.switch(index, voices, seconds, moment)

    def move_macro(self, name: str, value: float, seconds: float, moment: float) -> None:
        """Turn a macro."""
        self._macros.set(name, value, seconds, moment)

    # --- how gestures become commands: under the lock

    def _at(self, when: float | None, now: float, ahead: float, act: Act) -> None:
        """Now, or ``ahead`` of its time."""
        moment = now if when is None or when > now + FARTHEST else when
        self.later(moment - ahead, lambda: act(moment))

    def _each(self, voice: int | None) -> tuple[int | None, ...]:
        return (None, *range(1, self.voices + 1)) if voice is None else (voice,)

    def _is_new(self, name: str, arguments: list[Value], source: object, voice: int | None, now: float) -> bool:
        """Whether this is a gesture at all: a pressed gate, and nothing merely held."""
        kind, first = TRIGGERS[name].arguments[0].kind, arguments[0]
        if "gate" in kind or kind == "mode":
            return first is None or isinstance(first, str) or self._pressed(name, float(first), source, voice, now)
        return source is None or not self._held.repeats(source, (name, voice), tuple(arguments), now)

    def _pressed(self, name: str, value: float, source: object, voice: int | None, now: float) -> bool:
        return value != 0.0 if source is None else self._held.presses(source, (name, voice), value, now)

    def _parameter(self, name: str) -> Parameter:
        """A parameter, or a macro as one (its code is -1). Raises ValueError."""
        return self._macros.parameter(name) if name.startswith(MACRO) else parameters.parameter(name)

    def _set_macro(
        self, name: str, value: float, voice: int | None, seconds: float, when: float | None, source: object
    ) -> None:
        if voice is not None:
            raise ValueError(f"{name}: is for all voices, not for voice {shorten(voice)}")
        with self._lock:
            now = self.now()
            if source is None or not self._held.repeats(source, name, (value, seconds), now):

                def act(moment: float) -> None:
                    self._authors.sign(name, (None,), source, value)
                    self.move_macro(name, value, seconds, moment)

                self._at(when, now, AHEAD, act)

    def _signed(self, entry: Value, voice: int | None, source: object, act: Act) -> Act:
        """The act of a switch, whose author is known from when it happens."""
        name = self.bank[bank_index(entry, self.bank, "checkpoint")]

        def signed(moment: float) -> None:
            self._authors.sign("checkpoint", self._each(voice), source, name)
            act(moment)

        return signed

    def _launched(self, name: str, arguments: list[Value], voice: int | None, launch: str, act: Act) -> Act:
        """The act, or what waits for a line to do it; a later one of its kind and voice comes instead.

        What ends something does so at once, and takes back what waits to begin it.
        """
        what = arguments[0] if name.partition("/")[0] in ("sweep", "lfo") else None
        if _ends(name, arguments[0]):
            begins, named = name.removesuffix("/stop"), what if isinstance(what, str) else None

            def end(moment: float) -> None:
                self._launches.take_back(begins, named, voice)
                act(moment)

            return end
        if launch == NOW or not TRIGGERS[name].launched:
            return act

        def wait(moment: float) -> None:
            self._launches.add((name, what, voice), launch, moment, act)
            self._launches.pump(self.now())

        return wait

    def _escape(self, arguments: list[Value], _voices: Voices) -> Act:
        def act(_moment: float) -> None:
            self.escape = str(arguments[0])

        return act

    def _sweep(self, arguments: list[Value], _voices: Voices) -> Act:
        name = self._sweep_name(arguments[0])
        self._voices(self.sweeps[name].voice)  # a set may have fewer voices than its patch

        def act(moment: float) -> None:
            if name in self.sweeps:
                self._movement.run(name, self.sweeps[name], moment)
            else:
                self._say(f"sweep: {name} was of the patch before")

        return act

    def _sweep_stop(self, arguments: list[Value], _voices: Voices) -> Act:
        name = self._sweep_name(arguments[0]) if isinstance(arguments[0], str) else None
        return lambda moment: self._movement.stop(name, moment)

    def _sweep_name(self, name: Value) -> str:
        if not isinstance(name, str) or name not in self.sweeps:
            raise ValueError(f"no sweep {shorten(name)}{suggest(name, self.sweeps) or '; the patch has none'}")
        return name

    def _panic(self, moment: float) -> None:
        """Silence, and nothing scheduled may end it; sweeps stop where they are."""
        self._link.panic()
        self._silent = True
        self._future.clear()
        self._launches.cancel()
        for forget in self.at_panic:
            forget()
        for command in self._outbox.drop((Op.SWITCH, Op.RESUME)):
            if command.op == Op.SWITCH:
                self._lost_switch(command.voice)
        self._movement.stop(None, moment)
        self._loops.forget()
        self._modulation.stop(None, moment)

    def _resume(self, moment: float) -> None:
        self._silent = False
        self.send(Command(self.sample(moment), Op.RESUME), moment)

    def _marker(self, arguments: list[Value], _voices: Voices) -> Act:
        text = arguments[0] if isinstance(arguments[0], str) else ""

        def act(moment: float) -> None:
            if self._mark:
                self._mark(self._time.read_at(moment), text)

        return act

    def _voices(self, voice: int | None) -> Voices:
        """Voices from 0. Raises ValueError for one that is not there."""
        if voice is None:
            return tuple(range(self.voices))
        if not 1 <= voice <= self.voices:
            raise ValueError(f"no voice {shorten(voice)}; there {_are(self.voices)}, from 1")
        return (voice - 1,)

    def _moved(self, event: Event) -> None:
        """A voice went where nobody put it: what it plays is for the loop to say."""
        if self.table.asked[event.voice] != event.number:
            self.table.asked[event.voice] = None

    def _refused(self, event: Event) -> None:
        if event.op == Op.SWITCH:
            self._lost_switch(event.voice)
        if event.op in (Op.LOAD, Op.DROP):
            return  # whoever asked for it looks at the answer
        if not event.flags & OVERTAKEN:
            self._say(_refusal(event))

    def _lost_switch(self, voice: int) -> None:
        """It will not come: what that voice plays (-1: what all do) is what it did."""
        for each in range(self.voices) if voice < 0 else (voice,):
            self.table.asked[each] = None


def _refusal(event: Event) -> str:
    """What the loop could not do, in words."""
    who = "the network that plays" if event.voice < 0 else f"what voice {event.voice + 1} plays"
    match event.op:
        case Op.MOMENT:
            return f"moment: {who} has no moment {event.number} (samplernn info says how many a checkpoint has)"
        case Op.PARTNER:
            return f"partner: {who} cannot be blended with the checkpoint asked for"
        case Op.SWITCH:
            return f"checkpoint: refused at sample {event.at}: what would play it is gone"
        case _:
            return f"the engine refused {Op(event.op).name.lower()} at sample {event.at}"


def _ends(name: str, first: Value) -> bool:
    """Whether a trigger ends what another of its kind began."""
    match name:
        case "loop":
            return first == 0
        case "partner":
            return first in (NOBODY, -1)
        case _:
            return name in ("loop/stop", "sweep/stop", "lfo/stop")


def _are(voices: int) -> str:
    return "is 1 voice" if voices == 1 else f"are {voices} voices"
