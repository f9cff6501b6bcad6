"""The screen's own process: pictures in on one pipe, gestures out on another, the terminal in between.

``python -m instrument.screen.child READ WRITE`` is started by the player. It ends when the player closes the pipe or
is no more. It knows nothing of the engine: neither numpy nor numba is imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any


def main() -> int:
    """Draw until the pictures end."""
    reads, writes = int(sys.argv[1]), int(sys.argv[2])
    _hear_only_what_ends_us()
    os.set_blocking(writes, False)

    def tell(gesture: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the player is gone, or has not listened for a thousand keys
            os.write(writes, json.dumps({**gesture, "when": time.monotonic()}).encode() + b"\n")

    try:
        from instrument.screen.app import ScreenApp

        app = ScreenApp(tell, reads)
        app.run(mouse=False)
        fault = app.fault
    except ImportError as error:
        fault = f"{error.name} cannot be imported: it needs textual"
    except Exception as error:
        fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if fault:
        tell({"fault": fault})
    return 1 if fault else 0


def _hear_only_what_ends_us() -> None:
    """Ctrl-C is the player's, as is being put to sleep; its end, SIGTERM and a closed terminal are ours too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.reconfigure(errors="replace")
    with contextlib.suppress(OSError):
        os.nice(5)  # behind everything that makes or carries sound


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # no thread of the library's may hold up the terminal
