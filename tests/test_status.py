"""The status line, the report's form, and words that never block."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instrument import console, report, status
from instrument.controls import Telemetry, VoiceTelemetry

ROOT = Path(__file__).parent.parent
FIXED = status.Fixed(("tabla", "glass"), 20.0, 512, 44100)


def test_the_line_says_what_it_should_and_fits() -> None:
    voices = (VoiceTelemetry(temperature=0.975, slot=1, phase=1), VoiceTelemetry(slot=0))
    t = Telemetry(read=44100 * 83, fill=256, peak=0.5, rms=0.1, load=0.42, underruns=1, voices=voices)
    line = status.line(t, FIXED, 200)
    for words in (" -6 dB", "T 0.975", "glass tabla primes", "load  42%", "ring  50%", "20 ms", "1 underrun ", "1:23"):
        assert words in line
    assert "H 0.0" in line
    assert len(status.line(t, FIXED, 40)) == 39
    narrow = status.line(t, FIXED, 80)  # as terminals open: the entropy makes room for who plays
    assert "  glass" in narrow
    assert "H 0.0" not in narrow


@pytest.mark.parametrize("amplitude", [0.0, 1e-9, 1.0, 40.0, float("inf"), float("nan"), -1.0])
def test_no_level_is_too_odd_for_the_meter(amplitude: float) -> None:
    assert len(status.meter(amplitude, amplitude)) == status.WIDTH + 2


def test_the_meter_grows_with_the_level() -> None:
    filled = [status.meter(10 ** (db / 20), 0.0).count("█") for db in range(-60, 6, 6)]
    assert filled == sorted(filled)
    assert (filled[0], filled[-1]) == (0, status.WIDTH)


def test_a_report_is_whole_and_in_order(tmp_path: Path) -> None:
    values = dict.fromkeys(report.FIELDS, 1)
    report.write(tmp_path / "r.json", report.assemble({"zebra": 2}, values, {"seconds": 3}))
    read = json.loads((tmp_path / "r.json").read_text())
    assert tuple(read) == (*report.FIELDS, "zebra")
    assert read["seconds"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    (tmp_path / "null").symlink_to("/dev/null")
    report.write(tmp_path / "null", read)
    assert (tmp_path / "null").is_symlink()
    with pytest.raises(AssertionError):
        report.assemble({"seconds": 1})


def test_a_process_knows_when_it_began() -> None:
    program = (
        "import time; time.sleep(0.2); from instrument import report; print(time.monotonic() - report.process_start())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.15 < float(done.stdout) < 30.0


@pytest.mark.skipif(os.name != "posix", reason="fills a POSIX pipe")
def test_a_pipe_that_nobody_reads_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(console, "STDERR", writer)
    begun = time.monotonic()
    for i in range(5000):
        console.complain(f"line {i} {'x' * 60}")
    assert time.monotonic() - begun < 5.0
    assert os.read(reader, 7) == b"line 0 "
    os.close(reader)
    console.complain("nobody is there at all")  # no SIGPIPE, no exception
    os.close(writer)
    console.complain("nor is the pipe")


def test_a_line_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    console.say("two\nlines")
    assert capfd.readouterr().out == "two lines\n"


UNREAD = """
import sys, threading
from instrument import console
def speak():
    for i in range(3000):
        console.draw(f"{i} {'x' * 200}")
        console.complain(f"{i} {'y' * 700}")
thread = threading.Thread(target=speak, daemon=True)
thread.start()
thread.join(10)
print("blocked" if thread.is_alive() else "spoke", file=open(sys.argv[1], "w"), flush=True)
import os
os._exit(0)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_a_terminal_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    told = tmp_path / "told"
    child = subprocess.Popen([sys.executable, "-c", UNREAD, str(told)], stdout=theirs, stderr=theirs, cwd=ROOT)
    try:
        assert child.wait(60) == 0
        assert told.read_text() == "spoke\n"
        assert b"xxx" in os.read(ours, 4096)
        assert os.get_blocking(theirs)  # what the shell shares with us is as it was
    finally:
        child.kill()
        os.close(theirs)
        os.close(ours)
