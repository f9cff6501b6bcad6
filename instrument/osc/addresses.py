"""Every OSC address of the instrument, made from the table of parameters and triggers.

Pure, any thread. What an address does when a message arrives is left to the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from instrument.parameters import PARAMETERS, PREFIX, TELEMETRY, TRIGGERS, VOICE_TELEMETRY, Parameter, number

CONTINUOUS = ("set", "norm")  # kinds of routes that lead to values, of which only the last matters
OUTGOING = ("value", "pong", "error", "out")  # below the prefix; what comes in there was ours


@dataclass(frozen=True)
class Route:
    """Where an address leads.

    Attributes:
        kind: ``set``, ``norm`` or ``trigger``.
        name: of the parameter or trigger.
        voice: from 1; None for all.
    """

    kind: str
    name: str
    voice: int | None = None


def routes(voices: int, macros: Iterable[str] = ()) -> dict[str, Route]:
    """Every incoming address of an instrument with that many voices, and of its patch's macros (``macro/<name>``)."""
    found = {f"{PREFIX}/{name}": Route("set", name) for name in PARAMETERS}
    found |= {f"{PREFIX}/norm/{name}": Route("norm", name) for name in PARAMETERS}
    found |= {f"{PREFIX}/{name}": Route("trigger", name) for name in TRIGGERS}
    found |= {f"{PREFIX}/{name}": Route("set", name) for name in macros}
    for voice in range(1, voices + 1):
        found |= {f"{PREFIX}/voice/{voice}/{name}": Route("set", name, voice) for name in PARAMETERS}
        per_voice = [name for name, trigger in TRIGGERS.items() if trigger.voice]
        found |= {f"{PREFIX}/voice/{voice}/{name}": Route("trigger", name, voice) for name in per_voice}
    return found


def table() -> list[tuple[str, str, str]]:
    """(address, arguments, what it does) of every address, in and out."""
    rows = [(f"{PREFIX}/{p.name}", "value [ramp seconds]", f"{p.help}; {_range(p)}") for p in PARAMETERS.values()]
    rows += [
        (f"{PREFIX}/voice/<n>/{name}", "value [ramp seconds]", "the same for voice n, from 1") for name in PARAMETERS
    ]
    rows += [(f"{PREFIX}/norm/{name}", "0..1 [ramp seconds]", "the same over its range") for name in PARAMETERS]
    for t in TRIGGERS.values():
        arguments = " ".join(map(str, t.arguments)) or "none"
        rows.append((f"{PREFIX}/{t.name}", arguments, f"{t.help}{f' -> {t.reply}' if t.reply else ''}"))
        if t.voice:
            rows.append((f"{PREFIX}/voice/<n>/{t.name}", arguments, "the same for voice n, from 1"))
    rows += [(f"{PREFIX}/out/{name}", "sent: value", text) for name, text in TELEMETRY.items()]
    rows += [
        (f"{PREFIX}/out/voice/<n>/{name}", "sent: value", f"of voice n: {text}")
        for name, text in VOICE_TELEMETRY.items()
    ]
    rows.append((f"{PREFIX}/value", "sent: name value", "an answer to get or dump"))
    rows.append((f"{PREFIX}/dump/end", "sent: count", "behind the last value of a dump: how many there were"))
    rows.append((f"{PREFIX}/pong", "sent: version", "the answer to ping"))
    rows.append((f"{PREFIX}/error", "sent: one line", "what was wrong with a message"))
    return rows


def listing() -> list[str]:
    """The table as lines for ``samplernn osc list``."""
    rows = table()
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    return [f"{address:<{first}}  {arguments:<{second}}  {text}" for address, arguments, text in rows]


def markdown() -> str:
    """The table for the docs."""
    rows = [f"| `{a}` | {_escape(b)} | {_escape(c)} |" for a, b, c in table()]
    return "\n".join(["| address | arguments | |", "|---|---|---|", *rows])


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def _range(p: Parameter) -> str:
    unit = f" {p.unit}" if p.unit else ""
    return f"{number(p.low)}..{number(p.high)}{unit} ({number(p.default)})"
