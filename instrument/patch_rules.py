"""What each field of a patch may be: the rules behind both the reader and ``samplernn patch schema``.

Pure, any thread. Built from the table of parameters and triggers. What one field says about another (a voice that is
not there, a sweep without a name) is left to :mod:`instrument.patch`.
"""

from __future__ import annotations

from typing import Any

from instrument.arguments import MOST_MOMENTS
from instrument.notes import PATTERN, number_of
from instrument.parameters import MAX_RAMP, MAX_VOICES, PARAMETERS, RESEEDS, targets
from instrument.schema import TOP, Choice, Either, ListOf, Number, Pair, Record, Rule, Switch, Table, Text

NOTHING = "none"
_SECONDS = Number(0, MAX_RAMP)
_VOICE = Number(1, MAX_VOICES, whole=True)
_MIDI = Number(0, 127, whole=True)
_NATURAL = Number(min(p.low for p in PARAMETERS.values()), max(p.high for p in PARAMETERS.values()))
_ENDPOINT = Text(
    270,
    rf"^(\[?[A-Za-z0-9_.:-]+\]?:[0-9]{{1,5}}|{NOTHING})$",
    f"HOST:PORT, like 127.0.0.1:9000, or {NOTHING}",
)
_ENTRY = Either(((int, Number(0, 9999, whole=True)), (str, Text())), "an index (from 0) or a name in the bank")

VALUES: dict[str, Rule] = {
    name: Switch() if p.switch else Number(p.low, p.high, whole=p.whole) for name, p in PARAMETERS.items()
}
_HELP = {name: f"{p.help}{f' ({p.unit})' if p.unit else ''}" for name, p in PARAMETERS.items()}

_OUTPUT = Record(
    {"device": Text(), "latency": Number(1, 2000), "block": Number(16, 8192, whole=True)},
    help={
        "device": "default, or part of a device's name",
        "latency": "gesture to sound, in milliseconds",
        "block": "frames of a device block",
    },
)
BINDING = Record(
    {
        "cc": _MIDI,
        "note": Either(
            ((int, _MIDI), (str, Text(5, PATTERN, "a note like C2, F#3 or Bb-1 (C4 = 60)"))),
            "a note like C2, or 0..127",
        ),
        "program": Either(((int, _MIDI), (str, Choice(("any",)))), "any, or a number from 0 to 127"),
        "to": Choice(targets()),
        "channel": Number(1, 16, whole=True),
        "device": Text(),
        "voice": _VOICE,
        "range": Pair(_NATURAL, _NATURAL, "two values: at controller 0 and at 127"),
        "takeover": Choice(("pickup", "jump")),
        "value": Either(
            (
                (bool, Switch()),
                (int, Number(-60, 2**64 - 1, whole=True)),
                (float, Number(-60, 2**64 - 1)),
                (str, Text()),
            ),
            "a value, a bank entry, a sweep or a seed",
        ),
        "mode": Choice(RESEEDS),
        "crossfade": _SECONDS,
        "ramp": _SECONDS,
    },
    required=("to",),
    one_of=("cc", "note", "program"),
    help={
        "program": "program change, from 0, or any",
        "channel": "1 to 16; any if left out",
        "device": "part of the input's name; any if left out",
        "voice": "from 1; all if left out",
        "range": "natural values at controller 0 and 127; the parameter's range if left out",
        "takeover": "pickup waits until the knob passes the current value, jump does not",
        "value": "what a note sets or triggers",
        "crossfade": "seconds",
        "ramp": "seconds",
    },
)
_SWEEP = Record(
    {
        "parameter": Choice(tuple(PARAMETERS)),
        "points": ListOf(Pair(Number(0, 86400), _NATURAL, "[seconds, value]"), 1, 1000),
        "voice": _VOICE,
    },
    required=("parameter", "points"),
    help={"points": "[seconds, natural value], straight lines between", "voice": "from 1; all if left out"},
)
PATCH = Record(
    {
        "name": Text(),
        "seed": Number(0, 2**64 - 1, whole=True),
        "output": _OUTPUT,
        "bank": ListOf(Text(4000), 1, 128),
        "voices": _VOICE,
        "parameters": Record(VALUES, help=_HELP),
        "voice": Table(_VOICE, Record({**VALUES, "checkpoint": _ENTRY}, help=_HELP), MAX_VOICES),
        "midi": ListOf(BINDING, 0, 1000),
        "sweeps": Table(Text(80), _SWEEP),
        "osc": Record({"listen": _ENDPOINT, "send": _ENDPOINT}),
        "switch": Choice(("prime", "keep")),
        "history": Switch(),
    },
    required=("bank",),
    help={
        "seed": "of the dice; drawn anew at each start if left out",
        "bank": "checkpoints: program 0, 1, ...; relative to this file, or to the folder of patches/ and checkpoints/",
        "voices": "how many sound at once",
        "parameters": "where all voices start",
        "voice": "where single voices (from 1) start, if elsewhere",
        "midi": "what MIDI inputs do",
        "sweeps": "movements by name",
        "osc": "where to listen and where to send replies",
        "history": "the bank is a training run's, its epochs in order: maturity moves through them",
        "switch": "another checkpoint is primed with what was played (prime), or takes the state over if it can (keep)",
    },
)
assert TOP == "patch"

