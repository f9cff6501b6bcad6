"""Clips: seeds, temperatures, priming and what the files hold."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from instrument import cli, render

RATE = 44100


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write(folder)
    return folder / "gru.safetensors"


def clips(checkpoint: Path, out: Path, *more: str) -> dict[str, np.ndarray]:
    assert cli.main(["render", str(checkpoint), "-o", str(out), "--seconds", "0.5", *more]) == 0
    found = {}
    for path in sorted(out.parent.glob(f"*{out.suffix}")):
        sound, rate = soundfile.read(path, dtype="int32")
        assert (rate, soundfile.info(path).subtype, sound.shape) == (RATE, "PCM_24", (RATE // 2,))
        found[path.name] = sound
    return found


def test_each_clip_is_the_only_clip_of_its_seed(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    many = clips(checkpoint, tmp_path / "x.flac", "--seed", "7", "--clips", "3", "--temperature", "0.875:1.15")
    assert list(many) == ["x-01.flac", "x-02.flac", "x-03.flac"]
    assert len({sound.tobytes() for sound in many.values()}) == 3
    one = clips(checkpoint, tmp_path / "one" / "y.wav", "--seed", "9", "--temperature", "0.875:1.15")
    np.testing.assert_array_equal(one["y.wav"], many["x-03.flac"])


def test_priming_changes_what_follows(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "primed").mkdir()
    source = tmp_path / "source.ogg"
    soundfile.write(source, np.sin(np.arange(9000) / 20)[:, None].repeat(2, axis=1) * 0.5, 22050)
    plain = clips(checkpoint, tmp_path / "x.wav")
    primed = clips(checkpoint, tmp_path / "primed" / "x.wav", "--prime", str(source))
    assert not np.array_equal(plain["x.wav"], primed["x.wav"])


def test_a_ramp_is_one_line_from_the_first_sample_to_the_last() -> None:
    whole = render.ramp((0.875, 1.15), 0, 1000, 1000)
    parts = np.concatenate([render.ramp((0.875, 1.15), a, a + 100, 1000) for a in range(0, 1000, 100)])
    np.testing.assert_array_equal(whole, parts)
    assert (whole[0], whole[-1]) == (0.875, 1.15)
    assert np.ptp(np.diff(whole)) < 1e-12


@pytest.mark.parametrize("fault", ["empty", "text", "short"])
def test_what_cannot_prime_is_one_line(
    fault: str, checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source.wav"
    soundfile.write(source, np.zeros({"empty": 0, "text": 9, "short": 3}[fault]), RATE)
    if fault == "text":
        source.write_text("hello")
    assert cli.main(["render", str(checkpoint), "-o", str(tmp_path / "x.wav"), "--prime", str(source)]) == 1
    said = capfd.readouterr().err
    assert (said.count("\n"), "source.wav" in said) == (1, True)
    assert not (tmp_path / "x.wav").exists()
