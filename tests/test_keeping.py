"""Files that must not be lost, and signals that must not be."""

import ctypes
import signal
import time

import numpy as np
import pytest
import soundfile

from instrument.audio.soundfiles import SoundFile
from instrument.interrupts import Interrupted, Interrupts, Resending
from instrument.keeping import set_aside


def test_an_earlier_file_is_renamed_and_an_empty_one_is_not(tmp_path):
    path = tmp_path / "set.flac"
    assert set_aside(path) is None
    path.touch()
    assert set_aside(path) is None
    for name in ("set.old.flac", "set.old-2.flac"):
        path.write_text(name)
        assert set_aside(path) == tmp_path / name
        assert (tmp_path / name).read_text() == name
    assert not path.exists()
    assert set_aside(tmp_path) is None


def test_a_file_that_is_being_written_is_left_alone(tmp_path):
    file = SoundFile(tmp_path / "set.wav", 8000)
    file.write(np.zeros((10, 2), np.float32))
    with pytest.raises(ValueError, match=r"set\.wav: another set is writing it"):
        set_aside(tmp_path / "set.wav")
    with pytest.raises(ValueError, match=r"set\.wav: another set is writing it"):
        SoundFile(tmp_path / "set.wav", 8000)
    file.write(np.zeros((10, 2), np.float32))
    file.close()
    assert soundfile.info(tmp_path / "set.wav").frames == 20
    assert set_aside(tmp_path / "set.wav") == tmp_path / "set.old.wav"


def test_a_long_recording_goes_on_beside_an_earlier_one(tmp_path):
    (tmp_path / "set-2.wav").write_text("an earlier set")
    file = SoundFile(tmp_path / "set.wav", 8000, limit=100)
    file.write(np.zeros((150, 2), np.float32))
    file.close()
    assert file.parts == [tmp_path / "set.wav", tmp_path / "set-2.wav"]
    assert (tmp_path / "set-2.old.wav").read_text() == "an earlier set"


def test_a_signal_lost_in_a_librarys_callback_comes_again(capfd):
    """LLVM calls Python as kernels load, and ctypes drops what is raised there."""
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGTERM))
    with Interrupts() as interrupts, Resending() as signals:
        interrupts.arm()
        callback()
        assert signals.lost == signal.SIGTERM
        with pytest.raises(Interrupted):
            time.sleep(30)
        interrupts.hold()
    assert interrupts.exit_code == 143
    assert capfd.readouterr().err == ""


def test_what_a_signal_breaks_while_a_set_is_built_is_the_signals_doing():
    with Interrupts() as interrupts:
        interrupts.arm()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("no compiled object yet")
    assert interrupts.exit_code == 130


def test_a_signal_before_anything_is_built_is_not_lost():
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        interrupts.arm()
        pytest.fail("armed after a signal")
    assert interrupts.exit_code == 130
