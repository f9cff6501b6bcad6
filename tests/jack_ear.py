"""What a JACK server really played, and when, by its own clock. A script for child processes; it knows nothing of ours.

    python tests/jack_ear.py OUT.npz PERIOD [SOURCE:midi ...]      until its stdin closes

A client of its own is connected to what the first playback port gets and to the MIDI ports named. It keeps every
period's samples, the frame at which that period begins and when the server woke for it, and which period brought each
MIDI message; beside it threads above all others see the machine stand still. It says "ready" once it is connected.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
from steadiness import Stalls

SECONDS = 120
AUDIO, MIDI = b"32 bit float mono audio", b"8 bit raw midi"
INPUT, OUTPUT = 1, 2
MESSAGES = 1 << 17
PROCESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)


class Message(ctypes.Structure):
    """jack_midi_event_t."""

    _fields_ = (("time", ctypes.c_uint32), ("size", ctypes.c_size_t), ("data", ctypes.POINTER(ctypes.c_ubyte)))


def library() -> Any:
    """libjack, as far as it is needed."""
    jack = ctypes.CDLL(find_library("jack"))
    jack.jack_client_open.restype = jack.jack_port_register.restype = ctypes.c_void_p
    jack.jack_port_get_buffer.restype = ctypes.c_void_p
    jack.jack_port_get_buffer.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    words = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong]
    jack.jack_port_register.argtypes = [*words, ctypes.c_ulong]
    jack.jack_set_process_callback.argtypes = [ctypes.c_void_p, PROCESS, ctypes.c_void_p]
    for name in ("jack_last_frame_time", "jack_frames_since_cycle_start"):
        getattr(jack, name).argtypes = [ctypes.c_void_p]
        getattr(jack, name).restype = ctypes.c_uint32
    jack.jack_midi_get_event_count.argtypes = [ctypes.c_void_p]
    jack.jack_midi_event_get.argtypes = [ctypes.POINTER(Message), ctypes.c_void_p, ctypes.c_uint32]
    jack.jack_get_time.restype = ctypes.c_uint64
    jack.jack_get_ports.argtypes = words
    jack.jack_get_ports.restype = ctypes.POINTER(ctypes.c_char_p)
    for name in ("jack_activate", "jack_client_close"):
        getattr(jack, name).argtypes = [ctypes.c_void_p]
    jack.jack_connect.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    return jack


class Ear:
    """The client. ``periods``: rows (frame, microseconds of JACK's clock); ``midi``: (frame, three bytes)."""

    def __init__(self, period: int, seconds: float = SECONDS) -> None:
        self.jack = library()
        self.client = self.jack.jack_client_open(b"ear", 1, None)
        assert self.client, "no JACK server"
        most = round(seconds * 48000 / period)
        self.periods = np.zeros((most, 2), np.int64)
        self.sound = np.zeros((most, period), np.float32)
        self.midi = np.zeros((MESSAGES, 4), np.int64)
        self.count = self.messages = 0
        self._period, self._raised = period, False
        self._message = Message()
        self._rate = self.jack.jack_get_sample_rate(ctypes.c_void_p(self.client))
        self._into = self.sound.ctypes.data
        self._left = self._port(b"left", AUDIO)
        self._notes = self._port(b"notes", MIDI)
        self._process = PROCESS(self._heard)
        self.jack.jack_set_process_callback(self.client, self._process, None)
        assert self.jack.jack_activate(self.client) == 0

    def _port(self, name: bytes, kind: bytes) -> Any:
        return self.jack.jack_port_register(self.client, name, kind, INPUT, 0)

    def _heard(self, frames: int, _: object) -> int:
        if not self._raised:
            self._raised = True
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(12))
        i, jack = self.count, self.jack
        if i >= len(self.periods) or frames != self._period:
            return 0
        first = jack.jack_last_frame_time(self.client)
        since = jack.jack_frames_since_cycle_start(self.client)  # by the raw clock; jack_get_cycle_times is smoothed
        self.periods[i] = first, jack.jack_get_time() - 1_000_000 * since // self._rate
        buffer = jack.jack_port_get_buffer(self._left, frames)
        ctypes.memmove(self._into + 4 * frames * i, buffer, 4 * frames)
        buffer = jack.jack_port_get_buffer(self._notes, frames)
        for k in range(jack.jack_midi_get_event_count(buffer)):
            jack.jack_midi_event_get(ctypes.byref(self._message), buffer, k)
            if self.messages < MESSAGES and self._message.size == 3:
                self.midi[self.messages] = first + self._message.time, *self._message.data[:3]
                self.messages += 1
        self.count = i + 1
        return 0

    def sources(self, sink: bytes) -> list[bytes]:
        """Ports that play into port ``sink``."""
        self.jack.jack_port_by_name.restype = ctypes.c_void_p
        self.jack.jack_port_by_name.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self.jack.jack_port_get_all_connections.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.jack.jack_port_get_all_connections.restype = ctypes.POINTER(ctypes.c_char_p)
        port = self.jack.jack_port_by_name(self.client, sink)
        found = self.jack.jack_port_get_all_connections(self.client, port)
        names: list[bytes] = []
        while found and found[len(names)]:
            names.append(found[len(names)])
        return names

    def connect(self, source: bytes, ours: bytes) -> None:
        """Listen to a port."""
        assert self.jack.jack_connect(self.client, source, b"ear:" + ours) == 0, source

    def named(self, part: bytes) -> bytes:
        """The MIDI output whose name holds ``part``."""
        found = self.jack.jack_get_ports(self.client, None, MIDI, OUTPUT)
        i = 0
        while found and found[i]:
            if part in found[i]:
                return bytes(found[i])
            i += 1
        raise AssertionError(f"no port {part!r}")


def main() -> None:
    path, period, *wanted = sys.argv[1:]
    stalls = Stalls()
    ear = Ear(int(period))
    for source in ear.sources(b"system:playback_1"):
        ear.connect(source, b"left")
    for part in wanted:
        ear.connect(ear.named(part.encode()), b"notes")
    gc.collect()
    gc.freeze()
    stalls.start()
    offset = max(ear.jack.jack_get_time() * 1000 - time.monotonic_ns() for _ in range(100))
    print("ready", flush=True)
    sys.stdin.read()
    n = ear.count
    rows = stalls.end()
    ear.jack.jack_client_close(ear.client)
    arrays = {"periods": ear.periods[:n], "sound": ear.sound[:n], "midi": ear.midi[: ear.messages]}
    np.savez(Path(path), **arrays, stalls=rows, offset=np.int64(offset))


if __name__ == "__main__":
    main()
