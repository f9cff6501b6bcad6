"""What moves: sweeps with curves, loops and beats, LFOs, macros, snapshots, and who wins among them."""

import math
from itertools import islice, pairwise
from pathlib import Path

import pytest
from fake_link import LATENCY, RATE, FakeLink, make_controller
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.controls import Op
from instrument.curves import WORDS, corners, mirrored, read_curve, shape
from instrument.lfos import SHAPES, Lfo, wave
from instrument.macros import Aim
from instrument.modulation import EVERY
from instrument.movement import LEAD
from instrument.patch import Entry, Patch
from instrument.patch_movement import Movements
from instrument.snapshots import Scene, Snapshot
from instrument.sweeps import Sweep, lines
from instrument.tracks import GLIDE

CURVES = st.one_of(st.sampled_from(WORDS).map(read_curve), st.floats(-1, 1))
MOVES = Movements(
    lfos={
        "wobble": Lfo("temperature", 0.2, "sine", rate=1.0),
        "step": Lfo("temperature", 0.1, "square", rate=0.7, voice=2),
        "walk": Lfo("gain", 6.0, "drift", rate=3.0, seed=5),
        "bar": Lfo("pan", 1.0, "saw", beats=4.0),
        "dice": Lfo("pan", 0.3, "random", rate=8.0, seed=9),
    },
    macros={
        "wild": (
            Aim("temperature", (0.8, 1.4)),
            Aim("gain", (0.0, -12.0), read_curve("exp")),
            Aim("pan", (-1.0, 1.0), 0.0, 2),
            Aim("lfo/wobble", (0.0, 1.0)),
        )
    },
    snapshots={
        "quiet": Snapshot(
            Scene({"gain": -30.0, "temperature": 0.7}, "glass"), {2: Scene({"pan": 0.5, "mute": 1.0}, "drones")}
        ),
    },
)


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def desk(link):
    return make_controller(link, movements=MOVES)


def wait(link, desk, seconds, step=0.01):
    for _ in range(round(seconds / step)):
        link.now += step
        desk.pump()


def played(commands, op, code, voice, sample, value=0.0):
    """Where a glide of a render loop that took ``commands`` is at ``sample``."""
    start, length, origin, target = 0, 1, value, value

    def at(s):
        return target if s >= start + length else origin + (target - origin) * (s - start) / length

    for c in sorted(commands, key=lambda c: c.at):
        if c.op == op and c.parameter == code and c.voice in (-1, voice) and c.at <= sample:
            origin, start, length, target = at(c.at), c.at, c.ramp or round(GLIDE * RATE), c.value
    return at(sample)


# --- curves and sweeps


@given(CURVES, st.floats(0, 1))
def test_lines_stay_within_half_a_percent_of_their_curve(curve, u):
    found = [(0.0, 0.0), *corners(curve, 1e-6)]
    if curve == "step":
        return
    (a, low), (b, high) = next(pair for pair in pairwise(found) if pair[0][0] <= u <= pair[1][0])
    assert abs(low + (high - low) * (u - a) / (b - a) - shape(curve, u)) < 0.005
    assert found[-1] == (1.0, 1.0)
    assert len(found) < 30


@given(CURVES, st.floats(0.001, 0.999))
def test_backwards_is_the_mirror(curve, u):
    assert shape(mirrored(curve), u) == pytest.approx(1.0 - shape(curve, 1.0 - u), abs=1e-9)


def test_pingpong_comes_back_and_a_loop_never_ends():
    there_and_back = Sweep("pan", ((0.0, -1.0), (1.0, 1.0)), pingpong=True)
    assert [(x.start, x.length, x.value) for x in lines(there_and_back)] == [(0, 0, -1), (0, 1, 1), (1, 1, -1)]
    looped = lines(Sweep("pan", ((0.0, -1.0), (1.0, 1.0)), loop=True, pingpong=True))
    assert [(x.start, x.value) for x in islice(looped, 6)] == [(0, -1), (0, 1), (1, -1), (2, 1), (3, -1), (4, 1)]
    saw = lines(Sweep("pan", ((0.0, -1.0), (1.0, 1.0)), loop=True))
    assert [(x.start, x.length, x.value) for x in islice(saw, 5)] == [
        (0, 0, -1),
        (0, 1, 1),
        (1, 0, -1),
        (1, 1, 1),
        (2, 0, -1),
    ]
    steps = lines(Sweep("pan", ((0.0, 0.0), (1.0, 1.0)), curves=(0.0, "step"), pingpong=True))
    assert [(x.start, x.length, x.value) for x in steps] == [(0, 0, 0), (1, 0, 1), (1, 0, 0)]


