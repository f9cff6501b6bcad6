"""Slots that come and go on the render loop, and voices that are parked: at their sample, without a click, replayed."""

import time
from dataclasses import replace

import numpy as np
import pytest
from fake_program import make_fake, make_program
from test_audio_loop import RATE, blocks, jumps, offline, play

from instrument.audio.making import REST_S
from instrument.audio.slots import Slot
from instrument.audio.table import ROOM, Rules
from instrument.audio.timing import UNLIMITED
from instrument.controls import REFUSED, Command, Op
from instrument.shared import W_HORIZON, set_word

REST = int(REST_S * RATE)


def sine(period=100, voices=1, **config):
    return Slot(make_program(period=period, voices=voices, **config), name=f"sine-{period}")


def rules(others, rate=4, length=2000, fade=UNLIMITED):
    return Rules(length, tuple((other, rate, rate, fade, fade) for other in others))


def told(events, *ops):
    return [(e.at, e.op, e.voice, e.number, e.flags) for e in events if e.op in ops]


def test_what_is_loaded_is_switched_to_and_what_nobody_plays_is_dropped():
    p = offline([sine()])
    assert p.load(sine(70), rules=rules([0]))[0] == 1
    _, events = play(p, 4000, [Command(500, Op.SWITCH, number=1), Command(1000, Op.LOAD, number=1)])
    assert told(events, Op.SWITCH, Op.LOAD) == [(500, Op.SWITCH, -1, 1, REFUSED), (1000, Op.LOAD, -1, 1, 0)]
    commands = [
        Command(5000, Op.SWITCH, number=1, ramp=400),
        Command(5001, Op.DROP, number=0),
        Command(5001, Op.DROP, number=1),
        Command(9000, Op.DROP, number=0),
        Command(9001, Op.SWITCH, number=0),
        Command(9001, Op.DROP, number=1),
    ]
    audio, events = play(p, 12_000, commands)
    assert told(events, Op.DROP, Op.SWITCH) == [
        (5000, Op.SWITCH, -1, 1, 0),
        (5001, Op.DROP, -1, 0, REFUSED),
        (5001, Op.DROP, -1, 1, REFUSED),
        (9000, Op.DROP, -1, 0, 0),
        (9001, Op.SWITCH, -1, 0, REFUSED),
        (9001, Op.DROP, -1, 1, REFUSED),
    ]
    assert blocks(audio).min() > 0.1
    p.unload(0)
    assert p.load(sine(50), rules=rules([1]))[0] == 0
    _, events = play(p, 16_000, [Command(13_000, Op.LOAD, number=0), Command(13_001, Op.SWITCH, number=0, ramp=100)])
    assert told(events, Op.SETTLED)[-1][3] == 0


def test_a_free_place_a_full_one_and_one_that_is_not_there_are_refused():
    p = offline([sine()])
    commands = [Command(100 + i, Op.LOAD, number=k) for i, k in enumerate((0, 1, -1, ROOM, 1 << 40))]
    commands += [Command(200 + i, Op.DROP, number=k) for i, k in enumerate((0, 1, -1, ROOM, 1 << 40))]
    _, events = play(p, 2000, commands)
    assert [e.flags for e in events] == [REFUSED] * 10


def test_a_slot_that_waits_behind_a_crossfade_or_is_primed_is_not_dropped():
    p = offline([sine(), sine(70), sine(50)])
    commands = [
        Command(2000, Op.SWITCH, number=1, ramp=3000),
        Command(2100, Op.DROP, number=1),  # primed
        Command(4000, Op.SWITCH, number=2),  # waits
        Command(4100, Op.DROP, number=2),
        Command(4100, Op.DROP, number=0),
    ]
    _, events = play(p, 12_000, commands)
    assert [e.flags for e in events if e.op == Op.DROP] == [REFUSED] * 3


def test_a_rate_that_needs_more_delay_than_there_is_does_not_join():
    p = offline([sine()])
    with pytest.raises(ValueError, match="sine-70: its 8000 Hz cannot join"):
        p.load(sine(70, sample_rate=8000))
    assert p.table.free() == 1
    with pytest.raises(ValueError, match="1 lanes: 2 expected"):
        offline([sine(voices=2)], voices=2).load(sine())


def test_the_table_ends_somewhere():
    p = offline([sine()])
    p.table.slots.update(dict.fromkeys(range(ROOM), p.slots[0]))
    with pytest.raises(ValueError, match="no room: a set holds 256 checkpoints at once"):
        p.load(sine(70))


def test_rules_are_measured_and_obeyed():
    p = offline([sine()])
    k, found = p.load(sine(70))
    assert [row[0] for row in found.pairs] == [0]
    again = offline([sine()])
    again.load(sine(70), k, replace(found, prime_length=900, pairs=((0, 3, 5, 700, 800),)))
    commands = [
        Command(1000, Op.LOAD, number=1),
        Command(3000, Op.SWITCH, number=1, ramp=5000),
        Command(8000, Op.SWITCH, number=0, ramp=5000),
    ]
    _, events = play(again, 12_000, commands)
    assert [e.ramp for e in events if e.op == Op.SWITCHED] == [700, 800]
    primed = [e for e in events if e.op == Op.PRIMED]
    assert primed[0].value == 900.0 + 450
    assert primed[0].at - 3000 == 450  # 900 samples behind, gained at 3 - 1 a sample


