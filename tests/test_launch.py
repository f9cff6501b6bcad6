"""Tempo, beats and bars: by hand, from MIDI clock, and what waits for their lines."""

import random
import threading
from pathlib import Path

import pytest
from fake_link import LATENCY, RATE, FakeLink, make_controller
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.controls import Command, Op
from instrument.movement import LEAD
from instrument.parameters import LAUNCHES, TRIGGERS
from instrument.patch import Entry, Patch, Sweep
from instrument.patch_movement import Movements
from instrument.pulses import Pulses, Taps
from instrument.snapshots import Scene, Snapshot
from instrument.transport import GRACE, Transport

BEAT = RATE // 2  # at 120


@pytest.fixture
def link():
    return FakeLink()


def desk_of(link, said=None, **movements):
    return make_controller(link, said=said, movements=Movements(**movements))


def wait(link, desk, seconds, step=0.005):
    for _ in range(round(seconds / step)):
        link.now += step
        desk.pump()


def transport(clock="internal", **kwargs):
    said = []
    made = Transport(lambda moment: moment, lock=threading.RLock(), say=said.append, clock=clock, **kwargs)
    return made, said


# --- what waits


def other_patch(desk, sweeps):
    with desk.at_one_sample(desk.now()):
        desk.adopt(Patch("b", (Entry("tabla", "", Path()),), sweeps=sweeps), None, [0], desk.now())


def test_what_was_of_the_patch_before_keeps_nothing_back(link):
    said = []
    desk = desk_of(link, said, snapshots={"still": Snapshot(Scene({"gain": -3.0}))})
    wait(link, desk, 0.5)
    desk.sweeps["up"] = Sweep("gain", ((0.0, -10.0),))
    desk.trigger("sweep", "steps", launch="bar")
    desk.trigger("recall", "still", when=link.now + 1.0)
    desk.trigger("sweep", "up", when=link.now + 1.0)
    desk.trigger("reseed", when=link.now + 1.0)
    desk.trigger("reseed", launch="bar")
    other_patch(desk, {})
    link.take()
    wait(link, desk, 3.0)
    assert [c.op for c in link.take()] == [Op.RESEED, Op.RESEED]
    assert sorted(said) == [
        f"{what} was of the patch before" for what in ("recall: still", "sweep: steps", "sweep: up")
    ]


def test_what_fails_keeps_back_nothing_else_that_is_due(link):
    said = []
    desk = desk_of(link, said)

    def fail(_arguments, _voices):
        def act(_moment):
            raise KeyError("up")

        return act

    wait(link, desk, 0.5)
    desk.act_on("recall", fail)
    desk.trigger("recall", "a", launch="bar")
    desk.trigger("recall", "a", when=link.now + 1.0)
    desk.trigger("reseed", when=link.now + 1.0)
    desk.trigger("reseed", launch="bar")
    wait(link, desk, 3.0)
    assert [c.op for c in link.take()] == [Op.RESEED, Op.RESEED]
    assert said == ["a gesture that waited: KeyError: 'up'"] * 2


def test_what_ends_something_comes_at_once_and_takes_back_what_waits(link):
    desk = desk_of(link, launch="bar")
    wait(link, desk, 0.5)
    for begin, end in (
        (("loop", 2), ("loop", 0)),
        (("loop", 2), ("loop/stop",)),
        (("partner", 1), ("partner", "none")),
    ):
        desk.trigger(*begin)
        assert link.take() == []
        desk.trigger(*end)
        assert [c.at for c in link.take()] == [desk.sample(link.now)]
        assert desk.waiting() == ""
    desk.trigger("loop", 2, voice=1)
    desk.trigger("loop/stop", voice=2)
    desk.trigger("sweep", "steps")
    desk.trigger("sweep", "unhinge")
    desk.trigger("sweep/stop", "steps")
    assert desk.waiting() == "loop at the next bar, sweep at the next bar"
    desk.trigger("sweep/stop")
    desk.trigger("loop", 0)
    assert desk.waiting() == ""


# --- the beat


def test_the_beat_runs_from_the_first_sample(link):
    desk = desk_of(link, tempo=90.0, meter=3)
    link.now += 10.0
    found = desk.telemetry()
    assert found["tempo"] == 90.0
    assert found["beat"] == pytest.approx(15.0 % 3, abs=1e-6)
    assert desk.beats(4) == pytest.approx(4 * 60 / 90)


TEMPI = st.lists(st.tuples(st.floats(20, 300), st.floats(0.01, 5)), min_size=1, max_size=20)


