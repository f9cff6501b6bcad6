"""Where ``samplernn`` begins: so light that a signal interrupts no imports with a traceback. Main thread."""

from __future__ import annotations

import atexit
import os
import signal

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main() -> int:
    """``instrument.cli.main``; a signal before that is there, or when everything is closed, is no crash."""
    for number in SIGNALS[1:]:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda number, _: os._exit(128 + number))
    try:
        from instrument import cli

        code = cli.main()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    atexit._run_exitfuncs()  # libraries' goodbyes may hang: while they last a signal still ends the process
    for number in SIGNALS:  # it ends anyway; Python would take its own handlers away before it has
        signal.signal(number, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
