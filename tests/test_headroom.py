"""What a machine holds: what is reckoned from a measurement, what is said of it, and `samplernn doctor FOLDER`."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_program import make_program
from networks import network
from test_audio_loop import RATE, offline

from engine.checkpoint import save
from instrument import cli, plan, playable
from instrument.audio.headroom import Cost, held, hold
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot

SAMPLE = 1e6 / RATE


def cost(alone: float, together: float, voices: int) -> Cost:
    """In shares of the time there is."""
    return Cost(alone * SAMPLE, together * SAMPLE, voices)


@pytest.mark.parametrize(
    ("measured", "fit"),
    [
        (cost(0.25, 0.25, 1), 3),  # of one voice nothing is known about a second
        (cost(0.3, 0.5, 2), 4),  # 0.3, and 0.2 for each that joins: 0.9 with four
        (cost(0.91, 0.91, 1), 0),
        (cost(0.89, 0.89, 1), 1),
        (cost(0.95, 3.0, 4), 0),
        (cost(0.3, 0.3, 4), 64),
        (cost(1e-9, 1e-9, 1), 64),
    ],
)
def test_as_many_voices_as_fit_into_nine_tenths(measured: Cost, fit: int) -> None:
    assert hold("x", "int8", measured, RATE).holds == fit


def test_what_is_too_much_is_said_with_what_would_be_right() -> None:
    assert hold("x", "int8", cost(0.2, 0.8, 4), RATE).overload == ""
    too_many = hold("big", "int8", cost(0.45, 1.8, 4), RATE).overload
    assert too_many.startswith(
        "4 voices of big take 180% of the time there is: expect gaps; about 2 fit here (--voices 2)"
    )
    assert hold("big", "fp32", cost(4.0, 4.0, 1), RATE).overload == (
        "1 voice of big takes 400% of the time there is: expect gaps; "
        "this network is too slow for this machine (0.2 x real time)"
    )


def test_what_fits_is_one_line() -> None:
    line = hold("tabla", "int8", cost(0.3, 0.5, 2), RATE).line
    assert line == "int8, 1 thread: 2 voices of tabla 2.0 x real time, 50% to spare; 4 would fit"


def test_a_set_holds_its_dearest_network_or_its_voices_as_they_are() -> None:
    slots = {k: SimpleNamespace(name=name, precision="int8") for k, name in enumerate(("a", "b"))}
    costs = {0: cost(0.3, 0.4, 2), 1: cost(0.2, 0.3, 2)}
    together = held(costs, slots, (1, 1), (-1, -1), RATE)  # type: ignore[arg-type]
    assert together
    assert (together.name, together.headroom) == ("a", pytest.approx(0.6))
    apart = held(costs, slots, (0, 1), (-1, -1), RATE)  # type: ignore[arg-type]
    assert apart
    assert (apart.name, apart.headroom) == ("a and b", pytest.approx(0.5))  # no pass serves two networks
    joined = held(costs, slots, (1, 1), (1, -1), RATE)  # type: ignore[arg-type]
    assert joined
    assert (joined.partners, joined.headroom) == (1, pytest.approx(0.45))


def test_a_performance_measures_and_reports_every_network() -> None:
    slots = [Slot(make_program(voices=2), name=name, precision="int8") for name in ("one", "two")]
    found = Performance(slots, sample_rate=RATE, voices=2, offline=True).report()["holding"]
    assert (found["voices"], found["threads"], found["precision"]) == (2, 1, "int8")
    assert [each["name"] for each in found["checkpoints"]] == ["one", "two"]
    assert all(each["holds"] >= 2 for each in found["checkpoints"])
    json.dumps(found, allow_nan=False)


def test_a_replay_measures_nothing() -> None:
    p = offline([Slot(make_program())])
    assert (p.held, p.overload, p.report()["holding"]) == (None, "", {})


def test_precision_auto_is_the_same_on_every_machine() -> None:
    assert plan.check_backend("auto", "auto") == plan.check_backend("cpu", None) == ("cpu", "int8")
    assert plan.check_backend("reference", "auto") == ("reference", "fp32")
    with pytest.raises(ValueError, match="one of auto, int8, fp32, fp16 expected"):
        plan.check_backend("cpu", "int4")


@pytest.mark.parametrize(
    ("holds", "realtime", "voices", "words"),
    [
        (3, 3.0, 1, "plays"),
        (3, 3.0, 4, "plays with 3 voices"),
        (1, 1.2, 2, "plays with 1 voice"),
        (0, 0.4, 1, "too slow (0.4x)"),
    ],
)
def test_verdicts(holds: int, realtime: float, voices: int, words: str) -> None:
    assert playable.verdict(holds, realtime, voices) == words


def test_doctor_goes_through_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(network("gru"), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no network")
    assert cli.main(["doctor", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["a"].endswith("plays")
    assert "int8" in rows["a"]
    assert "not a safetensors file" in rows["b"]
    assert cli.main(["doctor", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    assert [each["name"] for each in found] == ["a", "b"]
    assert found[0]["holds"] >= 1
    assert found[1]["fault"]


def test_doctor_wants_a_folder_with_checkpoints(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tmp_path)]) == 1
    assert "holds no checkpoint" in capfd.readouterr().err
    assert cli.main(["doctor", str(tmp_path / "missing.safetensors")]) == 1
    assert "missing.safetensors: is not there" in capfd.readouterr().err
    assert cli.main(["doctor", "nothere"]) == 1
    assert "nothere: is not there" in capfd.readouterr().err
    assert cli.main(["doctor", str(tmp_path), "--output", "null"]) == 1
    assert "--output are for --soak" in capfd.readouterr().err
