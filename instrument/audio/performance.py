"""One performance: shared memory, slots, and the thread that renders them.

The session makes one on the main thread, starts it and closes it; commands, events and telemetry go through ``link``.
The render thread runs one compiled kernel (``instrument.audio.loop``) until the set has ended. It is no daemon: a
daemon inside a kernel crashes the interpreter's exit. So that a main thread that dies without closing does not leave
it playing for ever, a watch ends it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig, sound_differs
from instrument.audio import loop
from instrument.audio.costs import with_helpers
from instrument.audio.dsp import (
    lookahead,
    make_resampler,
    network_index,
)
from instrument.audio.headroom import Cost, Holding, held, holdings, report_of
from instrument.audio.helpers import Helpers
from instrument.audio.making import (
    CLOSING_S,
    constants,
    make_decks,
    make_glides,
    make_modulations,
    make_pairs,
    make_shapes,
    make_voices,
    starting_values,
)
from instrument.audio.shedding import ENDURANCE_S, PATIENCE_S, PATIENCE_TURNS, REFILLED
from instrument.audio.slots import Slot
from instrument.audio.state import (
    ANCHOR,
    AWAKE,
    COMMAND,
    CORE,
    HEADER_WORDS,
    LOOP,
    MAX_TURN,
    MAX_VOICES,
    OFF,
    PAST,
    PENDING,
    PLAYING,
    STEADY,
    STEPS,
    TIMES,
)
from instrument.audio.steering import SMOOTHED_S, STEERED_S
from instrument.audio.table import ROOM, Rules, Table
from instrument.audio.timing import Timing, make_timing, measure, measure_playing, with_partners
from instrument.controls import MATURITY, Link
from instrument.shared import (
    MAX_CHANNELS,
    NEVER,
    W_CHANNELS,
    W_CLOCK_STOP,
    W_FLOWING,
    W_HORIZON,
    W_OFFLINE,
    W_STOP,
    W_TAP_OPEN,
    make_shared,
    set_word,
)

CONTROL_S = 0.002  # a command's way from the wire to the ring, in the latency sum
TAP_S = 4.0  # what the tap holds while a disk is busy
OVERHEARD = PAST - 2 * MAX_TURN  # network samples that are not being written over while somebody looks at them
SHORTEST_TURN, LONGEST_TURN = 16, MAX_TURN


class Configured(Protocol):
    """All that the sums below ask of a network: a slot, or a checkpoint."""

    @property
    def config(self) -> ModelConfig: ...


def turn_of(slots: Sequence[Configured], sample_rate: int, at_once: int = 1, fallback: Configured | None = None) -> int:
    """Samples the loop makes at once: the longest frame of the bank in session samples, 16 to 4096.

    ``at_once``: network samples that a backend wants to be asked for at once (``Program.samples``), rounded up to whole
    frames; not so the ``fallback``.
    """
    hops = [(-(-max(at_once, 1) // slot.config.hop) * slot.config.hop, slot.config.sample_rate) for slot in slots]
    hops += [(fallback.config.hop, fallback.config.sample_rate)] if fallback else []
    return max(SHORTEST_TURN, min(LONGEST_TURN, max(-(-hop * sample_rate // rate) for hop, rate in hops)))


def delay_of(slots: Sequence[Configured], sample_rate: int) -> int:
    """Session samples by which the networks run ahead of the mix: the longest half of any resampler."""
    return max(make_resampler(slot.config.sample_rate, sample_rate).delay for slot in slots)


def overhead(
    slots: Sequence[Configured], sample_rate: int, at_once: int = 1, fallback: Configured | None = None
) -> int:
    """Samples of latency besides block and ring: a turn, resampler, limiter, control path.

    L = block + ring + this; so the ring for a wanted L is what remains of it, at least block + turn.
    """
    control = round(CONTROL_S * sample_rate)
    everything = [*slots, *([fallback] if fallback else [])]
    turn = turn_of(slots, sample_rate, at_once, fallback)
    return turn + delay_of(everything, sample_rate) + lookahead(sample_rate) + control


@dataclass(frozen=True)
class Overheard:
    """What a voice's network said lately.

    Attributes:
        slot: which network.
        rate: its sample rate, Hz.
        first: the network sample that ``sound`` begins with.
        sound: before gain and filters, (n,).
        recurrence: of its source, None if unknown (engine.playing.with_recurrence).
        moments: how many it can jump to.
        looping: whether it is put back again and again, by a loop with dice.
    """

    slot: int
    rate: int
    first: int
    sound: NDArray[np.float32]
    recurrence: float | None
    moments: int
    looping: bool = False


class Performance:
    """Everything that makes the sound, from bank to ring.

    Args:
        slots: the bank, every program already made with a lane per voice.
        sample_rate: Hz of the session, fixed.
        voices: how many.
        seed: dice key of every voice (their voice numbers differ).
        start: bank index of each voice at sample 0; default all 0.
        parameters: starting values, ``parameters[voice][code]`` in natural units; default the table's.
        ring_frames: frames the audio ring may hold; at least block + turn.
        block: frames of the device's callback, for the latency figures.
        tap: keep the final mix for a recorder from sample 0 on (drained with ``link.tap``).
        offline: no device and no clock: :meth:`render_to` makes the sound, as fast as it can.
        timing: the table of an earlier set's ``timing`` instead of a measurement.
        channels: of the output, 2, 4, ... 16; what is recorded or rendered is the stereo sum of their pairs.
        history: the bank is a training run's, its epochs in order: `maturity` moves through it.
        joining: how many slots may join a history later, see :meth:`add`.
        partners: bank index of each voice's partner at sample 0, -1 for none.
        coming: networks of other patches of the set, which may be loaded later, see :meth:`load`.
        fallback: a network on the processor, for when the GPU that computes the others fails; without one the set then
            fades out.
        threads: that make samples; None is as few as will do, by measurement. Samples do not depend on it.
        raised: runs first on every helping thread.

    Raises:
        ValueError: naming the argument that is wrong.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        sample_rate: int,
        voices: int = 1,
        seed: int = 0,
        start: Sequence[int] | None = None,
        parameters: Sequence[Sequence[float]] | None = None,
        ring_frames: int = 512,
        block: int = 128,
        tap: bool = False,
        offline: bool = False,
        timing: Mapping[str, Any] | None = None,
        history: bool = False,
        joining: int = 0,
        partners: Sequence[int] | None = None,
        coming: Sequence[Configured] = (),
        fallback: Slot | None = None,
        channels: int = 2,
        threads: int | None = 1,
        raised: Callable[[], object] | None = None,
    ) -> None:
        start = [0] * voices if start is None else start
        everything = [*slots, *([fallback] if fallback else [])]
        _check(everything, len(slots), voices, start, sample_rate, ring_frames, block, channels)
        self.sample_rate, self.voices, self.block = sample_rate, voices, block
        self._stereo = _signed(slots[0].program.stereo)
        self._partners = [-1] * voices if partners is None else list(partners)
        networks = (*slots, *coming)
        self._at_once = max(slot.program.samples for slot in slots)
        self._turn = turn_of(networks, sample_rate, self._at_once, fallback) if timing is None else _turn_in(timing)
        self.ring_frames = max(ring_frames, block + self._turn)
        self._offline, self._history = offline, history
        self._seed, room = seed, len(slots) + joining if history else max(ROOM, len(slots) + joining)
        for slot in everything:
            slot.prepare(sample_rate, self._turn)
        self._helpers, self._gain = Helpers(1), 1.0
        try:
            costs = self._measured(slots, start, threads, raised) if timing is None else {}
            self.ring_frames = max(self.ring_frames, self._least_ring(costs))
            self._timing = self._make_timing(slots, networks, fallback, timing, costs)
        except BaseException:
            self._helpers.close()
            raise
        for slot in everything:
            slot.begin(seed)
        self.table = Table(slots, self._timing, room + (history and fallback is not None))
        self.fallback = self.table.keep(fallback, last=history) if fallback else -1
        self.table.alone.update({k: cost.alone for k, cost in costs.items()})
        self._bank, self._joining = len(slots), joining
        shared = make_shared(voices, sample_rate, self.ring_frames, int(TAP_S * sample_rate), channels)
        self.link = Link(shared)
        self._memory = self._make_memory(start, parameters)
        self._core = self._make_core()
        self._run = partial(loop.run, self._core.ctypes.data)
        shared.words[W_TAP_OPEN], shared.words[W_OFFLINE] = int(tap or offline), int(offline)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.fault = ""
        self._warm_up()

    # --- what it is

    @property
    def turn(self) -> int:
        """Samples the loop makes at once."""
        return self._timing.turn

    @property
    def stereo(self) -> tuple[bool, ...]:
        """Which voices have a right side."""
        return tuple(bool(self._stereo >> v & 1) for v in range(self.voices))

    @property
    def delay(self) -> int:
        """Samples by which the loop must know a command before its frame reaches the ring: resampler and limiter."""
        return self._timing.delay + self._timing.ahead

    @property
    def failure(self) -> int:
        """What the driver of the GPU that computes the networks said when it failed; 0 while all is well."""
        return max((slot.failure for slot in self.slots), default=0)

    @property
    def latency(self) -> int:
        """L in samples: what a gesture takes from its moment to its frame, always the same."""
        return self.block + self.ring_frames + self.turn + self.delay + round(CONTROL_S * self.sample_rate)

    @property
    def closing(self) -> int:
        """Length of the closing fade in samples: a set of N samples is told to STOP at N - closing."""
        return int(CLOSING_S * self.sample_rate)

    @property
    def partners(self) -> tuple[int, ...]:
        """The slot of each voice's partner as asked for lately, -1 for none. Any thread."""
        return tuple(int(partner) for partner in self._memory["voice_memory"]["partner"][: self.voices])

    @property
    def holdings(self) -> list[Holding]:
        """How each network can be played here by all voices; none in a replay, which measures nothing."""
        return holdings(self.table.measured(self.voices), self.table.slots, self.sample_rate, self.threads)

    @property
    def held(self) -> Holding | None:
        """What the set as it is now must hold. Any control thread."""
        slots = [int(slot) for slot in self._memory["voice_memory"]["slot"][: self.voices]]
        costs = self.table.measured(self.voices)
        return held(costs, self.table.slots, slots, self.partners, self.sample_rate, self.threads)

    @property
    def threads(self) -> int:
        """How many make samples."""
        return self._helpers.threads

    @property
    def overload(self) -> str:
        """One line if these voices are more than this machine was measured to play in time; else nothing."""
        found = self.held
        return found.overload if found else ""

    @property
    def timing(self) -> dict[str, Any]:
        """What the loop's length rules were computed from; belongs in the log's head."""
        return self._timing.to_json()

    # --- playing

    def start(self, on_thread: Callable[[], None] | None = None) -> None:
        """Start the render thread; ``on_thread`` runs on it first (priority, affinity)."""
        assert self._thread is None
        assert not self._offline
        self._thread = threading.Thread(target=self._main, args=(on_thread,), name="render")
        self._thread.start()
        threading.Thread(target=self._watch, name="render-watch").start()

    def prefill_done(self) -> bool:
        """Whether the ring has been full once, so that a device may start reading."""
        return bool(self.link.shared.words[W_FLOWING])

    @property
    def first_sample_time(self) -> float | None:
        """When the first frame came out of the loop, in seconds of time.monotonic; None before."""
        ns = int(self._core["first_ns"][0])
        return ns * 1e-9 if ns else None

    def render_to(self, sample: int) -> NDArray[np.float32]:
        """Offline: what lies between the last call and session sample ``sample``, (n, 2); shorter once ended."""
        assert self._offline
        set_word(self.link.shared.words, W_HORIZON, int(sample))
        parts = []
        while True:
            ended = self._run()
            frames = np.empty((int(TAP_S * self.sample_rate) * 2, 2), np.float32)
            count = self.link.tap(frames)
            parts.append(frames[:count].copy())
            if ended or count == 0:
                return np.concatenate(parts)

    def add(self, slot: Slot) -> int:
        """Ready ``slot`` to join behind the bank, and return how many there are with it: for the GROW that lets it in.

        Any one control thread, while it plays; the loop looks at nothing of it before that GROW. The rules that it
        obeys are those of the bank's last at the start: nothing is measured now, since a replay could not know it.

        Raises:
            ValueError: another architecture, rate or precision than the bank's last, too few lanes, or no room.
        """
        count, last = self._bank, self.slots[self._bank - 1]
        if self.full:
            raise ValueError(f"{slot.name}: no room: this set has room for {count} checkpoints")
        if slot.architecture != last.architecture or slot.program.voices < self.voices:
            raise ValueError(f"{slot.name}: made otherwise than {last.name}: cannot join it")
        slot.prepare(self.sample_rate, self._turn)
        slot.begin(self._seed)
        slot.have_help(self._helpers.address)
        self.table.describe(count, slot)
        self._bank, self._joining = count + 1, self._joining - 1
        return count + 1

    @property
    def full(self) -> bool:
        """Whether no more slots may join the history."""
        return self._joining <= 0

    def load(self, slot: Slot, at: int | None = None, rules: Rules | None = None) -> tuple[int, Rules]:
        """Ready ``slot`` to be let in by a LOAD: place in the table, and the rules it will obey there.

        Any one control thread, while it plays: the loop looks at nothing of it before that LOAD. Measures what the
        network costs, which takes about 30 ms, unless a replay says the ``rules``, and the place ``at`` too.

        Raises:
            ValueError: too few lanes, no room, or a rate that needs more delay than the set was begun with.
        """
        k = self.table.free() if at is None else at
        if k is None:
            raise ValueError(f"{slot.name}: no room: a set holds {self.table.room} checkpoints at once")
        if slot.program.voices < self.voices:
            raise ValueError(f"{slot.name}: {slot.program.voices} lanes: {self.voices} expected")
        if _signed(slot.program.stereo) != self._stereo:
            raise ValueError(f"{slot.name}: stereo otherwise than the set")
        slot.prepare(self.sample_rate, self._turn)
        if slot.resampler.delay > self._timing.delay:
            rate = slot.config.sample_rate
            raise ValueError(f"{slot.name}: its {rate} Hz cannot join: the set was begun with no rate that low")
        if rules is None:
            session = {"sample_rate": self.sample_rate, "voices": self.voices, "ring_frames": self.ring_frames}
            cost = self._cost(slot, self._gain)
            rules = self.table.rules(k, slot, (cost.together, cost.prime), self.partners, **session)
            self.table.alone[k] = cost.alone
        slot.begin(self._seed)
        slot.have_help(self._helpers.address)  # not while it was measured: a team has one player
        self.table.put(k, slot, rules)
        return k, rules

    def misfit(self, k: int, partner: int) -> str:
        """What keeps the network at place ``partner`` from being blended with the one at ``k``, in words, if anything.

        Any control thread.
        """
        slots = self.table.slots
        ours, theirs = slots.get(k), slots.get(partner)
        return sound_differs(ours.config, theirs.config) if ours and theirs else ""

    def unload(self, k: int) -> None:
        """Free what was at place ``k``, if anything; only once the loop has told of its DROP.

        A helper may still be at it: it is waited for.
        """
        slot = self.table.slots.get(k)
        while slot is not None and self._helpers.working_on(slot.program.context):
            time.sleep(0.001)
        self.table.clear(k)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What is in the table, in its order."""
        return tuple(slot for _, slot in sorted(self.table.slots.items()))

    def overhear(self, voice: int, since: int) -> Overheard | None:
        """What voice ``voice`` (from 0) said from network sample ``since`` on, as far as it is remembered.

        None while nothing can be said of it: silence after a panic, a change of network, a voice that is parked. Any
        thread; looks at the loop's own memory without its knowing, and at nothing that is just being written.
        """
        core, v = self._core, self._memory["voice_memory"][voice]
        slot, phase, deck = int(v["slot"]), int(v["phase"]), int(v["deck"])
        front = int(core["mix"][0]) + self._timing.delay
        if phase != STEADY or int(v["parked"]) != AWAKE or int(core["phase"][0]) != PLAYING or front <= 0:
            return None
        played = self.table.slots[slot]
        upto = network_index(front, played.resampler.source, played.resampler.target)
        since = since if since <= upto else 0  # another network's count
        first = max(since, upto - OVERHEARD, int(self._memory["deck_memory"][2 * voice + deck]["first"]))
        places = np.arange(first, upto) & (PAST - 1)
        sound = self._memory["past"][voice, deck][places]
        if (int(v["slot"]), int(v["phase"]), int(v["deck"])) != (slot, phase, deck):
            return None
        looping = int(self._memory["loop_memory"][voice]["state"]) != OFF
        return Overheard(slot, played.config.sample_rate, first, sound, played.recurrence, played.moments, looping)

    def stop(self) -> None:
        """Closing fade, then ENDED; returns at once."""
        self.link.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the render thread to end; whether it has."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def close(self, timeout: float = 1.0) -> None:
        """Fade, join the thread. Idempotent; safe at exit. If nobody reads the ring any more, ends without it."""
        if not self.wait(0.0):
            self.stop()
            if not self.wait(timeout):
                set_word(self.link.shared.words, W_STOP, 2)
                self.wait()
        self._closing.set()
        self._helpers.close()

    def turns(self) -> NDArray[np.int64]:
        """How many turns took how long so far, by :func:`instrument.audio.loop.bucket`; (TIMES,)."""
        return self._memory["times"].copy()

    def report(self) -> dict[str, Any]:
        """The figures of ``--report`` that the loop and the ring know."""
        if self.wait(0.0):
            loop.refresh(self._core.ctypes.data)
        t = self.link.telemetry()
        samples = int(self._core["frames"][0])
        return {
            "seconds": samples / self.sample_rate,
            "samples": samples,
            "sample_rate": self.sample_rate,
            "voices": self.voices,
            "underruns": t.underruns,
            "xruns": t.xruns,
            "clock_slips": t.slips,
            "realtime_factor": t.realtime_factor,
            "hop_us": dict(zip(("p50", "p99", "max"), t.hop_us, strict=True)),
            "ring_frames": self.ring_frames,
            "latency_ms": 1e3 * self.latency / self.sample_rate,
            "late_events": t.late,
            "commands": t.commands,
            "events_lost": t.events_lost,
            "tap_lost": t.tap_lost,
            "fuses": t.fuses,
            "peak": t.peak_total,
            "rms": t.rms_total,
            "entropy": self._mean_entropy(),
            "threads": self.threads,
            "slices_helped": self._helpers.helped,
            "slices_lost": self._helpers.lost,
            "holding": report_of(self.held, self.holdings),
        }

    # --- how it is made

    def _main(self, on_thread: Callable[[], None] | None) -> None:
        try:
            if on_thread is not None:
                on_thread()
            self._helpers.make_room()  # after its priority, which depends on how many processors there are
        except Exception as error:  # priority is a favour; the sound goes on without it
            self.fault = f"render thread: {error}"
        self._run()
        self._helpers.stop()

    def _watch(self) -> None:
        """End the loop if the main thread has gone without closing us."""
        while not self._closing.wait(0.25):
            if self.wait(0.0):
                return
            if not threading.main_thread().is_alive():
                set_word(self.link.shared.words, W_STOP, 2)
                set_word(self.link.shared.words, W_CLOCK_STOP, 1)

    def _warm_up(self) -> None:
        """Compile (or load) the loop, without making a sample."""
        core, words = self._core, self.link.shared.words
        core["offline"], words[W_HORIZON] = 1, -NEVER
        self._run()
        core["offline"], words[W_HORIZON] = int(self._offline), NEVER
        loop.refresh(self._core.ctypes.data)

    def _make_timing(
        self,
        slots: Sequence[Slot],
        networks: Sequence[Configured],
        fallback: Configured | None,
        known: Mapping[str, Any] | None,
        measured: Mapping[int, Cost],
    ) -> Timing:
        ahead, delay = (
            lookahead(self.sample_rate),
            delay_of([*networks, *([fallback] if fallback else [])], self.sample_rate),
        )
        if known is not None:
            timing = Timing.from_json(known, len(slots))
            least = turn_of(networks, self.sample_rate, self._at_once, fallback)
            if not (least <= timing.turn <= LONGEST_TURN and delay <= timing.delay <= PAST // 4):
                raise ValueError("timing: made for another bank or session rate")
            if timing.ahead != ahead:
                raise ValueError("timing: made for another bank or session rate")
            return timing
        costs = [(measured[k].together, measured[k].prime) for k in range(len(slots))]
        made = make_timing(
            with_partners(costs, self._partners, dict(enumerate(costs))),
            [slot.config.sample_rate for slot in slots],
            sample_rate=self.sample_rate,
            voices=self.voices,
            ring_frames=self.ring_frames,
            turn=self._turn,
            delay=delay,
            ahead=ahead,
        )
        return replace(made, cost_us=tuple(costs))

    def _cost(self, slot: Slot, gain: float = 1.0) -> Cost:
        """What ``slot`` costs; ``gain``: times what is measured, where helpers cannot be there while it is."""
        together, prime = measure(slot, self.voices)
        alone = together if self.voices == 1 else min(together, measure_playing(slot, 1))
        return Cost(gain * alone, gain * together, self.voices, gain * prime)

    def _measured(
        self,
        slots: Sequence[Slot],
        start: Sequence[int],
        threads: int | None,
        raised: Callable[[], object] | None,
    ) -> dict[int, Cost]:
        """What the slots cost, with ``threads`` in all or as many as are worth it, whose helpers are there then."""
        if self._offline or threads == 1:
            return {k: self._cost(slot) for k, slot in enumerate(slots)}

        def need(costs: dict[int, Cost]) -> float:
            """us a session sample of what the set begins with, or may come to without another patch."""
            whole = held(costs, dict(enumerate(slots)), start, self._partners, self.sample_rate)
            return 1e6 / self.sample_rate / whole.realtime if whole else 0.0

        costs, self._helpers, self._gain = with_helpers(
            slots, self._cost, need, 1e6 / self.sample_rate, threads, raised
        )
        return costs

    def _least_ring(self, costs: Mapping[int, Cost]) -> int:
        """Frames that last while a GPU makes a turn, if one does: all of a launch, before there is any of it."""
        if not self._at_once or not costs:
            return 0
        taken = self._turn * max(cost.together for cost in costs.values()) * self.sample_rate / 1e6
        return self.block + self._turn + min(self._turn, math.ceil(taken))

    def _make_memory(
        self, start: Sequence[int], parameters: Sequence[Sequence[float]] | None
    ) -> dict[str, NDArray[Any]]:
        """Everything a CORE leads to, by the name of its address there; written once, so that no page is new later."""
        shared = self.link.shared
        made: dict[str, NDArray[Any]] = {
            "words": shared.words,
            "samples": shared.samples,
            "past": np.full((self._rows, 2, PAST), 0.0, np.float32),
            **self.table.addresses(),
            "voice_memory": np.tile(
                make_voices(start, self._grown(parameters), self._partners), self._rows // self.voices
            ),
            "deck_memory": np.tile(make_decks(start), self._rows // self.voices),
            "glide_memory": make_glides(self.voices, parameters),
            "modulation_memory": make_modulations(self.voices),
            "loop_memory": np.zeros(self.voices, LOOP),
            "anchor_memory": np.zeros(self._rows * STEPS, ANCHOR),
            "header_memory": np.zeros((self.voices, HEADER_WORDS), np.int64),
            "out": np.full((MAX_TURN, 2), 0.0, np.float32),
            "times": np.zeros(TIMES, np.int64),
        }
        made |= {name: np.zeros(PENDING + 1, COMMAND) for name in ("front", "later")}
        made |= {name: np.full(MAX_TURN, 0.0) for name in ("left", "right")}
        return made | make_pairs(int(shared.words[W_CHANNELS]) // 2) | make_shapes(self._rows, self.sample_rate)

    @property
    def _rows(self) -> int:
        """Voices, and their right sides if there are any (see ``instrument.audio.state``)."""
        return self.voices * (1 + bool(self._stereo))

    def _grown(self, parameters: Sequence[Sequence[float]] | None) -> list[int]:
        """The epoch that each voice's maturity means at the start."""
        last = self._bank - 1
        return [int(row[MATURITY] * last + 0.5) for row in starting_values(self.voices, parameters)]

    def _mean_entropy(self) -> list[float]:
        """Bits a sample of each voice, over the time it played."""
        voices = self._memory["voice_memory"][: self.voices]
        return [float(total / max(1, n)) for total, n in zip(voices["entropy_total"], voices["measured"], strict=True)]

    def _make_core(self) -> NDArray[np.void]:
        core, rate = np.zeros(1, CORE), self.sample_rate
        timing = self._timing
        values: dict[str, float] = {
            "rate": rate,
            "voices": self.voices,
            "stereo": self._stereo,
            "slots": self._bank,
            "room": self.table.room,
            "top": max(self.table.slots) + 1,
            "fallback": self.fallback,
            "turn": timing.turn,
            "delay": timing.delay,
            "mix": -timing.delay,
            "ahead": timing.ahead,
            "pairs": int(self.link.shared.words[W_CHANNELS]) // 2,
            "hop": max(slot.config.hop for slot in self.slots),
            "nap": self._nap(),
            "offline": int(self._offline),
            "history": int(self._history),
            "closing": self.closing,
            "patience": max(PATIENCE_TURNS * timing.turn, int(PATIENCE_S * rate)),
            "endurance": int(max(ENDURANCE_S * rate, REFILLED * self.ring_frames)),
            **constants(rate),
            "entropy_blend": timing.turn / (timing.turn + SMOOTHED_S * rate),
            "steer_blend": timing.turn / (STEERED_S * rate),
        }
        values |= {name: array.ctypes.data for name, array in self._memory.items()}
        stirred = [slot.program for slot in self.slots if slot.program.stir and not self._offline]
        if stirred:
            values |= {"stir": stirred[0].stir, "stirred": stirred[0].stirred}
        for name, value in values.items():
            core[name] = value
        return core

    def _nap(self) -> int:
        """Microseconds to sleep when the ring is full: a quarter of a block, or of what it then holds beyond one."""
        frames = min(self.block, self.ring_frames - self.block)
        return int(np.clip(0.25e6 * frames / self.sample_rate, 50, 1000))


