"""No gap at L = 20 ms while Python is busy, and a set that outlives its device. Long counts are for `make soak`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from jackserver import RATE, jack  # noqa: F401

HERE = Path(__file__).parent
SCRIPT = [sys.executable, str(HERE / "steadiness.py")]


def play(*arguments, environment=None, while_playing=None):
    """The figures of a set in a child process."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*SCRIPT, *map(str, arguments)], cwd=HERE.parent, env=environment, **pipes) as child:
        try:
            assert child.stdout.readline() == "playing\n", child.stderr.read()
            if while_playing:
                while_playing()
            out, errors = child.communicate(timeout=1200)
        finally:
            child.kill()
    assert (child.returncode, errors) == (0, "")
    return json.loads(out)


def assert_steady(report, seconds):
    """Every sample made and asked for in time."""
    assert report["samples"] == seconds * RATE
    assert (report["underruns"], report["xruns"]) == (0, 0), report
    assert report["latency_ms"] == pytest.approx(20, abs=0.1)


def test_null_with_a_busy_interpreter(tmp_path):
    report = play("--output", "null", "--seconds", 3, "--hog", "--record", tmp_path / "set.wav")
    assert_steady(report, 3)
    assert soundfile.info(tmp_path / "set.wav").frames == report["samples"]


@pytest.mark.device
def test_jack_with_a_busy_interpreter(jack):  # noqa: F811
    report = play("--output", "system", "--seconds", 4, "--hog", environment=jack.environment)
    assert_steady(report, 4)
    assert report["said"] == []


@pytest.mark.device
def test_set_and_recording_outlive_the_device(jack, tmp_path):  # noqa: F811
    arguments = ["--output", "system", "--seconds", 3, "--record", tmp_path / "set.flac"]
    report = play(*arguments, environment=jack.environment, while_playing=jack.kill)
    assert report["samples"] == 3 * RATE
    assert report["said"] == ["output device 'system' has stopped; the set goes on until it is back"]
    assert soundfile.info(tmp_path / "set.flac").frames == report["samples"]


@pytest.mark.soak
@pytest.mark.device
def test_a_minute_of_jack(jack):  # noqa: F811
    assert_steady(play("--output", "system", "--seconds", 60, "--hog", environment=jack.environment), 60)


@pytest.mark.soak
def test_ten_minutes_of_null():
    assert_steady(play("--output", "null", "--seconds", 600), 600)
