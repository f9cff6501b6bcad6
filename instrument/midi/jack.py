"""A JACK server's MIDI: whether there is a server, what it lists, whether it has died.

The MIDI thread, or whoever lists. rtmidi alone prints what JACK prints, goes on listing the ports of a server that died
and hangs, with the interpreter's lock, in one that is asleep (all seen). So the server is asked here, through the
library that rtmidi has loaded, before rtmidi opens or closes anything. Nothing here starts a server.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

LIMIT = 1.0  # seconds that a server is given to answer; one that is awake takes a hundredth
ASLEEP = "the JACK server does not answer"
_NO_START = 1  # JackNoStartServer of jack/types.h
_SINKS, _SOURCES = 1, 2  # JackPortIsInput and JackPortIsOutput: what others may play and listen to
_MIDI = b"8 bit raw midi"  # JACK_DEFAULT_MIDI_TYPE

_asking: list[threading.Thread] = []  # those whose question a server has not answered yet
_left: list[ctypes.c_long] = []
one = threading.RLock()  # around whatever opens or closes a client: JACK's library dies of two at once (seen)


class Client:
    """A client of the server that is there, with rtmidi's words for listing and leaving. Raises OSError.

    It lists what can be listened to or, with ``sinks``, what can be played.
    """

    def __init__(self, sinks: bool = False) -> None:
        self._library, self._flag = library(), _SINKS if sinks else _SOURCES
        if not answers(self._library):
            raise OSError(ASLEEP if _asking else "no JACK server")
        with one:
            self._client = self._library.jack_client_open(b"samplernn", _NO_START, None)
        if not self._client:
            raise OSError("no JACK server")
        self._died = ctypes.c_long(0)
        clock = ctypes.cast(
            ctypes.CDLL(None).time, ctypes.c_void_p
        )  # C that writes there: JACK's thread runs no Python
        self._library.jack_on_shutdown(self._client, clock, ctypes.byref(self._died))

    @property
    def lives(self) -> bool:
        """Whether the server that it is a client of is still there."""
        return not self._died.value

    def awake(self) -> bool:
        """Whether that server would answer a request now; if not, requests hang or touch what JACK has freed."""
        return self.lives and answers(self._library) and self.lives

    def get_ports(self) -> list[str]:
        """Names of the ports. Raises OSError when the server has died."""
        if not self.lives:
            raise OSError("the JACK server has gone")
        found = self._library.jack_get_ports(self._client, None, _MIDI, self._flag)
        if not found:
            return []
        names: list[str] = []
        while found[len(names)]:
            names.append(found[len(names)].decode(errors="replace"))
        self._library.jack_free(found)
        return names

    def delete(self) -> None:
        """Leave. A dead server's clients are JACK's to clear away, when the next one is opened."""
        with one:
            if self.awake():
                self._library.jack_client_close(self._client)
                return
        _left.append(self._died)  # JACK may still write there


def answers(jack: Any) -> bool:
    """Whether a server takes a new client within LIMIT; while an earlier question hangs there is no second one."""
    with one:
        return _answers(jack)


def _answers(jack: Any) -> bool:
    _asking[:] = [thread for thread in _asking if thread.is_alive()]
    if _asking:
        return False
    results: list[bool] = []

    def ask() -> None:
        client = jack.jack_client_open(b"samplernn-probe", _NO_START, None)
        if client:
            jack.jack_client_close(client)
        results.append(bool(client))

    thread = threading.Thread(target=ask, name="midi-jack", daemon=True)
    thread.start()
    thread.join(LIMIT)
    if thread.is_alive():
        _asking.append(thread)
    return bool(results) and results[0]


def library() -> Any:
    """The JACK library that rtmidi uses, silenced. Raises OSError where it has none."""
    import rtmidi

    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    found = ctypes.CDLL(rtmidi._rtmidi.__file__)  # a symbol is looked up in what rtmidi is linked to as well
    if rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api() or not hasattr(found, "jack_client_open"):
        raise OSError("no JACK in this rtmidi")
    for name in ("jack_set_error_function", "jack_set_info_function"):
        # what it prints goes to C's strlen, which does nothing
        getattr(found, name)(ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p))
    found.jack_client_open.restype = ctypes.c_void_p
    found.jack_client_close.argtypes = [ctypes.c_void_p]
    found.jack_on_shutdown.argtypes = [ctypes.c_void_p] * 3
    found.jack_get_ports.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong]
    found.jack_get_ports.restype = ctypes.POINTER(ctypes.c_char_p)
    found.jack_free.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
    return found