def test_a_loop_pushes_only_what_is_near(link, desk):
    desk.sweeps["round"] = Sweep("pan", ((0.0, -1.0), (1.0, 1.0), (2.0, -1.0)), loop=True)
    desk.trigger("sweep", "round")
    assert len(link.take()) == 2
    for _ in range(50):
        wait(link, desk, 0.1)
        now = (link.now - 100) * RATE
        assert all(c.at <= now + (LEAD + 0.1) * RATE + LATENCY for c in link.take())
    assert desk.value("pan") == pytest.approx(1.0, abs=0.01)  # after 5 s
    wait(link, desk, 0.25)
    assert desk.value("pan") == pytest.approx(0.5, abs=0.01)
    link.take()
    desk.trigger("sweep/stop", "round")
    wait(link, desk, 3.0)
    assert desk.value("pan") == pytest.approx(0.5, abs=0.01)


def test_a_value_that_a_sweep_is_resting_at_ends_it_all_the_same(link, desk):
    desk.sweeps["stairs"] = Sweep("pan", ((0.0, 0.5), (2.0, 1.0)), curves=(0.0, "step"))
    desk.trigger("sweep", "stairs")
    wait(link, desk, 1.0)
    desk.set("pan", 0.5)
    wait(link, desk, 2.0)
    assert desk.value("pan") == 0.5
    assert [c.value for c in link.take()] == [0.5, 0.5]


@pytest.mark.parametrize("slip", [0.2, 1.0])
def test_the_hand_wins_against_a_sweep_whose_clock_has_slipped(link, desk, slip):
    desk.sweeps["up"] = Sweep("gain", ((0.0, -40.0), (4.0, -1.0)), curves=(0.0, read_curve("exp")))
    desk.trigger("sweep", "up")
    wait(link, desk, 0.7)
    link.lose()
    wait(link, desk, slip)
    link.find()
    wait(link, desk, 0.7)
    desk.set("gain", 0.0)
    at = link.clock()[0] + LATENCY
    wait(link, desk, 5.0)
    for after in range(round((GLIDE + 0.002) * RATE), 4 * RATE, 500):
        assert abs(played(link.pushed, Op.SET, 1, 0, at + after)) < 0.4, after / RATE
    assert played(link.pushed, Op.SET, 1, 0, at + 4 * RATE) == desk.value("gain") == 0.0


def test_the_hand_wins_while_the_slip_is_not_known_yet(link, desk):
    desk.sweeps["up"] = Sweep("gain", ((0.0, -40.0), (4.0, -1.0)), curves=(0.0, read_curve("exp")))
    desk.trigger("sweep", "up")
    wait(link, desk, 0.7)
    link.lose()
    wait(link, desk, 0.15)
    link.find()
    desk.set("gain", 0.0)  # what lies on the ring was drawn before
    wait(link, desk, 5.0)
    assert played(link.pushed, Op.SET, 1, 0, 6 * RATE) == 0.0


@pytest.mark.parametrize("apart", [0.0, 0.004, 0.019])
def test_a_ramp_begins_at_the_value_that_was_set_just_before_it(link, desk, apart):
    link.now += 1.0
    desk.set("gain", -60.0)
    link.now += apart
    desk.set("gain", 0.0, ramp=5.0)
    assert desk.target("gain") == 0.0
    jump, ramp = link.pushed
    assert (ramp.at, ramp.at + ramp.ramp) == (jump.at + round(GLIDE * RATE), round((link.now - 95.0) * RATE) + LATENCY)
    assert played(link.pushed, Op.SET, 1, 0, ramp.at) == -60.0
    wait(link, desk, 0.5)
    at = round((link.now - 100.0) * RATE) + LATENCY
    assert played(link.pushed, Op.SET, 1, 0, at) == pytest.approx(desk.value("gain"), abs=0.3)


def test_a_value_behind_such_a_ramp_wins(link, desk):
    desk.set("gain", -60.0)
    desk.set("gain", 0.0, ramp=5.0)
    desk.set("gain", -12.0)
    wait(link, desk, 1.0)
    assert played(link.pushed, Op.SET, 1, 0, RATE) == desk.value("gain") == -12.0


