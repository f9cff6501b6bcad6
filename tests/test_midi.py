"""MIDI by the patch's map: values, pickup, notes, programs, filters, inputs that come and go."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import mido
import pytest
from fake_link import RATE, FakeLink, make_controller
from jackserver import jack  # noqa: F401

from instrument import patch
from instrument.controls import Op
from instrument.midi.input import MidiInput
from instrument.midi.mapping import Mapper
from instrument.midi.monitor import Monitor, lines
from instrument.midi.ports import SystemPorts, plain, wanted
from instrument.midi.takeover import Pickup
from instrument.notes import name_of, number_of


class FakePorts:
    """Inputs that a test plugs in and plays."""

    def __init__(self, *names):
        self.there, self.opened, self.fault, self.closed = list(names), {}, None, False

    def names(self):
        if self.fault:
            raise OSError(self.fault)
        return list(self.there)

    def open(self, name, callback):
        if name not in self.there:
            raise OSError(f"unknown port {name}")
        self.opened[name] = lambda message, delta=0.0: callback(message.bytes(), delta)
        return self.Opened(self, name)

    def open_virtual(self, name, callback):
        self.there.append(name)
        return self.open(name, callback)

    def close(self):
        self.closed = True

    class Opened:
        def __init__(self, ports, name):
            self.ports, self.name = ports, name

        def close(self):
            del self.ports.opened[self.name]


def bindings(*lines_of_map):
    sweeps = {"unhinge": {"parameter": "temperature", "points": [[0, 0.875], [45, 1.15]]}}
    data = {"bank": ["a.safetensors", "b.safetensors"], "voices": 2, "midi": list(lines_of_map), "sweeps": sweeps}
    return patch.from_data(data, None).midi


@pytest.fixture
def link():
    return FakeLink()


def make_mapper(link, *lines_of_map):
    said = []
    mapper = Mapper(make_controller(link), bindings(*lines_of_map), said.append)
    mapper.said = said
    return mapper


def cc(value, control=1, channel=0):
    return mido.Message("control_change", control=control, value=value, channel=channel)


def turn(mapper, link, *values, device="knobs", control=1):
    for value in values:
        mapper.play(cc(value, control), device, link.now)
        link.now += 0.01
    return [round(command.value, 6) for command in link.take()]


def test_a_knob_jumps(link):
    mapper = make_mapper(link, {"cc": 1, "to": "temperature", "range": [0.7, 1.3], "takeover": "jump"})
    assert turn(mapper, link, 0, 127, 127) == [0.7, 1.3]


def test_a_knob_waits_until_it_passes_the_value(link):
    mapper = make_mapper(link, {"cc": 1, "to": "temperature", "range": [0.7, 1.3]})
    assert turn(mapper, link, 0, 20, 60) == []
    assert turn(mapper, link, 80, 90) == [round(0.7 + 0.6 * v / 127, 6) for v in (80, 90)]  # 1.0 lies between 60 and 80
    mapper._desk.set("temperature", 0.8)
    link.take()
    assert turn(mapper, link, 91, 127, 22) == []
    assert turn(mapper, link, 20) == [round(0.7 + 0.6 * 20 / 127, 6)]


def test_a_knob_waits_for_a_sweep_to_pass(link):
    mapper = make_mapper(link, {"cc": 1, "to": "temperature"})
    mapper._desk.trigger("sweep", "unhinge")
    link.now += 22.5
    mapper._desk.pump()
    link.take()
    assert turn(mapper, link, 60, 64) == []
    assert turn(mapper, link, 65) == [round(2 * 65 / 127, 6)]
    assert turn(mapper, link, 66) == [round(2 * 66 / 127, 6)]


def test_pickup_beyond_the_knobs_end():
    knob = Pickup()
    assert [knob.takes(new, 2.0, 2.0, (0.7, 1.3)) for new in (0.9, 1.29, 1.3)] == [False, False, True]
    knob = Pickup()
    assert [knob.takes(new, 1.0, 1.0, (1.3, 0.7)) for new in (1.2, 0.9)] == [False, True]


def test_buttons_of_controllers(link):
    mapper = make_mapper(link, {"cc": 1, "to": "reseed", "mode": "zeros"}, {"cc": 2, "to": "mute"})
    turn(mapper, link, 0, 127, 127, 0, 127)
    assert len(turn(mapper, link, 0)) == 0
    assert turn(mapper, link, 127, 0, control=2) == [1.0, 0.0]


def test_notes(link):
    mapper = make_mapper(
        link,
        {"note": "C2", "to": "reseed", "mode": "learned"},
        {"note": 37, "to": "checkpoint", "value": "b", "crossfade": 0.5},
        {"note": "D2", "to": "temperature", "value": 1.25, "ramp": 2, "voice": 2},
        {"note": "Eb2", "to": "sweep", "value": "unhinge"},
        {"note": "E2", "to": "sweep/stop"},
        {"note": "F2", "to": "seed", "value": 7},
        {"note": "F#2", "to": "panic"},
        {"note": "G2", "to": "resume"},
    )
    for note in range(36, 44):
        mapper.play(mido.Message("note_on", note=note, velocity=64), "pads", link.now)
        mapper.play(mido.Message("note_on", note=note, velocity=0), "pads", link.now)
        mapper.play(mido.Message("note_off", note=note), "pads", link.now)
        link.now += 0.1
    found = [(c.op, c.voice, c.parameter, c.number, c.ramp) for c in link.take()]
    assert found[:3] == [
        (Op.RESEED, -1, 0, 0, 0),
        (Op.SWITCH, -1, 0, 1, RATE // 2),
        (Op.SET, 1, 0, 0, 2 * RATE),
    ]
    assert [f[0] for f in found[-2:]] == [Op.SEED, Op.RESUME]
    assert link.panics == 1
    assert mapper.said == []


def test_programs(link):
    mapper = make_mapper(
        link, {"program": "any", "to": "checkpoint", "crossfade": 0.1}, {"program": 100, "to": "reseed"}
    )
    for program in (1, 100):
        mapper.play(mido.Message("program_change", program=program), "keys", link.now)
    assert [(c.op, c.number) for c in link.take()] == [(Op.SWITCH, 1), (Op.RESEED, 0)]
    assert mapper.said == ["MIDI: program 100: checkpoint: 100 is not in the bank of 0 to 2 (tabla, glass, drones)"]


def test_channel_and_device(link):
    mapper = make_mapper(
        link, {"cc": 1, "to": "gain", "channel": 3, "device": "nano", "takeover": "jump", "range": [0, 12]}
    )
    for message, device in ((cc(127), "nanoKONTROL2"), (cc(127, channel=2), "pads"), (cc(64, 2, 2), "nano")):
        mapper.play(message, device, link.now)
    assert link.take() == []
    mapper.play(cc(127, channel=2), "nanoKONTROL2", link.now)
    assert len(link.take()) == 1


def test_what_no_map_names_is_ignored(link):
    mapper = make_mapper(link, {"cc": 1, "to": "gain", "takeover": "jump"})
    for message in (
        mido.Message("pitchwheel", pitch=5),
        mido.Message("clock"),
        mido.Message("sysex", data=[1]),
        mido.Message("aftertouch"),
    ):
        mapper.play(message, "x", link.now)
    assert (link.take(), mapper.said) == ([], [])


def test_the_gesture_is_when_the_message_arrived(link):
    mapper = make_mapper(link, {"note": 60, "to": "reseed"})
    link.now += 1.0
    mapper.play(mido.Message("note_on", note=60, velocity=1), "x", link.now - 0.03)
    assert link.take()[0].at == RATE + 882 - round(0.03 * RATE)


# --- inputs that come and go


def make_input(link, ports, said, device=None, *lines_of_map):
    lines_of_map = lines_of_map or ({"cc": 1, "to": "gain", "takeover": "jump"},)
    return MidiInput(make_controller(link), bindings(*lines_of_map), said.append, device, ports)


def test_every_input_is_listened_to(link):
    ports, said = FakePorts("Midi Through:Midi Through Port-0 14:0", "nano:nano MIDI 1 20:0", "pads 24:0"), []
    midi = make_input(link, ports, said)
    midi.look()
    assert midi.inputs == ["nano:nano MIDI 1", "pads"]
    ports.opened["pads 24:0"](cc(127))
    assert link.take() == []  # the system's thread only enqueues
    midi.drain()
    assert [c.value for c in link.take()] == [12.0]


def test_an_input_that_is_pulled_out_and_comes_back(link):
    ports, said = FakePorts("nano 20:0"), []
    midi = make_input(link, ports, said, "Nano")
    midi.look()
    ports.there = []
    midi.look()
    midi.look()
    assert midi.inputs == []
    ports.there = ["nano 24:0"]
    midi.look()
    assert midi.inputs == ["nano"]
    assert said == [
        "MIDI: listening to nano",
        "MIDI: nano is gone; waiting for it",
        "MIDI: listening to nano",
    ]


def test_an_absent_input_is_one_line(link):
    ports, said = FakePorts("pads 24:0"), []
    midi = make_input(link, ports, said, "nano")
    for _ in range(5):
        midi.look()
    assert said == ["MIDI: no input named 'nano' yet; there is pads; it is taken up when it appears"]
    ports.there.append("nano 28:0")
    midi.look()
    assert said[1:] == ["MIDI: listening to nano"]


def test_a_map_that_names_an_absent_input_says_so(link):
    ports, said = FakePorts("pads 24:0"), []
    midi = make_input(link, ports, said, None, {"cc": 1, "to": "gain", "device": "nano"})
    midi.look()
    assert said[0].startswith("MIDI: no input named 'nano' yet")
    assert midi.inputs == ["pads"]


def test_no_sequencer_is_one_line_and_no_end(link):
    ports, said = FakePorts(), []
    ports.fault = "no MIDI sequencer on this machine"
    midi = make_input(link, ports, said)
    midi.look()
    midi.look()
    assert said == ["MIDI: no MIDI sequencer on this machine; playing without"]
    ports.fault, ports.there = None, ["nano"]
    midi.look()
    assert said[1:] == ["MIDI: listening to nano"]


def test_an_input_that_cannot_be_opened(link):
    ports, said = FakePorts("nano"), []
    ports.open = lambda *_: (_ for _ in ()).throw(OSError("busy"))
    midi = make_input(link, ports, said)
    for _ in range(5):
        midi.look()
    assert said == ["MIDI: nano: busy"]


def test_the_thread_plays_and_ends(link):
    ports, said, heard = FakePorts("nano"), [], threading.Event()
    midi = make_input(link, ports, said)
    midi.mapper._desk.set = lambda *_: heard.set()
    opened = threading.Event()
    real = ports.open
    ports.open = lambda *given: (real(*given), opened.set())[0]
    midi.start()
    assert opened.wait(10)
    ports.opened["nano"](cc(1))
    assert heard.wait(10)
    midi.stop()
    midi.stop()
    assert ports.closed
    assert ports.opened == {}


def test_a_machine_without_a_sequencer(monkeypatch, tmp_path):
    monkeypatch.setattr("instrument.midi.ports.SEQUENCER", tmp_path / "absent")
    monkeypatch.setattr("sys.platform", "linux")
    ports = SystemPorts("mido.backends.rtmidi/LINUX_ALSA")
    with pytest.raises(OSError, match="no MIDI sequencer"):
        ports.names()
    with pytest.raises(ValueError, match="MIDI: no MIDI sequencer"):
        next(lines(ports))


def test_names_without_numbers():
    assert plain("Launchpad Mini:Launchpad Mini MIDI 1 20:0") == "Launchpad Mini:Launchpad Mini MIDI 1"
    assert plain("MPK 2") == "MPK 2"
    assert wanted(["Midi Through:x 14:0", "a"], None) == ["a"]
    assert wanted(["Midi Through:x 14:0", "a"], "through") == ["Midi Through:x 14:0"]


def test_note_names():
    assert [number_of(name) for name in ("C4", "c2", "F#3", "Bb-1", "G9")] == [60, 36, 54, 10, 127]
    assert all(number_of(name_of(note)) == note for note in range(128))
    for bad in ("H2", "C", "C##2", "Cb-1", "G#9", "", "C10"):
        with pytest.raises(ValueError, match="note"):
            number_of(bad)


def test_the_monitor_names_messages_as_a_map_does():
    ports = FakePorts("nano 20:0")
    shown = lines(ports, poll=0.01)
    assert next(shown) == "listening to nano"
    ports.opened["nano 20:0"](cc(64, 7, 1))
    assert next(shown) == "nano  {cc: 7, channel: 2}  value 64"
    ports.there = []
    assert next(shown) == "nano is gone"
    shown.close()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (mido.Message("note_on", note=36, velocity=100), "{note: C2, channel: 1}  velocity 100"),
        (mido.Message("note_on", note=36, velocity=0), "{note: C2, channel: 1}  off"),
        (mido.Message("program_change", program=3), "{program: 3, channel: 1}"),
        (mido.Message("pitchwheel", pitch=5), "{bend: any, channel: 1}  value 5"),
        (mido.Message("aftertouch", value=9, channel=3), "{pressure: any, channel: 4}  value 9"),
        (mido.Message("polytouch", note=60, value=9), "{pressure: C4, channel: 1}  value 9"),
        (mido.Message("start"), "start time=0"),
        (mido.Message("active_sensing"), ""),
    ],
)
def test_the_monitors_words(message, line):
    assert Monitor().describe(message) == line


def test_the_monitor_sees_pairs_and_encoders():
    monitor = Monitor()
    said = [monitor.describe(cc(value, control)) for control, value in ((1, 64), (33, 0), (1, 64), (33, 5))]
    assert said[1:] == [f"{{cc: 1, bits: 14, channel: 1}}  value {value}" for value in (8192, 8192, 8197)]
    said = [monitor.describe(cc(value, 20, 2)) for value in (1, 1, 1, 127)]
    assert said[2:] == [
        "{cc: 20, relative: twos, channel: 3}  step +1",
        "{cc: 20, relative: twos, channel: 3}  step -1",
    ]
    assert [monitor.describe(cc(value, 21, 3)) for value in (65, 65, 63)][2].endswith(
        "relative: offset, channel: 4}  step -1"
    )
    assert "value 3" in [monitor.describe(cc(value, 22, 4)) for value in (1, 2, 3)][2]


# A machine without a sequencer looks at its inputs on being told to, and says how long that took.
LOOKS = """
import sys, time
from pathlib import Path
from instrument.midi import ports
ports.SEQUENCER = Path("/nonexistent")
found, opened = ports.SystemPorts(), []
for line in sys.stdin:
    began = time.monotonic()
    try:
        if line.strip() == "open":
            opened.append(found.open("knobs:k", lambda *given: None))
        elif line.strip() == "close":
            opened.pop().close()
        names = found.names()
    except OSError as error:
        names = error
    print(time.monotonic() - began < 2.5, names, flush=True)
