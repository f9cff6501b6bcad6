"""Voices that rest and are woken by gestures, by patches and by the loop itself; and what is said of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from fake_link import FakeLink, make_controller

from instrument.controls import BY_ITSELF, REFUSED, Event, Op, Telemetry, VoiceTelemetry
from instrument.housekeeping import Housekeeping
from instrument.meters import voice as meters_of
from instrument.status import checkpoints


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


def told(link: FakeLink) -> list[tuple[str, int]]:
    """What the loop was told of it since the last time."""
    return [(Op(c.op).name, c.voice) for c in link.take() if c.op in (Op.PARK, Op.WAKE)]


def test_a_gesture_sends_a_voice_to_rest_and_another_wakes_it(link: FakeLink) -> None:
    desk = make_controller(link, voices=4)
    desk.trigger("rest", voice=3)
    desk.trigger("rest", 0.0)  # a gate that is let go
    assert desk.resting.voices == {2}
    desk.trigger("wake", voice=3)
    assert told(link) == [("PARK", 2), ("WAKE", 2)]
    desk.trigger("rest")
    assert told(link) == [("PARK", -1)]
    assert desk.resting.voices == {0, 1, 2, 3}


def test_rest_waits_for_the_bar_like_everything_that_begins_something(link: FakeLink) -> None:
    desk = make_controller(link)
    desk.trigger("quantise", "bar")
    link.now += 0.5
    desk.trigger("rest", voice=2)
    assert told(link) == []
    for _ in range(300):
        link.now += 0.01
        desk.pump()
    assert told(link) == [("PARK", 1)]


def test_who_rests_is_what_the_loop_tells(link: FakeLink) -> None:
    desk = make_controller(link, voices=4)
    events = [Event(5, Op.PARK, 3, flags=BY_ITSELF), Event(6, Op.PARK, 1), Event(7, Op.WAKE, 1)]
    desk.heard([*events, Event(8, Op.PARK, 9, flags=REFUSED)])
    assert desk.resting.voices == {3}


def test_another_patch_begins_with_all_of_its_voices(link: FakeLink) -> None:
    desk = make_controller(link, voices=4)
    desk.heard([Event(5, Op.PARK, 1, flags=BY_ITSELF), Event(6, Op.PARK, 3)])
    desk.resting.sound(3, link.now, range(4))
    assert told(link) == [("WAKE", 1)]
    desk.resting.sound(2, link.now, range(4))
    assert told(link) == [("PARK", 2)]
    desk.resting.sound(4, link.now, range(3, 4))  # another version of a patch: of the fourth alone
    assert told(link) == [("WAKE", 3)]


def housekeeping(said: list[str], errors: list[str]) -> Housekeeping:
    session: Any = SimpleNamespace(
        complain=said.append,
        sample_rate=44100,
        performance=SimpleNamespace(overload=""),
        osc_server=SimpleNamespace(tell_error=errors.append),
    )
    return Housekeeping(session)


def test_voices_that_nobody_sent_to_rest_are_one_line_also_over_osc() -> None:
    said: list[str] = []
    errors: list[str] = []
    found = housekeeping(said, errors)
    by_itself = [Event(44100, Op.PARK, v, value=1.5, ramp=99, flags=BY_ITSELF) for v in (3, 2)]
    found._tell_rested([*by_itself, Event(44100, Op.PARK, 1)])
    found._tell_rested(by_itself[:1])
    found._tell_rested([Event(44100, Op.PARK, 1)])
    assert found.rested == 3
    assert said == errors == [
        "voices 4, 3 rest from 1.0 s on: the set fell behind, it took 150% of the time there is; wake brings them back",
        "voice 4 rests from 1.0 s on: the set fell behind, it took 150% of the time there is; wake brings it back",
    ]  # fmt: skip


def test_one_voice_that_is_too_much_is_a_line() -> None:
    said: list[str] = []
    housekeeping(said, [])._tell(Event(44100, Op.BEHIND, value=1.4))
    assert len(said) == 1
    assert "one voice takes 140% of the time there is; expect gaps" in said[0]


def test_it_is_shown() -> None:
    resting = VoiceTelemetry(slot=1, phase=3)
    assert meters_of(resting)["resting"] == 1.0
    assert meters_of(VoiceTelemetry())["resting"] == 0.0
    assert checkpoints(Telemetry(voices=(VoiceTelemetry(), resting, resting)), ["tabla", "glass"]) == "tabla 2 rest"
