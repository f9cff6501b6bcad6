"""What a line of the MIDI map does: pairs, encoders, bends, pressure, gates, curves, takeover, learning."""

import threading

import mido
import pytest
import yaml
from fake_link import RATE, FakeLink, make_controller
from hypothesis import given
from hypothesis import strategies as st
from test_midi import FakePorts

from instrument import patch, setlist
from instrument.changing import values_of
from instrument.controls import Op
from instrument.midi.curves import natural, way_of
from instrument.midi.encoders import Fine, guess, steps
from instrument.midi.mapping import Mapper
from instrument.midi.rig import Midi
from instrument.midi.takeover import Scaling
from instrument.parameters import PARAMETERS
from instrument.patch_midi import CURVES, Binding

NAMES = {p.code: p.name for p in PARAMETERS.values()}
START = tuple(tuple(p.default for p in sorted(PARAMETERS.values(), key=lambda p: p.code)) for _ in range(2))


def a_patch(*midi, path=None, **more):
    sweeps = {"unhinge": {"parameter": "temperature", "points": [[0, 0.875], [45, 1.15]]}}
    data = {"bank": ["tabla.safetensors", "glass.safetensors"], "voices": 2, "midi": list(midi), "sweeps": sweeps}
    return patch.from_data({**data, **more}, path)


class Play:
    """A map, messages into it, commands out of it."""

    def __init__(self, *midi, start=START):
        self.link, self.said = FakeLink(), []
        self.desk = make_controller(self.link)
        self.mapper = Mapper(self.desk, a_patch(*midi).midi, self.said.append, start)

    def __call__(self, kind, device="keys", **fields):
        self.mapper.play(mido.Message(kind, **fields), device, self.link.now)
        found = [(c.value, c.ramp) for c in self.link.take() if c.op == Op.SET]
        self.link.now += 0.01
        self.desk.pump()
        return found

    def cc(self, control, *values, channel=0):
        sent = [self("control_change", control=control, value=value, channel=channel) for value in values]
        return [value for found in sent for value, _ in found]


# --- controllers


def test_a_pair_of_controllers_in_either_order():
    play = Play({"cc": 1, "bits": 14, "to": "pan", "takeover": "jump", "range": [0, 1]})
    assert play.cc(1, 64) == [64 / 127]  # no fine one heard yet: a controller of 7 bits
    assert play.cc(33, 5) == [pytest.approx((64 * 128 + 5) / 16383)]
    assert play.cc(33, 6) == [pytest.approx((64 * 128 + 6) / 16383)]
    play.cc(33, 127)
    assert play.cc(1, 127) == [1.0]
    first = Play({"cc": 1, "bits": 14, "to": "pan", "takeover": "jump", "range": [0, 1]})
    assert first.cc(33, 9) == []
    assert first.cc(1, 3) == [pytest.approx((3 * 128 + 9) / 16383)]


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 127), st.booleans()), min_size=1))
def test_a_pair_ends_where_both_of_its_controllers_say(moves):
    pair = Fine()
    for coarse, fine, coarse_first in moves:
        for is_fine in (False, True) if coarse_first else (True, False):
            way = pair.way(fine if is_fine else coarse, is_fine)
        assert way == (coarse * 128 + fine) / 16383


def test_encoders():
    play = Play({"cc": 5, "relative": "twos", "step": 0.1, "to": "pan"}, {"cc": 6, "relative": "offset", "to": "gain"})
    assert play.cc(5, 1, 1, 127, 3) == [pytest.approx(v) for v in (0.1, 0.2, 0.1, 0.4)]
    assert play.cc(6, 65, 63, 62) == [pytest.approx(v) for v in (72 / 127, 0, -2 * 72 / 127)]
    assert play.cc(5, 63) == [1.0]
    assert play.cc(5, 64) == [-1.0]
    assert play.cc(6, 64) == []
    assert [steps("twos", v) for v in (1, 63, 64, 127)] == [1, 63, -64, -1]


def test_an_encoder_of_whole_numbers_takes_whole_steps_and_ranges_may_be_turned_over():
    play = Play(
        {"cc": 5, "relative": "twos", "to": "output"},
        {"cc": 6, "relative": "twos", "step": 0.25, "to": "pan", "range": [1, -1]},
    )
    assert play.cc(5, 1, 1, 127) == [2, 3, 2]
    assert play.cc(6, 1) == [-0.25]


