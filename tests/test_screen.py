"""The terminal screen: what it shows of whatever it is told, what its keys say, and that nobody ever waits for it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from instrument.controls import Telemetry, VoiceTelemetry
from instrument.news import News
from instrument.parameters import TRIGGERS
from instrument.screen import keys, picture, process, signs
from instrument.screen.app import ScreenApp
from instrument.screen.hands import SAME, Hands
from instrument.screen.process import Screen

PICTURE: dict[str, Any] = {
    "lasting": {"targets": ["temperature", "gain"]},
    "patch": "unhinged",
    "place": "2 of 5",
    "output": "default",
    "time": 754.2,
    "levels": [[-14.0, -6.0], [-16.0, -8.3]],
    "silent": False,
    "load": 0.42,
    "ring": 0.8,
    "latency": 20.0,
    "underruns": 0,
    "moving": ["unhinge"],
    "sweep": "unhinge",
    "recording": {"seconds": 755, "left": 51000},
    "tempo": {"bpm": 120.0, "beat": 1.2, "bar": 4},
    "midi": {"text": "control_change control=1 value=64", "ago": 0.2},
    "osc": {"text": "/samplernn/voice/2/pan -0.5", "ago": 4.0},
    "voices": [
        {"db": [-14, -5], "now": "tabla", "phase": 0, "temperature": 1.084, "target": 1.15, "entropy": 4.21},
        {"db": [-24, -15], "now": "glass", "next": "drones", "phase": 1, "temperature": 0.95, "target": 0.95,
         "mute": True, "looping": 0.4, "gain": -3.0, "pan": 0.4},
    ],
    "news": [[750.0, True, "MIDI: keys is gone; waiting for it"]],
}  # fmt: skip


def words(app: ScreenApp) -> str:
    """What is on the screen, as text."""
    return "\n".join("".join(part.text for part in line) for line in app.screen._compositor.render_strips())


def drawn(
    table: dict[str, Any], size: tuple[int, int] = (80, 24), plain: bool = False, *pressed: str
) -> tuple[str, list[dict[str, Any]]]:
    """What the screen shows of ``table`` after keys were pressed, and what it told."""
    told: list[dict[str, Any]] = []

    async def run() -> str:
        app = ScreenApp(lambda gesture: told.append(dict(gesture)), plain=plain)
        async with app.run_test(size=size) as pilot:
            app.show(table)
            await pilot.pause()
            app.show({**table, "news": []})  # now that every part knows how large it is
            await pilot.press(*pressed)
            await pilot.pause()
            return words(app)

    return asyncio.run(run()), told


@pytest.mark.parametrize("size", [(80, 24), (132, 43)])
def test_everything_has_its_place(size: tuple[int, int]) -> None:
    text, _ = drawn(PICTURE, size)
    for expected in (
        "unhinged", "2 of 5", "default", "REC 12:35, 14 h left", "TEMPERATURE 1", "→ 1.150", "tabla", "120.0 bpm",
        "-6.0 dB", "-8.3 dB", "glass → drones primes", "MUTE", "loop", "42%", "20 ms", "80%", "UNDERRUNS  0",
        "control=1 value=64", "/samplernn/voice/2/pan -0.5  4 s ago", "! MIDI: keys is gone", "1-9", "help", "quit",
    ):  # fmt: skip
        assert expected in text, expected


@pytest.mark.parametrize("missing", [*PICTURE, "everything"])
def test_whatever_is_missing_is_blank(missing: str) -> None:
    table = {} if missing == "everything" else {name: value for name, value in PICTURE.items() if name != missing}
    text, _ = drawn(table)
    assert "TEMPERATURE" in text


@pytest.mark.parametrize("missing", sorted({name for voice in PICTURE["voices"] for name in voice}))
def test_whatever_a_voice_lacks_is_blank(missing: str) -> None:
    voices = [{name: value for name, value in voice.items() if name != missing} for voice in PICTURE["voices"]]
    assert "all voices" in drawn({**PICTURE, "voices": voices})[0]


@pytest.mark.parametrize("size", [(40, 12), (50, 14), (60, 20), (80, 24), (100, 30), (200, 60)])
def test_it_fits(size: tuple[int, int]) -> None:
    text, _ = drawn(PICTURE, size)
    lines = text.split("\n")
    assert len(lines) == size[1]
    assert "quit" in lines[-1]


def test_names_are_drawn_large_where_there_is_room() -> None:
    assert signs.large("tabla-2")
    assert not signs.large("café")
    assert {len(row) for row in signs.large("one-tier")} == {4 * len("one-tier")}
    rows = signs.large("tabla")
    assert rows[1] in drawn(PICTURE, (132, 43))[0]
    assert rows[1] not in drawn(PICTURE, (80, 24))[0]
    assert " tabla " in drawn(PICTURE, (80, 24))[0]


def test_what_a_voice_is_stuck_on_is_said() -> None:
    voices = [{**PICTURE["voices"][0], "stuck": "trap"}, PICTURE["voices"][1]]
    text, _ = drawn({**PICTURE, "voices": voices, "escape": "moment", "flux": 0.5}, (132, 43))
    for expected in ("STUCK: trap", "ESCAPE moment", "FLUX ████"):
        assert expected in text, expected


def test_every_terminal_can_show_it() -> None:
    text, _ = drawn(PICTURE, (80, 24), True)
    assert "1.084" in text
    for each in (signs.PLAIN.cells, signs.PLAIN.curve, signs.PLAIN.to):
        assert each.isascii()
    body = text.replace("→", "")
    assert body.isascii(), [each for each in body if not each.isascii()]


@pytest.mark.parametrize(
    ("change", "loud"),
    [
        ({"underruns": 3}, "UNDERRUNS  3 "),
        ({"silent": True}, "PANIC"),
        ({"recording": {"seconds": 1.0, "failed": True}}, "RECORDING STOPPED"),
        ({"learn": "temperature"}, "LEARN temperature"),
        ({"waits": "tabla at the next bar"}, "tabla at the next bar"),
        ({"recording": None}, "unhinged"),
    ],
)
def test_what_matters_is_said(change: dict[str, Any], loud: str) -> None:
    table = {name: value for name, value in {**PICTURE, **change}.items() if value is not None}
    assert loud in drawn(table)[0]


PRESSES = [
    (("3",), {"do": "checkpoint", "number": 2, "voice": 0}),
    (("right", "right", "1"), {"do": "checkpoint", "number": 0, "voice": 2}),
    (("left", "r"), {"do": "reseed", "voice": 2}),
    (("up",), {"do": "temperature", "by": keys.COARSE, "voice": 0}),
    (("shift+down",), {"do": "temperature", "by": -keys.FINE, "voice": 0}),
    (("space",), {"do": "panic", "voice": 0}),
    (("R",), {"do": "learned", "voice": 0}),
    (("M",), {"do": "marker", "voice": 0}),
    (("m",), {"do": "moment", "voice": 0}),
    (("n",), {"do": "next", "voice": 0}),
    (("q", "y"), {"do": "quit", "voice": 0}),
    (("ctrl+c",), {"do": "interrupt"}),
    (("L", "g", "a", "i", "n", "enter"), {"do": "learn", "text": "gain", "voice": 0}),
]


@pytest.mark.parametrize(
    ("pressed", "expected"), PRESSES, ids=lambda value: "".join(value) if isinstance(value, tuple) else "tells"
)
def test_keys_tell_gestures(pressed: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert drawn(PICTURE, (80, 24), False, *pressed)[1] == [expected]


@pytest.mark.parametrize(
    "pressed",
    [("q", "n"), ("q", "enter"), ("q", "escape"), ("L", "escape"), ("x",), ("ctrl+z",), ("ctrl+q",), ("?", "r")],
)
def test_keys_that_tell_nothing(pressed: tuple[str, ...]) -> None:
    text, told = drawn(PICTURE, (80, 24), False, *pressed)
    assert told == []
    assert "LOAD" in text


def test_help_names_every_key() -> None:
    text, _ = drawn(PICTURE, (80, 24), False, "?")
    for key in keys.KEYS:
        assert key.help in text


def test_the_documents_table_of_keys() -> None:
    path = Path(__file__).parent.parent / "docs" / "playing.md"
    text = path.read_text(encoding="utf-8")
    begin, end = "<!-- keys: generated from instrument/screen/keys.py -->\n", "<!-- end of keys -->"
    before, rest = text.split(begin)
    found, after = rest.split(end)
    if os.environ.get("SAMPLERNN_WRITE_DOCS"):
        path.write_text(f"{before}{begin}{keys.table()}\n{end}{after}", encoding="utf-8")
    assert found == keys.table() + "\n"


# --- gestures in the player


class Desk:
    """A controller that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def set(self, name: str, value: object, voice: int | None, *, when: float | None) -> None:
        self.asked.append((name, value, voice))

    def trigger(self, name: str, *given: object, voice: int | None, when: float | None) -> None:
        if name not in TRIGGERS:
            raise ValueError(f"no trigger {name}")
        self.asked.append((name, *given, voice))

    def target(self, name: str, voice: int | None) -> float:
        return 1.0 if name == "temperature" else 0.0