def test_a_parked_voice_is_not_generated_and_wakes_afresh():
    fake = make_fake(voices=2)
    p = offline([Slot(fake.program)], voices=2)
    audio, events = play(p, 20_000, [Command(5000, Op.PARK, voice=1), Command(12_000, Op.WAKE, voice=1)], (11_000,))
    assert told(events, Op.PARK, Op.WAKE) == [(5000, Op.PARK, 1, 0, 0), (12_000, Op.WAKE, 1, 0, 0)]
    clocks = fake.state[:, 2]
    assert clocks[0] >= 20_000
    assert clocks[1] <= 20_000 - 12_000 + p.delay + p.turn  # begun afresh at the wake
    plain, _ = play(offline([sine(voices=2)], voices=2), 20_000)
    assert jumps(audio) <= jumps(plain) * 1.1


def test_parked_voices_fade_and_cost_nothing():
    fake = make_fake(voices=2)
    p = offline([Slot(fake.program)], voices=2)
    play(p, 6000, [Command(3000, Op.PARK, voice=0)])
    before = fake.state[0, 1]
    assert 3000 + REST <= before <= 3000 + REST + p.delay + p.turn
    assert p.link.telemetry().voices[0].phase == 3
    play(p, 9000)
    assert fake.state[0, 1] == before
    audio, _ = play(p, 14_000, [Command(9500, Op.PARK, voice=1)])
    assert np.all(audio[2000:] == 0.0)


def test_parked_from_the_first_sample_nothing_is_heard_of_it():
    fake = make_fake(voices=2)
    p = offline([Slot(fake.program)], voices=2)
    one = offline([Slot(make_fake(voices=2).program)], voices=2)
    commands = [Command(0, Op.PARK, voice=1)]
    audio, _ = play(p, 6000, commands)
    assert fake.state[1, 1] <= p.delay
    alone, _ = play(one, 6000, [Command(0, Op.SET, voice=1, parameter=3, value=1.0, ramp=1)])
    np.testing.assert_array_equal(audio, alone)


def test_a_voice_that_is_called_back_while_it_leaves_does_not_jump():
    p = offline([sine()])
    commands = [Command(5000, Op.PARK), Command(5400, Op.WAKE), Command(5700, Op.PARK), Command(5800, Op.WAKE)]
    audio, _ = play(p, 12_000, commands)
    plain, _ = play(offline([sine()]), 12_000)
    assert jumps(audio) <= jumps(plain) * 1.1
    np.testing.assert_array_equal(audio[9000:], plain[9000:])  # it never was away


def test_a_parked_voice_goes_where_it_is_sent_in_silence():
    p = offline([sine(), sine(70)])
    commands = [
        Command(2000, Op.PARK),
        Command(5000, Op.SWITCH, number=1, ramp=2000),
        Command(5100, Op.DROP, number=0),
        Command(7000, Op.WAKE),
    ]
    audio, events = play(p, 12_000, commands)
    assert not told(events, Op.SWITCHED)
    assert [e.flags for e in events if e.op == Op.DROP] == [0]
    assert np.all(audio[4000:7000] == 0.0)
    assert np.abs(audio[9000:]).max() > 0.1


def everything():
    return [
        Command(900, Op.LOAD, number=2),
        Command(1000, Op.SWITCH, number=2, ramp=900),
        Command(1201, Op.PARK, voice=1),
        Command(4000, Op.DROP, number=1),
        Command(4500, Op.SWITCH, voice=0, number=0, ramp=2000),
        Command(6001, Op.WAKE),
        Command(6003, Op.PANIC),
        Command(9000, Op.PARK, voice=0),
        Command(9003, Op.RESUME),
        Command(11_000, Op.WAKE, voice=0),
    ]


@pytest.mark.parametrize("cuts", [(), (1, 17, 999, 1000, 1001, 6002, 6003, 9001), tuple(range(100, 15_000, 37))])
def test_how_it_is_cut_changes_nothing(cuts):
    def made(cuts):
        p = offline([sine(voices=2), sine(70, voices=2)], voices=2)
        p.load(sine(50, voices=2, sample_rate=RATE), rules=rules([0, 1]))
        return play(p, 15_000, everything(), cuts)

    whole, then = made(())
    parts, now = made(cuts)
    np.testing.assert_array_equal(whole, parts)
    assert sorted(then, key=repr) == sorted(now, key=repr)


def longest(p, commands, first, last):
    """The longest turn between two lines of the grid, ns, made one by one."""
    for command in commands:
        assert p.link.push(command)
    p.render_to(first * p.turn)
    times = []
    for line in range(first, last):
        set_word(p.link.shared.words, W_HORIZON, (line + 1) * p.turn)
        begun = time.perf_counter_ns()
        p._run()
        times.append(time.perf_counter_ns() - begun)
    return max(times)


def test_many_voices_that_come_and_go_at_one_sample_cost_no_turn_its_time():
    p = offline([sine(voices=8)], voices=8)
    usual = min(longest(p, [], line, line + 5) for line in range(100, 200, 10))
    rest, found = REST // p.turn, []
    for line in range(300, 3300, 300):
        p.render_to(line * p.turn)
        leave = longest(p, [Command(line * p.turn, Op.PARK)], line + rest - 3, line + rest + 8)
        wake = longest(p, [Command((line + 200) * p.turn, Op.WAKE)], line + 195, line + 205)
        found.append(max(leave, wake))
    assert min(found) < 6 * usual  # to forget all that they had said took 15 times as long
