"""Which output a name means, and how a set survives its device: with fakes for PortAudio, then with a real server."""

from pathlib import Path

import pytest

from instrument.audio import devices, outputs, portaudio, supervisor
from instrument.audio.devices import Device
from instrument.audio.outputs import ClockOutput, DeviceOutput
from instrument.audio.supervisor import Supervisor, Watch
from instrument.controls import (
    CLOCK,
    DEVICE,
    W_CALLBACKS,
    W_READER,
    Link,
    end_turn,
    make_shared,
    take_turn,
)

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
        monkeypatch.setattr(portaudio, "renew", lambda: self.done.append("renew"))
        monkeypatch.setattr(portaudio, "finish", lambda: self.done.append("finish"))
        monkeypatch.setattr(portaudio, "close", lambda _, jack: self.done.append("close") or jack == device.jack)
        monkeypatch.setattr(portaudio, "open_native", self.open)
        monkeypatch.setattr(devices, "outputs", lambda: [self.device] if self.plugged else [])
        monkeypatch.setattr(supervisor, "make_clock", lambda *_: self.clock)
        self.supervisor = Supervisor(device, self.link, 48000, 128, self.said.append)

    def open(self, _index, rate, _block, _address, user):
        if rate != self.device.rate:
            raise ValueError("Invalid sample rate")
        words = self.link.shared.words
        claim = int(words[(user - words.ctypes.data) // 8 + 1])
        self.streams.append(Stream(self.link, claim))
        return self.streams[-1]

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
    now = supervisor.time.monotonic()
    watcher.look(now)
    watcher.look(now + 0.15)
    assert desk.said == []
    desk.plugged = False
    watcher.look(now + 0.5)
    assert desk.clock.running
    assert desk.said == [f"output device '{device.name}' has stopped; the set goes on until it is back"]
    assert desk.done == ["close"]
    assert not desk.streams[0].call()  # a late callback finds the ring taken
    watcher.look(now + 1.0)
    assert desk.done[1:] == []  # not before a second has passed
    watcher.look(now + 2.0)
    assert desk.done[1:] == ["renew"]
    assert len(desk.said) == 1
    desk.plugged = True
    watcher.look(now + 4.5)
    assert desk.said[1:] == [f"output device '{device.name}' is back after 4.0 s"]
    assert not desk.clock.running
    assert not desk.streams[0].call()
    assert desk.streams[1].call()
    watcher.stop()
    assert desk.done[-1] == ("finish" if device.jack else "close")


def test_a_callback_asleep_in_its_block_keeps_the_ring(monkeypatch):
    monkeypatch.setattr(supervisor, "PATIENCE", 0.0)
    desk = Desk(monkeypatch)
    watcher = desk.open_first()
    words = desk.link.shared.words
    assert take_turn(words, DEVICE)
    now = supervisor.time.monotonic()
    watcher.look(now)
    watcher.look(now + 0.5)
    assert not desk.clock.running
    end_turn(words, DEVICE)
    watcher.look(now + 0.6)
    assert desk.clock.running


def test_back_at_another_rate_says_so_once(monkeypatch):
    monkeypatch.setattr(supervisor, "PATIENCE", 0.0)
    desk = Desk(monkeypatch)
    watcher = desk.open_first()
    now = supervisor.time.monotonic()
    watcher.look(now)
    watcher.look(now + 0.5)
    desk.device = Device(**{**vars(CARD), "rate": 44100})
    for second in range(2, 6):
        watcher.look(now + second)
    assert desk.said[1:] == ["output device 'card' does not open: Invalid sample rate"]
    assert desk.clock.running


def test_a_device_that_does_not_open_is_one_line(monkeypatch):
    desk = Desk(monkeypatch)
    desk.device = Device(**{**vars(CARD), "rate": 44100})
    with pytest.raises(ValueError, match=r"^output device 'card': Invalid sample rate$"):
        desk.supervisor.start()
    desk.supervisor.stop()
