"""The recorder writes what the tap gives, and a disk that fails costs only the recording."""

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from instrument.audio import recorder as module
from instrument.audio.recorder import Recorder
from instrument.audio.soundfiles import SoundFile, to_pcm24

RATE = 1000


class Tap:
    """A tap that gives what was put into it, in pieces of at most `most` frames."""

    def __init__(self, most=700):
        self.most, self.waiting, self.drained = most, np.zeros((0, 2), np.float32), threading.Event()
        self.lock = threading.Lock()

    def put(self, audio):
        with self.lock:
            self.waiting = np.concatenate([self.waiting, audio])
            self.drained.clear()

    def __call__(self, buffer):
        with self.lock:
            count = min(len(buffer), self.most, len(self.waiting))
            buffer[:count] = self.waiting[:count]
            self.waiting = self.waiting[count:]
            if not len(self.waiting):
                self.drained.set()
            return count


def noise(frames, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (frames, 2)).astype(np.float32)


def read24(path):
    return soundfile.read(path, dtype="int32", always_2d=True)[0] >> 8


def test_records_everything_into_every_file(tmp_path):
    tap, said = Tap(), []
    paths = [tmp_path / "a.wav", tmp_path / "b.flac"]
    recorder = Recorder(paths, RATE, tap, said.append)
    recorder.start()
    tap.put(noise(2500))
    assert tap.drained.wait(10)
    tap.put(noise(1800, seed=1))
    recorder.finish()
    recorder.finish()
    expected = to_pcm24(np.concatenate([noise(2500), noise(1800, seed=1)])) >> 8
    for path in paths:
        assert (read24(path) == expected).all()
    assert said == []


def test_ends_where_the_set_ends(tmp_path):
    tap = Tap()
    recorder = Recorder([tmp_path / "a.wav"], RATE, tap, pytest.fail)
    recorder.start()
    tap.put(noise(300))
    recorder.finish(length=2900)
    got = read24(tmp_path / "a.wav")
    assert len(got) == 2900
    assert not got[300:].any()


def test_never_started_leaves_an_empty_file(tmp_path):
    recorder = Recorder([tmp_path / "a.wav"], RATE, Tap(), pytest.fail)
    recorder.finish()
    assert len(read24(tmp_path / "a.wav")) == 0


def test_a_failing_disk_costs_one_file_and_one_line(tmp_path, monkeypatch):
    tap, said = Tap(), []
    recorder = Recorder([tmp_path / "bad.wav", tmp_path / "good.wav"], RATE, tap, said.append)
    real = SoundFile.write

    def write(file, audio):
        if file.path.stem == "bad" and file.frames >= 1000:
            raise OSError("No space left on device")
        real(file, audio)

    monkeypatch.setattr(SoundFile, "write", write)
    tap.put(noise(3000))
    recorder.start()
    assert tap.drained.wait(10)
    recorder.finish(length=3000)
    assert said == [f"recording {tmp_path / 'bad.wav'} stopped after 1.4 s: No space left on device"]
    assert len(read24(tmp_path / "bad.wav")) == 1400
    assert len(read24(tmp_path / "good.wav")) == 3000


def test_headers_follow_while_it_records(tmp_path, monkeypatch):
    """With the flush due at every look, the file is readable in the middle of the set."""
    monkeypatch.setattr(module, "FLUSH", 0.0)
    monkeypatch.setattr(module, "PERIOD", 0.001)
    tap, flushed = Tap(), threading.Event()
    real = SoundFile.flush

    def flush(file):
        real(file)
        if file.frames == 500:
            flushed.set()

    monkeypatch.setattr(SoundFile, "flush", flush)
    recorder = Recorder([tmp_path / "a.wav"], RATE, tap, pytest.fail)
    recorder.start()
    tap.put(noise(500))
    assert flushed.wait(10)
    assert len(read24(tmp_path / "a.wav")) == 500
    recorder.finish()


def test_one_impossible_file_leaves_none_open(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Recorder([tmp_path / "a.wav", tmp_path / "none" / "b.wav"], RATE, Tap(), pytest.fail)


def test_markers_lie_beside_every_recording(tmp_path):
    said = []
    recorder = Recorder([tmp_path / "a.wav", tmp_path / "b.flac"], RATE, Tap(), said.append)
    assert recorder.paths == [tmp_path / "a.wav", tmp_path / "b.flac"]
    recorder.start()
    recorder.mark(1500, "the drop\nat last\t")
    recorder.mark(2250, "")
    recorder.finish(length=3000)
    expected = "1.500000\t1.500000\tthe drop at last\n2.250000\t2.250000\tmarker\n"
    for name in ("a.labels.txt", "b.labels.txt"):
        assert (tmp_path / name).read_text() == expected
        assert tmp_path / name in recorder.paths
    assert said == []


def test_markers_are_on_the_disk_as_they_come(tmp_path):
    recorder = Recorder([tmp_path / "a.wav"], RATE, Tap(), pytest.fail)
    recorder.start()
    recorder.mark(10, "one")
    until(lambda: (tmp_path / "a.labels.txt").is_file() and "one" in (tmp_path / "a.labels.txt").read_text())
    recorder.finish()


def test_a_marker_that_cannot_be_written_is_a_line(tmp_path):
    said = []
    (tmp_path / "a.labels.txt").mkdir()
    recorder = Recorder([tmp_path / "a.wav"], RATE, Tap(), said.append)
    recorder.start()
    recorder.mark(10, "one")
    recorder.finish(length=100)
    assert said == ["marker: Is a directory"]
    assert len(read24(tmp_path / "a.wav")) == 100


def test_how_long_the_disk_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLUSH", 0.0)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=6 * RATE * 90))
    tap = Tap()
    recorder = Recorder([tmp_path / "a.wav"], RATE, tap, pytest.fail)
    assert (recorder.seconds, recorder.left) == (0.0, None)
    recorder.start()
    tap.put(noise(2 * RATE))
    until(lambda: recorder.seconds == 2.0 and recorder.left is not None and recorder.left < 90.0)
    assert recorder.left > 80.0
    recorder.finish()


def until(true):
    limit = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.002)


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from instrument.audio.recorder import Recorder
rate, given, begun = 44100, 0, time.monotonic()
sound = np.random.default_rng(0).uniform(-1, 1, (20 * rate, 2)).astype(np.float32)
def tap(buffer):
    global given
    count = min(len(buffer), int((time.monotonic() - begun) * rate) - given)
    buffer[:count] = sound[given : given + count]
    given += count
    return count
recorder = Recorder([Path(name) for name in sys.argv[1:]], rate, tap, print)
recorder.start()
while True:
    print(int((time.monotonic() - begun) * rate), flush=True)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("after", [0.9, 1.4, 2.1])
def test_a_kill_costs_less_than_a_second(after, tmp_path):
    """The process plays in real time and says how far it has come; it is killed at a point like any other."""
    paths = [tmp_path / "a.wav", tmp_path / "b.flac"]
    child = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, paths)], stdout=subprocess.PIPE, text=True)
    while int(child.stdout.readline()) < after * 44100:
        pass
    child.kill()
    rest = child.communicate()[0].split()
    played = max([after * 44100, *map(int, rest)])
    expected = to_pcm24(np.random.default_rng(0).uniform(-1, 1, (20 * 44100, 2)).astype(np.float32)) >> 8
    for path in paths:
        got = read24(path)
        assert played - len(got) < 44100, path.suffix
        assert (got == expected[: len(got)]).all()
