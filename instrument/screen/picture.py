"""What the screen is told of a set, as a table that JSON can hold. The screen's thread in the player calls this.

Everything is optional to whoever reads it: what a set has not (no MIDI, no recording, no beat) is left out, and shown
as nothing. Levels are in dB of full scale, times in seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from instrument.controls import Telemetry, VoiceTelemetry

FLOOR = -90.0  # dB, of silence
PRIMING, FADING = 1, 2

Table = dict[str, Any]


def decibels(amplitude: float) -> float:
    """A linear amplitude of full scale 1 in dB, not below ``FLOOR``, whatever it is."""
    if not amplitude > 0.0:
        return FLOOR
    return round(max(FLOOR, 20.0 * math.log10(amplitude)), 1) if math.isfinite(amplitude) else 99.0


def levels(t: Telemetry) -> list[list[float]]:
    """[RMS, peak] of left and right."""
    return [[decibels(rms), decibels(peak)] for rms, peak in t.sides]


def voice(v: VoiceTelemetry, names: Sequence[str], asked: str, target: float) -> Table:
    """One voice; ``asked`` is the checkpoint it was last sent to, ``target`` where its temperature goes."""
    now = names[v.slot] if 0 <= v.slot < len(names) else "?"
    looping, steer = getattr(v, "looping", None), getattr(v, "steer", None)
    found = {
        "db": [decibels(v.rms), decibels(v.peak)],
        "now": now,
        "next": asked if asked != now else None,
        "phase": v.phase,
        "temperature": round(v.temperature, 4),
        "target": round(target, 4),
        "gain": round(v.gain, 2),
        "pan": round(v.pan, 2),
        "mute": bool(v.mute > 0.5),
        "entropy": _positive(getattr(v, "entropy", None)),
        "looping": round(looping, 3) if looping is not None and looping >= 0.0 else None,
        "steer": round(steer, 3) if steer and abs(steer - 1.0) > 1e-3 else None,
    }
    return present(found)


def whole(t: Telemetry, sample_rate: int, ring_frames: int, latency: int) -> Table:
    """The set as a whole."""
    return {
        "time": round(t.read / sample_rate, 2),
        "levels": levels(t),
        "silent": t.silent,
        "load": round(t.load, 3),
        "ring": round(min(1.0, t.fill / max(1, ring_frames)), 3),
        "latency": round(1000.0 * latency / sample_rate, 1),
        "underruns": t.underruns,
        "xruns": t.xruns,
    }


def recording(recorder: Any) -> Table | None:
    """How long has been recorded, and how long there is room for; None when nothing is."""
    if recorder is None:
        return None
    found = {"seconds": round(recorder.seconds, 1), "left": recorder.left, "failed": recorder.failed or None}
    return present(found)


def wire(last: tuple[float, str] | str | None, now: float | None = None) -> Table | None:
    """What arrived last on a wire, and how long ago, if that is known."""
    if not last:
        return None
    if isinstance(last, str):
        return {"text": " ".join(last.split())}
    return {"text": last[1], "ago": round((time.monotonic() if now is None else now) - last[0], 1)}


def present(table: Mapping[str, Any]) -> Table:
    """Without what is not there."""
    return {name: value for name, value in table.items() if value is not None}


def ask(question: Callable[[], Any]) -> Any:
    """The answer, or None where nobody can give one: one field that fails costs the screen that field."""
    try:
        return question()
    except Exception:
        return None


def _positive(value: float | None) -> float | None:
    return round(value, 2) if value else None