def test_encoders_are_guessed_from_a_few_messages():
    assert guess([1, 1, 1]) == guess([127, 127, 126]) == guess([1, 1, 2, 127]) == "twos"
    assert guess([65, 65, 66]) == guess([63, 63, 65, 63]) == "offset"
    assert guess([1, 2, 3, 4]) is guess([64, 65, 66, 67]) is guess([1, 1]) is guess([0, 127, 127]) is guess([]) is None


def test_bend_and_pressure():
    play = Play(
        {"bend": "any", "to": "pan"},
        {"pressure": "any", "to": "temperature", "range": [1, 2]},
        {"pressure": "C4", "to": "drive"},
    )
    sent = [play("pitchwheel", pitch=p)[0][0] for p in (8191, 0, -8192)]
    assert sent == [1, 0, -1]
    assert play("aftertouch", value=127) == [(2, 0)]
    assert play("polytouch", note=60, value=127) == [(36, 0)]  # the temperature is there already
    assert play("polytouch", note=61, value=0) == [(1, 0)]


def test_what_jumps_follows_every_message_and_what_scales_reaches_both_ends():
    play = Play({"cc": 1, "to": "pan", "takeover": "scale"})
    assert play.cc(1, 0) == []  # where it is, is not known yet: the parameter is in the middle
    assert play.cc(1, 127) == [1.0]
    assert play.cc(1, 0) == [-1.0]
    play.desk.set("pan", 0.0)
    play.link.take()
    assert play.cc(1, 64)[0] == pytest.approx(64 / 127)  # half of what is left


@given(st.lists(st.integers(0, 127), min_size=2), st.floats(0, 1))
def test_scaling_never_leaves_the_way_never_turns_back_and_meets_at_the_ends(values, place):
    knob, before = Scaling(), None
    for value in values:
        moved = knob.moves(value / 127, place)
        if moved is not None:
            assert -1e-9 <= moved <= 1 + 1e-9
            assert (moved - place) * (value - before) >= -1e-9
            if value in (0, 127):
                assert moved == pytest.approx(value / 127)
            place = moved
        before = value


@given(st.sampled_from(CURVES), st.floats(0, 1), st.tuples(st.floats(-60, 12), st.floats(-60, 12)))
def test_curves_go_through_both_ends_and_back(curve, way, ends):
    line = Binding("cc", 1, "gain", range=ends, curve=curve)
    assert natural(line, 0.0) == pytest.approx(ends[0], abs=1e-9)
    assert natural(line, 1.0) == pytest.approx(ends[1], abs=1e-9)
    assert min(ends) - 1e-9 <= natural(line, way) <= max(ends) + 1e-9
    if abs(ends[0] - ends[1]) > 1e-3:
        assert way_of(line, natural(line, way)) == pytest.approx(way, abs=1e-4)


@given(st.sampled_from(CURVES), st.floats(0, 1), st.floats(0, 1))
def test_curves_never_turn_back(curve, a, b):
    line = Binding("cc", 1, "gain", curve=curve)
    assert (natural(line, a) - natural(line, b)) * (a - b) >= -1e-9


def test_curves_bend_where_they_say():
    half = {curve: natural(Binding("cc", 1, "level", curve=curve), 0.5) for curve in CURVES}
    assert half["exp"] < 0.25 < half["linear"] == half["s"] < 0.75 < half["log"]


# --- gates


def test_a_gate_opens_and_closes():
    play = Play({"note": "C2", "to": "level", "gate": True, "attack": 0.01, "release": 0.3, "velocity": 0.5})
    play.desk.set("level", 0.0)
    play.link.take()
    assert play("note_on", note=36, velocity=127) == [(1.0, 441)]
    assert play("note_off", note=36) == [(0.0, 13230)]
    ((height, _),) = play("note_on", note=36, velocity=1)
    assert height == pytest.approx(0.5 + 0.5 / 127)
    assert play("note_on", note=36, velocity=0) == [(0.0, 13230)]


def test_the_latest_of_the_held_notes_decides():
    play = Play({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0})
    play("note_on", note=60, velocity=100)
    assert play("note_on", note=62, velocity=50) == [(pytest.approx(50 / 127), 0)]
    assert play("note_off", note=62) == [(pytest.approx(100 / 127), 0)]
    play("note_on", note=64, velocity=20)
    assert play("note_off", note=60) == []
    assert play("note_off", note=64) == [(0.0, 0)]
    assert play("note_off", note=64) == []


