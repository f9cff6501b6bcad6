"""The live listener: what a voice is stuck on, and what is done about it."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import soundfile
from networks import network
from test_audio_loop import offline, play
from test_audio_networks import slot, sound_of
from test_docs import ROOT

from engine.generator import make_generator
from engine.listening import live
from instrument.audio.performance import Overheard
from instrument.audio.slots import Slot
from instrument.audio.state import PAST
from instrument.controls import Command, Op
from instrument.ear import JUDGED, STATES, Ear

RATE = 44100


def source(name="tabla", seconds=12.0):
    audio, _ = soundfile.read(ROOT / "sounds" / f"{name}.flac", dtype="float32", frames=round(seconds * RATE))
    return audio if audio.ndim == 1 else audio.mean(axis=1)


def riff(seconds=12.0):
    """A bar of the source that goes round."""
    bar = source(seconds=0.93)
    return np.resize(bar, round(seconds * RATE))


def sine(seconds=5.0):
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize(
    ("sound", "wanted"),
    [
        (np.zeros(5 * RATE), "silence"),
        (sine(), "tone"),
        (0.1 * np.random.default_rng(1).standard_normal(5 * RATE), "noise"),
        (riff(), "trap"),
        (source(), ""),
        (sine(3.0), ""),  # too short to be judged
    ],
    ids=["silence", "tone", "noise", "trap", "music", "short"],
)
def test_what_a_voice_is_stuck_on(sound, wanted):
    assert live.stuck(sound, RATE, least_recurrence=0.22) == wanted


def test_no_trap_is_looked_for_where_the_source_is_not_known():
    assert live.stuck(riff(), RATE) == ""


def test_a_lower_rate_is_judged_alike():
    low, rate = live.lowered(riff(), RATE)
    assert rate == 22050
    assert live.stuck(low, rate, 0.22) == "trap"


def test_flux_is_what_is_new():
    tone, other = sine(0.1), np.roll(np.random.default_rng(2).standard_normal(4410), 3)
    assert live.flux(tone, tone) == pytest.approx(0.0, abs=1e-9)
    assert live.flux(np.zeros(4410), tone) == pytest.approx(1.0)
    assert live.flux(tone, np.zeros(4410)) == 0.0  # what ends is not new
    assert live.flux(np.zeros(4410), np.zeros(4410)) == 0.0
    assert 0.5 < live.flux(tone, other) <= 1.0
    assert live.flux(0.01 * tone, 0.01 * tone + 0.01 * other) == pytest.approx(live.flux(tone, tone + other), rel=0.01)


@dataclass
class Played:
    """A stage whose voices say what they are given, a second at a time."""

    sounds: list
    moments: int = 4
    at: int = 0
    slot: int = 0
    looping: bool = False

    def overhear(self, voice, since):
        sound = self.sounds[voice]
        return sound if sound is None else Overheard(self.slot, RATE, since, sound, 0.22, self.moments, self.looping)


@dataclass
class Desk:
    voices: int = 1
    escape: str = "moment"
    also: dict = field(default_factory=dict)
    done: list = field(default_factory=list)
    temperature: float = 1.0

    def set(self, name, value, voice, ramp, when, source):
        self.done.append((name, round(value, 6), voice, ramp, source))

    def trigger(self, name, *given, voice=None):
        self.done.append((name, *given, voice))

    def value(self, name, voice):
        return self.temperature


def listen(desk, stage, looks):
    said = []
    ear = Ear(desk, stage, said.append, seed=3)
    for _ in range(looks):
        ear.look()
    return ear, said


SILENCE, HISS = np.zeros(RATE, np.float32), np.float32(0.1) * np.random.default_rng(4).standard_normal(RATE, np.float32)


def test_off_hears_nothing():
    desk = Desk(escape="off")
    assert listen(desk, Played([SILENCE]), 40)[1] == []
    assert desk.done == []


def test_a_voice_that_is_stuck_jumps_and_is_given_time():
    desk = Desk(voices=2)
    said = listen(desk, Played([SILENCE, source(seconds=1.0)]), 2 * JUDGED)[1]
    assert len(desk.done) == 2  # every four seconds' worth of silence once
    assert all(name == "moment" and 0 <= index < 4 and voice == 1 for name, index, voice in desk.done)
    assert said[0] == f"voice 1 is stuck: silence; to moment {desk.done[0][1]}"


def test_without_moments_it_reseeds():
    desk = Desk()
    said = listen(desk, Played([SILENCE], moments=0), JUDGED)[1]
    assert desk.done == [("reseed", "random", 1)]
    assert said == ["voice 1 is stuck: silence; its network has no moments, reseeded"]


@pytest.mark.parametrize(("sound", "wanted"), [(SILENCE, 1.1), (HISS, 0.9)], ids=["silence", "noise"])
def test_temperature_goes_up_for_silence_and_down_for_noise(sound, wanted):
    desk = Desk(escape="temperature")
    listen(desk, Played([sound]), JUDGED)
    assert desk.done == [("temperature", wanted, 1, 2.0, "escape")]


def test_what_a_loop_repeats_is_meant():
    """A loop with dice is a trap to the ear, and silence in it is its player's."""
    stage = Played([SILENCE], looping=True)
    desk = Desk()
    assert listen(desk, stage, 20 * JUDGED)[1] == []
    assert desk.done == []


