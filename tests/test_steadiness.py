"""No gap at L = 20 ms while Python is busy, and a set that outlives its device. Long counts are for `make soak`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from jackserver import RATE, jack  # noqa: F401

HERE = Path(__file__).parent
SHIPPED = sorted(HERE.parent.glob("checkpoints/*.safetensors"))
BANK = ["--checkpoint", SHIPPED[0]] if SHIPPED else []
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


def play_steadily(seconds, *arguments, environment=None):
    """A set with every sample made and asked for in time, but where the machine itself stood still (see the script)."""
    report = play("--seconds", seconds, *arguments, environment=environment)
    assert report["samples"] == seconds * RATE
    assert report["latency_ms"] == pytest.approx(20, abs=0.1)
    assert (report["own_underruns"], report["own_xruns"]) == (0, 0), report
    return report


def test_null_with_a_busy_interpreter(tmp_path):
    report = play_steadily(3, "--output", "null", "--hog", "--record", tmp_path / "set.wav")
    assert soundfile.info(tmp_path / "set.wav").frames == report["samples"]


@pytest.mark.device
def test_jack_with_a_busy_interpreter(jack):  # noqa: F811
    report = play_steadily(4, "--output", "system", "--hog", environment=jack.environment)
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
    report = play_steadily(60, *BANK, "--output", "system", "--hog", environment=jack.environment)
    print(report)


@pytest.mark.soak
def test_ten_minutes_of_null():
    print(play_steadily(600, *BANK, "--output", "null"))
