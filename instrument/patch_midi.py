"""A line of a patch's MIDI map: its rules, its reader, what it becomes.

Pure, any thread. Built from the table of parameters and triggers. What a line does when its message arrives is left to
:mod:`instrument.midi.mapping`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instrument.arguments import MOST_BEATS, MOST_MOMENTS, read_arguments
from instrument.notes import PATTERN, number_of
from instrument.parameters import LAUNCHES, PARAMETERS, RESEEDS, TRIGGERS, shorten, suggest, targets
from instrument.patch_values import ENTRY, SECONDS, VALUES, VOICE
from instrument.schema import Choice, Either, Number, Pair, Record, Rule, Switch, Text

MACRO = "macro/"
FOLLOWED = {"tempo": (60.0, 180.0)}  # triggers that a knob may turn, and the range if none is given
SOURCES = ("cc", "note", "program", "bend", "pressure")
CURVES = ("linear", "exp", "log", "s")
TAKEOVERS = ("pickup", "jump", "scale")
ENCODERS = ("twos", "offset")
ANY = "any"
_MIDI = Number(0, 127, whole=True)
_NOTE = Either(
    ((int, _MIDI), (str, Text(5, rf"{PATTERN}|^{ANY}$", "a note like C2, F#3 or Bb-1 (C4 = 60)"))),
    "a note like C2, or 0..127",
)


@dataclass(frozen=True)
class Binding:
    """One line of the MIDI map.

    Attributes:
        source: ``cc``, ``note``, ``program``, ``bend`` or ``pressure``.
        number: 0..127, None for any; of pressure the note, None for the channel's (and any note's).
        to: a parameter, a trigger, or ``macro/<name>``.
        channel: 1..16, None for any.
        device: part of the input's name, None for any.
        voice: from 1, None for all.
        range: natural values at both ends of the control; of a gate: released and struck.
        takeover: ``pickup``, ``jump`` or ``scale``.
        value: what a note sets or triggers: a natural value, a bank index, a name, a seed.
        mode: of a reseed.
        seconds: ramp of a parameter, crossfade of a checkpoint, duration of a recall.
        bits: 14 for a pair of controllers, the second 32 above the first.
        relative: how an encoder codes its steps, ``twos`` or ``offset``; None for what has a position.
        step: natural units of one step; None: 1/127 of the range (1 where only whole numbers make sense).
        curve: from the control's way to the range.
        gate: a note holds the parameter up while it is held.
        attack, release: seconds of a gate.
        velocity: share of a gate's height that the stroke decides, 0..1.
        launch: when a trigger acts, ``now``, ``beat`` or ``bar``; None as the patch has it.
        led: velocity that lights this note's pad.
    """

    source: str
    number: int | None
    to: str
    channel: int | None = None
    device: str | None = None
    voice: int | None = None
    range: tuple[float, float] | None = None
    takeover: str = "pickup"
    value: float | int | str | None = None
    mode: str = "random"
    seconds: float | None = None
    bits: int = 7
    relative: str | None = None
    step: float | None = None
    curve: str = "linear"
    gate: bool = False
    attack: float = 0.01
    release: float = 0.1
    velocity: float = 1.0
    launch: str | None = None
    led: int = 127

    @property
    def follows(self) -> bool:
        """Whether the message itself says a value along a range."""
        return self.source in ("cc", "bend", "pressure") and is_followed(self.to)

    @property
    def ends(self) -> tuple[float, float]:
        """The range, or what it is if nothing is said."""
        if self.range is not None:
            return self.range
        if self.to in PARAMETERS:
            return PARAMETERS[self.to].low, PARAMETERS[self.to].high
        return FOLLOWED.get(self.to, (0.0, 1.0))


def is_followed(to: str) -> bool:
    """Whether a knob can turn that target."""
    return to in PARAMETERS or to.startswith(MACRO) or to in FOLLOWED


@dataclass(frozen=True)
class Known:
    """What the rest of the patch has, for lines to refer to; ``tables`` are names by trigger (``sweep``, ``macro``)."""

    voices: int
    bank: Sequence[str]
    tables: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What a message may be for."""

    def read(self, value: object, where: str) -> str:
        """The target's name."""
        known = targets()
        if isinstance(value, str) and (value in known or (value.startswith(MACRO) and 0 < len(value) - 6 <= 80)):
            return value
        near = suggest(value, known)
        raise ValueError(
            f"{where}: {shorten(value)} is not one of {', '.join((*known, f'{MACRO}<name>'))}"
            f"{near if 'did you mean' in near else ''}"
        )

    def schema(self) -> dict[str, Any]:
        """A word of the table, or a macro's name."""
        return {"anyOf": [{"enum": list(targets())}, {"type": "string", "pattern": f"^{MACRO}.", "maxLength": 86}]}


