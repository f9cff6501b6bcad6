"""What moves in a patch: tempo and launch, sweeps, LFOs, macros, snapshots. Their rules, and their reader.

Pure, any thread. Built from the table of parameters. What they do while playing is left to the controller.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instrument import curves, lfos, sweeps
from instrument.curves import Curve, read_curve
from instrument.lfos import Lfo
from instrument.macros import LFO, Aim
from instrument.parameters import (
    CLOCKS,
    FASTEST,
    INTERNAL,
    LAUNCHES,
    MAX_VOICES,
    NOW,
    PARAMETERS,
    SLOWEST,
    shorten,
    suggest,
)
from instrument.patch_midi import bank_index
from instrument.patch_values import ENTRY, NATURAL, VALUES, VOICE
from instrument.schema import Choice, Either, ListOf, Number, Pair, Record, Row, Rule, Switch, Table, Text
from instrument.snapshots import Scene, Snapshot
from instrument.sweeps import Sweep

_NAME = Text(80)
_CURVE = Either(
    ((str, Choice(curves.WORDS)), ((int, float), Number(-1, 1))), f"{', '.join(curves.WORDS)} or a bend from -1 to 1"
)
_SCENE = {**VALUES, "checkpoint": ENTRY}
_LFO_DEPTH = Number(0, max(p.high - p.low for p in PARAMETERS.values()))


@dataclass(frozen=True)
class Target:
    """What a macro may lead."""

    def read(self, value: object, where: str) -> str:
        """A parameter or ``lfo/<name>``."""
        if isinstance(value, str) and (value in PARAMETERS or (value.startswith(LFO) and 4 < len(value) <= 84)):
            return value
        raise ValueError(f"{where}: {shorten(value)} is not a parameter or lfo/<name>{suggest(value, PARAMETERS)}")

    def schema(self) -> dict[str, Any]:
        """A word of the table, or an LFO's name."""
        return {"anyOf": [{"enum": list(PARAMETERS)}, {"type": "string", "pattern": f"^{LFO}.", "maxLength": 84}]}


SWEEP = Record(
    {
        "parameter": Choice(tuple(PARAMETERS)),
        "points": ListOf(Row((Number(0, 86400), NATURAL, _CURVE), 2, "[time, value] or [time, value, curve]"), 1, 1000),
        "unit": Choice(sweeps.UNITS),
        "loop": Switch(),
        "pingpong": Switch(),
        "voice": VOICE,
    },
    required=("parameter", "points"),
    help={
        "points": "[time, natural value], and the curve of the way there: linear, exp, log, smooth, step, or a bend",
        "unit": "of the times: seconds (if left out) or beats",
        "loop": "again and again",
        "pingpong": "and back to the first point",
        "voice": "from 1; all if left out",
    },
)
_LFO = Record(
    {
        "parameter": Choice(tuple(PARAMETERS)),
        "shape": Choice(lfos.SHAPES),
        "rate": Number(0.001, lfos.FASTEST),
        "beats": Number(lfos.SHORTEST, 1024),
        "depth": _LFO_DEPTH,
        "norm": Number(0, 1),
        "phase": Number(0, 1),
        "voice": VOICE,
        "start": Switch(),
        "seed": Number(0, 2**63 - 1, whole=True),
    },
    required=("parameter",),
    help={
        "rate": "cycles a second",
        "beats": "beats a cycle, instead of rate",
        "depth": "to either side, in natural units",
        "norm": "the same as a share of the parameter's range, instead of depth",
        "phase": "where in the cycle it starts, 0 to 1",
        "start": "true: runs from the beginning",
        "seed": "of random and drift",
        "voice": "from 1; all if left out",
    },
)
_AIM = Record(
    {"to": Target(), "range": Pair(NATURAL, NATURAL, "two values: at 0 and at 1"), "curve": _CURVE, "voice": VOICE},
    required=("to",),
    help={
        "to": "a parameter, or lfo/<name> for its depth",
        "range": "natural values (of a depth, shares of it) at 0 and at 1; the whole range if left out",
        "curve": "linear, exp, log, smooth, step or a bend from -1 to 1",
        "voice": "from 1; all if left out",
    },
)
_SNAPSHOT = Record(
    {
        "parameters": Record(VALUES),
        "voice": Table(VOICE, Record(_SCENE), MAX_VOICES),
        "checkpoint": ENTRY,
    },
    help={"parameters": "of all voices", "voice": "of single voices, from 1", "checkpoint": "of all voices"},
)
FIELDS: dict[str, Rule] = {
    "tempo": Number(SLOWEST, FASTEST),
    "clock": Choice(CLOCKS),
    "meter": Number(1, 32, whole=True),
    "launch": Choice(LAUNCHES),
    "sweeps": Table(_NAME, SWEEP),
    "lfos": Table(_NAME, _LFO, 64),
    "macros": Table(_NAME, ListOf(_AIM, 1, 64), 64),
    "snapshots": Table(_NAME, _SNAPSHOT, 256),
}
HELP = {
    "tempo": "beats a minute; 120 if left out",
    "clock": "who says the tempo: internal, midi (MIDI clock) or link (Ableton Link)",
    "meter": "beats a bar; 4 if left out",
    "launch": "when a switch, reseed, moment, recall, sweep, loop or LFO begins: now, on the next beat or bar",
    "sweeps": "movements by name",
    "lfos": "what sways around its value, by name",
    "macros": "one control for many values, by name",
    "snapshots": "where everything stands, by name, to be recalled",
}


