"""Every address, parameter and field that the documents name is there."""

import json
import re
from pathlib import Path

import pytest
from test_docs import DOCS, ROOT

from instrument.osc.addresses import routes
from instrument.parameters import PARAMETERS, PREFIX, TELEMETRY, TRIGGERS, VOICE_TELEMETRY

MACROS = ("macro/tide", "macro/storm", "macro/<name>")
PATCH_PAGES = [path for path in DOCS if path.name in ("playing.md", "README.md", "patches.md", "midi.md", "osc.md")]


def known() -> set[str]:
    found = set(routes(4, MACROS)) | {f"{PREFIX}/{name}" for name in ("value", "error", "pong", "dump/end", "out", "")}
    found |= {f"{PREFIX}/out/{name}" for name in TELEMETRY}
    found |= {f"{PREFIX}/out/voice/{voice}/{name}" for voice in range(1, 5) for name in VOICE_TELEMETRY}
    stands_for = [re.sub(r"voice/\d", "voice/<n>", address) for address in found]
    return {address.rstrip("/") for address in [*found, *stands_for]}


def addresses(text: str) -> set[str]:
    """As they are written, but for patterns, which match what is there, and names that stand for others."""
    text = text.replace("\\<", "<")
    found = re.findall(rf"{PREFIX}(?:/[\w<>*{{}},]+)*", text)
    return {each for each in found if not re.search(r"[*{]|<(name|parameter)>$", each) or "macro/<name>" in each}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_address_is_the_instruments(path: Path) -> None:
    assert addresses(path.read_text(encoding="utf-8")) <= known()


def test_an_address_that_is_not_there_is_found() -> None:
    assert addresses(f"`{PREFIX}/temprature 1` {PREFIX}/out/<name> {PREFIX}/voice/*/gain") - known() == {
        f"{PREFIX}/temprature"
    }


@pytest.mark.parametrize("path", PATCH_PAGES, ids=lambda path: path.name)
def test_every_target_of_a_map_is_there(path: Path) -> None:
    targets = re.findall(r"\bto: ([\w/<>]+)", path.read_text(encoding="utf-8"))
    for target in targets:
        assert target in PARAMETERS or target in TRIGGERS or target.startswith(("macro/", "lfo/", "parameter")), target


def fields(schema: object) -> set[str]:
    """Every name of a field, however deep."""
    if isinstance(schema, list):
        return set().union(*map(fields, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*map(fields, schema.values()))


@pytest.mark.parametrize("path", PATCH_PAGES, ids=lambda path: path.name)
def test_every_field_of_a_patch_is_there(path: Path) -> None:
    there = fields(json.loads((ROOT / "docs" / "patch.schema.json").read_text(encoding="utf-8")))
    assert {"bank", "announce", "pingpong"} <= there
    assert set(re.findall(r"`(\w+):[^`/]*`", path.read_text(encoding="utf-8"))) <= there