BINDING = Record(
    {
        "cc": _MIDI,
        "note": _NOTE,
        "program": Either(((int, _MIDI), (str, Choice((ANY,)))), "any, or a number from 0 to 127"),
        "bend": Choice((ANY,)),
        "pressure": _NOTE,
        "to": Target(),
        "channel": Number(1, 16, whole=True),
        "device": Text(),
        "voice": VOICE,
        "range": Pair(Number(-20000, 20000), Number(-20000, 20000), "two values: at both ends of the control"),
        "takeover": Choice(TAKEOVERS),
        "curve": Choice(CURVES),
        "bits": Number(7, 14, whole=True),
        "relative": Choice(ENCODERS),
        "step": Number(0, 1000),
        "value": Either(
            (
                (bool, Switch()),
                (int, Number(-20000, 2**64 - 1, whole=True)),
                (float, Number(-20000, 2**64 - 1)),
                (str, Text()),
            ),
            "a value, a bank entry, a name or a seed",
        ),
        "mode": Choice(RESEEDS),
        "crossfade": SECONDS,
        "ramp": SECONDS,
        "gate": Switch(),
        "attack": SECONDS,
        "release": SECONDS,
        "velocity": Number(0, 1),
        "launch": Choice(LAUNCHES),
        "led": _MIDI,
    },
    required=("to",),
    one_of=SOURCES,
    help={
        "cc": "controller",
        "note": "a note like C2 (C4 = 60) or 0..127; any for a gate",
        "program": "program change, from 0, or any",
        "bend": "the pitch wheel",
        "pressure": "any for the channel's, or a note for that note's own",
        "channel": "1 to 16; any if left out",
        "device": "part of the input's name; any if left out",
        "voice": "from 1; all if left out",
        "range": "natural values at both ends of the control, in either order; the target's range if left out",
        "takeover": "pickup waits until the knob passes the current value, scale moves it in proportion, jump jumps",
        "curve": "exp is fine at the start, log at the end, s at both",
        "bits": "14: this controller and the one 32 above it are one",
        "relative": "an endless encoder: twos sends 1 and 127, offset 65 and 63",
        "step": "of an encoder, in natural units",
        "value": "what a note sets or triggers",
        "crossfade": "seconds",
        "ramp": "seconds",
        "gate": "the parameter is up while the note is held",
        "attack": "of a gate, seconds",
        "release": "of a gate, seconds",
        "velocity": "how much the stroke decides about a gate's height, 0 to 1",
        "launch": "when a trigger acts: now, or on the next beat or bar",
        "led": "velocity that lights the note's pad, where it means a colour",
    },
)

_FOLLOWABLE = (*PARAMETERS, f"{MACRO}<name>", *FOLLOWED)
_ONLY_FOR = {  # keys that mean something only with some targets
    "range": _FOLLOWABLE,
    "takeover": _FOLLOWABLE,
    "curve": _FOLLOWABLE,
    "bits": _FOLLOWABLE,
    "relative": _FOLLOWABLE,
    "ramp": (*PARAMETERS, "recall"),
    "gate": tuple(PARAMETERS),
    "mode": ("reseed",),
    "crossfade": ("checkpoint",),
    "voice": (*PARAMETERS, *(name for name, trigger in TRIGGERS.items() if trigger.voice and trigger.mapped)),
}
_ONLY_WITH = {  # keys that mean something only beside another
    "step": "relative",
    "attack": "gate",
    "release": "gate",
    "velocity": "gate",
}
NOBODY = "none"  # for a partner
_GATES = ("gate", "mode")  # kinds of arguments that no value goes with
_KINDS: dict[str, Rule] = {
    "entry": ENTRY,
    "name": Text(),
    "name or gate": Text(),
    "integer": Number(0, 2**64 - 1, whole=True),
    "index": Number(0, MOST_MOMENTS - 1, whole=True),
    "beats": Number(0, MOST_BEATS),
}


