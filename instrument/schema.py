"""What may stand in a patch, said once: each rule checks a value and describes itself as JSON Schema (draft 7).

Pure, any thread, standard library only. A rule's ``read(value, where)`` returns the checked value or raises a one-line
ValueError that starts with ``where``; ``schema()`` accepts exactly the same values, as far as JSON Schema can say it.
Which rules make a patch is left to :mod:`instrument.patch`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from instrument.parameters import number, shorten, suggest


class Rule(Protocol):
    """Checks one value."""

    def read(self, value: object, where: str) -> Any:
        """The value, typed. Raises ValueError: ``where: what is wrong; what would be right``."""

    def schema(self) -> dict[str, Any]:
        """The same as JSON Schema."""


@dataclass(frozen=True)
class Number:
    """A finite number from ``low`` to ``high``; ``whole`` for integers (2.0 counts, as in JSON), ``even`` for such."""

    low: float
    high: float
    whole: bool = False
    even: bool = False

    def read(self, value: object, where: str) -> Any:
        """A float, or an int if ``whole``."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{where}: {shorten(value)} is not {self._kind()}{_numeral_hint(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}: {value} is not {self._kind()}")
        if not self.low <= value <= self.high:
            raise ValueError(f"{where}: {shorten(value)} is outside {number(self.low)} to {number(self.high)}")
        if not self.whole:
            return float(value)
        if value != int(value) or (self.even and value % 2):
            raise ValueError(f"{where}: {value} is not {self._kind()}")
        return int(value)

    def schema(self) -> dict[str, Any]:
        """type, minimum, maximum."""
        step = {"multipleOf": 2} if self.even else {}
        return {"type": "integer" if self.whole else "number", "minimum": self.low, "maximum": self.high, **step}

    def _kind(self) -> str:
        kind = "an even number" if self.even else "a whole number" if self.whole else "a number"
        return f"{kind} from {number(self.low)} to {number(self.high)}"


@dataclass(frozen=True)
class Text:
    """A line of text, 1 to ``most`` characters, without control characters; ``pattern`` if it has a form."""

    most: int = 200
    pattern: str = ""
    form: str = ""  # what the pattern asks for, in words

    def read(self, value: object, where: str) -> str:
        """The text."""
        if not isinstance(value, str):
            if self.form:
                raise ValueError(f"{where}: {shorten(value)} is not {self.form}")
            hint = " (put it in quotes)" if isinstance(value, (bool, int, float)) else ""
            raise ValueError(f"{where}: {shorten(value)} is not text{hint}")
        if not 1 <= len(value) <= self.most or not re.fullmatch(_PRINTABLE, value):
            raise ValueError(f"{where}: {shorten(value)} is not one line of 1 to {self.most} characters")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValueError(f"{where}: {shorten(value)} is not {self.form}")
        return value

    def schema(self) -> dict[str, Any]:
        """type, lengths and pattern."""
        base = {"type": "string", "minLength": 1, "maxLength": self.most, "pattern": self.pattern or _PRINTABLE}
        return base | ({"description": self.form} if self.form else {})


_PRINTABLE = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: object, where: str) -> str:
        """The word."""
        if not isinstance(value, str) or value not in self.words:
            hint = " (YAML reads on, off, yes and no as true and false: use quotes)" if isinstance(value, bool) else ""
            raise ValueError(
                f"{where}: {shorten(value)} is not one of {', '.join(self.words)}{hint}{self._near(value)}"
            )
        return value

    def schema(self) -> dict[str, Any]:
        """enum."""
        return {"enum": list(self.words)}

    def _near(self, value: object) -> str:
        hint = suggest(value, self.words)
        return hint if "did you mean" in hint else ""


@dataclass(frozen=True)
class Switch:
    """true or false, or 1 or 0; read as a float."""

    def read(self, value: object, where: str) -> float:
        """1.0 or 0.0."""
        if isinstance(value, (bool, int, float)) and value in (0, 1):
            return float(value)
        raise ValueError(f"{where}: {shorten(value)} is not 0 or 1 (false or true)")

    def schema(self) -> dict[str, Any]:
        """enum."""
        return {"enum": [0, 1, False, True]}


@dataclass(frozen=True)
class ListOf:
    """A list of ``least`` to ``most`` of the same."""

    item: Rule
    least: int = 0
    most: int = 1000

    def read(self, value: object, where: str) -> tuple[Any, ...]:
        """A tuple of what the items are."""
        if not isinstance(value, list):
            raise ValueError(f"{where}: {shorten(value)} is not a list")
        if not self.least <= len(value) <= self.most:
            raise ValueError(f"{where}: {len(value)} entries where {self.least} to {self.most} are possible")
        return tuple(self.item.read(item, f"{where}[{i}]") for i, item in enumerate(value))

    def schema(self) -> dict[str, Any]:
        """items and their count."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.least, "maxItems": self.most}


@dataclass(frozen=True)
class Pair:
    """A list of exactly two."""

    first: Rule
    second: Rule
    form: str

    def read(self, value: object, where: str) -> tuple[Any, Any]:
        """Both, typed."""
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f"{where}: {shorten(value)} is not {self.form}")
        return self.first.read(value[0], f"{where}[0]"), self.second.read(value[1], f"{where}[1]")

    def schema(self) -> dict[str, Any]:
        """A tuple in draft 7's words."""
        return {
            "type": "array",
            "items": [self.first.schema(), self.second.schema()],
            "minItems": 2,
            "maxItems": 2,
            "description": self.form,
        }


