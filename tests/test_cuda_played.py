"""Sets played with ``--backend cuda``, from beginning to end; a stand-in for the driver where there is no GPU.

PyTorch's own kernels make a sample in less than half a millisecond here, so networks have rates that are that low.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from networks import network  # noqa: E402
from test_session import options, wait_until  # noqa: E402

from engine.checkpoint import save  # noqa: E402
from engine.cuda import driver, players, presence  # noqa: E402
from engine.cuda.driver import Eager  # noqa: E402
from engine.generator import AT_ONCE  # noqa: E402
from instrument import bank, latency, log, plan, replay, sets  # noqa: E402
from instrument.audio.performance import Performance, turn_of  # noqa: E402
from instrument.controls import Command, Event, Op  # noqa: E402
from instrument.patch import Output  # noqa: E402
from instrument.session import Session  # noqa: E402

PATCH = """
name: on a GPU
seed: 4
bank: [one.safetensors, two.safetensors]
fallback: small.safetensors
output: {latency: 700, launch: 16}
osc: {listen: none}
"""


class Stand(Eager):
    """All players of a set have this one."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand, threads = Stand(), torch.get_num_threads()
    monkeypatch.setattr(
        bank, "cuda_players", lambda voices, sides, launch=AT_ONCE: players.Players(
            voices, sides, "plain", launch, lambda: stand)
    )  # fmt: skip
    monkeypatch.setattr(presence, "missing", lambda: "")
    torch.set_num_threads(1)
    yield stand
    torch.set_num_threads(threads)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr(presence, "missing", lambda: "there is no NVIDIA GPU here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    for seed, name in enumerate(("one", "two", "small", "late")):
        made = network("gru" if name != "small" else "one-tier", seed)
        slow = replace(made, config=replace(made.config, sample_rate=8000 if name == "small" else 1000))
        save(slow, tmp_path / f"{name}.safetensors")
    (tmp_path / "gpu.yaml").write_text(PATCH)
    return tmp_path / "gpu.yaml"


def on_gpu(patch: Path, folder: Path, said: Callable[[str], object] = print, **more: object) -> Session:
    values = {"latency": None, "backend": "cuda", **more}
    return Session(plan.make(options(patch, folder, **values)), said, said)


@pytest.fixture(autouse=True)
def eight_kilohertz(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session is as slow as these networks, whose rate the null output would take."""
    from instrument.audio import outputs

    choose = outputs.choose

    def chosen(*args: object) -> object:
        made = choose(*args)  # type: ignore[arg-type]
        made.rate = 8000
        return made

    monkeypatch.setattr(outputs, "choose", chosen)


def play(session: Session, *steps: Callable[[], object]) -> None:
    try:
        session.open()
        session.start()
        for step in steps:
            before = session.link.telemetry().written
            step()
            wait_until(lambda: session.link.telemetry().written > before + 4000 or session.performance.wait(0.0))  # noqa: B023
    finally:
        session.close()


def arrived(session: Session, program: int) -> None:
    def there() -> bool:
        voice = session.controller.table.mapped(session.link.telemetry()).voices[0]
        return (voice.slot, voice.phase) == (program, 0)

    wait_until(there)


def is_replayed(folder: Path) -> list[Event]:
    replay.run(folder / "set.jsonl", folder / "again.wav")
    again, there = (soundfile.read(folder / name, dtype="int32")[0] for name in ("again.wav", "set.wav"))
    np.testing.assert_array_equal(again, there)
    assert np.abs(there).max() > 1 << 24
    return log.read(folder / "set.jsonl")[1]


def test_a_set_on_a_gpu_replays_bit_for_bit(gpu: Stand, patch: Path, tmp_path: Path) -> None:
    session = on_gpu(patch, tmp_path)
    play(
        session,
        lambda: session.controller.set("temperature", 1.2, ramp=0.1),
        lambda: session.controller.trigger("checkpoint", "two", 0.05),
        lambda: arrived(session, 1),
        lambda: session.controller.trigger("reseed"),
    )
    figures = json.loads((tmp_path / "set.json").read_text())
    assert (figures["backend"], figures["precision"], figures["failed_s"]) == ("cuda", "fp16", None)
    ops = [event.op for event in is_replayed(tmp_path)]
    assert ops.count(Op.SWITCHED) == 1
    assert Op.FAIL not in ops
    assert len(set(gpu.launched)) > 2  # runs, hops and single samples


def test_when_the_gpu_fails_the_fallback_goes_on_and_a_replay_agrees(gpu: Stand, patch: Path, tmp_path: Path) -> None:
    said: list[str] = []
    session = on_gpu(patch, tmp_path, said.append)
    play(
        session,
        lambda: None,
        lambda: setattr(gpu, "failing", 719),
        lambda: session.controller.trigger("checkpoint", "two"),
    )
    (line,) = [line for line in said if "failed" in line]
    assert line.endswith("s (CUDA error 719): small goes on, on the processor")
    assert any(line.startswith("checkpoint: refused") for line in said)
    figures = json.loads((tmp_path / "set.json").read_text())
    assert figures["checkpoint"] == "small"
    assert 0.5 < figures["failed_s"] < figures["seconds"]
    gpu.failing, gpu.failed[0] = 0, 0
    sound, rate = soundfile.read(tmp_path / "set.wav")
    after = round((figures["failed_s"] + 0.1) * rate)
    assert np.abs(sound[after : after + 2000]).max() > 0.01
    assert [event.op for event in is_replayed(tmp_path)].count(Op.FAIL) == 1


def test_without_a_fallback_the_set_fades_out(gpu: Stand, patch: Path, tmp_path: Path) -> None:
    patch.write_text(patch.read_text().replace("fallback: small.safetensors\n", ""))
    said: list[str] = []
    play(on_gpu(patch, tmp_path, said.append), lambda: None, lambda: setattr(gpu, "failing", 2))
    assert any("(CUDA error 2): the set fades out" in line for line in said)
    gpu.failing, gpu.failed[0] = 0, 0
    assert is_replayed(tmp_path)[-1].op == Op.ENDED


def test_a_patch_that_is_saved_brings_networks_into_idle_players(
    gpu: Stand, patch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is captured while it plays: the third network is loaded over an idle player, a fourth waits for one."""
    monkeypatch.setattr(sets, "LOOK_S", 0.02)
    said: list[str] = []
    session = on_gpu(patch, tmp_path, said.append)
    graphs: list[int] = []

    def save_it(bank_of: str) -> Callable[[], object]:
        def act() -> None:
            patch.write_text(PATCH.replace("[one.safetensors, two.safetensors]", bank_of))
            before = len(said)
            wait_until(lambda: any("gpu.yaml" in line for line in said[before:]))

        return act

    play(
        session,
        lambda: graphs.append(len(gpu._runs)),
        save_it("[one.safetensors, late.safetensors]"),
        lambda: session.controller.trigger("checkpoint", "late"),
        lambda: arrived(session, 1),
        lambda: graphs.append(len(gpu._runs)),
    )
    assert graphs[0] == graphs[1]
    loads = [event for event in is_replayed(tmp_path) if event.op == Op.LOAD]
    assert [event.name for event in loads] == ["late"]


def test_a_gpu_that_is_not_there_is_a_line(
    no_gpu: None, patch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    session = on_gpu(patch, tmp_path, said.append, seconds=0.6)
    play(session, lambda: wait_until(lambda: session.performance.wait(0.01)))
    (line,) = [line for line in said if "every program is small instead" in line]
    assert line.startswith(f"--backend cuda: {presence.missing()}: ")
    figures = json.loads((tmp_path / "set.json").read_text())
    assert (figures["backend"], figures["precision"]) == ("cpu", "int8")
    is_replayed(tmp_path)

    patch.write_text(patch.read_text().replace("fallback: small.safetensors\n", ""))
    with pytest.raises(ValueError, match=r"--backend cuda: .*; cpu expected, or .* --fallback"):
        on_gpu(patch, tmp_path)
    monkeypatch.setattr(presence, "missing", lambda: "")  # a driver, but torch cannot use it
    with pytest.raises(ValueError, match=r"--backend cuda: torch finds no GPU here; cpu expected, or"):
        on_gpu(patch, tmp_path).open()
    monkeypatch.setitem(sys.modules, "engine.cuda.players", None)
    with pytest.raises(ValueError, match=r"--backend cuda: needs engine\.cuda\.players"):
        on_gpu(patch, tmp_path).open()


def test_what_is_wrong_is_said_before_anything_compiles(patch: Path, tmp_path: Path) -> None:
    for text, more, message in (
        ("", {"precision": "int8"}, "--precision int8: --backend cuda plays fp16"),
        ("", {"fallback": "nowhere.safetensors"}, "--fallback: 'nowhere.safetensors' is not there"),
        ("", {"fallback": ""}, "--fallback"),
        ("", {"fallback": "x.safetensors", "backend": "cpu"}, "--fallback 'x.safetensors': is for --backend cuda"),
        ("voice: {1: {partner: two}}\n", {}, r"voice.1.partner: --backend cuda blends nothing"),
    ):
        patch.write_text(PATCH + text)
        with pytest.raises(ValueError, match=message):
            on_gpu(patch, tmp_path, **more)
    patch.write_text(PATCH.replace("small.", "lost."))
    with pytest.raises(ValueError, match=r"fallback: 'lost.safetensors' is not there"):
        on_gpu(patch, tmp_path)


def test_without_a_gpu_every_patch_of_a_set_is_the_fallback(no_gpu: None, patch: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("name: other\nbank: [late.safetensors]\nosc: {listen: none}\n")
    (tmp_path / "set.yaml").write_text("set: [gpu.yaml, other.yaml]\n")
    session = on_gpu(tmp_path / "set.yaml", tmp_path)
    play(
        session,
        lambda: wait_until(lambda: session.sets.places[1].bank is not None),
        lambda: session.controller.trigger("patch/next", 1),
        lambda: wait_until(lambda: session.controller.patch[1] == "other"),
    )
    stand_in = session.plan.checkpoints[0].sha256
    assert {entry["sha256"] for entry in log.read(tmp_path / "set.jsonl")[0].bank} == {stand_in}
    loads = [event for event in is_replayed(tmp_path) if event.op == Op.LOAD]
    assert {event.sha256 for event in loads} <= {stand_in}


def test_a_run_is_not_followed_by_what_stands_in(no_gpu: None, patch: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for epoch, name in enumerate(("one", "two"), start=1):
        (tmp_path / "run" / f"epoch-00{epoch}.safetensors").write_bytes((tmp_path / f"{name}.safetensors").read_bytes())
    session = on_gpu(tmp_path / "run", tmp_path, fallback=str(tmp_path / "small.safetensors"), latency=100.0)
    play(session, lambda: session.controller.set("maturity", 0.0), lambda: None)
    assert session.follower is None
    is_replayed(tmp_path)


def test_an_idle_gpu_is_kept_awake(gpu: Stand, patch: Path, tmp_path: Path) -> None:
    """While the ring is full something runs behind the players: one launch, and the next when that is done."""
    from engine.cuda import stirring
    from engine.cuda.launching import LAUNCHED, stir

    session = on_gpu(patch, tmp_path)
    play(session, lambda: time.sleep(0.2))
    made, words = stirring._made[gpu]
    assert made is gpu
    assert words[LAUNCHED] > 0
    before = words[LAUNCHED]
    gpu.failed[0] = 719
    stir(words.ctypes.data, 0, 0)
    gpu.failed[0] = 0
    assert words[LAUNCHED] == before
    stir(words.ctypes.data, 0, 0)
    assert words[LAUNCHED] == before + 1


def test_voices_that_come_and_go_are_still_made_by_one_launch_a_turn(gpu: Stand) -> None:
    """Switched, woken and silenced at odd samples: frames stay in line, so that a turn is one run of all voices."""
    slots = bank.Maker("cuda", "fp16", 3, launch=16).slots([network("gru"), network("gru", 1)], ["one", "two"])
    p = Performance(slots, sample_rate=44100, voices=3, offline=True, seed=2)
    for command in (
        Command(301, Op.SWITCH, voice=0, number=1, ramp=50),
        Command(333, Op.PARK, voice=2, ramp=40),
        Command(517, Op.SWITCH, voice=1, number=1, ramp=50),
        Command(1003, Op.WAKE, voice=2),
        Command(1205, Op.SWITCH, voice=2, number=1, ramp=50),
        Command(5001, Op.PANIC),
        Command(6502, Op.RESUME),
    ):
        assert p.link.push(command)
    for turns in (275, 412):
        upto = turns * p.turn - p.timing["ahead"]  # what a turn has made when it ends there
        p.render_to(upto)
        assert all(voice.phase == 0 for voice in p.link.telemetry().voices)
        before = len(gpu.launched)
        p.render_to(upto + 10 * p.turn)
        assert len(gpu.launched) - before == 10


def test_a_broken_fallback_is_found_by_patch_check(patch: Path) -> None:
    (patch.parent / "small.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"gpu.yaml: fallback: .*small.safetensors: not a safetensors file"):
        latency.check_patch(str(patch))


def test_a_fallback_makes_no_turn_longer_than_its_own_frame() -> None:
    fast, slow = (SimpleNamespace(config=replace(network("gru").config, sample_rate=rate)) for rate in (44100, 8000))
    assert turn_of([fast], 44100, 64) == 64
    assert turn_of([fast], 44100, 64, slow) == 64  # eight samples of 8 kHz are 45
    assert turn_of([fast, slow], 44100, 64) == 353
    assert turn_of([fast], 44100, 20) == 24  # whole frames


def test_one_number_of_samples_is_made_at_once_unless_a_patch_says_another() -> None:
    assert Output().launch == AT_ONCE


def test_a_driver_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> object:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(driver.ctypes, "CDLL", missing)
    with pytest.raises(driver.Unavailable, match="no driver"):
        driver.Gpu(torch.device("cuda"))
