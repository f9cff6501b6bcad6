"""A GPU that fails in the middle of a set: what the loop does about it, and that a replay, where none fails, agrees.

Networks of the processor stand in for those of a GPU, with a word that says they are lost.
"""

from dataclasses import replace

import numpy as np
import pytest
from networks import network

from engine.cpu.memory import address, aligned
from engine.generator import make_generator
from instrument import replay
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
from instrument.controls import MATURITY, REFUSED, Command, Op
from instrument.replay import commands_of, compare

RATE, LENGTH = 16000, 9000


def slots_of(word, names, voices, stereo):
    made = []
    for seed, name in enumerate(names):
        generator = make_generator(network(name, seed), "cpu", "int8", voices, stereo=stereo, spare=2 * voices)
        program = replace(generator.program, failed=address(word), blend=0)
        made.append(Slot(program, name=name, precision="int8"))
    return made


class Kept:
    """A file that keeps what is written."""

    def __init__(self):
        self.frames = []

    def write(self, frames):
        self.frames.append(frames.copy())


def a_set(names=("gru", "mu-law"), voices=2, stereo=False, fallback="one-tier", timing=None, rate=RATE, **more):
    word = aligned(1, np.int64)
    generator = make_generator(network(fallback or "gru"), "cpu", "int8", voices, stereo=stereo, spare=2 * voices)
    last = Slot(generator.program, name="fallback", precision="int8") if fallback else None
    p = Performance(
        slots_of(word, names, voices, stereo), sample_rate=rate, voices=voices, seed=3, offline=True, tap=True,
        fallback=last, timing=timing, **more,
    )  # fmt: skip
    return p, word


def play(p, word=None, at=0, length=LENGTH, commands=()):
    """Audio and events; the GPU fails once ``at`` samples have been made."""
    for command in commands:
        assert p.link.push(command)
    audio, events = [], []
    for end in (at, length) if at else (length,):
        audio.append(p.render_to(end))
        events += p.link.events()
        if word is not None:
            word[0] = 719
    return np.concatenate(audio), events


def check_replay(p, audio, events, **set_up):
    again, word = a_set(timing=p.timing, **set_up)
    heard, told = play(again, length=len(audio), commands=commands_of(events))
    assert compare(events, told, len(audio)) == ""
    np.testing.assert_array_equal(heard, audio)
    assert word[0] == 0


@pytest.mark.parametrize("fallback", ["one-tier", None])
@pytest.mark.parametrize("back", [3, 90, 250])
def test_how_turns_are_cut_is_not_heard(fallback, back):
    """A replay asks for half a second at a time, and knows nothing of what was refused: both cut turns elsewhere."""
    rate = 44100
    at = rate // 2 - back
    refused = [Command(at + i, Op.SWITCH, number=7) for i in (1, 5, 12, 300)]
    p, word = a_set(fallback=fallback, rate=rate)
    audio, events = play(p, word, at, rate // 2 + 3000, refused)
    again, _ = a_set(fallback=fallback, rate=rate, timing=p.timing)
    kept = Kept()
    told = replay.play(again, kept, events, len(audio), rate)
    assert compare(events, told, len(audio)) == ""
    np.testing.assert_array_equal(np.concatenate(kept.frames), audio)


CASES = {
    "steady": ([], {}),
    "crossfading": ([Command(3000, Op.SWITCH, number=1, ramp=8000)], {}),
    "priming": ([Command(3990, Op.SWITCH, number=1, ramp=800)], {}),
    "looping": ([Command(2000, Op.LOOP, number=700), Command(6500, Op.UNLOOP)], {}),
    "resting": ([Command(1000, Op.PARK, voice=1), Command(7000, Op.WAKE, voice=1)], {}),
    "panicking": ([Command(3995, Op.PANIC), Command(6000, Op.RESUME)], {}),
    "stereo": ([Command(3000, Op.SWITCH, voice=0, number=1, ramp=90)], {"stereo": (True, False)}),
    "another-rate": ([], {"fallback": "mu-law"}),
    "two-networks": ([Command(1000, Op.SWITCH, voice=1, number=1, ramp=90)], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_another_network_goes_on_and_a_replay_agrees(case):
    commands, set_up = CASES[case]
    p, word = a_set(**set_up)
    audio, events = play(p, word, 4000, commands=commands)
    (failed,) = [event for event in events if event.op == Op.FAIL]
    assert 4000 - p.turn <= failed.at <= 4000 + p.turn + p.delay
    assert {int(slot) for slot in p._memory["voice_memory"]["slot"][: p.voices]} == {p.fallback}
    assert np.isfinite(audio).all()
    assert np.abs(audio[-1500:]).max() > 0.01
    if case != "panicking":  # no hole: 3 ms die away, and 10 rise
        quiet = np.abs(audio[4000:6000]).max(1).reshape(-1, 100).max(1) < 1e-3
        assert quiet.sum() < 3
    check_replay(p, audio, events, **set_up)


def test_what_goes_on_has_heard_what_was_said():
    """The fallback is the same network: primed with the voice's last samples, it is where that voice was."""
    p, word = a_set(("gru",), 1, fallback="gru")
    _, events = play(p, word, 4000)
    (primed,) = [event for event in events if event.op == Op.PRIMED]
    assert primed.value == 2048
    assert primed.number == p.fallback
    lanes = [slot.program.state for slot in p.slots]
    assert lanes[0] != lanes[1]


def test_no_network_there_is_can_be_asked_for_any_more():
    p, word = a_set()
    _, events = play(p, word, 4000, commands=[Command(6000, Op.SWITCH, number=1), Command(6100, Op.DROP, number=1)])
    assert [(e.op, e.flags) for e in events if e.at >= 6000] == [(Op.SWITCH, REFUSED), (Op.DROP, 0)]


def test_a_history_stays_where_it_was_put():
    p, word = a_set(("gru", "gru"), 1, history=True, joining=2, parameters=[[1.0, 0.0, 0.0, 0.0, 0.0]])
    assert p.fallback == 4
    moves = [Command(at, Op.SET, parameter=MATURITY, value=at > 4000) for at in (2000, 6000)]
    _, events = play(p, word, 4000, commands=moves)
    assert [e.number for e in events if e.op == Op.SWITCHED and e.at > 4000 - p.turn] == [p.fallback]


@pytest.mark.parametrize("voices", [1, 3])
def test_without_a_fallback_the_set_fades_out(voices):
    p, word = a_set(voices=voices, fallback=None)
    audio, events = play(p, word, 4000)
    assert len(audio) < 4000 + p.closing + 3 * p.turn + p.delay
    assert [e.op for e in events[-2:]] == [Op.FAIL, Op.ENDED]
    steps = np.abs(np.diff(audio, axis=0)).max(1)
    assert steps[4000:].max() <= steps[:4000].max()  # it dies away, without a click
    assert np.abs(audio[4000 + p.turn + RATE // 50 :]).max() < 0.05
    assert p.failure == 719
    check_replay(p, audio, events, voices=voices, fallback=None)


def test_a_healthy_set_is_the_same_with_a_fallback_as_without():
    with_one, without = a_set(), a_set(fallback=None)
    audio, events = play(with_one[0])
    np.testing.assert_array_equal(audio, play(without[0])[0])
    assert events == []
    assert with_one[0].failure == 0
