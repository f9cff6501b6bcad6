"""What moves in a patch, read: typed, and refused with the field and what would be right."""

import json

import jsonschema
import pytest

from instrument import patch
from instrument.lfos import Lfo
from instrument.macros import Aim
from instrument.patch_text import parse
from instrument.snapshots import Scene, Snapshot
from instrument.sweeps import Sweep

HEAD = "bank: [a.safetensors, b.safetensors]\nvoices: 2\n"
GOOD = """
tempo: 97.5
clock: link
meter: 3
launch: bar
sweeps:
  round: {parameter: pan, points: [[0, -1], [4, 1, smooth], [8, 0, -0.4]], unit: beats, loop: true, pingpong: true}
lfos:
  breath: {parameter: gain, shape: drift, rate: 0.2, depth: 3, seed: 7}
  sway: {parameter: pan, beats: 8, norm: 0.25, phase: 0.5, voice: 2, start: true}
macros:
  wild:
    - {to: temperature, range: [0.8, 1.3], curve: exp}
    - {to: lfo/breath}
    - {to: drive, voice: 1}
snapshots:
  still: {parameters: {gain: -12}, checkpoint: b, voice: {2: {mute: 1, checkpoint: a}}}
"""
WRONG = {
    "tempo: 500": "tempo: 500 is outside 20 to 300",
    "clock: midl": "clock: 'midl' is not one of internal, midi, link; did you mean 'midi'?",
    "launch: bars": "launch: 'bars' is not one of now, beat, bar; did you mean 'bar'?",
    "meter: 0": "meter: 0 is outside 1 to 32",
    "sweeps: {a: {parameter: pan, points: [[0, 0], [1, 1, smoth]]}}": "sweeps.a.points[1][2]: 'smoth' is not one of",
    "sweeps: {a: {parameter: pan, points: [[0, 0], [1, 1, 2]]}}": "sweeps.a.points[1][2]: 2 is outside -1 to 1",
    "sweeps: {a: {parameter: pan, points: [[1, 1, exp]]}}": "sweeps.a.points[0][2]: the way to the first point",
    "sweeps: {a: {parameter: pan, points: [[0, 0], [0.01, 1]], loop: true}}": "sweeps.a.loop: the points take 0.01",
    "sweeps: {a: {parameter: pan, points: [[1]]}}": "sweeps.a.points[0]: [1] is not [time, value] or",
    "sweeps: {a: {parameter: pan, points: [[0, 0]], unit: bars}}": "sweeps.a.unit: 'bars' is not one of seconds",
    "lfos: {a: {parameter: pan, depth: 1}}": "lfos.a: exactly one of rate, beats is needed",
    "lfos: {a: {parameter: pan, rate: 1, depth: 1, norm: 1}}": "lfos.a: exactly one of depth, norm is needed",
    "lfos: {a: {parameter: pan, rate: 1, depth: 3}}": "lfos.a.depth: 3.0 is outside 0 to 2",
    "lfos: {a: {parameter: pan, rate: 50, depth: 1}}": "lfos.a.rate: 50 is outside 0.001 to 20",
    "lfos: {a: {parameter: pan, rate: 1, depth: 1, shape: sin}}": "did you mean 'sine'?",
    "lfos: {a: {parameter: pan, rate: 1, depth: 1, voice: 3}}": "lfos.a.voice: there is no voice 3; voices is 2",
    "lfos: {a: {parameter: pan, rte: 1}}": "lfos.a: unknown key 'rte'; did you mean 'rate'?",
    "macros: {a: [{to: temprature}]}": "macros.a[0].to: 'temprature' is not a parameter or lfo/<name>; did you mean",
    "macros: {a: [{to: lfo/x}]}": "macros.a[0].to: there is no lfo 'x'",
    "macros: {a: [{to: pan, range: [0, 4]}]}": "macros.a[0].range[1]: 4.0 is outside -1 to 1",
    "macros: {a: []}": "macros.a: 0 entries where 1 to 64",
    "snapshots: {a: {checkpoint: c}}": "snapshots.a.checkpoint: 'c' is not in the bank",
    "snapshots: {a: {parameters: {gain: 99}}}": "snapshots.a.parameters.gain: 99 is outside -60 to 12",
    "snapshots: {a: {voice: {5: {pan: 0}}}}": "snapshots.a.voice: there is no voice 5; voices is 2",
    "midi: [{note: C2, to: lfo, value: x}]": "there is no lfo 'x'",
    "midi: [{cc: 1, to: macro/x}]": "there is no macro 'x'",
}


def read(text):
    return patch.from_data(parse((HEAD + text).encode()), None)


@pytest.fixture(autouse=True)
def in_a_folder_with_a_bank(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_bytes(b"")


def test_everything_that_moves_is_read():
    found = read(GOOD)
    moves = found.movements
    assert (moves.tempo, moves.clock, moves.meter, moves.launch) == (97.5, "link", 3, "bar")
    assert found.sweeps["round"] == Sweep(
        "pan", ((0.0, -1.0), (4.0, 1.0), (8.0, 0.0)), None, (0.0, "smooth", -0.4), True, True, "beats"
    )
    assert moves.lfos == {
        "breath": Lfo("gain", 3.0, "drift", rate=0.2, seed=7),
        "sway": Lfo("pan", 0.5, "sine", beats=8.0, phase=0.5, voice=2, start=True),
    }
    assert moves.macros["wild"] == (
        Aim("temperature", (0.8, 1.3), 0.5),
        Aim("lfo/breath", (0.0, 1.0)),
        Aim("drive", (0.0, 36.0), 0.0, 1),
    )
    assert moves.snapshots["still"] == Snapshot(Scene({"gain": -12.0}, "b"), {2: Scene({"mute": 1.0}, "a")})


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_line_with_its_field(text):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as raised:
        read(text)
    assert WRONG[text] in str(raised.value)


def test_the_schema_takes_what_the_reader_takes():
    def as_json(text):
        return json.loads(json.dumps(parse((HEAD + text).encode())))

    jsonschema.validate(as_json(GOOD), patch.schema())
    for text in ("tempo: 500", "lfos: {a: {parameter: pan, rte: 1}}", "launch: bars", "macros: {a: []}"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(as_json(text), patch.schema())
