"""Partners in the loop: what is drawn is what two generators draw together, wherever turns end."""

import numpy as np
import pytest
from networks import network
from test_audio_loop import offline, play
from test_audio_networks import made
from test_stereo_loop import sound_of

from engine.generator import make_generator
from engine.quantize import dequantize
from instrument.audio.slots import Slot
from instrument.controls import BLEND, KEEP_STATE, REFUSED, Command, Op

SEED, RATE = 7, 4


def slot(name, stereo=(False,), weights=0):
    checkpoint = network(name, weights)
    generator = make_generator(checkpoint, voices=len(stereo), stereo=stereo, spare=2 * len(stereo))
    return Slot(generator.program, name=name)


def pair(name="gru", other="lstm", stereo=(False,), **rest):
    return offline(
        [slot(name, stereo), slot(other, stereo), slot("gru", stereo, 3)], seed=SEED, prime_rate=RATE, **rest
    )


def row(blend):
    values = [1.0] + [0.0] * 12
    values[4], values[7], values[8], values[9], values[10] = 1.0, 1.0, 1.0, 1.0, blend
    return values


@pytest.mark.parametrize("stereo", [False, True])
def test_from_the_start_it_draws_what_the_generators_draw(stereo):
    p = pair(stereo=(stereo,), partners=[1], parameters=[row(0.4)])
    play(p, 3000, cuts=(1, 20, 777))
    ours, theirs = (make_generator(network(name), seed=SEED, stereo=stereo) for name in ("gru", "lstm"))
    theirs.reset()
    tokens = ours.generate(made(p), 1.0, theirs, 0.4).reshape(1 + stereo, -1)
    for side in range(1 + stereo):
        np.testing.assert_array_equal(sound_of(p, side)[: made(p)], dequantize(tokens[side], network("gru").config))


def test_a_partner_without_a_share_changes_nothing():
    alone, _ = play(pair(), 9000)
    commands = [Command(1001, Op.PARTNER, number=1), Command(5001, Op.PARTNER, number=-1)]
    beside, events = play(pair(), 9000, commands)
    np.testing.assert_array_equal(alone, beside)
    assert [(e.at, e.op, e.number, e.flags) for e in events] == [(1001, Op.PARTNER, 1, 0), (5001, Op.PARTNER, -1, 0)]


def test_a_partner_is_primed_with_what_was_said_and_fades_in():
    p = pair(prime_length=600, parameters=[row(1.0)])
    at, glide = 3001, 882
    arrives = at + 200  # 600 samples at four for each one said
    play(p, 9000, [Command(at, Op.PARTNER, number=1)])
    ours, theirs = (make_generator(network(name), seed=SEED) for name in ("gru", "lstm"))
    said = ours.generate(arrives)
    np.testing.assert_array_equal(sound_of(p)[:arrives], dequantize(said[0], ours.config))
    theirs.prime(said[:, at - 600 :])
    x = np.minimum((np.arange(made(p) - arrives) + 1) / glide, 1.0)
    share = x * x * (3.0 - 2.0 * x)
    tokens = ours.generate(len(share), 1.0, theirs, share)
    np.testing.assert_array_equal(sound_of(p)[arrives : made(p)], dequantize(tokens[0], ours.config))


COMMANDS = [
    Command(1001, Op.PARTNER, number=1),
    Command(1500, Op.SET, parameter=BLEND, value=0.7, ramp=3000),
    Command(4001, Op.SWITCH, number=2, ramp=500),
    Command(7003, Op.PARTNER, number=0),
    Command(7500, Op.LOOP, number=1234),
    Command(11_111, Op.SWITCH, number=0, ramp=300, flags=KEEP_STATE),
    Command(12_500, Op.RESEED, parameter=2),
    Command(12_600, Op.PARTNER, number=2),
    Command(13_000, Op.PARTNER, number=-1),
    Command(13_100, Op.PARTNER, number=1),
    Command(14_000, Op.PANIC),
    Command(17_000, Op.PARTNER, number=2),
    Command(18_000, Op.RESUME),
]


@pytest.mark.parametrize("stereo", [False, True])
def test_turns_may_be_cut_anywhere(stereo):
    """Taken, dropped, exchanged, looped, carried through switches and panics."""
    ways = []
    for cuts in ((), (1, 1010, 1333, 4002, 4321, 7004, 7300, 11_112, 12_601, 13_050, 17_001)):
        p = pair(stereo=(stereo,), prime_length=900)
        ways.append(play(p, 22_000, COMMANDS, cuts))
    np.testing.assert_array_equal(ways[0][0], ways[1][0])
    assert ways[0][1] == ways[1][1]
    assert not any(e.flags & REFUSED for e in ways[0][1])
    assert np.abs(ways[0][0][20_000:]).max() > 0.01


def test_a_switch_brings_the_partner_along():
    """At a full blend the voice's own network does not matter, but for what the new one was primed with."""
    p = pair(partners=[1], parameters=[row(1.0)], prime_length=900)
    play(p, 12_000, [Command(4001, Op.SWITCH, number=2, ramp=500)])
    decks = p._memory["deck_memory"]
    deck = decks[int(p._memory["voice_memory"]["deck"][0])]
    assert (deck["slot"], deck["partner"], deck["company"]) == (2, 1, 3)
    assert np.abs(sound_of(p)[5000 : made(p)]).max() > 0.1


def test_what_does_not_fit_is_refused():
    slots = [slot("gru"), slot("mu-law"), slot("lstm")]
    commands = [Command(1000 + n, Op.PARTNER, number=n) for n in (1, 2, 3, 300)]
    _, events = play(offline(slots, seed=SEED), 3000, commands)
    assert [e.flags & REFUSED for e in events] == [REFUSED, 0, REFUSED, REFUSED]


def test_a_partner_taken_while_it_plays_is_counted():
    p = pair()
    p.table.alone.clear()
    p.table.costs.update({0: (15.0, 0.5), 1: (12.0, 0.5), 2: (9.0, 0.4)})
    play(p, 1000)
    assert (p.partners, p.overload) == ((-1,), "")
    play(p, 2000, [Command(1001, Op.PARTNER, number=1)])
    assert p.partners == (1,)
    assert p.overload.startswith("1 voice of gru with 1 partner takes 119% of the time there is: expect gaps;")
    late = p.table.rules(3, slot("gru"), (9.0, 0.4), p.partners, sample_rate=44100, voices=1, ring_frames=512)
    alone = p.table.rules(3, slot("gru"), (9.0, 0.4), sample_rate=44100, voices=1, ring_frames=512)
    assert late.prime_length <= alone.prime_length
    assert late.pairs[0][3] < alone.pairs[0][3]
    play(p, 4000, [Command(3001, Op.PARTNER, number=-1)])
    assert p.overload == ""


def test_a_loop_with_a_partner_is_the_same_every_time():
    p = pair(partners=[1], parameters=[row(0.5)])
    play(p, 9000, [Command(2001, Op.LOOP, number=1500)], cuts=(2500, 4444))
    heard = sound_of(p)
    np.testing.assert_allclose(heard[3001:3501], heard[4501:5001], atol=1e-3)
    np.testing.assert_allclose(heard[3001:3501], heard[6001:6501], atol=1e-3)
