"""PortAudio through sounddevice, its private corners included, kept in this one place.

Imported late: sounddevice raises OSError where PortAudio is missing. Called on the main thread and, after a device is
lost, on the supervisor's; never on the audio path. What devices there are and which is meant is left to `devices`.

JACK needs care (PortAudio 19.6 and its current sources, both read and seen): once the server has died, stopping a
stream waits ten minutes for a condition nobody signals, and closing or terminating runs into a failed assertion that
ends the process; not terminating while the server lives is a segmentation fault at exit. So the server is asked first.
An instance of PortAudio whose server is silent is left as it is, and a fresh copy of the library takes its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from instrument.interrupts import uninterrupted

LIMIT = 2.0  # seconds for what may hang; an orderly close takes one or two blocks
JACK_NO_START = 1  # JackNoStartServer of jack/types.h
JACK = "JACK Audio Connection Kit"  # PortAudio's name of the host API
ASLEEP = "the JACK server does not answer"

_kept: list[object] = []  # what instances left behind may still touch
_silent: list[tuple[Any, Any]] = []  # library and stream of those whose server did not answer
_asking: list[threading.Thread] = []  # those whose question a JACK server has not answered yet


class _Hush:
    """Sends file descriptor 2 to nowhere while anybody wants it: ALSA and PortAudio print what they also return.

    Where threads overlap, the last one puts it back. Nothing that may hang belongs inside: faults would go unheard.
    """

    def __init__(self) -> None:
        self._lock, self._wanted, self._kept = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._wanted += 1
            if self._wanted == 1:
                with contextlib.suppress(OSError):
                    self._kept = _send_to_nowhere()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0 and self._kept >= 0:
                os.dup2(self._kept, 2)
                os.close(self._kept)
                self._kept = -1


def _send_to_nowhere() -> int:
    """A copy of file descriptor 2 as it was. Raises OSError when there is none."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        kept = os.dup(2)
        os.dup2(nowhere, 2)
        return kept
    finally:
        os.close(nowhere)


hushed = _Hush()


def load() -> Any:
    """The sounddevice module, PortAudio initialised. Raises ValueError, one line: it is missing, or JACK is asleep."""
    if "sounddevice" not in sys.modules and jack_answers() is None:
        raise ValueError(ASLEEP)
    try:
        with hushed, uninterrupted():  # hushed around sounddevice's own hush: two threads could undo those crosswise
            import sounddevice
    except OSError as fault:
        raise ValueError(f"{fault} (on Debian: libportaudio2)") from None
    if not sounddevice._initialized:
        _initialize(sounddevice)
    return sounddevice


def _initialize(sd: Any) -> None:
    with hushed, uninterrupted(), one_line(sd):
        sd._initialize()


def has_jack() -> bool:
    """Whether this instance of PortAudio is a client of a JACK server."""
    sd = load()
    return any(api["name"] == JACK and api["devices"] for api in sd.query_hostapis())


def takes_address(sd: Any) -> bool:
    """Whether this sounddevice lets a C function be the callback, judged by its private signature."""
    base = getattr(sd, "_StreamBase", None)
    if base is None or not hasattr(sd, "_ffi"):
        return False
    return {"kind", "callback", "userdata", "wrap_callback"} <= set(inspect.signature(base).parameters)


def open_native(
    device: int, rate: int, block: int, address: int, userdata: int, keep: object, channels: int = 2
) -> Any:
    """A float32 stream that calls the C function at `address`. Raises what PortAudio says as ValueError.

    `keep` is what that function touches: it lives as long as the stream, which may be left behind while it calls.
    """
    sd = load()
    with hushed, one_line(sd):
        stream = sd._StreamBase(
            kind="output",
            wrap_callback=None,
            callback=sd._ffi.cast("PaStreamCallback *", address),
            userdata=sd._ffi.cast("void *", userdata),
            **_format(device, rate, block, channels),
        )
    stream.keep = keep
    return stream


def open_python(device: int, rate: int, block: int, callback: Callable[..., None], channels: int = 2) -> Any:
    """The same with a Python callback `(out, frames, time, status)`, out (frames, channels): the fallback."""
    sd = load()
    with hushed, one_line(sd):
        return sd.OutputStream(callback=callback, **_format(device, rate, block, channels))


def check(device: int, rate: int, channels: int = 2) -> None:
    """Raises ValueError if the device does not play float32 so; ALSA lists some that do not exist."""
    sd = load()
    with hushed, one_line(sd):
        sd.check_output_settings(device=device, channels=channels, dtype="float32", samplerate=rate)


def _format(device: int, rate: int, block: int, channels: int) -> dict[str, object]:
    return {
        "samplerate": rate,
        "blocksize": block,
        "device": device,
        "channels": channels,
        "dtype": "float32",
        "latency": "low",
        "clip_off": True,  # the limiter has been there already
        "dither_off": True,
    }