@given(TEMPI)
def test_changes_of_tempo_leave_the_beat_whole(changes):
    made, _ = transport()
    now, count = 0.0, 0.0
    for bpm, seconds in changes:
        made.set_tempo(bpm, now)
        assert made.count(now) == pytest.approx(count, abs=1e-6)
        now, count = now + seconds, count + seconds * bpm / 60
        assert made.position(now) == pytest.approx(count, abs=1e-6)
        assert made.seconds(count) == pytest.approx(now, abs=1e-6)


@pytest.mark.parametrize("bpm", [31, 62, 76.5, 123, 247])
def test_a_tempo_is_what_was_asked_for(bpm):  # a fader that picks up looks for just its own value
    made, _ = transport()
    made.set_tempo(bpm, 1.0)
    assert made.tempo == bpm


def test_start_stop_and_continue_by_hand(link):
    desk = desk_of(link)
    wait(link, desk, 1.3)
    desk.trigger("transport", "stop")
    assert desk.telemetry()["beat"] == pytest.approx(2.6, abs=1e-3)
    wait(link, desk, 1.0)
    assert desk.telemetry()["beat"] == pytest.approx(2.6, abs=1e-3)
    desk.trigger("transport", "continue")
    wait(link, desk, 0.5)
    assert desk.telemetry()["beat"] == pytest.approx(3.6, abs=1e-3)
    desk.trigger("transport", "start")
    assert desk.telemetry()["beat"] == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(ValueError, match="did you mean 'start'"):
        desk.trigger("transport", "strat")


def test_taps_are_a_tempo_and_the_stray_one_is_dropped():
    taps = Taps()
    found = [taps.tap(moment) for moment in (10.0, 10.5, 11.01, 11.49, 12.2, 12.5, 13.0)]
    assert found[:2] == [None, None]
    assert found[-1] == pytest.approx(120, rel=0.02)
    assert taps.tap(30.0) is None  # a pause: new ones


def test_a_tap_puts_a_line_under_it(link):
    desk = desk_of(link, tempo=60.0)
    wait(link, desk, 0.2)
    for _ in range(4):
        desk.trigger("tap")
        wait(link, desk, 0.6)
    link.now -= 0.6
    assert desk.telemetry()["tempo"] == pytest.approx(100.0)
    assert desk.telemetry()["beat"] % 1 == pytest.approx(0.0, abs=1e-3)


def test_a_tempo_is_a_number_within_bounds(link):
    desk = desk_of(link)
    desk.trigger("tempo", 1000)
    assert desk.telemetry()["tempo"] == 300.0
    for bad in (float("nan"), "fast", None):
        with pytest.raises(ValueError, match=r"^tempo"):
            desk.trigger("tempo", bad)


# --- MIDI clock


def pulses(made, start, bpm, count, jitter, rng):
    """Plays pulses; returns the true moment of the last one."""
    for k in range(count):
        made.pulse(start + k * 60 / bpm / 24 + rng.uniform(-jitter, jitter))
    return start + (count - 1) * 60 / bpm / 24


@pytest.mark.parametrize(("seed", "bpm"), [(1, 60.0), (2, 97.3), (3, 174.0)])
def test_jitter_of_five_milliseconds_does_not_shake_the_beat(seed, bpm):
    made, _ = transport("midi")
    rng = random.Random(seed)
    made.start(99.99)
    for k in range(24 * 40):
        true = 100.0 + k * 60 / bpm / 24
        made.pulse(true + rng.uniform(-0.005, 0.005))
        if k >= 24 * 24:
            off = made.position(true) - made.position(100.0) - k / 24
            assert abs(made.position(true) * 60 / bpm - k / 24 * 60 / bpm) < 0.006  # where the first pulse was heard
            assert abs(off) * 60 / bpm < 0.002
    assert made.tempo == pytest.approx(bpm, rel=1e-3)


@pytest.mark.parametrize(("seed", "other"), [(1, 90.0), (2, 126.0), (3, 140.0), (4, 180.0), (5, 60.0), (6, 122.0)])
def test_steady_to_a_millisecond_once_locked_and_two_beats_to_follow(seed, other):
    rng, found = random.Random(seed), Pulses()
    for k in range(24 * 60):
        true = 100.0 + k / 48
        found.pulse(true + rng.uniform(-0.005, 0.005))
        if k > 32 * 24:
            assert abs(found.place - true) < 0.001
    for _ in range(48):
        true += 60 / other / 24
        found.pulse(true + rng.uniform(-0.005, 0.005))
    assert 60 / found.period / 24 == pytest.approx(other, rel=0.02)
    assert abs(found.place - true) < 0.005


