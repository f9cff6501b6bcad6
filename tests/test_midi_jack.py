"""Real MIDI over a JACK server's ports: messages in, feedback out, ports of our own, ports that come and go.

Everything that talks to JACK is a child of the test: its library can take a process down with its server.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jackserver import missing, prompt_jack  # noqa: F401

HERE = Path(__file__).parent
pytestmark = [pytest.mark.device, pytest.mark.skipif(bool(missing()), reason=missing())]

CHILD = """
import faulthandler, json, os, sys, threading, time
from pathlib import Path
import rtmidi
faulthandler.enable()
sys.path[:0] = [{here!r}]
from fake_link import FakeLink, make_controller
from test_midi_map import a_patch
from instrument.midi import jack
from instrument.midi.ports import JACK, SystemPorts, _Port
from instrument.midi.rig import Midi

def sender(name="desk", port="k"):
    with jack.one:
        out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name)
        out.open_virtual_port(port)
    return out

def listener(name="desk", port="leds"):
    with jack.one:
        heard, ear = [], rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name)
        ear.open_virtual_port(port)
    return _Port(ear, None, lambda data, _: heard.append(data)), heard

def gone(port):
    (port if isinstance(port, _Port) else _Port(port, None)).close()

def until(done, seconds=10):
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.002)
    return time.monotonic() - began

def a_set(*lines, **more):
    said = []
    link = FakeLink()
    link.time = time.monotonic
    link.clock = lambda: (round(time.monotonic() * 44100), time.monotonic())
    desk = make_controller(link)
    patch = a_patch(*lines, **more)
    midi = Midi(desk, patch, said.append, ports=SystemPorts(JACK), outputs=SystemPorts(JACK, outputs=True))
    midi.start()
    return midi, desk, link, said

"""


def run(jack, program, timeout=60):
    """What a child that runs ``program`` prints, as JSON."""
    environment = jack.environment | {"PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(here=str(HERE)) + program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


MESSAGES = """
out = sender()
midi, desk, link, said = a_set({"cc": 1, "to": "pan", "takeover": "jump"})
assert until(lambda: midi.input.inputs) is not None, said
came = []
real = desk.set
desk.set = lambda name, value, voice, ramp, when: (
    came.append((round(127 * (value + 1) / 2), when)),
    real(name, value, voice, ramp, when),
)
until(lambda: out.send_message([0xB0, 1, 127]) or until(lambda: came, 0.1))  # connected from the next period on
time.sleep(0.2)
came.clear()
log, sent = Path(os.environ["JACK_LOG"]), {}
missed = lambda: log.read_bytes().count(b"XRun")
for value in range(100):
    for _ in range(20):  # a period that a client misses takes its messages along: only then it is sent again
        before, sent[value] = missed(), time.monotonic()
        out.send_message([0xB0, 1, value])
        if until(lambda: came and came[-1][0] == value, 0.5) is not None or missed() == before:
            break
midi.stop()
late = [when - sent[value] for value, when in came]
print(json.dumps([[value for value, _ in came], min(late), max(late)]))
"""


def test_messages_arrive_once_in_order_and_with_their_times(prompt_jack):  # noqa: F811
    values, first, last = run(prompt_jack, MESSAGES)
    assert values == list(range(100)), f"lost: {sorted(set(range(100)) - set(values))}"
    assert first > -0.001
    assert last < 0.1  # a period is 6 ms; a busy machine takes longer


FEEDBACK = """
out = sender("desk", "out")
ear, heard = listener("desk", "in")
lines = {"cc": 1, "to": "pan"}, {"note": 36, "to": "mute", "value": 1, "led": 9}
midi, desk, link, said = a_set(*lines, midi_out="desk")
first = until(lambda: len(heard) == 2)
desk.set("pan", 1.0)
second = until(lambda: len(heard) == 3)
gone(ear)
until(lambda: not midi.feedback._devices)
desk.set("mute", 1)
ear, again = listener("desk", "in")
back = until(lambda: len(again) == 2)
time.sleep(0.2)
midi.stop()
print(json.dumps([first is not None, second is not None, back, heard, again, midi.input.inputs, said]))
"""


def test_faders_are_told_and_told_again_when_they_return(prompt_jack):  # noqa: F811
    first, second, back, heard, again, _, said = run(prompt_jack, FEEDBACK)
    assert first
    assert second
    assert back is not None
    assert back < 2.0
    assert heard == [[0xB0, 1, 64], [0x90, 36, 0], [0xB0, 1, 127]]
    assert again == [[0xB0, 1, 127], [0x90, 36, 9]]
    assert not any("samplernn" in line for line in said)  # our own ports are nobody's controllers


VIRTUAL = """
midi, desk, link, said = a_set({"cc": 1, "to": "pan", "takeover": "jump"}, midi_port="samplernn")
probe = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "other")
until(lambda: any(name.endswith(":samplernn") for name in probe.get_ports()))
names = probe.get_ports()
probe.open_port(next(i for i, name in enumerate(names) if name.endswith(":samplernn")))
probe.send_message([0xB0, 1, 127])
there = until(lambda: desk.value("pan") == 1.0)
midi.stop()
print(json.dumps([there is not None, said]))
"""


def test_a_port_of_our_own(prompt_jack):  # noqa: F811
    there, said = run(prompt_jack, VIRTUAL)
    assert there
    assert "MIDI: our own port samplernn is open" in said


PLUGS = """
def ports_of_ours(client):
    return [name for name in client.get_ports() if "samplernn" in name]

def counts():
    handles = len(list(Path("/proc/self/fd").iterdir()))
    return threading.active_count(), handles, len(list(Path("/proc/self/task").iterdir()))

looking = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "looking")
midi, desk, link, said = a_set({"cc": 1, "to": "pan", "takeover": "jump"}, midi_out="desk")
slowest, after = 0.0, []
for i in range(TIMES):
    out, (ear, heard) = sender("desk", "out"), listener("desk", "in")
    took = until(lambda: midi.input.inputs and len(heard) >= 1)
    assert took is not None, said[-5:]
    slowest = max(slowest, took)
    place = (i + 1) % 128 * 2 / 127 - 1
    near = lambda: abs(desk.value("pan") - place) < 1e-9
    until(lambda: out.send_message([0xB0, 1, (i + 1) % 128]) or time.sleep(0.01) or near())
    assert abs(desk.value("pan") - place) < 1e-9
    gone(out)
    gone(ear)
    assert until(lambda: not midi.input.inputs and not midi.feedback._devices) is not None
    until(lambda: not ports_of_ours(looking), 2)  # they close behind that
    time.sleep(0.1)
    after.append((*counts(), len(ports_of_ours(looking))))
midi.stop()
print(json.dumps([slowest, after[1], after[-1], said[-3:]]))
"""


def plugged(prompt_jack, times):  # noqa: F811
    slowest, early, late, said = run(prompt_jack, PLUGS.replace("TIMES", str(times)), timeout=60 + 6 * times)
    assert slowest < 2.0, said
    assert all(b <= a + 2 for a, b in zip(early, late, strict=True)), (early, late)
    assert late[3] == early[3]
    return slowest, early, late


def test_a_port_that_vanishes_and_returns(prompt_jack):  # noqa: F811
    plugged(prompt_jack, 5)


@pytest.mark.soak
def test_a_port_that_vanishes_and_returns_fifty_times(prompt_jack):  # noqa: F811
    slowest, early, late = plugged(prompt_jack, 50)
    print(
        f"50 times: back within {slowest:.2f} s; threads, files, tasks, ports {early} after the 2nd, {late} at the end"
    )
