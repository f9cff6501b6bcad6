"""A JACK server of our own for tests: its dummy driver is a sound card with exact timing and no sound."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import IO

import pytest

RATE, PERIOD = 44100, 256
READY_SECONDS, STARTS = 20, 3
LEAVING_SECONDS = 0.5  # without such clients it takes a tenth of that


class JackServer:
    """Starts and kills one private server by name; its environment makes PortAudio find that one and no other."""

    def __init__(self, rate: int = RATE, ports: int = 2, period: int = PERIOD, favoured: bool = False) -> None:
        """``favoured``: with the priorities of a stage for itself and all its clients, if we may give them."""
        self.rate, self.ports, self.period = rate, ports, period
        self.favoured = favoured and os.geteuid() == 0
        self.name, self._lock = _free_name()
        self.environment = os.environ | {
            "JACK_NO_AUDIO_RESERVATION": "1",
            "JACK_DEFAULT_SERVER": self.name,
            "JACK_NO_START_SERVER": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115 (open as long as the server is)
        self.environment["JACK_LOG"] = self._output.name  # where it says XRun of each period that somebody was late for

    def start(self) -> None:
        """Start, and wait until a client can connect.

        One that starts while clients of a killed one are still there has been seen to answer nobody, once in hundreds
        of starts: it is killed, and started again.
        """
        for left in reversed(range(STARTS)):
            self._launch()
            if self._answers():
                break
            self.kill()
            assert left, f"jackd does not answer: {Path(self._output.name).read_text()[-500:]}"
        self._favour()

    def _launch(self) -> None:
        priority = ["--realtime", "-P", "10"] if self.favoured else ["--no-realtime"]
        command = ["jackd", *priority, "-d", "dummy", "-r", str(self.rate), "-p", str(self.period)]
        command += ["-P", str(self.ports)]
        told = {"stdout": self._output, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, **told)

    def _answers(self) -> bool:
        """Whether a client can connect, which it may take a while to find out."""
        wait = ["jack_wait", "-w", "-t", str(READY_SECONDS), "-s", self.name]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                wait, env=self.environment, timeout=READY_SECONDS + 5, stdin=subprocess.DEVNULL, capture_output=True
            )
            return done.returncode == 0
        return False

    def _favour(self) -> None:
        """Make it as prompt as a real server, if we may: on a busy machine its own lateness counts as xruns."""
        assert self.process is not None
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(10))

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """In order, if it still runs.

        It waits up to six seconds for clients that ended without leaving, as the children of tests do: not here.
        """
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(LEAVING_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def close(self) -> None:
        """Stop, and let others have the name."""
        self.stop()
        self._output.close()
        self._lock.close()


def _free_name() -> tuple[str, IO[bytes]]:
    """A server name nobody uses now, and the lock that keeps it ours.

    Few names, used again and again: JACK knows at most eight servers on a machine, and a killed one keeps its place
    until another of the same name begins.
    """
    import fcntl  # where there is no such thing there is no JACK server to test either

    for i in range(4):
        name = f"samplernn-{os.getuid()}-{i}"
        lock = Path(tempfile.gettempdir(), f"{name}.lock").open("wb")  # noqa: SIM115 (held as long as the server)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
        else:
            return name, lock
    pytest.fail("four JACK servers are under test already: end those, then try again")


def missing() -> str:
    """What this machine lacks for a JACK server under PortAudio, or nothing."""
    for program in ("jackd", "jack_wait"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: jackd2)"
    return "" if find_library("portaudio") else "PortAudio is not installed (Debian: libportaudio2)"


@pytest.fixture
def jack() -> Iterator[JackServer]:
    """A running server, gone after the test."""
    yield from _served(2)


@pytest.fixture
def jack_of_four() -> Iterator[JackServer]:
    """The same with four playback ports."""
    yield from _served(4)


@pytest.fixture
def prompt_jack() -> Iterator[JackServer]:
    """The same with real-time clients.

    On a busy machine a client without that misses periods, and JACK gives nobody the messages that were in them.
    """
    yield from _served(2, favoured=True)


@pytest.fixture
def quick_jack() -> Iterator[JackServer]:
    """The same with periods of 128 frames and real-time clients."""
    yield from _served(2, 128, favoured=True)


def _served(ports: int, period: int = PERIOD, favoured: bool = False) -> Iterator[JackServer]:
    if missing():
        pytest.skip(missing())
    server = JackServer(ports=ports, period=period, favoured=favoured)
    try:
        server.start()
        yield server
    finally:
        server.close()
