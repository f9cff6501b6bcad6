"""The boundary between whoever plays and the audio path: commands in, events and telemetry out.

Shared memory of numbers and offsets only. Control threads (OSC, MIDI, session) use :class:`Link`; the render loop and
the device's callback use the compiled functions below on the same words. Each ring has one writer and one reader,
and no side ever waits for the other. What the numbers do is decided in ``instrument.audio.loop``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from instrument.parameters import PARAMETERS as TABLE

Words = NDArray[np.int64]
_intrinsic: Any = intrinsic  # its stub types the compiler's side of the function, not the caller's
_make_array: Any = make_array


class Op(IntEnum):
    """What a command asks for, or an event tells. Commands come back as events when they take effect."""

    SET = 1  # parameter, value, ramp
    SWITCH = 2  # number = bank index, ramp = crossfade, flags & KEEP_STATE
    RESEED = 3  # parameter = 0 learned, 1 zeros, 2 random
    SEED = 4  # number = dice key
    PANIC = 5
    RESUME = 6
    STOP = 7  # ramp = closing fade, 0 for the usual one
    PRIMED = 20  # event: number = bank index, value = samples it was primed with
    SWITCHED = 21  # event: crossfade begins; number = bank index, ramp = its true length, flags as for SWITCH
    FUSE = 22  # event: parameter = 0 a number that is not finite, 1 runaway level
    TAP_OVERFLOW = 23  # event: number = frames that are zeros in the recording, from ``at``
    ENDED = 24  # event: at = length of the set in samples
    SETTLED = 25  # event: crossfade over, or put there in silence; number = bank index
    EVENTS_LOST = 26  # event: number = events that found no room, the first of ``at``


TEMPERATURE, GAIN, PAN, MUTE = range(4)  # codes of the live parameters
PARAMETERS = 4
_BY_CODE = sorted(TABLE.values(), key=lambda parameter: parameter.code)
LOWEST = tuple(parameter.low for parameter in _BY_CODE)  # what the loop clips to, by code
HIGHEST = tuple(parameter.high for parameter in _BY_CODE)
DEFAULTS = tuple(parameter.default for parameter in _BY_CODE)
assert [(p.name, p.code) for p in _BY_CODE] == [("temperature", 0), ("gain", 1), ("pan", 2), ("mute", 3)]

KEEP_STATE = 1  # SWITCH: keep the recurrent state if the architectures agree
ALREADY = 2  # event: the voice plays that one already
REFUSED = 4  # event: no such voice, slot or parameter, or a value that is no number; nothing was done
OVERTAKEN = 8  # event, with REFUSED: a switch or resume that a panic came before


@dataclass(frozen=True)
class Command:
    """One thing to do at one session sample.

    Attributes:
        at: session sample at which it takes effect; a late one takes effect at once and is counted.
        op: see :class:`Op`.
        voice: from 0; -1 is every voice.
        parameter: code of a live parameter (SET), mode (RESEED).
        value: natural units (SET).
        ramp: samples; SET: 0 is the usual glide, 1 an immediate step; SWITCH: crossfade.
        number: bank index (SWITCH), seed (SEED, 64 bits).
        flags: KEEP_STATE (SWITCH); events also ALREADY, REFUSED, OVERTAKEN.
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
class VoiceTelemetry:
    """One voice, as last heard by the loop. Levels are linear amplitudes of full scale 1."""

    rms: float = 0.0
    peak: float = 0.0
    temperature: float = 1.0
    gain: float = 0.0
    pan: float = 0.0
    mute: float = 0.0
    slot: int = 0
    phase: int = 0  # 0 playing, 1 priming, 2 crossfading


@dataclass(frozen=True)
class Telemetry:
    """A consistent picture of the loop, and the callback's counters.

    ``peak`` and ``rms`` are meters of the mix (about 0.3 s); ``peak_total`` and ``rms_total`` are since the start.
    ``load`` is the turn's time over its duration, smoothed; ``hop_us`` are p50, p99 and max of one hop.
    """

    written: int = 0
    read: int = 0
    fill: int = 0
    peak: float = 0.0
    rms: float = 0.0
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


# --- shared memory: where what lies, in words of 8 bytes. An index or flag has a cache line (8 words) of its own,
# because it has one writer and the other side polls it.

