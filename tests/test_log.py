"""The event log reads back what was written, to the bit, and names what is wrong with one that was damaged."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from instrument import log
from instrument.controls import DEFAULTS, REFUSED, Event, Op
from instrument.replay import commands_of, compare, gaps

HEAD = log.Head(
    sample_rate=44100,
    backend="cpu",
    precision="int8",
    kernel="plain",
    voices=2,
    seed=(1 << 64) - 1,
    bank=({"name": "a", "path": "a.safetensors", "sha256": "0"},),
    start=(0, 0),
    parameters=(DEFAULTS, DEFAULTS),
    timing={"turn": 16},
    versions={},
    patch={"name": "x"},
    rules={},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


EVENTS = st.builds(
    Event,
    at=st.integers(0, 1 << 50),
    op=st.sampled_from([int(op) for op in Op if op != Op.ENDED]),
    voice=st.integers(-1, 1),
    parameter=st.integers(0, 3),
    value=st.floats(allow_nan=False, allow_infinity=False),
    ramp=st.integers(0, 1 << 40),
    number=st.just(0),
    flags=st.integers(0, 7),
    late=st.floats(0, 1e9),
    serial=st.integers(0, 1 << 40),
)


@settings(max_examples=30, deadline=None, phases=(Phase.generate, Phase.shrink))
@given(events=st.lists(EVENTS, max_size=12))
def test_events_come_back_to_the_bit(folder: Path, events: list[Event]) -> None:
    path = folder / "set.jsonl"
    written = log.EventLog(path, HEAD)
    written.events(events)
    written.mark(1 << 51)
    written.close()
    head, read, length = log.read(path)
    assert json.loads(json.dumps(asdict(head))) == json.loads(json.dumps(asdict(HEAD)))
    assert read == events
    assert [math.copysign(1, e.value) for e in read] == [math.copysign(1, e.value) for e in events]
    assert (written.fault, length) == ("", 1 << 51)


def test_the_end_is_the_length_and_a_cut_line_is_what_a_dying_machine_leaves(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    written = log.EventLog(path, HEAD)
    written.events([Event(10, Op.SET, value=-0.0), Event(99, Op.ENDED)])
    written.mark(120)
    written.close()
    assert log.read(path)[2] == 99
    assert math.copysign(1.0, log.read(path)[1][0].value) == -1.0
    with path.open("a") as file:
        file.write('{"at": 4')
    assert len(log.read(path)[1]) == 2


GOOD = json.dumps({"samplernn_log": 1, **asdict(HEAD)})
BAD = {
    "": "its first line is missing",
    "hello\n": "line 1: no JSON",
    "[1]\n": "line 1: a table expected",
    '{"samplernn_log": 9}\n': "line 1: samplernn_log: 9",
    '{"samplernn_log": 1}\n': "line 1: sample_rate is missing",
    GOOD.replace("44100", "true") + "\n": "line 1: sample_rate",
    GOOD.replace("44100", "7") + "\n": "line 1: sample_rate: 7",
    GOOD.replace('"start": [0, 0]', '"start": [0, 5]') + "\n": "line 1: start",
    GOOD.replace('"sha256"', '"sha"') + "\n": "line 1: bank",
    GOOD + "\nhello\n": "line 2: no JSON",
    GOOD + '\n{"at": 1, "op": "DANCE"}\n': "line 2: op: 'DANCE'",
    GOOD + '\n{"at": -1, "op": "SET"}\n': "line 2: at -1",
    GOOD + '\n{"at": 1, "op": "SET", "voice": 7}\n': "voice 7",
    GOOD + '\n{"at": 1.5, "op": "SET"}\n': "line 2: at: '1.5'",
    GOOD + '\n{"at": 1, "op": "SET", "value": "x"}\n': "line 2: value: 'x'",
    GOOD + '\n{"at": 1, "op": "SWITCH", "number": 3}\n': "line 2: number: 3",
    GOOD + '\n{"at": 1, "op": "SET", "colour": 3}\n': "line 2: colour",
    GOOD + "\n" + "[" * 100_000 + "\n": "line 2",
}


@pytest.mark.parametrize(("text", "words"), BAD.items(), ids=range(len(BAD)))
def test_a_damaged_log_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"set\.jsonl: [^\n]*$") as caught:
        log.read(path)
    assert words in str(caught.value)


def test_a_full_disk_ends_the_log_and_nothing_else() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    full = log.EventLog(Path("/dev/full"), HEAD)
    full.events([Event(1, Op.SET)])
    full.mark(3)
    full.close()
    assert "No space left" in full.fault


def test_what_is_asked_for_again() -> None:
    refused = Event(1, Op.SET, flags=4)
    events = [Event(9, Op.SET, flags=1 | 2), refused, Event(5, Op.SWITCH), Event(6, Op.SWITCHED), Event(8, Op.STOP)]
    assert [(c.at, c.op, c.flags) for c in commands_of(events)] == [(5, 2, 0), (8, 7, 0), (9, 1, 1)]
    assert gaps([Event(5, Op.TAP_OVERFLOW, number=7)]) == [(5, 12)]


def test_where_two_sets_part_is_said() -> None:
    then = [Event(5, Op.SET, value=1.0, late=3.0), Event(9, Op.PRIMED)]
    assert compare(then, [Event(5, Op.SET, value=1.0), Event(9, Op.PRIMED)]) == ""
    assert "at sample 9" in compare(then, [Event(5, Op.SET, value=1.0), Event(12, Op.PRIMED)])


def test_what_was_refused_is_not_missed_and_what_was_lost_is_said() -> None:
    then = [Event(5, Op.SET), Event(6, Op.SWITCH, flags=REFUSED)]
    assert compare(then, [Event(5, Op.SET)]) == ""
    lost = [Event(5, Op.SET), Event(7, Op.EVENTS_LOST, number=31)]
    assert "from sample 7 on 31 events are missing" in compare(lost, [Event(5, Op.SET)])