def test_a_warning_is_said_once_and_touches_nothing():
    desk = Desk(escape="warn")
    ear, said = listen(desk, Played([SILENCE]), 5 * JUDGED)
    assert said == ["voice 1 is stuck: silence"]
    assert desk.done == []
    assert desk.also["stuck"]() == STATES.index("silence")
    desk.escape = "off"
    ear.look()
    assert desk.also["stuck"]() == 0.0


def test_a_change_of_network_begins_anew():
    desk, stage = Desk(), Played([SILENCE])
    ear = Ear(desk, stage, print)
    for _ in range(JUDGED - 1):
        ear.look()
    stage.slot = 1
    ear.look()  # a second of the new one: nothing can be said of it
    assert desk.done == []
    stage.sounds = [None]  # crossfade, or silence after a panic
    for _ in range(2 * JUDGED):
        ear.look()
    assert desk.done == []


def test_a_performance_is_overheard_as_it_was_made():
    checkpoint = network("gru")
    slots = [
        Slot(make_generator(checkpoint).program, name="one", recurrence=0.25),
        Slot(make_generator(checkpoint).program),
    ]
    p = offline(slots, seed=7)
    assert p.overhear(0, 0) is None  # nothing was made yet
    play(p, 3000)
    heard = p.overhear(0, 1000)
    assert (heard.slot, heard.rate, heard.first, heard.recurrence) == (0, checkpoint.config.sample_rate, 1000, 0.25)
    np.testing.assert_array_equal(heard.sound, sound_of(p)[1000 : 1000 + len(heard.sound)])
    assert 3000 <= heard.first + len(heard.sound) <= 3000 + p.delay + p.turn
    assert len(p.overhear(0, 10**9).sound) == heard.first + len(heard.sound)  # another network's count
    play(p, 2 * PAST)
    assert len(p.overhear(0, 0).sound) < PAST


def test_nothing_is_overheard_of_a_panic_or_a_crossfade():
    checkpoint = network("gru")
    slots = [Slot(make_generator(checkpoint).program) for _ in range(2)]
    p = offline(slots, seed=7)
    play(p, 6000, [Command(3001, Op.SWITCH, number=1, ramp=100_000)])
    assert p.overhear(0, 0) is None
    p = offline(slots, seed=7)
    play(p, 9000, [Command(3001, Op.PANIC)])
    assert p.overhear(0, 0) is None


def test_nothing_is_overheard_of_a_parked_voice_and_a_loop_is_told():
    p = offline([slot("gru", 2)], voices=2)
    play(p, 8000, [Command(1000, Op.PARK, voice=1), Command(2000, Op.LOOP, voice=0, number=2000)])
    assert p.overhear(1, -1) is None
    assert p.overhear(0, -1).looping
    play(p, 12_000, [Command(9000, Op.UNLOOP, voice=0)])
    assert not p.overhear(0, -1).looping