W_VOICES, W_RATE, W_COMMANDS, W_EVENTS, W_TELEMETRY = 0, 1, 2, 3, 4  # W_COMMANDS ... : offsets in words
W_RING, W_RING_MASK, W_RING_FRAMES = 5, 6, 7  # offset in float32, memory frames - 1, frames it may hold
W_TAP, W_TAP_FRAMES, W_TAP_OPEN, W_OFFLINE = 8, 9, 10, 11
W_COMMAND_WRITE, W_COMMAND_READ = 16, 24
W_EVENT_WRITE, W_EVENT_READ = 32, 40
W_RING_WRITE, W_RING_READ = 48, 56
W_TAP_WRITE, W_TAP_READ = 64, 72
W_PANIC, W_STOP, W_HORIZON = 80, 88, 96  # W_PANIC: commands pushed before the latest panic, plus 1
W_FLOWING, W_ENDED, W_CLOCK_STOP = 112, 120, 136
W_CLOCK = 144  # sequence, read index, monotonic ns, frames of the block
W_CALLBACKS, W_UNDERRUNS, W_XRUNS, W_SHORT, W_SLIPS = 152, 153, 154, 155, 156  # written by the reader of the ring
W_COMPLAINT = 157  # monotonic ns of the driver's last complaint, by the same
W_CALLBACK_STATE = 160  # floats: last left and right, what of them is dying away, gain of the fade in
W_LAST_CLAIM = 165  # whose state that is
W_READER = 168  # who may read the ring: twice a claim, plus 1 while it is reading (see take_turn)
HEADER = 176

COMMAND_SLOTS, EVENT_SLOTS, RECORD = 1024, 8192, 8
OVERALL, PER_VOICE = 24, 8  # telemetry: floats of the whole, floats of each voice
NEVER = 1 << 62


@dataclass(frozen=True)
class Shared:
    """The memory itself: one block, seen as integers, float64 and float32."""

    words: Words
    samples: NDArray[np.float32]


