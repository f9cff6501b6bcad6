"""Whatever bytes arrive, and whenever: no exception escapes, nothing takes long, moments are right."""

import random
import time

import mido
import pytest
from fake_link import FakeLink, make_controller
from hypothesis import given
from hypothesis import strategies as st
from test_midi import FakePorts, bindings

from instrument.midi import input as midi_input
from instrument.midi.arrival import DRIFT, FAR, LONG, NEAR, Arrivals
from instrument.midi.input import MidiInput
from instrument.midi.wire import MOST, heard, messages

LINES = (
    {"cc": 1, "bits": 14, "to": "temperature"},
    {"cc": 2, "to": "gain", "takeover": "jump", "curve": "exp"},
    {"cc": 3, "relative": "twos", "to": "pan"},
    {"cc": 4, "relative": "offset", "to": "filter"},
    {"cc": 5, "to": "drive", "takeover": "scale"},
    {"cc": 6, "to": "reseed"},
    {"note": "any", "to": "level", "gate": True},
    {"note": 60, "to": "sweep", "value": "unhinge"},
    {"note": 61, "to": "moment", "value": 3},
    {"bend": "any", "to": "width"},
    {"pressure": "any", "to": "variation"},
    {"pressure": 64, "to": "entropy"},
    {"program": "any", "to": "checkpoint"},
)
LIMIT_S = 0.010  # of thread time that a packet may take


class Ear:
    """An input that is played by the test, and the time that its packets took."""

    def __init__(self):
        self.link, self.said = FakeLink(), []
        self.desk = make_controller(self.link)
        self.midi = MidiInput(self.desk, bindings(*LINES), self.said.append, ports=FakePorts())
        self.put = self.midi._ear("keys")
        self.slowest = 0.0

    def __call__(self, packet, delta=0.0):
        began = time.thread_time()
        self.put(packet, delta)
        self.midi.drain()
        self.slowest = max(self.slowest, time.thread_time() - began)
        self.link.now += 0.001
        self.desk.pump()  # as the session does, on another thread
        self.link.pushed.clear()

    @property
    def faults(self):
        """What was said about exceptions that the map did not foresee."""
        return [line for line in self.said if "Error" in line or "Exception" in line]


def structured(seed):
    """A packet that is a message, part of one, several, or nothing of the kind."""
    rng = random.Random(seed)
    status = rng.choice((0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0)) | rng.randrange(16)
    data = [status, *(rng.choice((0, 1, 2, 5, 60, 64, 120, 123, 127, rng.randrange(128))) for _ in range(2))]
    match rng.randrange(8):
        case 0:
            return data[: rng.randrange(3)]
        case 1:
            return data + data[1:] * rng.randrange(4)  # running status
        case 2:
            return [0xF0, *(rng.randrange(128) for _ in range(rng.randrange(40)))]  # exclusive without an end
        case 3:
            return [*data, 0xF8, 0xFA, rng.randrange(256), *data]
        case 4:
            return [rng.randrange(256) for _ in range(rng.randrange(24))]
        case 5:
            return [rng.choice((0xF1, 0xF2, 0xF3, 0xF6, 0xF8, 0xFA, 0xFB, 0xFC, 0xFE, 0xFF)), *data[1:]]
        case _:
            return data


@given(st.lists(st.tuples(st.lists(st.integers(0, 255), max_size=40), st.floats()), max_size=20))
def test_any_bytes_at_any_times(packets):
    ear = Ear()
    for packet, delta in packets:
        ear(packet, delta)
    assert ear.faults == []


@given(st.lists(st.integers()))
def test_what_are_no_bytes(data):
    messages(data)


def fuzz(seeds):
    ear = Ear()
    again = 0
    for seed in seeds:
        packet = structured(seed)
        before, ear.slowest = ear.slowest, 0.0
        ear(packet, random.Random(seed).choice((0.0, 0.001, 1e9, -1.0, float("nan"))))
        if ear.slowest > LIMIT_S:  # the machine, or the packet? the same again three times
            took = []
            for _ in range(3):
                ear.slowest = 0.0
                ear(packet)
                took.append(ear.slowest)
            ear.slowest, again = min(took), again + 1
        ear.slowest = max(before, ear.slowest)
        assert ear.slowest < LIMIT_S, (seed, packet)
    assert ear.faults == []
    return ear.slowest, again


def test_structured_packets():
    fuzz(range(5000))


@pytest.mark.soak
def test_a_million_structured_packets():
    began = random.SystemRandom().randrange(1 << 40)
    slowest, again = fuzz(range(began, began + 1_000_000))
    print(f"1,000,000 packets from seed {began}: the slowest {1000 * slowest:.2f} ms, {again} asked again")


def test_exclusive_data_costs_nothing_and_hides_nothing():
    ear = Ear()
    ear([0xF0, *[1] * 100_000])
    assert ear.slowest < LIMIT_S
    found = messages([0xF0, 1, 2, 0xF7, 0x90, 60, 100, 0xF0, 9])
    assert [message.type for message in found] == ["note_on"]
    assert len(messages([0x90, 60, 100] * MOST)) <= MOST / 3 + 1


def test_what_messages_say():
    said = [heard(message) for message in (mido.Message("pitchwheel", pitch=p) for p in (-8192, 0, 8191))]
    assert [each.way for each in said] == [0.0, 0.5, 1.0]
    assert heard(mido.Message("note_on", note=1, velocity=0)).source == "off"
    assert heard(mido.Message("clock")) is None


