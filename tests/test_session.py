"""Sets from beginning to end: played, recorded, logged, left in every way, and replayed bit for bit."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import pytest
import soundfile
import tiny
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from engine.checkpoint import save
from instrument import log, plan, replay, report
from instrument.audio.cores import core_count
from instrument.controls import KEEP_STATE, Event, Op, VoiceTelemetry
from instrument.housekeeping import Housekeeping
from instrument.keeping import Claim
from instrument.session import SWITCH_S, Interrupts, Session

ROOT = Path(__file__).parent.parent
PLAY = [sys.executable, "-m", "instrument.start", "play"]


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


def options(patch: Path, folder: Path, **more: object) -> plan.Options:
    values = {"output": "null", "midi": "none", "latency": 60.0, **more}
    files = {"record": folder / "set.wav", "log": folder / "set.jsonl", "report": folder / "set.json"}
    return plan.Options(target=str(patch), **{**files, **values})  # type: ignore[arg-type]


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """However slow the machine is, what is asked for comes; the limit is for a defect."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.001)


def play_out(session: Session) -> None:
    """A set from its beginning to its last second."""
    try:
        session.open()
        session.start()
        wait_until(lambda: session.performance.wait(0.01))
    finally:
        session.close()


def gestures(session: Session) -> list[Callable[[], object]]:
    """Every kind of command, one after another."""
    c = session.controller
    return [
        lambda: c.set("temperature", 1.2, ramp=0.1),
        lambda: c.set("gain", -3.0, voice=1),
        lambda: c.set("pan", -0.7, voice=2, ramp=0.05),
        lambda: c.trigger("checkpoint", "lstm", 0.08, voice=1),
        lambda: c.trigger("sweep", "up"),
        lambda: c.trigger("sweep", "long"),
        lambda: c.trigger("reseed"),
        lambda: c.trigger("reseed", "learned", voice=2),
        lambda: c.trigger("reseed", "zeros", voice=1),
        lambda: c.trigger("seed", 99, voice=2),
        lambda: c.trigger("checkpoint", 3),
        lambda: c.trigger("sweep/stop", "long"),
        lambda: c.set("mute", 1, voice=1),
        lambda: c.trigger("checkpoint", "gru", 0.02, voice=2),
        lambda: c.set("mute", 0, voice=1),
        lambda: c.panic(),
        lambda: c.trigger("resume"),
        lambda: c.set("temperature", 0.0),
        lambda: c.set_norm("temperature", 0.5),
        lambda: c.panic(),
        lambda: c.trigger("checkpoint", 1, 0.0),
    ]


def test_a_set_with_every_kind_of_command_replays_bit_for_bit(patch: Path, tmp_path: Path) -> None:
    session = Session(plan.make(options(patch, tmp_path)), print, print)
    try:
        session.open()
        session.start()
        for gesture in gestures(session):
            before = session.link.telemetry().written
            gesture()
            wait_until(lambda: session.link.telemetry().written > before + 6000)  # noqa: B023
    finally:
        session.close()
    head, events, length = log.read(tmp_path / "set.jsonl")
    ops = {Op(event.op) for event in events}
    assert ops >= {*(Op(n) for n in range(1, 8)), Op.PRIMED, Op.SWITCHED, Op.SETTLED, Op.ENDED}
    recorded, rate = soundfile.read(tmp_path / "set.wav", dtype="int32")
    assert (rate, len(recorded)) == (head.sample_rate, length)
    assert np.abs(recorded).max() > 1 << 24

    replay.run(tmp_path / "set.jsonl", tmp_path / "again.flac")
    again, _ = soundfile.read(tmp_path / "again.flac", dtype="int32")
    np.testing.assert_array_equal(again, recorded)

    figures = json.loads((tmp_path / "set.json").read_text())
    assert tuple(figures)[: len(report.FIELDS)] == report.FIELDS
    assert figures["samples"] == length
    assert figures["control_latency_ms"]["p50"] > 0
    assert [name for name in report.FIELDS if figures[name] is None] == []


