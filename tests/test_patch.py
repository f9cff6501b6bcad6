"""Patches: the design's example, every way to be wrong, where files are found, hostile text, and the schema."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instrument import patch
from instrument.parameters import PARAMETERS, parameter_table, targets
from instrument.patch_text import MAX_BYTES, parse

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path for path in (ROOT / "patches").glob("*.yaml") if path.stem != "set")
EXAMPLE = """
name: first light
seed: 7
output: {device: default, latency: 20}
bank: [checkpoints/loops.safetensors, checkpoints/tabla.safetensors]   # program 0, 1, ...
voices: 2
parameters: {temperature: 1.0, gain: -6}
voice: {2: {checkpoint: tabla, pan: 0.4}}
midi:
  - {cc: 1, to: temperature, range: [0.7, 1.3], takeover: pickup}
  - {note: C2, to: reseed, mode: random}
  - {program: any, to: checkpoint, crossfade: 0.05}
sweeps:
  unhinge: {parameter: temperature, points: [[0, 0.875], [45, 1.15]]}
osc: {listen: 127.0.0.1:9000, send: 127.0.0.1:9001}
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("patches", "checkpoints", "runs/mine"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("loops", "tabla"):
        (tmp_path / f"checkpoints/{name}.safetensors").touch()
    for epoch in (2, 10):
        (tmp_path / f"runs/mine/epoch-{epoch:03}.safetensors").touch()
    return tmp_path


def write(folder, text, name="patches/mine.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("said", "meant"), [("", "prime"), ("switch: prime", "prime"), ("switch: keep", "keep")])
def test_what_another_checkpoint_begins_with(folder, said, meant):
    assert patch.load(write(folder, f"bank: [checkpoints/loops.safetensors]\n{said}\n")).switch == meant


def test_the_example_of_the_design(folder):
    found = patch.load(write(folder, EXAMPLE))
    assert (found.name, found.seed, found.voices) == ("first light", 7, 2)
    assert [entry.name for entry in found.bank] == ["loops", "tabla"]
    assert [entry.path for entry in found.bank] == [
        folder / "checkpoints/loops.safetensors",
        folder / "checkpoints/tabla.safetensors",
    ]
    assert found.output == patch.Output("default", 20.0, 128)
    assert found.parameters == {"temperature": 1.0, "gain": -6.0}
    assert found.voice == {2: patch.VoiceSettings(1, parameters={"pan": 0.4})}
    assert (found.program(1), found.program(2)) == (0, 1)
    assert found.midi == (
        patch.Binding("cc", 1, "temperature", range=(0.7, 1.3), takeover="pickup"),
        patch.Binding("note", 36, "reseed", mode="random"),
        patch.Binding("program", None, "checkpoint", seconds=0.05),
    )
    assert found.sweeps == {"unhinge": patch.Sweep("temperature", ((0.0, 0.875), (45.0, 1.15)))}
    assert found.osc == patch.Osc(("127.0.0.1", 9000), ("127.0.0.1", 9001))
    assert found.missing() == []
    line = patch.check(folder / "patches/mine.yaml")
    assert line.endswith("'first light', 2 checkpoints, 2 voices, 3 MIDI mappings, 1 sweep")


def test_a_patch_written_down_is_the_same_patch(folder):
    found = patch.load(write(folder, EXAMPLE))
    assert patch.load(write(folder, yaml.safe_dump(found.data), "patches/again.yaml")) == found
    assert patch.from_data(json.loads(json.dumps(found.data)), folder / "patches/mine.yaml") == found


def test_values_of_notes(folder):
    text = """
bank: [checkpoints/loops.safetensors, checkpoints/tabla.safetensors]
midi:
  - {note: 1, to: checkpoint, value: 1}
  - {note: 2, to: checkpoint, value: 0.0}
  - {note: 3, to: checkpoint, value: tabla}
  - {note: 4, to: seed, value: 18446744073709551615}
  - {note: 5, to: gain, value: -6}
  - {note: 6, to: mute, value: true}
"""
    values = [binding.value for binding in patch.load(write(folder, text)).midi]
    assert values == [1, 0, 1, 2**64 - 1, -6.0, 1.0]
    assert [type(value) for value in values] == [int, int, int, int, float, float]


def test_the_least_patch(folder):
    found = patch.load(write(folder, "bank: [checkpoints/loops.safetensors]"))
    assert (found.name, found.voices, found.seed, found.osc.listen) == ("mine", 1, None, ("127.0.0.1", 9000))


WRONG = {
    "bnak: [a]": "patch: unknown key 'bnak'; did you mean 'bank'?",
    "name: x": "patch: bank is missing",
    "bank: []": "bank: 0 entries where 1 to 128 are possible",
    "bank: a": "bank: 'a' is not a list",
    "bank: [3]": "bank[0]: 3 is not text (put it in quotes)",
    "[1, 2]": "patch: [1, 2] is not a table with name, ",
    "3": "patch: 3 is not a table",
    "": "empty",
    "bank: [a]\nvoices: 0": "voices: 0 is outside 1 to 64",
    "bank: [a]\nvoices: 1.5": "voices: 1.5 is not a whole number from 1 to 64",
    "bank: [a]\nvoices: two": "voices: 'two' is not a whole number",
    "bank: [a]\nswitch: keeps": "switch: 'keeps' is not one of prime, keep; did you mean 'keep'?",
    "bank: [a]\nvoices: true": "voices: True is not a whole number",
    "bank: [a]\nseed: -1": "seed: -1 is outside 0 to 18446744073709551615",
    "bank: [a]\nname: on": "name: True is not text (put it in quotes)",
    "bank: [a]\nparameters: {temprature: 1}": "parameters: unknown key 'temprature'; did you mean 'temperature'?",
    "bank: [a]\nparameters: {temperature: 3}": "parameters.temperature: 3 is outside 0 to 2",
    "bank: [a]\nparameters: {temperature: .nan}": "parameters.temperature: nan is not a number",
    "bank: [a]\nparameters: {temperature: 1e-1}": "not a number from 0 to 2 (YAML reads it as text; write 0.1)",
    "bank: [a]\nparameters: {mute: 0.5}": "parameters.mute: 0.5 is not 0 or 1",
    "bank: [a]\nvoice: {2: {pan: 0}}": "voice: there is no voice 2; voices is 1",
    "bank: [a]\nvoice: {0: {pan: 0}}": "voice: key: 0 is outside 1 to 64",
    "bank: [a]\nvoice: {1: {checkpoint: b}}": "voice.1.checkpoint: 'b' is not in the bank; there is a",
    "bank: [a]\nvoice: {1: {checkpoint: 1}}": "voice.1.checkpoint: 1 is not in the bank of 0 to 0 (a)",
    "bank: [a]\nvoice: {1: {}, '1': {}}": "voice: '1' is there twice",
    "bank: [a]\noutput: {latency: fast}": "output.latency: 'fast' is not a number from 1 to 2000",
    "bank: [a]\nosc: {listen: 9000}": "osc.listen: 9000 is not HOST:PORT",
    "bank: [a]\nosc: {listen: localhost}": "osc.listen: 'localhost' is not HOST:PORT, like 127.0.0.1:9000, or none",
    "bank: [a]\nosc: {send: 127.0.0.1:99999}": "osc.send: '127.0.0.1:99999' is not HOST:PORT",
    "bank: [a]\nosc: {send: '192.168.1..20:9001'}": "osc.send: '192.168.1..20:9001' is no host's name",
    f"bank: [a]\nosc: {{listen: '{64 * 'a'}.b:9001'}}": "osc.listen: 'aaa",
    "bank: [a]\nmidi: [{to: gain}]": "midi[0]: exactly one of cc, note, program, bend, pressure is needed",
    "bank: [a]\nmidi: [{cc: 1, note: 2, to: gain}]": "midi[0]: exactly one of cc, note, ",
    "bank: [a]\nmidi: [{cc: 128, to: gain}]": "midi[0].cc: 128 is outside 0 to 127",
    "bank: [a]\nmidi: [{cc: 1}]": "midi[0]: to is missing",
    "bank: [a]\nmidi: [{cc: 1, to: gian}]": "midi[0].to: 'gian' is not one of temperature, gain, ",
    "bank: [a]\nmidi: [{cc: 1, to: gain}, {cc: 1, to: gain, range: [0.7]}]": "midi[1].range: [0.7] is not two values",
    "bank: [a]\nmidi: [{cc: 1, to: gain, range: [0, 99]}]": "midi[0].range[1]: 99.0 is outside -60 to 12",
    "bank: [a]\nmidi: [{cc: 1, to: pan, range: [-6, 1]}]": "midi[0].range[0]: -6.0 is outside -1 to 1",
    "bank: [a]\nmidi: [{cc: 1, to: gain, mode: random}]": "midi[0].mode: not with to: gain; only with reseed",
    "bank: [a]\nmidi: [{cc: 1, to: gain, value: 3}]": "midi[0].value: not here; the cc itself says the value",
    "bank: [a]\nmidi: [{cc: 1, to: gain, channel: 0}]": "midi[0].channel: 0 is outside 1 to 16",
    "bank: [a]\nmidi: [{cc: 1, to: gain, voice: 2}]": "midi[0].voice: there is no voice 2; voices is 1",
    "bank: [a]\nmidi: [{note: H2, to: reseed}]": "midi[0].note: 'H2' is not a note like C2, F#3 or Bb-1 (C4 = 60)",
    "bank: [a]\nmidi: [{note: G#9, to: reseed}]": "midi[0].note: 'G#9' is note 128; MIDI has 0 (C-1) to 127 (G9)",
    "bank: [a]\nmidi: [{note: C2, to: gain}]": "midi[0]: value is missing; say what gain this note is for",
    "bank: [a]\nmidi: [{note: C2, to: gain, value: loud}]": "midi[0].value: 'loud' is not a number from -60 to 12",
    "bank: [a]\nmidi: [{note: C2, to: sweep, value: up}]": "midi[0].value: there is no sweep 'up'",
    "bank: [a]\nmidi: [{note: C2, to: checkpoint, value: b}]": "midi[0].value: 'b' is not in the bank; there is a",
    "bank: [a]\nmidi: [{note: C2, to: seed, value: x}]": "midi[0].value: 'x' is not a whole number",
    "bank: [a]\nmidi: [{program: any, to: reseed}]": "midi[0].program: any only goes to checkpoint or patch",
    "bank: [a]\nmidi: [{cc: 40, bits: 14, to: gain}]": "midi[0].bits: 14 only with cc 0 to 31; the fine one is 32",
    "bank: [a]\nmidi: [{cc: 4, bits: 8, to: gain}]": "midi[0].bits: 8 is not 7 or 14",
    "bank: [a]\nmidi: [{cc: 4, relative: two, to: gain}]": "'two' is not one of twos, offset; did you mean 'twos'?",
    "bank: [a]\nmidi: [{cc: 4, step: 2, to: gain}]": "midi[0].step: only with relative",
    "bank: [a]\nmidi: [{cc: 4, relative: twos, takeover: jump, to: gain}]": "midi[0].relative: only with cc, of 7",
    "bank: [a]\nmidi: [{bend: any, to: reseed}]": "midi[0].bend: only goes to temperature, ",
    "bank: [a]\nmidi: [{note: any, to: reseed}]": "midi[0].note: any only with gate: true",
    "bank: [a]\nmidi: [{cc: 1, gate: true, to: level}]": "midi[0].gate: only with note, without takeover and ramp",
    "bank: [a]\nmidi: [{note: C2, attack: 1, to: level, value: 1}]": "midi[0].attack: only with gate",
    "bank: [a]\nmidi: [{cc: 1, takeover: pick, to: gain}]": "not one of pickup, jump, scale; did you mean 'pickup'?",
    "bank: [a]\nmidi: [{cc: 1, launch: bar, to: gain}]": "midi[0].launch: not with to: gain; only with checkpoint",
    "bank: [a]\nmidi: [{cc: 1, to: macro/x}]": "midi[0].to: there is no macro 'x'",
    "bank: [a]\nmidi: [{note: C2, to: panic, value: 3}]": "midi[0].value: not with to: panic; only with temperature",
    "bank: [a]\nmidi: [{program: every, to: checkpoint}]": "midi[0].program: 'every' is not one of any",
    "bank: [a]\nsweeps: {up: {parameter: gain, points: []}}": "sweeps.up.points: 0 entries where 1 to 1000",
    "bank: [a]\nsweeps: {up: {parameter: gain, points: [[1, 0], [0, 0]]}}": "points[1]: 0.0 s is before 1.0 s",
    "bank: [a]\nsweeps: {up: {parameter: pan, points: [[0, 9]]}}": "sweeps.up.points[0][1]: 9.0 is outside -1 to 1",
    "bank: [a]\nsweeps: {up: {parameter: loud, points: [[0, 9]]}}": "sweeps.up.parameter: 'loud' is not one of ",
    "bank: [a]\nsweeps: {up: [[0, 1]]}": "sweeps.up: [[0, 1]] is not a table with parameter, points, unit,",
    "bank: [a": "line 1, column 9: expected ',' or ']'",
    "bank: [a]\nbank: [b]": "line 2, column 1: 'bank' is there twice",
    "bank: &x [a]\nname: *x": "line 2, column 7: aliases (*) are not used in patches",
    "bank: !!python/object:os.system [a]": "could not determine a constructor",
    "bank: [a]\nname: 2001-99-99": "a value YAML cannot read",
    "bank: [a]\nseed: " + "9" * 5000: "a value YAML cannot read",
    "bank: [a]\nseed: 0x" + "9" * 400: "seed: a number of very many digits is outside 0 to",
    "bank: " + "[" * 5000: "nested too deeply",
    "bank: [a]\nname: {? [b] : c}": "a key that is no plain word",
    "bank: ['a\\0b']\nname: \"\\0\"": "name: '\\x00' is not one line of 1 to 200 characters",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_patches_say_what_and_where(folder, text):
    path = write(folder, text)
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as raised:
        patch.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert WRONG[text] in str(raised.value)
    assert len(str(raised.value)) < 600


def test_files_that_are_no_patches(folder, tmp_path):
    for make, text in {
        lambda path: None: "no such file",
        lambda path: path.mkdir(): "not a file",
        lambda path: path.write_bytes(b"\xff\xfe\x00"): "byte 0 is not UTF-8",
        lambda path: path.write_bytes(b"# " + b"x" * MAX_BYTES): "larger than 32 KiB",
    }.items():
        path = tmp_path / f"x{len(text)}.yaml"
        make(path)
        with pytest.raises(ValueError, match=text):
            patch.load(path)
    with pytest.raises(ValueError, match="not a file"):
        patch.load("/dev/zero")


# --- files


def test_bank_files_are_looked_for_beside_the_patch_first(folder):
    (folder / "patches/checkpoints").mkdir()
    (folder / "patches/checkpoints/loops.safetensors").touch()
    found = patch.load(write(folder, "bank: [checkpoints/loops.safetensors, checkpoints/tabla.safetensors]"))
    assert [entry.path for entry in found.bank] == [
        folder / "patches/checkpoints/loops.safetensors",
        folder / "checkpoints/tabla.safetensors",
    ]


def test_a_patch_deeper_down_and_a_relative_one(folder, monkeypatch):
    (folder / "patches/set").mkdir()
    found = patch.load(write(folder, "bank: [checkpoints/loops.safetensors]", "patches/set/x.yaml"))
    assert found.missing() == []
    monkeypatch.chdir(folder / "patches")
    assert patch.load("set/x.yaml").missing() == []


def test_a_long_run_is_thinned_to_what_is_loaded(folder):
    for k in range(1, 101):
        (folder / f"runs/mine/epoch-{k:03d}.safetensors").touch()
    names = [entry.name for entry in patch.open_target(folder / "runs/mine").bank]
    assert (len(names), names[0], names[-1]) == (patch.HISTORY, "epoch-001", "epoch-100")


def test_missing_bank_files(folder):
    path = write(folder, "bank: [checkpoints/loops.safetensors, checkpoints/nothing.safetensors]")
    found = patch.load(path)
    assert len(found.missing()) == 1
    with pytest.raises(
        ValueError, match=r"bank\[1\]: 'checkpoints/nothing.safetensors' is not there; looked for .*"
    ) as raised:
        patch.check(path)
    assert str(raised.value).endswith(str(folder / "checkpoints/nothing.safetensors"))


def test_names_in_the_bank(folder):
    (folder / "other").mkdir()
    (folder / "other/tabla.safetensors").touch()
    text = "bank: [../checkpoints/tabla.safetensors, ../other/tabla.safetensors, ../runs/mine]"
    found = patch.load(write(folder, text))
    assert [entry.name for entry in found.bank] == ["tabla", "tabla-2", "mine"]
    assert found.bank[2].path.name == "epoch-010.safetensors"


def test_a_checkpoint_or_a_run_is_a_patch_too(folder, monkeypatch):
    found = patch.open_target(folder / "checkpoints/tabla.safetensors")
    assert ([entry.name for entry in found.bank], found.voices, found.midi[0].to) == (["tabla"], 1, "temperature")
    history = patch.open_target(folder / "runs/mine")
    assert history.bank[-1].path == folder / "runs/mine/epoch-010.safetensors"
    assert [entry.name for entry in history.bank] == [entry.path.stem for entry in history.bank]
    assert (history.history, history.switch, history.program(1)) == (True, "keep", len(history.bank) - 1)
    assert [binding.to for binding in history.midi] == ["temperature", "maturity"]
    (folder / "runs/young").mkdir()
    (folder / "runs/young/epoch-001.safetensors").touch()
    assert [entry.name for entry in patch.open_target(folder / "runs/young").bank] == ["epoch-001"]
    for target, text in ((folder / "runs", "folder without epoch"), (folder / "no.safetensors", "no such checkpoint")):
        with pytest.raises(ValueError, match=text):
            patch.open_target(target)
    with pytest.raises(ValueError, match="no such file"):
        patch.open_target("nothing.yaml")
    monkeypatch.chdir(folder)
    write(folder, "bank: [checkpoints/loops.safetensors]", "patches/default.yaml")
    assert patch.open_target().name == "default"
    monkeypatch.chdir(folder / "runs")
    assert patch.open_target().name == "first light"  # the checkout's own


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_patches(path):
    found = patch.load(path)
    jsonschema.validate(_as_json(found.data), patch.schema(), jsonschema.Draft7Validator)
    assert all(entry.path.parent == ROOT / "checkpoints" or not entry.path.exists() for entry in found.bank)


def test_there_are_three_patches_and_the_default_is_one_voice():
    assert len(SHIPPED) >= 3
    default = patch.load(ROOT / "patches/default.yaml")
    assert default.voices == 1
    assert len(default.bank) >= 3


# --- the schema, and what no text may do


def _as_json(data):
    return json.loads(json.dumps(data))


SCHEMA = jsonschema.Draft7Validator(patch.schema())
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(targets())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(data, path=()):
    """Every (container, key) below ``data``."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from _places(value, (*path, key))


@st.composite
def bent(draw):
    """The example with a few values replaced, keys renamed, added or dropped."""
    data = copy.deepcopy(parse(EXAMPLE.encode()))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(list(_places(data))))
        kind = draw(st.sampled_from(["replace", "drop", "add"]))
        if kind == "replace":
            container[key] = draw(JUNK)
        elif kind == "drop":
            del container[key]
        elif isinstance(container, dict):
            container[draw(st.text(max_size=6))] = draw(JUNK)
        if not list(_places(data)):
            break
    return data


def attempt(act, *arguments):
    """What came of it: a patch, or the line of a ValueError; anything else is a defect and gets through."""
    try:
        return act(*arguments)
    except ValueError as error:
        assert str(error).count("\n") == 0, error  # noqa: PT017
        return str(error)


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(patch.schema())
    json.dumps(patch.schema())


@settings(max_examples=200, deadline=None)
@given(st.one_of(bent(), JUNK))
def test_nothing_but_a_patch_or_a_line(data):
    found = attempt(patch.from_data, data, None)
    assert isinstance(found, (patch.Patch, str))
    if isinstance(found, patch.Patch):
        assert SCHEMA.is_valid(_as_json(data)), "the reader takes what the schema refuses"


@settings(max_examples=100, deadline=None)
@given(bent())
def test_what_the_schema_refuses_the_reader_refuses(data):
    if not SCHEMA.is_valid(_as_json(data)):
        assert isinstance(attempt(patch.from_data, data, None), str)


SAYABLE = ("unknown key", "to is missing", "entries where", "is not a list", "is not text", "exactly one", "is not two")
SAYABLE += ("is outside 0", "is outside 1", "is not one of", "is not a whole number from", "is not 0 or 1", "like C2")


@pytest.mark.parametrize("text", [t for t in WRONG if any(words in WRONG[t] for words in SAYABLE) and "many" not in t])
def test_the_schema_refuses_what_is_wrong_with_one_field(text):
    data = attempt(parse, text.encode())
    assert isinstance(data, str) or not SCHEMA.is_valid(_as_json(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.text(alphabet="{}[]:,-&*!|>?%@`'\"# \n\tab01.~<", max_size=120).map(str.encode),
        bent().map(lambda data: yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")),
    )
)
def test_no_text_does_anything_else(data):
    found = attempt(parse, data)
    if not isinstance(found, str):
        assert isinstance(attempt(patch.from_data, found, None), (patch.Patch, str))


def test_bombs_are_quick():
    flow = b"[" * 100_000
    keys = b"? " * 50_000
    merge = b"a: &a {x: 1}\n" + b"".join(b"b%d: {<<: [%s]}\n" % (i, b",".join([b"*a"] * 9)) for i in range(9))
    for data in (flow, keys, merge, b"- " * 60_000, b"{a: " * 30_000, b"!" * 100_000, b"1:" * 60_000 + b"1"):
        assert isinstance(attempt(patch.from_data, attempt(parse, data[:MAX_BYTES]), None), str)


# --- the table, and what is made from it


def test_parameters_are_as_the_audio_path_knows_them():
    from instrument.controls import DEFAULTS, HIGHEST, LOWEST

    table = sorted(PARAMETERS.values(), key=lambda p: p.code)
    assert tuple(p.code for p in table) == tuple(range(len(LOWEST)))
    assert tuple(p.low for p in table) == LOWEST
    assert tuple(p.high for p in table) == HIGHEST
    assert tuple(p.default for p in table) == DEFAULTS


@given(st.sampled_from(list(PARAMETERS.values())), st.floats(allow_nan=False, allow_infinity=False))
def test_norm_and_back(p, value):
    clipped = p.clip(value)
    assert p.low <= clipped <= p.high
    assert p.natural(p.norm(clipped)) == pytest.approx(clipped, abs=1e-9)


def test_the_table_in_markdown():
    rows = parameter_table().splitlines()
    assert rows[2:] == [row for name in PARAMETERS for row in rows if row.startswith(f"| `{name}` |")]
