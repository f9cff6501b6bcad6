"""A line more, or another line, in the MIDI map of a patch's file, and every other byte as it was.

Any thread; PyYAML says where in the text the map's lines are, and the text is cut there: comments, order, quotes, line
ends and layout stay the musician's. What comes out is read again before it is written, whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from instrument import saved
from instrument.patch_text import compose, parse


def save_line(path: Path, line: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> bool:
    """Put ``line`` into the map of the patch in ``path``, where ``old`` stands or at the end; whether ``old`` did.

    Raises OSError or ValueError, one line, and leaves the file as it was.
    """
    target = path.resolve()  # a link stays a link
    content = target.read_bytes()
    text = content.decode("utf-8-sig")
    changed = with_line(text, line, old)
    marked = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
    replace(target, marked + changed.encode())
    before = parse(text.encode())
    return old is not None and isinstance(before, dict) and dict(old) in before.get("midi", [])


def with_line(text: str, line: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> str:
    """The patch's ``text`` with that line. Raises ValueError where the text is laid out in a way this cannot follow."""
    before = parse(text.encode())
    lines = before.get("midi", []) if isinstance(before, dict) else None
    if not isinstance(before, dict) or not isinstance(lines, list):
        raise ValueError("not a patch any more")
    lines = list(lines)
    place = lines.index(dict(old)) if old is not None and dict(old) in lines else len(lines)
    lines[place : place + 1] = [dict(line)]
    changed = _cut(text, flow(line), place)
    if parse(changed.encode()) != {**before, "midi": lines}:
        raise ValueError("the patch's midi list is laid out in a way that cannot be added to")
    return changed


def flow(line: Mapping[str, Any]) -> str:
    """A line of the map as patches write them: ``{cc: 1, to: temperature}``."""
    text = yaml.safe_dump(dict(line), default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.strip()


def replace(path: Path, content: bytes) -> None:
    """Write ``path`` whole or not at all; its mode stays. Raises OSError."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path.name} is read-only")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        saved.note(path, content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _cut(text: str, line: str, place: int) -> str:
    """``text`` with ``line`` as entry ``place`` of its midi list."""
    root = compose(text)
    end = "\r\n" if "\r\n" in text else "\n"
    midi = next((value for key, value in root.value if key.value == "midi"), None)
    if midi is None:
        return _with_list(text, root, line, end)
    if place < len(midi.value):
        return text[: midi.value[place].start_mark.index] + line + text[_end(midi.value[place]) :]
    if midi.flow_style:
        at = midi.end_mark.index - 1
        last = _end(midi.value[-1]) if midi.value else at
        return text[:last] + (f", {line}" if midi.value else line) + text[last:]
    start = text.rfind("\n", 0, midi.value[0].start_mark.index) + 1
    indent = text[start : midi.start_mark.index] if "\n" in text[: midi.start_mark.index] else ""
    return _after_line(text, _end(midi.value[-1]), f"{indent}- {line}", end)


def _with_list(text: str, root: Any, line: str, end: str) -> str:
    """A patch that has no map yet."""
    if root.flow_style:
        last = _end(root.value[-1][1])
        return f"{text[:last]}, midi: [{line}]{text[last:]}"
    indent = " " * root.start_mark.column
    return _after_line(text, _end(root.value[-1][1]), f"{indent}midi:{end}{indent}  - {line}", end)


def _after_line(text: str, at: int, new: str, end: str) -> str:
    """``new`` as a line behind the one that ``at`` is in, its comment included."""
    stop = text.find("\n", at)
    if stop < 0:
        return f"{text}{end}{new}{end}"
    return f"{text[: stop + 1]}{new}{end}{text[stop + 1 :]}"


def _end(node: Any) -> int:
    """Where a node's text really ends: a block's own mark lies behind the comments that follow it."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
