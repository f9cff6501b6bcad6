"""MIDI inputs of the machine: their names, and opening one.

One thread at a time. python-rtmidi through mido; listing keeps one client open for good, because every new one costs
the sequencer a client and some systems run out. What arrives is left to whoever opened the input.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from instrument.midi import jack
from instrument.parameters import shorten

SEQUENCER = Path("/dev/snd/seq")  # opening ALSA's sequencer without it prints to stderr, from C
NO_SEQUENCER = "no MIDI sequencer on this machine"
JACK = "mido.backends.rtmidi/UNIX_JACK"
THROUGH = "midi through"  # ALSA's own loop: nobody's controller


class Opened(Protocol):
    """An input that is listened to."""

    def close(self) -> None: ...


class Ports(Protocol):
    """Somewhere inputs come and go."""

    def names(self) -> list[str]:
        """Full names of the inputs there are. Raises OSError: no MIDI here."""

    def open(self, name: str, callback: Callable[[Any], None]) -> Opened:
        """Listen; ``callback`` gets mido messages on the system's thread. Raises OSError."""

    def close(self) -> None:
        """Let go of the client."""


class SystemPorts:
    """The machine's, through mido; ``backend`` as mido names them, MIDO_BACKEND's or mido's own choice if left out.

    On a Linux without ALSA's sequencer that choice is JACK, if there is a server.
    """

    def __init__(self, backend: str | None = None) -> None:
        self._name = backend
        self._backend: Any = None
        self._client: Any = None

    def names(self) -> list[str]:
        """Full names, numbers and all. Raises OSError with one line."""
        try:
            return [str(name) for name in self._listing().get_ports()]
        except OSError:
            self.close()
            raise
        except Exception as error:  # rtmidi's own kinds, which differ between systems
            self.close()
            raise OSError(" ".join(str(error).split())) from None

    def open(self, name: str, callback: Callable[[Any], None]) -> Opened:
        """Listen to the input of that full name. Raises OSError."""
        client = self._listing()
        if isinstance(client, jack.Client) and not client.awake():
            raise OSError(jack.ASLEEP)
        try:
            opened: Opened = self._backend.open_input(name, callback=callback)
        except OSError:
            raise
        except Exception as error:
            raise OSError(" ".join(str(error).split())) from None
        return _JackInput(opened, client) if isinstance(client, jack.Client) else opened

    def close(self) -> None:
        """Let go of the client; the next listing makes another."""
        if self._client is not None:
            self._client.delete()
            self._client = None

    def _listing(self) -> Any:
        if self._client is None:
            import rtmidi

            self._backend = self._chosen()
            api = self._backend.api
            if api == "UNIX_JACK":
                self._client = self._jack()
            elif _needs_sequencer(api):
                raise OSError(NO_SEQUENCER)
            else:
                self._client = rtmidi.MidiIn(getattr(rtmidi, f"API_{api}") if api else rtmidi.API_UNSPECIFIED)
        return self._client

    def _chosen(self) -> Any:
        import mido

        if self._name:
            return mido.Backend(self._name)
        open_choice = not os.environ.get("MIDO_BACKEND") and _needs_sequencer(mido.backend.api)
        return mido.Backend(JACK) if open_choice else mido.backend

    def _jack(self) -> jack.Client:
        try:
            return jack.Client()
        except OSError as error:
            why = f"{NO_SEQUENCER}, and {error}" if _needs_sequencer(None) else str(error)
            raise OSError(why) from None


class _JackInput:
    """An input over JACK, which is closed only where that cannot hang."""

    def __init__(self, opened: Opened, client: jack.Client) -> None:
        self._opened, self._client = opened, client

    def close(self) -> None:
        """Stop listening; what a dead or sleeping server still holds is left to it, for good."""
        if self._client.awake():
            self._opened.close()
        else:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._opened))  # its end would close it


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


def none_found(device: str | None, names: list[str]) -> str:
    """What to say when nothing is there to listen to."""
    there = f"; there is {', '.join(map(plain, names[:8]))}" if names else ""
    what = f"no input named {shorten(device)}" if device else "no input"
    return f"MIDI: {what} yet{there}; it is taken up when it appears"
