"""A training history on the render loop: epochs that join while it plays."""

import numpy as np
import pytest
from fake_program import make_program
from networks import network
from test_audio_loop import blocks, jumps, offline, play
from test_audio_networks import SEED, made, slot, sound_of

from engine.generator import make_generator
from engine.quantize import dequantize
from instrument.audio.making import GROWING_S
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
from instrument.controls import KEEP_STATE, MATURITY, OVERTAKEN, REFUSED, Command, Op
from instrument.replay import commands_of

RATE = 44100
GROWING = int(GROWING_S * RATE)


def history(slots, joining, voices=1, **more):
    """A performance of ``slots``, and ``joining`` ready behind them."""
    p = offline(slots, voices=voices, history=True, joining=len(joining), **more)
    assert [p.add(each) for each in joining] == list(range(len(slots) + 1, len(slots) + len(joining) + 1))
    return p


def moved(events):
    return [(e.at, e.voice, e.number, e.flags) for e in events if e.op == Op.SWITCHED]


@pytest.mark.parametrize("at", [4000, 4001, 4016])
def test_the_newest_is_taken_up_at_its_sample_with_the_state_of_the_one_before(at):
    """The same weights join: not one sample may change, as if nothing had happened."""
    p = history([slot("gru", weights=1), slot("gru")], [slot("gru")], seed=SEED, start=[1])
    _, events = play(p, 9000, [Command(at, Op.GROW, number=3)])
    line = -(-at // p.turn) * p.turn
    assert [(e.at, e.number, e.flags) for e in events if e.op == Op.GROW] == [(at, 3, 0)]
    assert moved(events) == [(line, 0, 2, KEEP_STATE)]
    assert [(e.at, e.number) for e in events if e.op == Op.SETTLED] == [(line + GROWING, 2)]
    generator = make_generator(network("gru"), seed=SEED)
    generator.reset()
    wanted = dequantize(generator.generate(made(p))[0], network("gru").config)
    np.testing.assert_array_equal(sound_of(p)[: made(p)], wanted)


def test_it_is_silent_until_it_is_let_in():
    """Ready behind the bank, it is nobody's: neither by maturity nor by name."""
    p = history([slot("gru")], [slot("gru", weights=1)], seed=SEED)
    _, events = play(
        p, 6000, [Command(1000, Op.SWITCH, number=1), Command(2000, Op.SET, parameter=MATURITY, value=0.5)]
    )
    assert [(e.op, e.flags) for e in events] == [(Op.SWITCH, REFUSED), (Op.SET, 0)]
    _, events = play(p, 12_000, [Command(8000, Op.GROW, number=2), Command(8000, Op.SWITCH, number=1)])
    assert [(e.op, e.flags & REFUSED) for e in events if e.op in (Op.GROW, Op.SWITCH)] == [(Op.GROW, 0), (Op.SWITCH, 0)]


def test_joining_makes_no_click_and_no_hole():
    def sines():
        return [Slot(make_program(period=n)) for n in (100, 83, 120, 71)]

    first, *others = sines()
    p = history([first], others)
    audio, events = play(p, 30_000, [Command(6000 + 5001 * i, Op.GROW, number=i + 2) for i in range(3)])
    assert [number for _, _, number, _ in moved(events)] == [1, 2, 3]
    alone = [play(offline([each]), 12_000)[0][3000:] for each in sines()]
    assert jumps(audio[3000:]) < np.sqrt(2) * max(map(jumps, alone)) + 0.01
    assert blocks(audio[3000:]).min() > 0.5 * min(blocks(each).min() for each in alone)


def test_every_voice_goes_where_its_maturity_says_unless_it_was_put_elsewhere():
    slots, joining = [slot("gru", 4, k) for k in range(3)], [slot("gru", 4, k) for k in (3, 4)]
    values = [[1.0, 0, 0, 0, maturity] for maturity in (1.0, 0.0, 0.5, 1.0)]
    p = history(slots, joining, 4, seed=SEED, start=[2, 0, 1, 2], parameters=values)
    by_hand = Command(1000, Op.SWITCH, voice=3, number=0, ramp=100, flags=KEEP_STATE)
    _, events = play(p, 20_000, [by_hand, *(Command(4000 * i, Op.GROW, number=i + 3) for i in (1, 2))])
    assert moved(events) == [
        (1000, 3, 0, KEEP_STATE),
        *((4000, v, k, KEEP_STATE) for v, k in ((0, 3), (2, 2))),
        (8000, 0, 4, KEEP_STATE),
    ]
    _, events = play(p, 30_000, [Command(24_000, Op.SET, voice=3, parameter=MATURITY, value=0.75, ramp=1)])
    assert moved(events) == [(24_000, 3, 3, KEEP_STATE)]


def test_what_joins_obeys_the_rules_of_the_last_that_was_measured():
    slots = [slot("gru"), slot("gru", weights=1)]
    timing = offline(slots).timing | {"prime_length": [800, 1000], "prime_rate": [2, 3]}
    timing["crossfade"] = [[300, 400], [500, 600]]
    p = Performance(slots, sample_rate=RATE, offline=True, timing=timing, history=True, joining=2, start=[1])
    p.add(slot("gru", weights=2))
    commands = [Command(4000, Op.GROW, number=3)]
    commands += [Command(at, Op.SWITCH, number=k, ramp=5000) for at, k in ((8000, 0), (14_000, 2), (20_000, 1))]
    _, events = play(p, 26_000, commands)
    assert [(e.number, e.ramp) for e in events if e.op == Op.SWITCHED] == [(2, 600), (0, 500), (2, 400), (1, 600)]
    assert [(e.number, e.value) for e in events if e.op == Op.PRIMED] == [(0, 1600), (2, 1500), (1, 1500)]


def test_neither_cuts_nor_a_replay_change_anything():
    def bank():
        return [slot("gru", 2, k) for k in range(5)]

    def made_of(slots):
        return history(slots[:2], slots[2:], 2, seed=SEED, start=[1, 1])

    commands = [
        Command(1500, Op.GROW, number=3),
        Command(1600, Op.SET, parameter=MATURITY, value=0.2, ramp=3000),
        Command(3003, Op.GROW, number=4),
        Command(3003, Op.SET, voice=0, parameter=MATURITY, value=1.0),
        Command(5000, Op.GROW, number=5),
    ]
    audio, events = play(made_of(bank()), 12_000, commands)
    cuts = tuple(np.unique(np.random.default_rng(4).integers(1, 12_000, 150)))
    again, told = play(made_of(bank()), 12_000, commands, cuts)
    np.testing.assert_array_equal(again, audio)
    assert told == events
    once_more, retold = play(made_of(bank()), 12_000, commands_of(events))
    np.testing.assert_array_equal(once_more, audio)
    assert retold == events
    unlike, _ = play(made_of(bank()), 12_000, commands[1:])
    assert not np.array_equal(unlike, audio)


def test_a_panic_does_not_keep_an_epoch_out():
    p = history([slot("gru")], [slot("gru", weights=1)], seed=SEED)
    play(p, 3000, [Command(6000, Op.GROW, number=2), Command(6000, Op.SWITCH, number=0)])
    p.link.panic()
    _, events = play(p, 12_000)
    assert {e.op: e.flags & REFUSED for e in events if e.op in (Op.GROW, Op.SWITCH)} == {Op.GROW: 0, Op.SWITCH: REFUSED}
    assert next(e.flags for e in events if e.op == Op.SWITCH) & OVERTAKEN
    _, events = play(p, 20_000, [Command(15_000, Op.RESUME)])
    assert [number for _, _, number, _ in moved(events)] == [1]


def test_what_is_not_there_is_refused():
    p = history([slot("gru")], [slot("gru", weights=1)])
    _, events = play(p, 4000, [Command(1000, Op.GROW, number=n) for n in (0, 1, 3, -1)])
    assert [(e.number, e.flags) for e in events] == [(n, REFUSED) for n in (0, 1, 3, -1)]
    assert p.full
    with pytest.raises(ValueError, match="no room: this set has room for 2"):
        p.add(slot("gru", weights=2))
    p = offline([slot("gru", 2)], voices=2, history=True, joining=1)
    for other in (slot("lstm", 2), slot("gru", 1), Slot(make_generator(network("gru")).program, precision="fp32")):
        with pytest.raises(ValueError, match="cannot join it"):
            p.add(other)
    assert not p.full


def test_a_set_that_nothing_joins_has_no_room():
    p = offline([slot("gru"), slot("lstm")])
    assert p.full
    assert len(history([slot("gru"), slot("lstm")], [])._memory["slot_memory"]) == 2
