"""A patch's text: a small YAML file read safely, every fault one line with its place.

Main thread; PyYAML's safe loader, made stricter: no aliases (a few lines of them can stand for gigabytes), no keys
twice, no deep nesting, no large files. What the tables mean is left to :mod:`instrument.patch`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 15  # the slowest text of this size takes PyYAML 0.7 s
MAX_DEPTH = 12


class _Loader(yaml.SafeLoader):
    """The safe loader without aliases, repeated keys and depth."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*) are not used in patches", problem_mark=self._mark())
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self._mark())
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in getattr(node, "value", ()):
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in seen:
                problem = f"{str(key.value)[:40]!r} is there twice" if name else "a key that is no plain word"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def _mark(self) -> Any:
        return self.peek_event().start_mark  # type: ignore[no-untyped-call]


def read_yaml(path: Path) -> object:
    """The plain tables in the file ``path``. Raises ValueError, one line without the file's name."""
    return parse(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """What is in the file ``path``. Raises ValueError, one line without the file's name."""
    try:
        if not path.is_file():
            raise ValueError("no such file" if not path.exists() else "not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1024} KiB; a patch is a few lines")
    return data


def parse(data: bytes) -> object:
    """The plain tables in YAML ``data``. Raises ValueError, one line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from None
    try:
        found: object = yaml.load(text, Loader=_Loader)  # a subclass of the safe loader
    except yaml.YAMLError as error:
        raise ValueError(_line(error)) from None
    except (ValueError, TypeError, OverflowError, ArithmeticError, LookupError, RecursionError) as error:
        # PyYAML lets impossible dates and numbers through to their constructors
        raise ValueError(f"a value YAML cannot read: {' '.join(str(error).split())[:100]}") from None
    if found is None:
        raise ValueError("empty; a patch needs at least bank")
    return found


def compose(text: str) -> Any:
    """The YAML nodes of ``text``, which has been parsed before; they know where in it they are."""
    return yaml.compose(text, Loader=_Loader)


def line_of(data: bytes, fault: str) -> int:
    """The line, from 1, of what a ``fault`` like ``midi[3].to: 'tone' is ...`` is about; as near as can be told."""
    try:
        node = yaml.compose(data.decode("utf-8-sig"), Loader=_Loader)
    except (UnicodeDecodeError, yaml.YAMLError, ValueError):
        return 1
    field = re.match(r"[^:\s]*", fault)
    steps = re.findall(r"[^.\[\]]+", field[0] if field else "")
    line = 0
    for step in [*steps, *re.findall(r"unknown key '([^']*)'", fault)]:
        found = _inside(node, step)
        if found is None:
            continue
        node, line = found
    return line + 1


def _inside(node: Any, step: str) -> tuple[Any, int] | None:
    """What is called ``step`` in a table, or has that number in a list, and its line from 0."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if getattr(key, "value", None) == step:
                return value, key.start_mark.line
    elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)], node.value[int(step)].start_mark.line
    return None


def _line(error: yaml.YAMLError) -> str:
    """PyYAML's several lines as one."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = ", ".join(part for part in (error.problem, error.context) if part)
        return f"{place}{_clean(problem)}"
    return _clean(str(error))


def _clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
