"""The soundcheck: what it reckons, what it says, and that it plays."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

from instrument import cli, plan, session, soundcheck
from instrument.plan import Options
from instrument.soundcheck import Watched

FOUND = {
    "seconds": 60.0, "voices": 1, "output": "default", "sample_rate": 44100, "latency_ms": 20.0, "priority": "FIFO 60",
    "hop_us": {"p50": 100.0, "p99": 120.0, "max": 400.0}, "realtime_factor": 3.6, "underruns": 0, "xruns": 0,
    "ring_frames": 512, "threads": 1, "rested": 0,
}  # fmt: skip


def turns(*times: tuple[int, int]) -> np.ndarray:
    """A histogram of (bucket, how many)."""
    found = np.zeros(1152, np.int64)
    for bucket, count in times:
        found[bucket] = count
    return found


def watched(*histograms: np.ndarray) -> Watched:
    return Watched(turns=list(histograms), clocks=[3000.0, 2400.0], heat=[])


@pytest.mark.parametrize(
    ("change", "fit"),
    [
        ({}, 3),  # a hop of 100 us, 360 there are, 85 % of them
        ({"realtime_factor": 1.0}, 0),
        ({"voices": 2}, 6),
        ({"ring_frames": 20}, 1),  # the longest takes nearly all that the ring holds
        ({"hop_us": {"p50": 1.0, "p99": 1.0, "max": 1.0}, "realtime_factor": 360.0}, 64),
    ],
)
def test_how_many_voices_fit(change: dict[str, Any], fit: int) -> None:
    assert soundcheck.voices_that_fit({**FOUND, **change}, watched()) == fit


def test_a_machine_that_gets_slower_holds_fewer() -> None:
    cold, warm = turns((300, 100)), turns((300, 100), (332, 300))  # an octave later: twice as long
    histograms = [cold * i for i in range(1, 5)] + [cold * 4 + warm * i for i in range(1, 9)]
    assert soundcheck.voices_that_fit(FOUND, watched(*histograms)) <= 3
    assert "longer at the end" in soundcheck.drift(histograms)
    assert soundcheck.drift(histograms[:3]) == "too short to tell"


def test_the_lines_say_it_all() -> None:
    text = "\n".join(soundcheck.describe({**FOUND, "underruns": 2}, watched(turns((300, 9990), (330, 10)))))
    for words in (
        "60 s, 1 voice to default",
        "FIFO 60, 1 thread",
        "median 100 us",
        "worst 400",
        "needs 360",
        "2 underruns",
        "at the end 2400",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("broken", "seconds", "last", "code"),
    [
        ([0, 0], 60.0, "this machine holds 3 voices of this patch, played for 15 s", 0),
        ([0, 1, 0], 60.0, "this machine holds 2 voices of this patch, played for 15 s", 0),
        ([0, 1, 1], 60.0, "this machine holds 1 voice of this patch, reckoned", 0),
        ([0], 5.0, "this machine holds 3 voices of this patch, reckoned from what they cost", 0),
        ([7], 5.0, "this machine holds 0 voices of this patch, as busy as it is now", 1),
    ],
)
def test_what_is_promised_was_played(broken: list[int], seconds: float, last: str, code: int) -> None:
    said: list[str] = []
    left = list(broken)

    def perform(options: Options, *_: object) -> tuple[Any, int]:
        found = {**FOUND, "underruns": left.pop(0), "seconds": options.seconds, "voices": options.voices or 1}
        return SimpleNamespace(figures=lambda: found), 0

    assert soundcheck.run(Options(output="null"), seconds, perform, said.append) == code
    assert said[-1] == last
    assert left == []


@pytest.mark.parametrize(
    ("broken", "last"),
    [
        ([0, 0, 0], "this machine holds 6 voices of this patch, played for 15 s"),
        ([0, 0, 1], "this machine holds 3 voices of this patch, played for 15 s"),
        ([0, 1, 0], "this machine holds 2 voices of this patch, played for 15 s"),
    ],
)
def test_a_thread_that_joins_is_reckoned_with(broken: list[int], last: str) -> None:
    """One voice is left to one thread; more have two, which take half of the time."""
    said: list[str] = []
    left = list(broken)

    def perform(options: Options, *_: object) -> tuple[Any, int]:
        voices = options.voices or 1
        threads = 1 if voices == 1 else 2
        hop = {"p50": 100.0 * voices / threads, "p99": 0.0, "max": 100.0 * voices / threads}
        told = {"voices": voices, "threads": threads, "hop_us": hop, "realtime_factor": 3.6 * threads / voices}
        found = {**FOUND, **told, "underruns": left.pop(0), "seconds": options.seconds}
        return SimpleNamespace(figures=lambda: found), 0

    assert soundcheck.run(Options(output="null"), 60.0, perform, said.append) == 0
    assert said[-1] == last
    assert left == []


def test_a_voice_that_was_let_rest_was_one_too_many() -> None:
    found = {**FOUND, "voices": 4, "rested": 2}
    assert soundcheck.breaks(found) == 2
    assert any("2 voices let rest" in line for line in soundcheck.describe(found, watched()))
    said: list[str] = []
    session_ = SimpleNamespace(figures=lambda: found)
    assert soundcheck.run(Options(output="null"), 5.0, lambda *_: (session_, 0), said.append) == 1
    assert said[-1].startswith("this machine holds 2 voices")


def test_a_soundcheck_that_is_interrupted_promises_nothing() -> None:
    said: list[str] = []
    stopped = SimpleNamespace(figures=lambda: FOUND)
    assert soundcheck.run(Options(output="null"), 5.0, lambda *_: (stopped, 130), said.append) == 130
    assert "holds" not in said[-1]
    said.clear()
    not_begun = SimpleNamespace(figures=dict)
    assert soundcheck.run(Options(output="null"), 5.0, lambda *_: (not_begun, 143), said.append) == 143
    assert said == []


def test_it_plays_the_patch_with_gestures(tmp_path: Path) -> None:
    said: list[str] = []
    seen: list[Watched] = []

    def perform(options: Options, *rest: Any) -> tuple[Any, int]:
        seen.append(rest[-1])
        return session.perform(options, *rest)

    options = plan.Options(target=str(tiny.write(tmp_path)), output="null", latency=60.0)
    code = soundcheck.run(options, 2.5, perform, said.append)
    assert said[-1].startswith("this machine holds ")
    assert code == int(not any(" 0 underruns" in line for line in said))
    assert seen[0].gestures >= 1
    assert seen[0].turns[-1].sum() > 0


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("10m", 600.0), ("1h", 3600.0), ("2.5", 2.5)])
def test_durations(text: str, seconds: float) -> None:
    assert cli.build_parser().parse_args(["doctor", "--soak", text]).soak == seconds


@pytest.mark.parametrize("text", ["1s", "-3m", "10x", "m", "nan", ""])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["doctor", "--soak", text])


def test_a_patch_needs_a_soak(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "patches/default.yaml"]) == 1
    assert "are for --soak TIME" in capfd.readouterr().err
