"""Whoever reads the audio ring: the device's callback, its Python fallback, and a clock with no device behind it.

The compiled callback runs on the device's real-time thread without the interpreter: it copies, fades to silence when
the ring is short and back in, publishes (read index, time) and counts; nothing else. Its state is in the shared words,
whose address arrives through PortAudio's ``userData``, so that it stays cacheable. Opening streams is left to
``outputs``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
import numpy as np
from numba import carray, cfunc, njit, types
from numpy.typing import NDArray

from instrument.audio.memory import monotonic_ns, pointer_to, this_thread, usleep
from instrument.controls import Link
from instrument.shared import (
    CLOCK,
    DEVICE,
    HEADER,
    W_CALLBACKS,
    W_CHANNELS,
    W_CLOCK,
    W_CLOCK_STOP,
    W_COMPLAINT,
    W_DYING,
    W_ENDED,
    W_FADE,
    W_FLOWING,
    W_LAST,
    W_LAST_CLAIM,
    W_RATE,
    W_RING,
    W_RING_MASK,
    W_RING_READ,
    W_RING_WRITE,
    W_SHORT,
    W_SLIPS,
    W_TAP,
    W_TAP_FRAMES,
    W_UNDERRUNS,
    W_XRUNS,
    Shared,
    bits_of,
    end_turn,
    float_of,
    get_word,
    load_acquire,
    make_shared,
    store_release,
    take_turn,
)

SEAT = 4  # words
FADE_FRAMES = 128  # in and out of a shortage
OUTPUT_UNDERFLOW = 4  # paOutputUnderflow
_DYING = 0.96  # of the last sample's level, each frame of a shortage
_LATE_BLOCKS = 2  # a null clock this late has been asleep, as a device would have lost that time


@njit(cache=True, nogil=True, error_model="numpy")
def serve(words: NDArray[np.int64], samples: NDArray[np.float32], out: NDArray[np.float32], frames: int) -> int:
    """Fill ``out`` (flat, interleaved, of any number of channels) with ``frames`` frames. Returns how many it lacked.

    Before the ring was full once, it is silence that nobody misses. A shortage lets the last sample die away; what
    follows fades in over FADE_FRAMES on top of that. Channels that the ring lacks are silent.
    """
    read: int = load_acquire(words, W_RING_READ)
    clock(words, read, frames)
    there = 0
    if load_acquire(words, W_FLOWING) != 0:
        there = min(frames, load_acquire(words, W_RING_WRITE) - read)
    outs = out.shape[0] // max(1, frames)
    for c in range(outs):
        if c < words[W_CHANNELS]:
            copy(words, samples, out, read, there, c, outs)
            fall_silent(words, out, there, frames, c, outs)
        else:
            for i in range(frames):
                out[outs * i + c] = 0.0
    words[W_FADE] = bits_of(0.0 if there < frames else min(1.0, float_of(words[W_FADE]) + there / FADE_FRAMES))
    store_release(words, W_RING_READ, read + there)
    return frames - there


@njit(cache=True, nogil=True, error_model="numpy")
def copy(
    words: NDArray[np.int64],
    samples: NDArray[np.float32],
    out: NDArray[np.float32],
    read: int,
    count: int,
    c: int,
    outs: int,
) -> None:
    """``count`` frames of channel c out of the ring, fading in on top of what is still dying away."""
    last, away, gain = float_of(words[W_LAST + c]), float_of(words[W_DYING + c]), float_of(words[W_FADE])
    channels, mask = words[W_CHANNELS], words[W_RING_MASK]
    for i in range(count):
        gain = min(1.0, gain + 1.0 / FADE_FRAMES)
        away = dying(away)
        last = samples[words[W_RING] + channels * ((read + i) & mask) + c] * gain + away
        out[outs * i + c] = last
    words[W_LAST + c], words[W_DYING + c] = bits_of(last), bits_of(away)


@njit(cache=True, nogil=True, error_model="numpy")
def dying(x: float) -> float:
    """One frame later; nothing once inaudible (no denormals)."""
    return x * _DYING if abs(x) > 1e-7 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def fall_silent(words: NDArray[np.int64], out: NDArray[np.float32], first: int, frames: int, c: int, outs: int) -> None:
    """Frames ``first`` to ``frames`` of channel c: its last sample dies away."""
    if first >= frames:
        return
    away = float_of(words[W_LAST + c])
    for i in range(first, frames):
        away = dying(away)
        out[outs * i + c] = away
    words[W_LAST + c] = words[W_DYING + c] = bits_of(away)


@njit(cache=True, nogil=True, error_model="numpy")
def begin_silent(words: NDArray[np.int64]) -> None:
    """Nothing has sounded yet."""
    for i in range(HEADER - W_FADE):
        words[W_FADE + i] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def clock(words: NDArray[np.int64], read: int, frames: int) -> None:
    """Publish which session sample is being handed over, and when (a seqlock)."""
    sequence: int = load_acquire(words, W_CLOCK)
    store_release(words, W_CLOCK, sequence + 1)
    store_release(words, W_CLOCK + 1, read)
    store_release(words, W_CLOCK + 2, monotonic_ns())
    store_release(words, W_CLOCK + 3, frames)
    store_release(words, W_CLOCK, sequence + 2)


@njit(cache=True, nogil=True, error_model="numpy")
def serve_counted(
    words: NDArray[np.int64], samples: NDArray[np.float32], out: NDArray[np.float32], frames: int, status: int
) -> None:
    """:func:`serve`, counting: callbacks, those that came short while the set was playing, the driver's complaints."""
    ended: int = load_acquire(words, W_ENDED)
    flowing: int = load_acquire(words, W_FLOWING)
    short = serve(words, samples, out, frames)
    count(words, W_CALLBACKS, 1)
    if short > 0 and flowing != 0 and ended == 0:
        count(words, W_UNDERRUNS, 1)
        count(words, W_SHORT, short)
    if status & OUTPUT_UNDERFLOW:
        complain(words, frames)