def test_every_panic_is_silence_and_a_replay_agrees(patch: Path, tmp_path: Path) -> None:
    session = Session(plan.make(options(patch, tmp_path)), print, print)
    try:
        session.open()
        session.start()
        rate, panics = session.sample_rate, 3
        for _ in range(panics):
            session.controller.trigger("resume")
            before = session.link.telemetry().written
            wait_until(lambda: session.link.telemetry().written > before + rate)  # noqa: B023
            session.controller.trigger("checkpoint", "lstm")  # still on its way when the panic comes
            session.controller.panic()
            before = session.link.telemetry().written
            wait_until(lambda: session.link.telemetry().written > before + rate)  # noqa: B023
    finally:
        session.close()
    events = log.read(tmp_path / "set.jsonl")[1]
    recorded, _ = soundfile.read(tmp_path / "set.wav")
    places = [event.at for event in events if event.op == Op.PANIC]
    assert len(places) == panics
    for at in places:
        assert np.abs(recorded[at - rate // 4 : at]).max() > 0.001
        assert np.all(recorded[at + rate // 10 : at + rate // 2] == 0.0)
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "set.wav").read_bytes()


def there(voice: VoiceTelemetry, program: int) -> bool:
    """Whether a voice has arrived at a program of the bank."""
    return (voice.slot, voice.phase) == (program, 0)


@pytest.mark.skipif(core_count() < 2, reason="one core: nobody can help")
def test_two_threads_beside_programs_that_want_their_cores_replay_on_one(tmp_path: Path) -> None:
    """The system puts helpers aside in the middle of their work, again and again; the samples do not know."""
    bank = {"target": str(ROOT / "checkpoints" / "tabla.safetensors"), "voices": 4, "threads": 2, "osc": None}
    with ExitStack() as hogs:
        for _ in range(3):
            hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            hogs.callback(hog.wait)
            hogs.callback(hog.kill)
        session = Session(plan.make(replace(options(Path(), tmp_path, seconds=4.0), **bank)), print, print)
        play_out(session)
    told = json.loads((tmp_path / "set.json").read_text())
    assert told["threads"] == 2
    assert told["slices_helped"] > 1000
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "set.wav").read_bytes()


@pytest.mark.parametrize("switch", ["prime", "keep"])
def test_another_checkpoint_is_primed_or_keeps_the_state_as_the_patch_says(
    switch: str, patch: Path, tmp_path: Path
) -> None:
    mine = patch.with_name(f"{switch}.yaml")
    mine.write_text(f"{patch.read_text()}switch: {switch}\n")
    session = Session(plan.make(options(mine, tmp_path)), print, print)
    try:
        session.open()
        session.start()
        for name, program in (("gru-2", 3), ("lstm", 2)):  # the second is of another architecture
            session.controller.trigger("checkpoint", name, voice=1)
            wait_until(lambda: there(session.link.telemetry().voices[0], program))  # noqa: B023
    finally:
        session.close()
    events = log.read(tmp_path / "set.jsonl")[1]
    switched = [(event.number, event.flags) for event in events if event.op == Op.SWITCHED]
    assert switched == [(3, KEEP_STATE if switch == "keep" else 0), (2, 0)]
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "set.wav").read_bytes()


def test_lost_events_are_said_once_and_then_counted() -> None:
    said: list[str] = []
    session = SimpleNamespace(complain=said.append, sample_rate=44100, performance=SimpleNamespace(overload=""))
    housekeeping = Housekeeping(session)  # type: ignore[arg-type]
    for at in (100, 200, 300):
        housekeeping._tell(Event(at, Op.EVENTS_LOST, number=5))
    assert len(said) == 1
    assert "cannot be replayed" in said[0]


@pytest.mark.soak
def test_five_minutes_replay_bit_for_bit(patch: Path, tmp_path: Path) -> None:
    session = Session(plan.make(options(patch, tmp_path)), print, print)
    rng = np.random.default_rng(5)
    try:
        session.open()
        session.start()
        while (before := session.link.telemetry().written) < 300 * session.sample_rate:
            every = gestures(session)
            every[rng.integers(len(every))]()
            pause = rng.integers(200, 60000)
            wait_until(lambda: session.link.telemetry().written > before + pause)  # noqa: B023
    finally:
        session.close()
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "set.wav").read_bytes()
    assert json.loads((tmp_path / "set.json").read_text())["underruns"] == 0


