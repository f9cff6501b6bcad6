"""The control surface's documents: their tables are the registry's, their patches load."""

import os
import re
from pathlib import Path

import pytest

from instrument import patch
from instrument.osc.addresses import markdown
from instrument.parameters import parameter_table, telemetry_table, trigger_table
from instrument.patch_midi import BINDING
from instrument.patch_text import parse

DOCS = Path(__file__).parent.parent / "docs"
TABLES = [
    ("patches.md", "parameters", parameter_table),
    ("midi.md", "parameters", parameter_table),
    ("midi.md", "triggers", trigger_table),
    ("osc.md", "addresses", markdown),
    ("osc.md", "telemetry", telemetry_table),
]


@pytest.mark.parametrize(("name", "what", "table"), TABLES)
def test_tables_are_the_registrys(name, what, table):
    text = (DOCS / name).read_text(encoding="utf-8")
    begin, end = f"<!-- {what}: generated from instrument/parameters.py -->\n", f"<!-- end of {what} -->"
    before, rest = text.split(begin)
    found, after = rest.split(end, 1)
    if os.environ.get("SAMPLERNN_WRITE_DOCS"):
        (DOCS / name).write_text(f"{before}{begin}{table()}\n{end}{after}", encoding="utf-8")
    assert found == table() + "\n", "SAMPLERNN_WRITE_DOCS=1 pytest tests/test_control_docs.py writes it anew"


@pytest.mark.parametrize("name", ["patches.md", "midi.md", "osc.md"])
def test_patches_in_documents_load(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    assert blocks
    for block in blocks:
        patch.from_data(parse(block.encode()), DOCS / name)


def test_every_key_of_a_mapping_is_described():
    text = (DOCS / "midi.md").read_text(encoding="utf-8")
    for key in BINDING.fields:
        assert f"`{key}`" in text