def read_binding(where: str, fields: dict[str, Any], known: Known) -> Binding:
    """A line of the map from its fields, each of them checked already. Raises ValueError beginning with ``where``."""
    if fields.get("voice", 1) > known.voices:
        raise ValueError(f"{where}.voice: there is no voice {fields['voice']}; voices is {known.voices}")
    source, number = _source(fields, where)
    to = fields["to"]
    fields = {key: value for key, value in fields.items() if key not in (*SOURCES, "to")}
    gate = bool(fields.pop("gate", False))
    seconds = fields.pop("crossfade", None)
    ramp = fields.pop("ramp", None)
    given = {**fields, **({"crossfade": 0} if seconds is not None else {}), **({"ramp": 0} if ramp is not None else {})}
    _check_keys(source, number, to, {**given, **({"gate": True} if gate else {})}, where)
    if source in ("bend", "pressure"):
        fields.setdefault("takeover", "jump")  # they spring back to where nothing is
    if "value" in fields:
        fields["value"] = _value(to, fields["value"], known, f"{where}.value")
    _check_range(to, fields, where)
    binding = Binding(source, number, to, seconds=ramp if seconds is None else seconds, gate=gate, **fields)
    _check_whole(binding, known, where)
    return binding


def arguments(binding: Binding, number: int) -> tuple[object, ...]:
    """A trigger's arguments when the message ``number`` makes it happen."""
    if binding.to == "reseed":
        return (binding.mode,)
    value = number if binding.number is None and binding.source == "program" else binding.value
    if value is None:
        return ()
    takes = TRIGGERS[binding.to].arguments[1:2]
    return (value,) if binding.seconds is None or not takes else (value, binding.seconds)


def _source(fields: dict[str, Any], where: str) -> tuple[str, int | None]:
    """Which message a line listens to: (``cc``, 1), (``note``, 36), (``program``, None) for any program."""
    source = next(name for name in SOURCES if name in fields)
    value = fields[source]
    if not isinstance(value, str):
        return source, value
    try:
        return source, None if value == ANY else number_of(value)
    except ValueError as error:
        raise ValueError(f"{where}.{source}: {error}") from None


def _check_keys(source: str, number: int | None, to: str, fields: dict[str, Any], where: str) -> None:
    """The keys of a line against each other."""
    kind = f"{MACRO}<name>" if to.startswith(MACRO) else to
    for key, allowed in _ONLY_FOR.items():
        if key in fields and kind not in allowed:
            raise ValueError(f"{where}.{key}: not with to: {to}; only with {', '.join(allowed)}")
    for key, other in _ONLY_WITH.items():
        if key in fields and other not in fields:
            raise ValueError(f"{where}.{key}: only with {other}")
    if "launch" in fields and not (to in TRIGGERS and TRIGGERS[to].launched):
        waiting = ", ".join(name for name, trigger in TRIGGERS.items() if trigger.launched and trigger.mapped)
        raise ValueError(f"{where}.launch: not with to: {to}; only with {waiting}")
    turns = source in ("cc", "bend", "pressure") and is_followed(to)
    _check_source(source, number, to, turns, fields, where)
    if turns and "value" in fields:
        raise ValueError(f"{where}.value: not here; the {source} itself says the value")
    if not turns and "gate" not in fields:
        for key in ("range", "takeover", "curve", "bits", "relative"):
            if key in fields:
                raise ValueError(f"{where}: {key} is for what turns, a {source} has a value")
        _check_value_is_there(source, number, to, fields, where)


def _check_source(source: str, number: int | None, to: str, turns: bool, fields: dict[str, Any], where: str) -> None:
    """What only some messages can say."""
    if source == "program" and number is None and to not in ("checkpoint", "patch"):
        raise ValueError(f"{where}.program: any only goes to checkpoint or patch, not to {to}")
    if source == "note" and number is None and "gate" not in fields:
        raise ValueError(f"{where}.note: any only with gate: true")
    if source in ("bend", "pressure") and not turns:
        raise ValueError(f"{where}.{source}: only goes to {', '.join(_FOLLOWABLE)}")
    if fields.get("bits", 7) not in (7, 14):
        raise ValueError(f"{where}.bits: {fields['bits']} is not 7 or 14")
    if fields.get("bits") == 14 and (source != "cc" or number is None or number > 31):
        raise ValueError(f"{where}.bits: 14 only with cc 0 to 31; the fine one is 32 above")
    if "relative" in fields and (source != "cc" or fields.get("bits") == 14 or "takeover" in fields):
        raise ValueError(f"{where}.relative: only with cc, of 7 bits, without takeover")
    if "gate" in fields and (source != "note" or "takeover" in fields or "ramp" in fields):
        raise ValueError(f"{where}.gate: only with note, without takeover and ramp")
    if "led" in fields and source != "note":
        raise ValueError(f"{where}.led: only with note")


