"""Ableton Link: the tempo and the beat shared with the other programs and machines of the network.

A thread of its own asks the Link session where it is and tells the transport; what a hand does to the tempo goes back
into the session. Without the library (the extra ``link``) or a network a line says so, and the tempo is one's own.
Where beats fall is left to :mod:`instrument.transport`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from instrument.parameters import LINK

POLL_S = 0.02
MISSING = "Ableton Link: its library is not there; pip install 'samplernn-live[link]'; the tempo is one's own"


class Beat(Protocol):
    """What is needed of the transport."""

    meter: int
    propose: Callable[[float], None] | None

    @property
    def tempo(self) -> float:
        """Beats a minute."""

    def follow(self, moment: float, position: float, bpm: float, playing: bool | None = None) -> None:
        """At ``moment`` the session was at ``position`` beats."""


class LinkSession:
    """A peer of the network's Link session; ``say`` takes a line for the terminal."""

    def __init__(self, transport: Beat, say: Callable[[str], None]) -> None:
        self._transport, self._say = transport, say
        self._wanted: deque[float] = deque(maxlen=1)  # a tempo by hand
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self.peers = 0

    def start(self) -> None:
        """Join."""
        self._thread.start()

    def leave(self) -> None:
        """Leave soon."""
        self._stopping.set()

    def stop(self) -> None:
        """Leave; waits for the thread. Safe to call twice, or without a start."""
        self.leave()
        if self._thread.ident is not None:
            self._thread.join(2.0)

    def _run(self) -> None:
        try:
            import link
        except ImportError:
            self._say(MISSING)
            return
        try:
            session = link.Link(self._transport.tempo)
            session.startStopSyncEnabled = True
            session.enabled = True
        except Exception as error:  # a system without network interfaces, and what else its library may meet
            self._fail(error)
            return
        self._transport.propose = self._wanted.append
        try:
            self._follow(session)
        except Exception as error:  # its library is not ours: the tempo stays as it was last
            self._fail(error)
        finally:
            if self._transport.propose == self._wanted.append:  # else that of a later session
                self._transport.propose = None
            with contextlib.suppress(Exception):
                session.enabled = False

    def _fail(self, error: Exception) -> None:
        self._say(f"Ableton Link: {' '.join(str(error).split())[:200] or type(error).__name__}; the tempo is one's own")

    def _follow(self, session: Any) -> None:
        played: bool | None = None
        while not self._stopping.wait(POLL_S):
            state = session.captureAppSessionState()
            moment, micros = _both_clocks(session.clock())
            if self._wanted:
                state.setTempo(self._wanted.pop(), micros)
                session.commitAppSessionState(state)
            plays = bool(state.isPlaying())
            changed = plays if played is not None and plays != played else None
            self._transport.follow(moment, state.beatAtTime(micros, self._transport.meter), state.tempo(), changed)
            played = plays
            self._count(session.numPeers())

    def _count(self, peers: int) -> None:
        if peers != self.peers:
            self.peers = peers
            self._say(f"Ableton Link: {peers} other{'s' * (peers != 1)}")


class Joining:
    """In the Link session while the patch says so; ``say`` takes a line for the terminal. One thread at a time."""

    def __init__(self, transport: Beat, say: Callable[[str], None]) -> None:
        self._transport, self._say = transport, say
        self._session: LinkSession | None = None

    def follow(self, clock: str) -> None:
        """Join or leave, as that ``clock`` of a patch has it; returns at once."""
        if clock == LINK and self._session is None:
            self._session = LinkSession(self._transport, self._say)
            self._session.start()
        elif clock != LINK and self._session is not None:
            self._session.leave()  # its thread may want a lock that is held here: nobody waits for it
            self._session = None

    def stop(self) -> None:
        """Leave; waits for the thread."""
        if self._session:
            self._session.stop()


def _both_clocks(clock: Any) -> tuple[float, int]:
    """One moment as seconds of time.monotonic and as Link's microseconds: the closest of three readings."""
    readings = []
    for _ in range(3):
        before = time.monotonic()
        micros = int(clock.micros())
        after = time.monotonic()
        readings.append((after - before, (before + after) / 2, micros))
    _, moment, micros = min(readings)
    return moment, micros
