"""Recordings of whole sets on disks that are slow, and of sets that are killed."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from instrument import log, plan, replay
from instrument.audio import performance
from instrument.audio.soundfiles import SoundFile
from instrument.controls import Op
from instrument.session import Session

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


def test_a_slow_disk_costs_zeros_of_the_same_length(
    patch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording has zeros for what did not fit, the log says where, and a replay has them there too."""
    monkeypatch.setattr(performance, "TAP_S", 0.1)
    real, held = SoundFile.write, [False]

    def write(file: SoundFile, audio: object) -> None:
        if file.frames and not held[0] and session.performance.link.telemetry().read > 20_000:
            held[0] = True
            while session.link.telemetry().tap_lost < 3000:
                time.sleep(0.001)
        real(file, audio)  # type: ignore[arg-type]

    monkeypatch.setattr(SoundFile, "write", write)
    said: list[str] = []
    options = plan.Options(
        target=str(patch), output="null", midi="none", latency=60.0, seconds=2.0,
        record=tmp_path / "set.wav", log=tmp_path / "set.jsonl",
    )  # fmt: skip
    session = Session(plan.make(options), print, said.append)
    try:
        session.open()
        session.start()
        while not session.performance.wait(0.01):
            pass
    finally:
        session.close()

    _, events, length = log.read(tmp_path / "set.jsonl")
    holes = [event for event in events if event.op == Op.TAP_OVERFLOW]
    assert sum(hole.number for hole in holes) >= 3000
    assert sum("the disk was too slow" in line for line in said) == len(holes)
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    recorded, again = (soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("set.wav", "again.wav"))
    assert len(recorded) == len(again) == length
    for hole in holes:
        end = hole.at + hole.number
        assert not recorded[hole.at : end].any()
        assert recorded[hole.at - 500 : hole.at].any(axis=1).mean() > 0.9
        assert recorded[end : end + 500].any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(recorded, again)


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_killed_set_lacks_less_than_a_second(suffix: str, patch: Path, tmp_path: Path) -> None:
    lacks(patch, tmp_path / f"set{suffix}", 1.3)


@pytest.mark.soak
@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("kill", range(5))
def test_wherever_a_set_is_killed(kill: int, suffix: str, patch: Path, tmp_path: Path) -> None:
    after = np.random.default_rng([kill, len(suffix)]).uniform(0.6, 6.0)
    lacks(patch, tmp_path / f"set{suffix}", float(after))


def lacks(patch: Path, record: Path, after: float) -> None:
    """``kill -9`` of a set that has played for ``after`` seconds: the recording opens, but for its last second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        ours.settimeout(120)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            theirs = free.getsockname()
        command = [sys.executable, "-m", "instrument.start", "play", str(patch), "--output", "null", "--midi", "none"]
        process = subprocess.Popen(
            [*command, "--latency", "60", "--record", str(record), "--osc", f"127.0.0.1:{theirs[1]}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            while "OSC on" not in process.stdout.readline():
                assert process.poll() is None
            subscription = OscMessageBuilder("/samplernn/subscribe")
            for value in (ours.getsockname()[1], 100.0):
                subscription.add_arg(value)
            ours.sendto(subscription.build().dgram, theirs)
            position = 0.0
            while position < after:
                position = place(ours.recv(65536), position)
        finally:
            process.kill()
            process.communicate()
    ours_of_it = soundfile.info(record)
    assert position - ours_of_it.frames / ours_of_it.samplerate < 1.0
    sound, _ = soundfile.read(record)
    assert len(sound) == ours_of_it.frames
    assert np.abs(sound).max() > 0.01


def place(datagram: bytes, before: float) -> float:
    """Seconds played, if that is what it says."""
    message = OscMessage(datagram)
    return float(message.params[0]) if message.address.endswith("/position") else before