def test_a_replay_names_what_it_lacks(patch: Path, tmp_path: Path) -> None:
    session = Session(plan.make(options(patch, tmp_path, seconds=0.2)), print, print)
    try:
        session.open()
        session.start()
        with Interrupts() as interrupts:
            session.run(interrupts)
    finally:
        session.close()
    text = (tmp_path / "set.jsonl").read_text()
    broken = tmp_path / "broken.jsonl"
    broken.write_text(text.replace("gru.safetensors", "gone.safetensors"))
    with pytest.raises(ValueError, match=r"gone\.safetensors is not there"):
        replay.run(broken, tmp_path / "x.wav")
    sha = json.loads(text.split("\n")[0])["bank"][0]["sha256"]
    broken.write_text(text.replace(sha, sha[::-1]))
    with pytest.raises(ValueError, match="sha256 differs"):
        replay.run(broken, tmp_path / "x.wav")
    figures = json.loads((tmp_path / "set.json").read_text())
    assert figures["samples"] == round(0.2 * figures["sample_rate"])
    assert figures["control_latency_ms"] is None


def test_a_replay_that_is_stopped_leaves_what_was_there(
    patch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(plan.make(options(patch, tmp_path, seconds=0.3)), print, print)
    play_out(session)
    (tmp_path / "again.wav").write_text("an earlier replay")
    before = sorted(tmp_path.iterdir())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(replay, "play", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    assert sorted(tmp_path.iterdir()) == before
    replay.run(tmp_path / "set.jsonl", tmp_path / "again.wav")
    assert (tmp_path / "again.old.wav").read_text() == "an earlier replay"
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "set.wav").read_bytes()


def test_a_name_that_is_taken_costs_no_other_file(patch: Path, tmp_path: Path) -> None:
    (tmp_path / "set.wav").write_text("an earlier set")
    (tmp_path / "set.jsonl").write_text("another set's, not ended yet")
    taken = Claim(tmp_path / "set.jsonl")
    session = Session(plan.make(options(patch, tmp_path)), print, print)
    with pytest.raises(ValueError, match=r"set\.jsonl: another set is writing it"):
        session.open()
    session.close()
    taken.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.jsonl", "set.wav"]
    assert (tmp_path / "set.wav").read_text() == "an earlier set"


def test_a_device_that_does_not_open_costs_no_file(patch: Path, tmp_path: Path) -> None:
    for name in ("set.wav", "set.jsonl"):
        (tmp_path / name).write_text("an earlier set")
    said: list[str] = []
    session = Session(plan.make(options(patch, tmp_path)), said.append, said.append)
    session.open()

    def refuse(*_: object) -> None:
        raise ValueError("device: busy")

    session.output.start = refuse  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="busy"):
        session.start()
    session.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.jsonl", "set.wav"]
    assert (tmp_path / "set.wav").read_text() == (tmp_path / "set.jsonl").read_text() == "an earlier set"
    assert not any("played" in line for line in said)