def around(**more: Any) -> Any:
    t = Telemetry(voices=(VoiceTelemetry(slot=1), VoiceTelemetry(slot=0)), silent=more.pop("silent", False))
    left: list[bool] = []
    table = {"look": lambda: t, "sweeps": lambda: ["up", "long"], "moving": list, "left": left}
    return SimpleNamespace(**{**table, "moments": lambda slot: 2 * slot, "leave": left.append, **more})


@pytest.mark.parametrize(
    ("gesture", "asked"),
    [
        ({"do": "checkpoint", "number": 2, "voice": 0}, ("checkpoint", 2, None)),
        ({"do": "temperature", "by": 0.01, "voice": 2}, ("temperature", 1.01, 2)),
        ({"do": "mute", "voice": 1}, ("mute", 1.0, 1)),
        ({"do": "panic"}, ("panic", None)),
        ({"do": "reseed", "voice": 2}, ("reseed", "random", 2)),
        ({"do": "learned"}, ("reseed", "learned", None)),
        ({"do": "moment", "voice": 0}, ("moment", 0, None)),
        ({"do": "sweep"}, ("sweep", "up", None)),
        ({"do": "marker", "voice": 2}, ("marker", None)),
    ],
)
def test_gestures_become_commands(gesture: dict[str, Any], asked: tuple[object, ...]) -> None:
    desk, said = Desk(), list[str]()
    Hands(desk, around(), said.append).do(gesture)
    assert desk.asked == [asked]
    assert said == []


