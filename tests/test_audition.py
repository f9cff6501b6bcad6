"""The audition page's server: what it reads, what it keeps, what it writes, and whom it answers."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import auditions
import numpy as np
import pytest
import soundfile

from instrument import patch
from instrument.audition import patchwriter, pictures
from instrument.audition.store import Run, append_line

A, B, C = (f"epoch-00{epoch}-t0.950-s0007.flac" for epoch in (1, 2, 3))
TOKEN = re.compile(rb'"token": "([^"]+)"')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return auditions.make_run(tmp_path / "пробы", epochs=3, temperatures=(0.95, 1.0), seeds=2)


def clips(run: Run) -> dict[str, dict]:
    return {clip["clip"]: clip for clip in run.snapshot()["clips"]}


# --- what it reads ----------------------------------------------------------------------------------------------------


def test_a_run_is_told_with_what_was_measured(folder: Path) -> None:
    told = Run(folder).snapshot()
    assert (told["run"], len(told["clips"]), told["notices"]) == ("пробы", 12, [])
    assert told["sources"] == [{"name": "source.flac", "there": True, "seconds": 1.0}]
    assert told["epochs"]["2"] == {"bits": 2.5}
    clip = clips(Run(folder))[A]
    assert (clip["epoch"], clip["temperature"], clip["seed"], clip["seconds"]) == (1, 0.95, "7", 0.5)
    assert (clip["flags"], clip["guess"], clip["backend"]) == (["noise"], "wind", "cpu")


def test_what_is_missing_or_torn_is_left_out_and_said(folder: Path) -> None:
    (folder / "settings.json").write_text('{"format": 2}')
    (folder / "clips" / "take 1.wav").write_bytes(b"")
    (folder / "clips" / C).write_bytes(b"fLaC, then nothing")
    with (folder / "audition" / "listening.jsonl").open("a") as file:
        file.write(f'[]\n{{"clip": "{B}", "level_db": NaN, "distance": 1e999, "flags": 3, "class": "loud"}}\n{{"cl')
    told = Run(folder).snapshot()
    assert any("settings.json: not what this version" in line for line in told["notices"])
    assert any("take 1.wav" in line for line in told["notices"])
    found = {clip["clip"]: clip for clip in told["clips"]}
    assert found[C]["fault"] == "cannot be read"
    assert (found[B]["flags"], found[B]["guess"], "distance" in found[B]) == ([], None, False)
    json.dumps(told, allow_nan=False)


def test_a_lost_source_is_said(folder: Path) -> None:
    (folder / "source.flac").unlink()
    assert Run(folder).snapshot()["sources"] == [{"name": "source.flac", "there": False, "seconds": None}]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_run_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=name):
        Run(tmp_path / name)


# --- what it keeps ----------------------------------------------------------------------------------------------------


def test_ratings_survive(folder: Path) -> None:
    Run(folder).rate({"clip": A, "class": "gnarly", "score": 2, "note": "ö\n"})
    Run(folder).rate({"clip": A, "class": "gnarly", "score": 5, "note": "ö\n"})
    assert clips(Run(folder))[A]["rating"] == {"class": "gnarly", "score": 5, "note": "ö\n"}
    lines = [json.loads(line) for line in (folder / "audition" / "ratings.jsonl").read_text("utf-8").splitlines()]
    assert [line["score"] for line in lines] == [2, 5]
    assert set(lines[0]) == {"clip", "class", "score", "note", "at"}


def test_who_says_one_thing_takes_nothing_else_back(folder: Path) -> None:
    """Two pages, or two servers: each says only what was said there, and of every field the last word counts."""
    one, other = Run(folder), Run(folder)
    one.rate({"clip": A, "note": "a door"})
    assert other.rate({"clip": A, "score": 3}) == {"class": None, "score": 3, "note": "a door"}
    one.rate({"clip": A, "class": "gnarly"})
    other.rate({"clip": A, "class": None})
    assert clips(one)[A]["rating"] == {"class": None, "score": 3, "note": "a door"}
    lines = [json.loads(line) for line in (folder / "audition" / "ratings.jsonl").read_text("utf-8").splitlines()]
    assert [sorted({*line} - {"clip", "at"}) for line in lines] == [["note"], ["score"], ["class"], ["class"]]


def test_a_rating_is_of_the_network_that_was_heard(folder: Path) -> None:
    """A run that is begun anew makes clips of the same names; what was said of the old ones stays in the file."""
    first, second = "1a" * 32, "2b" * 32
    run, path, silence = Run(folder), folder / "clips" / A, np.zeros(4000)
    path.write_bytes(auditions.flac(silence, first))
    run.rate({"clip": A, "score": 6})
    path.write_bytes(auditions.flac(silence + 0.1, second))
    assert clips(run)[A]["rating"]["score"] is None
    assert run.rate({"clip": A, "note": "new"}) == {"class": None, "score": None, "note": "new"}
    run.rate({"clip": A, "checkpoint": first, "class": "wind"})  # said by a page that had the old one
    assert clips(run)[A]["rating"] == {"class": None, "score": None, "note": "new"}
    path.write_bytes(auditions.flac(silence, first))
    assert clips(Run(folder))[A]["rating"] == {"class": "wind", "score": 6, "note": ""}
    lines = [json.loads(line) for line in (folder / "audition" / "ratings.jsonl").read_text("utf-8").splitlines()]
    assert [line["checkpoint"] for line in lines] == [first, second, first]


def test_ratings_of_an_older_version_are_shown(folder: Path) -> None:
    """They do not say of which network they are."""
    kept = folder / "audition" / "ratings.jsonl"
    kept.write_text(json.dumps({"clip": A, "class": "wind", "score": 2, "note": "", "at": "2026-01-01T00:00:00+00:00"}))
    (folder / "clips" / A).write_bytes(auditions.flac(np.zeros(4000), "1a" * 32))
    assert clips(Run(folder))[A]["rating"] == {"class": "wind", "score": 2, "note": ""}


def test_a_torn_last_line_takes_nothing_with_it(folder: Path) -> None:
    run, kept = Run(folder), folder / "audition" / "ratings.jsonl"
    run.rate({"clip": A, "class": None, "score": 3, "note": ""})
    with kept.open("ab") as file:
        file.write(b'{"clip": "%s", "sco' % B.encode())
    assert clips(run)[B]["rating"]["score"] is None
    run.rate({"clip": C, "class": None, "score": 6, "note": ""})
    assert [clips(Run(folder))[name]["rating"]["score"] for name in (A, B, C)] == [3, None, 6]


def test_a_full_disk_is_told_and_loses_nothing(folder: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="space"):
        append_line(Path("/dev/full"), "x")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"clip": "../settings.json"}, "clip"),
        ({"clip": "epoch-009-t0.950-s0007.flac"}, "clip"),
        ({"clip": A, "score": 7}, "score"),
        ({"clip": A, "score": True}, "score"),
        ({"clip": A, "class": "nice"}, "class"),
        ({"clip": A, "note": "x" * 3000}, "note"),
        ({"clip": A, "note": "half \ud83d"}, "note"),
        ({"clip": A, "checkpoint": "../../x"}, "checkpoint"),
        ([], "clip"),
    ],
)
def test_what_is_no_rating_is_refused(said: object, field: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Run(folder).rate(said)
    assert not (folder / "audition" / "ratings.jsonl").exists()


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_tone_is_a_line_at_its_pitch_and_silence_is_dark(tmp_path: Path) -> None:
    rate = 16000
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "tone.flac", np.concatenate([tone, 0 * tone]), rate)
    drawn = pictures.draw(tmp_path / "tone.flac")
    spectrum = drawn[: pictures.SPECTRUM_ROWS]
    row = pictures.SPECTRUM_ROWS * (1 - np.log(1000 / pictures.LOWEST_HZ) / np.log(8000 / pictures.LOWEST_HZ))
    assert abs(int(spectrum[:, 100].argmax()) - row) < 3
    assert spectrum[:, 400:].max() == 0
    assert spectrum[:, 100].max() == pictures.SHADES - 1


def test_a_picture_is_a_png_kept_until_the_sound_changes(folder: Path) -> None:
    sound, cache = folder / "clips" / A, folder / "audition" / "pictures"
    data = pictures.picture_of(sound, cache, A)
    width, height = struct.unpack(">II", data[16:24])
    pixels = zlib.decompress(data[data.index(b"IDAT") + 4 : -16])
    assert len(pixels) == height * (width + 1)
    kept = cache / f"{A}.png"
    kept.write_bytes(b"kept")
    os.utime(kept, ns=(sound.stat().st_mtime_ns + 1,) * 2)
    assert pictures.picture_of(sound, cache, A) == b"kept"
    os.utime(kept, ns=(sound.stat().st_mtime_ns - 1,) * 2)
    assert pictures.picture_of(sound, cache, A) == data


def test_a_sound_shorter_than_its_picture_is_drawn_and_an_empty_one_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.flac", np.ones(20), 8000)
    assert pictures.draw(tmp_path / "short.flac").shape[1] == pictures.COLUMNS
    soundfile.write(tmp_path / "empty.wav", np.ones(0), 8000)
    with pytest.raises(ValueError, match=r"empty\.wav: empty"):
        pictures.draw(tmp_path / "empty.wav")


# --- patches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
def test_a_patch_has_the_clips_epochs_and_temperatures(together: bool, folder: Path) -> None:
    names = [B, A, B.replace("0.950", "1.000")]
    path = patchwriter.write(Run(folder), "ночь 1", names, together)
    patch.check(path)
    found = patch.load(path)
    assert [entry.file for entry in found.bank] == ["epoch-002.safetensors", "epoch-001.safetensors"]
    assert found.seed == 7
    if together:
        voices = [(found.program(n), found.voice[n].parameters["temperature"]) for n in (1, 2, 3)]
        assert voices == [(0, 0.95), (1, 0.95), (0, 1.0)]
    else:
        pads = [(b.number, b.to, b.value) for b in found.midi if b.source == "note"]
        assert pads[:2] == [(36, "checkpoint", 0), (36, "temperature", 0.95)]
        assert pads[4:] == [(38, "checkpoint", 0), (38, "temperature", 1.0)]


def test_a_patch_never_replaces_one_unasked(folder: Path) -> None:
    run = Run(folder)
    path = patchwriter.write(run, "mine", [A])
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"mine\.yaml"):
        patchwriter.write(run, "mine", [B])
    assert path.read_bytes() == before
    patchwriter.write(run, "mine", [B], replace=True)
    assert b"epoch-002" in path.read_bytes()
    assert [p.name for p in folder.iterdir() if "part" in p.name] == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\\b", ".x", "-x", "x ", "a\nb", "x" * 101, "\ud83d"])
def test_a_patchs_name_is_no_path(name: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^name: "):
        patchwriter.write(Run(folder), name, [A])


def test_a_patch_needs_its_epochs(folder: Path) -> None:
    (folder / "epoch-001.safetensors").unlink()
    with pytest.raises(ValueError, match=r"epoch 1: .*epoch-001\.safetensors"):
        patchwriter.write(Run(folder), "mine", [A])
    assert not (folder / "mine.yaml").exists()


# --- whom it answers --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder = auditions.make_run(tmp_path_factory.mktemp("served") / "run", epochs=2, temperatures=(0.95,), seeds=1)
    (folder / "clips" / "epoch-007-t0.950-s0007.flac").symlink_to(Path(__file__))
    with auditions.serve(folder) as port:
        yield port, folder


def ask(
    port: int, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: object = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Host": f"127.0.0.1:{port}", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_the_page_may_ask_nowhere_else(served: tuple[int, Path]) -> None:
    status, headers, body = ask(served[0], "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    static = Path(patchwriter.__file__).parent / "static"
    for file in static.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, f"{file.name} names another place"
    for name in re.findall(rb'(?:src|href)="(/static/[^"]+)"', body):
        assert ask(served[0], name.decode())[0] == 200


def test_a_clip_comes_whole_or_in_part(served: tuple[int, Path]) -> None:
    whole = ask(served[0], f"/clips/{A}")
    assert whole[2] == (served[1] / "clips" / A).read_bytes()
    part = ask(served[0], f"/clips/{A}", {"Range": "bytes=4-7"})
    assert (part[0], part[2]) == (206, whole[2][4:8])
    assert ask(served[0], f"/pictures/{A}")[2].startswith(b"\x89PNG")
    assert ask(served[0], "/sources/0")[2] == (served[1] / "source.flac").read_bytes()
    assert ask(served[0], "/sources/0/picture")[2].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "path",
    [
        "/clips/../settings.json",
        "/clips/..%2fsettings.json",
        "/clips/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/clips/epoch-007-t0.950-s0007.flac",  # a link out of the run
        "/clips/settings.json",
        "/pictures/..%2fratings.jsonl",
        "/static/..%2fserver.py",
        "/static/../server.py",
        "/sources/1",
        "/sources/-1",
        "/settings.json",
        "//etc/passwd",
    ],
)
def test_only_the_runs_sounds_are_served(path: str, served: tuple[int, Path]) -> None:
    assert ask(served[0], path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "localhost", ""])
def test_another_host_is_refused(host: str, served: tuple[int, Path]) -> None:
    for path in ("/", "/api/run", f"/clips/{A}"):
        assert ask(served[0], path, {"Host": host.format(port=served[0])})[0] == 403


def test_what_writes_needs_the_pages_token(served: tuple[int, Path]) -> None:
    port, folder = served
    rating = {"clip": A, "class": None, "score": 4, "note": ""}
    found = TOKEN.search(ask(port, "/api/run")[2])
    assert found
    token = {"X-Samplernn-Token": found[1].decode()}
    other = {**token, "Origin": "http://evil.example"}
    assert [ask(port, "/api/rate", headers, "POST", rating)[0] for headers in ({}, other)] == [403, 403]
    assert not (folder / "audition" / "ratings.jsonl").exists()
    assert ask(port, "/api/rate", token, "POST", rating)[0] == 200
    assert ask(port, "/api/rate", token, "POST", {**rating, "score": 9})[0] == 422
    status, _, told = ask(port, "/api/rate", token, "POST", {**rating, "note": "half \ud83d"})
    assert (status, json.loads(told)) == (
        422,
        {"error": "note: half a character in it, a lone surrogate: whole ones expected"},
    )
    assert ask(port, "/api/rate", token, "POST", "x" * 100_000)[0] == 413
    asked = {"name": "p", "clips": [A], "together": False, "replace": False}
    assert [ask(port, "/api/patch", token, "POST", asked)[0] for _ in range(2)] == [200, 409]
    assert ask(port, "/api/patch", token, "POST", {**asked, "clips": [3]})[0] == 422


def test_the_same_answer_is_not_sent_twice(served: tuple[int, Path]) -> None:
    _, headers, _ = ask(served[0], "/api/run")
    assert ask(served[0], "/api/run", {"If-None-Match": headers["etag"]})[0] == 304


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_where_and_ends_when_told(number: int, code: int, folder: Path) -> None:
    command = [sys.executable, "-m", "instrument.cli", "audition", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        try:
            line = child.stdout.readline()
            port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", line)[0])
            assert ask(port, "/")[0] == 200
            child.send_signal(number)
            assert (child.wait(60), child.stdout.read(), child.stderr.read()) == (code, "", "")
        finally:
            child.kill()


def test_a_taken_port_and_no_run_are_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, word in (([str(folder), "--port", port], port), ([str(folder / "clips" / A)], A)):
            done = auditions.command(*arguments)
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert word in done.stderr


@pytest.mark.parametrize("module", ["torch", "starlette"])
def test_what_is_not_installed_is_said_with_its_extra(module: str, folder: Path) -> None:
    block = (
        f"import sys\nsys.modules[{module!r}] = None\n"
        f"from instrument import cli\nsys.exit(cli.main(['audition', {str(folder)!r}, '--no-browser']))"
    )
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{module} is not installed: this needs the extra 'train'" in done.stderr


def test_the_page_itself_does_without_torch(folder: Path) -> None:
    program = "import sys\nfrom instrument.audition import server\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
