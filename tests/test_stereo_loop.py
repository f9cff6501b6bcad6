"""Stereo voices in the loop: each side as the generator draws it, mono below 120 Hz, mono voices as they ever were."""

import numpy as np
import pytest
from networks import network
from test_audio_loop import offline, play
from test_audio_networks import made

from engine.generator import make_generator
from engine.quantize import dequantize
from instrument.audio.slots import Places, Slot
from instrument.controls import KEEP_STATE, PAN, WIDTH, Command, Op

SEED = 7


def slot(name, stereo=(True,), weights=0):
    checkpoint = network(name, weights)
    return Slot(make_generator(checkpoint, voices=len(stereo), stereo=stereo, spare=2 * len(stereo)).program, name=name)


def sound_of(p, side=0, voice=0):
    """What a voice said on one side, as long as the loop remembers it."""
    deck = int(p._memory["voice_memory"]["deck"][voice])
    return p._memory["past"][side * p.voices + voice, deck]


def test_each_side_is_what_the_generator_draws():
    p = offline([slot("mu-law", (False, True))], voices=2, seed=SEED)
    play(p, 3000, cuts=(1, 20, 77, 1234))
    generator = make_generator(network("mu-law"), voices=2, seed=SEED, stereo=[False, True])
    tokens = generator.generate(made(p))
    for voice, side in ((0, 0), (1, 0), (1, 1)):
        wanted = dequantize(tokens[side, voice], network("mu-law").config)
        np.testing.assert_allclose(sound_of(p, side, voice)[: made(p)], wanted, atol=2e-6)


def test_a_mono_voice_is_what_it_is_among_mono_voices():
    """And in the middle both its sides are one."""
    alone, _ = play(offline([slot("gru", (False,))], seed=SEED), 4000)
    quiet = [[1.0, 0.0], [1.0, -60.0]]
    rows = [[row[0], row[1], 0.0, 0.0] for row in quiet]
    beside, _ = play(offline([slot("gru", (False, True))], voices=2, seed=SEED, parameters=rows), 4000)
    np.testing.assert_array_equal(alone, beside)
    np.testing.assert_array_equal(alone[:, 0], alone[:, 1])


def test_turns_may_be_cut_anywhere():
    commands = [
        Command(1500, Op.SET, parameter=WIDTH, value=0.2, ramp=700),
        Command(2500, Op.SWITCH, number=1, ramp=400),
        Command(6000, Op.SET, parameter=PAN, value=0.5),
        Command(7000, Op.SWITCH, number=0, ramp=300, flags=KEEP_STATE),
    ]
    ways = []
    for cuts in ((), (1, 2, 999, 1501, 2500, 3333, 7001)):
        p = offline([slot("gru"), slot("gru", weights=3)], seed=SEED, prime_length=700)
        ways.append(play(p, 9000, commands, cuts))
    np.testing.assert_array_equal(ways[0][0], ways[1][0])
    assert ways[0][1] == ways[1][1]
    left, right = ways[0][0].T
    assert (left != right).mean() > 0.9


def test_kept_state_goes_on_as_if_nothing_had_happened():
    p = offline([slot("gru"), slot("gru")], seed=SEED)
    play(p, 9000, [Command(4001, Op.SWITCH, number=1, ramp=500, flags=KEEP_STATE)])
    tokens = make_generator(network("gru"), seed=SEED, stereo=True).generate(made(p))
    assert p._memory["voice_memory"]["slot"][0] == 1
    for side in (0, 1):
        np.testing.assert_array_equal(sound_of(p, side)[: made(p)], dequantize(tokens[side, 0], network("gru").config))


def test_what_another_network_is_primed_with_both_its_sides_hear():
    p = offline([slot("gru"), slot("gru", weights=5)], seed=SEED, prime_rate=4, prime_length=2100)
    _, events = play(p, 9000, [Command(4001, Op.SWITCH, number=1, ramp=500)])
    switched = next(e for e in events if e.op == Op.SWITCHED)
    played = make_generator(network("gru"), seed=SEED).generate(switched.at)
    new = make_generator(network("gru", 5), seed=SEED, stereo=True)
    new.generate(switched.at)  # only so that the dice are where the voice's are
    new.reset()
    new.prime(played[:, -int(switched.value) :])
    tokens = new.generate(made(p) - switched.at)[:, 0]
    for side in (0, 1):
        wanted = dequantize(tokens[side], network("gru").config)
        np.testing.assert_array_equal(sound_of(p, side)[switched.at : made(p)], wanted)


