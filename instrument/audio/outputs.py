"""Where a set goes: a sound device, a clock with nothing behind it, or a file.

`choose` runs on the main thread before anything compiles; `start` and `stop` on the session's thread. The sound itself
is fetched by compiled code (`callback`). What happens when a device is lost is in `supervisor`; what a file contains
is the recorder's, who is told by `files`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from instrument.audio import devices, portaudio
from instrument.audio.devices import Device
from instrument.audio.soundfiles import check_path, is_sound_file

if TYPE_CHECKING:
    from instrument.audio.callback import NullClock
    from instrument.audio.supervisor import Supervisor
    from instrument.controls import Link

FALLBACK_SECONDS = 30.0  # how long `auto` plays into a file when it has no device

Say = Callable[[str], None]


class Output(Protocol):
    """A place for the sound.

    name: for the report and the status line.
    rate: Hz that it dictates to the session; None: any.
    seconds: how long to play when nobody says; None: until interrupted.
    files: what a recorder has to write for this output, if anything.
    latency: seconds the driver adds to our own, as far as it says; known once started.
    """

    name: str
    rate: int | None
    seconds: float | None
    files: list[Path]
    latency: float

    def start(self, link: Link, sample_rate: int) -> None:
        """Begin to read the ring. Raises ValueError with one line when a device does not open."""
        ...

    def stop(self) -> None:
        """No more reading after this. Safe to call again, and before `start`."""
        ...


class ClockOutput:
    """`null` and files: a compiled clock reads the ring at the session's pace; nothing or a recorder is behind it."""

    def __init__(self, block: int, path: Path | None = None, seconds: float | None = None) -> None:
        self.name = str(path) if path else "null"
        self.rate: int | None = None
        self.seconds = seconds
        self.files = [path] if path else []
        self.latency = 0.0
        self._block = block
        self._clock: NullClock | None = None

    def start(self, link: Link, sample_rate: int) -> None:
        """Start the clock's thread."""
        self._clock = make_clock(link, self._block)
        self._clock.start()

    def stop(self) -> None:
        """Stop and join it."""
        if self._clock is not None:
            self._clock.stop()


class DeviceOutput:
    """A sound device, with the null clock behind it in case it is lost."""

    def __init__(self, device: Device, block: int, say: Say) -> None:
        self.device = device
        self.name = device.name
        self.rate: int | None = device.rate
        self.seconds: float | None = None
        self.files: list[Path] = []
        self.latency = device.latency
        self._block, self._say = block, say
        self._supervisor: Supervisor | None = None

    def start(self, link: Link, sample_rate: int) -> None:
        """Open the device, and watch over it."""
        from instrument.audio.supervisor import Supervisor

        self._supervisor = Supervisor(self.device, link, sample_rate, self._block, self._say)
        self.latency = self._supervisor.start()

    def stop(self) -> None:
        """Close the device, or the clock that has taken its place."""
        if self._supervisor is not None:
            self._supervisor.stop()


def make_clock(link: Link, block: int) -> NullClock:
    """The compiled clock, on a thread as much favoured as the render loop's."""
    from instrument.audio.callback import NullClock
    from instrument.audio.priority import raise_priority

    return NullClock(link, block, on_thread=lambda: _ignore(raise_priority(above=1)))


def _ignore(_: object) -> None:
    """A thread's hook returns nothing."""


def choose(name: str, block: int, say: Say, seconds: float | None = None) -> Output:
    """The output that `--output` names: auto, null, a file ending in .wav or .flac, or a device.

    `auto` without a device says so and plays `seconds` (default 30) into a new file. Raises ValueError, one line, for
    a device that is not there or does not do stereo, and for a file that cannot be written.
    """
    if name == "auto":
        return _auto(block, say, seconds)
    if name == "null":
        return ClockOutput(block)
    if is_sound_file(name):
        return ClockOutput(block, check_path(Path(name)))
    device = devices.choose(name)
    portaudio.check(device.index, device.rate)
    return DeviceOutput(device, block, say)


def _auto(block: int, say: Say, seconds: float | None) -> Output:
    try:
        device = devices.choose("default")
        portaudio.check(device.index, device.rate)
    except ValueError as reason:
        length = FALLBACK_SECONDS if seconds is None else seconds
        path = _new_file()
        say(f"{reason}; playing {length:g} s in real time into {path}")
        return ClockOutput(block, path, length)
    return DeviceOutput(device, block, say)


def _new_file() -> Path:
    """A name nothing bears yet, here or, where nothing may be written, in the folder for temporary files."""
    stem = time.strftime("samplernn-%Y%m%d-%H%M%S")
    for folder in (Path(), Path(tempfile.gettempdir())):
        names = (folder / f"{stem}{'-' * (i > 0)}{i or ''}.wav" for i in range(1000))
        path = next(path for path in names if not path.exists())
        try:
            return check_path(path)
        except ValueError:
            continue
    return check_path(path)