def test_a_flood_of_jumps_and_ramps_is_not_dearer_each_time(link, desk):
    for k in range(500):
        desk.set("gain", -60.0 + k / 100)
        desk.set("gain", k / 100, ramp=5.0)
        link.now += 0.0004
    assert len(link.pushed) < 3 * 1000


def test_a_value_and_a_sweep_of_one_moment_come_in_their_order(link, desk):
    link.now += 1.0 / 3.0
    desk.set("temperature", 0.5)
    desk.trigger("sweep", "unhinge")
    assert desk.value("temperature") == 0.875
    wait(link, desk, 1.0)
    assert desk.value("temperature") == pytest.approx(0.875 + 0.275 / 45, abs=1e-3)


def test_a_sweep_in_beats_follows_the_tempo(link, desk):
    desk.sweeps["eight"] = Sweep("gain", ((8.0, -8.0),), unit="beats")
    desk.trigger("sweep", "eight")
    wait(link, desk, 2.0)  # four beats at 120
    assert desk.value("gain") == pytest.approx(-4.0, abs=0.05)
    desk.trigger("tempo", 60.0)
    wait(link, desk, 2.0)  # two more at 60
    assert desk.value("gain") == pytest.approx(-6.0, abs=0.45)
    wait(link, desk, 2.1)
    assert desk.value("gain") == -8.0
    ends = [c.at + c.ramp for c in link.take()]
    assert ends[-1] == pytest.approx(LATENCY + 6 * RATE, abs=RATE * (LEAD + 0.3))


def test_a_sweep_launched_on_the_bar_begins_at_its_sample(link, desk):
    desk.sweeps["eight"] = Sweep(
        "gain",
        (
            (0.0, -3.0),
            (
                8.0,
                -8.0,
            ),
        ),
        unit="beats",
    )
    wait(link, desk, 0.3)
    desk.trigger("sweep", "eight", launch="bar")
    wait(link, desk, 4.5)
    starts = [c.at for c in link.take()]
    glide = round(GLIDE * RATE)
    assert starts[:3] == [2 * RATE, 2 * RATE + glide, 2 * RATE + round(RATE / 16)]


SWEEPS = {
    "up": Sweep("pan", ((0.0, -1.0), (2.0, 1.0)), curves=(0.0, 0.4)),
    "ping": Sweep("pan", ((0.2, 0.5), (0.9, -1.0)), curves=(0.0, "smooth"), loop=True, pingpong=True),
    "beats": Sweep("pan", ((0.0, 0.2), (3.0, 0.9), (3.0, 0.0), (4.0, -0.7)), loop=True, unit="beats"),
    "steps": Sweep("pan", ((0.0, 0.0), (0.5, 1.0), (1.0, -1.0)), curves=(0.0, "step", "step"), loop=True, voice=2),
}
GESTURES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from([-1.0, 0.0, 0.5]), st.sampled_from([0.0, 0.7, 2.0])),
    st.tuples(st.just("sweep"), st.sampled_from(list(SWEEPS)), st.sampled_from(["now", "beat"])),
    st.tuples(st.just("stop"), st.sampled_from(["", *SWEEPS])),
    st.tuples(st.just("macro"), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.5])),
    st.tuples(st.just("recall"), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("tempo"), st.sampled_from([100.0, 140.0])),
    st.tuples(st.just("lfo"), st.sampled_from(["bar", "dice"])),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(GESTURES, st.sampled_from([None, 1, 2]), st.integers(1, 60)), max_size=8))
def test_the_latest_gesture_owns_the_value_and_the_control_side_knows_it(gestures):
    link = FakeLink()
    desk = make_controller(link, movements=MOVES)
    desk.sweeps = dict(SWEEPS)
    for (what, *rest), voice, turns in gestures:
        if what == "set":
            desk.set("pan", rest[0], voice, rest[1])
        elif what == "sweep":
            desk.trigger("sweep", rest[0], launch=rest[1])
        elif what == "stop":
            desk.trigger("sweep/stop", *filter(None, rest))
        else:
            first = {"macro": ("wild",), "recall": ("quiet",)}.get(what, ())
            desk.trigger(what, *first, *rest)
        for _ in range(turns + 4):
            link.now += 0.02
            desk.pump()
        sample = round((link.now - 100) * RATE) + LATENCY
        for n in (1, 2):
            assert desk.value("pan", n) == pytest.approx(played(link.pushed, Op.SET, 2, n - 1, sample), abs=0.17)


