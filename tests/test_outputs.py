"""Which output a name means, and how a set survives its device: with fakes for PortAudio, then with a real server."""

import gc
import os
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from instrument.audio import devices, outputs, portaudio, supervisor
from instrument.audio.callback import make_seat, python_callback
from instrument.audio.devices import Device
from instrument.audio.outputs import ClockOutput, DeviceOutput
from instrument.audio.supervisor import Supervisor, Watch
from instrument.controls import Link
from instrument.shared import CLOCK, DEVICE, W_CALLBACKS, W_READER, end_turn, make_shared, take_turn

CARD = Device(0, "card", "ALSA", 2, 48000, 0.01, default=True)
SERVER = Device(0, "system", portaudio.JACK, 2, 44100, 0.005, default=True)


@pytest.fixture
def one_card(monkeypatch):
    monkeypatch.setattr(devices, "outputs", lambda: [CARD])
    monkeypatch.setattr(portaudio, "check", lambda *_: None)


def test_names(one_card, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    null = outputs.choose("null", 128, pytest.fail)
    assert (null.name, null.rate, null.files, null.seconds) == ("null", None, [], None)
    file = outputs.choose("set.FLAC", 128, pytest.fail)
    assert (file.rate, file.files, file.seconds) == (None, [Path("set.FLAC")], None)
    for name in ("card", "auto", "default"):
        device = outputs.choose(name, 128, pytest.fail)
        assert isinstance(device, DeviceOutput)
        assert (device.name, device.rate, device.files) == ("card", 48000, [])
    with pytest.raises(ValueError, match="not found"):
        outputs.choose("organ", 128, pytest.fail)
    with pytest.raises(ValueError, match="does not exist"):
        outputs.choose("none/x.wav", 128, pytest.fail)


def no_library():
    raise ValueError("PortAudio library not found")


@pytest.mark.parametrize("fault", ["none", "broken", "library"])
@pytest.mark.parametrize("seconds", [None, 12.5])
def test_auto_without_a_device_plays_into_a_file(monkeypatch, tmp_path, fault, seconds):
    def broken(*_):
        raise ValueError("Device unavailable")

    monkeypatch.chdir(tmp_path)
    if fault == "library":
        monkeypatch.setattr(portaudio, "load", no_library)
    else:
        monkeypatch.setattr(devices, "outputs", lambda: [] if fault == "none" else [CARD])
        monkeypatch.setattr(portaudio, "check", broken)
    said = []
    output = outputs.choose("auto", 128, said.append, seconds)
    assert isinstance(output, ClockOutput)
    assert output.seconds == (seconds or 30)
    assert len(said) == 1
    assert said[0].endswith(f"playing {seconds or 30:g} s in real time into {output.files[0]}")
    assert output.files[0].suffix == ".wav"
    output.files[0].write_bytes(b"")
    second = outputs.choose("auto", 128, said.append)
    assert second.files[0].name != output.files[0].name


def test_clock_output_reads_and_stops():
    link = Link(make_shared(1, 44100, 512, 8))
    output = ClockOutput(128)
    output.stop()
    output.start(link, 44100)
    while link.telemetry().callbacks < 3:
        pass
    output.stop()
    output.stop()
    count = link.telemetry().callbacks
    assert link.shared.words[W_READER] == 2 * CLOCK
    assert link.telemetry().callbacks == count


def test_watch():
    watch = Watch(0.2, count=5, now=10.0)
    assert not watch.stalled(5, 11.9)  # the first callback may take its time
    assert watch.stalled(5, 12.1)
    assert not watch.stalled(6, 12.2)
    assert not watch.stalled(6, 12.35)
    assert not watch.stalled(7, 12.5)
    assert not watch.stalled(7, 12.69)
    assert watch.stalled(7, 12.71)


class Stream:
    """A stream whose callback the test calls."""

    latency = 0.005

    def __init__(self, link, claim):
        self.link, self.claim, self.closed = link, claim, False

    def start(self):
        pass

    def call(self):
        """One block: whether it got the ring."""
        words = self.link.shared.words
        if not take_turn(words, self.claim):
            return False
        words[W_CALLBACKS] += 1
        end_turn(words, self.claim)
        return True


class Clock:
    """The null clock's switch."""

    def __init__(self):
        self.running = False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False


class Desk:
    """PortAudio with one device that can be pulled and plugged."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, monkeypatch, device=CARD):
        self.device, self.plugged, self.streams, self.done, self.said = device, True, [], [], []
        self.link, self.clock = Link(make_shared(1, 48000, 512, 8)), Clock()
        monkeypatch.setattr(portaudio, "load", lambda: self)
        monkeypatch.setattr(portaudio, "takes_address", lambda _: True)
        monkeypatch.setattr(portaudio, "renew", self.renew)
        monkeypatch.setattr(portaudio, "finish", lambda: self.done.append("finish"))
        monkeypatch.setattr(portaudio, "close", lambda _, jack: self.done.append("close") or jack == device.jack)
        monkeypatch.setattr(portaudio, "open_native", self.open)
        monkeypatch.setattr(devices, "outputs", lambda: [self.device] if self.plugged else [])
        monkeypatch.setattr(supervisor, "make_clock", lambda *_: self.clock)
        self.now = 1000.0
        self.supervisor = Supervisor(device, self.link, 48000, 128, self.said.append, lambda: self.now)

    def look(self, at):
        self.now = 1000.0 + at
        self.supervisor.look()

    def open(self, _index, rate, _block, _address, user, seat, channels):
        assert channels == 2 == seat.words[3]
        if rate != self.device.rate:
            raise ValueError("Invalid sample rate")
        assert user == seat.words.ctypes.data
        claim = int(seat.words[1])
        self.streams.append(Stream(self.link, claim))
        return self.streams[-1]

    def renew(self, jack):
        assert jack == self.device.jack
        self.done.append("renew")
        self.now += 0.5  # it takes its time

    def open_first(self):
        """Open without the thread: the test looks by hand."""
        self.supervisor._open(self.device)
        assert self.streams[0].call()
        return self.supervisor


@pytest.mark.parametrize("device", [CARD, SERVER])
def test_a_lost_device_gives_way_and_comes_back(monkeypatch, device):
    monkeypatch.setattr(supervisor, "PATIENCE", 0.0)
    device = Device(**{**vars(device), "rate": 48000})
    desk = Desk(monkeypatch, device)
    watcher = desk.open_first()
    desk.look(0)
    desk.look(0.15)
    assert desk.said == []
    desk.plugged = False
    desk.look(0.5)
    assert desk.clock.running
    assert desk.said == [f"output device '{device.name}' has stopped; the set goes on until it is back"]
    assert desk.done == ["close"]
    assert not desk.streams[0].call()  # a late callback finds the ring taken
    desk.look(1.0)
    assert desk.done[1:] == []  # not before a second has passed
    desk.look(2.0)
    assert desk.done[1:] == ["renew"]
    assert len(desk.said) == 1
    desk.plugged = True
    desk.look(4.5)
    assert desk.said[1:] == [f"output device '{device.name}' is back after 4.5 s"]
    assert not desk.clock.running
    assert not desk.streams[0].call()
    assert desk.streams[1].call()
    watcher.stop()
    assert desk.done[-1] == ("finish" if device.jack else "close")


def test_a_callback_asleep_in_its_block_keeps_the_ring(monkeypatch):
    monkeypatch.setattr(supervisor, "PATIENCE", 0.0)
    desk = Desk(monkeypatch)
    desk.open_first()
    words = desk.link.shared.words
    assert take_turn(words, DEVICE)
    desk.look(0)
    desk.look(0.5)
    assert not desk.clock.running
    end_turn(words, DEVICE)
    desk.look(0.6)
    assert desk.clock.running


def test_back_at_another_rate_says_so_once(monkeypatch):
    monkeypatch.setattr(supervisor, "PATIENCE", 0.0)
    desk = Desk(monkeypatch)
    desk.open_first()
    desk.look(0)
    desk.look(0.5)
    desk.device = Device(**{**vars(CARD), "rate": 44100})
    for second in range(2, 6):
        desk.look(second)
    assert desk.said[1:] == ["output device 'card' does not open: Invalid sample rate"]
    assert desk.clock.running


def test_a_device_that_does_not_open_is_one_line(monkeypatch):
    desk = Desk(monkeypatch)
    desk.device = Device(**{**vars(CARD), "rate": 44100})
    with pytest.raises(ValueError, match=r"^output device 'card': Invalid sample rate$"):
        desk.supervisor.start()
    desk.supervisor.stop()


# --- PortAudio itself


def test_who_overlaps_in_keeping_quiet_gives_stderr_back(capfd):
    ours = os.fstat(2)
    inside, out = threading.Event(), threading.Event()

    def first():
        with portaudio.hushed:
            inside.set()
            out.wait()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with portaudio.hushed:
        os.write(2, b"unheard")
        kept = os.dup(2)  # as sounddevice does for itself
        out.set()
        thread.join()
        os.dup2(kept, 2)
        os.close(kept)
        os.write(2, b"unheard")
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (ours.st_dev, ours.st_ino)
    assert capfd.readouterr().err == ""


@pytest.fixture
def left_behind(monkeypatch):
    """A sounddevice whose streams cannot be closed, and what `portaudio` keeps of them."""
    sd = SimpleNamespace(
        _lib=SimpleNamespace(Pa_IsStreamActive=lambda _: 0),
        _initialized=1,
        _StreamBase=lambda **_: SimpleNamespace(close=threading.Event().wait, _ptr=0),
        _ffi=SimpleNamespace(cast=lambda *_: 0, dlopen=lambda _: sd._lib),
        PortAudioError=OSError,
    )
    monkeypatch.setattr(portaudio, "load", lambda: sd)
    monkeypatch.setattr(portaudio, "LIMIT", 0.01)
    monkeypatch.setattr(portaudio, "_kept", [])
    monkeypatch.setattr(portaudio, "_silent", [])
    monkeypatch.setattr(portaudio, "_fresh_copy", lambda: "")
    monkeypatch.setattr(portaudio, "_terminate", lambda _: None)
    monkeypatch.setitem(portaudio.sys.modules, "sounddevice", sd)


@pytest.mark.parametrize("jack", [False, True])
def test_a_stream_left_behind_keeps_the_memory_it_may_touch(monkeypatch, left_behind, jack):
    monkeypatch.setattr(portaudio, "jack_answers", lambda: None)
    shared = make_shared(1, 44100, 512, 8)
    memory, seat = weakref.ref(shared), make_seat(shared)
    stream = portaudio.open_native(0, 44100, 128, 0, seat.address, seat)
    del shared, seat
    assert not portaudio.close(stream, jack)
    del stream
    portaudio.finish()
    gc.collect()
    assert memory() is not None


def test_every_stream_has_a_seat_of_its_own(monkeypatch):
    """However often a device comes back: one left behind never finds itself with the ring."""
    desk = Desk(monkeypatch)
    first = desk.open_first()._seat
    for _ in range(12):
        desk.supervisor._open(desk.device)
        assert list(first.words[:2]) == [desk.link.shared.words.ctypes.data, DEVICE]
        assert desk.supervisor._seat.address != first.address


def test_the_fallback_is_made_without_touching_the_ring():
    shared = make_shared(1, 44100, 512, 8)
    before = shared.words.copy()
    python_callback(shared)
    np.testing.assert_array_equal(shared.words, before)


def test_a_server_that_sleeps_is_asked_once(monkeypatch):
    awake, questions = threading.Event(), []

    def jack_client_open(*_):
        questions.append(1)
        awake.wait()

    library = SimpleNamespace(jack_client_open=jack_client_open)
    monkeypatch.setattr(portaudio, "LIMIT", 0.01)
    monkeypatch.setattr(portaudio, "_jack_library", lambda: library)
    ours = os.fstat(2)
    for _ in range(3):
        assert portaudio.jack_answers() is None
        with pytest.raises(ValueError, match="does not answer"):
            portaudio.renew(jack=True)
    assert len(questions) == 1
    assert os.fstat(2).st_ino == ours.st_ino  # nothing hangs while stderr is away
    awake.set()
    monkeypatch.setattr(portaudio, "LIMIT", 5.0)
    assert portaudio.jack_answers() is False
    assert len(questions) == 2
