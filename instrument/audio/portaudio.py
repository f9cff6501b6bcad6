"""PortAudio through sounddevice, its private corners included, kept in this one place.

Imported late: sounddevice raises OSError where PortAudio is missing. Called on the main thread and, after a device is
lost, on the supervisor's; never on the audio path. What devices there are and which is meant is left to `devices`.

JACK needs care (PortAudio 19.6 and its current sources, both read and seen): once the server has died, stopping a
stream waits ten minutes for a condition nobody signals, and terminating runs into a failed assertion that ends the
process. So a dead stream is closed on a thread that may be left behind, and an instance that has met JACK is never
terminated without having just closed a stream in order: `leave` goes on with a fresh copy of the library instead.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLOSE_LIMIT = 2.0  # seconds; an orderly close takes one or two blocks
JACK = "JACK Audio Connection Kit"  # PortAudio's name of the host API

_left_behind: list[object] = []  # streams whose memory a hanging close or a dead server may still touch


def load() -> Any:
    """The sounddevice module, PortAudio initialised. Raises ValueError with one line where PortAudio is missing."""
    try:
        import sounddevice
    except OSError as fault:
        raise ValueError(f"{fault} (on Debian: libportaudio2)") from None
    if not sounddevice._initialized:
        with one_line(sounddevice):
            sounddevice._initialize()
    return sounddevice


def has_jack() -> bool:
    """Whether this instance of PortAudio is a client of a JACK server."""
    sd = load()
    return any(api["name"] == JACK and api["devices"] for api in sd.query_hostapis())


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for a moment: ALSA and PortAudio print what they also return."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def takes_address(sd: Any) -> bool:
    """Whether this sounddevice lets a C function be the callback, judged by its private signature."""
    base = getattr(sd, "_StreamBase", None)
    if base is None or not hasattr(sd, "_ffi"):
        return False
    return {"kind", "callback", "userdata", "wrap_callback"} <= set(inspect.signature(base).parameters)


def open_native(device: int, rate: int, block: int, address: int, userdata: int) -> Any:
    """A stereo float32 stream that calls the C function at `address`. Raises what PortAudio says as ValueError."""
    sd = load()
    with hushed(), one_line(sd):
        return sd._StreamBase(
            kind="output",
            wrap_callback=None,
            callback=sd._ffi.cast("PaStreamCallback *", address),
            userdata=sd._ffi.cast("void *", userdata),
            **_format(device, rate, block),
        )


def open_python(device: int, rate: int, block: int, callback: Callable[..., None]) -> Any:
    """The same with a Python callback `(out, frames, time, status)`, out (frames, 2): the fallback."""
    sd = load()
    with hushed(), one_line(sd):
        return sd.OutputStream(callback=callback, **_format(device, rate, block))


def check(device: int, rate: int) -> None:
    """Raises ValueError if the device does not play stereo float32 at this rate; ALSA lists some that do not exist."""
    sd = load()
    with hushed(), one_line(sd):
        sd.check_output_settings(device=device, channels=2, dtype="float32", samplerate=rate)


def _format(device: int, rate: int, block: int) -> dict[str, object]:
    return {
        "samplerate": rate,
        "blocksize": block,
        "device": device,
        "channels": 2,
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


def close(stream: Any) -> bool:
    """Stop and close a stream. False if that hangs: the stream is then left behind, and so is this PortAudio."""
    done = threading.Event()

    def work() -> None:
        with contextlib.suppress(Exception):  # a lost device fails in ways of its own
            stream.abort()
            stream.close()
        done.set()

    threading.Thread(target=work, name="close-stream", daemon=True).start()
    if done.wait(CLOSE_LIMIT):
        return True
    leave(stream)
    return False


def leave(*keep: object) -> None:
    """Give this PortAudio up: it is never terminated, now or at exit. `keep` is what its threads may still touch."""
    sd = load()
    _left_behind.extend([sd._lib, *keep])
    with contextlib.suppress(OSError):  # the same library will do, only its list of devices will not change
        sd._lib = sd._ffi.dlopen(_fresh_copy())
    sd._initialized = 0


def finish() -> None:
    """Terminate, right after an orderly `close`: waiting for the exit would give a JACK server time to die."""
    sd = load()
    with one_line(sd):
        sd._terminate()


def renew() -> None:
    """Read the device list again: terminate and initialise. No stream may be open. Raises ValueError."""
    sd = load()
    with one_line(sd):
        while sd._initialized:
            sd._terminate()
        sd._initialize()


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
