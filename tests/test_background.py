"""Clips during a training: by a child, newest epoch first, and nothing of what is learned depends on them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from networks import network
from test_training_run import TINY, metrics, quiet, sound  # noqa: F401 (a fixture)

from engine.checkpoint import save
from engine.listening import background
from engine.listening.background import Background
from engine.listening.clips import Wanted, clips_of
from engine.training.running import run

WANTED = Wanted(1, 0.25, (1.0,))


def test_a_run_learns_the_same_with_clips_and_without(sound, tmp_path):  # noqa: F811
    clips = {"clips": "2", "clip_seconds": "0.25", "clip_temperatures": "0.9,1.0"}
    with_clips, without = tmp_path / "with", tmp_path / "without"
    assert run([sound], with_clips, "default", {**TINY, **clips}, False, quiet) == 0
    assert run([sound], without, "default", TINY, False, quiet) == 0
    kept = sorted(path.name for path in without.glob("*.safetensors"))
    assert len(kept) == 4
    for name in kept:
        assert (with_clips / name).read_bytes() == (without / name).read_bytes()
    assert metrics(with_clips) == metrics(without)
    assert not (without / "clips").exists()
    assert len([clip for clip in clips_of(with_clips) if clip.epoch == 3]) == 4
    assert np.float64(5e-324) * np.float64(1.0) > 0.0  # whoever trains in passing keeps denormal numbers


class Child:
    """A child that ends when the test says so."""

    all: ClassVar[list["Child"]] = []
    stdin = None

    def __init__(self, words, stderr, env, **_):
        self.epoch, self.stderr, self.returncode = int(words[4]), stderr, None
        self.all.append(self)

    def end(self, code=0, error=b""):
        self.stderr.write(error)
        self.returncode = code

    def poll(self):
        return self.returncode

    def terminate(self):
        self.returncode = -15

    def wait(self):
        return self.returncode


@pytest.fixture
def children(monkeypatch):
    monkeypatch.setattr(background.subprocess, "Popen", Child)
    monkeypatch.setattr(Child, "all", [])
    return Child.all


def test_one_child_at_a_time_and_the_newest_epoch_next(children, tmp_path):
    said = []
    clips = Background(tmp_path, WANTED, said.append)
    for epoch in (1, 2, 3):
        clips.add(epoch)
    assert [child.epoch for child in children] == [1]
    children[0].end()
    clips.poll()
    clips.add(4)
    assert [child.epoch for child in children] == [1, 3]
    children[1].end()
    clips.poll()
    children[2].end()
    clips.finish(lambda: False)
    assert [child.epoch for child in children] == [1, 3, 4]
    assert said == [f"no or not all clips of epoch 2: samplernn clips {tmp_path} makes them"]


def test_a_signal_ends_the_child_and_a_failure_is_one_line(children, tmp_path):
    said = []
    clips = Background(tmp_path, WANTED, said.append)
    clips.add(1)
    children[0].end(1, b"Traceback\n  x\nclips: No space left\n\n")
    clips.poll()
    assert said.pop() == "no or not all clips of epoch 1: clips: No space left"
    clips.add(2)
    clips.finish(lambda: True)
    assert children[1].returncode == -15
    assert said.pop().startswith("no or not all clips of epoch 2: samplernn clips ")
    Background(tmp_path, Wanted(0, 1.0, (1.0,)), said.append).add(1)
    assert len(children) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a matter of Unix")
def test_the_child_makes_the_clips_politely(tmp_path, monkeypatch, capsys):
    save(network("gru"), tmp_path / "epoch-001.safetensors")
    asked = []
    monkeypatch.setattr(os, "nice", asked.append)
    assert background.main([str(tmp_path), "1", "1", "0.25", "1.0"]) == 0
    assert asked == [background.NICE]
    assert [clip.path.name for clip in clips_of(tmp_path)] == ["epoch-001-t1.000-s0001.flac"]
    assert background.main([str(tmp_path), "9", "1", "0.25", "1.0"]) == 1
    assert capsys.readouterr() == ("", f"{tmp_path}: no epoch 9: it has 1 to 1\n")


TRAINER = """
import sys, time
from pathlib import Path
from engine.listening.background import Background
from engine.listening.clips import Wanted
clips = Background(Path(sys.argv[1]), Wanted(64, 3600.0, (1.0,)), print)
clips.add(1)
print(clips._child.pid, flush=True)
time.sleep(600)
"""


def lives(pid):
    """Whether a process is there and no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.mark.skipif(sys.platform == "win32", reason="signals and ps are Unix's")
def test_the_child_does_not_outlive_a_trainer_that_is_killed(tmp_path):
    """Else a resumed run would start a second one on the same clips."""
    save(network("gru"), tmp_path / "epoch-001.safetensors")
    command = [sys.executable, "-c", TRAINER, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True) as trainer:
        pid = int(trainer.stdout.readline())
        until = time.monotonic() + 60
        while not (tmp_path / "clips").exists() and time.monotonic() < until:  # it is at work
            time.sleep(0.1)
        assert lives(pid)
        trainer.kill()
    until = time.monotonic() + 30
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.1)
    survived = lives(pid)
    if survived:
        os.kill(pid, signal.SIGKILL)
    assert not survived
