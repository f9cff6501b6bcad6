"""The files for other programs: made from the table as it is now, every address in them one of the instrument's."""

import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import zlib
from xml.etree import ElementTree

import pytest
from pythonosc.osc_message import OscMessage
from test_docs import ROOT

from instrument.osc.addresses import routes
from instrument.osc.wire import build
from instrument.parameters import PREFIX, TELEMETRY, VOICE_TELEMETRY

CONNECT = ROOT / "connect"
FILES = sorted(path for path in CONNECT.iterdir() if path.suffix != ".md")
ANSWERS = {f"{PREFIX}/{name}" for name in ("value", "error", "pong")}
SENT = {f"{PREFIX}/out/{name}" for name in TELEMETRY}
SENT |= {f"{PREFIX}/out/voice/{n}/{name}" for n in (1, 2) for name in VOICE_TELEMETRY}


def tool():
    spec = importlib.util.spec_from_file_location("connect_tool", ROOT / "tools" / "connect" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(path):
    """What a file says, with addresses as they are written on the wire."""
    data = path.read_bytes()
    if path.suffix == ".tosc":
        return zlib.decompress(data).decode()
    text = data.decode()
    if path.suffix == ".pd":  # oscformat takes an address in words
        text = re.sub(r"oscformat ([\w -]+?);", lambda m: "/" + "/".join(m[1].split()) + ";", text.replace("\n", " "))
    return re.sub(r"(?<![/\w.])(samplernn/(?:out|voice|norm|[a-z]+))", r"/\1", text)


def addresses(path):
    return {found.rstrip("/") for found in re.findall(r"/samplernn(?:/[a-z0-9_]+)+", text_of(path))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_made_from_the_table_as_it_is(path):
    made = tool().files()
    assert path.name in made
    assert path.read_bytes() == made[path.name], "run python tools/connect"


def test_no_file_is_missing():
    assert {path.name for path in FILES} == set(tool().files())


@pytest.mark.parametrize("path", [*FILES, *CONNECT.glob("*.md")], ids=lambda path: path.name)
def test_every_address_is_one_of_the_instruments(path):
    known = set(routes(2)) | ANSWERS | SENT
    found = addresses(path)
    assert found, path
    assert found <= known, found - known


@pytest.mark.parametrize("name", ["samplernn.maxpat", "samplernn.maxhelp"])
def test_the_max_patch_has_cords_between_boxes_that_are_there(name):
    patcher = json.loads((CONNECT / name).read_bytes())["patcher"]
    boxes = {each["box"]["id"]: each["box"] for each in patcher["boxes"]}
    assert len(boxes) == len(patcher["boxes"])
    for each in patcher["lines"]:
        (one, outlet), (other, inlet) = each["patchline"]["source"], each["patchline"]["destination"]
        assert outlet < boxes[one]["numoutlets"]
        assert inlet < boxes[other]["numinlets"]
    for i, one in enumerate(boxes.values()):
        for other in list(boxes.values())[:i]:
            assert apart(one["patching_rect"], other["patching_rect"]), (one, other)


def test_the_stage_control_session_is_a_tree_of_widgets_with_names_of_their_own():
    session = json.loads((CONNECT / "samplernn.open-stage-control.json").read_bytes())
    widgets = session["content"]["widgets"]
    assert len({widget["id"] for widget in widgets}) == len(widgets) > 20
    for widget in widgets:
        if widget["type"] == "fader":
            assert widget["range"]["min"] <= widget["default"] <= widget["range"]["max"]


def test_the_touchosc_layout_is_one_tree_whose_controls_do_not_lie_on_each_other():
    root = ElementTree.fromstring(text_of(CONNECT / "samplernn.tosc"))
    assert root.tag == "lexml"
    nodes = list(root.iter("node"))
    assert len({node.get("ID") for node in nodes}) == len(nodes)
    frames = []
    for node in nodes[1:]:
        if node.get("type") in ("FADER", "BUTTON"):
            frame = next(p for p in node.iter("property") if p.findtext("key") == "frame").find("value")
            x, y, w, h = (int(frame.findtext(side)) for side in "xywh")
            assert all(apart((x, y, w, h), other) for other in frames)
            frames.append((x, y, w, h))
            assert x + w <= 1280
            assert y + h <= 800


def apart(one, other):
    """Whether two rectangles do not lie on each other."""
    (x, y, w, h), (a, b, c, d) = one, other
    return x >= a + c or a >= x + w or y >= b + d or b >= y + h


def pure_data():
    return shutil.which("pd") or shutil.which("puredata")


def run_pd(port, *messages):
    """Pd without a window, its patch connected to ``port``, given messages to names."""
    said = "; ".join([f"samplernn-connect 127.0.0.1 {port}", *messages])
    command = [pure_data(), "-nogui", "-noaudio", "-nomidi", "-open", str(CONNECT / "samplernn.pd"), "-send", said]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(pd):
    pd.kill()
    return pd.communicate()[1]


def until(ear, name, so):
    """The value of a telemetry name or parameter once ``so`` says yes."""
    for _ in range(100_000):
        message = OscMessage(ear.recv(4096))
        if message.address == f"{PREFIX}/{name}" and so(message.params[0]):
            return message.params[0]
    raise AssertionError(name)


needs_pd = pytest.mark.skipif(pure_data() is None, reason="needs Pure Data (Debian: puredata-core)")


@needs_pd
def test_the_pure_data_patch_sends_what_is_moved():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(20.0)
        pd = run_pd(
            ear.getsockname()[1], "samplernn-temperature 0.3", "samplernn-reseed bang", "samplernn-to-sweep symbol tide"
        )
        try:
            heard = [OscMessage(ear.recv(4096)) for _ in range(5)]
        finally:
            complaints = ended(pd)
    assert [(m.address, [pytest.approx(p) if isinstance(p, float) else p for p in m.params]) for m in heard] == [
        ("/samplernn/subscribe", [9001.0, 20.0]),
        ("/samplernn/listen", [9001.0, 20.0]),
        ("/samplernn/temperature", [0.3]),
        ("/samplernn/reseed", [1.0]),
        ("/samplernn/sweep", ["tide"]),
    ]
    assert "error" not in complaints.replace("netreceive", ""), complaints


@needs_pd
def test_pure_data_changes_the_sound(tmp_path):
    """A real instrument and a real Pd: its gain slider goes down, and the recording with it."""
    import soundfile
    from tiny import write

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "set.wav"
    options = f"--output null --record {out} --osc 127.0.0.1:{port} --midi none --seed 7 --seconds 60".split()
    command = [sys.executable, "-m", "instrument.start", "play", str(write(tmp_path)), *options]
    play = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert any("OSC on" in line for line in play.stdout)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
            ear.bind(("127.0.0.1", 0))
            ear.settimeout(20.0)
            for name in ("subscribe", "listen"):
                ear.sendto(build(name, float(ear.getsockname()[1])), ("127.0.0.1", port))
            until(ear, "out/position", lambda seconds: seconds > 1.0)  # some sound as it is
            pd = run_pd(port, "samplernn-gain -60")
            until(ear, "gain", lambda decibels: decibels == -60.0)
            now = until(ear, "out/position", lambda _seconds: True)
            until(ear, "out/position", lambda seconds: seconds > now + 1.5)
        complaints = ended(pd)
    finally:
        play.terminate()
        _, errors = play.communicate(timeout=30)
    assert not complaints, complaints
    audio, rate = soundfile.read(out)
    assert abs(audio[rate // 4 : rate // 2]).max() > 1e-3, errors
    end = audio[-rate // 2 - rate // 4 : -rate // 4]
    assert abs(end).max() == 0.0, errors