def test_a_log_without_an_end_is_replayed_as_far_as_it_is_known(
    patch: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(plan.make(options(patch, tmp_path, seconds=0.5)), print, print)
    try:
        session.open()
        session.start()
        session.controller.set("gain", -3.0)
        wait_until(lambda: session.performance.wait(0.01))
    finally:
        session.close()
    lines = (tmp_path / "set.jsonl").read_text().splitlines()
    killed = tmp_path / "killed.jsonl"
    killed.write_text("\n".join(line for line in lines if "ENDED" not in line) + "\n")
    replay.run(killed, tmp_path / "known.wav")
    assert "killed.jsonl: has no end" in capfd.readouterr().err
    known, whole = (soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("known.wav", "set.wav"))
    assert 0 < len(known) < len(whole)
    np.testing.assert_array_equal(known, whole[: len(known)])
    killed.write_text(lines[0] + "\n")
    with pytest.raises(ValueError, match="not a sample was played in it"):
        replay.run(killed, tmp_path / "nothing.flac")
    assert not (tmp_path / "nothing.flac").exists()


def test_too_small_a_latency_names_the_least(patch: Path, tmp_path: Path) -> None:
    session = Session(plan.make(options(patch, tmp_path, latency=5.0)), print, print)
    with pytest.raises(ValueError, match=r"latency: 5 ms: at least (\d+) ms") as caught:
        session.open()
    session.close()
    least = float(str(caught.value).split("at least ")[1].split(" ")[0])
    fits = Session(plan.make(options(patch, tmp_path, latency=least)), print, print)
    fits.open()
    assert fits.performance.latency <= least * fits.sample_rate / 1000
    fits.close()
    fits.close()


# --- leaving: a process of its own each time

RAISING = """
import sys
from instrument import cli, session
def run(self, interrupts):
    raise RuntimeError("told to")
session.Session.run = run
sys.exit(cli.main(sys.argv[1:]))
"""


def play(
    patch: Path,
    folder: Path,
    *more: str,
    program: list[str] | None = None,
    prepare: Callable[[], None] | None = None,
) -> "subprocess.Popen[str]":
    files = ["--record", "set.flac", "--log", "set.jsonl", "--report", "set.json", "--latency", "60"]
    command = [*(program or PLAY), str(patch), "--output", "null", "--midi", "none", *files, *more]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare or hear_hangups,
    )


