"""A set that falls behind lets voices rest before the ring runs dry: by a rule, told, replayed; a standstill is none.

Time is made up here: each turn of the real loop is said to have taken so long, and the ring is read accordingly.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from fake_program import make_program
from numba import njit
from test_audio_loop import RATE, offline, play

from instrument.audio import loop
from instrument.audio.performance import Performance
from instrument.audio.shedding import ENDURANCE_S, rested, weigh
from instrument.audio.slots import Slot
from instrument.audio.state import core_at
from instrument.controls import BY_ITSELF, MUTE, Command, Op
from instrument.replay import commands_of, compare
from instrument.shared import W_FLOWING, W_RING_READ, get_word, set_word

BLOCK = 128
TURN_NS = 16 * 1_000_000_000 // RATE


@njit(cache=True, nogil=True, error_model="numpy")
def one_turn(address):
    """As loop.run has it: the turn's length, 0 where there is no room."""
    core = core_at(address, 0)
    if not loop.has_room(core):
        rested(core)
        return 0
    return loop.turn(core)


@njit(cache=True, nogil=True, error_model="numpy")
def took(address, n, ns):
    weigh(core_at(address, 0), n, ns)


@dataclass
class Stage:
    """A live performance on a machine that takes ``voice`` of the time for each voice that is awake."""

    voices: int
    ring_frames: int = 606
    commands: tuple = ()
    events: list = field(default_factory=list)
    underruns: int = 0
    now: int = 0  # ns
    blocks: int = 0

    def __post_init__(self):
        slot = Slot(make_program(voices=self.voices), name="sine")
        timing = offline([Slot(make_program(voices=self.voices))], voices=self.voices).timing
        more = {"ring_frames": self.ring_frames, "block": BLOCK, "tap": True, "timing": timing}
        self.p = Performance([slot], sample_rate=RATE, voices=self.voices, **more)
        for command in self.commands:
            self.p.link.push(command)
        self.words, self.address = self.p.link.shared.words, self.p._core.ctypes.data

    def awake(self):
        return int((self.p._memory["voice_memory"]["parked"][: self.voices] < 2).sum())

    def play(self, seconds, share, stall_at=(), stall=0.0):
        """``share`` of the time for each voice awake; stalls of ``stall`` seconds at these moments."""
        stalls, end = sorted(round(at * 1e9) for at in stall_at), self.now + round(seconds * 1e9)
        while self.now < end:
            n = one_turn(self.address)
            if n == 0:
                set_word(self.words, W_FLOWING, 1)
                self.pass_by(500_000)
                continue
            ns = round(n * 1e9 / RATE * share * self.awake())
            if stalls and self.now >= stalls[0]:
                ns += round(stall * 1e9)
                stalls.pop(0)
            self.pass_by(ns)
            took(self.address, n, ns)
            self.events += self.p.link.events()
        return self

    def pass_by(self, ns):
        """Time goes on, and the device takes its blocks."""
        self.now += ns
        while self.blocks * BLOCK * 1_000_000_000 // RATE <= self.now:
            self.blocks += 1
            if get_word(self.words, W_FLOWING):
                there = self.p.link.telemetry().fill
                self.underruns += there < BLOCK
                set_word(self.words, W_RING_READ, get_word(self.words, W_RING_READ) + min(there, BLOCK))

    def rested(self):
        """Voices that were let rest, from 1, in order."""
        return [e.voice + 1 for e in self.events if e.op == Op.PARK and e.flags & BY_ITSELF]

    def heard(self):
        frames = np.empty((8 * RATE, 2), np.float32)
        return frames[: self.p.link.tap(frames)].copy()


@pytest.mark.parametrize(
    ("voices", "share", "rest"),
    [
        (4, 0.26, [4]),  # 104 % of the time
        (4, 0.35, [4, 3]),  # 140 %
        (2, 0.55, [2]),
        (8, 0.25, [8, 7, 6, 5, 4]),  # twice what there is: as many at once as it takes
        (8, 0.37, [8, 7, 6, 5, 4, 3]),  # three times
    ],
)
def test_voices_rest_from_the_highest_down_before_anything_is_missed(voices, share, rest):
    stage = Stage(voices).play(1.0, share)
    assert stage.rested() == rest
    assert stage.underruns == 0
    assert stage.awake() * share < 1.0
    assert not [e for e in stage.events if e.op == Op.BEHIND]


def test_muted_voices_go_first_and_the_last_that_is_heard_stays():
    mute = (Command(0, Op.SET, voice=1, parameter=MUTE, value=1), Command(0, Op.SET, voice=0, parameter=MUTE, value=1))
    stage = Stage(4, commands=mute).play(1.0, 0.35)
    assert stage.rested() == [2, 1]
    assert stage.play(1.0, 0.7).rested() == [2, 1, 4]
    assert stage.play(1.0, 1.2).rested() == [2, 1, 4]  # voice 3 is the last


