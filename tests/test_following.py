"""A run is played while it is being trained: its new epochs join, whatever else lies in its folder."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import network
from test_session import ROOT, check_left, options, play, play_out, there, wait_for_line, wait_until

from engine.checkpoint import Checkpoint, save
from instrument import following, log, plan, replay
from instrument.controls import KEEP_STATE, Joined, Op
from instrument.following import Folder, room_for
from instrument.session import Session


def put(run: Path, epoch: int, checkpoint: Checkpoint | None = None) -> Path:
    """An epoch as training writes it."""
    path = run / f"epoch-{epoch:03d}.safetensors"
    save(checkpoint or network("gru", epoch), path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    for epoch in (1, 2, 3):
        put(folder, epoch)
    return folder


class Set:
    """A set of a run that plays until it is left, and what it said."""

    def __init__(self, run: Path, folder: Path, **more: object) -> None:
        self.said: list[str] = []
        self.session = Session(plan.make(options(run, folder, **more)), self.said.append, self.said.append)

    def __enter__(self) -> "Set":
        self.session.open()
        self.session.start()
        self.go_on(4000)
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def go_on(self, samples: int) -> None:
        """Play so many more."""
        before = self.session.link.telemetry().written
        wait_until(lambda: self.session.link.telemetry().written > before + samples)

    def arrive(self, program: int) -> None:
        """Until voice 1 plays ``program``."""
        wait_until(lambda: there(self.session.link.telemetry().voices[0], program))

    def hear(self, words: str) -> str:
        """Until a line with ``words`` was said."""
        wait_until(lambda: any(words in line for line in self.said))
        return next(line for line in self.said if words in line)


def check_replay(folder: Path) -> None:
    replay.run(folder / "set.jsonl", folder / "again.wav")
    assert (folder / "again.wav").read_bytes() == (folder / "set.wav").read_bytes()


def test_new_epochs_join_and_the_set_is_replayed_bit_for_bit(run: Path, tmp_path: Path) -> None:
    with Set(run, tmp_path, seed=5) as playing:
        session = playing.session
        put(run, 4)
        playing.arrive(3)
        session.controller.set("maturity", 0.5, ramp=0.1)
        playing.arrive(2)
        put(run, 6)
        put(run, 5)
        playing.hear("epoch-006 joined")
        playing.arrive(3)  # of six now: 2.5, rounded
        session.controller.trigger("checkpoint", "epoch-005", 0.01)
        playing.arrive(4)
        assert session.controller.get("checkpoint") == "epoch-005"
        session.controller.panic()
        session.controller.trigger("checkpoint", 5)
        playing.go_on(4000)
    assert [line for line in playing.said if "joined" in line] == [
        f"epoch-00{k + 1} joined as program {k}" for k in (3, 4, 5)
    ]
    head, events, _ = log.read(tmp_path / "set.jsonl")
    joined = [event for event in events if isinstance(event, Joined)]
    assert len(head.bank) == len(head.timing["prime_rate"]) == 3
    assert [(e.op, e.number, e.name, e.path) for e in joined] == [
        (Op.GROW, k, f"epoch-00{k}", str(run / f"epoch-00{k}.safetensors")) for k in (4, 5, 6)
    ]
    switched = [(event.number, event.flags) for event in events if event.op == Op.SWITCHED]
    assert switched[:2] == [(3, KEEP_STATE), (2, KEEP_STATE)]
    check_replay(tmp_path)
    assert np.abs(soundfile.read(tmp_path / "set.wav")[0]).max() > 0.01


def test_a_replay_misses_an_epoch_that_is_gone_or_another(run: Path, tmp_path: Path) -> None:
    with Set(run, tmp_path):
        path = put(run, 4)
        wait_until(lambda: "GROW" in (tmp_path / "set.jsonl").read_text())
    put(run, 4, network("gru", 9))
    with pytest.raises(ValueError, match=r"epoch-004\.safetensors is not the file that was played"):
        replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    path.unlink()
    with pytest.raises(ValueError, match=r"epoch-004\.safetensors is not there any more"):
        replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")


def test_what_cannot_join_is_a_line_and_the_music_goes_on(run: Path, tmp_path: Path) -> None:
    with Set(run, tmp_path) as playing:
        put(run, 4, network("one-tier"))
        playing.hear("epoch-004.safetensors: of another shape than epoch-003: it does not join")
        whole = put(tmp_path, 5).read_bytes()
        (run / "epoch-005.safetensors").write_bytes(whole[: len(whole) // 2])
        playing.hear("epoch-005.safetensors: not as long as its header says")
        (run / "epoch-006.safetensors").mkdir()
        playing.hear("epoch-006.safetensors")
        (run / "notes.txt").write_text("nothing for the bank")
        put(run, 7)
        playing.hear("epoch-007 joined as program 3")
        put(run, 5)  # what was half is whole now
        playing.hear("epoch-005 joined as program 4")
        playing.go_on(8000)
    assert len([line for line in playing.said if "does not join" in line]) == 3
    assert not [line for line in playing.said if "\n" in line]
    check_replay(tmp_path)


def test_a_fault_of_ours_keeps_no_other_epoch_out(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = following.load

    def tired(path: Path) -> Checkpoint:
        if path.name == "epoch-004.safetensors":
            raise MemoryError("no more\nof it")
        return load(path)

    monkeypatch.setattr(following, "load", tired)
    with Set(run, tmp_path) as playing:
        put(run, 4)
        put(run, 5)
        playing.hear("epoch-004.safetensors: MemoryError: no more of it: it does not join")
        playing.arrive(3)
    check_replay(tmp_path)


def test_a_run_begun_anew_joins_behind_what_it_was(run: Path, tmp_path: Path) -> None:
    with Set(run, tmp_path) as playing:
        for epoch in (1, 2, 3):
            (run / f"epoch-00{epoch}.safetensors").unlink()
        put(run, 1, network("gru", 21))
        playing.hear("epoch-001-2 joined as program 3: epoch-001 was written anew")
        playing.arrive(3)
        put(run, 2, network("gru", 22))
        playing.arrive(4)
    assert len([line for line in playing.said if "joined" in line]) == 2
    with pytest.raises(ValueError, match=r"epoch-00\d\.safetensors is not "):
        replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")


def test_a_folder_that_goes_is_a_line_and_followed_again_when_it_comes_back(run: Path, tmp_path: Path) -> None:
    with Set(run, tmp_path) as playing:
        run.rename(tmp_path / "away")
        playing.hear("no new epochs from there")
        put(tmp_path / "away", 4)
        (tmp_path / "away").rename(run)
        playing.arrive(3)
    assert len([line for line in playing.said if "no new epochs" in line]) == 1
    check_replay(tmp_path)


def test_a_full_bank_is_said_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST", 2)
    with Set(run, tmp_path) as playing:
        for epoch in (4, 5, 6):
            put(run, epoch)
        playing.hear("the bank is full with 5 checkpoints: no more join")
        playing.arrive(4)
        playing.go_on(8000)
    assert len([line for line in playing.said if "bank is full" in line]) == 1
    check_replay(tmp_path)


def test_only_a_run_folder_is_followed(run: Path, tmp_path: Path) -> None:
    patch = tmp_path / "mine.yaml"
    patch.write_text(f"history: true\nbank: [{', '.join(str(run / f'epoch-00{k}.safetensors') for k in (1, 2))}]\n")
    for target in (patch, run / "epoch-001.safetensors"):
        asked = options(target, tmp_path, record=None, log=None, report=None, osc="none", seconds=0.05)
        session = Session(plan.make(asked), print, print)
        play_out(session)
        assert session.follower is None
        assert session.performance.full


def test_a_set_of_one_epoch_grows_too(run: Path, tmp_path: Path) -> None:
    for epoch in (2, 3):
        (run / f"epoch-00{epoch}.safetensors").unlink()
    with Set(run, tmp_path) as playing:
        put(run, 2)
        playing.arrive(1)
        assert playing.session.controller.bank == ["epoch-001", "epoch-002"]
    check_replay(tmp_path)


# --- the folder


def test_a_file_is_news_once_and_only_when_it_has_come_to_rest(run: Path) -> None:
    folder = Folder(run, [run / "epoch-001.safetensors", run / "epoch-002.safetensors"])
    assert folder.look() == [run / "epoch-003.safetensors"]  # written since the bank was chosen
    assert folder.look() == []
    growing = run / "epoch-004.safetensors"
    for size in (10, 20, 30):
        growing.write_bytes(b"x" * size)
        os.utime(growing, ns=(size, size))
        assert folder.look() == []
    assert folder.look() == [growing]
    assert folder.look() == []
    growing.unlink()
    assert folder.look() == []


def test_epochs_that_the_bank_left_out_are_no_news(run: Path) -> None:
    folder = Folder(run, [run / "epoch-001.safetensors", run / "epoch-003.safetensors"])
    assert folder.look() == []
    put(run, 10)
    put(run, 9)
    assert folder.look() == []
    assert folder.look() == [run / "epoch-009.safetensors", run / "epoch-010.safetensors"]


def test_a_file_that_is_written_as_it_was_joins_once(run: Path, tmp_path: Path) -> None:
    with Set(run, tmp_path) as playing:
        again = tmp_path / "again.safetensors"
        shutil.copy(put(run, 3), again)
        again.replace(run / "epoch-003.safetensors")
        put(run, 4)
        playing.hear("epoch-004 joined as program 3")
    assert len([line for line in playing.said if "joined" in line]) == 1


def test_large_networks_get_less_room() -> None:
    """A gigabyte, at three bytes a weight."""
    for millions, room in ((2, 64), (10, 35), (27, 13), (400, 8)):
        weights = {"all": np.broadcast_to(np.float16(0), millions * 1_000_000)}
        assert room_for(Checkpoint(network("gru").config, weights)) == room


# --- the whole of it


TRAINING = {
    "sample_rate": "8000", "q_levels": "16", "frame_sizes": "2,4", "dim": "8", "emb_size": "4", "seq_len": "64",
    "batch": "4", "excerpt": "0.1", "epoch_steps": "60", "stretches": "1.0",
    "q_type": "linear", "preemphasis": "0", "average": "0", "steps": "100000", "warmup": "0",
    "threads": "1", "clips": "0", "moments": "0", "restarts": "0",
}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_a_network_is_heard_learning(tmp_path: Path) -> None:
    """`samplernn train` and `samplernn play` at the same time, and the set once more."""
    t = np.arange(5 * 8000) / 8000
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 200 * t), 8000)
    settings = [word for pair in TRAINING.items() for word in ("--set", "=".join(pair))]
    run = tmp_path / "run"
    training = subprocess.Popen(
        [sys.executable, "-m", "instrument.cli", "train", str(tmp_path / "tone.wav"), "-o", str(run), *settings],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: training.poll() is not None or bool(list(run.glob("epoch-*.safetensors"))))
        playing = play(run, tmp_path, "--latency", "150", "--osc", "none")
        wait_for_line(playing, "joined as program")
        playing.send_signal(signal.SIGINT)
        check_left(playing, tmp_path, 130)
    finally:
        training.send_signal(signal.SIGINT)
        _, errors = training.communicate(timeout=120)
    assert (training.returncode, errors) == (130, "")
    assert any(isinstance(event, Joined) for event in log.read(tmp_path / "set.jsonl")[1])
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.flac")
    again, recorded = (soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("again.flac", "set.flac"))
    np.testing.assert_array_equal(again, recorded)