def make_shared(voices: int, rate: int, ring_frames: int, tap_frames: int) -> Shared:
    """Lay out and zero the block. ``tap_frames`` is rounded up to a power of two, the ring's memory too."""
    commands = HEADER
    events = commands + COMMAND_SLOTS * RECORD
    telemetry = events + EVENT_SLOTS * RECORD
    ring = telemetry + 8 + _lines(OVERALL + PER_VOICE * voices)
    ring_memory, tap_memory = _power_of_two(ring_frames), _power_of_two(tap_frames)
    tap = ring + ring_memory  # a stereo frame of float32 is one word
    raw = np.zeros(tap + tap_memory + 8, np.int64)
    skip = (-raw.ctypes.data // 8) % 8
    words = raw[skip : skip + tap + tap_memory]
    words[W_VOICES], words[W_RATE] = voices, rate
    words[W_COMMANDS], words[W_EVENTS], words[W_TELEMETRY] = commands, events, telemetry
    words[W_RING], words[W_RING_MASK], words[W_RING_FRAMES] = 2 * ring, ring_memory - 1, ring_frames
    words[W_TAP], words[W_TAP_FRAMES] = 2 * tap, tap_memory
    words[W_HORIZON] = NEVER
    return Shared(words, words.view(np.float32))


def _lines(words: int) -> int:
    return -(-words // 8) * 8


def _power_of_two(n: int) -> int:
    return 1 << max(3, (n - 1).bit_length())


# --- atomics: numba has none on the CPU, and LLVM hoists a plain load out of a loop that waits for it. ``words`` is an
# array of int64, or its address (which is cheaper to hand through many functions).


def _word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Pointer to words[index]; the first two arguments of an intrinsic."""
    if isinstance(signature.args[0], types.Array):
        data = _make_array(signature.args[0])(context, builder, args[0]).data
    else:
        data = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
    return builder.gep(data, [args[1]])


@_intrinsic
def load_acquire(_context: Any, words: Any, index: Any) -> Any:
    """``words[index]``, ordered before whatever follows. Index unchecked."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, signature, args), "acquire", 8)

    return types.int64(words, types.intp), codegen


@_intrinsic
def store_release(_context: Any, words: Any, index: Any, value: Any) -> Any:
    """``words[index] = value``, ordered after whatever came before. Index unchecked."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(context, builder, signature, args), "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), codegen


@_intrinsic
def compare_exchange(_context: Any, words: Any, index: Any, expected: Any, value: Any) -> Any:
    """Store ``value`` if ``words[index]`` is ``expected``, in one step. Returns whether it was. Index unchecked."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.gep(data, [args[1]])
        return builder.extract_value(builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire"), 1)

    return types.boolean(words, types.intp, types.int64, types.int64), codegen


@_intrinsic
def put_word(_context: Any, words: Any, index: Any, value: Any) -> Any:
    """``words[index] = value``, plainly. Index unchecked."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _word(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), codegen


@_intrinsic
def bits_of(_context: Any, value: Any) -> Any:
    """The 64 bits of a float64 as an integer."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@_intrinsic
def float_of(_context: Any, bits: Any) -> Any:
    """The float64 whose bits these are."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


# --- rings of records: at, op | voice | parameter | flags (16 bits each), value, ramp, number, late, serial, -


@njit(cache=True, nogil=True, error_model="numpy")
def pack(op: int, voice: int, parameter: int, flags: int) -> int:
    """Four small fields, 16 bits each, in one word."""
    return (op & 0xFFFF) | ((voice & 0xFFFF) << 16) | ((parameter & 0xFFFF) << 32) | ((flags & 0x7FFF) << 48)


@njit(cache=True, nogil=True, error_model="numpy")
def push_command(
    words: Words, at: int, kind: int, value: float, ramp: int, number: int, late: float, serial: int
) -> bool:
    """Control side: append a record, or return False when the ring is full. ``kind`` is from :func:`pack`."""
    write = load_acquire(words, W_COMMAND_WRITE)
    if write - load_acquire(words, W_COMMAND_READ) >= COMMAND_SLOTS:
        return False
    base = words[W_COMMANDS] + (write & (COMMAND_SLOTS - 1)) * RECORD
    put_record(words, base, at, kind, value, ramp, number, late, serial)
    store_release(words, W_COMMAND_WRITE, write + 1)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def put_record(
    words: Any, base: int, at: int, kind: int, value: float, ramp: int, number: int, late: float, serial: int
) -> None:
    """Write the seven used words of a record at ``base``."""
    put_word(words, base, at)
    put_word(words, base + 1, kind)
    put_word(words, base + 2, bits_of(value))
    put_word(words, base + 3, ramp)
    put_word(words, base + 4, number)
    put_word(words, base + 5, bits_of(late))
    put_word(words, base + 6, serial)


@njit(cache=True, nogil=True, error_model="numpy")
def pop_events(words: Words, records: NDArray[np.int64]) -> int:
    """Control side: move waiting events to ``records`` (n, RECORD). Returns how many."""
    read: int = load_acquire(words, W_EVENT_READ)
    count: int = min(load_acquire(words, W_EVENT_WRITE) - read, records.shape[0])
    for i in range(count):
        base = words[W_EVENTS] + ((read + i) & (EVENT_SLOTS - 1)) * RECORD
        for j in range(RECORD):
            records[i, j] = words[base + j]
    store_release(words, W_EVENT_READ, read + count)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def pop_tap(words: Words, samples: NDArray[np.float32], frames: NDArray[np.float32]) -> int:
    """Disk side: move frames of the final mix to ``frames`` (n, 2). Returns how many."""
    read: int = load_acquire(words, W_TAP_READ)
    count: int = min(load_acquire(words, W_TAP_WRITE) - read, frames.shape[0])
    mask = words[W_TAP_FRAMES] - 1
    for i in range(count):
        place = words[W_TAP] + 2 * ((read + i) & mask)
        frames[i, 0] = samples[place]
        frames[i, 1] = samples[place + 1]
    store_release(words, W_TAP_READ, read + count)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def read_snapshot(words: Words, base: int, out: NDArray[np.int64]) -> bool:
    """A seqlock's reader: copy what follows ``words[base]`` to ``out``; False after 100 torn tries.

    Every word is loaded with acquire and stored with release, so the sequence number cannot slip past the data on
    a machine that reorders.
    """
    for _ in range(100):
        before = load_acquire(words, base)
        for i in range(out.shape[0]):
            out[i] = load_acquire(words, base + 1 + i)
        if before & 1 == 0 and load_acquire(words, base) == before:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def get_word(words: Words, index: int) -> int:
    """One index or flag."""
    value: int = load_acquire(words, index)
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def set_word(words: Words, index: int, value: int) -> None:
    """One flag; only by its one writer."""
    store_release(words, index, value)


# --- who reads the ring: one at a time, also while a lost device gives way to the null clock and back.
# Claims: 0 nobody, CLOCK the null clock, from DEVICE on one for every opened stream, never used twice.

NOBODY, CLOCK, DEVICE = 0, 1, 2


@njit(cache=True, nogil=True, error_model="numpy")
def take_turn(words: Words, claim: int) -> bool:
    """Reader, before every block: False if the ring is another's: play silence. Nobody's ring is for the taking."""
    taken: bool = compare_exchange(words, W_READER, 2 * claim, 2 * claim + 1)
    if not taken:
        taken = compare_exchange(words, W_READER, 2 * NOBODY, 2 * claim + 1)
    return taken


@njit(cache=True, nogil=True, error_model="numpy")
def end_turn(words: Words, claim: int) -> None:
    """Reader, after every block whose turn it took."""
    store_release(words, W_READER, 2 * claim)


@njit(cache=True, nogil=True, error_model="numpy")
def hand_over(words: Words, old: int, new: int) -> bool:
    """Control side: give the ring to another claim; False while the old one is reading: try again."""
    given: bool = compare_exchange(words, W_READER, 2 * old, 2 * new)
    return given


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
        rms, peak, temperature, gain, pan, mute, slot, phase = v[OVERALL + i * PER_VOICE :][:PER_VOICE]
        each.append(VoiceTelemetry(rms, peak, temperature, gain, pan, mute, int(slot), int(phase)))
    return Telemetry(
        written=int(written),
        read=int(read),
        fill=int(written - read),
        peak=v[0],
        rms=v[1],
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