def test_lines_share_a_gate_and_voices_do_not():
    play = Play(
        {"note": 60, "to": "level", "gate": True, "voice": 1, "attack": 0, "release": 0},
        {"note": 61, "to": "level", "gate": True, "voice": 1, "attack": 0, "release": 0, "range": [0, 0.5]},
        {"note": 62, "to": "level", "gate": True, "voice": 2, "attack": 0, "release": 0},
    )
    play.desk.set("level", 0.0)
    play.link.take()
    play("note_on", note=60, velocity=127)
    assert play("note_on", note=61, velocity=127) == [(0.5, 0)]
    assert play("note_on", note=62, velocity=127) == [(1.0, 0)]
    assert play("note_off", note=61) == [(1.0, 0)]
    assert play("note_off", note=60) == [(0.0, 0)]


def test_the_pedal_holds_gates_of_its_channel():
    play = Play({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0})
    play("control_change", control=64, value=127)
    play("note_on", note=60, velocity=100)
    assert play("note_off", note=60) == []
    play("control_change", control=64, value=0, channel=4)
    assert play("control_change", control=64, value=0) == [(0.0, 0)]
    mapped = Play({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0}, {"cc": 64, "to": "reseed"})
    mapped("control_change", control=64, value=127)
    mapped("note_on", note=60, velocity=100)
    assert mapped("note_off", note=60) == [(0.0, 0)]


def test_a_gate_of_a_switch_and_one_that_returns_to_where_it_was():
    play = Play(
        {"note": 60, "to": "mute", "gate": True},
        {"note": 61, "to": "temperature", "gate": True, "value": 1.5, "attack": 0, "release": 1},
    )
    assert play("note_on", note=60, velocity=1)[0][0] == 1.0
    assert play("note_off", note=60)[0][0] == 0.0
    play.desk.set("temperature", 0.8)
    play.link.take()
    assert play("note_on", note=61, velocity=127) == [(1.5, 0)]
    play.link.now += 1.0  # the stroke has glided to its end
    assert play("note_off", note=61) == [(0.8, RATE)]


@given(st.lists(st.tuples(st.sampled_from(["on", "off", "down", "up"]), st.integers(60, 63)), max_size=40))
def test_when_everything_is_let_go_every_gate_is_closed(events):
    play = Play({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0})
    for what, note in events:
        if what in ("on", "off"):
            play(f"note_{what}", note=note, velocity=64)
        else:
            play("control_change", control=64, value=127 if what == "down" else 0)
    for note in range(60, 64):
        play("note_off", note=note)
    play("control_change", control=64, value=0)
    assert not any(gate.held for gate in play.mapper.gates._gates.values())
    if ("on", 60) in events:
        assert play.desk.target("level", None) == 0.0


# --- beyond parameters


def test_macros_are_turned_and_picked_up(tmp_path):
    text = "bank: [tabla.safetensors]\nmacros: {storm: [{to: temperature, range: [1, 2]}, {to: pan, range: [0, 1]}]}\n"
    found = patch.from_data(yaml.safe_load(text + "midi: [{cc: 4, to: macro/storm}]"), None)
    play = Play()
    play.desk = make_controller(play.link, movements=found.movements)
    play.mapper = Mapper(play.desk, found.midi, play.said.append)
    assert play.cc(4, 30) == []  # it is at 0, and the knob has not passed it
    assert sorted(play.cc(4, 0, 127)) == [1.0, 2.0]
    assert play.desk.value("macro/storm") == 1.0


def test_triggers_wait_for_the_bar_and_the_tempo_is_picked_up():
    play = Play(
        {"note": 36, "to": "reseed", "launch": "bar"},
        {"cc": 4, "to": "tempo", "range": [60, 180]},
        {"note": 37, "to": "tempo", "value": 90},
    )
    play.link.now += 0.1
    play.mapper.play(mido.Message("note_on", note=36, velocity=1), "keys", play.link.now)
    play.desk.pump()
    assert play.link.take() == []
    for _ in range(60):
        play.link.now += 0.05
        play.desk.pump()
    assert [command.op for command in play.link.take()] == [Op.RESEED]
    play.cc(4, 127)
    assert play.desk.transport.tempo == 120.0
    play.cc(4, 0)
    assert play.desk.transport.tempo == 60.0
    play("note_on", note=37, velocity=1)
    assert play.desk.transport.tempo == 90.0
    assert play.said == []


