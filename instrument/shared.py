"""The memory that whoever plays and the audio path share: what lies where, and the compiled functions that touch it.

Numbers and offsets only. Each ring and each index has one writer; no side ever waits for the other. The render loop
and the device's callback use these functions, and so, through ``instrument.controls``, do the control threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

Words = NDArray[np.int64]
_intrinsic: Any = intrinsic  # its stub types the compiler's side of the function, not the caller's
_make_array: Any = make_array

# --- shared memory: where what lies, in words of 8 bytes. An index or flag has a cache line (8 words) of its own,
# because it has one writer and the other side polls it.

W_VOICES, W_RATE, W_COMMANDS, W_EVENTS, W_TELEMETRY = 0, 1, 2, 3, 4  # W_COMMANDS ... : offsets in words
W_RING, W_RING_MASK, W_RING_FRAMES = 5, 6, 7  # offset in float32, memory frames - 1, frames it may hold
W_TAP, W_TAP_FRAMES, W_TAP_OPEN, W_OFFLINE = 8, 9, 10, 11
W_CHANNELS = 12  # of a frame on the ring
W_COMMAND_WRITE, W_COMMAND_READ = 16, 24
W_EVENT_WRITE, W_EVENT_READ = 32, 40
W_RING_WRITE, W_RING_READ = 48, 56
W_TAP_WRITE, W_TAP_READ = 64, 72
W_PANIC, W_STOP, W_HORIZON = 80, 88, 96  # W_PANIC: commands pushed before the latest panic, plus 1
W_PAIRS = 104  # of channels that whoever reads the ring has
W_FLOWING, W_ENDED, W_CLOCK_STOP = 112, 120, 136
W_CLOCK = 144  # sequence, read index, monotonic ns, frames of the block
W_CALLBACKS, W_UNDERRUNS, W_XRUNS, W_SHORT, W_SLIPS = 152, 153, 154, 155, 156  # written by the reader of the ring
W_COMPLAINT = 157  # monotonic ns of the driver's last complaint, by the same
W_READER = 160  # who may read the ring: twice a claim, plus 1 while it is reading (see take_turn)
W_LAST_CLAIM = 168  # whose state the following is
W_FADE = 169  # float: gain of the fade in
W_LAST, W_DYING = 176, 192  # floats of each channel: the last sample, what of one before is dying away
HEADER = 208

COMMAND_SLOTS, EVENT_SLOTS, RECORD = 1024, 8192, 8
MAX_CHANNELS = 16
OVERALL, PER_VOICE = 24, 16  # telemetry: floats of the whole, floats of each voice
NEVER = 1 << 62


@dataclass(frozen=True)
class Shared:
    """The memory itself: one block, seen as integers, float64 and float32."""

    words: Words
    samples: NDArray[np.float32]


def make_shared(voices: int, rate: int, ring_frames: int, tap_frames: int, channels: int = 2) -> Shared:
    """Lay out and zero the block. ``tap_frames`` is rounded up to a power of two, the ring's memory too.

    A frame of the ring has ``channels`` (even, at most MAX_CHANNELS); the tap is stereo.
    """
    commands = HEADER
    events = commands + COMMAND_SLOTS * RECORD
    telemetry = events + EVENT_SLOTS * RECORD
    ring = telemetry + 8 + _lines(OVERALL + PER_VOICE * voices)
    ring_memory, tap_memory = _power_of_two(ring_frames), _power_of_two(tap_frames)
    tap = ring + ring_memory * channels // 2  # two channels of float32 are one word
    raw = np.zeros(tap + tap_memory + 8, np.int64)
    skip = (-raw.ctypes.data // 8) % 8
    words = raw[skip : skip + tap + tap_memory]
    words[W_VOICES], words[W_RATE] = voices, rate
    words[W_COMMANDS], words[W_EVENTS], words[W_TELEMETRY] = commands, events, telemetry
    words[W_RING], words[W_RING_MASK], words[W_RING_FRAMES] = 2 * ring, ring_memory - 1, ring_frames
    words[W_TAP], words[W_TAP_FRAMES] = 2 * tap, tap_memory
    words[W_CHANNELS], words[W_PAIRS] = channels, channels // 2
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
