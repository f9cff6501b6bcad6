"""Loops with dice and steered temperature in the render loop: exact, on their sample, the same in a replay."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fake_program import make_fake, make_program
from networks import network
from test_audio_loop import offline, play
from test_audio_networks import made, slot, sound_of

from engine.draw import CHANCE, philox, spread_of
from engine.generator import make_generator
from instrument.audio.slots import Places, Slot
from instrument.audio.state import FADING, KEY, PRIMING, RESETS, SPREAD
from instrument.controls import (
    BLEND,
    ENTROPY,
    KEEP_STATE,
    LENGTH_ONLY,
    REFUSED,
    TEMPERATURE,
    VARIATION,
    Command,
    Op,
)

RATE, SEED = 44100, 7
CLOCK, RANDOM = 2, 2  # a word of a lane, and how to reseed


def looping(p, voice=0):
    return p.link.telemetry().voices[voice].looping


def phase(fake, voice=0):
    """Samples that the fake network has made since what it was started or put back to."""
    return int(fake.state[voice, 8])


def test_a_loop_is_put_back_on_its_sample_until_it_is_stopped():
    fake = make_fake()
    p = offline([Slot(fake.program)])
    commands = [Command(5000, Op.LOOP, number=3000), Command(15_500, Op.UNLOOP)]
    _, told = play(p, 5000 - p.delay, commands)
    assert phase(fake) == 5000
    assert looping(p) == -1.0
    for end, wanted in ((7999, 7999), (8000, 5000), (8001, 5001), (11_000, 5000), (14_500, 5500)):
        told += play(p, end - p.delay)[1]
        assert phase(fake) == (wanted if wanted != 5000 else 8000)  # put back as the next turn begins
        assert 0.0 <= looping(p) <= 1.0
    assert looping(p) == pytest.approx(500 / 3000, abs=1e-3)
    told += play(p, 20_000)[1]
    assert phase(fake) == 5000 + 1500 + 20_000 + p.delay - 15_500
    assert looping(p) == -1.0
    assert [(e.op, e.at) for e in told] == [(Op.LOOP, 5000), (Op.UNLOOP, 15_500)]


def test_lengths_may_have_parts_of_a_sample_and_change_from_the_next_pass_on():
    fake = make_fake()
    p = offline([Slot(fake.program)])
    commands = [
        Command(1000, Op.LOOP, number=100, value=0.5),
        Command(1310, Op.LOOP, number=200, flags=LENGTH_ONLY),  # the pass that began at 1301 stays one of 100.5
    ]
    play(p, 1000 - p.delay, commands)
    begun, before = [], phase(fake)
    for at in range(1001, 2000):
        play(p, at - p.delay)
        if phase(fake) <= before:
            begun.append(at - 1)
        before = phase(fake)
    assert begun == [1100, 1201, 1301, 1402, 1602, 1802]


@pytest.mark.parametrize("name", ["gru", "lstm", "mu-law"])
@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0])
def test_passes_are_what_the_engine_draws(name, variation):
    """Tokens, states and dice of two voices, of which the second loops, after several passes of odd length."""
    at, length, end = 2003, 1501, 7777
    parameters = [[0.9, *[0.0] * 10, variation, 0.0]] * 2
    p = offline([slot(name, 2)], voices=2, seed=SEED, parameters=parameters)
    play(p, end, [Command(at, Op.LOOP, voice=1, number=length)], cuts=(7, 2500, 3504, 3505, 6000))
    generator = make_generator(network(name), voices=2, seed=SEED)
    generator.reset()
    generator.generate(at, 0.9)
    stored, first, cuts = [], [], (0, 1024, length)  # of the first pass: what each of its two steps begins with
    for left in np.diff(cuts):
        stored.append(generator.state())
        first.append(generator.generate(left, 0.9)[1])
    whole, chances, exact = [], 0, True
    for end in (length, length, made(p) - at - 3 * length):
        exact, parts = False, []
        for step, (one, other) in enumerate(pairwise(cuts)):
            varies = philox(SEED, chances, 1, CHANCE) < spread_of(variation)
            chances += variation > 0
            if not exact and (step == 0 or not varies):
                generator.repeat(stored[step])
            exact = not varies
            generator.vary(1, variation if varies else 0.0)
            parts.append(generator.generate(max(0, min(other, end) - one), 0.9)[1])
        whole.append(np.concatenate(parts))
    loop = p.slots[0].program.keep[0]
    lane = loop._block(1)
    np.testing.assert_array_equal(lane, generator._block(1))
    assert all(np.array_equal(one, np.concatenate(first)) for one in whole[:2]) == (variation == 0)
    assert p.slots[0].header(0)[SPREAD] == 0


def test_a_pass_sounds_as_the_one_before_once_its_step_has_died_away():
    p = offline([slot("mu-law")], seed=SEED)
    play(p, 22_000, [Command(3000, Op.LOOP, number=6000)])
    sound = sound_of(p)
    passes = [sound[at + 3000 : at + 6000] for at in (3000, 9000, 15_000)]
    assert np.abs(passes[0]).max() > 0.01
    np.testing.assert_array_equal(passes[0], passes[1])
    np.testing.assert_array_equal(passes[0], passes[2])
    assert np.abs(np.diff(sound[8995:9010])).max() < np.abs(np.diff(sound[3000:9000])).max() + 0.05


def test_variation_is_read_when_a_pass_begins():
    p = offline([slot("gru")], seed=SEED)
    commands = [
        Command(0, Op.SET, parameter=VARIATION, value=0.25, ramp=1),
        Command(1000, Op.LOOP, number=500),
        Command(1600, Op.SET, parameter=VARIATION, value=0.5, ramp=1),
    ]
    found = []
    for end in (1400, 1550, 1700, 2100):
        play(p, end - p.delay, commands)
        commands = []
        found.append(int(p._memory["loop_memory"]["spread"][0]))
    assert found == [0, 1 << 30, 1 << 30, 1 << 31]


@pytest.mark.parametrize(
    "ending",
    [
        Command(9000, Op.SWITCH, number=1),
        Command(9000, Op.SEED, number=4),
        Command(9000, Op.RESEED, parameter=1),
        Command(9000, Op.MOMENT, number=0),
        Command(9000, Op.PANIC),
        Command(9000, Op.UNLOOP),
    ],
    ids=lambda command: command.op.name,
)
def test_what_ends_a_loop(ending):
    first = slot("gru", 2)
    state = first.program.keep[0].state()[: first.program.state_bytes]
    places = Places(state[None].copy(), np.zeros((1, 4), np.int32), np.zeros(1, np.float32))
    slots = [Slot(first.program, moments=places), slot("lstm", 2)]
    p = offline(slots, voices=2, seed=SEED, parameters=[[1.0, *[0.0] * 10, 0.5, 0.0]] * 2)
    play(p, 8900, [Command(3000, Op.LOOP, number=700), replace(ending, voice=1 if ending.op != Op.PANIC else -1)])
    assert looping(p, 1) >= 0
    play(p, 13_000)
    assert looping(p, 1) == -1.0
    assert p.slots[0].header(1)[SPREAD] == p.slots[1].header(1)[SPREAD] == 0
    assert (looping(p, 0) >= 0) == (ending.op != Op.PANIC)


def test_a_loop_survives_what_keeps_the_state():
    """Another epoch of equal architecture takes over what is stored, and a checkpoint that plays already is no news."""
    a, b = make_fake(period=90), make_fake(period=60)
    p = offline([Slot(a.program), Slot(b.program)])
    commands = [
        Command(5000, Op.LOOP, number=3000),
        Command(6500, Op.SWITCH, number=0),
        Command(7000, Op.SWITCH, number=1, ramp=500, flags=KEEP_STATE),
    ]
    play(p, 12_000 - p.delay, commands)
    assert looping(p) == pytest.approx(1000 / 3000, abs=1e-3)
    assert phase(b) == 6000


def test_a_loop_asked_for_while_priming_waits_for_the_coming_network():
    a, b = make_fake(), make_fake(dim=8)
    p = offline([Slot(a.program), Slot(b.program)])
    commands = [Command(9000, Op.SWITCH, number=1, ramp=4000), Command(9100, Op.LOOP, number=6000)]
    _, events = play(p, 10_000, commands)
    begun = 9000 + 1500
    assert p._memory["voice_memory"]["phase"][0] == PRIMING
    assert looping(p) > 0
    _, events = play(p, 15_101 - p.delay)
    assert p._memory["voice_memory"]["phase"][0] != PRIMING
    assert [e.at for e in events if e.op == Op.SWITCHED] == [begun]
    assert phase(b) == 1  # passes are counted from where the loop was asked for, the state is that of the beginning


def test_a_loop_asked_for_in_a_crossfade_is_of_the_coming_network():
    a, b = make_fake(), make_fake(dim=8)
    p = offline([Slot(a.program), Slot(b.program)])
    commands = [Command(9000, Op.SWITCH, number=1, ramp=4000), Command(11_000, Op.LOOP, number=1000)]
    play(p, 12_101 - p.delay, commands)
    assert p._memory["voice_memory"]["phase"][0] == FADING
    assert phase(a) == 12_101  # the other fades out undisturbed
    assert phase(b) == 11_000 - 10_500 + 101


def test_what_makes_no_loop_is_refused():
    nonsense = [
        Command(100, Op.LOOP, number=63),
        Command(100, Op.LOOP, number=-5000),
        Command(100, Op.LOOP, number=5000, value=1.0),
        Command(100, Op.LOOP, number=5000, value=float("nan")),
        Command(100, Op.LOOP, number=1 << 60),
        Command(100, Op.LOOP, voice=3, number=5000),
    ]
    p = offline([Slot(make_program())])
    _, events = play(p, 5000, [*nonsense, Command(200, Op.LOOP, number=5000, flags=LENGTH_ONLY)])
    assert [bool(e.flags & REFUSED) for e in events] == [True] * len(nonsense) + [False]
    assert looping(p) == -1.0
    _, events = play(p, 12_000, [Command(5000, Op.PANIC), Command(10_000, Op.LOOP, number=5000)])
    assert [bool(e.flags & REFUSED) for e in events] == [False, True]


# --- entropy


def steered(target, temperature=1.0, **more):
    return offline([slot("gru")], seed=SEED, parameters=[[temperature, *[0.0] * 11, target]], **more)


def picture(p, start, end, step=441):
    """entropy, steer, temperature: telemetry every ``step`` samples, (n, 3)."""
    rows = []
    for at in range(start, end, step):
        play(p, at)
        t = p.link.telemetry().voices[0]
        rows.append((t.entropy, t.steer, t.temperature))
    return np.array(rows)


def test_entropy_is_told_smoothed():
    p = steered(0.0)
    found = picture(p, RATE, 2 * RATE)
    generator = make_generator(network("gru"), seed=SEED)
    generator.reset()
    measured = [generator.generate(64) is not None and generator.entropy(0) for _ in range(2 * RATE // 64)]
    assert found[:, 0].mean() == pytest.approx(np.mean(measured[RATE // 64 :]), abs=0.02)
    assert found[:, 0].std() < 0.5 * np.std(measured)
    assert np.all(found[:, 1] == 1.0)


@pytest.mark.parametrize("by", [-0.3, 0.3])
def test_a_target_is_held_and_the_temperature_keeps_its_meaning(by):
    free = picture(steered(0.0), RATE, 3 * RATE)[:, 0].mean()
    p = steered(free + by)
    held = picture(p, 3 * RATE, 6 * RATE)
    assert held[:, 0].mean() == pytest.approx(free + by, abs=0.05)
    assert (held[:, 1].mean() > 1.0) == (by > 0)
    np.testing.assert_allclose(held[:, 2], held[:, 1])
    play(p, 6 * RATE + 1000, [Command(6 * RATE, Op.SET, parameter=TEMPERATURE, value=0.8, ramp=1)])
    t = p.link.telemetry().voices[0]
    assert t.temperature == pytest.approx(0.8 * t.steer)


def test_the_factor_stays_in_its_range_rests_at_zero_and_glides_back():
    p = steered(8.0)
    play(p, 6 * RATE)
    assert p.link.telemetry().voices[0].steer == 2.0
    off = [Command(6 * RATE, Op.SET, parameter=ENTROPY, value=0.0, ramp=1)]
    factors = picture(play(p, 6 * RATE, off) and p, 6 * RATE + 441, 12 * RATE)[:, 1]
    assert np.all(np.diff(factors) <= 0)
    assert factors[RATE // 882 - 1] == pytest.approx(1 + np.exp(-1), abs=0.02)
    assert factors[-1] == 1.0
    cold = steered(2.0, temperature=0.0)
    play(cold, RATE)
    assert cold.link.telemetry().voices[0].steer == 1.0
    assert cold.link.telemetry().voices[0].entropy == 0.0


# --- the same again


def gestures():
    return [
        Command(0, Op.SET, parameter=VARIATION, value=0.3, ramp=20_000),
        Command(500, Op.SET, parameter=ENTROPY, value=2.0, ramp=3000),
        Command(2111, Op.LOOP, voice=0, number=1733, value=0.4),
        Command(3000, Op.LOOP, voice=1, number=2500),
        Command(4001, Op.SET, voice=0, parameter=TEMPERATURE, value=1.3, ramp=5000),
        Command(7003, Op.LOOP, number=900, value=0.25, flags=LENGTH_ONLY),
        Command(9500, Op.SWITCH, voice=1, number=1, ramp=700),
        Command(9600, Op.LOOP, voice=1, number=1111),
        Command(13_000, Op.SET, parameter=ENTROPY, value=0.0),
        Command(14_000, Op.UNLOOP, voice=0),
        Command(15_000, Op.LOOP, number=640),
        Command(18_000, Op.PANIC),
        Command(21_000, Op.RESUME),
        Command(22_000, Op.LOOP, number=800),
    ]


def in_company(name, weights):
    """A slot with lanes for partners."""
    return Slot(make_generator(network(name, weights), seed=1, spare=2).program, name=f"{name} {weights}")


def two_slots():
    return [slot("gru", 2), slot("mu-law", 2)]


def test_nothing_depends_on_the_cuts():
    whole, told = play(offline(two_slots(), 2, rate=48_000, seed=SEED), 26_000, gestures())
    cuts = np.unique(np.random.default_rng(1).integers(1, 26_000, 400))
    pieces, retold = play(offline(two_slots(), 2, rate=48_000, seed=SEED), 26_000, gestures(), cuts)
    np.testing.assert_array_equal(whole, pieces)
    assert sorted(map(repr, told)) == sorted(map(repr, retold))
    assert not any(e.flags & REFUSED for e in told)


def test_a_replay_of_what_was_told_is_the_same():
    from instrument.replay import commands_of

    late = [replace(c, at=c.at - 700 if i % 2 else c.at) for i, c in enumerate(gestures())]
    p = offline(two_slots(), 2, rate=48_000, seed=SEED)
    parts, events = [], []
    for i, command in enumerate(late):  # each on the ring only when it is due
        sound, told = play(p, min(gestures()[i].at, 25_000), [command])
        parts.append(sound)
        events += told
    sound, told = play(p, 26_000)
    again = offline(two_slots(), 2, rate=48_000, seed=SEED)
    replayed, retold = play(again, 26_000, commands_of(events + told))
    np.testing.assert_array_equal(np.concatenate([*parts, sound]), replayed)
    assert [(e.at, e.op, e.number, e.value) for e in events + told] == [(e.at, e.op, e.number, e.value) for e in retold]


# --- steps


def test_a_varied_step_leaves_the_others_as_they_are():
    """Of a pass of 11 steps only those that the dice chose differ; the others are exact, once a return has settled."""
    start, length = 2000, 12_000
    p = offline([slot("gru")], seed=SEED, parameters=[[0.9, *[0.0] * 10, 0.4, 0.0]])
    play(p, start + 2 * length, [Command(start, Op.LOOP, number=length)])
    step = int(p._memory["loop_memory"]["step_length"][0])
    assert step == 1024
    passes = sound_of(p)[start : start + 2 * length].reshape(2, length)[:, : 11 * step].reshape(2, 11, step)
    same = [np.array_equal(one[900:], other[900:]) for one, other in zip(*passes, strict=True)]
    varied = [philox(SEED, i, 0, CHANCE) < spread_of(0.4) for i in range(11)]
    assert 0 < sum(varied) < 11
    assert not any(same[i] for i in range(11) if varied[i])
    assert all(same[i] for i in range(1, 11) if not varied[i] and not varied[i - 1])


def priming_back():
    """A loop that waits for a network that is called back while the voice is still priming for another."""
    return [
        Command(5000, Op.SWITCH, number=1, ramp=100),
        Command(5200, Op.LOOP, number=2000),
        Command(5403, Op.SWITCH, number=0, ramp=100),
    ]


def rendered(commands, cuts=()):
    p = offline(two_slots())
    for command in sorted(commands, key=lambda c: c.at):
        assert p.link.push(command)
    return np.concatenate([p.render_to(at) for at in (*cuts, 20000)])


@pytest.mark.parametrize("behind", [1, 3, 8])
def test_a_loop_that_waited_begins_with_the_command_that_lets_it(behind):
    whole = rendered(priming_back())
    refused = Command(5403 + behind, Op.SWITCH, number=77)  # a set's own, which its replay does not ask for again
    np.testing.assert_array_equal(rendered([*priming_back(), refused]), whole)
    np.testing.assert_array_equal(rendered(priming_back(), [5403 - offline(two_slots()).delay + behind]), whole)


def test_a_partner_taken_after_a_switch_is_not_put_back_to_what_another_lane_kept():
    """The loop goes along with the state, the partner that was dropped before does not."""
    slots = [in_company("gru", weights) for weights in range(3)]
    p = offline(slots)
    first = 3000
    for command in (
        Command(0, Op.PARTNER, number=2),
        Command(0, Op.SET, parameter=BLEND, value=1.0, ramp=1),
        Command(first, Op.LOOP, number=4000),
        Command(first + 4100, Op.PARTNER, number=-1),
        Command(first + 5500, Op.SWITCH, number=1, ramp=100, flags=KEEP_STATE),
        Command(first + 6000, Op.PARTNER, number=2),
    ):
        assert p.link.push(command)
    clocks = []
    for at in range(first + 6000, first + 8200, 20):
        p.render_to(at)
        clocks.append([int(slots[2].header(lane)[CLOCK]) for lane in range(3)])
    assert (np.diff(clocks, axis=0) >= 0).all()  # put back to a lane never written, one would begin again at 0
    assert (np.diff(clocks, axis=0) > 0).any()


def test_a_new_seed_counts_random_states_anew():
    ours, partner = in_company("gru", 0), in_company("gru", 1)
    p = offline([ours, partner])
    assert p.link.push(Command(0, Op.PARTNER, number=1))
    for at in (500, 501):
        assert p.link.push(Command(at, Op.RESEED, parameter=RANDOM))
    for command in (Command(1000, Op.SEED, number=7), Command(1001, Op.RESEED, parameter=RANDOM)):
        assert p.link.push(command)
    p.render_to(1500)
    lane = int(p.table.records["lanes"][1])  # where the partner of a voice's first deck lies
    for header in (ours.header(0), partner.header(lane)):
        assert [int(header[word]) for word in (KEY, RESETS)] == [7, 1]
