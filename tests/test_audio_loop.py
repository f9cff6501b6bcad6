"""The render loop on networks that sound like nothing learned: what lands where, what is told, what never happens."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from fake_program import make_fake, make_program

from instrument.audio.callback import serve_counted
from instrument.audio.dsp import network_index
from instrument.audio.making import CLOSING_S, PANIC_S
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
from instrument.audio.state import PENDING
from instrument.audio.timing import UNLIMITED, Timing, make_timing
from instrument.controls import ALREADY, GAIN, KEEP_STATE, MUTE, OVERTAKEN, PAN, REFUSED, TEMPERATURE, Command, Op
from instrument.replay import commands_of

RATE = 44100
GLIDE = 882


def offline(slots, voices=1, rate=RATE, prime_rate=3, prime_length=3000, fade=UNLIMITED, **more):
    """A performance whose timing owes nothing to the machine."""
    n = len(slots)
    timing = Timing(0, 0, 0, (prime_rate,) * n, (prime_length,) * n, ((fade,) * n,) * n)
    probe = Performance(slots, sample_rate=rate, voices=voices, offline=True)
    fixed = {k: probe.timing[k] for k in ("turn", "delay", "ahead")}
    given = {**timing.to_json(), **fixed}
    return Performance(slots, sample_rate=rate, voices=voices, offline=True, timing=given, **more)


def play(p, length, commands=(), cuts=()):
    """Audio and events of ``length`` samples, asked for in pieces that end at ``cuts``."""
    for command in commands:
        assert p.link.push(command)
    audio, events = [], []
    for end in (*cuts, length):
        audio.append(p.render_to(end))
        events += p.link.events()
    return np.concatenate(audio), events


def test_length_and_opening():
    audio, events = play(offline([Slot(make_program())]), 10_000)
    assert audio.shape == (10_000, 2)
    assert events == []
    assert np.abs(audio[:20]).max() < 0.01  # soft start
    assert np.abs(audio[5000:]).max() > 0.3
    np.testing.assert_allclose(audio[:, 0], audio[:, 1], rtol=1e-6)


@pytest.mark.parametrize("rate", [RATE, 22050])
def test_mute_lands_at_its_frame(rate):
    slots = [Slot(make_program(sample_rate=RATE)), Slot(make_program(sample_rate=rate))]
    audio, events = play(offline(slots), 6000, [Command(3001, Op.SET, parameter=MUTE, value=1, ramp=1)])
    assert np.all(np.any(audio[2000:3001] != 0.0, axis=1))
    assert np.all(audio[3001:] == 0.0)
    assert [(e.at, e.op, e.late) for e in events] == [(3001, Op.SET, 0.0)]


@pytest.mark.parametrize("rate", [RATE, 22050, 48000])
def test_temperature_lands_and_ramps_without_steps(rate):
    fake = make_fake("beta", sample_rate=rate)
    at, ramp = 5000, 7000
    commands = [
        Command(0, Op.SET, parameter=TEMPERATURE, value=0.875, ramp=1),
        Command(at, Op.SET, parameter=TEMPERATURE, value=1.15, ramp=ramp),
        Command(at + 2 * ramp, Op.SET, parameter=TEMPERATURE, value=0.0, ramp=1),
    ]
    p = offline([Slot(fake.program)])
    play(p, 24_000, commands)
    source, target = (p.slots[0].resampler.source, p.slots[0].resampler.target)
    n = network_index(24_000, source, target)
    sample = np.arange(n) * target // source  # the session sample of each network sample
    wanted = np.clip(1.15 - 0.275 / ramp * (at + ramp - 1 - sample), 0.875, 1.15)
    with np.errstate(divide="ignore"):
        wanted = (1.0 / np.where(sample >= at + 2 * ramp, 0.0, wanted)).astype(np.float32)
    np.testing.assert_allclose(fake.betas[:n], wanted, rtol=1e-6)
    start = network_index(at, source, target)
    assert fake.betas[start - 1] == np.float32(1 / 0.875) != fake.betas[start + 1]
    assert np.isinf(fake.betas[network_index(at + 2 * ramp, source, target)])
    steps = np.abs(np.diff(1.0 / fake.betas[: start + 4000]))
    assert steps.max() < 1.01 * 0.275 / ramp * max(1, math.ceil(target / source)) + 1e-7


def test_repeated_value_does_not_restart_a_glide():
    def temperatures(repeat):
        fake = make_fake("beta")
        again = [Command(1000 + i, Op.SET, parameter=TEMPERATURE, value=2.0) for i in range(0, 800, 60)]
        play(offline([Slot(fake.program)]), 4000, again if repeat else again[:1])
        return fake.betas[:4000]

    np.testing.assert_array_equal(temperatures(True), temperatures(False))


def test_modulation_adds_to_what_is_set_and_stays_in_the_range():
    fake = make_fake("beta")
    commands = [
        Command(1000, Op.SET, parameter=TEMPERATURE, value=1.5, ramp=1),
        Command(2000, Op.MODULATE, parameter=TEMPERATURE, value=0.75, ramp=3000),
        Command(6000, Op.SET, parameter=TEMPERATURE, value=0.5, ramp=1),
        Command(7000, Op.MODULATE, parameter=TEMPERATURE, value=-9.0, ramp=1),
        Command(8000, Op.MODULATE, parameter=TEMPERATURE, value=0.0, ramp=1),
        Command(8500, Op.MODULATE, parameter=99, value=0.0),
        Command(8500, Op.MODULATE, parameter=TEMPERATURE, value=math.nan),
    ]
    _, events = play(offline([Slot(fake.program)]), 9000, commands)
    with np.errstate(divide="ignore"):
        t = 1.0 / fake.betas[:9000].astype(np.float64)
    assert t[3999] == pytest.approx(2.0)
    assert np.all(t[4001:6000] == 2.0)  # 1.5 + 0.75 is out of range
    assert t[2999] == pytest.approx(1.75)
    assert t[6000] == pytest.approx(1.25)
    assert t[7000] == 0.0
    assert t[8000] == pytest.approx(0.5)
    assert [(e.value, e.flags) for e in events if e.at == 7000] == [(-2.0, 0)]  # as far as it can matter
    assert [e.flags for e in events if e.at == 8500] == [REFUSED, REFUSED]


@pytest.mark.parametrize(("parameter", "value"), [(GAIN, -20.0), (PAN, -0.75), (MUTE, 1.0)])
def test_modulation_of_the_mix_sounds_like_the_value_itself(parameter, value):
    heard = [
        play(offline([Slot(make_program())]), 6000, [Command(2001, op, parameter=parameter, value=value, ramp=700)])[0]
        for op in (Op.SET, Op.MODULATE)
    ]
    np.testing.assert_array_equal(*heard)
    assert np.abs(heard[0][2500:] - play(offline([Slot(make_program())]), 6000)[0][2500:]).max() > 0.1


def test_latest_gesture_wins_without_a_step():
    fake = make_fake("beta")
    commands = [
        Command(1000, Op.SET, parameter=TEMPERATURE, value=2.0, ramp=20_000),
        Command(6000, Op.SET, parameter=TEMPERATURE, value=0.5),
    ]
    play(offline([Slot(fake.program)]), 8000, commands)
    steps = np.diff(1.0 / fake.betas[:8000].astype(np.float64))
    assert steps.min() < 0 < steps.max()
    assert np.abs(steps).max() < 1.1 * (0.75 / GLIDE)
    assert fake.betas[6000 + GLIDE] == np.float32(2.0)


def test_gain_and_pan():
    slot = [Slot(make_program())]
    rms = {}
    for gain, pan in [(0.0, 0.0), (-20.0, 0.0), (-60.0, 0.0), (0.0, -1.0), (0.0, 1.0)]:
        p = offline(slot, parameters=[[1.0, gain, pan, 0.0]])
        rms[gain, pan] = np.sqrt(np.mean(play(p, 20_000)[0][10_000:].astype(float) ** 2, axis=0))
    assert rms[-20.0, 0.0] == pytest.approx(0.1 * rms[0.0, 0.0], rel=1e-3)
    assert np.all(rms[-60.0, 0.0] == 0.0)
    assert rms[0.0, -1.0][1] == rms[0.0, 1.0][0] == 0.0
    assert rms[0.0, 1.0][1] == pytest.approx(math.sqrt(2) * rms[0.0, 0.0][1], rel=1e-3)  # equal power


def test_the_meters_tell_the_sides_apart():
    p = offline([Slot(make_program())], parameters=[[1.0, 0.0, -0.4, 0.0]])
    sound = play(p, 40_000)[0][-20_000:].astype(float)
    t = p.link.telemetry()
    (left, left_peak), (right, right_peak) = t.sides
    shares = np.sqrt(np.mean(sound**2, axis=0))
    assert left / right == pytest.approx(shares[0] / shares[1], rel=1e-3)  # one network, panned
    assert left > 1.5 * right > 0.0
    assert t.peak == max(left_peak, right_peak) == left_peak <= np.abs(sound[:, 0]).max()
    assert t.rms == pytest.approx(math.sqrt(0.5 * (left**2 + right**2)))


def busy(voices=2):
    """Every kind of command, some at one sample, some together with what the loop does by itself."""
    return [
        Command(700, Op.SET, parameter=GAIN, value=-6.0, ramp=900),
        Command(701, Op.SET, voice=1, parameter=PAN, value=0.7),
        Command(1500, Op.SWITCH, voice=0, number=1, ramp=1000, serial=3),
        Command(1500, Op.SET, parameter=TEMPERATURE, value=1.3, ramp=4000),
        Command(1600, Op.MODULATE, parameter=TEMPERATURE, value=-0.4, ramp=3000),
        Command(1650, Op.MODULATE, voice=1, parameter=GAIN, value=-9.0, ramp=2500),
        Command(1650, Op.MODULATE, voice=1, parameter=PAN, value=-1.5, ramp=7000),
        Command(3301, Op.SWITCH, number=2, ramp=3000),
        Command(4300, Op.RESEED, parameter=2),
        Command(4300, Op.SEED, number=(1 << 64) - 5),
        Command(6100, Op.SWITCH, voice=1, number=0, ramp=10),
        Command(8000, Op.SWITCH, number=3, ramp=700, flags=KEEP_STATE),
        Command(9000, Op.SWITCH, voice=0, number=3, ramp=700),
        Command(13_000, Op.PANIC),
        Command(13_700, Op.RESUME),
        Command(15_000, Op.PANIC),
        Command(17_000, Op.SWITCH, voice=0, number=1),
        Command(19_000, Op.SET, voice=0, parameter=MUTE, value=1.0),
        Command(20_011, Op.STOP),
    ]


def bank(voices=2):
    return [
        Slot(make_program("sine", voices, period=100)),
        Slot(make_program("sine", voices, period=37, sample_rate=22050, q_levels=256, q_type="mu-law"), loudness=-9.0),
        Slot(make_program("sine", voices, period=130, preemphasis=0.85, q_type="mu-law", sample_rate=48000)),
        Slot(make_program("sine", voices, period=75), loudness=-30.0),
    ]


def test_results_do_not_depend_on_the_cuts():
    whole, told = play(offline(bank(), 2), 40_000, busy())
    cuts = np.unique(np.random.default_rng(1).integers(1, 30_000, 700))
    pieces, retold = play(offline(bank(), 2), 40_000, busy(), cuts)
    assert len(whole) == 20_011 + int(CLOSING_S * RATE)
    np.testing.assert_array_equal(whole, pieces)
    assert sorted(map(repr, told)) == sorted(map(repr, retold))


def test_events_are_what_was_asked_and_what_came_of_it():
    _, events = play(offline(bank(), 2), 40_000, busy())
    assert {e.at - c.at for c in busy() for e in events if (e.op, e.serial) == (c.op, 3) and c.serial == 3} == {0}
    echoed = [e for e in events if e.op < 20]
    assert sorted((e.at, e.op, e.voice, e.number) for e in echoed) == sorted(
        (c.at, c.op, c.voice, c.number if c.op != Op.SEED else -5) for c in busy()
    )
    by_op = {op: [e for e in events if e.op == op] for op in Op}
    assert [e.at for e in by_op[Op.ENDED]] == [20_011 + int(CLOSING_S * RATE)]
    for voice in (0, 1):
        begun = [e for e in by_op[Op.SWITCHED] if e.voice == voice]
        over = [e for e in by_op[Op.SETTLED] if e.voice == voice]
        first = len(begun)
        assert [e.number for e in begun] == [e.number for e in over][:first]
        assert [(e.at, e.number) for e in over[first:]] == ([(17_000, 1)] if voice == 0 else [])  # out of panic
        assert all(b.at + b.ramp == o.at for b, o in zip(begun, over, strict=False))


def test_late_commands_take_effect_at_once_and_are_counted():
    p = offline([Slot(make_program())])
    p.render_to(5003)
    audio, events = play(p, 7000, [Command(4000, Op.SET, parameter=MUTE, value=1, ramp=1), Command(0, Op.RESEED)])
    assert [(e.at, e.late) for e in events] == [(5003 + p.delay, 1003.0 + p.delay), (5003 + p.delay, 5003.0 + p.delay)]
    assert np.all(audio[p.delay :] == 0.0)
    assert np.all(np.any(audio[: p.delay] != 0.0, axis=1))
    assert p.link.telemetry().late == p.report()["late_events"] == 2


def test_what_makes_no_sense_is_refused_and_the_sound_goes_on():
    nonsense = [
        Command(100, Op.SET, parameter=GAIN, value=math.nan),
        Command(100, Op.SET, parameter=GAIN, value=math.inf),
        Command(100, Op.SET, parameter=13, value=0.0),
        Command(100, Op.SET, voice=5, parameter=GAIN, value=0.0),
        Command(100, Op.SWITCH, number=7),
        Command(100, Op.SWITCH, number=-1),
        Command(100, Op.SWITCH, voice=-2, number=0),
        Command(100, Op.RESEED, parameter=3),
        Command(100, 99),
        Command(100, Op.SET, voice=0, parameter=PAN, value=7.0),
    ]
    audio, events = play(offline([Slot(make_program())]), 5000, nonsense)
    assert len(events) == len(nonsense)
    assert [e for e in events if not e.flags & REFUSED] == [
        e for e in events if e.op == Op.SET and e.parameter == PAN and e.value == 1.0
    ]
    assert np.abs(audio).max() > 0.3


def test_reseed_and_seed_reach_the_network_at_their_sample():
    fake = make_fake(sample_rate=22050)
    p = offline([Slot(fake.program)])
    play(p, 10_000, [Command(3001, Op.RESEED, parameter=1), Command(7001, Op.SEED, number=1 << 63)])
    lane = fake.state[0]
    assert (lane[12], lane[14]) == (1, network_index(3001, 1, 2))
    assert lane[0] == -(1 << 63)
    made = network_index(10_000 + p.delay, 1, 2)
    assert lane[1] == made - network_index(7001, 1, 2)


# --- changing networks


def blocks(audio):
    """Peaks of 9 ms each."""
    return np.abs(audio[: len(audio) // 400 * 400]).reshape(-1, 800).max(axis=1)


def jumps(audio):
    return np.abs(np.diff(audio.astype(np.float64), axis=0)).max()


@pytest.mark.parametrize("keep", [0, KEEP_STATE])
def test_many_switches_and_reseeds_without_a_gap_or_a_click(keep):
    slots = [*bank(1)[:2], Slot(make_program("sine", 1, period=140))]
    p = offline(slots, prime_length=1000)
    rng = np.random.default_rng(3)
    commands, at = [], 3000
    for i in range(200):
        at += int(rng.integers(50, 6000))
        commands.append(Command(at, Op.SWITCH, number=i % 3, ramp=int(rng.integers(1, 3000)), flags=keep))
        commands.append(Command(at + int(rng.integers(0, 900)), Op.RESEED, parameter=i % 3))
    audio, events = play(p, at + 8000, commands)
    heard = audio[3000:]
    assert not np.any(np.all(heard == 0.0, axis=1) & np.all(np.roll(heard, 1, axis=0) == 0.0, axis=1))
    assert sum(e.op == Op.SWITCHED for e in events) > 150
    # the steepest of the networks: half scale times its gain, period 37 at 22050 Hz, level steps of 8 bits mu-law
    alone = [play(offline([slot]), 20_000)[0][3000:] for slot in slots]
    assert jumps(heard) < math.sqrt(2) * max(map(jumps, alone)) + 0.01  # two at equal power
    assert blocks(heard).min() > 0.5 * min(blocks(a).min() for a in alone)  # never a hole


def test_the_coming_network_is_primed_with_what_was_played():
    old, new = make_fake(period=90), make_fake(period=90)
    p = offline([Slot(old.program), Slot(new.program)], prime_rate=3, prime_length=3000)
    fresh = new.state[0, 13]
    audio, events = play(p, 20_000, [Command(10_000, Op.SWITCH, number=1, ramp=2000)])
    primed, switched, settled = (next(e for e in events if e.op == op) for op in (Op.PRIMED, Op.SWITCHED, Op.SETTLED))
    assert primed.at == switched.at == 10_000 + 1500  # 3 primed for 1 played: caught up after half its length
    assert primed.value == switched.value == 4500.0
    assert (switched.ramp, settled.at) == (2000, switched.at + 2000)
    assert new.state[0, 9] == 4500
    assert new.state[0, 1] == 20_000 + p.delay  # the dice went on
    assert new.state[0, 13] == fresh + 1
    reference = make_fake(period=90)
    tokens = tokens_of(reference, switched.at)
    assert new.state[0, 10] == hash_of(tokens[-4500:])
    assert np.abs(audio[11_000:14_000]).max() > 0.3


def tokens_of(fake, n):
    """The first n tokens of a fake at temperature 1."""
    slot = Slot(fake.program)
    slot.prepare(RATE, 16)
    slot.begin(0)
    from instrument.audio.slots import run_generate

    betas, tokens = np.ones(n, np.float32), np.zeros(n, np.int32)
    p = fake.program
    run_generate(p.generate, p.context, 1, n, betas.ctypes.data, tokens.ctypes.data, n)
    return tokens


def hash_of(tokens):
    total = 0
    for token in tokens.tolist():
        total = (total * 31 + token) % (1 << 64)
    return total - (1 << 64) if total >> 63 else total


@pytest.mark.parametrize(("q_type", "preemphasis"), [("linear", 0.0), ("mu-law", 0.0), ("mu-law", 0.85)])
def test_priming_with_equal_levels_gives_the_very_tokens_back(q_type, preemphasis):
    shape = {"q_type": q_type, "preemphasis": preemphasis, "q_levels": 256}
    old, new = make_fake(period=90, **shape), make_fake(period=90, **shape)
    play(offline([Slot(old.program), Slot(new.program)]), 15_000, [Command(8000, Op.SWITCH, number=1)])
    wanted = tokens_of(make_fake(period=90, **shape), 8000 + 1500)[-4500:]
    last = int(wanted[-1])
    if preemphasis:  # where the sound was clipped, or began, levels cannot come back exactly
        assert abs(new.state[0, 11] - last) <= 1
    else:
        assert new.state[0, 10] == hash_of(wanted)


def test_equal_architectures_keep_their_state():
    a, b = make_fake(period=90), make_fake(period=60)
    p = offline([Slot(a.program), Slot(b.program)])
    _, events = play(p, 9000, [Command(5000, Op.SWITCH, number=1, ramp=500, flags=KEEP_STATE)])
    assert [(e.op, e.at) for e in events[:2]] == [(Op.SWITCH, 5000), (Op.SWITCHED, 5000)]
    assert events[1].flags == KEEP_STATE
    assert b.state[0, 9] == 0  # not primed
    assert b.state[0, 8] == 9000 + p.delay  # its phase is what the other's was


def test_other_architectures_are_primed_although_asked_to_keep():
    a, b = make_fake(), make_fake(dim=8)
    _, events = play(
        offline([Slot(a.program), Slot(b.program)]), 20_000, [Command(9000, Op.SWITCH, number=1, flags=KEEP_STATE)]
    )
    assert [e.op for e in events] == [Op.SWITCH, Op.PRIMED, Op.SWITCHED, Op.SETTLED]


def test_a_switch_during_a_crossfade_waits_and_the_latest_wins():
    slots = [Slot(make_program(period=n)) for n in (100, 80, 60)]
    commands = [
        Command(5000, Op.SWITCH, number=1, ramp=4000),
        Command(7000, Op.SWITCH, number=2, ramp=100),
        Command(7500, Op.SWITCH, number=0, ramp=300),
        Command(20_000, Op.SWITCH, number=0, ramp=300),
    ]
    _, events = play(offline(slots), 30_000, commands)
    switched = [e for e in events if e.op == Op.SWITCHED]
    assert [e.number for e in switched] == [1, 0]
    assert switched[1].ramp == 300
    assert next(e for e in events if e.at == 20_000).flags == ALREADY


def test_a_switch_during_priming_replaces_it():
    slots = [Slot(make_program(period=n)) for n in (100, 80, 60)]
    commands = [Command(9000, Op.SWITCH, number=1, ramp=400), Command(9700, Op.SWITCH, number=2, ramp=400)]
    _, events = play(offline(slots), 30_000, commands)
    assert [(e.number, e.at) for e in events if e.op == Op.SWITCHED] == [(2, 9700 + 1500)]


def test_crossfades_that_do_not_fit_are_shortened():
    slots = [Slot(make_program(period=n)) for n in (100, 80)]
    _, events = play(offline(slots, fade=500), 30_000, [Command(9000, Op.SWITCH, number=1, ramp=4000)])
    assert [e.ramp for e in events if e.op == Op.SWITCHED] == [500]
    sample = 1e6 / RATE
    timing = make_timing(
        [(0.3 * sample, 0.05 * sample), (0.7 * sample, 0.2 * sample)],
        [RATE, RATE],
        sample_rate=RATE,
        voices=1,
        ring_frames=1000,
        turn=16,
        delay=0,
        ahead=44,
    )
    assert timing.crossfade[0][0] == UNLIMITED
    assert timing.crossfade[0][1] == timing.crossfade[1][0] == pytest.approx(500 / 0.1, abs=2)
    assert timing.prime_rate == (4, 2)
    assert timing.prime_length == (int(3 * 0.06 * RATE), int(0.06 * RATE))
    assert Timing.from_json(timing.to_json(), 2) == replace(timing, cost_us=())


# --- panic, stop, fuse


def test_panic_fades_resets_and_waits():
    fake = make_fake()
    p = offline([Slot(fake.program), Slot(make_program())])
    audio, events = play(p, 20_000, [Command(5000, Op.PANIC), Command(9000, Op.SET, parameter=GAIN, value=-1.0)])
    fall = int(PANIC_S * RATE)
    assert np.all(np.any(audio[4000 : 5000 + fall - 200] != 0.0, axis=1))
    assert np.all(audio[5000 + fall :] == 0.0)
    assert fake.state[0, 12] == 3
    assert p.link.telemetry().silent
    audio, events = play(p, 40_000, [Command(25_000, Op.RESUME)])
    assert np.all(audio[:5000] == 0.0)
    assert np.abs(audio[7000:]).max() > 0.3
    assert jumps(audio) < 0.06
    p.link.panic()
    audio, events = play(p, 60_000, [Command(50_000, Op.SWITCH, number=1)])
    assert [e.op for e in events] == [Op.PANIC, Op.SWITCH, Op.SETTLED]
    assert events[0].at == 40_000 + p.delay
    assert np.all(audio[p.delay + fall : 10_000] == 0.0)
    assert np.abs(audio[12_000:]).max() > 0.3


def test_panic_works_every_time():
    p = offline([Slot(make_program())])
    for second in range(3):
        audio, _ = play(p, (3 * second + 1) * RATE, [Command(0, Op.RESUME)])
        assert np.abs(audio[-RATE // 2 :]).max() > 0.3
        p.link.panic()
        audio, events = play(p, (3 * second + 3) * RATE)
        assert [e.op for e in events] == [Op.PANIC]
        assert np.all(audio[RATE // 2 :] == 0.0)


def overtaken(slots):
    """A set whose panics come after switches and resumes that wait, on the lists and, one being full, on the ring."""
    p = offline(slots)
    parts = [play(p, 9000, [Command(20_000, Op.SWITCH, number=1), Command(20_000, Op.RESUME)])]
    p.link.panic()
    parts.append(play(p, 30_000))
    parts.append(play(p, 31_000, [Command(40_000 + i, Op.RESEED) for i in range(PENDING)]))
    assert p.link.push(Command(0, Op.SWITCH, number=1))
    assert p.link.push(Command(0, Op.RESUME))
    p.link.panic()
    parts.append(play(p, 50_000))
    parts.append(play(p, 64_000, [Command(60_000, Op.RESUME)]))
    p.link.panic()  # and, before a turn is made, what came after it
    parts.append(play(p, 95_000, [Command(80_000, Op.SWITCH, number=1), Command(85_000, Op.STOP)]))
    return np.concatenate([audio for audio, _ in parts]), [e for _, events in parts for e in events]


def test_a_panic_voids_what_waited_and_a_replay_does_the_same():
    audio, events = overtaken([Slot(make_program(period=n)) for n in (100, 80)])
    assert np.all(audio[9000 + 2000 : 59_000] == 0.0)
    assert np.abs(audio[62_000:64_000]).max() > 0.3  # what came after a panic counts
    assert np.all(audio[64_000 + 2000 : 79_000] == 0.0)
    assert np.abs(audio[82_000:84_000]).max() > 0.3
    void = [e for e in events if e.flags & REFUSED]
    assert {e.flags for e in void} == {REFUSED | OVERTAKEN}
    assert sorted((e.op, e.at < 10_000) for e in void) == [
        (Op.SWITCH, False), (Op.SWITCH, True), (Op.RESUME, False), (Op.RESUME, True)
    ]  # fmt: skip
    p = offline([Slot(make_program(period=n)) for n in (100, 80)])
    commands, parts, retold = commands_of(events), [], []
    for end in (9000, 30_000, 64_000, 95_000):
        while commands and p.link.push(commands[0]):
            del commands[0]
        again, told = play(p, end)
        parts.append(again)
        retold += told
    np.testing.assert_array_equal(np.concatenate(parts), audio)
    plain = [(e.at, e.op, e.voice, e.number) for e in events if not e.flags & REFUSED]
    assert sorted(plain) == sorted((e.at, e.op, e.voice, e.number) for e in retold)


def test_resume_during_the_fall_goes_back_up():
    audio, _ = play(offline([Slot(make_program())]), 20_000, [Command(5000, Op.PANIC), Command(5700, Op.RESUME)])
    assert jumps(audio) < 0.06
    blocks = np.abs(audio[2000:]).reshape(-1, 200, 2).max(axis=(1, 2))
    assert 0.01 < blocks.min() < 0.3
    assert blocks[-1] > 0.3


def test_closing_fade_is_the_end():
    p = offline([Slot(make_program())])
    audio, events = play(p, 50_000, [Command(10_000, Op.STOP)])
    assert len(audio) == 10_000 + p.closing
    assert np.abs(audio[-20:]).max() < 1e-3
    assert (events[-1].op, events[-1].at) == (Op.ENDED, len(audio))
    assert p.link.telemetry().ended
    assert len(p.render_to(60_000)) == 0
    audio, _ = play(offline([Slot(make_program())]), 50_000, [Command(0, Op.STOP, ramp=300)])
    assert len(audio) == 300


def test_fuse_on_runaway_level():
    fake = make_fake("square", voices=2)
    p = offline([Slot(fake.program), Slot(make_program(voices=2))], 2, start=[0, 1])
    audio, events = play(p, 120_000)
    fuses = [e for e in events if e.op == Op.FUSE]
    assert [e.voice for e in fuses] == [0] * len(fuses)
    assert 0.5 * RATE < fuses[0].at < 1.2 * RATE
    assert fuses[0].parameter == 1
    assert fake.state[0, 12] == 3
    assert len(fuses) == p.report()["fuses"] <= 3  # it comes back, and goes again no sooner than at first
    assert np.abs(audio).max() <= 0.98


def test_a_fuse_depends_on_no_cuts_where_turns_are_longer_than_it():
    def run(cuts=()):
        p = offline([Slot(make_program("square", frame_sizes=(4, 1024), sample_rate=22_050))], rate=22_050)
        return np.concatenate([p.render_to(at) for at in (*cuts, 60_000)]), p.link.events()

    whole, events = run()
    (fuse, *_) = (e.at for e in events if e.op == Op.FUSE)
    np.testing.assert_array_equal(run([fuse + 240])[0], whole)  # between the end of its fade and the turn's


def test_fuse_on_a_number_that_is_not_finite():
    fake = make_fake(fault_at=8000)
    p = offline([Slot(fake.program)])
    audio, events = play(p, 30_000)
    assert [(e.op, e.parameter) for e in events] == [(Op.FUSE, 0)] * len(events)
    assert 8000 <= events[0].at < 8000 + 2 * p.turn
    assert len(events) == 3  # the fresh lane counts from 0 and fails again at 8000
    assert np.abs(audio[11_000:15_000]).max() > 0.3
    assert np.isfinite(audio).all()


def test_the_limiter_holds_what_the_voices_add_up_to():
    p = offline([Slot(make_program("square", 4), loudness=-60.0)], 4, parameters=[[1.0, 12.0, 0.0, 0.0]] * 4)
    audio, _ = play(p, 20_000)
    assert 0.9 < np.abs(audio).max() <= 0.98
    assert p.link.telemetry().reduction < 0.1


# --- live


def read_all(p, out, block=64):
    """Read the ring as a device would, as fast as it comes, until the set has ended."""
    buffer = np.zeros(2 * block, np.float32)
    words, samples = p.link.shared.words, p.link.shared.samples
    while not (p.link.telemetry().ended and p.link.telemetry().fill == 0):
        if p.link.telemetry().fill >= block or p.link.telemetry().ended:
            serve_counted(words, samples, buffer, block, 0)
            out(buffer)


def test_a_live_set_is_replayed_to_the_bit():
    live = Performance(bank(), sample_rate=RATE, voices=2, seed=5, start=[0, 3], tap=True, ring_frames=600)
    taped, events, sent = [], [], 0
    gestures = [replace(c, at=0 if i % 3 else c.at) for i, c in enumerate(busy()) if c.op != Op.STOP]
    room = np.zeros((4096, 2), np.float32)

    def at_each_block(_):
        nonlocal sent
        t = live.link.telemetry()
        if sent < len(gestures) and t.written > 1500 * (sent + 1):
            live.link.push(gestures[sent])
            sent += 1
        elif sent == len(gestures) and t.written > 1500 * (sent + 4):
            live.link.panic()
            sent += 1
        elif sent > len(gestures) and t.written > 1500 * (sent + 12):
            live.stop()
        taped.append(room[: live.link.tap(room)].copy())
        events.extend(live.link.events())

    live.start()
    read_all(live, at_each_block)
    assert live.wait(10)
    taped.append(room[: live.link.tap(room)].copy())
    events.extend(live.link.events())
    live.close()
    assert live.prefill_done()
    recorded = np.concatenate(taped)
    end = next(e for e in events if e.op == Op.ENDED)
    assert len(recorded) == end.at == live.report()["samples"] == live.link.telemetry().read
    assert sum(e.late > 0 for e in events) == live.report()["late_events"] > 3

    again = Performance(
        bank(), sample_rate=RATE, voices=2, seed=5, start=[0, 3], offline=True, timing=live.timing, ring_frames=600
    )
    log = [replace(e, flags=e.flags & KEEP_STATE) for e in events if e.op < 20]
    audio, retold = play(again, end.at + 1, [Command(**vars(e)) for e in log])
    np.testing.assert_array_equal(audio, recorded)
    plain = [(e.at, e.op, e.voice, e.number, e.value, e.ramp) for e in events]
    assert sorted(plain) == sorted((e.at, e.op, e.voice, e.number, e.value, e.ramp) for e in retold)


@pytest.mark.parametrize(("rate", "lost"), [(8000, 3000), (192_000, 1 << 20)])
def test_a_full_tap_is_zeros_of_equal_length_and_the_loop_goes_on(rate, lost):
    p = Performance([Slot(make_program(sample_rate=rate))], sample_rate=rate, tap=True, ring_frames=600)
    room = np.zeros((1 << 21, 2), np.float32)
    state = {"drained": 0, "stopped": False}
    parts = []

    def at_each_block(_):
        t = p.link.telemetry()
        if state["drained"] or t.tap_lost > lost:
            parts.append(room[: p.link.tap(room)].copy())
            state["drained"] = state["drained"] or t.written
        if state["drained"] and not state["stopped"] and t.written > state["drained"] + 14_000:
            p.stop()
            state["stopped"] = True

    p.start()
    read_all(p, at_each_block)
    parts.append(room[: p.link.tap(room)].copy())
    p.close()
    taped, events = np.concatenate(parts), p.link.events()
    hole = next(e for e in events if e.op == Op.TAP_OVERFLOW)
    assert len(taped) == p.report()["samples"]
    assert np.all(taped[hole.at : hole.at + hole.number] == 0.0)
    assert np.all(np.any(taped[hole.at - 500 : hole.at] != 0.0, axis=1))
    assert np.all(np.any(taped[hole.at + hole.number :][:500] != 0.0, axis=1))
    assert p.report()["tap_lost"] == hole.number >= lost


def test_closing_a_set_that_nobody_reads():
    p = Performance([Slot(make_program())], sample_rate=RATE, tap=True)
    p.start()
    p.close(timeout=0.05)
    p.close()
    frames = np.zeros((1 << 16, 2), np.float32)
    count = p.link.tap(frames)
    assert p.link.telemetry().ended
    assert np.abs(frames[count - 10 : count]).max() < 1e-3
    assert p.link.events()[-1].op == Op.ENDED


def test_arguments_are_checked():
    slot = Slot(make_program())
    for bad in ({"voices": 2}, {"voices": 0}, {"start": [1]}, {"sample_rate": 5}, {"ring_frames": 0}, {"block": 0}):
        with pytest.raises(ValueError, match="expected"):
            Performance([slot], **{"sample_rate": RATE, "offline": True, **bad})
    with pytest.raises(ValueError, match="bank"):
        Performance([], sample_rate=RATE)
    with pytest.raises(ValueError, match="parameters"):
        Performance([slot], sample_rate=RATE, offline=True, parameters=[[1.0, 0.0]])
    with pytest.raises(ValueError, match="timing"):
        Performance([slot], sample_rate=RATE, offline=True, timing={"turn": 1})


ORPHAN = """
import sys
sys.path.insert(0, "tests")
from fake_program import make_program
from instrument.audio.callback import NullClock
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
p = Performance([Slot(make_program())], sample_rate=44100)
clock = NullClock(p.link, 64)
p.start()
clock.start()
while p.link.telemetry().read < 500:
    pass
raise KeyError("lost")
"""


def test_a_main_thread_that_dies_leaves_no_process():
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("KeyError: 'lost'")
