"""MIDI inputs and outputs of the machine: their names, and opening one.

One thread at a time for each :class:`SystemPorts`. python-rtmidi; listing keeps one client open for good, because every
new one costs the sequencer a client and some systems run out. What arrives is left to whoever opened the input.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from instrument.midi import jack
from instrument.parameters import shorten

SEQUENCER = Path("/dev/snd/seq")  # opening ALSA's sequencer without it prints to stderr, from C
NO_SEQUENCER = "no MIDI sequencer on this machine"
JACK = "mido.backends.rtmidi/UNIX_JACK"
THROUGH = "midi through"  # ALSA's own loop: nobody's controller
JACK_ROOM = 500  # messages: a quarter of what rtmidi's ring to JACK holds
ASKED_EVERY = 1.0  # seconds
FETCH = 0.001  # seconds between two looks at what a JACK server has brought
QUEUE = 8192  # messages that rtmidi keeps for us
SETTLES = 0.03  # seconds that a call under way is given to end
CLIENT, EAR, MOUTH = "samplernn", "samplernn-ear", "samplernn-feedback"  # what our own ports are called
_OURS = re.compile(f"{EAR}|{MOUTH}")

_kept: list[object] = []  # what rtmidi calls by a bare pointer; a few words an input closed

Arrived = Callable[[Sequence[int], float], None]  # bytes, seconds since the message before


class Opened(Protocol):
    """A port of ours that is connected, or virtual."""

    def close(self) -> None: ...


class Sender(Opened, Protocol):
    """An output."""

    def send(self, data: Sequence[int]) -> None:
        """The bytes of one message. May block; raises OSError."""


class Ports(Protocol):
    """Somewhere inputs and outputs come and go."""

    def names(self) -> list[str]:
        """Full names of the inputs (or outputs) there are. Raises OSError: no MIDI here."""

    def open(self, name: str, callback: Arrived) -> Opened:
        """Listen; ``callback`` gets bytes and seconds since the message before, on the system's thread.

        Raises OSError.
        """

    def open_virtual(self, name: str, callback: Arrived) -> Opened:
        """An input of our own that others connect to. Raises OSError."""

    def open_output(self, name: str) -> Sender:
        """Send there. Raises OSError."""

    def close(self) -> None:
        """Let go of the client."""


class SystemPorts:
    """The machine's, through rtmidi; ``backend`` as mido names them, MIDO_BACKEND's or mido's own choice if left out.

    On a Linux without ALSA's sequencer that choice is JACK, if there is a server. ``outputs``: names lists those.
    """

    def __init__(self, backend: str | None = None, outputs: bool = False) -> None:
        self._name, self._outputs = backend, outputs
        self._api: str | None = None
        self._client: Any = None

    def names(self) -> list[str]:
        """Full names, numbers and all, those of our own left out. Raises OSError with one line."""
        try:
            return [str(name) for name in self._listing().get_ports() if not _OURS.search(str(name))]
        except OSError:
            self.close()
            raise
        except Exception as error:  # rtmidi's own kinds, which differ between systems
            self.close()
            raise OSError(" ".join(str(error).split())) from None

    def open(self, name: str, callback: Arrived) -> Opened:
        """Listen to the input of that full name. Raises OSError."""
        return self._port(False, lambda port: _connect(port, name, EAR), callback)

    def open_virtual(self, name: str, callback: Arrived) -> Opened:
        """An input called ``name``, where the system has such things. Raises OSError."""
        if sys.platform == "win32":
            raise OSError("Windows has no virtual inputs; a loopback driver makes them")
        return self._port(False, lambda port: port.open_virtual_port(name), callback)

    def open_output(self, name: str) -> Sender:
        """Send to the output of that full name. Raises OSError."""
        return self._port(True, lambda port: _connect(port, name, MOUTH), None)

    def close(self) -> None:
        """Let go of the client; the next listing makes another."""
        if self._client is not None:
            self._client.delete()
            self._client = None

    def _port(self, output: bool, connect: Callable[[Any], None], callback: Arrived | None) -> _Port:
        client = self._listing()
        if not isinstance(client, jack.Client):
            return self._connected(output, connect, callback, None)
        with jack.one:
            if not client.awake():
                raise OSError(jack.ASLEEP)
            return self._connected(output, connect, callback, client)

    def _connected(
        self, output: bool, connect: Callable[[Any], None], callback: Arrived | None, client: jack.Client | None
    ) -> _Port:
        port = None
        try:
            port = self._make(output)
            connect(port)
            if callback is not None:
                port.ignore_types(False, False, False)  # what is ignored takes its time with it
            return _Port(port, client, callback)
        except Exception as error:  # rtmidi's own kinds again
            if port is not None:
                port.delete()
            raise OSError(" ".join(str(error).split())) from None

    def _make(self, output: bool) -> Any:
        import rtmidi

        api = getattr(rtmidi, f"API_{self._api}") if self._api else rtmidi.API_UNSPECIFIED
        return rtmidi.MidiOut(api, CLIENT) if output else rtmidi.MidiIn(api, CLIENT, queue_size_limit=QUEUE)

    def _listing(self) -> Any:
        if self._client is None:
            self._api = self._chosen()
            if self._api == "UNIX_JACK":
                self._client = self._jack()
            elif _needs_sequencer(self._api):
                raise OSError(NO_SEQUENCER)
            else:
                self._client = self._make(self._outputs)
        return self._client

    def _chosen(self) -> str | None:
        """The system that rtmidi is asked for; None for its own choice."""
        import mido

        if self._name:
            backend = mido.Backend(self._name)
        else:
            open_choice = not os.environ.get("MIDO_BACKEND") and _needs_sequencer(mido.backend.api)
            backend = mido.Backend(JACK) if open_choice else mido.backend
        return str(backend.api) if backend.api else None

    def _jack(self) -> jack.Client:
        try:
            return jack.Client(self._outputs)
        except OSError as error:
            why = f"{NO_SEQUENCER}, and {error}" if _needs_sequencer(None) else str(error)
            raise OSError(why) from None


class _Port:
    """One port of rtmidi's; over JACK it is closed only where that cannot hang.

    There the messages are fetched: a callback would be called inside the server's period, and everybody's sound would
    wait for the interpreter.
    """

    def __init__(self, port: Any, client: jack.Client | None, callback: Arrived | None = None) -> None:
        self._port, self._client = port, client
        self._heard: Callable[[Any, Any], None] | None = None
        self._closing = threading.Event()
        self._fetcher: threading.Thread | None = None
        if callback is not None and client is not None:
            self._fetcher = threading.Thread(target=self._fetch, args=(callback,), name="midi-fetch", daemon=True)
            self._fetcher.start()
        elif callback is not None:
            self._heard = lambda event, _data: callback(*event)
            port.set_callback(self._heard)
        self._room, self._asked = 0, 0.0

    def _fetch(self, callback: Arrived) -> None:
        """The fetcher's thread."""
        while not self._closing.is_set():
            if (event := self._port.get_message()) is None:
                time.sleep(FETCH)
            else:
                callback(*event)

    def send(self, data: Sequence[int]) -> None:
        """One message's bytes. Raises OSError."""
        if self._client is not None:
            self._ask(self._client)
        try:
            self._port.send_message(data)
        except Exception as error:
            raise OSError(" ".join(str(error).split())) from None

    def _ask(self, client: jack.Client) -> None:
        """A server that sleeps takes no more than its ring holds; then rtmidi spins, with the interpreter's lock."""
        self._room -= 1
        if self._room < 0 or time.monotonic() - self._asked > ASKED_EVERY:
            if not client.awake():
                raise OSError(jack.ASLEEP)
            self._room, self._asked = JACK_ROOM, time.monotonic()

    def close(self) -> None:
        """Let go; what a dead or sleeping JACK server still holds is left to it, for good."""
        self._closing.set()
        if self._fetcher is not None:
            self._fetcher.join()
        with jack.one:
            self._close()

    def _close(self) -> None:
        if self._client is None or self._client.awake():
            if self._heard is not None:
                # A call of the driver's may be waiting for the interpreter: closing waits for it and holds the
                # interpreter, cancelling frees what it is about to call (a hang and a crash, both seen over JACK).
                _kept.extend(found for found in gc.get_referrers(self._heard) if type(found) is tuple)
                self._port.cancel_callback()
                time.sleep(SETTLES)
            self._port.close_port()
            self._port.delete()
        else:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._port))  # its end would close it


