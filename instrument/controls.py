"""The boundary between whoever plays and the audio path: commands in, events and telemetry out.

Control threads (OSC, MIDI, session) use :class:`Link`. Each ring has one writer and one reader, and no side ever waits
for the other; where what lies is ``instrument.shared``'s, what the numbers do is decided in ``instrument.audio.loop``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numpy.typing import NDArray

from instrument.parameters import PARAMETERS as TABLE
from instrument.shared import (
    NEVER,
    OVERALL,
    PER_VOICE,
    RECORD,
    W_CALLBACKS,
    W_CLOCK,
    W_COMMAND_WRITE,
    W_ENDED,
    W_FLOWING,
    W_PANIC,
    W_RING_READ,
    W_RING_WRITE,
    W_STOP,
    W_TELEMETRY,
    W_VOICES,
    Shared,
    Words,
    get_word,
    pack,
    pop_events,
    pop_tap,
    push_command,
    read_snapshot,
    set_word,
)


class Op(IntEnum):
    """What a command asks for, or an event tells. Commands come back as events when they take effect."""

    SET = 1  # parameter, value, ramp
    SWITCH = 2  # number = bank index, ramp = crossfade, flags & KEEP_STATE
    RESEED = 3  # parameter = 0 learned, 1 zeros, 2 random
    SEED = 4  # number = dice key
    PANIC = 5
    RESUME = 6
    STOP = 7  # ramp = closing fade, 0 for the usual one
    MOMENT = 8  # number = index of a moment in the network's checkpoint
    GROW = 9  # number = checkpoints in the bank from here on: those that lie ready behind it join
    LOOP = 10  # number + value = samples of a pass (value below 1), flags & LENGTH_ONLY
    UNLOOP = 11
    PARTNER = 12  # number = slot whose distribution is blended with the voice's own, -1 none
    LOAD = 13  # number = slot whose descriptor lies ready: it may be switched to from here on
    DROP = 14  # number = slot that is given up; refused while a voice is on it or on its way there
    PARK = 15  # ramp = fade, 0 for the usual one: the voice fades out, and is not generated any more
    WAKE = 16  # the voice begins anew on the slot where it was parked, and fades in
    FAIL = 17  # a GPU is lost: number = the first slot that says nothing from ``at`` on; the others ramp samples later
    MODULATE = 18  # parameter, value = offset from what SET says, ramp
    PRIMED = 20  # event: number = bank index, value = samples it was primed with
    SWITCHED = 21  # event: crossfade begins; number = bank index, ramp = its true length, flags as for SWITCH
    FUSE = 22  # event: parameter = 0 a number that is not finite, 1 runaway level
    TAP_OVERFLOW = 23  # event: number = frames that are zeros in the recording, from ``at``
    ENDED = 24  # event: at = length of the set in samples
    SETTLED = 25  # event: crossfade over, or put there in silence; number = bank index
    EVENTS_LOST = 26  # event: number = events that found no room, the first of ``at``
    BEHIND = 27  # event, once a set: it falls behind, and one voice is all there is; value = share of the time it takes


TEMPERATURE, GAIN, PAN, MUTE, MATURITY, FILTER, DRIVE = range(7)  # codes of the live parameters
LEVEL, OUTPUT, WIDTH, BLEND, VARIATION, ENTROPY = range(7, 13)
PARAMETERS = 13
AHEAD = (TEMPERATURE, MATURITY, BLEND, VARIATION, ENTROPY)  # what the networks look at; the rest is the mix's
OLDEST = 4  # parameters that the first version knew: logs of then have rows of that length
_BY_CODE = sorted(TABLE.values(), key=lambda parameter: parameter.code)
LOWEST = tuple(parameter.low for parameter in _BY_CODE)  # what the loop clips to, by code
HIGHEST = tuple(parameter.high for parameter in _BY_CODE)
DEFAULTS = tuple(parameter.default for parameter in _BY_CODE)
assert [p.code for p in _BY_CODE] == list(range(PARAMETERS))

KEEP_STATE = 1  # SWITCH: keep the recurrent state if the architectures agree
LENGTH_ONLY = 1  # LOOP: another length for a loop there is, from its next pass on
ALREADY = 2  # event: the voice plays that one already
REFUSED = 4  # event: no such voice, slot or parameter, or a value that is no number; nothing was done
OVERTAKEN = 8  # event, with REFUSED: a switch or resume that a panic came before
BY_ITSELF = 16  # event: a PARK that nobody asked for, the set fell behind; value = share of the time that it took


@dataclass(frozen=True)
class Command:
    """One thing to do at one session sample.

    Attributes:
        at: session sample at which it takes effect; a late one takes effect at once and is counted.
        op: see :class:`Op`.
        voice: from 0; -1 is every voice.
        parameter: code of a live parameter (SET, MODULATE), mode (RESEED).
        value: natural units (SET); an offset in them (MODULATE); the part of a sample in a loop's length (LOOP).
        ramp: samples; SET, MODULATE: 0 is the usual glide, 1 an immediate step; SWITCH: crossfade; PARK: fade.
        number: slot (SWITCH, LOAD, DROP), seed (SEED, 64 bits), moment (MOMENT), size of the bank (GROW), samples
            of a pass (LOOP).
        flags: KEEP_STATE (SWITCH), LENGTH_ONLY (LOOP); events also ALREADY, REFUSED, OVERTAKEN, BY_ITSELF.
        late: events only: how many samples after ``at`` was asked for.
        serial: any number; the event of a command carries the same.
    """

    at: int
    op: int
    voice: int = -1
    parameter: int = 0
    value: float = 0.0
    ramp: int = 0
    number: int = 0
    flags: int = 0
    late: float = 0.0
    serial: int = 0


@dataclass(frozen=True)
class Event(Command):
    """What happened; ``at`` is the session sample where it really took effect."""


@dataclass(frozen=True)
class Joined(Event):
    """A GROW that took effect, with the checkpoint that joined: its name in the bank, its file, the file's sha256."""

    name: str = ""
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Loaded(Event):
    """A LOAD that took effect, with its checkpoint, as :class:`Joined` has it, and the rules that hold for its slot.

    Attributes:
        prime_length: samples, at its own rate, that a voice is primed with.
        pairs: for every other slot there was: (slot, prime rate from there, prime rate to there, longest crossfade
            from there, longest crossfade to there), the crossfades in session samples.
    """

    name: str = ""
    path: str = ""
    sha256: str = ""
    prime_length: int = 0
    pairs: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class VoiceTelemetry:
    """One voice, as last heard by the loop. Levels are linear amplitudes of full scale 1.

    Parameters are what they sound like, modulation included. ``entropy`` is in bits, ``looping`` the place in the loop
    (0..1, -1 without one), ``steer`` the factor on the temperature that holds an entropy.
    """

    rms: float = 0.0
    peak: float = 0.0
    temperature: float = 1.0
    gain: float = 0.0
    pan: float = 0.0
    mute: float = 0.0
    slot: int = 0
    phase: int = 0  # 0 playing, 1 priming, 2 crossfading, 3 parked
    entropy: float = 0.0
    looping: float = -1.0
    steer: float = 1.0


