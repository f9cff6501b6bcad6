"""The event log reads back what was written, to the bit, and names what is wrong with one that was damaged."""

import itertools
import json
import math
import re
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_session import wait_until

from instrument import bank, log
from instrument.audio.timing import Timing
from instrument.controls import DEFAULTS, REFUSED, Event, Joined, Loaded, Op
from instrument.replay import commands_of, compare, differences, gaps, joins

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
    timing={"turn": 16, "delay": 0, "ahead": 44, "prime_rate": [4], "prime_length": [99], "crossfade": [[1 << 40]]},
    versions={},
    patch={"name": "x"},
    rules={},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


FIELDS = {
    "at": st.integers(0, 1 << 50),
    "voice": st.integers(-1, 1),
    "parameter": st.integers(0, 3),
    "value": st.floats(allow_nan=False, allow_infinity=False),
    "ramp": st.integers(0, 1 << 40),
    "late": st.floats(0, 1e9),
    "serial": st.integers(0, 1 << 40),
}
OTHERS = st.builds(
    Event,
    **FIELDS,
    op=st.sampled_from([int(op) for op in Op if op not in (Op.ENDED, Op.GROW, Op.LOAD, Op.DROP)]),
    number=st.just(0),
    flags=st.integers(0, 7),
)
REFUSALS = st.builds(Event, **FIELDS, op=st.just(Op.GROW), number=st.integers(-9, 9), flags=st.just(REFUSED))
JOINED = st.builds(Joined, **FIELDS, op=st.just(Op.GROW), name=st.text(), path=st.text(min_size=1), sha256=st.just("7"))
PAIR = st.tuples(st.integers(0, 255), st.integers(2, 8), st.integers(2, 8), st.integers(1, 99), st.integers(1, 1 << 40))
LOADED = st.builds(
    Loaded,
    **FIELDS,
    op=st.just(Op.LOAD),
    name=st.text(),
    path=st.text(min_size=1),
    sha256=st.just("8"),
    prime_length=st.integers(0, 8192),
    pairs=st.lists(PAIR, max_size=3).map(tuple),
)