# --- LFOs


@given(st.sampled_from(SHAPES), st.floats(-5, 50), st.integers(0, 99))
def test_waves_stay_within_their_depth_and_are_functions_of_the_seed(form, cycles, seed):
    value = wave(Lfo("gain", 1.0, form, rate=1.0, seed=seed), cycles)
    assert -1.0 <= value <= 1.0
    assert value == wave(Lfo("pan", 3.0, form, rate=9.0, seed=seed), cycles)
    if form in ("random", "drift"):
        assert any(value != wave(Lfo("gain", 1.0, form, rate=1.0, seed=s), cycles) for s in (seed + 1, seed + 2))


def test_a_sine_is_played_within_half_a_percent(link, desk):
    desk.trigger("lfo", "wobble")
    wait(link, desk, 5.0)
    commands = link.take()
    assert all(c.op == Op.MODULATE and c.voice == -1 for c in commands)
    for k in range(200):
        seconds = k * 0.02
        wanted = 0.2 * math.sin(2 * math.pi * seconds)
        sample = LATENCY + round(seconds * RATE)
        assert played(commands, Op.MODULATE, 0, 0, sample) == pytest.approx(wanted, abs=0.002)
    assert desk.value("temperature") == 1.0  # the value is what the hand has set


SWAYS = st.one_of(
    st.tuples(st.just("lfo"), st.sampled_from(list(MOVES.lfos))),
    st.tuples(st.just("depth"), st.sampled_from(list(MOVES.lfos)), st.floats(0, 1), st.sampled_from([0.0, 0.3])),
    st.tuples(st.just("lfo/stop"), st.sampled_from(["", *MOVES.lfos])),
    st.tuples(st.just("panic")),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(SWAYS, st.integers(1, 60)), max_size=8))
def test_what_is_sent_is_the_sum_of_what_runs(sways):
    link = FakeLink()
    desk = make_controller(link, movements=MOVES)
    for (what, *rest), turns in sways:
        desk.trigger("lfo" if what == "depth" else what, *(r for r in rest if r != ""))
        wait(link, desk, 0.02 * (turns + 6) + EVERY)
        sample = desk.sample(link.now)
        for voice in range(2):
            for code, name in enumerate(("temperature", "gain", "pan")):
                chain = desk._modulation._chains[name]
                runs = [r for r in desk._modulation._of(chain) if r.lfo.voice in (None, voice + 1)]
                wanted = [
                    math.fsum(run.value(sample / RATE + off, desk.transport) for run in runs)
                    for off in (-GLIDE, -GLIDE / 2, 0.0)
                ]
                room = 0.02 * chain.parameter.high + 0.01  # a jump glides, so what was counts for 20 ms
                found = played(link.pushed, Op.MODULATE, code, voice, sample)
                assert min(wanted) - room <= found <= max(wanted) + room


def test_lfos_of_one_parameter_add_up_voice_by_voice(link, desk):
    desk.trigger("lfo", "wobble")
    desk.trigger("lfo", "step")
    wait(link, desk, 2.0)
    sample = LATENCY + round(1.6 * RATE)
    base = 0.2 * math.sin(2 * math.pi * 1.6)
    assert played(link.pushed, Op.MODULATE, 0, 0, sample) == pytest.approx(base, abs=0.003)
    assert played(link.pushed, Op.MODULATE, 0, 1, sample) == pytest.approx(base + 0.1, abs=0.003)


def test_an_lfo_in_beats_follows_the_tempo(link, desk):
    desk.trigger("lfo", "bar")
    wait(link, desk, 4.0)
    desk.trigger("tempo", 60.0)
    link.take()
    wait(link, desk, 9.0)
    jumps = [c.at for c in link.take() if c.value < -0.9]
    assert [b - a for a, b in pairwise(jumps)] == pytest.approx([4 * RATE] * (len(jumps) - 1), abs=2)
    assert len(jumps) >= 2


def test_an_lfo_that_is_stopped_glides_to_nothing_over_what_lies_on_the_ring(link, desk):
    desk.trigger("lfo", "wobble")
    wait(link, desk, 1.2)
    on_ring = [c.at for c in link.take() if c.at > desk.sample(link.now)]
    desk.trigger("lfo/stop", "wobble")
    commands = link.take()
    assert [c.value for c in commands] == [0.0] * len(commands)
    assert {c.at for c in commands} == {desk.sample(link.now), *(at + 1 for at in on_ring)}
    wait(link, desk, 2.0)
    assert link.take() == []


