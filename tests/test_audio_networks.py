"""The loop with real networks: it draws what the generator draws, whatever is done to a voice on the way."""

import numpy as np
import pytest
from networks import network
from test_audio_loop import offline, play

from engine.generator import make_generator
from engine.quantize import dequantize, levels
from instrument.audio.slots import SETTLING_S, Places, Slot
from instrument.audio.state import PAST
from instrument.controls import GAIN, KEEP_STATE, MATURITY, REFUSED, TEMPERATURE, Command, Op

SEED = 7


def slot(name, voices=1, weights=0):
    checkpoint = network(name, weights)
    return Slot(make_generator(checkpoint, voices=voices).program, name=name)


def sound_of(p, voice=0, deck=None):
    """What the networks of a voice said, as long as the loop remembers it."""
    deck = int(p._memory["voice_memory"]["deck"][voice]) if deck is None else deck
    return p._memory["past"][voice, deck]


def made(p):
    """Samples the networks have made, at the session's rate."""
    return p.report()["samples"] + p.delay


@pytest.mark.parametrize("name", ["gru", "lstm", "mu-law"])
def test_it_draws_what_the_generator_draws(name):
    checkpoint = network(name)
    n = 3000
    p = offline([slot(name, 2)], voices=2, seed=SEED, parameters=[[0.9, 0, 0, 0], [1.2, 0, 0, 0]])
    play(p, n, cuts=(1, 20, 77, 1234))
    generator = make_generator(checkpoint, voices=2, seed=SEED)
    generator.reset()
    tokens = generator.generate(made(p), np.array([[0.9], [1.2]]))
    for voice in (0, 1):
        wanted = dequantize(tokens[voice], checkpoint.config)
        np.testing.assert_allclose(sound_of(p, voice)[: made(p)], wanted, atol=2e-6)


def test_kept_state_goes_on_as_if_nothing_had_happened():
    """The same weights in another slot: with state and dice handed over, the samples must not change at all."""
    p = offline([slot("gru"), slot("gru")], seed=SEED)
    play(p, 9000, [Command(4001, Op.SWITCH, number=1, ramp=500, flags=KEEP_STATE)])
    generator = make_generator(network("gru"), seed=SEED)
    generator.reset()
    wanted = dequantize(generator.generate(made(p))[0], network("gru").config)
    assert p._memory["voice_memory"]["slot"][0] == 1
    np.testing.assert_array_equal(sound_of(p)[: made(p)], wanted)


def test_primed_network_goes_on_from_what_was_played():
    p = offline([slot("gru"), slot("gru", weights=5)], seed=SEED, prime_rate=4, prime_length=2100)
    _, events = play(p, 9000, [Command(4001, Op.SWITCH, number=1, ramp=500)])
    switched = next(e for e in events if e.op == Op.SWITCHED)
    assert switched.at == 4001 + 700
    old = make_generator(network("gru"), seed=SEED)
    old.reset()
    played = old.generate(switched.at)
    new = make_generator(network("gru", 5), seed=SEED)
    new.generate(switched.at)  # only so that the dice are where the voice's are
    new.reset()
    new.prime(played[:, -int(switched.value) :])
    wanted = dequantize(new.generate(made(p) - switched.at)[0], network("gru").config)
    np.testing.assert_array_equal(sound_of(p)[switched.at : made(p)], wanted)


def moments_of(name, weights=0, attack=0, voices=1):
    """A slot with two moments: the states after two stretches of noise, and those stretches; and what follows them."""
    checkpoint = network(name, weights)
    c = checkpoint.config
    rng = np.random.default_rng(1)
    stretches = [rng.integers(0, c.q_levels, 10 * c.hop).astype(np.int32) for _ in range(2)]
    generator = make_generator(checkpoint)
    states = []
    for stretch in stretches:
        generator.reset()
        generator.prime(stretch)
        states.append((generator.hidden(0), stretch[-c.lookback :]))
    playing = make_generator(checkpoint, voices=voices)
    frozen = np.stack([playing.frozen(*state) for state in states])
    before = np.array([0.25, -0.5], np.float32)
    said = rng.integers(0, c.q_levels, (2, attack)).astype(np.int32)
    return Slot(playing.program, name=name, moments=Places(frozen, said, before)), states, said


@pytest.mark.parametrize("attack", [0, 7, 1001])
@pytest.mark.parametrize("name", ["gru", "lstm", "mu-law"])
def test_a_moment_is_jumped_to_at_its_sample_without_a_click(name, attack):
    """Its attack is said to the sample, wherever turns end, and then the network's own dice go on."""
    checkpoint, at, n = network(name), 3001, 9000
    here, states, said = moments_of(name, attack=attack)
    p = offline([here], seed=SEED)
    _, events = play(p, n, [Command(at, Op.MOMENT, number=1), Command(at + 10, Op.MOMENT, number=2)])
    assert [(e.at, e.number, e.flags) for e in events] == [(at, 1, 0), (at + 10, 2, REFUSED)]
    generator = make_generator(checkpoint, seed=SEED)
    generator.reset()
    before = generator.generate(at)
    generator.jump(0, *states[1])
    generator.prime(said[1])
    after = np.concatenate([said[1:], generator.generate(made(p) - at - attack)], axis=1)
    heard = sound_of(p)[: made(p)]
    np.testing.assert_array_equal(heard[:at], dequantize(before[0], checkpoint.config))
    raw = levels(checkpoint.config)[after[0]].astype(np.float64)
    wanted, y = np.empty(len(raw)), -0.5
    for i, x in enumerate(raw):
        wanted[i] = y = x + checkpoint.config.preemphasis * y
    step = heard[at - 1] - wanted[0]
    smooth = wanted + step * np.exp(-np.arange(len(wanted)) / (SETTLING_S * checkpoint.config.sample_rate))
    np.testing.assert_allclose(heard[at:], np.clip(smooth, -1, 1), atol=3e-6)
    assert heard[at] == pytest.approx(heard[at - 1], abs=1e-6)