def _signed(mask: int) -> int:
    """Of 64 bits, as compiled code takes them."""
    return mask - (1 << 64) if mask >> 63 else mask


def _turn_in(timing: Mapping[str, Any]) -> int:
    """An earlier set's turn, checked later with the rest of it."""
    turn = timing.get("turn")
    return turn if isinstance(turn, int) and SHORTEST_TURN <= turn <= LONGEST_TURN else SHORTEST_TURN


def _check(
    slots: Sequence[Slot],
    programs: int,
    voices: int,
    start: Sequence[int],
    sample_rate: int,
    ring_frames: int,
    block: int,
    channels: int,
) -> None:
    if not programs:
        raise ValueError("slots: none: a bank of at least one network expected")
    if not 1 <= voices <= MAX_VOICES:
        raise ValueError(f"voices: {voices}: 1 to {MAX_VOICES} expected")
    if not 8000 <= sample_rate <= 384_000:
        raise ValueError(f"sample_rate: {sample_rate}: 8000 to 384000 Hz expected")
    if not 1 <= block <= 1 << 16 or not 1 <= ring_frames <= 1 << 20:
        raise ValueError(f"ring_frames, block: {ring_frames}, {block}: up to a million and 65536 frames expected")
    if channels not in range(2, MAX_CHANNELS + 1, 2):
        raise ValueError(f"channels: {channels}: 2, 4, ... {MAX_CHANNELS} expected")
    if len(start) != voices or not all(0 <= k < programs for k in start):
        raise ValueError(f"start: {list(start)}: a slot from 0 to {programs - 1} for each of {voices} voices expected")
    for slot in slots:
        if slot.program.voices < voices:
            raise ValueError(f"{slot.name or 'slot'}: {slot.program.voices} lanes: {voices} expected")
        if slot.program.stereo != slots[0].program.stereo:
            raise ValueError(f"{slot.name or 'slot'}: stereo otherwise than {slots[0].name or 'the first'}")