def test_a_knob_on_a_depth_is_not_a_flood(link, desk):
    desk.trigger("lfo", "walk")
    wait(link, desk, 1.0)
    link.take()
    for k in range(1000):
        link.now += 0.001
        desk.trigger("lfo", "walk", k / 1000)
        desk.pump()
    assert len(link.take()) < 3000


def test_depths_are_shares_and_names_are_looked_up(link, desk):
    desk.trigger("lfo", "wobble", 0.5, 0.0)
    wait(link, desk, 0.3)
    sample = LATENCY + round(0.25 * RATE)
    assert played(link.pushed, Op.MODULATE, 0, 0, sample) == pytest.approx(0.1, abs=0.003)
    with pytest.raises(ValueError, match="no lfo 'wobbl'; did you mean 'wobble'"):
        desk.trigger("lfo", "wobbl")
    with pytest.raises(ValueError, match="no lfo 'x'; the patch has none"):
        make_controller(link).trigger("lfo", "x")


def test_an_lfo_of_the_patch_may_run_from_the_beginning(link):
    moves = Movements(lfos={"a": Lfo("gain", 3.0, "triangle", rate=2.0, start=True)})
    link.played = False
    desk = make_controller(link, movements=moves)
    assert link.take()[0].at == 0
    link.played = True
    wait(link, desk, 1.0)
    assert len(link.take()) > 2


# --- macros


def test_a_macro_leads_many_values_each_its_own_way(link, desk):
    desk.set("macro/wild", 0.5)
    assert desk.value("macro/wild") == desk.get("macro/wild") == 0.5
    assert desk.value("temperature") == pytest.approx(1.1)
    assert desk.value("gain") == pytest.approx(-12 * shape(0.5, 0.5))
    assert (desk.value("pan", 1), desk.value("pan", 2)) == (0.0, 0.0)
    desk.trigger("macro", "wild", 1.0, 2.0)
    wait(link, desk, 1.0)
    assert desk.value("macro/wild") == pytest.approx(0.75)
    assert desk.target("macro/wild") == 1.0
    assert desk.value("pan", 2) == pytest.approx(0.5)
    assert desk.values()["macro/wild"][0] == pytest.approx(0.75)
    assert desk.macros == ("macro/wild",)
    desk.set("macro/wild", 7)
    assert desk.value("macro/wild") == 1.0


def test_what_a_macro_or_a_recall_moves_is_nobodys(link, desk):
    desk.set("temperature", 0.9, source="knob")
    desk.set("drive", 3.0, source="knob")
    wait(link, desk, 0.1)
    desk.set("macro/wild", 0.5, source="page")
    assert desk.values()["temperature"][1] is None
    assert desk.values()["macro/wild"][1] == "page"
    assert desk.values()["drive"][1] == "knob"
    desk.trigger("macro", "wild", 0.6, source="pad")
    assert desk.values()["macro/wild"][1] != "page"
    desk.set("gain", 5.0, source="knob")
    wait(link, desk, 0.1)
    desk.trigger("recall", "quiet")
    assert desk.values()["voice/2/gain"][1] is None


def test_a_macro_passes_over_voices_that_are_not_there(link):
    desk = make_controller(link, voices=1, movements=MOVES)  # of a patch for two
    desk.set("macro/wild", 1.0)
    assert {c.parameter for c in link.take() if c.op == Op.SET} == {0, 1}
    assert desk.value("pan") == 0.0
    assert desk.value("gain") == -12.0


def test_macros_are_for_all_voices_and_known_by_name(desk):
    with pytest.raises(ValueError, match="no macro 'wilt'; did you mean 'wild'"):
        desk.set("macro/wilt", 0.5)
    with pytest.raises(ValueError, match="is for all voices"):
        desk.set("macro/wild", 0.5, voice=1)
    with pytest.raises(ValueError, match="is not a finite number"):
        desk.trigger("macro", "wild", math.nan)


