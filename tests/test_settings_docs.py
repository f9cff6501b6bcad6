"""docs/settings.md says of every setting what its docstring says, and of every recipe what its file says."""

import os
import re
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path

from engine import config
from engine.config import ModelConfig
from engine.training import recipes
from engine.training.recipes import Training

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def explained(kind: type) -> list[tuple[list[str], str]]:
    """Names and text of every attribute in a class's docstring, in its order."""
    text = cleandoc(kind.__doc__ or "").split("Attributes:\n")[1]
    entries = re.split(r"\n(?=    \S)", text)
    parts = (entry.strip().split(": ", 1) for entry in entries)
    return [(names.split(", "), " ".join(about.split()).replace("``", "`")) for names, about in parts]


def shown(value: object) -> str:
    """A default as --set takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def plain(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"


def table(kind: type, limits: dict[str, tuple[float, float]]) -> str:
    defaults = {field.name: field.default for field in fields(kind)}
    rows = ["| setting | default | from, to | |", "|---|---|---|---|"]
    for names, about in explained(kind):
        ranges = [f"{plain(limits[name][0])}, {plain(limits[name][1])}" for name in names if name in limits]
        cells = [", ".join(f"`{name}`" for name in names), ", ".join(filter(None, (shown(defaults[n]) for n in names)))]
        rows.append(f"| {' | '.join([*cells, '; '.join(dict.fromkeys(ranges)), about])} |")
    return "\n".join(rows)


def of_recipes() -> str:
    lines = []
    for name in recipes.names():
        found = recipes.load(name)
        values = " ".join(f"`{key}={shown(value)}`" for key, value in found.values.items())
        lines.append(f"- **{name}**: {found.about} ({found.source}). {values}")
    return "\n".join(lines)


WRITTEN = {
    "recipes": of_recipes,
    "sound and learning": lambda: table(Training, recipes._LIMITS),
    "network": lambda: table(ModelConfig, config._LIMITS),
}


def test_the_page_is_what_the_docstrings_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    wanted = text
    for what, write in WRITTEN.items():
        begin, end = f"<!-- {what}: generated -->\n", f"<!-- end of {what} -->"
        before, rest = wanted.split(begin)
        wanted = f"{before}{begin}{write()}\n{end}{rest.split(end, 1)[1]}"
    if os.environ.get("SAMPLERNN_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert text == wanted, "SAMPLERNN_WRITE_DOCS=1 pytest tests/test_settings_docs.py writes it anew"


def test_every_setting_is_explained() -> None:
    said = [name for kind in (Training, ModelConfig) for names, _ in explained(kind) for name in names]
    assert sorted(said) == sorted(recipes.known_keys())