@dataclass(frozen=True)
class Movements:
    """Everything of a patch that moves, but its sweeps; ``tempo`` is None where the patch leaves it as it is."""

    tempo: float | None = None
    clock: str = INTERNAL
    meter: int = 4
    launch: str = NOW
    lfos: Mapping[str, Lfo] = field(default_factory=dict)
    macros: Mapping[str, tuple[Aim, ...]] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)


def read_movements(fields: Mapping[str, Any], voices: int, bank: Sequence[str]) -> Movements:
    """From a patch's checked fields. Raises ValueError beginning with the field."""
    swaying = {name: _lfo(f"lfos.{name}", found, voices) for name, found in fields.get("lfos", {}).items()}
    return Movements(
        **{name: fields[name] for name in ("tempo", "clock", "meter", "launch") if name in fields},
        lfos=swaying,
        macros={
            name: tuple(_aim(f"macros.{name}[{i}]", aim, voices, swaying) for i, aim in enumerate(aims))
            for name, aims in fields.get("macros", {}).items()
        },
        snapshots={
            name: _snapshot(f"snapshots.{name}", found, voices, bank)
            for name, found in fields.get("snapshots", {}).items()
        },
    )


def read_sweep(where: str, fields: dict[str, Any], voices: int) -> Sweep:
    """A sweep from its checked fields. Raises ValueError beginning with ``where``."""
    rule, points = VALUES[fields["parameter"]], fields["points"]
    unit = "beats" if fields.get("unit") == sweeps.BEATS else "s"
    for i, (t, value, *_) in enumerate(points):
        rule.read(value, f"{where}.points[{i}][1]")
        if i and t < points[i - 1][0]:
            raise ValueError(f"{where}.points[{i}]: {t} {unit} is before {points[i - 1][0]} {unit}")
    _check_voice(fields.get("voice"), voices, f"{where}.voice")
    drawn = tuple(read_curve(point[2]) if len(point) > 2 else 0.0 for point in points)
    if drawn[0] not in (0.0, curves.STEP):
        raise ValueError(f"{where}.points[0][2]: the way to the first point has no curve but linear and step")
    sweep = Sweep(
        fields["parameter"],
        tuple((t, value) for t, value, *_ in points),
        fields.get("voice"),
        drawn if any(drawn) else (),
        bool(fields.get("loop", False)),
        bool(fields.get("pingpong", False)),
        fields.get("unit", sweeps.SECONDS),
    )
    if sweep.loop and sweeps.period(sweep) < sweeps.SHORTEST:
        raise ValueError(f"{where}.loop: the points take {sweeps.period(sweep):g}; at least {sweeps.SHORTEST} expected")
    return sweep


def _lfo(where: str, fields: dict[str, Any], voices: int) -> Lfo:
    for either, other in (("rate", "beats"), ("depth", "norm")):
        if (either in fields) == (other in fields):
            raise ValueError(f"{where}: exactly one of {either}, {other} is needed")
    parameter = PARAMETERS[fields["parameter"]]
    span = parameter.high - parameter.low
    norm = fields.pop("norm", None)
    if norm is None:
        Number(0, span).read(fields["depth"], f"{where}.depth")
    _check_voice(fields.get("voice"), voices, f"{where}.voice")
    given = {**fields, "start": bool(fields.get("start", False))}
    return Lfo(**(given if norm is None else {**given, "depth": norm * span}))


def _aim(where: str, fields: dict[str, Any], voices: int, swaying: Collection[str]) -> Aim:
    to = fields["to"]
    _check_voice(fields.get("voice"), voices, f"{where}.voice")
    if to.startswith(LFO):
        name = to.removeprefix(LFO)
        if name not in swaying:
            raise ValueError(f"{where}.to: there is no lfo {shorten(name)}{suggest(name, swaying)}")
        if "voice" in fields:
            raise ValueError(f"{where}.voice: not with to: {to}; the lfo says its voice")
        low, high = 0.0, 1.0
    else:
        low, high = PARAMETERS[to].low, PARAMETERS[to].high
    for i, end in enumerate(fields.get("range", ())):
        Number(low, high).read(end, f"{where}.range[{i}]")
    return Aim(to, fields.get("range", (low, high)), _bent(fields), fields.get("voice"))


def _bent(fields: dict[str, Any]) -> Curve:
    return read_curve(fields.get("curve", 0.0))


def _snapshot(where: str, fields: dict[str, Any], voices: int, bank: Sequence[str]) -> Snapshot:
    for n in fields.get("voice", {}):
        _check_voice(n, voices, f"{where}.voice")
    return Snapshot(
        _scene(where, {**fields.get("parameters", {}), **_only(fields, "checkpoint")}, bank),
        {n: _scene(f"{where}.voice.{n}", found, bank) for n, found in fields.get("voice", {}).items()},
    )


def _scene(where: str, fields: Mapping[str, Any], bank: Sequence[str]) -> Scene:
    values = dict(fields)
    checkpoint = values.pop("checkpoint", None)
    return Scene(values, None if checkpoint is None else bank[bank_index(checkpoint, bank, f"{where}.checkpoint")])


def _only(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: fields[name]} if name in fields else {}


def _check_voice(n: int | None, voices: int, where: str) -> None:
    if n is not None and n > voices:
        raise ValueError(f"{where}: there is no voice {n}; voices is {voices}")