def test_gestures_know_what_is_going_on() -> None:
    desk, said = Desk(), list[str]()
    Hands(desk, around(silent=True), said.append).do({"do": "panic"})
    hands = Hands(desk, around(moving=lambda: ["long"]), said.append)
    for name in ("choose", "sweep", "moment", "moment", "moment"):
        hands.do({"do": name})
    assert desk.asked == [("resume", None), ("sweep/stop", "long", None), *(("moment", i % 2, None) for i in range(3))]
    hands.do({"do": "moment", "voice": 2})
    Hands(desk, around(sweeps=list), said.append).do({"do": "sweep"})
    assert said == ["moment: this checkpoint has none", "sweep: the patch has none"]


def test_leaving_by_keys() -> None:
    a = around()
    hands = Hands(Desk(), a, pytest.fail)
    hands.do({"do": "quit"})
    hands.do({"do": "interrupt"})
    assert a.left == [False, True]


@pytest.mark.parametrize(
    "gesture", [{}, {"do": "dance"}, {"do": "checkpoint"}, {"do": "temperature", "by": "x"}, {"do": None}]
)
def test_no_gesture_is_too_odd(gesture: dict[str, Any]) -> None:
    said: list[str] = []
    Hands(Desk(), around(), said.append).do(gesture)
    assert len(said) == 1


def test_every_gesture_of_the_table_is_known() -> None:
    hands = Hands(Desk(), around(), print)
    for key in keys.KEYS:
        assert not key.gesture or key.gesture in {*SAME, *hands._acts}
    pressed = [name for key in keys.KEYS for name in key.keys]
    assert len(pressed) == len(set(pressed))


# --- what it is told


@pytest.mark.parametrize("amplitude", [0.0, 1e-12, 1.0, -1.0, float("inf"), float("nan")])
def test_every_level_is_a_number(amplitude: float) -> None:
    v = VoiceTelemetry(rms=amplitude, peak=amplitude)
    table = picture.voice(v, ["a"], "a", 1.0)
    json.dumps([table, picture.levels(Telemetry(sides=((amplitude, amplitude),) * 2))], allow_nan=False)