# Keys of a binding that mean something only with some targets, and those targets.
_ONLY_WITH = {
    "range": tuple(PARAMETERS),
    "takeover": tuple(PARAMETERS),
    "ramp": tuple(PARAMETERS),
    "mode": ("reseed",),
    "crossfade": ("checkpoint",),
    "voice": (*PARAMETERS, "checkpoint", "reseed", "seed", "moment"),
    "value": (*PARAMETERS, "checkpoint", "sweep", "sweep/stop", "seed", "moment"),
}


def source_of(fields: dict[str, Any], where: str) -> tuple[str, int | None]:
    """Which message a binding listens to: (``cc``, 1), (``note``, 36), (``program``, None) for any program."""
    source = next(name for name in BINDING.one_of if name in fields)
    value = fields[source]
    if isinstance(value, str):
        try:
            return source, None if value == "any" else number_of(value)
        except ValueError as error:
            raise ValueError(f"{where}.{source}: {error}") from None
    return source, value


def check_binding(source: str, number: int | None, to: str, fields: dict[str, Any], where: str) -> None:
    """The keys of a binding against each other. Raises ValueError."""
    for key, allowed in _ONLY_WITH.items():
        if key in fields and to not in allowed:
            raise ValueError(f"{where}.{key}: not with to: {to}; only with {', '.join(allowed)}")
    follows = (source == "cc" and to in PARAMETERS) or number is None  # the message itself says the value
    if number is None and to != "checkpoint":
        raise ValueError(f"{where}.program: any only goes to checkpoint, not to {to}")
    if follows and "value" in fields:
        raise ValueError(f"{where}.value: not here; the {source} itself says the value")
    if not follows and "value" not in fields and to in (*PARAMETERS, "checkpoint", "sweep", "seed", "moment"):
        raise ValueError(f"{where}: value is missing; say what {to} this {source} is for")
    if not follows and ("range" in fields or "takeover" in fields):
        raise ValueError(f"{where}: range and takeover are for cc, a {source} has a value")
    _check_values(to, fields, where)


def _check_values(to: str, fields: dict[str, Any], where: str) -> None:
    """Values and ranges against the target's own range; a value becomes what the target takes."""
    if to in PARAMETERS:
        for i, end in enumerate(fields.get("range", ())):
            VALUES[to].read(end, f"{where}.range[{i}]") if not PARAMETERS[to].switch else None
        if "value" in fields:
            fields["value"] = VALUES[to].read(fields["value"], f"{where}.value")
    elif to == "seed":
        fields["value"] = Number(0, 2**64 - 1, whole=True).read(fields["value"], f"{where}.value")
    elif to == "moment":
        fields["value"] = Number(0, MOST_MOMENTS - 1, whole=True).read(fields["value"], f"{where}.value")
    elif to == "checkpoint" and isinstance(fields.get("value"), float):
        fields["value"] = Number(0, 9999, whole=True).read(fields["value"], f"{where}.value")
    elif to in ("sweep", "sweep/stop") and "value" in fields:
        Text().read(fields["value"], f"{where}.value")