@dataclass(frozen=True)
class Telemetry:
    """A consistent picture of the loop, and the callback's counters.

    ``peak`` and ``rms`` are meters of the mix (about 0.3 s), ``sides`` the same, (rms, peak) of left and of right;
    ``peak_total`` and ``rms_total`` are since the start.
    ``load`` is the turn's time over its duration, smoothed; ``hop_us`` are p50, p99 and max of one hop.
    """

    written: int = 0
    read: int = 0
    fill: int = 0
    peak: float = 0.0
    rms: float = 0.0
    sides: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.0, 0.0))
    peak_total: float = 0.0
    rms_total: float = 0.0
    reduction: float = 1.0
    load: float = 0.0
    hop_us: tuple[float, float, float] = (0.0, 0.0, 0.0)
    realtime_factor: float = 0.0
    late: int = 0
    commands: int = 0
    events_lost: int = 0
    tap_lost: int = 0
    fuses: int = 0
    silent: bool = False
    ended: bool = False
    flowing: bool = False
    callbacks: int = 0
    underruns: int = 0
    xruns: int = 0
    short_frames: int = 0
    slips: int = 0
    voices: tuple[VoiceTelemetry, ...] = field(default_factory=tuple)


class Link:
    """The control side's end of the boundary. Any thread; a lock of ours keeps each ring to one writer, one reader.

    The audio path never takes these locks: they only order Python threads among themselves.
    """

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self._words = shared.words
        self._push_lock, self._event_lock, self._tap_lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._records = np.zeros((1024, RECORD), np.int64)
        self._figures = np.zeros(OVERALL + PER_VOICE * int(self._words[W_VOICES]), np.int64)  # the last whole snapshots
        self._clock = np.zeros(2, np.int64)
        self.warm()

    def warm(self) -> None:
        """Compile (or load) everything used here, so that the first gesture waits for nothing."""
        self.telemetry(), self.clock(), self.events()
        set_word(self._words, W_PANIC, 0)
        pop_tap(self._words, self.shared.samples, np.zeros((0, 2), np.float32))
        self._write(Command(0, 0))
        set_word(self._words, W_COMMAND_WRITE, 0)

    def push(self, command: Command) -> bool:
        """Hand a command to the loop; False when the ring is full and it was not taken (try again, or coalesce)."""
        with self._push_lock:
            return self._write(command)

    def _write(self, c: Command) -> bool:
        kind = pack(int(c.op), int(c.voice), int(c.parameter), int(c.flags))
        number = (int(c.number) + (1 << 63)) % (1 << 64) - (1 << 63)
        at = max(-NEVER, min(NEVER, int(c.at)))
        taken: bool = push_command(
            self._words, at, kind, float(c.value), int(c.ramp), number, float(c.late), int(c.serial)
        )
        return taken

    def events(self) -> list[Event]:
        """Everything that happened since the last call, in order, at most 1024 at a time."""
        with self._event_lock:
            count = pop_events(self._words, self._records)
            rows = self._records[:count].copy()
        return [_event(row) for row in rows]

    def telemetry(self) -> Telemetry:
        """The latest picture; wait-free for the loop."""
        words = self._words
        voices = int(words[W_VOICES])
        out = np.zeros_like(self._figures)
        if read_snapshot(words, int(words[W_TELEMETRY]), out):
            self._figures = out
        values = self._figures.view(np.float64)
        written, read = get_word(words, W_RING_WRITE), get_word(words, W_RING_READ)
        return _telemetry(values, voices, written, read, [get_word(words, W_CALLBACKS + i) for i in range(5)], words)

    def clock(self) -> tuple[int, float]:
        """(session sample handed to the device, when: seconds of time.monotonic), both of the latest block.

        The time is 0.0 until something has read a block.
        """
        out = np.zeros_like(self._clock)
        if read_snapshot(self._words, W_CLOCK, out):
            self._clock = out
        sample, moment = self._clock  # one look: another thread may bring the next at any time
        return int(sample), float(moment) * 1e-9

    def panic(self) -> None:
        """Fade to silence behind what the ring holds, and reset every voice; switches and resumes that wait are void.

        Only a command can end the silence, so a panic without one since the last is no news.
        """
        with self._push_lock:
            set_word(self._words, W_PANIC, get_word(self._words, W_COMMAND_WRITE) + 1)

    def stop(self) -> None:
        """Ask for the closing fade, whatever is waiting on the ring; ENDED follows."""
        set_word(self._words, W_STOP, 1)

    def tap(self, frames: NDArray[np.float32]) -> int:
        """Move recorded frames to ``frames`` (n, 2) float32; returns how many there were. One reader thread."""
        with self._tap_lock:
            return int(pop_tap(self._words, self.shared.samples, frames))


