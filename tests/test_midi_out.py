"""What faders, rings and pads are told: what changed, once, and never a fader that moves."""

import threading

from fake_link import FakeLink, make_controller
from test_midi import FakePorts
from test_midi_map import a_patch

from instrument.midi.feedback import PERIOD, RESTS, Feedback
from instrument.midi.ports import counterparts
from instrument.midi.rig import Midi


class FakeOutputs:
    """Outputs that a test plugs in; what they were told."""

    def __init__(self, *names):
        self.there, self.told, self.fault, self.open_now = list(names), {}, None, set()

    def names(self):
        return list(self.there)

    def open_output(self, name):
        outputs = self
        outputs.open_now.add(name)

        class Sender:
            def send(self, data):
                if outputs.fault:
                    raise OSError(outputs.fault)
                outputs.told.setdefault(name, []).append(list(data))

            def close(self):
                outputs.open_now.discard(name)

        return Sender()

    def close(self):
        pass


class Play:
    """A set with a map, inputs, outputs, and the time in the test's hands."""

    def __init__(self, *lines, where="same", inputs=("desk 20:0",), outputs=("desk 20:0",), **more):
        self.link, self.said = FakeLink(), []
        self.desk = make_controller(self.link)
        self.ports, self.outputs = FakePorts(*inputs), FakeOutputs(*outputs)
        made = a_patch(*lines, midi_out=where, **more)
        self.midi = Midi(self.desk, made, self.said.append, ports=self.ports, outputs=self.outputs)
        self.feedback = self.midi.feedback
        self.feedback._now = lambda: self.link.now
        self.midi.input.look()
        self.feedback.look()

    def tell(self, later=0.0, name="desk 20:0"):
        self.link.now += later
        self.desk.pump()
        self.feedback.tell()
        return self.outputs.told.pop(name, [])

    def play(self, *data, name="desk 20:0"):
        moment = self.link.now
        self.midi.input._queue.put((moment, name.rsplit(" ", 1)[0], list(data)))
        self.midi.input.drain()


def test_everything_is_told_at_first_and_then_what_changes():
    play = Play(
        {"cc": 1, "to": "pan"},
        {"cc": 2, "bits": 14, "to": "level"},
        {"bend": "any", "to": "width", "channel": 3},
        {"cc": 9, "relative": "twos", "to": "filter"},
        {"program": "any", "to": "checkpoint"},
    )
    assert play.tell() == [[0xB0, 1, 64], [0xB0, 2, 127], [0xB0, 34, 127], [0xE2, 127, 127], [0xB0, 9, 64]]
    assert play.tell() == []
    play.desk.set("pan", 1.0)
    play.desk.set("level", 0.5)
    assert play.tell(0.1) == [[0xB0, 1, 127], [0xB0, 2, 64], [0xB0, 34, 0]]


def test_a_fader_that_moves_is_left_alone_and_then_told_what_it_does_not_know():
    play = Play({"cc": 1, "to": "pan", "takeover": "jump"}, {"cc": 2, "to": "pan", "takeover": "jump"})
    play.tell()
    play.play(0xB0, 1, 100)
    assert play.tell(0.01) == [[0xB0, 2, 100]]  # the other fader of the same parameter is told at once
    assert play.tell(RESTS) == []  # and this one knows
    play.play(0xB0, 1, 0)
    play.desk.set("pan", 1.0)
    assert play.tell(0.01) == [[0xB0, 2, 127]]
    assert play.tell(RESTS) == [[0xB0, 1, 127]]


def test_a_knob_that_has_not_picked_up_is_told_where_its_parameter_is():
    play = Play({"cc": 1, "to": "pan"})
    play.tell()
    play.play(0xB0, 1, 3)
    assert play.tell(0.01) == []
    assert play.tell(RESTS) == [[0xB0, 1, 64]]


