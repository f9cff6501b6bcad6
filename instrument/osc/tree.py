"""The instrument as OSCQuery describes it: every address with its type, range, value and what it does.

Pure; the threads that answer HTTP call this, the desk's own lock keeps what they read whole. Made from the same routes
and the same table as the addresses themselves. Attributes as in the OSCQuery proposal (Vidvox): FULL_PATH, CONTENTS,
ACCESS, TYPE, RANGE, VALUE, DESCRIPTION, UNIT, CLIPMODE, OVERLOADS. Serving them is left to :mod:`instrument.osc.query`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from instrument.arguments import MOST_BEATS, MOST_MOMENTS
from instrument.osc.addresses import Route, routes
from instrument.parameters import (
    MAX_RAMP,
    PARAMETERS,
    PREFIX,
    TELEMETRY,
    TRIGGERS,
    VOICE_TELEMETRY,
    Argument,
    Parameter,
)

Node = dict[str, Any]

READ, WRITE = 1, 2
ATTRIBUTES = ("ACCESS", "TYPE", "RANGE", "VALUE", "DESCRIPTION", "UNIT", "CLIPMODE", "OVERLOADS")
REQUIRED = ("FULL_PATH", "CONTENTS", "TYPE")
_UNITS = {"dB": "gain.db"}  # as the proposal calls them

# Kinds of arguments that are numbers: type, lowest, highest.
_NUMBERS: dict[str, tuple[str, float, float]] = {
    "integer": ("i", 0, 2**31 - 1),
    "index": ("i", 0, MOST_MOMENTS - 1),
    "seconds": ("f", 0.0, MAX_RAMP),
    "port": ("i", 1, 65535),
    "rate": ("f", 0.1, 120.0),
    "bpm": ("f", 20.0, 300.0),
    "beats": ("f", 0.0, MOST_BEATS),
    "share": ("f", 0.0, 1.0),
}
# Which of the desk's lists a trigger's name is from.
_LISTS = {"checkpoint": "bank", "partner": "bank", "sweep": "sweeps", "sweep/stop": "sweeps", "lfo": "lfos"}
_LISTS |= {"lfo/stop": "lfos", "recall": "snapshots", "patch": "patches", "macro": "macros"}


class Desk(Protocol):
    """What is needed of the controller."""

    voices: int
    bank: list[str]

    def values(self) -> dict[str, tuple[float, object]]: ...
    def playing(self) -> dict[str, tuple[str, object]]: ...
    def telemetry(self) -> dict[str, float]: ...


def tree(desk: Desk) -> Node:
    """The root, with everything below it and every value now."""
    values: dict[str, float | str] = {name: value for name, (value, _) in desk.values().items()}
    values |= {name: name_of for name, (name_of, _) in desk.playing().items()}
    if name := getattr(desk, "patch", (0, ""))[1]:
        values["patch"] = name
    root: Node = {"FULL_PATH": "/", "ACCESS": 0, "DESCRIPTION": "samplernn-live", "CONTENTS": {}}
    for address, route in routes(desk.voices, getattr(desk, "macros", ())).items():
        _put(root, address, _method(desk, route, values))
    for name, value in desk.telemetry().items():
        help = TELEMETRY.get(name) or VOICE_TELEMETRY.get(name.split("/")[-1], "")
        heard = {"ACCESS": READ, "TYPE": "f", "VALUE": [value], "DESCRIPTION": f"sent to subscribers: {help}"}
        _put(root, f"{PREFIX}/out/{name}", heard)
    return root


def find(root: Node, path: str) -> Node | None:
    """The node at ``path``; None if there is none."""
    node = root
    for part in filter(None, path.split("/")):
        node = node.get("CONTENTS", {}).get(part)
        if node is None:
            return None
    return node


def host_info(name: str, host: str, port: int) -> Node:
    """What a client needs to know to speak to us; ``host`` is left out where it is every address of ours."""
    found: Node = {"NAME": name, "OSC_PORT": port, "OSC_TRANSPORT": "UDP"}
    if host not in ("0.0.0.0", "::"):
        found["OSC_IP"] = host
    extensions = dict.fromkeys(ATTRIBUTES, True) | {"LISTEN": False, "PATH_CHANGED": False}
    return found | {"EXTENSIONS": extensions}


def _put(root: Node, address: str, node: Node) -> None:
    """Hang a method where its address says, with what containers that needs."""
    here, path = root, ""
    for part in address.split("/")[1:]:
        path += f"/{part}"
        here = here.setdefault("CONTENTS", {}).setdefault(part, {"FULL_PATH": path, "ACCESS": 0})
    here.update(node)


def _method(desk: Desk, route: Route, values: Mapping[str, float | str]) -> Node:
    key = route.name if route.voice is None else f"voice/{route.voice}/{route.name}"
    if route.kind == "trigger":
        return _trigger(desk, route.name, values.get(key))
    if route.name not in PARAMETERS:
        return _macro(route.name, values.get(key))
    value = float(values[key])
    return _norm(PARAMETERS[route.name], value) if route.kind == "norm" else _natural(PARAMETERS[route.name], value)


def _natural(p: Parameter, value: float) -> Node:
    kind, number = ("i", int) if p.whole else ("f", float)
    span = {"MIN": number(p.low), "MAX": number(p.high)}
    node = {"ACCESS": READ | WRITE, "TYPE": kind, "RANGE": [span], "VALUE": [number(value)]}
    node |= {"CLIPMODE": ["both"], "DESCRIPTION": p.help, "OVERLOADS": [_ramped(kind, span)]}
    return node | ({"UNIT": [_UNITS.get(p.unit, p.unit)]} if p.unit else {})


def _norm(p: Parameter, value: float) -> Node:
    steps = range(int(p.low), int(p.high) + 1) if p.whole else ()
    span: Node = {"VALS": [p.norm(step) for step in steps]} if steps else {"MIN": 0.0, "MAX": 1.0}
    node = {"ACCESS": READ | WRITE, "TYPE": "f", "RANGE": [span], "VALUE": [p.norm(value)]}
    return node | {"CLIPMODE": ["both"], "DESCRIPTION": f"{p.name} over its range", "OVERLOADS": [_ramped("f", span)]}


def _macro(name: str, value: object) -> Node:
    span = {"MIN": 0.0, "MAX": 1.0}
    node: Node = {"ACCESS": WRITE, "TYPE": "f", "RANGE": [span], "CLIPMODE": ["both"], "DESCRIPTION": "of the patch"}
    return node | ({} if value is None else {"ACCESS": READ | WRITE, "VALUE": [value]})


def _ramped(kind: str, span: Node) -> Node:
    return {
        "TYPE": f"{kind}f",
        "RANGE": [span, {"MIN": 0.0, "MAX": MAX_RAMP}],
        "DESCRIPTION": "within that many seconds",
    }


def _trigger(desk: Desk, name: str, value: object) -> Node:
    trigger = TRIGGERS[name]
    needed = [_argument(desk, name, a) for a in trigger.arguments if not a.optional]
    every = [_argument(desk, name, a) for a in trigger.arguments]
    first = needed or every[:1] or [("N", None)]
    node: Node = {"ACCESS": WRITE, "DESCRIPTION": trigger.help, **_signature(first)}
    if len(every) > len(first):
        node["OVERLOADS"] = [_signature(every)]
    return node | ({} if value is None else {"ACCESS": READ | WRITE, "VALUE": [value]})


def _signature(arguments: Sequence[tuple[str, Node | None]]) -> Node:
    ranges = [span for _, span in arguments]
    kinds = "".join(kind for kind, _ in arguments)
    return {"TYPE": kinds} | ({"RANGE": ranges} if any(ranges) else {})


def _argument(desk: Desk, name: str, argument: Argument) -> tuple[str, Node | None]:
    """(type, range) of one argument of the trigger ``name``."""
    if argument.kind == "gate":
        return "N", None
    if argument.kind in _NUMBERS:
        kind, low, high = _NUMBERS[argument.kind]
        return kind, {"MIN": low, "MAX": high}
    words = [] if argument.kind == "name or gate" else _words(argument)
    words = words or _known(desk, name)
    return "s", {"VALS": words} if words else None


def _words(argument: Argument) -> list[str]:
    """The words an argument is one of, as its name in the tables says: ``learned | random | zeros | gate``."""
    words = argument.name.split(" | ")
    return [] if len(words) < 2 else [word for word in words if word != "gate"]


def _known(desk: Desk, name: str) -> list[str]:
    """What the trigger ``name`` may be told, where it takes names."""
    return [str(each).removeprefix("macro/") for each in getattr(desk, _LISTS.get(name, ""), ())]