def test_voices_that_fitted_until_now_rest_one_at_a_time():
    stage = Stage(4).play(0.5, 0.2).play(0.014, 0.6)  # for 14 ms the machine takes three times as long
    assert stage.play(1.0, 0.2).rested() == [4]
    stage = Stage(4).play(0.5, 0.2).play(2.0, 0.32)  # for ever half as long again, as when it is hot
    assert stage.rested() == [4]
    assert stage.underruns == 0


def test_of_voices_that_never_fitted_together_as_many_rest_as_it_takes():
    stage = Stage(6).play(0.5, 0.15)
    stage.p.link.push(Command(0, Op.PARK, voice=5))
    stage.p.link.push(Command(2000, Op.WAKE, voice=5))
    stage.play(0.1, 0.15)
    assert stage.play(1.0, 0.25).rested() == [6, 5, 4]
    assert stage.underruns == 0


def test_one_voice_that_is_too_much_plays_on_and_is_told_of_once():
    stage = Stage(1).play(2.0, 1.4)
    assert stage.rested() == []
    (told,) = [e for e in stage.events if e.op == Op.BEHIND]
    assert told.value == pytest.approx(1.4, abs=0.05)
    assert stage.underruns > 0


@pytest.mark.parametrize("stall", [0.003, 0.01, 0.013, 0.05])
def test_a_machine_that_stands_still_costs_no_voice(stall):
    stage = Stage(4).play(3.0, 0.2, stall_at=np.arange(0.1, 2.9, 0.31), stall=stall)
    assert stage.rested() == []
    assert (stage.underruns == 0) == (stall < 0.011)


@pytest.mark.parametrize(("ring", "share", "stall"), [(8500, 0.9, 0.15), (22000, 0.5, 0.45), (44000, 0.8, 0.7)])
def test_nor_does_a_long_one_that_a_long_ring_is_for(ring, share, stall):
    """Which then takes longer to fill again than a short ring may stay low."""
    stage = Stage(4, ring_frames=ring).play(8.0, share / 4, stall_at=(2.0,), stall=stall)
    assert (stage.rested(), stage.underruns) == ([], 0)


def test_what_is_nearly_too_much_costs_no_voice():
    stage = Stage(4).play(3.0, 0.24, stall_at=(1.0, 2.0), stall=0.006)  # 96 %
    assert stage.rested() == []


def test_another_program_that_takes_the_time_between_turns_is_noticed():
    stage = Stage(4).play(0.3, 0.2)
    every = stage.now * 1e-9 + np.arange(0.0, 2.0, 0.004)  # most turns are in time, and every 4 ms some are not
    stage.play(2.0, 0.2, stall_at=every, stall=0.0015)
    assert stage.rested()[:1] == [4]
    assert next(e.at for e in stage.events if e.op == Op.PARK) > (0.3 + ENDURANCE_S) * RATE


def test_a_voice_that_is_woken_comes_back_and_rests_again_if_it_is_still_too_much():
    stage = Stage(2).play(0.5, 0.55)
    assert stage.rested() == [2]
    stage.p.link.push(Command(0, Op.WAKE, voice=1))
    assert stage.play(0.5, 0.3).awake() == 2
    assert stage.rested() == [2]
    assert stage.play(0.5, 0.55).rested() == [2, 2]


def test_a_resting_voice_does_not_come_back_by_itself():
    stage = Stage(2).play(0.5, 0.55)
    assert stage.play(5.0, 0.05).awake() == 1


def test_nothing_rests_while_it_falls_silent_or_ends():
    stage = Stage(4, commands=(Command(4000, Op.PANIC), Command(30_000, Op.RESUME), Command(30_001, Op.STOP)))
    stage.play(0.088, 0.2)
    stage.play(0.6, 0.5)
    assert stage.rested() == []


def test_it_is_replayed_to_the_bit():
    stage = Stage(4, commands=(Command(9000, Op.SET, voice=3, parameter=MUTE, value=1),)).play(0.4, 0.35)
    stage.p.link.push(Command(0, Op.WAKE, voice=3))
    stage.play(0.4, 0.35)
    heard, last = stage.heard(), int(stage.p._core["frames"][0])
    again = offline([Slot(make_program(voices=4), name="sine")], voices=4)
    audio, events = play(again, last, commands_of(stage.events))
    np.testing.assert_array_equal(audio, heard[:last])
    assert len(stage.rested()) > 2
    assert compare(stage.events, events, last) == ""


def test_offline_nothing_rests_by_itself():
    p = offline([Slot(make_program(voices=4))], voices=4)
    p._core["behind"] = p._core["low"] = 1 << 40
    assert play(p, 5000)[1] == []