def hear_hangups() -> None:
    """Undo a nohup around the tests, which a child inherits."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for_line(process: "subprocess.Popen[str]", words: str) -> None:
    """Until the instrument says ``words``; it may have to compile first."""
    assert process.stdout is not None
    while words not in process.stdout.readline():
        assert process.poll() is None, process.stderr and process.stderr.read()


def check_left(process: "subprocess.Popen[str]", folder: Path, code: int, lines: int = 0) -> None:
    out, errors = process.communicate(timeout=120)
    assert "\x1b" not in out, "a status line was drawn where there is no terminal"
    assert (process.returncode, len(errors.splitlines())) == (code, lines), errors
    figures = json.loads((folder / "set.json").read_text())
    _, events, length = log.read(folder / "set.jsonl")
    assert [event.op for event in events][-1] == Op.ENDED
    recorded, _ = soundfile.read(folder / "set.flac", dtype="int32")
    assert len(recorded) == length == figures["samples"]
    assert np.abs(recorded[-8:]).max() < 1 << 20  # the closing fade is in it
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def leave(how: str, patch: Path, folder: Path) -> None:
    if how == "end":
        check_left(play(patch, folder, "--seconds", "0.5"), folder, 0)
    elif how == "exception":
        program = [sys.executable, "-c", RAISING, "play"]
        check_left(play(patch, folder, program=program), folder, 1, lines=1)
    else:
        process = play(patch, folder)
        wait_for_line(process, "seed 11")
        process.send_signal(signal.Signals[how])
        check_left(process, folder, 128 + signal.Signals[how])


WAYS = ("end", "SIGINT", "SIGTERM", "SIGHUP", "exception")


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("how", WAYS)
def test_leaving(how: str, patch: Path, tmp_path: Path) -> None:
    leave(how, patch, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_the_first_signal_counts_and_later_ones_change_nothing(patch: Path, tmp_path: Path) -> None:
    process = play(patch, tmp_path)
    wait_for_line(process, "seed 11")
    process.send_signal(signal.SIGTERM)
    with suppress(ProcessLookupError):
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.003)
    check_left(process, tmp_path, 143)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_a_set_under_nohup_outlives_its_terminal(patch: Path, tmp_path: Path) -> None:
    process = play(patch, tmp_path, prepare=lambda: ignore(signal.SIGHUP))
    wait_for_line(process, "seed 11")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    check_left(process, tmp_path, 143)


def ignore(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_a_recording_that_failed_is_no_success(patch: Path, tmp_path: Path) -> None:
    """What is left of it opens, the log is whole, the rest of the set was played."""
    process = play(patch, tmp_path, "--seconds", "2", prepare=lambda: limit_files(40_000))
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert errors.startswith("recording set.flac stopped after ")
    assert out.splitlines()[-1].endswith("; kept set.jsonl")
    assert json.loads((tmp_path / "set.json").read_text())["seconds"] == 2.0
    assert log.read(tmp_path / "set.jsonl")[1][-1].op == Op.ENDED


def limit_files(size: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_the_last_line_says_how_long_and_what_was_kept(patch: Path, tmp_path: Path) -> None:
    for name in ("set.flac", "set.jsonl"):
        (tmp_path / name).write_text("an earlier set")
    out, errors = play(patch, tmp_path, "--seconds", "0.5").communicate(timeout=120)
    assert errors == ""
    assert re.fullmatch(r"played 0\.5 s, \d+ underruns?; kept set\.flac, set\.jsonl", out.splitlines()[-1])
    for name, kept in (("set.flac", "set.old.flac"), ("set.jsonl", "set.old.jsonl")):
        assert f"{name} was there already: it is {kept} now" in out
        assert (tmp_path / kept).read_text() == "an earlier set"


def test_only_an_osc_that_listens_is_announced(patch: Path, tmp_path: Path) -> None:
    with closing(free_port()) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        out, errors = play(patch, tmp_path, "--seconds", "0.2", "--osc", where).communicate(timeout=120)
    assert "OSC on" not in out
    assert errors == f"OSC: {where}: Address already in use; playing without OSC\n"


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_osc_from_outside(patch: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours, closing(free_port()) as port:
        ours.settimeout(60)
        ours.connect(("127.0.0.1", port.getsockname()[1]))
        port.close()
        process = play(patch, tmp_path, "--osc", f"127.0.0.1:{ours.getpeername()[1]}")
        wait_for_line(process, "OSC on 127.0.0.1")

        def ask(address: str, *values: object) -> OscMessage:
            send(address, *values)
            return OscMessage(ours.recv(4096))

        def send(address: str, *values: object) -> None:
            builder = OscMessageBuilder(f"/samplernn/{address}")
            for value in values:
                builder.add_arg(value)  # type: ignore[arg-type]
            ours.send(builder.build().dgram)

        assert ask("ping").address == "/samplernn/pong"
        send("temperature", 1.25)
        send("voice/2/pan", -0.5, 0.2)
        send("checkpoint", "lstm", 0.05)
        assert ask("get", "temperature").params == ["temperature", 1.25]
        assert ask("temperature", float("nan")).address == "/samplernn/error"
        assert ask("checkpoint", "nothing").address == "/samplernn/error"
        ours.send(b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xf0")
        assert OscMessage(ours.recv(4096)).address == "/samplernn/error"
        assert ask("ping").address == "/samplernn/pong"
        process.send_signal(signal.SIGINT)
        check_left(process, tmp_path, 130, lines=3)
    events = log.read(tmp_path / "set.jsonl")[1]
    assert sorted(e.value for e in events if e.op == Op.SET) == [-0.5, 1.25]  # in one turn pan comes first
    assert [e.number for e in events if e.op == Op.SWITCH] == [2]


def free_port() -> socket.socket:
    """A bound socket; close it and its port is free."""
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind(("127.0.0.1", 0))
    return found


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_leaving_while_kernels_compile(how: str, patch: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PLAY, str(patch), "--output", "null", "--midi", "none", "--report", "set.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SAMPLERNN_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "compiling kernels, once" in process.stdout.readline()
    process.send_signal(signal.Signals[how])
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + signal.Signals[how], "")
    assert not (tmp_path / "set.json").exists()


def on_a_terminal(patch: Path, folder: Path, latency: str, *more: str, how: str = "end") -> tuple[int, str]:
    """Exit code, and what a terminal was sent; once the status line is there, it is left by the signal ``how``."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PLAY, str(patch), "--output", "null", "--midi", "none", "--latency", latency, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 (a descriptor, not a path)
        try:
            while chunk := terminal.read(4096):
                seen += chunk
                if how != "end" and b"underrun" in seen:
                    process.send_signal(signal.Signals[how])
                    how = "end"
        except OSError:  # Linux says EIO when the other side is closed
            pass
    return process.wait(60), seen.decode()


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_the_status_line_is_drawn_on_a_terminal(patch: Path, tmp_path: Path) -> None:
    code, seen = on_a_terminal(patch, tmp_path, "60", "--seconds", "0.7")
    assert code == 0
    drawn = [part for part in seen.split("\r\x1b[2K") if "underrun" in part and "played" not in part]
    assert drawn, seen
    for words in ("T 1.000", "gru", "load ", "ring ", "60 ms"):
        assert words in drawn[-1]
    check_last_line(seen)