@settings(max_examples=30, deadline=None, phases=(Phase.generate, Phase.shrink))
@given(events=st.lists(st.one_of(OTHERS, REFUSALS, JOINED, LOADED), max_size=12))
def test_events_come_back_to_the_bit(folder: Path, events: list[Event]) -> None:
    path = folder / "set.jsonl"
    bank = itertools.count(len(HEAD.bank) + 1)
    slots = itertools.count(100)
    events = [replace(event, number=next(bank)) if isinstance(event, Joined) else event for event in events]
    events = [replace(event, number=next(slots)) if isinstance(event, Loaded) else event for event in events]
    written = log.EventLog(path, HEAD)
    written.events(events)
    written.note(7, kind="patch", name="b", patch={"bank": ["b"], "colour": 3})
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
LOADED_B = {"op": "LOAD", "number": 7, "path": "b", "sha256": "5", "prime_length": 99, "pairs": [[0, 2, 3, 4, 5]]}
LOADS = f"\n{json.dumps({'at': 1, **LOADED_B})}\n"
DROPS = '{"at": 3, "op": "DROP", "number": 7}\n'
JOINS = '\n{"at": 1, "op": "GROW", "number": 2, "path": "b", "sha256": "5"}\n'
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
    GOOD.replace('"a.safetensors"', "5") + "\n": "line 1: bank",
    GOOD.replace("18446744073709551615", "18446744073709551616") + "\n": "line 1: seed",
    GOOD.replace('"turn": 16', '"turn": 1.5') + "\n": "line 1: timing.turn: 1.5: an integer from",
    GOOD.replace("[4]", "[1]") + "\n": "line 1: timing.prime_rate: 1: an integer from 2 to 8",
    GOOD.replace("[4]", "[4, 4]") + "\n": "line 1: timing.prime_rate: a list of 1",
    GOOD.replace("[99]", "[8193]") + "\n": "line 1: timing.prime_length: 8193: an integer from 0 to 8192",
    GOOD.replace("[[1099511627776]]", "[]") + "\n": "line 1: timing.crossfade: a list of 1 lists",
    GOOD.replace("[[1099511627776]]", "[[]]") + "\n": "line 1: timing.crossfade: a list of 1",
    GOOD.replace("[[1099511627776]]", "[[0]]") + "\n": "line 1: timing.crossfade: 0: an integer from 1",
    GOOD + '\n{"at": 1, "op": "SET", "value": NaN}\n': "line 2: value: nan",
    GOOD + f'\n{{"at": {1 << 70}, "op": "SET"}}\n': "line 2: at: ",
    GOOD + "\nhello\n": "line 2: no JSON",
    GOOD + '\n{"at": 1, "op": "DANCE"}\n': "line 2: op: 'DANCE'",
    GOOD + '\n{"at": -1, "op": "SET"}\n': "line 2: at -1",
    GOOD + '\n{"at": 1, "op": "SET", "voice": 7}\n': "voice 7",
    GOOD + '\n{"at": 1.5, "op": "SET"}\n': "line 2: at: 1.5",
    GOOD + '\n{"at": 1, "op": "SET", "value": "x"}\n': "line 2: value: 'x'",
    GOOD + '\n{"at": 1, "op": "SWITCH", "number": 3}\n': "line 2: number: 3",
    GOOD + '\n{"at": 1, "op": "SET", "colour": 3}\n': "line 2: colour",
    GOOD + '\n{"at": 1, "op": "SET", "path": "x"}\n': "line 2: path: unknown field",
    GOOD + '\n{"at": 1, "op": [1]}\n': "line 2: op: '[1]'",
    GOOD + '\n{"at": 1, "op": "GROW", "number": 2}\n': "line 2: path and sha256",
    GOOD + '\n{"at": 1, "op": 9, "number": 2}\n': "line 2: path and sha256",
    GOOD + '\n{"at": 1, "op": "GROW", "number": 2, "flags": "4"}\n': "line 2: flags: '4'",
    GOOD + '\n{"at": 1, "op": "GROW", "number": 2, "path": "b", "sha256": 5}\n': "line 2: path and sha256",
    GOOD + '\n{"at": 1, "op": "GROW", "number": 3, "path": "b", "sha256": "5"}\n': "line 2: number: 3: 2 checkpoints",
    GOOD + JOINS + '{"at": 2, "op": "SWITCH", "number": 2}\n': "line 3: number: 2: a program below 2",
    GOOD + JOINS + JOINS.strip() + "\n": "line 3: number: 2: 3 checkpoints",
    GOOD + LOADS.replace("1,", "0,", 1) + LOADS.strip() + "\n": "line 3: number: 7: a slot that is free",
    GOOD + LOADS.replace("7", "256"): "line 2: number: 256: slots below 256",
    GOOD + LOADS.replace("[[0, 2", "[[0, 1"): "line 2: timing.pairs: 1: an integer from 2 to 8",
    GOOD + LOADS.replace("[[0, 2,", "[[0,"): "line 2: pairs: rows of five",
    GOOD + LOADS.replace("99", "-1"): "line 2: timing.prime_length: -1",
    GOOD + LOADS.replace('"path"', '"x"'): "line 2: x: unknown field",
    GOOD + LOADS.replace('"path": "b", ', ""): "line 2: path and sha256",
    GOOD + LOADS + '{"at": 2, "op": "SWITCH", "number": 8}\n': "line 3: number: 8: a slot that is taken",
    GOOD + LOADS + DROPS + '{"at": 4, "op": "SWITCH", "number": 7}\n': "line 4: number: 7: a program below 1",
    GOOD + "\n" + "[" * 100_000 + "\n": "line 2",
}


def places(value: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The way to everything inside ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([]), st.just({}), st.just([[1]])
)


@given(data=st.data())
def test_a_head_with_anything_in_it_is_read_or_refused_in_one_line(folder: Path, data: st.DataObject) -> None:
    head = json.loads(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(head)[1:]))
        inside = head
        for key in way:
            inside = inside[key]
        inside[last] = data.draw(ODD)
    (folder / "odd.jsonl").write_text(json.dumps(head) + "\n")
    said = ""
    try:
        read, _, _ = log.read(folder / "odd.jsonl")
        n = len(read.bank)
        assert np.shape(Timing.from_json(read.timing, n).crossfade) == (n, n)
    except ValueError as error:
        said = str(error)
    assert not said or re.fullmatch(r"\S*odd\.jsonl: line 1: [^\n]{1,200}", said)


@given(data=st.data())
def test_an_epoch_that_joined_with_anything_in_it_is_read_or_refused_in_one_line(
    folder: Path, data: st.DataObject
) -> None:
    line = {**json.loads(JOINS), "name": "b"}
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.sampled_from([*line, "late", "flags", "x"]))] = data.draw(ODD)
    (folder / "odd.jsonl").write_text(f"{GOOD}\n{json.dumps(line)}\n")
    said = ""
    try:
        _, events, _ = log.read(folder / "odd.jsonl")
        assert [(e.number, e.path) for e in events if isinstance(e, Joined)] in ([], [(2, line["path"])])
    except ValueError as error:
        said = str(error)
    assert not said or re.fullmatch(r"\S*odd\.jsonl: line 2: [^\n]{1,400}", said)