@dataclass(frozen=True)
class Row:
    """A short list whose places have a rule each; those after the first ``least`` may be left out."""

    rules: tuple[Rule, ...]
    least: int
    form: str

    def read(self, value: object, where: str) -> tuple[Any, ...]:
        """What is there, typed."""
        if not isinstance(value, list) or not self.least <= len(value) <= len(self.rules):
            raise ValueError(f"{where}: {shorten(value)} is not {self.form}")
        return tuple(r.read(v, f"{where}[{i}]") for i, (r, v) in enumerate(zip(self.rules, value, strict=False)))

    def schema(self) -> dict[str, Any]:
        """A tuple in draft 7's words."""
        items = [rule.schema() for rule in self.rules]
        return {
            "type": "array",
            "items": items,
            "minItems": self.least,
            "maxItems": len(items),
            "description": self.form,
        }


@dataclass(frozen=True)
class Either:
    """The first rule whose Python type fits: alternatives must differ in type."""

    kinds: Sequence[tuple[type | tuple[type, ...], Rule]]
    form: str

    def read(self, value: object, where: str) -> Any:
        """Whatever the fitting rule reads."""
        for kind, rule in self.kinds:
            if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
                return rule.read(value, where)
        raise ValueError(f"{where}: {shorten(value)} is not {self.form}")

    def schema(self) -> dict[str, Any]:
        """anyOf."""
        return {"anyOf": [rule.schema() for _, rule in self.kinds], "description": self.form}


@dataclass(frozen=True)
class Table:
    """Names of the writer's choice (or numbers) to values of one kind."""

    key: Text | Number
    item: Rule
    most: int = 1000

    def read(self, value: object, where: str) -> dict[Any, Any]:
        """A dict of typed keys and values."""
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {shorten(value)} is not a table of names and values")
        if len(value) > self.most:
            raise ValueError(f"{where}: {len(value)} entries where at most {self.most} are possible")
        found: dict[Any, Any] = {}
        for key, item in value.items():
            typed = self._key(key, where)
            if typed in found:
                raise ValueError(f"{where}: {shorten(key)} is there twice")
            found[typed] = self.item.read(item, f"{where}.{typed}")
        return found

    def _key(self, key: object, where: str) -> Any:
        if isinstance(self.key, Number) and isinstance(key, str) and re.fullmatch("[0-9]{1,9}", key, re.ASCII):
            key = int(key)
        return self.key.read(key, f"{where}: key")

    def schema(self) -> dict[str, Any]:
        """patternProperties: keys are strings in JSON."""
        pattern = r"^0*[1-9][0-9]*$" if isinstance(self.key, Number) else self.key.pattern or _PRINTABLE
        return {
            "type": "object",
            "patternProperties": {pattern: self.item.schema()},
            "additionalProperties": False,
            "maxProperties": self.most,
        }


@dataclass(frozen=True)
class Record:
    """A table of known fields; unknown ones are refused with the nearest known name.

    Attributes:
        fields: name -> rule.
        required: names that must be there.
        one_of: names of which exactly one must be there.
        help: name -> one line for the schema.
    """

    fields: Mapping[str, Rule]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    help: Mapping[str, str] = field(default_factory=dict)

    def read(self, value: object, where: str) -> dict[str, Any]:
        """The fields that are there, typed."""
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {shorten(value)} is not a table with {', '.join(self.fields)}")
        self._check_names(value, where)
        inner = "" if where == TOP else f"{where}."
        return {name: self.fields[name].read(item, f"{inner}{name}") for name, item in value.items()}

    def _check_names(self, value: dict[Any, Any], where: str) -> None:
        for name in value:
            if not isinstance(name, str) or name not in self.fields:
                raise ValueError(f"{where}: unknown key {shorten(name)}{suggest(name, self.fields)}")
        for name in self.required:
            if name not in value:
                raise ValueError(f"{where}: {name} is missing")
        if self.one_of and sum(name in value for name in self.one_of) != 1:
            raise ValueError(f"{where}: exactly one of {', '.join(self.one_of)} is needed")

    def schema(self) -> dict[str, Any]:
        """An object without additional properties."""
        properties = {}
        for name, rule in self.fields.items():
            about = {"description": self.help[name]} if name in self.help else {}
            properties[name] = rule.schema() | about
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        if self.required:
            schema["required"] = list(self.required)
        if self.one_of:
            schema["oneOf"] = [{"required": [name]} for name in self.one_of]
        return schema


TOP = "patch"  # the outermost record's name in messages


def _numeral_hint(value: object) -> str:
    """YAML 1.1 reads 1e-3 as text: say what to write instead."""
    if isinstance(value, str) and len(value) < 20:
        try:
            meant = float(value)
        except ValueError:
            return ""
        if math.isfinite(meant) and abs(meant) < 1e15:
            plain = f"{meant:.12f}".rstrip("0").rstrip(".")
            return f" (YAML reads it as text; write {plain})"
    return ""
