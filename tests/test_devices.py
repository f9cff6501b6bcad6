"""A device is meant by its name, and a name that does not settle it is answered with what there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instrument.audio import devices, portaudio
from instrument.audio.devices import Device, choose

DESK = [
    Device(0, "Built-in Audio", "ALSA", 2, 48000, 0.01, default=True),
    Device(3, "Scarlett 2i2: USB (hw:1,0)", "ALSA", 2, 44100, 0.01),
    Device(4, "Scarlett 18i8: USB (hw:2,0)", "ALSA", 8, 44100, 0.01),
    Device(5, "Buzzer", "ALSA", 1, 8000, 0.01),
    Device(7, "system", "JACK Audio Connection Kit", 2, 48000, 0.005),
    Device(8, "Built-in Audio", "JACK Audio Connection Kit", 2, 48000, 0.005),
]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("default", 0),
        ("Scarlett 2i2: USB (hw:1,0)", 3),
        ("2i2", 3),
        ("SYSTEM", 7),
        ("jack audio connection kit", None),
        ("Built-in Audio", 0),
        ("Built-in Audio, JACK Audio Connection Kit", 8),
        ("scarlett", None),
        ("nowhere", None),
        ("Buzzer", None),
    ],
)
def test_choose(name, index):
    if index is not None:
        assert choose(name, DESK).index == index
        return
    with pytest.raises(ValueError, match=r"any of|not found|two are needed") as fault:
        choose(name, DESK)
    assert "\n" not in str(fault.value)


def test_errors_name_what_there_is():
    with pytest.raises(ValueError, match="any of") as fault:
        choose("scarlett", DESK)
    assert "2i2" in str(fault.value)
    assert "18i8" in str(fault.value)
    assert "Buzzer" not in str(fault.value)
    with pytest.raises(ValueError, match="no sound output device"):
        choose("default", [])


def test_a_file_of_another_kind_is_no_device():
    with pytest.raises(ValueError, match=r"a file must end in \.wav or \.flac"):
        choose("set.mp3", DESK)


def test_default_without_a_mark_is_the_first():
    assert choose("default", DESK[1:]).index == 3


class FakePortAudio:
    class PortAudioError(Exception):
        pass

    def query_hostapis(self):
        return [{"name": "ALSA", "devices": [0, 1]}]

    def query_devices(self, kind=None):
        out = {"name": "out", "index": 1, "hostapi": 0, "max_output_channels": 2}
        out |= {"default_samplerate": 48000.0, "default_low_output_latency": 0.0123}
        return out if kind else [out | {"name": "microphone", "index": 0, "max_output_channels": 0}, out]


def test_lines_mark_the_default(monkeypatch):
    monkeypatch.setattr(portaudio, "load", FakePortAudio)
    assert devices.lines() == ["* out, ALSA  2 channels, 48000 Hz, driver 12.3 ms"]


def test_without_portaudio_one_line(tmp_path):
    """In a child that cannot load the library: `sounddevice` raises OSError on import there."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    script = "from instrument.audio import devices; print('\\n'.join(devices.lines()))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    child = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert child.stdout == "no sound output: PortAudio library not found (on Debian: libportaudio2)\n"
    assert child.stderr == ""
