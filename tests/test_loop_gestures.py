"""Loops as performers ask for them: beats to samples, tempo changes, and what ends them."""

from dataclasses import replace

import pytest
from fake_link import LATENCY, RATE, FakeLink, make_controller

from instrument.controls import LENGTH_ONLY, Command, Op, Telemetry, VoiceTelemetry
from instrument.patch import load


class Looping(FakeLink):
    """Tells that these voices, from 0, loop."""

    def __init__(self, voices: int = 2) -> None:
        super().__init__()
        self.loops = [-1.0] * voices

    def telemetry(self) -> Telemetry:
        return Telemetry(voices=tuple(VoiceTelemetry(looping=place, entropy=1.5, steer=0.8) for place in self.loops))


@pytest.fixture
def link():
    return Looping()


@pytest.fixture
def desk(link):
    return make_controller(link)


def tempo(desk, bpm):
    desk.beats = lambda n, _moment=None: n * 60.0 / bpm


@pytest.mark.parametrize(
    ("given", "beats"), [((), 4), ((2,), 2), ((0.5,), 0.5), (("3/4",), 0.75), (("1",), 1), ((1 / 64,), 1 / 64)]
)
def test_beats_become_samples(link, desk, given, beats):
    tempo(desk, 97)
    desk.trigger("loop", *given)
    samples = beats * 60 / 97 * RATE
    assert link.take() == [Command(LATENCY, Op.LOOP, number=int(samples), value=pytest.approx(samples % 1, abs=1e-6))]


@pytest.mark.parametrize("beats", [-1, 0.001, 1025, "x", "1/0", "1/2/3", "", "-1/4", float("nan"), None, [1]])
def test_what_is_no_length_is_refused(link, desk, beats):
    with pytest.raises(ValueError, match="loop"):
        desk.trigger("loop", *([beats, 2] if beats is None else [beats]))
    assert link.take() == []


def test_a_loop_ends_by_its_trigger_or_by_none_of_beats(link, desk):
    desk.trigger("loop", voice=2)
    desk.trigger("loop/stop", voice=2)
    desk.trigger("loop", 0)
    desk.trigger("loop/stop", 0.0)  # a button that is let go
    assert [(c.op, c.voice) for c in link.take()] == [(Op.LOOP, 1), (Op.UNLOOP, 1), (Op.UNLOOP, -1)]


def test_the_shortest_loop_is_one_that_the_engine_takes(link, desk):
    tempo(desk, 20_000)
    desk.trigger("loop", 1 / 64)
    assert link.take()[0].number == 64


def test_another_tempo_is_another_length_for_those_that_loop(link, desk):
    desk.trigger("loop", 4, voice=1)
    desk.trigger("loop", 1, voice=2)
    link.take()
    desk.pump()
    assert link.take() == []
    tempo(desk, 60)
    desk.pump()
    assert link.take() == []  # neither has begun
    link.loops = [0.5, -1.0]
    desk.pump()
    assert link.take() == [Command(LATENCY, Op.LOOP, 0, number=4 * RATE, flags=LENGTH_ONLY)]
    link.loops = [0.5, 0.0]
    desk.pump()
    desk.pump()
    assert link.take() == [Command(LATENCY, Op.LOOP, 1, number=RATE, flags=LENGTH_ONLY)]
    desk.trigger("loop/stop", voice=1)
    link.take()
    tempo(desk, 120)
    desk.pump()
    assert [(c.voice, c.number) for c in link.take()] == [(1, RATE // 2)]


def test_after_a_panic_nothing_loops(link, desk):
    desk.trigger("loop")
    desk.panic()
    link.take()
    link.loops = [0.5, 0.5]
    tempo(desk, 60)
    desk.pump()
    assert link.take() == []


def test_telemetry_has_entropy_steer_and_place(link, desk):
    link.loops = [0.25, -1.0]
    told = desk.telemetry()
    assert (told["entropy"], told["steer"], told["looping"]) == (1.5, 0.8, 0.25)
    assert told["voice/2/looping"] == -1.0
    assert told["voice/2/entropy"] == 1.5


def test_a_pad_loops(tmp_path, link, desk):
    import mido

    from instrument.midi.mapping import Mapper

    (tmp_path / "a.safetensors").write_bytes(b"")
    patch = tmp_path / "pads.yaml"
    patch.write_text("""
bank: [a.safetensors]
voices: 2
parameters: {variation: 0.1, entropy: 2.5}
midi:
  - {note: C2, to: loop, value: 0.5, voice: 2}
  - {note: D2, to: loop}
  - {note: E2, to: loop/stop}
""")
    said = []
    mapper = Mapper(desk, load(patch).midi, said.append)
    for note in (36, 38, 40):
        mapper.play(mido.Message("note_on", note=note, velocity=90), "pads", link.now)
    assert [replace(c, at=0, value=0.0) for c in link.take()] == [
        Command(0, Op.LOOP, 1, number=RATE // 4),
        Command(0, Op.LOOP, number=2 * RATE),
        Command(0, Op.UNLOOP),
    ]
    assert said == []
