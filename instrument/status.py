"""The one line drawn while a set plays: level, temperature, checkpoint, load, ring, latency, underruns.

Pure: telemetry in, text out. The session's control thread draws it a few times a second, on a terminal only, through
``instrument.console``, which never waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from instrument.controls import Telemetry
from instrument.meters import RESTING

FLOOR_DB = -48.0
WIDTH = 8
_MARKS = (" primes", " fades")


@dataclass(frozen=True)
class Fixed:
    """What does not change during a set: bank names, L in ms, frames the ring holds, Hz, whether in blocks."""

    names: Sequence[str]
    latency_ms: float
    ring_frames: int
    sample_rate: int
    unicode: bool = True


def line(t: Telemetry, fixed: Fixed, columns: int = 80) -> str:
    """The line for ``t``, no longer than ``columns`` - 1 characters."""
    most = max(1, columns - 1)
    whole = _joined(t, fixed, entropy=True)
    return whole if len(whole) <= most else _joined(t, fixed, entropy=False)[:most]  # names matter more


def _joined(t: Telemetry, fixed: Fixed, entropy: bool) -> str:
    voice = t.voices[0]
    figures = f"T {voice.temperature:.3f}" + f" H {voice.entropy:.1f}" * entropy
    ring = min(1.0, t.fill / max(1, fixed.ring_frames))
    underruns = f"{t.underruns} underrun{'s' * (t.underruns != 1)}"
    fields = [
        f"{meter(t.rms, t.peak, fixed.unicode)} {decibels(t.peak)}",
        "panic" if t.silent else figures,
        f"load {t.load:4.0%} ring {ring:4.0%} {fixed.latency_ms:.0f} ms {underruns}",
        clock(t.read / fixed.sample_rate),
        checkpoints(t, fixed.names),  # last: a narrow terminal cuts names before figures
    ]
    return "  ".join(fields)


def meter(rms: float, peak: float, unicode: bool = True) -> str:
    """A bar of ``WIDTH`` cells from -48 dB to full scale: RMS solid, the peak a mark."""
    full, tick, bar = ("█", "│", "▕") if unicode else ("#", "|", "|")
    cells = [full if i < _cell(rms) else " " for i in range(WIDTH)]
    at = _cell(peak)
    if at:
        cells[at - 1] = tick if at > _cell(rms) else full
    return f"{bar}{''.join(cells)}{'▏' if unicode else '|'}"


def decibels(amplitude: float) -> str:
    """``-12 dB`` of a linear amplitude of full scale 1, or blank below the floor."""
    return f"{20 * math.log10(amplitude):3.0f} dB" if amplitude > 10 ** (FLOOR_DB / 20) else "  - dB"


def checkpoints(t: Telemetry, names: Sequence[str]) -> str:
    """What the voices play, each name once, with what voice 1 is doing about it; how many rest."""
    sounding = [v for v in t.voices if v.phase != RESTING]
    playing = [names[v.slot] if 0 <= v.slot < len(names) else "?" for v in sounding]
    resting = len(t.voices) - len(sounding)
    shown = " ".join(dict.fromkeys(playing)) + f" {resting} rest{'s' * (resting == 1)}" * (resting > 0)
    phase = t.voices[0].phase
    return shown + (_MARKS[phase - 1] if 1 <= phase <= len(_MARKS) else "")


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _cell(amplitude: float) -> int:
    if amplitude <= 0 or not math.isfinite(amplitude):
        return 0
    share = 1 - 20 * math.log10(amplitude) / FLOOR_DB
    return max(0, min(WIDTH, round(share * WIDTH)))