def test_a_voice_says_what_comes_next_and_what_it_has() -> None:
    v = VoiceTelemetry(slot=1, phase=1, entropy=3.456, looping=0.25, mute=1.0)
    table = picture.voice(v, ["a", "b"], "a", 1.2)
    expected = {"now": "b", "next": "a", "phase": 1, "entropy": 3.46, "looping": 0.25, "mute": True, "target": 1.2}
    assert {name: table[name] for name in expected} == expected
    assert "next" not in picture.voice(v, ["a", "b"], "b", 1.0)


def test_bars_and_curves() -> None:
    assert signs.bar(0.5, 4, signs.FINE) == "██  "
    assert signs.bar(1.0, 4, signs.PLAIN) == "####"
    assert signs.curve([0.0, 0.5, 1.0], signs.FINE, 8) == "▁▅█"
    assert signs.curve([], signs.FINE, 8) == ""
    assert [len(row) for row in signs.great_figures("1.0:2")] == [32] * 5
    assert signs.room(51000) == "14 h"
    assert signs.choose("UTF-8", "xterm") is signs.FINE
    assert signs.choose("UTF-8", "linux") is signs.choose("ascii", "xterm") is signs.choose(None) is signs.PLAIN


def test_lines_for_the_terminal_wait_while_the_screen_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("instrument.news._is_terminal", lambda stream: stream == 1)
    news = News(said.append, said.append)
    news.say("before")
    news.hold()
    news.say("for the screen")
    news.complain("into a file")
    assert said == ["before", "into a file"]
    assert [(line.loud, line.text) for line in news.take()][1:] == [(False, "for the screen"), (True, "into a file")]
    assert news.take() == []
    news.release()
    assert said[2:] == ["for the screen"]


# --- the other process

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")
CHILDREN = {
    "sleeps": "import time; time.sleep(600)",
    "is stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "dies": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "ends": "raise SystemExit(3)",
    "raves": "import os, sys\nwhile True: os.write(int(sys.argv[2]), b'\\xff{]\\n' * 100)",
}


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


@posix
@pytest.mark.parametrize("how", CHILDREN)
def test_nobody_waits_for_the_screen(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "RATE", 500.0)
    monkeypatch.setattr(process, "PATIENCE", 0.2)
    said, turns = list[str](), list[float]()

    def draw() -> dict[str, str]:
        turns.append(time.monotonic())
        return {"much": "x" * 5000}

    screen = Screen(draw, pytest.fail, said.append, [sys.executable, "-c", CHILDREN[how]])
    sent = screen._send

    def timed() -> None:
        began = time.thread_time(), time.monotonic()
        sent()
        turns.append(time.monotonic() - began[1])

    monkeypatch.setattr(screen, "_send", timed)
    screen.start()
    if how in ("sleeps", "is stopped"):
        wait_until(lambda: screen.left_out > 200)  # the pipe holds 64 KiB: it has long been full
        assert screen.sent < 30
        began = time.monotonic()
        screen.finish()
        assert time.monotonic() - began < 5.0
        assert said == []
    elif how == "raves":
        wait_until(lambda: screen.sent > 5)
        screen.finish()
        assert said == []
    else:
        wait_until(lambda: bool(said))
        assert ("signal 9" if how == "dies" else "exit code 3") in said[0]
        screen.finish()
    assert screen._process is not None
    assert screen._process.returncode is not None


@posix
def test_a_picture_that_cannot_be_made_costs_the_screen_and_a_line() -> None:
    said: list[str] = []
    screen = Screen(lambda: 1 / 0, print, said.append, [sys.executable, "-c", CHILDREN["sleeps"]])  # type: ignore[arg-type,return-value]
    screen.start()
    wait_until(lambda: bool(said))
    assert "ZeroDivisionError" in said[0]
    screen.finish()


def test_the_other_process_knows_nothing_of_the_engine(tmp_path: Path) -> None:
    program = (
        "import sys, instrument.screen.child, instrument.screen.app\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('numpy', 'numba', 'engine')])"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
