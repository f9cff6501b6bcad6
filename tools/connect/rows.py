"""What a control surface offers: knobs, gestures and meters, out of the instrument's table."""

from __future__ import annotations

from dataclasses import dataclass

from instrument.parameters import PARAMETERS, PREFIX, TELEMETRY, TRIGGERS, Argument

HOST, PORT, BACK = "127.0.0.1", 9000, 9001  # the instrument; where surfaces hear it
RATE = 20

# Argument kinds and what a surface sends for one; a gesture whose kind is not here is left to the help.
_SENT: dict[str, tuple[object, ...]] = {
    "gate": (1,),
    "mode": ("random",),
    "entry": (0,),
    "integer": (7,),
    "index": (0,),
    "beats": (4,),
    "bpm": (120,),
    "turn": ("start",),
    "launch": ("bar",),
    "name": ("a",),
    "name or gate": (1,),
    "share": (0.5,),
    "seconds": (2.0,),
    "port": (BACK,),
    "rate": (RATE,),
}
_HIDDEN = ("ping", "get", "subscribe", "unsubscribe", "listen", "unlisten", "dump", "learn", "learn/stop", "resend")


@dataclass(frozen=True)
class Knob:
    """A parameter of all voices."""

    name: str
    address: str
    low: float
    high: float
    default: float
    unit: str
    whole: bool
    help: str


@dataclass(frozen=True)
class Gesture:
    """A trigger, and arguments that are an example of its own."""

    name: str
    address: str
    arguments: tuple[object, ...]
    help: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of its arguments."""
        return tuple(argument.kind for argument in TRIGGERS[self.name].arguments)

    @property
    def is_gate(self) -> bool:
        """Whether a button that sends 1 and then 0 fires it."""
        return not self.kinds or self.kinds[0] in ("gate", "mode", "name or gate")


def knobs() -> list[Knob]:
    """All parameters, in the table's order."""
    return [
        Knob(p.name, f"{PREFIX}/{p.name}", p.low, p.high, p.default, p.unit, p.whole, p.help)
        for p in PARAMETERS.values()
    ]


def gestures() -> list[Gesture]:
    """All triggers that play, each with what an example of it sends."""
    return [
        Gesture(
            t.name, f"{PREFIX}/{t.name}", tuple(v for a in t.arguments if not a.optional for v in _example(a)), t.help
        )
        for t in TRIGGERS.values()
        if t.name not in _HIDDEN
    ]


def buttons() -> list[Gesture]:
    """The gestures that a button can make by itself."""
    return [gesture for gesture in gestures() if gesture.is_gate]


def meters() -> dict[str, str]:
    """Telemetry: address -> what it is."""
    return {f"{PREFIX}/out/{name}": text for name, text in TELEMETRY.items()}


def _example(argument: Argument) -> tuple[object, ...]:
    return (argument.words[0],) if argument.words else _SENT[argument.kind]