def test_start_stop_continue_and_song_position():
    made, _ = transport("midi")
    rng = random.Random(1)
    assert not made.running
    last = pulses(made, 100.0, 120, 96, 0.0, rng)
    assert not made.running
    made.start(last + 0.01)
    last = pulses(made, last + 1 / 48, 120, 25, 0.0, rng)
    assert made.position(last) == pytest.approx(1.0)
    made.stop(last)
    last = pulses(made, last + 1 / 48, 120, 24, 0.0, rng)
    assert made.position(last) == pytest.approx(1.0)
    made.continue_(last)
    last = pulses(made, last + 1 / 48, 120, 13, 0.0, rng)
    assert made.position(last) == pytest.approx(1.5)
    made.stop(last)
    made.song_position(32)
    made.continue_(last)
    last = pulses(made, last + 1 / 48, 120, 1, 0.0, rng)
    assert made.position(last) == pytest.approx(8.0)


def test_a_clock_that_stops_coming_leaves_the_tempo_and_says_one_line(link):
    said = []
    desk = desk_of(link, said, clock="midi", tempo=100.0)
    desk.trigger("tempo", 110.0)  # nobody else says it
    for k in range(480):
        link.now = 100.0 + k / 60
        desk.transport.pulse(link.now)
        desk.pump()
    assert said == []
    with pytest.raises(ValueError, match="comes from the MIDI clock"):
        desk.trigger("tempo", 90.0)
    wait(link, desk, 5.0)
    assert said == ["MIDI clock: none for a second; the tempo stays at 150.0"]
    assert desk.telemetry()["tempo"] == pytest.approx(150.0)
    desk.trigger("tempo", 90.0)
    for k in range(48):
        desk.transport.pulse(link.now + k / 60)
    assert desk.telemetry()["tempo"] == pytest.approx(150.0, rel=1e-3)


def test_pulses_are_nothing_to_a_clock_of_ones_own():
    made, _ = transport()
    pulses(made, 1.0, 180, 100, 0.0, random.Random(1))
    made.stop(5.0)
    assert made.tempo == 120
    assert made.running


# --- a shared session


def test_a_session_is_followed(link):
    made, _ = transport("link")
    for k in range(200):
        made.follow(10 + k * 0.02, 3.0 + k * 0.02 * 2.1, 126.0)
    assert made.tempo == pytest.approx(126.0)
    assert made.position(14.0) == pytest.approx(3.0 + 4.0 * 2.1, abs=1e-4)
    assert made.jumps == 1
    made.follow(14.0, 400.0, 126.0)
    assert made.position(15.0) == pytest.approx(402.1)
    made.follow(15.0, 402.1, 126.0, playing=False)
    assert not made.running


# --- another clock


def test_a_beat_goes_on_when_another_clock_leads():
    made, _ = transport("internal")
    made.lead("midi", 2.0)
    assert made.running
    assert made.position(3.0) == pytest.approx(6.0)
    pulses(made, 3.0, 90, 100, 0.0, random.Random(1))
    assert made.tempo == pytest.approx(90, abs=0.01)
    made.lead("internal", 10.0)
    made.pulse(10.1)
    made.follow(10.2, 400.0, 126.0)  # from a session that is being left
    assert made.tempo == pytest.approx(90, abs=0.01)
    assert made.position(11.0) - made.position(10.0) == pytest.approx(1.5, abs=1e-3)


def test_a_beat_that_waited_for_a_start_runs_when_midi_no_longer_leads():
    made, _ = transport("midi")
    assert not made.running
    made.lead("link", 5.0)
    assert made.running
    assert made.position(6.0) == pytest.approx(2.0)


# --- launch


@pytest.mark.parametrize(("launch", "beats"), [("beat", 1), ("bar", 4)])
def test_a_launch_takes_effect_at_the_sample_of_its_line(link, launch, beats):
    desk = desk_of(link, launch=launch)
    for turn in range(3):
        wait(link, desk, 0.13 + turn / 7)
        desk.trigger("reseed", "zeros")
        wait(link, desk, beats / 2)
        (command,) = link.take()
        assert command.op == Op.RESEED
        assert command.at % (beats * BEAT) == 0
        assert command.at > LATENCY


def test_on_the_line_is_at_once_and_behind_it_waits(link):
    desk = desk_of(link, launch="bar")
    wait(link, desk, 2.0)
    desk.trigger("reseed", "zeros")
    wait(link, desk, GRACE - 0.005)
    desk.trigger("reseed", "learned")
    assert [c.at for c in link.take()] == [2 * RATE + LATENCY, 2 * RATE + round((GRACE - 0.005) * RATE) + LATENCY]
    wait(link, desk, 0.02)
    desk.trigger("reseed")
    assert link.take() == []
    wait(link, desk, 2.0)
    assert [c.at for c in link.take()] == [4 * RATE]