# --- what MIDI itself means


def test_all_sound_off_all_notes_off_and_reset():
    play = Play({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0})
    play("note_on", note=60, velocity=127)
    assert play.cc(123, 0, channel=9) == [0.0]
    play.desk.set("temperature", 0.3)
    play.desk.set("pan", 0.5, 2)
    play.link.take()
    assert sorted(play.cc(121, 0, channel=3)) == [0.0, 1.0, 1.0]  # pan, level, temperature
    assert play.desk.value("temperature") == 1.0
    play.cc(120, 0, channel=5)
    assert play.link.panics == 1
    mapped = Play({"cc": 120, "to": "gain", "takeover": "jump"})
    mapped.cc(120, 0)
    assert mapped.link.panics == 0


def test_reset_goes_where_the_patch_starts_each_voice():
    start = [list(values) for values in START]
    start[1][PARAMETERS["pan"].code] = 0.4
    play = Play(start=start)
    play.desk.set("pan", -1)
    play.cc(121, 0)
    assert [play.desk.value("pan", voice) for voice in (1, 2)] == [0.0, 0.4]


# --- learning


class Learning:
    """A patch in a file, one or two inputs, and a set that learns."""

    def __init__(self, folder, text, devices=("knobs 20:0",), found=None):
        self.path = folder / "mine.yaml"
        self.path.write_text(text, encoding="utf-8")
        self.link, self.said, self.time = FakeLink(), [], 0.0
        self.desk = make_controller(self.link)
        self.ports = FakePorts(*devices)
        self.midi = Midi(self.desk, found or patch.load(self.path), self.said.append, ports=self.ports)
        self.midi._running = True  # the test is the thread
        self.midi.start()
        self.midi.input.learner._now = lambda: self.time
        self.midi.input.look()
        self.said.clear()
        self.devices, self.saves = devices, True

    def play(self, kind, *, on=0, **fields):
        self.ports.opened[self.devices[on]](mido.Message(kind, **fields))
        self.midi.input.drain()
        if self.saves:
            self.midi._saving.finish(30)

    def cc(self, control, *values, on=0):
        for value in values:
            self.play("control_change", control=control, value=value, on=on)

    def wait(self):
        self.time += 1
        if (line := self.midi.input.learner.verdict()) is not None:
            self.midi.input._learn(line)
            self.midi._saving.finish(30)

    @property
    def lines(self):
        return yaml.safe_load(self.path.read_text())["midi"]


TEXT = """# my patch
name: mine   # of all
bank: [tabla.safetensors,
       glass.safetensors]
midi:
  # the wheel
  - {cc: 1,   to: temperature, range: [0.7, 1.3]}   # careful
  - {note: C2, to: reseed}

# movements
sweeps: {unhinge: {parameter: pan, points: [[0, 0], [1, 1]]}}
"""


def test_a_knob_is_learned_at_once_and_the_rest_of_the_file_stays(tmp_path):
    found = Learning(tmp_path, TEXT)
    found.path.chmod(0o640)
    found.desk.trigger("learn", "gain")
    assert found.midi.armed == "gain"
    found.cc(20, 60, 61, 62)
    assert found.link.take() == []
    found.wait()
    assert found.midi.armed == ""
    found.cc(20, 0, 127)
    assert found.desk.value("gain") == 12.0
    learned = "  - {cc: 20, to: gain, channel: 1}\n"
    assert found.path.read_text() == TEXT.replace("to: reseed}\n", "to: reseed}\n" + learned)
    assert found.path.stat().st_mode & 0o777 == 0o640
    assert found.said[-1] == f"MIDI: {{cc: 20, to: gain, channel: 1}} learned, in {found.path}"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_learned_control_takes_the_place_of_its_line_and_keeps_what_is_said_there(tmp_path):
    found = Learning(tmp_path, TEXT)
    found.desk.trigger("learn", "temperature")
    found.cc(1, *range(20, 28))  # enough for a verdict
    assert found.path.read_text() == TEXT.replace(
        "{cc: 1,   to: temperature, range: [0.7, 1.3]}", "{cc: 1, to: temperature, range: [0.7, 1.3]}"
    )
    found.desk.trigger("learn", "voice/1/pan")
    found.cc(1, *range(20, 28))
    assert found.lines == [{"cc": 1, "to": "pan", "voice": 1, "channel": 1}, {"note": "C2", "to": "reseed"}]
    assert found.said[-1].startswith("MIDI: {cc: 1, to: pan, voice: 1, channel: 1} learned (was temperature), in ")
    assert "  # careful\n" in found.path.read_text()


