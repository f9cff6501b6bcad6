"""Set files: a list of patches that are played one after another, at a foot's press.

Main thread before anything plays, then the patches' thread when a file is saved; standard library and PyYAML. A set of
one patch is what a patch, a checkpoint or a run folder makes, so that everybody else knows only sets. Every fault is
one line: file, field, what is wrong. What one patch may say is :mod:`instrument.patch`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from instrument import patch as patches
from instrument import patch_rules, saved
from instrument.parameters import shorten
from instrument.patch import Patch
from instrument.patch_midi import BINDING
from instrument.patch_text import parse, read_bytes
from instrument.schema import ListOf, Record, Text

SET = Record(
    {
        "name": Text(),
        "set": ListOf(Text(4000), 1, 128),
        "midi": ListOf(BINDING, 0, 1000),
        "osc": patch_rules.PATCH.fields["osc"],
    },
    required=("set",),
    help={
        "set": "patches: 0, 1, ...; relative to this file, or to the folder of patches/ and checkpoints/",
        "midi": "what MIDI inputs do in every patch, besides its own map",
        "osc": "where to listen and where to send replies, whatever the patches say",
    },
)


@dataclass(frozen=True)
class SetList:
    """What is played: one patch or many.

    Attributes:
        name: of the set, or of its only patch.
        patches: in their order.
        names: what they are called, each once.
        file: the set's own, if there is one; ``digest`` is of what it held.
        shared: its ``midi`` and ``osc``, as tables.
    """

    name: str
    patches: tuple[Patch, ...]
    names: tuple[str, ...]
    file: Path | None = None
    shared: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


def open_target(target: str | Path | None = None) -> SetList:
    """What ``samplernn play TARGET`` plays, all its patches read. Raises ValueError, one line."""
    if target is not None:
        path = patches.find(str(target))
        if path.suffix.lower() in (".yaml", ".yml") and path.is_file() and is_set(_tables(path)):
            return read(path)
    patch = patches.open_target(target)
    return SetList(patch.name, (patch,), (patch.name,))


def is_set(data: object) -> bool:
    """Whether these tables are a set's, rather than a patch's."""
    return isinstance(data, dict) and "set" in data and "bank" not in data


def read(path: Path) -> SetList:
    """The set in the file ``path``, its patches read. Raises ValueError: file, field, what is wrong."""
    data = _bytes(path)
    return replace(from_data(_parsed(data, path), path), digest=saved.digest(data))


def from_data(data: object, path: Path) -> SetList:
    """The set of these tables, which ``path`` holds. Raises ValueError: file, field, what is wrong."""
    try:
        fields = SET.read(data, "patch")
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).replace('patch:', 'set:', 1)}") from None
    tables: dict[str, Any] = data if isinstance(data, dict) else {}
    shared: dict[str, Any] = {name: tables[name] for name in ("midi", "osc") if name in tables}
    files = [_file(path, i, file) for i, file in enumerate(fields["set"])]
    found = tuple(read_patch(file, shared, path) for file in files)
    names: list[str] = []
    for patch in found:
        names.append(patches.unused(patch.name, names))
    return SetList(fields.get("name", path.stem), found, tuple(names), path, shared)


def read_patch(file: Path, shared: Mapping[str, Any] | None = None, owner: Path | None = None) -> Patch:
    """The patch in ``file``, with what its set ``owner`` says for all. Raises ValueError, one line."""
    data = _bytes(file)
    return replace(patch_of(_parsed(data, file), file, shared, owner), digest=saved.digest(data))


def patch_of(data: object, file: Path, shared: Mapping[str, Any] | None = None, owner: Path | None = None) -> Patch:
    """The same of tables that were read already."""
    if owner and is_set(data):
        raise ValueError(f"{file}: is a set; {owner} lists patches")
    try:
        patch = patches.from_data(data, file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if owner and patch.history:
        raise ValueError(f"{file}: history: is for a patch that is played by itself, not in a set ({owner})")
    return _with(patch, shared, owner) if shared else patch


def check(path: Path) -> str:
    """One line saying that the patch or set in ``path`` is sound, its bank files present. Raises ValueError."""
    if not is_set(_tables(path)):
        return patches.check(path)
    found = read(path)
    for patch in found.patches:
        patches.check(patch.path or path)
    return f"{path}: {found.name!r}, a set of {len(found.patches)}: {', '.join(found.names)}"


def schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of a patch, or of a set, for editors."""
    patch, whole = patches.schema(), SET.schema()
    return {
        **{name: value for name, value in patch.items() if name != "required"},
        "title": "samplernn-live patch or set",
        "properties": {**whole["properties"], **patch["properties"]},
        "if": {"required": ["set"]},
        "then": {"propertyNames": {"enum": list(SET.fields)}},
        "else": {"required": patch["required"], "propertyNames": {"enum": list(patch["properties"])}},
    }


def _with(patch: Patch, shared: Mapping[str, Any], owner: Path | None) -> Patch:
    """``patch`` with the lines of its set behind its own."""
    own = patch.data.get("midi", [])
    data = {**patch.data, "midi": [*own, *shared.get("midi", [])]}
    data["osc"] = {**patch.data.get("osc", {}), **shared.get("osc", {})}
    try:
        return patches.from_data(data, patch.path)
    except ValueError as error:
        line = re.sub(r"^midi\[(\d+)\]", lambda m: f"midi[{int(m[1]) - len(own)}]", str(error))
        raise ValueError(f"{owner}: {line} (in {patch.path})") from None


def _file(path: Path, i: int, file: str) -> Path:
    try:
        found = patches.find(file, path)
    except ValueError as error:
        raise ValueError(f"{path}: set[{i}]: {error}") from None
    if not found.is_file():
        raise ValueError(f"{path}: set[{i}]: {shorten(file)} is not there; looked for {found}")
    return found


def _tables(path: Path) -> object:
    return _parsed(_bytes(path), path)


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parsed(data: bytes, path: Path) -> object:
    try:
        return parse(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
