"""What a set does besides sounding: gestures on their way, events to the log, news of patches to whoever plays.

:class:`Housekeeping` is the control thread; :class:`Ears` is told by the set list. What the session is made of, and how
it ends, is left to :mod:`instrument.session`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from instrument.faults import Faults
from instrument.worker import Worker

if TYPE_CHECKING:
    from instrument.ableton import Joining
    from instrument.audio.performance import Performance
    from instrument.audio.recorder import Recorder
    from instrument.controller import Controller
    from instrument.controls import Event, Link
    from instrument.following import Follower
    from instrument.loading import Loading
    from instrument.log import EventLog
    from instrument.midi.rig import Midi
    from instrument.osc.server import OscServer
    from instrument.patch import Patch
    from instrument.plan import Plan
    from instrument.showing import Showing

HUNG = 1 << 20  # engine.cuda.launching.HUNG
PUMP_S = 0.005  # the control thread's period
MARK_S = 5.0  # how much of a set a dying machine may take from its log


class Parts(Protocol):
    """What these look at of a session; what it does not have, or not yet, is None."""

    plan: Plan
    sample_rate: int
    controller: Controller
    performance: Performance
    loading: Loading
    follower: Follower | None
    recorder: Recorder | None
    log: EventLog | None
    osc_server: OscServer | None
    midi: Midi | None
    joining: Joining | None
    showing: Showing | None

    @property
    def link(self) -> Link: ...
    def say(self, line: str) -> None: ...
    def complain(self, line: str) -> None: ...


class Ears:
    """Who is told of another patch, besides the terminal: MIDI, OSC and the log."""

    def __init__(self, session: Parts) -> None:
        self._session = session

    def patch(self, patch: Patch, renewed: bool) -> None:
        """Its map, its endpoint and whom it hears hold from now on."""
        from instrument.changing import values_of

        session = self._session
        if session.osc_server:
            session.osc_server.send_to(patch.osc.send)
            session.osc_server.allow(patch.osc.allow)
        if session.midi:
            session.midi.change(patch, values_of(patch, session.plan.voices), renewed)
        if session.joining:
            session.joining.follow(session.controller.transport.clock)

    def error(self, text: str) -> None:
        """Something in a file is wrong."""
        if self._session.osc_server:
            self._session.osc_server.tell_error(text)

    def note(self, **fields: Any) -> None:
        """For the log."""
        read = max(0, self._session.link.telemetry().read)
        if self._session.log:
            self._session.log.note(read, **fields)
        if self._session.recorder and fields.get("kind") == "patch":
            self._session.recorder.mark(read, str(fields["name"]))


class Housekeeping:
    """The control thread: gestures on their way, events to the log, the status line. It never stops the sound.

    Attributes:
        rested: how often a voice was let rest because the set fell behind.
        failed_s: when a GPU that played the bank failed, in seconds of the set; None if it did not.
    """

    def __init__(self, session: Parts) -> None:
        self._session = session
        self._worker = Worker("housekeeping", PUMP_S, self._turn, lambda text: self._faults.report(text))
        self.start = self._worker.start
        self._next_mark = 0.0
        self.rested = 0
        self.failed_s: float | None = None
        self._faults = Faults(session.complain)
        self._overload = session.performance.overload

    def finish(self) -> None:
        """Stop, then note what is left. Safe to call again, and before `start`."""
        self._worker.finish()
        self._events()

    def _turn(self) -> None:
        now = time.monotonic()
        self._session.controller.pump()
        self._events()
        self._faults.flush()
        if now >= self._next_mark:
            self._next_mark = now + MARK_S
            self._mark()
        if self._session.showing:
            self._session.showing.line(now)

    def _events(self) -> None:
        session = self._session
        while events := session.link.events():
            events = session.loading.noted(events)
            if session.follower:
                events = session.follower.noted(events)
            if session.log:
                session.log.events(events)
            session.controller.heard(events)
            self._tell_rested(events)
            for event in events:
                self._tell(event)

    def _tell(self, event: Any) -> None:
        """What nobody asked for is said aloud."""
        from instrument.controls import Joined, Op

        at = event.at / self._session.sample_rate
        if isinstance(event, Joined):
            stem = Path(event.path).stem
            anew = "" if event.name == stem else f": {stem} was written anew"
            self._session.say(f"{event.name} joined as program {event.number - 1}{anew}")
        elif event.op == Op.FUSE:
            why = "runaway level" if event.parameter else "a number that is not finite"
            self._session.complain(f"voice {event.voice + 1} was reset at {at:.1f} s: {why}")
        elif event.op == Op.BEHIND:
            self._warn(
                f"the set falls behind from {at:.1f} s on: one voice takes {event.value:.0%} of the time there is; "
                "expect gaps, another checkpoint would be right"
            )
        elif event.op == Op.FAIL:
            self._tell_failed(at)
        elif event.op == Op.PARTNER:
            self._weigh()
        elif event.op == Op.EVENTS_LOST:
            self._faults.report("events were lost, there was no time for them: a log of this set cannot be replayed")
        elif event.op == Op.TAP_OVERFLOW:
            self._session.complain(
                f"the recording has {event.number} silent frames at {at:.1f} s: the disk was too slow"
            )

    def _tell_failed(self, at: float) -> None:
        """The GPU is lost, and who goes on."""
        self.failed_s = at
        p, performance = self._session.plan, self._session.performance
        then = f"{p.fallback[0].name} goes on, on the processor" if p.fallback else "the set fades out"
        code = performance.failure
        why = "it does not answer" if code >= HUNG else f"CUDA error {code}"
        self._warn(f"the GPU failed at {at:.1f} s ({why}): {then}")

    def _tell_rested(self, events: Sequence[Event]) -> None:
        """Voices that nobody sent to rest: in one line."""
        from instrument.controls import BY_ITSELF, Op

        found = [event for event in events if event.op == Op.PARK and event.flags & BY_ITSELF]
        if not found:
            return
        self.rested += len(found)
        who, many = ", ".join(str(event.voice + 1) for event in found), len(found) > 1
        at, took = found[0].at / self._session.sample_rate, found[0].value
        self._warn(
            f"voice{'s' * many} {who} rest{'s' * (not many)} from {at:.1f} s on: the set fell behind, "
            f"it took {took:.0%} of the time there is; wake brings {'them' if many else 'it'} back"
        )

    def _warn(self, line: str) -> None:
        """On the terminal and to whoever plays over OSC."""
        self._session.complain(line)
        if self._session.osc_server:
            self._session.osc_server.tell_error(line)

    def _weigh(self) -> None:
        """Partners were taken or dropped: say so if it has become too much."""
        before, self._overload = self._overload, self._session.performance.overload
        if self._overload and self._overload != before:
            self._session.complain(self._overload)

    def _mark(self) -> None:
        session = self._session
        if session.log and (at := session.link.telemetry().read):
            session.log.mark(at)