def _connect(port: Any, name: str, ours: str) -> None:
    """Connect to the port of that full name."""
    names = port.get_ports()
    if name not in names:
        raise OSError(f"no port {shorten(name)} any more")
    port.open_port(names.index(name), ours)


def _needs_sequencer(api: str | None) -> bool:
    return sys.platform == "linux" and api in (None, "LINUX_ALSA") and not SEQUENCER.exists()


def plain(name: str) -> str:
    """An input's name without numbers that change when it is plugged in again: ALSA's client:port, Windows' index."""
    stripped = re.sub(r"\s+\d+:\d+$", "", name)
    return re.sub(r"\s+\d+$", "", name) if stripped == name and sys.platform == "win32" else stripped


def wanted(names: list[str], device: str | None) -> list[str]:
    """Those whose name holds ``device``; every real one if it is None."""
    if device is None:
        return [name for name in names if THROUGH not in name.lower()]
    return [name for name in names if device.lower() in name.lower()]


def counterparts(names: list[str], devices: Collection[str]) -> list[str]:
    """Those outputs that belong to inputs of those names: the same but for the words that say the direction."""
    there = {_undirected(device) for device in devices}
    return [name for name in names if _undirected(plain(name)) in there]


def _undirected(name: str) -> str:
    return " ".join(re.sub(r"(?i)capture|playback|input|output|\b(in|out)\b", " ", name).lower().split())


def none_found(device: str | None, names: list[str], kind: str = "input") -> str:
    """What to say when nothing is there to listen to (or to send to)."""
    there = f"; there is {', '.join(map(plain, names[:8]))}" if names else ""
    what = f"no {kind} named {shorten(device)}" if device else f"no {kind}"
    return f"MIDI: {what} yet{there}; it is taken up when it appears"