@contextlib.contextmanager
def one_line(sd: Any) -> Iterator[None]:
    """PortAudio's exceptions as ValueErrors of one line."""
    try:
        yield
    except sd.PortAudioError as fault:
        raise ValueError(" ".join(str(part) for part in fault.args[:1]) or "PortAudio gave no reason") from None


def close(stream: Any, jack: bool) -> bool:
    """Stop and close a stream, of a JACK device or another. False if it, and this PortAudio, had to be left behind."""
    if jack and not jack_answers():
        _silent.append((load()._lib, stream))
        leave()
        return False

    def work() -> bool:
        with contextlib.suppress(Exception):  # a lost device fails in ways of its own
            stream.close()
        return True

    if _within(LIMIT, work):
        return True
    leave(stream)
    return False


def _within(seconds: float, work: Callable[[], bool], waiting: list[threading.Thread] | None = None) -> bool | None:
    """The result of `work`, done on a thread that is left behind if it hangs: then None, and it is in `waiting`."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="portaudio", daemon=True)
    thread.start()
    thread.join(seconds)
    if waiting is not None and thread.is_alive():
        waiting.append(thread)
    return results[0] if results else None


def jack_answers() -> bool | None:
    """Whether there is a JACK server that takes a new client; None if there is one that says nothing: it is asleep.

    Not hushed, because it may hang; JACK tells its errors to PortAudio where that is its client, else to nobody.
    """
    library = _jack_library()
    if library is None:
        return True  # PortAudio has found it by other ways: believe in it
    for thread in list(_asking):
        thread.join(LIMIT)
    _asking[:] = [thread for thread in _asking if thread.is_alive()]
    if _asking:
        return None  # still at an earlier question: no second one

    def ask() -> bool:
        library.jack_client_open.restype = ctypes.c_void_p
        client = library.jack_client_open(b"samplernn-probe", JACK_NO_START, None)
        if client:
            library.jack_client_close(ctypes.c_void_p(client))
        return client is not None

    return _within(LIMIT, ask, _asking)


def _jack_library() -> Any:
    for name in ("libjack.so.0", "libjack.0.dylib", "libjack64.dll"):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(name)
            if (
                "sounddevice" not in sys.modules and os.name == "posix"
            ):  # what it prints goes to C's strlen, which does nothing
                for function in ("jack_set_error_function", "jack_set_info_function"):
                    getattr(library, function)(ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p))
            return library
    return None


def leave(*keep: object) -> None:
    """Give this PortAudio up: it is never terminated, now or at exit. `keep` is what its threads may still touch."""
    sd = load()
    _kept.extend([sd._lib, *keep])
    with contextlib.suppress(OSError):  # the same library will do, only its list of devices will not change
        sd._lib = sd._ffi.dlopen(_fresh_copy())
    sd._initialized = 0


def finish() -> None:
    """Terminate when a set has ended, as far as that is safe; `load` begins anew."""
    for library, stream in _silent:
        asleep = library.Pa_IsStreamActive(stream._ptr) == 1 and jack_answers()  # it was, and is awake now
        if not (asleep and _within(LIMIT, functools.partial(_terminates, library))):
            _kept.append(stream)  # it may call until the process ends
    _silent.clear()
    _terminate(sys.modules["sounddevice"])


def _terminates(library: Any) -> bool:
    return bool(library.Pa_Terminate() == 0)


def renew(jack: bool) -> None:
    """Read the device list again: terminate and initialise. No stream may be open. Raises ValueError.

    `jack` is whether a JACK device is sought: PortAudio hangs in a server that is asleep, so that one is asked first.
    """
    if jack and jack_answers() is None:
        raise ValueError(ASLEEP)
    sd = load()
    _terminate(sd)
    _initialize(sd)


def _terminate(sd: Any) -> None:
    if sd._initialized and has_jack() and not jack_answers():
        leave()
    with one_line(sd):
        while sd._initialized:
            sd._terminate()


def _fresh_copy() -> str:
    """A copy of the loaded libportaudio under another name: to the loader a library with a state of its own.

    Raises OSError where that cannot be made: Linux only, JACK servers that come and go are not seen elsewhere.
    """
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    loaded = [fields[5] for fields in maps if "libportaudio" in fields[-1]]
    if not loaded:
        raise OSError("libportaudio is not mapped")
    memory = os.memfd_create("portaudio")  # stays open: a file number used again would be taken for the old library
    with Path(loaded[0]).open("rb") as source, os.fdopen(os.dup(memory), "wb") as target:
        shutil.copyfileobj(source, target)
    return f"/proc/self/fd/{memory}"