def _event(row: NDArray[np.int64]) -> Event:
    fields = np.array([row[1]]).view(np.int16)
    op, voice, parameter, flags = (int(x) for x in fields)
    value, late = row[[2, 5]].view(np.float64)
    return Event(
        int(row[0]), op, voice, parameter, float(value), int(row[3]), int(row[4]), flags, float(late), int(row[6])
    )


def _telemetry(
    values: NDArray[np.float64], voices: int, written: int, read: int, counts: Sequence[int], words: Words
) -> Telemetry:
    v = [float(x) for x in values]
    each = []
    for i in range(voices):
        rms, peak, temperature, gain, pan, mute, slot, phase, *more = v[OVERALL + i * PER_VOICE :][:PER_VOICE]
        each.append(VoiceTelemetry(rms, peak, temperature, gain, pan, mute, int(slot), int(phase), *more[:3]))
    return Telemetry(
        written=int(written),
        read=int(read),
        fill=int(written - read),
        peak=v[0],
        rms=v[1],
        sides=((v[17], v[18]), (v[19], v[20])),
        peak_total=v[2],
        rms_total=v[3],
        reduction=v[4],
        load=v[5],
        hop_us=(v[6], v[7], v[8]),
        realtime_factor=v[9],
        late=int(v[10]),
        commands=int(v[11]),
        events_lost=int(v[12]),
        tap_lost=int(v[13]),
        fuses=int(v[14]),
        silent=v[15] != 0.0,
        ended=get_word(words, W_ENDED) != 0,
        flowing=get_word(words, W_FLOWING) != 0,
        callbacks=int(counts[0]),
        underruns=int(counts[1]),
        xruns=int(counts[2]),
        short_frames=int(counts[3]),
        slips=int(counts[4]),
        voices=tuple(each),
    )