def check_last_line(seen: str) -> None:
    """The status line was taken away, the last words follow."""
    assert re.search(r"\r\x1b\[2Kplayed [0-9.]+ s, \d+ underruns?\r\n$", seen), seen


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_no_status_line_stays_behind(how: str, patch: Path, tmp_path: Path) -> None:
    """The ring is long enough for the line to be drawn again while it plays out."""
    code, seen = on_a_terminal(patch, tmp_path, "900", how=how)
    assert code == 128 + signal.Signals[how]
    check_last_line(seen)


def test_closing_puts_the_switch_interval_back(patch: Path, tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    session = Session(plan.make(options(patch, tmp_path)), print, print)
    try:
        session.open()
        session.start()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    finally:
        session.close()
    assert sys.getswitchinterval() == before


@pytest.mark.soak
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("how", WAYS)
def test_leaving_twenty_times(how: str, patch: Path, tmp_path: Path) -> None:
    for i in range(20):
        folder = tmp_path / str(i)
        folder.mkdir()
        leave(how, patch, folder)


def low_rate(folder: Path, name: str = "low.safetensors") -> Path:
    """A network whose rate needs more latency than the usual."""
    checkpoint = networks.network("gru")
    save(replace(checkpoint, config=replace(checkpoint.config, sample_rate=8000)), folder / name)
    return folder / name


def test_a_bank_that_needs_more_latency_gets_it_unless_another_was_asked_for(tmp_path: Path) -> None:
    checkpoint, said = low_rate(tmp_path), list[str]()
    session = Session(plan.make(options(checkpoint, tmp_path, latency=None, seconds=0.2)), said.append, said.append)
    play_out(session)
    figures = json.loads((tmp_path / "set.json").read_text())
    assert 20 < figures["latency_ms"] < 80
    assert any("the least with blocks of 128 at 8000 Hz" in line for line in said)

    patch = tmp_path / "low.yaml"
    patch.write_text("bank: [low.safetensors]\noutput: {latency: 3}\n")
    cases = {"low.yaml: output.latency: 3 ms": options(patch, tmp_path, latency=None)}
    cases["--latency: 4 ms"] = options(checkpoint, tmp_path, latency=4.0)
    for line, asked in cases.items():
        with pytest.raises(ValueError, match=line):
            Session(plan.make(asked), print, print).open()
