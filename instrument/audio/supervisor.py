"""Keeps a set going when its sound device is lost, and brings the device back.

A control thread of its own looks every 50 ms whether the callback is still called. When it has not been for 200 ms the
null clock takes over reading the ring; the device is then sought by name about every second, PortAudio's list being
read anew, and fades in when it is there. The ring goes from hand to hand by claims (`shared.take_turn`), so that a
callback which wakes late finds it taken and plays silence. All opening and closing happens here, off the audio path.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from instrument.audio import devices, portaudio
from instrument.audio.callback import make_seat, native_callback, python_callback
from instrument.audio.devices import Device
from instrument.audio.outputs import Say, make_clock
from instrument.audio.priority import raise_thread
from instrument.controls import Link
from instrument.shared import CLOCK, DEVICE, NOBODY, W_CALLBACKS, W_CHANNELS, W_PAIRS, get_word, hand_over, set_word

LOOK = 0.05  # seconds between two looks
LOST = 0.2  # seconds without a callback: the device is lost
PATIENCE = 2.0  # seconds for the first callback; and for a Python callback, which waits for the interpreter
RETRY = 1.0  # seconds between two tries to reopen


class Watch:
    """Tells a callback that is no longer called by its count."""

    def __init__(self, limit: float, count: int, now: float) -> None:
        """`limit` in seconds; the first callback may take PATIENCE."""
        self._limit, self._count, self._seen = limit, count, now + max(0.0, PATIENCE - limit)

    def stalled(self, count: int, now: float) -> bool:
        """Whether `count` has stood still for longer than the limit."""
        if count != self._count:
            self._count, self._seen = count, now
        return now - self._seen > self._limit


class Supervisor:
    """One device, opened, watched, replaced by a clock and opened again."""

    def __init__(
        self, device: Device, link: Link, rate: int, block: int, say: Say, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._device, self._link, self._rate, self._block, self._say = device, link, rate, block, say
        self._words, self._now = link.shared.words, now
        self._clock = make_clock(link, block)
        self._claim = DEVICE - 1
        self._seat = make_seat(link.shared, self._claim)
        self._channels = int(self._words[W_CHANNELS])
        self._opened = self._channels  # of the stream; fewer are said once
        self._stream: Any = None
        self._favoured = ""  # what priority the callback's thread has; empty: not known yet
        self._lost_at = self._next_try = 0.0
        self._reasons: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device-supervisor", daemon=True)

    def start(self) -> float:
        """Open the device. Returns the driver's latency in seconds. Raises ValueError with one line."""
        try:
            self._open(self._device)
        except ValueError as fault:
            raise ValueError(f"output device {self._device.name!r}: {fault}") from None
        latency = float(self._stream.latency)
        until = time.monotonic() + LOOK
        while not self._favour() and time.monotonic() < until:
            time.sleep(0.001)  # the first callback is due any moment; `look` will see to a late one
        self._thread.start()
        return latency

    def stop(self) -> None:
        """Close whatever plays. Safe to call again, and after a failed `start`."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * portaudio.LIMIT)  # a hanging PortAudio call may hold it for minutes
        stream, self._stream = self._stream, None
        if stream is not None:
            portaudio.close(stream, self._device.jack)
        self._clock.stop()
        if self._device.jack and not self._thread.is_alive():
            portaudio.finish()

    def _run(self) -> None:
        while not self._stop.wait(LOOK) and threading.main_thread().is_alive():
            try:
                self.look()
            except Exception as fault:  # whatever a driver does, the watch goes on
                self._not_yet(f"{type(fault).__name__}: {fault}")

    def look(self) -> None:
        """One turn of the supervisor."""
        now = self._now()
        if self._stream is not None:
            self._favour()
            if self._watch.stalled(get_word(self._words, W_CALLBACKS), now):
                self._lose(now)
        elif now >= self._next_try:
            self._next_try = now + RETRY
            self._seek()

    def _favour(self) -> bool:
        """Raise the thread that calls us as soon as it has, once. Whether that is done."""
        if not self._favoured:
            thread = self._seat.thread
            self._favoured = raise_thread(thread) if thread else ""
        return bool(self._favoured)

    def _lose(self, now: float) -> None:
        """The clock takes over first; the dead stream can wait."""
        if not self._pass_on(self._claim, CLOCK):
            return  # asleep in the middle of a block: the ring is still its own
        self._clock.start()
        self._lost_at, self._next_try = now, now + RETRY
        self._say(f"output device {self._device.name!r} has stopped; the set goes on until it is back")
        stream, self._stream = self._stream, None
        portaudio.close(stream, self._device.jack)

    def _seek(self) -> None:
        """Try to have the device back, by its name."""
        try:
            portaudio.renew(self._device.jack)
            found = devices.choose(self._device.full_name)
            self._open(found, CLOCK)
        except ValueError as fault:
            self._not_yet(str(fault))
            return
        self._device = found
        self._clock.stop()
        self._reasons.clear()
        self._say(f"output device {found.name!r} is back after {self._now() - self._lost_at:.1f} s")

    def _not_yet(self, reason: str) -> None:
        """Say once why a device that is there does not open; that it is missing goes without saying."""
        missing = reason == portaudio.ASLEEP or "not found" in reason or "no sound output" in reason
        if not missing and reason not in self._reasons:
            self._reasons.add(reason)
            self._say(f"output device {self._device.name!r} does not open: {reason}")

    def _open(self, device: Device, before: int = NOBODY) -> None:
        """Open and start a stream that takes the ring over from `before`. Raises ValueError."""
        claim = self._claim = self._claim + 1
        stream, native = self._make_stream(device, claim)
        try:
            with portaudio.one_line(portaudio.load()):
                stream.start()
            if before != NOBODY and not self._pass_on(before, claim):
                raise ValueError("the ring is not free")
        except ValueError:
            portaudio.close(stream, device.jack)
            raise
        count = get_word(self._words, W_CALLBACKS)
        self._watch = Watch(LOST if native else PATIENCE, count, self._now())
        self._stream, self._favoured = stream, ""

    def _make_stream(self, device: Device, claim: int) -> tuple[Any, bool]:
        """A stream, and whether its callback is the compiled one."""
        where = (device.index, self._rate, self._block)
        shared, channels = self._link.shared, self._fit(device)
        self._seat = seat = make_seat(shared, claim, channels)
        if portaudio.takes_address(portaudio.load()):
            return portaudio.open_native(*where, native_callback.address, seat.address, seat, channels), True
        self._say("this sounddevice takes no compiled callback: expect gaps when Python is busy")
        return portaudio.open_python(*where, python_callback(shared, claim), channels), False

    def _fit(self, device: Device) -> int:
        """How many channels to open; the mixer learns of the pairs, and puts what has none on the first."""
        channels = max(2, min(self._channels, device.channels // 2 * 2))
        if channels > 2:
            try:
                portaudio.check(device.index, self._rate, channels)
            except ValueError:
                channels = 2  # all that was asked of it when it was chosen
        if channels < min(self._channels, self._opened):
            self._say(
                f"output device {device.name!r} has {channels} of {self._channels} channels: what would go to the "
                f"others goes to the first pair"
            )
        self._opened = channels
        set_word(self._words, W_PAIRS, channels // 2)
        return channels

    def _pass_on(self, old: int, new: int) -> bool:
        """Give the ring to another claim, between two blocks of whoever has it."""
        until = time.monotonic() + LOST
        while not hand_over(self._words, old, new):
            if time.monotonic() > until:
                return False
            time.sleep(0.0005)
        return True
