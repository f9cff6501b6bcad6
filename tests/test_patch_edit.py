"""A line more in a patch's map: everything else in the file stays, byte for byte."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument import patch_edit, saved
from instrument.patch_text import parse

NEW = {"cc": 20, "to": "pan", "channel": 1}
LINE = "{cc: 20, to: pan, channel: 1}"
LAYOUTS = {
    "bank: [a]\n": "bank: [a]\nmidi:\n  - LINE\n",
    "bank: [a]": "bank: [a]\nmidi:\n  - LINE\n",
    "{bank: [a]}": "{bank: [a], midi: [LINE]}",
    "bank: [a]\nmidi: []\nname: x\n": "bank: [a]\nmidi: [LINE]\nname: x\n",
    "bank: [a]\r\nmidi: [{cc: 1, to: gain}] # z\r\n": "bank: [a]\r\nmidi: [{cc: 1, to: gain}, LINE] # z\r\n",
    "midi:\n- {cc: 1,   to: gain}   # mine\n# c\n\nbank: [a]\n": (
        "midi:\n- {cc: 1,   to: gain}   # mine\n- LINE\n# c\n\nbank: [a]\n"
    ),
    "bank:\n  - a\nmidi:\n    -   cc: 1\n        to: gain  # mine\n    # last\n": (
        "bank:\n  - a\nmidi:\n    -   cc: 1\n        to: gain  # mine\n    - LINE\n    # last\n"
    ),
    "---\r\nbank: [a]\r\n...\r\n": "---\r\nbank: [a]\r\nmidi:\r\n  - LINE\r\n...\r\n",
}


@pytest.mark.parametrize("text", LAYOUTS)
def test_a_line_is_added_whatever_the_layout(text):
    assert patch_edit.with_line(text, NEW) == LAYOUTS[text].replace("LINE", LINE)


def test_a_line_takes_the_place_of_another():
    text = "bank: [a]\nmidi:\n- cc: 1\n  to: gain # c\n# next\n- {cc: 3, to: pan,\n   range: [0, 1]} # y\nname: 'x'\n"
    first = patch_edit.with_line(text, NEW, {"cc": 1, "to": "gain"})
    assert first == text.replace("cc: 1\n  to: gain", LINE)
    second = patch_edit.with_line(text, NEW, {"cc": 3, "to": "pan", "range": [0, 1]})
    assert second == text.replace("{cc: 3, to: pan,\n   range: [0, 1]}", LINE)
    assert patch_edit.with_line(text, NEW, {"cc": 99}).count(LINE) == 1  # not there any more: one more


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=8)


@given(st.lists(st.tuples(st.integers(0, 127), WORD, st.booleans()), max_size=5), WORD, st.booleans())
def test_only_the_line_changes(lines, comment, flow):
    shown = [
        (patch_edit.flow({"cc": number, "to": "gain", "device": f"d{word}"}), long) for number, word, long in lines
    ]
    if flow:
        text = f"bank: [a]  # {comment}\nmidi: [{', '.join(line for line, _ in shown)}]\n"
    else:
        text = f"bank: [a]\n# {comment}\nmidi:\n" + "".join(f"  - {line}{'   # x' * long}\n" for line, long in shown)
        text = text if shown else "bank: [a]\n"
    changed = patch_edit.with_line(text, NEW)
    assert parse(changed.encode())["midi"] == [*(parse(text.encode()).get("midi") or []), NEW]
    rest = changed.replace(f", {LINE}", "").replace(f"  - {LINE}\n", "").replace(LINE, "")
    assert (rest if shown or flow else rest.replace("midi:\n", "")) == text


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    path, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    path.write_bytes(b"\xef\xbb\xbfbank: [a]\n")
    path.chmod(0o600)
    link.symlink_to(path)
    patch_edit.save_line(link, NEW)
    assert link.is_symlink()
    assert path.read_bytes() == f"\ufeffbank: [a]\nmidi:\n  - {LINE}\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert saved.is_ours(link, path.read_bytes())
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        patch_edit.save_line(path, {"cc": 1, "to": "gain"})
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_a_file_that_became_something_else_is_left_alone(tmp_path):
    path = tmp_path / "x.yaml"
    for text in ("bank: [a", "[1, 2]", "bank: [a]\nmidi: 3\n", ""):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
            patch_edit.save_line(path, NEW)
        assert path.read_text() == text