def test_a_slow_disk_holds_no_notes_up(tmp_path, monkeypatch):
    found, awake = Learning(tmp_path, TEXT), threading.Event()
    monkeypatch.setattr("os.fsync", lambda _: awake.wait(30))
    found.saves = False
    found.desk.trigger("learn", "gain")
    found.cc(20, *range(9))
    found.cc(20, 0, 127)
    assert found.desk.value("gain") == 12.0  # it plays while it is being saved
    assert found.path.read_text() == TEXT
    assert found.said[-1].startswith("MIDI: learning gain")
    found.desk.trigger("learn", "pan")
    found.cc(21, *range(9))
    awake.set()
    found.midi.stop()  # waits for both
    assert [line["to"] for line in found.lines] == ["temperature", "reseed", "gain", "pan"]
    assert all(line.endswith(f"learned, in {found.path}") for line in found.said[-2:])


def test_a_line_of_the_sets_file_is_said_to_stay(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(TEXT)
    whole = setlist.patch_of(yaml.safe_load(TEXT), own, {"midi": [{"cc": 7, "to": "pan"}]})
    found = Learning(tmp_path, TEXT, found=whole)
    found.desk.trigger("learn", "gain")
    found.cc(7, *range(9))
    assert found.lines[-1] == {"cc": 7, "to": "gain", "channel": 1}
    assert "(was pan)" in found.said[-1]
    assert "{cc: 7, to: pan} is not there but in the set's file: take it out" in found.said[-1]


def test_what_midi_itself_means_is_never_learned_and_still_does_what_it_means(tmp_path):
    found = Learning(tmp_path, TEXT)
    found.desk.trigger("learn", "gain")
    found.cc(120, 0)
    assert found.link.panics == 1
    found.cc(123, *[0] * 9)
    found.wait()
    assert found.midi.armed == "gain"
    assert found.path.read_text() == TEXT
    found.cc(119, *range(9))
    assert found.lines[-1] == {"cc": 119, "to": "gain", "channel": 1}


def test_pairs_encoders_bends_pads_and_programs_are_recognised(tmp_path):
    found = Learning(tmp_path, TEXT, ("knobs 20:0", "pads:pads 1 24:0"))
    found.desk.trigger("learn", "pan")
    found.cc(34, 3)
    found.cc(2, 60)
    found.cc(34, 4)
    found.cc(2, 61)
    found.wait()
    found.desk.trigger("learn", "drive")
    found.cc(30, 1, 1, 127)
    found.wait()
    found.desk.trigger("learn", "filter")
    found.play("pitchwheel", pitch=100)
    found.desk.trigger("learn", "sweep unhinge")
    found.play("pitchwheel", pitch=100)  # nothing that a sweep could be for
    found.play("note_on", note=40, velocity=9, channel=9, on=1)
    found.play("note_off", note=40, channel=9, on=1)
    found.desk.trigger("learn", "level")
    found.play("note_on", note=41, velocity=9, on=1)
    found.desk.trigger("learn", "checkpoint")
    found.play("program_change", program=1)
    found.desk.trigger("learn", "panic")
    found.cc(50, 127)
    found.wait()
    knobs, pads = {"channel": 1, "device": "knobs"}, {"device": "pads"}
    assert found.lines[2:] == [
        {"cc": 2, "bits": 14, "to": "pan", **knobs},
        {"cc": 30, "relative": "twos", "to": "drive", **knobs},
        {"bend": "any", "to": "filter", **knobs},
        {"note": "E2", "to": "sweep", "value": "unhinge", "channel": 10, **pads},
        {"note": "F2", "gate": True, "to": "level", "channel": 1, **pads},
        {"program": "any", "to": "checkpoint", **knobs},
        {"cc": 50, "to": "panic", **knobs},
    ]
    assert found.link.panics == 0  # what is learned is not played
    patch.load(found.path)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("gian", "'gian' is not one of .* did you mean 'gain'"),
        ("voice/9/gain", "there is no voice 9"),
        ("voice/x/gain", "not voice/<n>/<target>"),
        ("sweep", "learn: sweep needs a name"),
        ("sweep unhnge", "there is no sweep 'unhnge'; did you mean 'unhinge'"),
        ("macro/storm", "there is no macro 'storm'"),
        ("moment 99", "99 is outside 0 to 63"),
    ],
)
def test_what_cannot_be_learned_says_so(tmp_path, target, text):
    found = Learning(tmp_path, TEXT)
    with pytest.raises(ValueError, match=text) as raised:
        found.desk.trigger("learn", target)
    assert "\n" not in str(raised.value)
    assert found.midi.armed == ""