def test_programs_that_joined_can_be_switched_to(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(f'{GOOD}{JOINS}{{"at": 2, "op": "SWITCH", "number": 1}}\n')
    _, events, _ = log.read(path)
    assert joins(events) == [{"name": "", "path": "b", "sha256": "5"}]
    assert [(c.op, c.number) for c in commands_of(events)] == [(Op.GROW, 2), (Op.SWITCH, 1)]


def test_a_log_that_lost_a_joining_is_read_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    third = '{"at": 3, "op": "GROW", "number": 3, "path": "c", "sha256": "6"}'
    lost = '{"at": 1, "op": "EVENTS_LOST", "number": 4}'
    path.write_text(f'{GOOD}\n{lost}\n{third}\n{{"at": 4, "op": "SWITCH", "number": 1}}\n')
    _, events, last = log.read(path)
    assert "from sample 1 on 4 events are missing in it" in compare(events, [], last)


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
    said: list[str] = []
    full = log.EventLog(Path("/dev/full"), HEAD, said.append)
    full.events([Event(1, Op.SET)])
    wait_until(lambda: said)  # while the set plays, not after it
    full.mark(3)
    full.close()
    assert said == [full.fault] == ["/dev/full: No space left on device: the log ends here"]


def test_what_is_asked_for_again() -> None:
    refused = Event(1, Op.SET, flags=4)
    events = [Event(9, Op.SET, flags=1 | 2), refused, Event(5, Op.SWITCH), Event(6, Op.SWITCHED), Event(8, Op.STOP)]
    assert [(c.at, c.op, c.flags) for c in commands_of(events)] == [(5, 2, 0), (8, 7, 0), (9, 1, 1)]
    assert gaps([Event(5, Op.TAP_OVERFLOW, number=7)]) == [(5, 12)]


def test_where_two_sets_part_is_said() -> None:
    then = [Event(5, Op.SET, value=1.0, late=3.0), Event(9, Op.PRIMED)]
    assert compare(then, [Event(5, Op.SET, value=1.0), Event(9, Op.PRIMED)], 20) == ""
    assert "at sample 9" in compare(then, [Event(5, Op.SET, value=1.0), Event(12, Op.PRIMED)], 20)


def test_what_is_missing_at_the_end_parts_two_sets() -> None:
    seed, ended = Event(5, Op.SEED), Event(20, Op.ENDED)
    assert compare([seed, ended], [seed, ended], 20) == ""
    missing = "the set had nothing more, this machine has seed (voice 0, 0, 0, 0, 0) at 5"
    assert missing in compare([], [seed], 20)
    assert "this machine has nothing more" in compare([seed, ended], [seed], 20)
    assert "at sample 20 the set had ended" in compare([seed, ended], [seed, Event(21, Op.ENDED)], 20)


def test_a_torn_log_is_compared_up_to_its_tear() -> None:
    """At its very last sample more may have happened than came to be written."""
    seed, last = Event(5, Op.SEED), Event(20, Op.SET)
    assert compare([seed, last], [seed], 20) == ""
    assert compare([seed, last], [seed, last, Event(20, Op.PRIMED)], 20) == ""
    assert compare([last], [seed, last], 20) != ""


def test_another_machine_is_named() -> None:
    here = replace(HEAD, kernel=bank.kernel_variant(), versions=bank.versions())
    assert differences(here, bank.versions()) == []
    (line,) = differences(replace(here, kernel="abacus", versions={**here.versions, "numba": "0.1"}), bank.versions())
    assert "int8 kernels 'abacus', here " in line
    assert "numba '0.1', here " in line
    assert "numpy" not in line


def test_a_slow_disk_holds_up_nobody_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    real = log.EventLog._write

    def slow(self: log.EventLog, line: object) -> None:
        assert go.wait(60)
        real(self, line)  # type: ignore[arg-type]

    monkeypatch.setattr(log.EventLog, "_write", slow)
    written = log.EventLog(tmp_path / "set.jsonl", HEAD)
    written.events([Event(at, Op.SET) for at in range(500)])
    written.mark(7)
    assert (tmp_path / "set.jsonl").read_text() == ""
    go.set()
    written.close()
    written.close()
    assert len(log.read(tmp_path / "set.jsonl")[1]) == 500


def test_a_hanging_disk_delays_the_end_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(log, "PATIENCE", 0.01)
    monkeypatch.setattr(log.EventLog, "_write", lambda *_: go.wait(60))
    written = log.EventLog(tmp_path / "set.jsonl", HEAD)
    written.close()
    assert "the disk has not answered" in written.fault
    go.set()


def test_what_was_refused_is_not_missed_and_what_was_lost_is_said() -> None:
    then = [Event(5, Op.SET), Event(6, Op.SWITCH, flags=REFUSED)]
    assert compare(then, [Event(5, Op.SET)], 20) == ""
    lost = [Event(5, Op.SET), Event(7, Op.EVENTS_LOST, number=31)]
    assert "from sample 7 on 31 events are missing" in compare(lost, [Event(5, Op.SET)], 20)
