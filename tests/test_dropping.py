"""What is dropped and freed is looked at no more: by partners, stored loops and attacks that are still being said."""

import gc

import numpy as np
import pytest
from fake_program import make_program
from networks import network
from test_audio_loop import offline, play
from test_partners import SEED, pair, row, slot

from engine.generator import make_generator
from instrument.audio.slots import Places, Slot
from instrument.controls import KEEP_STATE, REFUSED, Command, Op

GLIDE = 882


def told(events):
    """When which slot was asked to go, and whether it went."""
    return [(e.at, e.number, not e.flags & REFUSED) for e in events if e.op == Op.DROP]


def dropping(at, number):
    return Command(at, Op.DROP, number=number)


def free(p, k):
    """As a session does once the DROP was told."""
    p.unload(k)
    gc.collect()
    assert p.table.records["state"][k] == 0


def test_a_partner_is_kept_until_it_has_faded_out():
    p = pair(prime_length=600, parameters=[row(0.5)])
    commands = [
        dropping(900, 1),
        Command(2001, Op.PARTNER, number=2),
        dropping(2002, 2),  # listening
        dropping(4000, 2),  # playing along
        Command(5001, Op.PARTNER, number=-1),
        dropping(5002, 2),  # fading out
        dropping(5001 + GLIDE - 1, 2),
        dropping(5001 + GLIDE + p.turn, 2),
    ]
    _, events = play(p, 8000, commands)
    assert [gone for _, _, gone in told(events)] == [True, False, False, False, False, True]
    free(p, 1)
    free(p, 2)
    audio, _ = play(p, 12_000)
    assert np.abs(audio).max() > 0.01


def test_a_partner_of_the_network_that_comes_is_kept():
    """Primed along, crossfaded, and one that is asked for although it fits neither network now."""
    p = pair(partners=[1], parameters=[row(0.5)], prime_length=900)
    commands = [
        Command(3001, Op.SWITCH, number=2, ramp=3000),
        *(dropping(at, 1) for at in (3002, 3300, 4500, 8000)),
        dropping(8000, 0),
    ]
    _, events = play(p, 9000, commands)
    assert [gone for _, _, gone in told(events)] == [False, False, False, False, True]


def test_a_parked_voices_partner_is_kept():
    p = pair(partners=[1], parameters=[row(0.5)])
    _, events = play(p, 9000, [Command(3000, Op.PARK), dropping(6000, 1), Command(6500, Op.WAKE)])
    assert told(events) == [(6000, 1, False)]


def test_a_loop_ends_after_the_network_before_has_gone():
    p = offline([Slot(make_program()), Slot(make_program(period=70))])
    play(p, 4000, [Command(1000, Op.SWITCH, number=1, ramp=100), dropping(3900, 0)])
    free(p, 0)
    commands = [Command(5000, Op.LOOP, number=1000), Command(8500, Op.UNLOOP), Command(8600, Op.RESEED, parameter=0)]
    audio, events = play(p, 12_000, commands)
    assert [e.flags & REFUSED for e in events] == [0, 0, 0]
    assert np.abs(audio).max() > 0.1


def speaking():
    """A network that has a moment whose attack is long."""
    said = np.arange(4000, dtype=np.int32)[None] % 32
    checkpoint = network("gru")
    playing = make_generator(checkpoint, spare=2)
    hidden = playing.hidden(0), np.arange(checkpoint.config.lookback, dtype=np.int32)
    places = Places(playing.frozen(*hidden)[None], said, np.array([0.25], np.float32))
    return Slot(playing.program, moments=places)


@pytest.mark.parametrize("looped", [False, True])
def test_whose_attack_is_being_said_is_kept(looped):
    """The other network goes on with it; a loop comes back to it."""
    p = offline([speaking(), slot("gru", weights=3)], seed=SEED)
    commands = [
        Command(3001, Op.MOMENT, number=0),
        Command(3101, Op.SWITCH, number=1, ramp=100, flags=KEEP_STATE),
        dropping(5001, 0),
        dropping(9001, 0),
        Command(10_001, Op.UNLOOP),
        dropping(12_001, 0),
    ]
    if looped:
        commands.insert(2, Command(3501, Op.LOOP, number=20_000))
    _, events = play(p, 14_000, commands)
    if looped:
        assert told(events) == [(5001, 0, False), (9001, 0, False), (12_001, 0, True)]
    else:
        assert told(events) == [(5001, 0, False), (9001, 0, True), (12_001, 0, False)]
    free(p, 0)
    play(p, 16_000)


def test_a_loop_brings_no_other_network_back_in_a_partners_place():
    """What the place's former network had in mind is not the new one's."""
    p = pair(partners=[1], parameters=[row(1.0)], prime_length=600)
    commands = [Command(2001, Op.LOOP, number=6000), Command(3001, Op.PARTNER, number=-1), dropping(5000, 1)]
    _, events = play(p, 6000, commands)
    assert told(events) == [(5000, 1, True)]
    free(p, 1)
    k, _ = p.load(slot("lstm", weights=9), 1)
    play(p, 6500, [Command(6100, Op.LOAD, number=k), Command(6200, Op.PARTNER, number=k)])
    play(p, 9000)
    key, _, clock, *_ = p.table.slots[k].header(1)
    assert key == SEED
    assert clock > 0
