"""A sound file is exact, always readable, and complains in one line."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from instrument.audio.soundfiles import SoundFile, check_path, to_pcm24

STEP = 2.0**-23


def noise(frames, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (frames, 2)).astype(np.float32)


def read24(path):
    return soundfile.read(path, dtype="int32", always_2d=True)[0] >> 8


def test_conversion_is_the_formula():
    values = [0.0, 0.5 * STEP, -0.5 * STEP, 0.49 * STEP, -0.51 * STEP, 1.0, -1.0, 2.0, -2.0, np.inf, -np.inf, np.nan]
    expected = [0, 1, 0, 0, -1, 2**23 - 1, -(2**23), 2**23 - 1, -(2**23), 2**23 - 1, -(2**23), 0]
    assert (to_pcm24(np.array(values, np.float32)) >> 8).tolist() == expected


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_file_holds_the_integers_however_they_came(tmp_path, suffix):
    audio = noise(10_001)
    once = SoundFile(tmp_path / f"once{suffix}", 44100)
    once.write(audio)
    once.close()
    file = SoundFile(tmp_path / f"parts{suffix}", 44100)
    for part in np.split(audio, [1, 64, 5000, 5000]):
        file.write(part)
        file.flush()
    file.close()
    assert (read24(tmp_path / f"once{suffix}") == to_pcm24(audio) >> 8).all()
    assert (tmp_path / f"once{suffix}").read_bytes() == (tmp_path / f"parts{suffix}").read_bytes()
    info = soundfile.info(tmp_path / f"once{suffix}")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (44100, 2, "PCM_24", 10_001)


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from instrument.audio.soundfiles import SoundFile
audio = np.random.default_rng(0).uniform(-1, 1, (30000, 2)).astype(np.float32)
file = SoundFile(Path(sys.argv[1]), 44100)
file.write(audio[:20000])
file.flush()
file.write(audio[20000:])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("suffix", "at_least"), [(".wav", 20000), (".flac", 20000 - 4096)])
def test_killed_file_opens(tmp_path, suffix, at_least):
    path = tmp_path / f"killed{suffix}"
    child = subprocess.run([sys.executable, "-c", KILLED, path], timeout=60)
    assert child.returncode == -9
    got = read24(path)
    assert len(got) >= at_least
    assert (got == to_pcm24(noise(30000))[: len(got)] >> 8).all()


def test_more_than_a_wav_holds_goes_on_in_the_next(tmp_path):
    audio = noise(2500)
    file = SoundFile(tmp_path / "long.wav", 44100, limit=1000)
    file.write(audio[:1500])
    file.write(audio[1500:])
    file.close()
    assert [path.name for path in file.parts] == ["long.wav", "long-2.wav", "long-3.wav"]
    assert (np.concatenate([read24(path) for path in file.parts]) == to_pcm24(audio) >> 8).all()


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from instrument.audio.soundfiles import SoundFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # a disk that is full after 100 kB
file = SoundFile(Path(sys.argv[1]), 44100)
audio = np.random.default_rng(0).uniform(-1, 1, (1000, 2)).astype(np.float32)
try:
    for _ in range(100):
        file.write(audio)
        file.flush()
except OSError as fault:
    assert "\\n" not in str(fault)
else:
    sys.exit("not noticed")
try:
    file.close()
except OSError:
    pass
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a limit on file sizes")
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_full_disk_is_an_oserror_and_keeps_the_beginning(tmp_path, suffix):
    path = tmp_path / f"full{suffix}"
    child = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, timeout=60)
    assert (child.returncode, child.stderr) == (0, "")
    got = read24(path)
    assert 8000 < len(got) < 20000
    assert (got[:1000] == to_pcm24(noise(1000)) >> 8).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.mp3", "must end in .wav or .flac"), ("none/x.wav", "does not exist"), ("folder.wav", "is a folder")],
)
def test_impossible_paths_say_so(tmp_path, name, words):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match=words) as fault:
        check_path(tmp_path / name)
    assert "\n" not in str(fault.value)
    assert name in str(fault.value)