@njit(cache=True, nogil=True, error_model="numpy")
def complain(words: NDArray[np.int64], frames: int) -> None:
    """Count an xrun once: PortAudio repeats it for every block of one period of the driver, without a pause between."""
    now: int = monotonic_ns()
    if now - load_acquire(words, W_COMPLAINT) > frames * 500_000_000 // words[W_RATE]:
        count(words, W_XRUNS, 1)
    store_release(words, W_COMPLAINT, now)


@njit(cache=True, nogil=True, error_model="numpy")
def serve_in_turn(
    words: NDArray[np.int64],
    samples: NDArray[np.float32],
    out: NDArray[np.float32],
    frames: int,
    status: int,
    claim: int,
) -> None:
    """:func:`serve_counted` if the ring is this reader's, else silence: a device given up for lost may still call.

    Whoever takes the ring over begins from silence: what sounded last did so elsewhere.
    """
    if take_turn(words, claim):
        if words[W_LAST_CLAIM] != claim:
            words[W_LAST_CLAIM] = claim
            begin_silent(words)
        serve_counted(words, samples, out, frames, status)
        end_turn(words, claim)
    else:
        for i in range(out.shape[0]):
            out[i] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def count(words: NDArray[np.int64], index: int, more: int) -> None:
    """Add to a counter of which this thread is the one writer."""
    store_release(words, index, load_acquire(words, index) + more)


_SIGNATURE = types.int32(
    types.voidptr, types.voidptr, types.ulong, types.voidptr, types.ulong, types.voidptr
)  # PaStreamCallback


@cfunc(_SIGNATURE, cache=True, error_model="numpy")
def native_callback(_input: Any, output: Any, frames: Any, _time: Any, status: Any, user: Any) -> int:
    """PortAudio's callback: interleaved channels of float32. ``user`` is a :class:`Seat`'s address."""
    seat = carray(user, (SEAT,), np.int64)
    if seat[2] == 0:
        store_release(seat, 2, this_thread())
    memory = pointer_to(seat[0])
    header = carray(memory, (HEADER,), np.int64)
    size = header[W_TAP] // 2 + header[W_TAP_FRAMES]
    words = carray(memory, (size,), np.int64)
    samples = carray(memory, (2 * size,), np.float32)
    out = carray(output, (seat[3] * frames,), np.float32)
    serve_in_turn(words, samples, out, np.int64(frames), np.int64(status), seat[1])
    return 0