def test_learning_can_be_stopped_and_a_file_that_is_not_to_be_written_is_one_line(tmp_path, monkeypatch):
    found = Learning(tmp_path, TEXT)
    found.desk.trigger("learn", "gain")
    found.desk.trigger("learn/stop")
    found.cc(20, *range(9))
    assert found.path.read_text() == TEXT
    monkeypatch.setattr("os.access", lambda *_: False)
    found.desk.trigger("learn", "gain")
    found.cc(20, *range(9))
    assert found.said[-1].endswith(f"learned, for this set only: {found.path}: mine.yaml is read-only")
    found.cc(20, 127)
    assert found.desk.value("gain") == 12.0
    assert found.path.read_text() == TEXT


KEYS = """bank: [tabla.safetensors]
voices: 2
parameters: {level: 0}
midi:
  - {note: any, channel: 1, to: level, gate: true, attack: 0, release: 0}
  - {note: any, channel: 2, to: temperature, gate: true, value: 1.5, attack: 0, release: 0}
"""


def starts(found):
    return values_of(found, 2)


def test_a_held_key_does_not_silence_the_next_patch(tmp_path):
    found = Learning(tmp_path, KEYS)
    found.play("control_change", control=64, value=127)
    found.play("note_on", note=60, velocity=127)
    found.desk.set("level", 1.0)  # the next patch has it there
    found.link.take()
    louder = a_patch({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0})
    found.midi.change(louder, starts(louder))
    found.play("note_off", note=60)
    assert [c for c in found.link.take() if c.op == Op.SET] == []
    found.play("note_on", note=60, velocity=127)
    found.play("note_off", note=60)
    assert found.desk.target("level", None) == 0.0  # nor does the pedal of the patch before hold anything


def test_a_saved_patch_keeps_the_notes_whose_line_is_still_there(tmp_path):
    found = Learning(tmp_path, KEYS)
    found.midi.change(patch.load(found.path), starts(patch.load(found.path)))
    found.play("note_on", note=60, velocity=127)
    found.play("note_on", note=60, velocity=127, channel=1)
    text = KEYS.replace("voices: 2", "voices: 2\nname: other")
    for edit, expected in (
        (text, []),
        (text.replace("channel: 2", "channel: 3"), [("temperature", 1.0)]),
        (text.replace("level: 0", "level: 0.7").replace("channel: 1", "channel: 4"), []),
    ):
        found.path.write_text(edit)
        found.link.take()
        found.midi.change(patch.load(found.path), starts(patch.load(found.path)), renewed=True)
        found.midi.input.drain()
        sent = [(NAMES[c.parameter], c.value) for c in found.link.take() if c.op == Op.SET]
        assert sent == expected, edit
    found.play("note_off", note=60)
    assert found.link.take() == []


def test_a_pedal_that_is_learned_while_it_is_down_lets_go_when_it_comes_up():
    play = Play({"note": "any", "to": "level", "gate": True, "attack": 0, "release": 0})
    play("note_on", note=60, velocity=127)
    play("control_change", control=64, value=127)
    play("note_off", note=60)
    play.mapper.change((*play.mapper.bindings, *a_patch({"cc": 64, "to": "reseed"}).midi))
    assert play("control_change", control=64, value=0) == [(0.0, 0)]


def test_another_patchs_map_comes_between_two_messages(tmp_path):
    found = Learning(tmp_path, TEXT)
    found.midi.change(a_patch({"cc": 3, "to": "pan", "takeover": "jump"}), START)
    found.cc(3, 127)
    assert found.desk.value("pan") == 1.0
    found.cc(1, 0, 127)
    assert found.desk.value("temperature") == 1.0