def shares(audio, rate, low, high):
    """Power of middle and side between two frequencies."""
    spectra = [np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2 for x in (audio.sum(axis=1), audio[:, 0] - audio[:, 1])]
    f = np.fft.rfftfreq(len(audio), 1 / rate)
    return [float(s[(f >= low) & (f < high)].sum()) for s in spectra]


def test_the_bass_is_mono_and_width_narrows_the_rest():
    p = offline([slot("gru")], seed=SEED, parameters=[[1.0, -18.0, 0.0, 0.0]])  # below the limiter
    commands = [
        Command(40_000, Op.SET, parameter=WIDTH, value=0.5),
        Command(80_000, Op.SET, parameter=WIDTH, value=0.0),
    ]
    audio, _ = play(p, 120_000, commands)
    full, half, none = audio[5000:40_000], audio[42_000:80_000], audio[82_000:]
    middle, side = shares(full, 44100, 20, 60)
    assert side < 0.05 * middle
    middle, side = shares(full, 44100, 500, 20_000)
    assert side > 0.3 * middle
    assert shares(half, 44100, 500, 20_000)[1] == pytest.approx(0.25 * side * len(half) / len(full), rel=0.2)
    np.testing.assert_array_equal(none[:, 0], none[:, 1])


def test_pan_is_a_balance_of_the_same_power():
    level = []
    for pan in (-1.0, 0.0, 1.0):
        audio, _ = play(offline([slot("gru")], seed=SEED, parameters=[[1.0, -6.0, pan, 0.0]]), 30_000)
        level.append(np.mean(audio[5000:] ** 2, axis=0))
    assert level[0][1] == level[2][0] == 0.0
    np.testing.assert_allclose(level[1].sum(), [level[0].sum(), level[2].sum()], rtol=0.1)


def test_moments_are_said_on_both_sides():
    checkpoint, said = network("gru"), np.arange(100, dtype=np.int32)[None] % 32
    playing = make_generator(checkpoint, stereo=True)
    state = playing.hidden(0), np.arange(checkpoint.config.lookback, dtype=np.int32)
    places = Places(playing.frozen(*state)[None], said, np.array([0.25], np.float32))
    p = offline([Slot(playing.program, moments=places)], seed=SEED)
    play(p, 6000, [Command(3001, Op.MOMENT, number=0)], cuts=(3020, 3111))
    generator = make_generator(checkpoint, seed=SEED, stereo=True)
    generator.generate(3001)
    generator.jump(0, *state)
    generator.prime(said)
    tokens = generator.generate(made(p) - 3101)[:, 0]
    for side in (0, 1):
        heard = sound_of(p, side)[3001 : made(p)]
        wanted = dequantize(np.concatenate([said[0], tokens[side]]), checkpoint.config)
        np.testing.assert_allclose(heard[1500:], wanted[1500:], atol=1e-4)  # the step has died away
        assert abs(heard[0] - sound_of(p, side)[3000]) < 0.05


def test_a_loop_brings_both_sides_back():
    p = offline([slot("gru")], seed=SEED)
    play(p, 9000, [Command(2001, Op.LOOP, number=1500)], cuts=(2500, 4444))
    for side in (0, 1):
        heard = sound_of(p, side)
        first, second = heard[2001:3501], heard[3501:5001]
        np.testing.assert_allclose(first[1000:], second[1000:], atol=1e-3)
        assert np.ptp(first) > 0.1


def test_all_slots_are_stereo_alike():
    with pytest.raises(ValueError, match="stereo otherwise"):
        offline([slot("gru"), slot("gru", (False,))])


def test_both_sides_come_back_after_a_panic():
    p = offline([slot("gru")], seed=SEED)
    audio, events = play(p, 30_000, [Command(5000, Op.PANIC), Command(15_000, Op.RESUME)])
    assert np.abs(audio[8000:15_000]).max() == 0.0
    assert np.abs(audio[20_000:]).max(axis=0).min() > 0.01
    assert [e.op for e in events] == [Op.PANIC, Op.RESUME]
