"""The screen on a real terminal: drawn, left in order, and whatever happens to it the music goes on."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile
import tiny

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
if os.name == "posix":
    from terminals import Terminal

DRAWN = "UNDERRUNS"
ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


def play(patch: Path, folder: Path, *more: str, seconds: float = 600.0, **rest: object) -> "Terminal":
    fixed = ["--output", "null", "--midi", "none", "--latency", "60", "--report", "set.json"]
    return Terminal(folder, str(patch), *fixed, "--seconds", str(seconds), *more, **rest)  # type: ignore[arg-type]


def drawn(patch: Path, folder: Path, *more: str) -> "Terminal":
    """A set whose screen is there."""
    terminal = play(patch, folder, *more)
    terminal.until(lambda: terminal.has(DRAWN))
    return terminal


def length(folder: Path) -> float:
    return float(json.loads((folder / "set.json").read_text())["seconds"])


def check_left(terminal: "Terminal") -> None:
    """Its modes are as they were, and the last words are on the normal screen."""
    assert terminal.modes() == terminal.before
    shown, _, rest = terminal.seen.rpartition(NORMAL)
    assert ALTERNATE in shown
    assert b"played " in rest


def check_goes_on(terminal: "Terminal", folder: Path) -> None:
    """It plays for another second at least, and ends as it is told to."""
    begun = time.monotonic()
    while time.monotonic() < begun + 1.0:
        terminal.read()
        assert terminal.process.poll() is None
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda: terminal.process.poll() is not None)
    terminal.read()
    check_left(terminal)
    assert terminal.end() == 130
    assert length(folder) > 1.0


def test_a_set_is_drawn_to_its_end(patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path, "--record", "set.flac", "--log", "set.jsonl")
    terminal.type(b"2M")  # the second checkpoint, and a marker
    terminal.until(lambda: terminal.has("marker at"))
    terminal.type(b"q")
    terminal.until(lambda: terminal.has("End the set?"))
    terminal.type(b"y")
    terminal.until(lambda: terminal.process.poll() is not None)
    terminal.read()
    check_left(terminal)
    assert terminal.end() == 0
    for words in ("TEMPERATURE", "TIME", "LOAD", "REC", "tiny", "one-tier"):
        assert terminal.has(words), words
    at, _, text = (tmp_path / "set.labels.txt").read_text().split("\t")
    assert 0.0 < float(at) < length(tmp_path)
    assert text == "marker\n"
    events = [json.loads(line) for line in (tmp_path / "set.jsonl").read_text().splitlines()[1:]]
    noted = [event["at"] / 44100 for event in events if "marker" in event]
    assert noted == [pytest.approx(float(at), abs=0.001)] or soundfile.info(tmp_path / "set.flac").samplerate != 44100
    assert any(event["op"] == "SWITCH" and event["number"] == 1 for event in events)


def test_ctrl_c_in_the_screen_is_ctrl_c(patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path)
    terminal.type(b"\x03")
    terminal.until(lambda: terminal.process.poll() is not None)
    terminal.read()
    check_left(terminal)
    assert terminal.end() == 130


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_the_music_outlives_the_screen(how: str, patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path)
    pid = terminal.screen()
    assert pid
    os.kill(pid, signal.Signals[how])
    if how == "SIGKILL":
        terminal.until(lambda: terminal.has("the screen ended (signal 9)"))
        assert terminal.modes() == terminal.before
    check_goes_on(terminal, tmp_path)


def test_ctrl_z_and_ctrl_s_stop_nothing(patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path)
    terminal.type(b"\x1a\x13\x1a")
    os.killpg(terminal.process.pid, signal.SIGTSTP)
    check_goes_on(terminal, tmp_path)


def test_a_terminal_that_is_not_read_holds_nothing_up(patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path)
    time.sleep(2.0)  # it holds 4 KiB, the screen draws 20 a second
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(60) == 130
    assert length(tmp_path) > 2.0
    terminal.hang_up()


def test_the_music_outlives_its_terminal(patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path)
    pid = terminal.screen()
    terminal.hang_up()
    time.sleep(1.0)
    assert terminal.process.poll() is None
    terminal.process.terminate()
    assert terminal.process.wait(60) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_the_screen_ends_with_the_player(patch: Path, tmp_path: Path) -> None:
    terminal = drawn(patch, tmp_path)
    pid = terminal.screen()
    terminal.process.kill()
    terminal.process.wait()

    def gone() -> bool:
        with suppress(ProcessLookupError):
            os.kill(pid or 0, 0)
            return False
        return True

    terminal.until(gone)
    terminal.hang_up()


def test_without_the_library_a_plain_line_is_drawn(patch: Path, tmp_path: Path) -> None:
    (tmp_path / "textual.py").write_text("raise ImportError('not here', name='textual')\n")
    terminal = play(patch, tmp_path)
    terminal.until(lambda: terminal.has("the screen ended (textual cannot be imported"))
    terminal.until(lambda: terminal.has("\r\x1b[2K▕"))
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130


def test_a_small_terminal_gets_the_line_and_is_told(patch: Path, tmp_path: Path) -> None:
    terminal = play(patch, tmp_path, "--screen", "full", seconds=1.0, size=(8, 30))
    assert terminal.end() == 0
    assert terminal.has("--screen full: the terminal has 30 x 8 characters")
    assert ALTERNATE not in terminal.seen


def test_less_can_be_asked_for(patch: Path, tmp_path: Path) -> None:
    terminal = play(patch, tmp_path, "--screen", "none", seconds=0.5)
    assert terminal.end() == 0
    assert ALTERNATE not in terminal.seen
    assert not terminal.has("load ")