def test_a_macro_on_a_depth(link, desk):
    desk.set("macro/wild", 0.0)
    desk.trigger("lfo", "wobble")
    wait(link, desk, 1.0)
    assert played(link.pushed, Op.MODULATE, 0, 0, LATENCY + RATE // 4) == 0.0
    desk.set("macro/wild", 1.0)
    wait(link, desk, 1.5)
    assert played(link.pushed, Op.MODULATE, 0, 0, LATENCY + round(2.25 * RATE)) == pytest.approx(0.2, abs=0.003)


# --- snapshots


def test_a_snapshot_of_the_patch_is_recalled_in_a_morph(link, desk):
    desk.trigger("recall", "quiet", 4.0)
    switches = [(c.voice, c.number, c.ramp) for c in link.take() if c.op == Op.SWITCH]
    assert switches == [(0, 1, 4 * RATE), (1, 2, 4 * RATE)]
    wait(link, desk, 2.0)
    assert desk.value("gain") == pytest.approx(-15.0, abs=0.1)
    assert desk.value("temperature", 2) == pytest.approx(0.85, abs=0.01)
    assert desk.value("pan", 1) == 0.0
    assert desk.value("pan", 2) == pytest.approx(0.25, abs=0.01)
    assert (desk.value("mute", 1), desk.value("mute", 2)) == (0.0, 1.0)


def test_what_was_stored_comes_back(link, desk):
    desk.set("gain", -9.0, voice=1)
    desk.set("temperature", 1.3)
    desk.trigger("checkpoint", "drones", voice=2)
    desk.trigger("snapshot", "here")
    desk.set("gain", 0.0)
    desk.set("temperature", 0.5)
    desk.trigger("checkpoint", 0)
    link.take()
    desk.trigger("recall", "here")
    assert (desk.value("gain", 1), desk.value("gain", 2), desk.value("temperature", 1)) == (-9.0, 0.0, 1.3)
    assert desk.get("voice/2/checkpoint") == "drones"
    assert [c.voice for c in link.take() if c.op == Op.SWITCH] == [1]
    with pytest.raises(ValueError, match="no snapshot 'hare'; did you mean 'here'"):
        desk.trigger("recall", "hare")


def test_a_recall_may_wait_for_the_bar(link, desk):
    wait(link, desk, 0.1)
    desk.trigger("recall", "quiet", 1.0, launch="bar")
    assert link.take() == []
    wait(link, desk, 2.0)
    assert {c.at for c in link.take()} == {2 * RATE}


def adopted(desk, bank, before=None, **movements):
    """As a patch that is changed to, or saved over ``before``, does it."""
    patch = Patch("b", tuple(Entry(name, name, Path(name)) for name in bank), movements=Movements(**movements))
    with desk.at_one_sample(desk.now()):
        desk.adopt(patch, before, range(len(bank)), desk.now())
    desk.table.asked[:] = [0] * desk.voices
    return patch


def test_a_recall_goes_to_its_checkpoint_wherever_that_is_in_the_bank(link):
    said = []
    desk = make_controller(link, said=said)
    desk.trigger("checkpoint", "drones")
    desk.set("gain", -9.0)
    desk.trigger("snapshot", "here")
    patch = adopted(desk, ["drones", "tabla", "glass"], Patch("a", ()))
    desk.trigger("checkpoint", "tabla")
    desk.trigger("recall", "here")
    assert desk.get("checkpoint") == "drones"
    adopted(desk, ["tabla"], patch)
    desk.set("gain", 0.0)
    desk.trigger("recall", "here")
    assert (desk.get("checkpoint"), desk.value("gain")) == ("tabla", -9.0)
    assert said == ["recall here: drones is not in this patch's bank; what plays stays"]


def test_what_was_stored_lasts_as_long_as_the_set(link):
    still = Snapshot(Scene({"gain": -30.0}))
    desk = make_controller(link, movements=Movements(snapshots={"still": still}))
    for name in ("here", "still"):
        desk.trigger("snapshot", name)
    first = adopted(desk, ["tabla"], Patch("a", (), movements=Movements(snapshots={"still": still})), snapshots={})
    assert set(desk.snapshots) == {"here", "still"}  # stored over what the patch said
    adopted(desk, ["tabla"], None, snapshots={"still": still})
    assert set(desk.snapshots) == {"here", "still"}
    desk.trigger("recall", "still")
    assert desk.value("gain") == -30.0  # the patch's own
    adopted(desk, ["tabla"], first, snapshots={"other": still})
    assert set(desk.snapshots) == {"here", "other"}


def test_a_sweep_that_a_saved_patch_has_no_longer_or_otherwise_ends_where_it_is(link, desk):
    up, other = Sweep("gain", ((0.0, -20.0), (4.0, 0.0))), Sweep("pan", ((0.0, 0.0), (4.0, 1.0)))
    patch = Patch("a", (), sweeps={"up": up, "gone": other, "same": Sweep("drive", ((4.0, 12.0),))})
    desk.sweeps = dict(patch.sweeps)
    for name in desk.sweeps:
        desk.trigger("sweep", name)
    wait(link, desk, 1.0)
    sweeps = {"up": Sweep("gain", ((0.0, -20.0), (9.0, 0.0))), "same": patch.sweeps["same"]}
    with desk.at_one_sample(desk.now()):
        desk.adopt(Patch("a", (), sweeps=sweeps), patch, [], desk.now())
    assert desk.moving() == ["same"]
    wait(link, desk, 2.0)
    assert desk.value("gain") == pytest.approx(-15.0, abs=0.1)
    assert desk.value("pan") == pytest.approx(0.25, abs=0.01)
    assert desk.value("drive") == pytest.approx(9.0, abs=0.1)


def test_another_patch_begins_as_if_it_had_been_started_with(link):
    sway = Lfo("pan", 0.5, "sine", rate=1.0, start=True)
    moves = {"lfos": {"sway": sway}, "macros": {"wild": (Aim("gain", (0.0, -12.0)),)}}
    desk = make_controller(link, movements=Movements(**moves))
    desk.trigger("lfo", "sway", 0.0)
    desk.set("macro/wild", 0.5)
    desk.trigger("loop", 2, voice=2)
    wait(link, desk, 1.0)
    link.take()
    adopted(desk, ["tabla"], Patch("a", (), movements=Movements(**moves)), **moves)
    wait(link, desk, 1.0)
    assert link.take() == []  # saved anew, everything goes on as it was
    desk.still(desk.now())
    adopted(desk, ["tabla"], None, **moves)
    assert desk.value("macro/wild") == 0.0
    wait(link, desk, 1.0)
    found = link.take()
    assert max(c.value for c in found if c.op == Op.MODULATE) == pytest.approx(0.5, abs=0.01)
    assert [c.voice for c in found if c.op == Op.UNLOOP] == [1]


# --- who wins


def test_the_latest_gesture_wins_and_lfos_go_on(link, desk):
    desk.sweeps["up"] = Sweep("temperature", ((0.0, 0.5), (10.0, 1.5)))
    desk.trigger("lfo", "wobble")
    desk.trigger("sweep", "up")
    wait(link, desk, 1.0)
    desk.trigger("recall", "quiet", 5.0)
    wait(link, desk, 1.0)
    desk.set("macro/wild", 0.5)
    wait(link, desk, 10.0)
    assert desk.value("temperature") == pytest.approx(1.1)
    desk.set("temperature", 0.9)
    wait(link, desk, 1.0)
    assert desk.value("temperature") == 0.9
    assert desk._modulation.running == ("wobble",)
    desk.panic()
    assert desk._modulation.running == ()


def test_another_patch_ends_what_it_has_not_and_keeps_the_rest(link, desk):
    def change(movements, before=None):
        desk._gestures.adopt(movements, before, link.now)

    desk.trigger("lfo", "wobble")
    desk.trigger("lfo", "walk")
    desk.set("macro/wild", 0.4)
    wait(link, desk, 0.3)
    desk.trigger("lfo", "dice", launch="bar")
    other = Movements(
        tempo=90.0,
        launch="bar",
        meter=3,
        lfos={"wobble": MOVES.lfos["wobble"], "new": Lfo("drive", 3.0, "sine", rate=1.0, start=True)},
        macros={"wild": (Aim("drive", (0.0, 36.0)),)},
    )
    change(other, MOVES)
    wait(link, desk, 3.0)  # dice waited for a bar, and is no more
    assert desk._modulation.running == ("wobble", "new")
    assert desk.telemetry()["tempo"] == 90.0
    assert (desk.launch, desk.transport.meter) == ("bar", 3)
    assert desk.value("macro/wild") == pytest.approx(0.4)
    desk.set("macro/wild", 0.5)
    assert desk.value("drive") == 18.0
    change(Movements())
    assert desk._modulation.running == ()
    assert desk.telemetry()["tempo"] == 90.0  # a patch that says none leaves it
