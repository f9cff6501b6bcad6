"""One set, from plan to report: the composition root, the only file that knows everything, and its shutdown.

Main thread; the control thread is :mod:`instrument.housekeeping`'s. It builds the networks, the performance, its output
and whoever plays on it, in the order that puts the first sample into the ring soonest; then it waits for the end: a
signal, the last second, an exception. :meth:`Session.close` is the same for all of them: fade, stop, join, close,
free. What the parts do is left to the parts.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instrument import compiling, console, latency, plan, report
from instrument.ableton import Joining
from instrument.following import Follower, room_for
from instrument.housekeeping import Ears, Housekeeping
from instrument.interrupts import Interrupts
from instrument.keeping import check_free, set_aside
from instrument.news import News
from instrument.parameters import shorten
from instrument.plan import Options, Plan

if TYPE_CHECKING:
    from instrument.audio.outputs import Output
    from instrument.audio.performance import Performance
    from instrument.audio.recorder import Recorder
    from instrument.audio.slots import Slot
    from instrument.bank import Maker
    from instrument.controls import Link
    from instrument.log import EventLog
    from instrument.midi.rig import Midi
    from instrument.osc.server import OscServer
    from instrument.showing import Showing

POLL_S = 0.05  # the main thread's look at the render thread
NOTHING = "none"
NAMED = 8  # checkpoints whose names are all said
MARKED = 200  # characters of a marker that are kept
SWITCH_S = 0.0005  # how long one Python thread may keep the others waiting; a gesture has 2 ms to reach the ring
RESERVED = 8  # epochs that may join a set on a GPU: each takes some tenths of a second of the start
PATIENCE_S = 3.0  # what the end may take beyond the ring's length

Say = Callable[[str], None]
Watch = Callable[["Session"], None]


def play(options: Options) -> int:
    """``samplernn play``: returns the exit code. Raises ValueError, one line, for what the user can put right."""
    session, code = perform(options, console.say, console.complain)
    return code or int(session.incomplete)


def perform(options: Options, say: Say, complain: Say, watch: Watch | None = None) -> tuple[Session, int]:
    """A whole set, and its exit code; ``watch`` sees it 20 times a second. Raises ValueError, one line."""
    made = plan.make(options)
    with Interrupts(outlives=console.hung_up) as interrupts:
        session = Session(made, say, complain)
        try:
            interrupts.arm()
            session.open()
            interrupts.hold()
            session.start()
            session.run(interrupts, watch)
        finally:
            interrupts.hold()
            session.close()
    return session, interrupts.exit_code


class Session:
    """A planned set being played.

    Args:
        plan: what to play.
        say: takes lines of news; must not block.
        complain: takes lines about faults; must not block.
    """

    def __init__(self, plan: Plan, say: Say, complain: Say) -> None:
        self.plan, self.news = plan, News(say, complain)
        self.say, self.complain = self.news.say, self.news.complain
        self.priority = "not raised"
        self.awake = self._refused = False
        self._aside: list[tuple[Path, Path]] = []
        self.output: Output
        self.performance: Performance
        self.maker: Maker
        self.recorder: Recorder | None = None
        self.log: EventLog | None = None
        self.osc = ""  # where it listens
        self.midi: Midi | None = None
        self.follower: Follower | None = None
        self._closers = contextlib.ExitStack()
        self._closed = False
        self._started = self._leaving = False
        self.showing: Showing | None = None
        self.osc_server: OscServer | None = None
        self.joining: Joining | None = None

    # --- opening

    def open(self) -> None:
        """Build everything up to, not including, the first sample. Raises ValueError, one line."""
        from instrument.audio import outputs

        self.output = outputs.choose(self.plan.output, self.plan.block, self.say, self.plan.options.seconds)
        self.sample_rate = self.output.rate or self.plan.checkpoints[0].config.sample_rate
        self.share = latency.share(self.plan, self.sample_rate)
        if self.share.news:
            self.say(self.share.news)
        with compiling.shown(self.say):
            self._open_performance()
        if self.performance.overload:
            self.complain(self.performance.overload)
        self._open_files()
        self._open_controls()
        atexit.register(self.close)

    def _open_performance(self) -> None:
        from instrument.audio.outputs import make_clock
        from instrument.audio.performance import Performance
        from instrument.audio.priority import raise_priority

        slots = self._make_slots()
        p = self.plan
        joining = room_for(p.checkpoints[-1]) if p.follows else 0
        self._reserve(joining)
        self.performance = Performance(
            slots,
            sample_rate=self.sample_rate,
            voices=p.voices,
            seed=p.seed,
            start=p.start,
            parameters=p.parameters,
            partners=p.partners,
            ring_frames=self.share.ring_frames,
            block=p.block,
            channels=p.patch.output.channels,
            tap=bool(self._recorded()),
            history=p.patch.history,
            joining=joining,
            fallback=self.maker.fallback(p.fallback[1], p.fallback[0].name) if p.fallback else None,
            coming=p.coming,
            threads=p.options.threads,
            raised=raise_priority,
        )
        self._closers.callback(self.performance.close)
        make_clock(self.link, p.block)  # the kernels that read the ring too, before there is anything in it

    def _make_slots(self) -> list[Slot]:
        """The bank's; without the GPU that was asked for every program is the fallback. Raises ValueError."""
        from engine.generator import Unavailable

        try:
            return self._made_slots()
        except Unavailable as error:  # a GPU is there, and cannot be had
            self.plan = self.plan.without_gpu(str(error).removeprefix("backend: cuda: "))
        return self._made_slots()

    def _made_slots(self) -> list[Slot]:
        from instrument import bank

        p = self.plan
        if p.news:
            self.complain(p.news)
        self.maker = bank.Maker(p.backend, p.precision, p.voices, p.stereo, p.patch.output.launch)
        return self.maker.slots(p.checkpoints, [p.stand_in.name] * len(p.names) if p.stand_in else p.names)

    def _reserve(self, joining: int) -> None:
        """Be ready for the networks of other patches, for epochs that join, and for one more of each kind."""
        p = self.plan
        configs = [*(each.config for each in p.checkpoints), *(each.config for each in p.coming)]
        epochs = [p.checkpoints[-1].config] * min(joining, RESERVED)
        self.maker.reserve([*set(configs), *(each.config for each in p.coming), *epochs])
        for line in self.maker.news:
            self.complain(line)
        self.maker.begin()

    def _recorded(self) -> list[Path]:
        record = self.plan.options.record
        return [*self.output.files, *([record] if record else [])]

    def _open_files(self) -> None:
        from instrument.audio.labels import labels_path
        from instrument.audio.recorder import Recorder
        from instrument.log import EventLog

        options = self.plan.options
        paths = [*self._recorded(), *([options.log] if options.log else [])]
        for path in paths:
            check_free(path)
        for path in [*paths, *map(labels_path, self._recorded())]:
            if kept := set_aside(path):
                self._aside.append((kept, path))
                self.say(f"{path} was there already: it is {kept} now")
        if options.log:
            self.log = EventLog(options.log, self.head(), self.complain)
        if self._recorded():
            self.recorder = Recorder(self._recorded(), self.sample_rate, self.link.tap, self.complain)

    def _open_controls(self) -> None:
        from instrument.controller import Controller
        from instrument.ear import Ear

        p = self.plan
        self.controller = Controller(
            self.link,
            p.names,
            voices=p.voices,
            sample_rate=self.sample_rate,
            latency=self.performance.latency,
            say=self.complain,
            sweeps=p.patch.sweeps,
            start=p.start,
            initial=p.parameters,
            ring_frames=self.performance.ring_frames,
            keep_state=p.patch.switch == "keep",
            history=p.patch.history,
            movements=p.patch.movements,
            mark=self.mark,
            misfit=self.performance.misfit,
        )
        self.controller.partners[:] = p.partners
        if p.fallback:
            self.controller.table.call(self.performance.fallback, p.fallback[0].name)
        self._open_sets()
        self.controller.escape = p.patch.escape
        self.ear = Ear(self.controller, self.performance, self.say, p.seed)
        if p.follows:
            self.follower = Follower(p, p.follows, self.performance, self.maker.slot, self.controller, self.complain)
        self.housekeeping = Housekeeping(self)

    def _open_sets(self) -> None:
        from instrument.loading import Loading
        from instrument.sets import Sets

        p, c = self.plan, self.controller
        stand_in = p.stand_in.path if p.stand_in else None
        self.loading = Loading(self.performance, c.exchange, self.maker.slot, self.complain, stand_in)
        bank = self.loading.first(p.patch.bank, p.checkpoints)
        self.sets = Sets(p.set, bank, self.loading, c, p.options.voices, Ears(self), self.say, self.complain)

    @property
    def link(self) -> Link:
        """The boundary to the audio path."""
        return self.performance.link

    def head(self) -> Any:
        """The head of the event log."""
        from instrument import bank, log

        p = self.plan
        entries = zip(p.names, p.paths, p.checkpoints, strict=True)
        last = [(p.fallback[0].name, p.fallback[0].path, p.fallback[1])] if p.fallback else []
        return log.Head(
            sample_rate=self.sample_rate,
            backend=p.backend,
            precision=p.precision,
            kernel=bank.kernel_variant(),
            voices=p.voices,
            seed=p.seed,
            bank=tuple(log.entry(*each) for each in entries),
            fallback=tuple(log.entry(*each) for each in last),
            start=p.start,
            parameters=p.parameters,
            stereo=p.stereo,
            partners=p.partners,
            timing=self.performance.timing,
            versions=self.maker.versions,
            patch=dict(p.patch.data),
            rules={
                "block": p.block,
                "ring_frames": self.performance.ring_frames,
                "latency_ms": self.share.latency_ms,
                "launch": p.patch.output.launch,
            },
        )

    # --- playing

    def start(self) -> None:
        """First sample, then the device, then whoever plays. Raises ValueError when the device does not open."""
        self._started = True
        self._closers.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_S)
        seconds = self.plan.options.seconds or self.output.seconds
        if seconds is not None:
            self._end_at(max(1, round(seconds * self.sample_rate)))
        if self.recorder:
            self.recorder.start()
        from instrument.audio.priority import kept_awake

        self.awake = self._closers.enter_context(kept_awake())
        self._park()
        self.performance.start(self._raise_priority)
        self.housekeeping.start()
        self._wait_for(self.performance.prefill_done, PATIENCE_S + self.performance.ring_frames / self.sample_rate)
        try:
            self.output.start(self.link, self.sample_rate)
        except ValueError:
            self._refused = True
            raise
        self._start_osc()
        self._start_midi()
        self._start_link()
        self._announce()
        self.ear.start()
        if self.follower:
            self.follower.start()
        elif self.plan.patch.path:
            self.sets.start()
        self._start_screen()

    def _start_screen(self) -> None:
        """The last to start: the sound waits for nothing that is only seen."""
        from instrument.showing import Showing

        self.showing = Showing(
            self.controller,
            self.link.telemetry,
            ring_frames=self.performance.ring_frames,
            latency=self.performance.latency,
            news=self.news,
            facts=self._facts,
            moments=self.sets.moments,
            leave=self.leave,
        )
        self.showing.start(self.plan.options.screen)

    def _facts(self) -> dict[str, Any]:
        """What the screen shows beside the loop's own figures."""
        from instrument.screen import picture

        return {
            "patch": self.controller.patch[1],
            "place": self._place(),
            "output": self.output.name,
            "recording": picture.recording(self.recorder),
            "listens": f"listening on {self.osc}" if self.osc else "",
            "osc": picture.wire(self.osc_server.last) if self.osc_server else None,
            "midi": picture.wire(self.midi.last) if self.midi else None,
            "learn": (self.midi.armed or None) if self.midi else None,
            "flux": picture.ask(lambda: round(self.ear.flux(), 2)),
            "escape": self.controller.escape if self.controller.escape != "off" else None,
            "stuck": self.ear.stuck,
        }

    def _place(self) -> str:
        """Where in its set list the set is; nothing without one."""
        if not self.plan.set.file:
            return ""
        return f"{self.controller.patch[0] + 1} of {len(self.sets.places)}"

    def leave(self, at_once: bool) -> None:
        """End the set: as Ctrl-C does, or as if it had come to its end. Any thread."""
        if at_once:
            os.kill(os.getpid(), signal.SIGINT)
        self._leaving = True

    def mark(self, sample: int, text: str) -> None:
        """A marker at session sample ``sample``, in the recording's labels and the log. Any thread."""
        heard, text = max(0, sample - round(self.output.latency * self.sample_rate)), text[:MARKED]
        if self.recorder:
            self.recorder.mark(heard, text)
        if self.log:
            self.log.note(heard, marker=text)
        kept = "" if self.recorder or self.log else ": nothing is recorded"
        from instrument.status import clock

        self.say(f"marker{f' {shorten(text)}' if text else ''} at {clock(heard / self.sample_rate)}{kept}")

    def _end_at(self, samples: int) -> None:
        from instrument.controls import Command, Op

        self.link.push(Command(max(0, samples - self.performance.closing), Op.STOP))

    def _park(self) -> None:
        """The voices that only other patches of the set have."""
        from instrument.controls import Command, Op

        for voice in range(self.sets.changing.sounding(self.plan.patch), self.plan.voices):
            self.link.push(Command(0, Op.PARK, voice))
            self.controller.resting.voices.add(voice)

    def _raise_priority(self) -> None:
        from instrument.audio.priority import raise_priority

        self.priority = raise_priority()

    def _start_osc(self) -> None:
        if self.plan.osc is None:
            return
        from instrument.bank import versions
        from instrument.osc.allow import Allowed
        from instrument.osc.server import OscServer

        ours, asked = versions()["samplernn-live"], self.plan.patch.osc
        allowed = Allowed(asked.allow)
        server = OscServer(self.controller, self.plan.osc, asked.send, self.complain, ours, allowed)
        self._closers.callback(server.stop)
        self.osc_server = server
        if server.start() and server.endpoint:
            self.osc = f"{self.plan.osc[0]}:{server.endpoint[1]}"
            if asked.announce:
                from instrument.osc.discovery import Discovery

                discovery = Discovery(self.controller, server.endpoint, allowed, self.complain)
                self._closers.callback(discovery.stop)
                discovery.start()

    def _start_link(self) -> None:
        self.joining = Joining(self.controller.transport, self.complain)
        self._closers.callback(self.joining.stop)
        self.joining.follow(self.plan.patch.movements.clock)

    def _start_midi(self) -> None:
        from instrument.midi.rig import Midi

        wanted = self.plan.options.midi
        if wanted == NOTHING:
            return
        p, desk = self.plan, self.controller
        self.midi = Midi(desk, p.patch, self.complain, wanted, p.parameters, desk.transport)
        self._closers.callback(self.midi.stop)
        self.midi.start()

    def _announce(self) -> None:
        p = self.plan
        if self.performance.fault:
            self.complain(self.performance.fault)
        title = f"{p.set.name}, {p.patch.name}" if p.set.file else p.patch.name
        where = f", OSC on {self.osc}" if self.osc else ""
        latency = 1000 * self.performance.latency / self.sample_rate
        bank = (
            ", ".join(p.names)
            if len(p.names) <= NAMED
            else f"{len(p.names)} checkpoints, {p.names[0]} to {p.names[-1]}"
        )
        self.say(
            f"{title}: {bank}; {p.voices} voice{'s' * (p.voices > 1)} at {self.sample_rate} Hz to "
            f"{self.output.name}, {latency:.1f} ms, seed {p.seed}{where}"
        )
        if (held := self.performance.held) and not held.overload:
            self.say(held.line)

    def run(self, interrupts: Interrupts, watch: Watch | None = None) -> None:
        """Wait for the end of the set: its last sample, or a signal and then the closing fade."""
        while not interrupts.wait(POLL_S):
            if watch:
                watch(self)
            if self._leaving or self.performance.wait(0.0):
                return

    # --- leaving

    def close(self) -> None:
        """End the set, whatever state it is in: fade, join, close, free; its files are complete then. Idempotent."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with contextlib.ExitStack() as last:  # each in turn, whatever the ones before it did
            last.callback(self._write_report)
            last.callback(self._say_goodbye)
            last.callback(self._close_files)
            last.callback(self._closers.close)
            if hasattr(self, "output"):
                last.callback(self.output.stop)
            if self.showing:
                last.callback(self.showing.finish)  # nobody draws any more
            if self._started:
                last.callback(self.housekeeping.finish)
                last.callback(self.sets.finish)
                last.callback(self.ear.finish)
                if self.follower:
                    last.callback(self.follower.finish)
                last.callback(self._fade_out)

    def _fade_out(self) -> None:
        """Closing fade, and the ring played to its last frame."""
        ring = self.performance.ring_frames / self.sample_rate
        self.performance.close(ring + 1.0)
        self._wait_for(self._drained, ring + 0.5)
        time.sleep(min(0.5, self.output.latency))  # what the driver still holds

    def _drained(self) -> bool:
        t = self.link.telemetry()
        return t.fill <= 0 or t.callbacks == 0

    def _wait_for(self, done: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def _close_files(self) -> None:
        if self.recorder:
            self.recorder.finish(self.performance.report()["samples"])
        if self.log:
            self.log.close()
        if self._refused:
            self._put_back()

    def _put_back(self) -> None:
        """There was no set: its files go, and those before them get their names back."""
        made = [*(self.recorder.paths if self.recorder else []), *([self.log.path] if self.log else [])]
        with contextlib.suppress(OSError):
            for path in made:
                path.unlink(missing_ok=True)
            for kept, path in self._aside:
                kept.rename(path)

    @property
    def incomplete(self) -> bool:
        """Whether a recording or the log ended before the set did."""
        return bool((self.recorder and self.recorder.failed) or (self.log and self.log.fault))

    def _say_goodbye(self) -> None:
        """What was played, and where it is kept."""
        if not self._started or self._refused:
            return
        t, o = self.link.telemetry(), self.plan.options
        kept = [*(self.recorder.paths if self.recorder else []), *([o.log] if self.log and not self.log.fault else [])]
        counts = f"{t.underruns} underrun{'s' * (t.underruns != 1)}" + f", {t.xruns} xruns" * (t.xruns > 0)
        length = self.performance.report()["seconds"]
        self.say(f"played {length:.1f} s, {counts}" + f"; kept {', '.join(map(str, kept))}" * bool(kept))

    def _write_report(self) -> None:
        if self.plan.options.report and self._started and not self._refused:
            report.write(self.plan.options.report, self.figures())

    def figures(self) -> dict[str, Any]:
        """The report; empty before the set has begun."""
        if not self._started:
            return {}
        first = self.performance.first_sample_time
        voice = self.link.telemetry().voices[0]
        return report.assemble(
            {
                "backend": self.plan.backend,
                "precision": self.plan.precision,
                "priority": f"{self.priority}{', processors kept awake' * self.awake}",
                "checkpoint": self.controller.table.name(voice.slot),
                "first_sample_s": (first - report.process_start()) if first else 0.0,
                "control_latency_ms": self.controller.control_latency(),
                "output": self.output.name,
                "driver_latency_ms": 1000 * self.output.latency,
                "seed": self.plan.seed,
                "rested": self.housekeeping.rested,
                "failed_s": self.housekeeping.failed_s,
            },
            self.performance.report(),
        )
