"""Gestures to commands: places on the sample clock, precedence, sweeps, gates, a full ring."""

import math
import threading
import time

import pytest
from fake_link import LATENCY, RATE, FakeLink, make_controller
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instrument import controller
from instrument.clock import SampleClock
from instrument.controls import DEFAULTS, OVERTAKEN, REFUSED, Command, Event, Op
from instrument.movement import LEAD
from instrument.parameters import PARAMETERS
from instrument.patch import Sweep
from instrument.tracks import GLIDE


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def desk(link):
    return make_controller(link)


def wait(link, desk, seconds, step=0.01):
    for _ in range(round(seconds / step)):
        link.now += step
        desk.pump()


def test_a_gesture_takes_effect_L_after_it_happened(link, desk):
    link.now += 0.5
    desk.set("temperature", 1.2, when=link.now - 0.01)
    desk.set("gain", -6, voice=2, ramp=0.5)
    at = round(0.5 * RATE) + LATENCY
    assert link.take() == [
        Command(at - 441, Op.SET, -1, 0, 1.2),
        Command(at, Op.SET, 1, 1, -6.0, RATE // 2),
    ]


def test_every_value_comes_with_whose_gesture_it_was(link, desk):
    desk.set("gain", -6, voice=2, source="knob")
    desk.set("temperature", 1.2, source="page")
    found = desk.values()
    assert found["voice/2/gain"] == (-6.0, "knob")
    assert found["voice/1/gain"] == (0.0, None)
    assert found["temperature"] == found["voice/2/temperature"] == (1.2, "page")
    desk.set("gain", -9)
    assert found.keys() == desk.values().keys()
    assert desk.values()["voice/2/gain"] == (-9.0, None)


def test_what_others_led_back_is_news_to_its_first_author(link, desk):
    desk.trigger("snapshot", "before")
    desk.set("gain", -6, source="page")
    desk.trigger("checkpoint", "tabla", source="page")
    desk.trigger("snapshot", "here")
    desk.trigger("checkpoint", "drones", source="page")
    desk.trigger("checkpoint", "tabla", source="page")
    assert (desk.values()["gain"], desk.playing()["checkpoint"]) == ((-6.0, "page"), ("tabla", "page"))
    desk.trigger("recall", "before")
    assert desk.values()["gain"] == (0.0, None)
    desk.trigger("checkpoint", "drones")
    desk.trigger("recall", "here")
    assert (desk.values()["gain"], desk.playing()["checkpoint"]) == ((-6.0, None), ("tabla", None))


def test_what_waits_for_its_time_is_its_authors_then(link, desk):
    desk.set("gain", -6, when=link.now + 1.0, source="page")
    desk.trigger("checkpoint", "drones", when=link.now + 1.0, source="page")
    for _ in range(12):
        wait(link, desk, 0.1)
        authors = {desk.values()["gain"], desk.playing()["checkpoint"]}
        assert authors <= {(0.0, None), (0.0, "page"), (-6.0, "page"), ("tabla", None), ("drones", "page")}
    assert authors == {(-6.0, "page"), ("drones", "page")}


def test_after_a_refused_switch_the_checkpoint_is_what_plays(link, desk):
    desk.trigger("checkpoint", "drones", voice=1)
    assert desk.get("checkpoint") == "drones"
    desk.heard([Event(5, Op.SWITCH, 0, number=2, flags=REFUSED)])
    assert desk.get("checkpoint") == desk.get("voice/1/checkpoint") == "glass"  # telemetry's


def test_a_switch_that_a_panic_came_before_can_be_asked_for_again(link, desk):
    link.room = 0
    desk.trigger("checkpoint", "drones")  # waits for room on the ring
    desk.panic()
    assert desk.get("checkpoint") == "glass"  # telemetry's
    desk.trigger("resume")
    desk.trigger("checkpoint", "drones")
    link.room = 10
    desk.pump()
    assert [c.op for c in link.take()] == [Op.RESUME, Op.SWITCH]


def test_nobody_is_answered_while_another_patch_comes(desk):
    """Programs asked for and their slots change one after the other, under the lock."""
    answers = []
    with desk.lock:
        desk.table.asked[:] = [2, 2]
        desk.table.slots[:] = [0]
        others = [threading.Thread(target=lambda: answers.append(desk.get("checkpoint")))]
        others += [threading.Thread(target=lambda: answers.append(desk.playing()["voice/2/checkpoint"][0]))]
        for other in others:
            other.start()
            other.join(0.1)
        desk.table.slots[:] = [0, 1, 2]
    for other in others:
        other.join(5)
    assert answers == ["drones", "drones"]


def test_a_checkpoint_that_joins_can_be_asked_for(link, desk):
    with pytest.raises(ValueError, match="epoch-4"):
        desk.trigger("checkpoint", "epoch-4")
    link.now += 1.0
    desk.grow("epoch-4")
    desk.trigger("checkpoint", "epoch-4")
    at = RATE + LATENCY
    assert link.take() == [Command(at, Op.GROW, number=4), Command(at, Op.SWITCH, ramp=2205, number=3)]
    assert desk.get("checkpoint") == "epoch-4"
    assert desk.control_latency() is None


def test_checkpoints_join_in_their_order_even_if_the_clock_goes_back(link, desk, monkeypatch):
    samples = iter((5000, 3000))
    monkeypatch.setattr(desk, "sample", lambda moment: next(samples))
    desk.grow("epoch-4")
    desk.grow("epoch-5")
    assert [(c.at, c.number) for c in link.take()] == [(5000, 4), (5000, 5)]


def test_where_maturity_led_a_voice_is_for_the_loop_to_say(link):
    desk = make_controller(link, history=True, start=[2, 2])
    desk.heard([Event(5, Op.SWITCHED, 0, number=0), Event(6, Op.SETTLED, 1, number=2)])
    assert (desk.get("voice/1/checkpoint"), desk.get("voice/2/checkpoint")) == ("glass", "drones")  # telemetry's
    desk.trigger("checkpoint", "drones")
    assert [command.number for command in link.take()] == [2]


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_clip_and_what_is_no_number_is_refused(link, desk, name):
    p = PARAMETERS[name]
    desk.set(name, p.high + 100)
    desk.set(name, p.low - 100)
    assert [command.value for command in link.take()][-1] == p.low
    assert desk.value(name) == p.low
    for bad in (math.nan, math.inf, "1", None, [1], 10**400):
        with pytest.raises(ValueError, match=f"^{name}: [^\n]+$"):
            desk.set(name, bad)
    assert link.take() == []


def test_norm(link, desk):
    desk.set_norm("gain", 0.5)
    desk.set_norm("temperature", True)
    desk.set_norm("mute", 0.6)
    assert [command.value for command in link.take()] == [-24.0, 2.0, 1.0]


def test_voices_count_from_one(link, desk):
    desk.set("pan", 0.5, voice=1)
    assert link.take()[0].voice == 0
    for bad in (0, 3, -1):
        with pytest.raises(ValueError, match="no voice"):
            desk.set("pan", 0.5, voice=bad)
    assert (desk.get("voice/1/pan"), desk.get("voice/2/pan"), desk.get("pan")) == (0.5, 0.0, 0.0)


def test_what_is_offered_is_done_for_gestures_only(desk):
    done = []
    desk.offer("resend", done.append)
    desk.offer("learn", done.append)
    for value in (0, 0.0, 1, 0):
        desk.trigger("resend", value)
    desk.trigger("resend")
    assert done == [[1.0], [None]]
    for _ in range(10):  # held by one who sends frames
        desk.trigger("learn", "gain", source="td")
    assert len(done) < 2 + 10
    with pytest.raises(ValueError, match="resend"):
        desk.trigger("resend", "x")


def test_what_waits_for_its_time_is_bounded(link, desk, monkeypatch):
    monkeypatch.setattr(controller, "MOST_WAITING", 3)
    for k in range(3):
        desk.set("gain", -k, when=link.now + 1.0)
    with pytest.raises(ValueError, match=r"^3 gestures wait for their time already[^\n]*$"):
        desk.set("gain", -9.0, when=link.now + 1.0)
    desk.set("gain", -8.0)  # now
    wait(link, desk, 1.0)
    assert [c.value for c in link.take()] == [-8.0, 0.0, -1.0, -2.0]


def test_what_is_due_at_once_leaves_the_others_room(link, desk):
    for k in range(5000):
        desk.set("gain", -k / 100, when=link.now + 1.0)
    link.now += 1.0
    waits, done = [], threading.Event()

    def gestures():
        while not done.wait(0.002):
            then = time.perf_counter()
            desk.set("pan", 0.5)
            waits.append(time.perf_counter() - then)

    other = threading.Thread(target=gestures)
    other.start()
    while desk._future:
        desk.pump()
    done.set()
    other.join()
    assert [c.value for c in link.take() if c.parameter == 1][-1] == -49.99
    assert len(waits) > 3


def test_a_light_for_what_is_not_there_is_out(link, desk):
    assert desk.active("checkpoint", 0)
    assert not desk.active("checkpoint", 5)  # a bank that was saved shorter
    assert not desk.active("checkpoint", 0, 3)
    assert not desk.active("loop", None, 3)


def test_repeated_equal_values_never_reach_the_ring(link, desk):
    for _ in range(10):
        desk.set("temperature", 1.3, source="td")
        link.now += 1 / 60
    desk.set("temperature", 1.3)
    desk.set("gain", 0.0)
    assert len(link.take()) == 1


def test_a_held_value_does_not_end_what_began_since(link, desk):
    for _ in range(6):
        desk.set("temperature", 1.3, source="td")
        link.now += 1 / 60
    desk.trigger("sweep", "unhinge")
    desk.set("temperature", 1.2, source="max")  # who sends no frames is taken at once at his word, repeated or not
    desk.trigger("sweep", "unhinge")
    desk.set("temperature", 1.2, source="max")
    assert desk.value("temperature") == 1.2
    desk.trigger("sweep", "unhinge")
    for _ in range(60):
        link.now += 1 / 60
        desk.set("temperature", 1.3, source="td")
    assert desk.value("temperature") == pytest.approx(0.875 + 0.275 / 45)
    link.now += 1.0
    link.take()
    desk.set("temperature", 1.3, source="td")  # a button pressed again, much later, is a gesture
    assert [command.value for command in link.take()] == [1.3]


def test_a_new_value_ends_a_ramp(link, desk):
    desk.set("gain", -12.0, ramp=10.0)
    wait(link, desk, 5.0)
    assert desk.value("gain") == pytest.approx(-6.0)
    desk.set("gain", 3.0)
    wait(link, desk, 5.0)
    assert desk.value("gain") == 3.0
    assert [command.value for command in link.take()] == [-12.0, 3.0]


def test_a_sweep_is_a_jump_and_a_ramp(link, desk):
    desk.trigger("sweep", "unhinge")
    jump, ramp = link.take() or (None, None)
    assert jump == Command(LATENCY, Op.SET, -1, 0, 0.875)
    glide = round(GLIDE * RATE)
    assert ramp == Command(LATENCY + glide, Op.SET, -1, 0, 1.15, 45 * RATE - glide)
    wait(link, desk, 22.5)
    assert desk.get("temperature") == pytest.approx((0.875 + 1.15) / 2)
    wait(link, desk, 30)
    assert desk.get("temperature") == 1.15
    assert link.take() == []


def test_segments_wait_until_they_are_near(link, desk):
    desk.set("gain", -12.0)
    link.take()
    desk.trigger("sweep", "steps")
    assert [c.value for c in link.take()] == [-6.0]
    wait(link, desk, 1.0 - LEAD - 0.02)
    assert link.take() == []
    wait(link, desk, 0.04)
    assert [(c.at, c.value, c.ramp) for c in link.take()] == [(LATENCY + RATE, -6.0, RATE)]
    wait(link, desk, 3)
    assert [(c.at, c.value, c.ramp) for c in link.take()] == [(LATENCY + 2 * RATE, 0.0, 0)]


def test_stop_holds_and_overtakes_what_is_on_the_ring(link, desk):
    desk.trigger("sweep", "steps")
    wait(link, desk, 2.0 - LEAD / 2)  # the jump at 2 s is on the ring
    link.take()
    desk.trigger("sweep/stop", "steps")
    held, behind = link.take()
    assert held.value == behind.value == -6.0
    assert behind.at == LATENCY + 2 * RATE + 1
    wait(link, desk, 5)
    assert link.take() == []
    assert desk.get("gain") == -6.0


def test_stop_where_it_is(link, desk):
    desk.trigger("sweep", "unhinge")
    wait(link, desk, 9.0)
    link.take()
    desk.trigger("sweep/stop", 1.0)
    assert [c.value for c in link.take()] == [pytest.approx(0.93)]
    wait(link, desk, 60)
    assert desk.get("temperature") == pytest.approx(0.93)
    desk.trigger("sweep/stop")
    assert link.take() == []


def test_one_voice_leaves_a_sweep_of_all(link, desk):
    desk.trigger("sweep", "steps")
    desk.set("gain", 6.0, voice=1)
    link.take()
    wait(link, desk, 4)
    assert {c.voice for c in link.take()} == {1}
    assert (desk.get("voice/1/gain"), desk.get("voice/2/gain")) == (6.0, 0.0)


def test_a_sweep_of_one_voice(link, desk):
    desk.trigger("sweep", "second")
    wait(link, desk, 0.5)
    assert {c.voice for c in link.take()} == {1}
    assert (desk.get("voice/1/pan"), desk.get("voice/2/pan")) == (0.0, pytest.approx(0.0))


def test_sweeps_by_name_only(desk):
    for bad in ("unhing", 3, None, ""):
        with pytest.raises(ValueError, match="sweep"):
            desk.trigger("sweep", bad)


def test_checkpoint_by_index_and_name(link, desk):
    desk.trigger("checkpoint", "glass", 0.5)
    desk.trigger("checkpoint", 2.0)
    desk.trigger("checkpoint", True, voice=2)
    assert [(c.op, c.voice, c.number, c.ramp) for c in link.take()] == [
        (Op.SWITCH, -1, 1, RATE // 2),
        (Op.SWITCH, -1, 2, round(0.05 * RATE)),
        (Op.SWITCH, 1, 1, round(0.05 * RATE)),
    ]
    assert (desk.get("checkpoint"), desk.get("voice/2/checkpoint")) == ("drones", "glass")
    for bad in (3, -1, "tabl", math.nan, math.inf, None, 10**30):
        with pytest.raises(ValueError, match=r"^checkpoint: [^\n]+$"):
            desk.trigger("checkpoint", bad)
    with pytest.raises(ValueError, match="did you mean 'tabla'"):
        desk.trigger("checkpoint", "tabl")


def test_the_checkpoint_that_plays_is_not_switched_to(link, desk):
    desk.trigger("checkpoint", 0)
    assert link.take() == []
    desk.trigger("panic")
    desk.trigger("checkpoint", 0)
    assert [c.op for c in link.take()] == [Op.SWITCH]


@pytest.mark.parametrize("name", ["reseed", "panic", "resume", "sweep/stop"])
def test_gates(link, desk, name):
    def fired():
        count = len(link.take()) + link.panics
        link.panics = 0
        return count

    if name == "sweep/stop":
        desk.trigger("sweep", "unhinge")
        wait(link, desk, 1)
        fired()
    desk.trigger(name, 0)
    desk.trigger(name, 0.0, source="osc")
    desk.trigger(name, False)
    assert fired() == 0
    desk.trigger(name, 1.0, source="osc")
    assert fired() == 1


def test_a_button_held_by_a_sender_of_frames_fires_once(link, desk):
    for value in [0] * 6 + [1] * 30 + [0] * 3 + [1] * 2:
        desk.trigger("reseed", value, source="td")
        link.now += 1 / 60
    assert len(link.take()) == 2


def test_whoever_sends_no_frames_is_obeyed_every_time(link, desk):
    for value in (0, 1, 1, 1, 0, 0, 1, 1):
        desk.trigger("reseed", value, source="max")
        link.now += 1 / 60
    assert len(link.take()) == 5
    for _ in range(30):  # a message box without a release
        desk.trigger("reseed", 1, source="pd")
        link.now += 1 / 60
    assert len(link.take()) == 30
    for _ in range(3):
        desk.trigger("seed", 7, source="max")
        link.now += 0.03
    assert len(link.take()) == 3


def test_reseed_modes_and_seed(link, desk):
    for mode in ("learned", "zeros", "random"):
        desk.trigger("reseed", mode, source="osc")
    desk.trigger("reseed", source="osc")
    assert [c.parameter for c in link.take()] == [0, 1, 2, 2]
    desk.trigger("seed", 7.0)
    desk.trigger("seed", -1)
    assert [c.number for c in link.take()] == [7, 2**64 - 1]
    for name, bad in (("reseed", "loud"), ("reseed", math.nan), ("seed", "7"), ("seed", math.inf)):
        with pytest.raises(ValueError, match=name):
            desk.trigger(name, bad)


def test_arguments_are_counted(desk):
    for arguments in ((), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"checkpoint: . argument"):
            desk.trigger("checkpoint", *arguments)
    with pytest.raises(ValueError, match="no trigger"):
        desk.trigger("panik")
    with pytest.raises(ValueError, match="panic: is for all voices"):
        desk.trigger("panic", voice=1)


def test_panic_uses_its_flag_and_cancels_what_would_come(link, desk):
    desk.trigger("sweep", "unhinge")
    desk.trigger("checkpoint", 1, when=link.now + 5)
    wait(link, desk, 1)
    link.take()
    desk.panic()
    assert link.panics == 1
    assert [c.op for c in link.take()] == [Op.SET]  # the sweep held
    wait(link, desk, 10)
    assert link.take() == []
    desk.trigger("resume")
    assert [c.op for c in link.take()] == [Op.RESUME]


def test_the_future_waits_and_lands_on_its_sample(link, desk):
    desk.set("gain", -3.0, when=link.now + 2.0)
    desk.set("gain", -9.0, when=link.now + 1000.0)  # somebody's clock is wrong: now
    assert [c.value for c in link.take()] == [-9.0]
    wait(link, desk, 1.5)
    assert link.take() == []
    wait(link, desk, 1.0)
    assert link.take() == [Command(2 * RATE + LATENCY, Op.SET, -1, 1, -3.0)]


def test_a_full_ring_coalesces_values_and_keeps_what_happens_once(link, desk):
    link.room = 0
    for i in range(1, 101):
        desk.set("temperature", i / 100)
        desk.set("gain", -i / 10, voice=2)
        if i % 50 == 0:
            desk.trigger("reseed", "zeros")
            desk.trigger("checkpoint", i // 50)
    link.room = 1 << 30
    desk.pump()
    taken = link.take()
    assert [c.op for c in taken if c.op != Op.SET] == [Op.RESEED, Op.SWITCH] * 2
    assert [(c.parameter, c.value) for c in taken if c.op == Op.SET] == [(0, 1.0), (1, -10.0)]
    desk.set("temperature", 0.5)
    assert [c.value for c in link.take()] == [0.5]


def test_a_value_for_all_replaces_waiting_values_of_one(link, desk):
    link.room = 0
    desk.set("pan", 0.1)
    desk.set("pan", 0.2, voice=2)
    desk.set("pan", 0.3)
    desk.set("pan", 0.4, voice=1)
    link.room = 10
    desk.pump()
    assert [(c.voice, c.value) for c in link.take()] == [(-1, 0.3), (0, 0.4)]


def test_a_full_ring_keeps_the_value_that_a_ramp_starts_from(link, desk):
    link.room = 0
    desk.set("gain", -60.0)
    desk.set("gain", 0.0, ramp=5.0)
    link.room = 10
    desk.pump()
    assert [(c.value, c.ramp > 0) for c in link.take()] == [(-60.0, False), (0.0, True)]


def test_control_latency_from_echoes(link, desk):
    assert desk.control_latency() is None
    for i in range(100):
        desk.set("temperature", i / 100)
        desk.heard(link.echo(late=441 if i == 99 else 0))
        link.take()
        link.now += 0.01
    found = desk.control_latency()
    assert found["p50"] == pytest.approx(20.0, abs=0.05)
    assert found["p99"] == pytest.approx(20.0, abs=0.05)
    assert desk.late == 1


def test_what_the_engine_refuses_is_said(link):
    said = []
    desk = make_controller(link, said=said)
    desk.trigger("checkpoint", 1)
    desk.heard([Event(5, Op.SWITCH, -1, number=1, flags=REFUSED)])
    assert said == ["checkpoint: refused at sample 5: what would play it is gone"]
    desk.heard([Event(5, Op.MOMENT, 1, number=63, flags=REFUSED), Event(5, Op.PARTNER, -1, number=2, flags=REFUSED)])
    assert said.pop(1).startswith("moment: what voice 2 plays has no moment 63")
    assert said.pop(1) == "partner: the network that plays cannot be blended with the checkpoint asked for"
    desk.heard([Event(6, Op.SWITCH, number=1, flags=REFUSED | OVERTAKEN)])  # by a panic, as it should be
    assert len(said) == 1
    link.take()
    desk.trigger("checkpoint", 1)
    assert len(link.take()) == 1


def test_before_anything_plays_gestures_go_to_sample_zero(link, desk):
    link.played = False
    desk.set("temperature", 0.5)
    assert link.take()[0].at == 0


def test_initial_values(link):
    desk = make_controller(link, start=[2, 1], initial=[[0.9, -6, 0, *DEFAULTS[3:]], [0.9, -6, 0.4, *DEFAULTS[3:]]])
    desk.set("temperature", 0.9)
    desk.trigger("checkpoint", 2, voice=1)
    assert link.take() == []
    assert (desk.get("gain"), desk.get("voice/2/pan"), desk.get("voice/2/checkpoint")) == (-6.0, 0.4, "glass")


def test_telemetry_has_every_name_of_the_table(desk):
    from instrument.parameters import TELEMETRY, VOICE_TELEMETRY

    values = desk.telemetry()
    assert list(values) == [*TELEMETRY, *(f"voice/1/{name}" for name in VOICE_TELEMETRY)]
    assert values["level"] == pytest.approx(-20)
    assert values["latency"] == pytest.approx(20)


def test_the_sample_clock_follows_what_a_device_leaves_out():
    """Every event behind a lost block would be a block late, for seconds."""
    clock, late = SampleClock(RATE), [0.0, 0.0002, 0.004, 0.0001, 0.0]
    for block in range(1000):
        due = 50.0 + (block + (block >= 500)) * 128 / RATE  # one block's time is lost
        clock.observe(block * 128, due + late[block % 5] * (block % 50 != 0))
        if block > 100 and not 500 <= block < 525:
            assert abs(clock.sample(due) - block * 128) < 0.0015 * RATE, block


def test_the_sample_clock_is_steady_under_jitter():
    clock = SampleClock(RATE)
    late = [0.0, 0.003, 0.001, 0.004, 0.002]
    errors = []
    for block in range(2000):
        due = 50.0 + block * 256 / RATE
        clock.observe(block * 256, due + late[block % 5])
        if block > 500:
            errors.append(clock.sample(due) - block * 256)
    assert max(errors) - min(errors) < 0.0001 * RATE
    assert min(errors) > -0.004 * RATE


def test_the_sample_clock_follows_drift_and_jumps():
    clock = SampleClock(RATE)
    for block in range(3000):
        clock.observe(block * 256, 50.0 + block * 256 / RATE * (1 + 2e-4))
    true = 3000 * 256
    assert clock.sample(50.0 + 3000 * 256 / RATE * (1 + 2e-4)) == pytest.approx(true, abs=0.0005 * RATE)
    clock.observe(true, 50.5 + 3000 * 256 / RATE)
    assert clock.sample(50.5 + 3000 * 256 / RATE) == pytest.approx(true)


def engine_value(commands, voice, sample, value=0.0):
    """What a render loop that took ``commands`` has for a parameter of ``voice`` at ``sample``."""
    glide = round(GLIDE * RATE)
    start, length, origin, target = 0, 1, value, value

    def at(s):
        return target if s >= start + length else origin + (target - origin) * (s - start) / length

    for c in sorted(commands, key=lambda c: c.at):
        if c.voice in (-1, voice) and c.at <= sample:
            origin, start, length, target = at(c.at), c.at, c.ramp or glide, c.value
    return at(sample)


GESTURES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from([-1.0, 0.0, 0.5]), st.sampled_from([0.0, 0.7, 2.0])),
    st.tuples(st.sampled_from(["up", "zigzag", "second"])),
    st.tuples(st.just("stop"), st.sampled_from(["", "up", "zigzag"])),
)


@settings(max_examples=60, deadline=None)
@example([(("zigzag",), None, 9), (("up",), None, 2), (("stop", ""), None, 7)])  # overtaken twice
@given(st.lists(st.tuples(GESTURES, st.sampled_from([None, 1, 2]), st.integers(1, 150)), max_size=10))
def test_the_control_side_knows_what_the_loop_plays(gestures):
    link = FakeLink()
    desk = make_controller(link)
    desk.sweeps = {
        "up": Sweep("pan", ((0.0, -1.0), (2.0, 1.0))),
        "zigzag": Sweep("pan", ((0.5, 1.0), (0.5, 0.0), (1.0, 0.0), (1.8, 1.0), (2.6, -1.0))),
        "second": Sweep("pan", ((1.0, 1.0), (2.0, 0.5)), 2),
    }
    for (what, *rest), voice, turns in gestures:
        if what == "set":
            desk.set("pan", rest[0], voice, rest[1])
        elif what == "stop":
            desk.trigger("sweep/stop", *filter(None, rest))
        else:
            desk.trigger("sweep", what)
        for _ in range(turns + 4):
            link.now += 0.02
            desk.pump()
        sample = round((link.now - 100) * RATE) + LATENCY
        for n in (1, 2):
            assert desk.value("pan", n) == pytest.approx(engine_value(link.pushed, n - 1, sample), abs=0.1)


def test_gestures_from_many_threads_are_all_there(link):
    desk = make_controller(link, voices=8)

    def play(voice):
        for i in range(100):
            desk.set("gain", -float(i + 1) / 2, voice=voice)
            desk.trigger("reseed", "zeros", voice=voice)

    threads = [threading.Thread(target=play, args=(voice,)) for voice in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = link.take()
    assert len(taken) == 1600
    for voice in range(8):
        assert [c.value for c in taken if c.voice == voice and c.op == Op.SET] == [-(i + 1) / 2 for i in range(100)]
