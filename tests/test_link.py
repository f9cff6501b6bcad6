"""Ableton Link: two peers on one machine, and what happens without the library."""

import sys
import threading
import time
import types

import pytest

from instrument.ableton import MISSING, Joining, LinkSession
from instrument.transport import Transport


def transport():
    return Transport(lambda moment: moment, lock=threading.RLock(), say=print, clock="link", tempo=120.0)


def until(done, seconds=5.0):
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
    return done()


def test_without_the_library_a_line_says_so_and_the_beat_goes_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "link", None)
    said = []
    made = transport()
    session = LinkSession(made, said.append)
    session.start()
    session.stop()
    assert said == [MISSING]
    assert made.running
    made.set_tempo(90.0, 1.0)
    assert made.tempo == 90.0


def test_a_fault_of_the_library_is_a_line(monkeypatch):
    class Broken:
        def __init__(self, _tempo):
            self.enabled = False

        def clock(self):
            raise RuntimeError("no network\nany more")

        captureAppSessionState = clock

    monkeypatch.setitem(sys.modules, "link", types.SimpleNamespace(Link=Broken))
    said, thrown, made = [], [], transport()
    monkeypatch.setattr(threading, "excepthook", thrown.append)
    session = LinkSession(made, said.append)
    session.start()
    assert until(lambda: said or thrown)
    session.stop()
    assert (said, thrown) == (["Ableton Link: no network any more; the tempo is one's own"], [])
    assert made.propose is None


def test_it_is_joined_and_left_as_the_clock_says_and_nobody_is_waited_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "link", None)
    said = []
    made = transport()
    joining = Joining(made, said.append)
    for clock, times in (("internal", 0), ("link", 1), ("link", 1), ("midi", 1), ("link", 2)):
        joining.follow(clock)
        assert until(lambda: len(said) == times)  # noqa: B023
    joining.stop()
    assert said == [MISSING] * 2


def test_tempo_and_beat_are_shared_with_a_peer():
    link = pytest.importorskip("link", reason="the extra link is not installed")
    other = link.Link(97.0)
    other.enabled = True
    made, said = transport(), []
    session = LinkSession(made, said.append)
    session.start()
    try:
        if not until(lambda: session.peers > 0):
            pytest.skip("peers do not find each other on this machine: no multicast")
        assert until(lambda: said == ["Ableton Link: 1 other"])
        state = other.captureAppSessionState()
        state.setTempo(133.0, other.clock().micros())
        other.commitAppSessionState(state)
        assert until(lambda: abs(made.tempo - 133.0) < 0.01)
        time.sleep(0.1)
        offs = []
        for _ in range(20):
            time.sleep(0.01)
            moment, micros = time.monotonic(), other.clock().micros()
            phase = other.captureAppSessionState().phaseAtTime(micros, 4)
            offs.append(abs((made.beat(moment) - phase + 2) % 4 - 2))
        assert sorted(offs)[10] < 0.01  # beats
        assert made.propose is not None
        made.set_tempo(111.0, time.monotonic())  # by hand: everybody's
        assert until(lambda: abs(other.captureAppSessionState().tempo() - 111.0) < 0.01)
    finally:
        session.stop()
        other.enabled = False
    assert made.propose is None