def test_a_press_just_before_the_line_is_as_early_as_can_be(link):
    desk = desk_of(link, launch="beat")
    wait(link, desk, 0.49)
    desk.trigger("reseed")
    assert [c.at for c in link.take()] == [round(0.49 * RATE) + LATENCY]


def test_each_gesture_may_say_when(link):
    desk = desk_of(link, launch="bar")
    wait(link, desk, 0.1)
    desk.trigger("reseed", launch="now")
    assert len(link.take()) == 1
    desk.trigger("reseed", launch="beat")
    desk.trigger("seed", 5)  # dice are not launched
    assert [c.op for c in link.take()] == [Op.SEED]
    wait(link, desk, 0.5)
    assert [c.at for c in link.take()] == [BEAT]
    desk.trigger("quantise", "now")
    desk.trigger("reseed")
    assert len(link.take()) == 1
    with pytest.raises(ValueError, match="launch 'soon' is not one of now, beat, bar"):
        desk.trigger("reseed", launch="soon")


def test_a_later_launch_of_its_kind_comes_instead(link):
    desk = desk_of(link, launch="bar")
    wait(link, desk, 0.1)
    desk.trigger("checkpoint", "glass")
    desk.trigger("checkpoint", "drones")
    desk.trigger("checkpoint", "glass", voice=2)
    desk.trigger("moment", 3)
    wait(link, desk, 2.0)
    assert [(c.op, c.voice, c.number, c.at) for c in link.take()] == [
        (Op.SWITCH, -1, 2, 2 * RATE),
        (Op.SWITCH, 1, 1, 2 * RATE),
        (Op.MOMENT, -1, 3, 2 * RATE),
    ]


def test_panic_cancels_what_waits(link):
    desk = desk_of(link, launch="bar")
    wait(link, desk, 0.1)
    desk.trigger("moment", 3)
    desk.panic()
    wait(link, desk, 5.0)
    assert link.take() == []


def test_nothing_waits_for_a_transport_that_stands(link):
    desk = desk_of(link, launch="bar")
    wait(link, desk, 0.1)
    desk.trigger("moment", 1)
    desk.trigger("transport", "stop")
    desk.trigger("moment", 2)
    assert [c.number for c in link.take()] == [2]  # and comes instead of the one that waits
    desk.trigger("transport", "continue")
    wait(link, desk, 0.1)
    desk.trigger("reseed")
    desk.trigger("transport", "stop")
    wait(link, desk, 0.3)
    assert link.take() == []
    desk.trigger("transport", "start")  # what waits goes with the first line
    wait(link, desk, 0.02)
    assert [c.op for c in link.take()] == [Op.RESEED]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(20, 300), st.floats(0.0, 2.0)), max_size=5), st.sampled_from(LAUNCHES[1:]))
def test_a_launch_goes_with_the_beat_when_the_tempo_moves(changes, launch):
    link = FakeLink()
    desk = desk_of(link, launch=launch)
    wait(link, desk, 0.3)
    desk.trigger("moment", 1)
    for bpm, seconds in changes:
        desk.trigger("tempo", bpm)
        wait(link, desk, seconds)
    lines = [desk.transport.count(c.at / RATE) for c in link.take()]
    before = len(lines)
    wait(link, desk, 13.0)
    lines += [desk.transport.count(c.at / RATE) for c in link.take()]
    assert len(lines) == 1
    every = 4 if launch == "bar" else 1
    if before == 0:  # no tempo has moved since it went onto the ring
        assert lines[0] / every == pytest.approx(round(lines[0] / every), abs=1e-3)
        assert lines[0] > 0.9


def test_a_gesture_of_the_future_waits_for_the_line_behind_it(link):
    desk = desk_of(link, launch="bar")
    desk.trigger("moment", 1, when=link.now + 3.0)
    wait(link, desk, 4.0 - LEAD - 0.05)
    assert link.take() == []
    wait(link, desk, 0.1)
    assert link.take() == [Command(4 * RATE, Op.MOMENT, number=1)]


def test_what_can_be_launched():
    assert {name for name, trigger in TRIGGERS.items() if trigger.launched} >= {
        "checkpoint",
        "reseed",
        "moment",
        "recall",
        "sweep",
        "lfo",
    }


def test_the_future_never_blocks(link):
    desk = desk_of(link)
    for ahead, gain in ((-1.0, -1.0), (0.5, -2.0), (59.0, -3.0), (61.0, -4.0), (1e9, -5.0)):
        desk.set("gain", gain, when=link.now + ahead)
    assert [c.value for c in link.take()] == [-1.0, -4.0, -5.0]  # what is too far ahead is now
    wait(link, desk, 60.0)
    assert [c.value for c in link.take()] == [-2.0, -3.0]