@dataclass(frozen=True)
class Seat:
    """What the native callback of one stream wants as ``userData``; the stream keeps it, for as long as it may call.

    Attributes:
        shared: the memory it reads.
        words: address of word 0 of that memory, claim, the system's id of the thread that calls, the stream's channels.
    """

    shared: Shared
    words: NDArray[np.int64]

    @property
    def address(self) -> int:
        """For ``userData``."""
        return int(self.words.ctypes.data)

    @property
    def thread(self) -> int:
        """The id of the thread that calls; 0 before it has, and where that is not known."""
        return max(0, int(get_word(self.words, 2)))


def make_seat(shared: Shared, claim: int = DEVICE, channels: int = 2) -> Seat:
    """A seat of its own for every stream: one that was left behind may call at any time."""
    return Seat(shared, np.array([shared.words.ctypes.data, claim, 0, channels], np.int64))


def python_callback(shared: Shared, claim: int = DEVICE) -> Callable[[Any, int, Any, Any], None]:
    """The fallback, for ``sounddevice.OutputStream``: the same, entered through the interpreter."""

    def callback(outdata: NDArray[np.float32], frames: int, _time: Any, status: Any) -> None:
        complaint = OUTPUT_UNDERFLOW if status and status.output_underflow else 0
        serve_in_turn(shared.words, shared.samples, outdata.reshape(-1), frames, complaint, claim)

    # compile, or load, here and not on the device's thread; with memory of its own, for the ring may be another's
    scratch = make_shared(1, 44100, 8, 8)
    serve_in_turn(scratch.words, scratch.samples, np.zeros(0, np.float32), 0, 0, claim)
    return callback


@njit(cache=True, nogil=True, error_model="numpy")
def keep_time(words: NDArray[np.int64], samples: NDArray[np.float32], out: NDArray[np.float32], block: int) -> None:
    """Read a block each time one is due until told to stop. Deadlines are absolute, so that nothing drifts.

    When it comes later than a device could have waited, it counts a slip and starts its time anew instead of reading
    several blocks at once.
    """
    rate = words[W_RATE]
    begun: int = monotonic_ns()
    blocks = 0
    while load_acquire(words, W_CLOCK_STOP) == 0:
        due = begun + (blocks * block * 1_000_000_000) // rate
        wait = due - monotonic_ns()
        if wait > 0:
            usleep(min(wait // 1000 + 1, 100_000))
            continue
        if -wait * rate > _LATE_BLOCKS * block * 1_000_000_000:
            count(words, W_SLIPS, 1)
            begun = monotonic_ns()
            blocks = 0
        serve_in_turn(words, samples, out, block, 0, CLOCK)
        blocks += 1


class NullClock:
    """A clock that reads the ring at the session's pace: for ``null`` and file outputs, and while a device is lost.

    ``start`` and ``stop`` may be called from any control thread; the clock's own thread runs compiled code only.
    """

    def __init__(self, link: Link, block: int, on_thread: Callable[[], None] | None = None) -> None:
        self._shared = link.shared
        self._block = block
        self._on_thread = on_thread
        self._thread: threading.Thread | None = None
        self._out = np.zeros(int(self._shared.words[W_CHANNELS]) * block, np.float32)
        self._run(stopped=True)

    @property
    def running(self) -> bool:
        """Whether the clock's thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to read, once the ring is the clock's or nobody's."""
        if not self.running:
            self._shared.words[W_CLOCK_STOP] = 0
            self._thread = threading.Thread(target=self._main, name="null-clock")
            self._thread.start()

    def stop(self) -> None:
        """Stop and join; at most about a block later."""
        self._shared.words[W_CLOCK_STOP] = 1
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def _main(self) -> None:
        if self._on_thread is not None:
            self._on_thread()
        self._run()

    def _run(self, stopped: bool = False) -> None:
        if stopped:
            self._shared.words[W_CLOCK_STOP] = 1  # compile, or load, without reading anything
        keep_time(self._shared.words, self._shared.samples, self._out, self._block)