def test_who_speaks_disturbs_nobody_and_speaks_on_through_a_switch_that_keeps_its_state():
    """The same weights in another slot: the switch in the middle of an attack is not heard at all."""
    here, states, said = moments_of("gru", attack=1500, voices=2)
    p = offline([here, slot("gru", voices=2)], voices=2, seed=SEED)
    commands = [
        Command(1001, Op.MOMENT, voice=0, number=1),
        Command(1777, Op.SWITCH, voice=0, number=1, ramp=300, flags=KEEP_STATE),
    ]
    play(p, 7000, commands, cuts=(3, 1500, 2222))
    config = network("gru").config
    alone = make_generator(network("gru"), voices=2, seed=SEED)
    alone.reset()
    np.testing.assert_array_equal(sound_of(p, 1)[: made(p)], dequantize(alone.generate(made(p))[1], config))
    generator = make_generator(network("gru"), seed=SEED)
    generator.reset()
    before = generator.generate(1001)[0]
    generator.jump(0, *states[1])
    generator.prime(said[1])
    after = np.concatenate([said[1], generator.generate(made(p) - 1001 - 1500)[0]])
    heard, wanted = sound_of(p, 0)[: made(p)], dequantize(np.concatenate([before, after]), config)
    np.testing.assert_array_equal(heard[:1001], wanted[:1001])
    step = heard[1000] - wanted[1001]
    smooth = wanted[1001:] + step * np.exp(-np.arange(len(wanted) - 1001) / (SETTLING_S * config.sample_rate))
    np.testing.assert_allclose(heard[1001:], np.clip(smooth, -1, 1), atol=3e-6)


def test_every_voice_jumps_where_its_network_has_the_moment():
    (first, _, _), second = moments_of("gru"), slot("gru", weights=5)
    p = offline([first, second], seed=SEED, start=[0])
    commands = [Command(1000, Op.SWITCH, number=1, ramp=10, flags=KEEP_STATE), Command(2000, Op.MOMENT, number=0)]
    _, events = play(p, 4000, commands)
    assert [e.flags for e in events if e.op == Op.MOMENT] == [REFUSED]


def test_maturity_moves_through_a_history_with_its_state():
    """Each epoch begins where the one before is, on the grid, wherever the calls are cut; other banks do not move."""

    def heard(cuts, history=True):
        bank = [slot("gru", weights=k) for k in range(4)]
        p = offline(bank, seed=SEED, start=[3], history=history)
        commands = [
            Command(1001, Op.SET, parameter=MATURITY, value=0.0, ramp=6000),
            Command(9000, Op.SET, parameter=MATURITY, value=0.6, ramp=1),
            Command(12_000, Op.SWITCH, number=0, ramp=100, flags=KEEP_STATE),
        ]
        return play(p, 16_000, commands, cuts)

    audio, events = heard(())
    switched = [(e.number, e.flags) for e in events if e.op == Op.SWITCHED]
    assert switched == [(k, KEEP_STATE) for k in (2, 1, 0, 2, 0)]
    again, others = heard((7, 1003, 2222, 3333, 9009))
    np.testing.assert_array_equal(again, audio)
    assert others == events
    _, still = heard((), history=False)
    assert [e.number for e in still if e.op == Op.SWITCHED] == [0]


def test_cuts_change_nothing():
    def heard(cuts):
        bank = [slot("gru", 2), slot("lstm", 2), slot("mu-law", 2), slot("gru", 2, 3)]
        commands = [
            Command(900, Op.SET, parameter=TEMPERATURE, value=0.5, ramp=3000),
            Command(1500, Op.SWITCH, number=1, ramp=800),
            Command(2100, Op.RESEED, voice=1, parameter=2),
            Command(4000, Op.SWITCH, voice=0, number=2, ramp=300),
            Command(5000, Op.SEED, number=99),
            Command(5500, Op.SWITCH, voice=1, number=3, ramp=2000, flags=KEEP_STATE),
            Command(6000, Op.SET, voice=1, parameter=GAIN, value=-3.0),
            Command(8500, Op.PANIC),
            Command(10_500, Op.RESUME),
        ]
        return play(offline(bank, voices=2, seed=SEED, prime_length=900), 14_000, commands, cuts)

    audio, events = heard(())
    again, told = heard(tuple(np.unique(np.random.default_rng(2).integers(1, 14_000, 150))))
    np.testing.assert_array_equal(audio, again)
    assert sorted(map(repr, events)) == sorted(map(repr, told))
    assert len(audio) < PAST