found.close()
"""


@pytest.fixture
def looks(jack):  # noqa: F811
    """A child that finds its own way to JACK; gives its answers to words, and must end well and say nothing else."""
    environment = jack.environment | {"PYTHONWARNINGS": "error"}
    environment.pop("MIDO_BACKEND", None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", LOOKS], env=environment, **pipes) as child:

        def look(word="look"):
            child.stdin.write(f"{word}\n")
            child.stdin.flush()
            return child.stdout.readline().strip()

        try:
            yield look
            _, errors = child.communicate(timeout=20)
        finally:
            child.kill()
    assert (child.returncode, errors) == (0, "")


@pytest.fixture
def knobs():
    """A sender over JACK in a process of its own, which dies with its server."""
    script = "import sys, mido; from instrument.midi.ports import JACK; b = mido.Backend(JACK)\n"
    script += "o = b.open_output('k', virtual=True, client_name='knobs'); print('there', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    started = []

    def start(jack):  # noqa: F811
        started.append(subprocess.Popen([sys.executable, "-c", script], env=jack.environment, **pipes))
        assert started[-1].stdout.readline() == b"there\n"

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.mark.device
@pytest.mark.skipif(shutil.which("jackd") is None, reason="jackd is not installed (Debian: jackd2)")
def test_jack_is_found_without_a_sequencer_and_again_after_it_died(jack, looks, knobs):  # noqa: F811
    assert looks() == "True []"
    knobs(jack)
    assert looks("open") == "True ['knobs:k']"
    jack.kill()
    until = time.monotonic() + 5
    while (found := looks()) == "True ['knobs:k']" and time.monotonic() < until:
        time.sleep(0.05)  # JACK's own thread has to notice
    assert found == "True the JACK server has gone"
    assert looks() == "True no MIDI sequencer on this machine, and no JACK server"
    looks("close")
    jack.start()
    knobs(jack)
    assert looks() == "True ['knobs:k']"


@pytest.mark.device
@pytest.mark.skipif(shutil.which("jackd") is None, reason="jackd is not installed (Debian: jackd2)")
def test_a_jack_server_that_sleeps_holds_nobody_up(jack, looks, knobs):  # noqa: F811
    knobs(jack)
    assert looks("open") == "True ['knobs:k']"
    jack.process.send_signal(signal.SIGSTOP)
    try:
        assert looks("open") == "True the JACK server does not answer"
        assert looks("close") == "True ['knobs:k']"
    finally:
        jack.process.send_signal(signal.SIGCONT)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system has MIDI of its own")
def test_the_choice_of_mido_backend_is_kept():
    script = "import sys; from instrument.midi import ports; ports.SEQUENCER = ports.Path('/nonexistent')\n"
    script += "try: ports.SystemPorts().names()\nexcept OSError as error: print(error)"
    environment = os.environ | {"MIDO_BACKEND": "mido.backends.rtmidi/LINUX_ALSA", "JACK_DEFAULT_SERVER": "no-such"}
    for extra, words in (({}, "machine\n"), ({"MIDO_BACKEND": ""}, "machine, and no JACK server\n")):
        done = subprocess.run([sys.executable, "-c", script], env=environment | extra, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"no MIDI sequencer on this {words}", "")