def test_of_a_flood_the_last_value_counts_and_nothing_discrete_is_lost():
    ear = Ear()
    sets, triggers = [], []
    ear.desk.set = lambda name, value, *_: sets.append((name, round(value, 3)))
    ear.desk.trigger = lambda name, *given, **_: triggers.append(name)
    for value in range(128):
        ear.put([0xB0, 2, value], 0.0)
        ear.put([0xE0, 0, value], 0.0)
    for value in (1, 1, 127):
        ear.put([0xB0, 3, value], 0.0)  # an encoder's steps add up
    for value in (127, 0, 127):
        ear.put([0xB0, 6, value], 0.0)
    ear.put([0x90, 61, 1], 0.0)
    ear.midi.drain()
    assert [name for name, _ in sets].count("pan") == 3
    assert sets[0] == ("gain", 12.0)
    assert len(sets) <= 3 + 2 * 2 + 1  # a batch holds 256: at most two of each that floods, and a gate
    assert triggers == ["reseed", "reseed", "moment"]


def test_no_controller_is_overtaken_across_a_note_or_another_map():
    ear, seen = Ear(), []
    ear.desk.set = lambda name, value, *_: seen.append(round(value, 3)) if name == "gain" else None
    ear.desk.trigger = lambda name, *given, **_: seen.append(name)
    ear.put([0xB0, 2, 0], 0.0)
    ear.put([0xB0, 2, 127], 0.0)
    ear.put([0x90, 61, 1], 0.0)
    ear.put([0xB0, 2, 0], 0.0)
    ear.midi.do(lambda: ear.midi.mapper.change(bindings({"cc": 2, "to": "reseed"})))
    for value in (127, 0, 127):
        ear.put([0xB0, 2, value], 0.0)
    ear.midi.drain()
    assert seen == [12.0, "moment", -60.0, "reseed", "reseed"]


def test_when_more_waits_than_can_a_line_says_so_and_gates_close(monkeypatch):
    monkeypatch.setattr(midi_input, "MOST", 4)
    ear = Ear()
    for _ in range(9):
        ear.put([0x90, 70, 100], 0.0)
    ear.midi.drain()
    assert ear.said == ["MIDI: 5 messages were lost, too many came at once; every gate was let go"]
    assert not any(gate.held for gate in ear.midi.mapper.gates._gates.values())


def test_clock_messages_go_to_the_transport_with_their_times():
    ear, told = Ear(), []

    class Clock:
        def pulse(self, moment):
            told.append(("pulse", moment))

        def start(self, moment):
            told.append("start")

        def stop(self, moment):
            told.append("stop")

        def continue_(self, moment):
            told.append("continue")

        def song_position(self, sixteenths):
            told.append(sixteenths)

    ear.midi.clock = Clock()
    for packet in ([0xFA], [0xF8], [0xFC], [0xFB], [0xF2, 2, 1]):
        ear.put(packet, 0.0)
    ear.midi.drain()
    assert told[0] == "start"
    assert told[1][0] == "pulse"
    assert abs(told[1][1] - time.monotonic()) < 5
    assert told[2:] == ["stop", "continue", 130]


# --- arrival times


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 0.015)), min_size=1, max_size=60),
    st.floats(-DRIFT / 2, DRIFT / 2),
)
def test_moments_are_late_by_the_least_lateness_and_never_early(events, skew):
    arrivals, real, theirs = Arrivals(), 100.0, 0.0
    seen = []
    for gap, late in events:
        real += gap
        delta = gap * (1 + skew) if seen else 0.0
        theirs += delta
        moment = arrivals.moment(delta, real + late)
        seen.append((real, late))
        assert moment <= real + late + 1e-9  # never after the call
        least = min(then_late + (real - then) * 1.5 * DRIFT for then, then_late in seen)
        assert moment - real <= least + 1e-5
        first = real - seen[0][0]
        assert moment - real >= -first * DRIFT - 1e-9  # early by the clocks' parting at most


def test_a_steady_beat_stays_steady_however_late_it_is_told():
    rng, arrivals, beats = random.Random(3), Arrivals(), []
    for beat in range(400):
        beats.append(arrivals.moment(0.02 if beat else 0.0, 10 + 0.02 * beat + rng.expovariate(500)))
    errors = [moment - 10 - 0.02 * beat for beat, moment in enumerate(beats)]
    assert max(errors[50:]) - min(errors[50:]) < 0.0005
    assert max(abs(error) for error in errors[50:]) < 0.001


def test_a_clock_that_jumps_is_believed_anew():
    arrivals = Arrivals()
    arrivals.moment(0.0, 10.0)
    assert arrivals.moment(0.0, 20.0) == 20.0  # ten seconds that it did not count: more than FAR
    assert arrivals.moment(5.0, 21.0) == 21.0  # four that never were
    for nonsense in (float("nan"), float("inf"), -1.0):
        assert arrivals.moment(nonsense, 30.0) == 30.0
    lost = (NEAR + FAR) / 2
    moments = [arrivals.moment(0.1, 30.1 + lost + 0.1 * i) for i in range(40)]
    assert moments[0] == pytest.approx(30.1, abs=0.001)
    assert moments[-1] == pytest.approx(30.1 + lost + 3.9, abs=0.001)
    assert moments[int(10 * LONG) + 2] == pytest.approx(30.1 + lost + 1.2, abs=0.001)