def _check_value_is_there(source: str, number: int | None, to: str, fields: dict[str, Any], where: str) -> None:
    if "value" in fields or (number is None and source == "program"):
        return
    wanted = is_followed(to)
    if to in TRIGGERS and to not in FOLLOWED:
        first = TRIGGERS[to].arguments[0]
        wanted = not first.optional
    if wanted:
        raise ValueError(f"{where}: value is missing; say what {to} this {source} is for")


def _value(to: str, value: Any, known: Known, where: str) -> Any:
    """A value as its target takes it."""
    if to in PARAMETERS:
        return VALUES[to].read(value, where)
    if to.startswith(MACRO):
        return Number(0, 1).read(value, where)
    kind, words = TRIGGERS[to].arguments[0].kind, TRIGGERS[to].arguments[0].words
    if words:
        return Choice(words).read(value, where)
    if kind in _GATES:
        allowed = (
            *PARAMETERS,
            *(n for n in targets() if n in TRIGGERS and TRIGGERS[n].arguments[0].kind not in _GATES),
        )
        raise ValueError(f"{where}: not with to: {to}; only with {', '.join(allowed)}")
    if kind in _KINDS and not (kind == "entry" and isinstance(value, float)):
        value = _KINDS[kind].read(value, where)
    if to == "partner":
        return partner_index(value, known.bank, where)
    if kind == "entry" and to == "checkpoint":
        return bank_index(int(value) if isinstance(value, float) and value == int(value) else value, known.bank, where)
    names = known.tables.get(to.partition("/")[0])
    if names is not None and isinstance(value, str) and value not in names:
        raise ValueError(f"{where}: there is no {to.partition('/')[0]} {shorten(value)}{suggest(value, names)}")
    return value


def _check_range(to: str, fields: dict[str, Any], where: str) -> None:
    """A range against the target's own."""
    for i, end in enumerate(fields.get("range", ())):
        if to in PARAMETERS:
            p = PARAMETERS[to]
            Number(p.low, p.high).read(end, f"{where}.range[{i}]")
        elif to.startswith(MACRO):
            Number(0, 1).read(end, f"{where}.range[{i}]")


def _check_whole(binding: Binding, known: Known, where: str) -> None:
    """What only shows when everything is read."""
    if binding.to.startswith(MACRO):
        names, name = known.tables.get("macro", ()), binding.to.removeprefix(MACRO)
        if name not in names:
            raise ValueError(f"{where}.to: there is no macro {shorten(name)}{suggest(name, names)}")
    elif binding.to not in PARAMETERS and not binding.follows:
        try:
            read_arguments(TRIGGERS[binding.to], arguments(binding, 0))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def partner_index(entry: object, names: Sequence[str], where: str) -> int:
    """As :func:`bank_index`, and -1 for ``none``."""
    if entry in (NOBODY, -1):
        return -1
    return bank_index(int(entry) if isinstance(entry, float) and entry == int(entry) else entry, names, where)


def bank_index(entry: object, names: Sequence[str], where: str) -> int:
    """Index of a bank entry given by index from 0 or by name. Raises ValueError saying what the bank holds."""
    if isinstance(entry, str):
        if entry in names:
            return names.index(entry)
        if not (entry.isascii() and entry.isdigit() and len(entry) < 9):
            raise ValueError(f"{where}: {shorten(entry)} is not in the bank{suggest(entry, names)}")
        entry = int(entry)
    if isinstance(entry, int) and 0 <= entry < len(names):
        return entry
    raise ValueError(f"{where}: {shorten(entry)} is not in the bank of 0 to {len(names) - 1} ({', '.join(names[:12])})")