def test_pads_are_lit():
    play = Play(
        {"note": 36, "to": "checkpoint", "value": 0, "led": 21},
        {"note": 37, "to": "checkpoint", "value": 1, "led": 45},
        {"note": 38, "to": "mute", "value": 1, "led": 5},
        {"note": 39, "to": "sweep", "value": "unhinge"},
        {"note": 40, "to": "level", "gate": True},
        {"note": 41, "to": "panic", "led": 3},
    )
    assert play.tell() == [[0x90, 36, 21], *([0x90, note, 0] for note in range(37, 42))]
    play.desk.trigger("checkpoint", 1)
    play.desk.set("mute", 1)
    play.desk.trigger("sweep", "unhinge")
    play.play(0x90, 40, 100)
    assert play.tell(0.1) == [[0x90, 36, 0], [0x90, 37, 45], [0x90, 38, 5], [0x90, 39, 127], [0x90, 40, 127]]
    play.play(0x80, 40, 0)
    assert play.tell(0.1) == [[0x90, 40, 0]]
    play.desk.trigger("panic")
    assert [0x90, 41, 3] in play.tell(0.1)


def test_a_pad_that_puts_its_own_light_out_is_lit_again():
    play = Play({"note": 36, "to": "checkpoint", "value": 0, "led": 21})
    play.tell()
    play.play(0x90, 36, 100)
    assert play.tell(0.1) == []
    play.play(0x80, 36, 0)
    assert play.tell(0.1) == [[0x90, 36, 21]]
    assert play.tell(0.1) == []


def test_a_device_that_comes_back_is_told_everything():
    play = Play({"cc": 1, "to": "pan"}, where="desk", outputs=())
    assert play.said[-1].startswith("MIDI: no output named 'desk' yet")
    assert play.tell() == []
    play.outputs.there = ["desk 24:0"]
    play.feedback.look()
    assert play.tell(name="desk 24:0") == [[0xB0, 1, 64]]
    play.outputs.fault = "gone"
    play.desk.set("pan", 1)
    assert play.tell(0.1, "desk 24:0") == []
    assert (play.said[-1], play.outputs.open_now) == ("MIDI: desk: gone", set())
    play.outputs.fault = None
    play.feedback.look()
    assert play.tell(name="desk 24:0") == [[0xB0, 1, 127]]
    play.feedback.resend()
    assert play.tell(name="desk 24:0") == [[0xB0, 1, 127]]


def test_lines_are_for_their_device_and_channel():
    play = Play(
        {"cc": 1, "to": "pan", "device": "desk", "channel": 4},
        {"cc": 2, "to": "gain", "device": "pads"},
        {"cc": 3, "to": "drive"},
        inputs=("desk 20:0", "pads 21:0"),
        outputs=("desk 20:0", "pads 21:0", "other 22:0"),
    )
    play.feedback.tell()
    assert play.outputs.told == {
        "desk 20:0": [[0xB3, 1, 64], [0xB0, 3, 0]],
        "pads 21:0": [[0xB0, 2, 106], [0xB0, 3, 0]],
    }
    play.outputs.told.clear()
    play.play(0xB6, 3, 0, name="pads 21:0")  # heard on channel 7: told there
    assert play.tell(RESTS + 0.1, "pads 21:0") == []
    play.desk.set("drive", 36)
    assert play.tell(0.1, "pads 21:0") == [[0xB6, 3, 127]]


def test_outputs_that_belong_to_inputs():
    assert counterparts(["a2j:nano [20] (playback): x", "b 3:0"], ["a2j:nano [20] (capture): x"]) == [
        "a2j:nano [20] (playback): x"
    ]
    assert counterparts(["nano Out", "nano 2 Out"], ["nano In"]) == ["nano Out"]


def test_a_device_that_blocks_holds_nobody_up():
    play, stuck, entered = Play({"cc": 1, "to": "pan"}), threading.Event(), threading.Event()
    device = play.feedback._devices["desk 20:0"]
    device.sender.send = lambda _data: (entered.set(), stuck.wait(20))
    play.feedback.start()
    assert entered.wait(10)
    play.play(0xB0, 1, 100)  # the input goes on
    play.feedback.stop()
    stuck.set()
    assert PERIOD < 0.04


def test_the_triggers_of_a_set(monkeypatch):
    play = Play({"cc": 60, "to": "resend"}, {"cc": 1, "to": "pan"})
    monkeypatch.setattr(Feedback, "start", lambda self: None)
    monkeypatch.setattr(play.midi.input, "start", lambda: None)
    play.midi.start()
    play.tell()
    play.desk.trigger("resend")
    assert len(play.tell()) == 2
    play.play(0xB0, 60, 127)
    assert len(play.tell(1)) == 2
