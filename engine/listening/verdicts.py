"""Verdicts on clips: what a network gets stuck on (silence, tone, noise, trap), and which of eight classes fits.

"You can hear things that the network gets stuck on. Silence, tones, and noise" (Sonic gnarl, one of the seeds). The
thresholds were chosen on one half of a set of labelled clips and their errors are reported on the other
(docs/listening.md); the classes are rules of thumb. Numbers suggest; the ear decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.listening.descriptors import Figures, Steadiness

FLAGS = ("silence", "tone", "noise", "trap")
CLASSES = ("silence", "wind", "tones", "voice", "rhythmic", "gnarly", "garbled", "hellish")


@dataclass(frozen=True)
class Thresholds:
    """Where verdicts begin.

    Attributes:
        silent_db: loud_db below which a clip is silence.
        tone_movement_db, tone_lines: a tone moves less and has more of its power in lines.
        noise_movement_db, noise_lines: noise moves less and has less of it there.
        trap_coverage, trap_recurs: the clips around a trap visit a smaller share of the source's textures, and the
            clip's recurrence is a smaller share of the source's least.
    """

    silent_db: float
    tone_movement_db: float
    tone_lines: float
    noise_movement_db: float
    noise_lines: float
    trap_coverage: float
    trap_recurs: float


THRESHOLDS = Thresholds(-37.0, 3.5, 0.9, 2.5, 0.9, 0.75, 1.0)  # chosen by tools/labelled.py, which fails if not


def verdicts(
    figures: Steadiness, coverage: float | None = None, recurs: float | None = None, at: Thresholds = THRESHOLDS
) -> list[str]:
    """Which of FLAGS a clip earns: at most one, in that order; a trap only where something moves.

    Args:
        coverage, recurs: of the clip's group and of the clip against the source (``engine.listening.traps``), or None
            where there is no source, or too little to tell.
    """
    if figures.loud_db < at.silent_db:
        return ["silence"]
    if figures.movement_db < at.tone_movement_db and figures.lines > at.tone_lines:
        return ["tone"]
    if figures.movement_db < at.noise_movement_db and figures.lines < at.noise_lines:
        return ["noise"]
    if coverage is not None and recurs is not None and coverage < at.trap_coverage and recurs < at.trap_recurs:
        return ["trap"]
    return []


def suggestion(f: Figures, flags: list[str]) -> tuple[str, str]:
    """One of CLASSES, and why, in a sentence."""
    level = f"{f.level_db:.0f} dB"
    if "silence" in flags:
        return "silence", f"four fifths of the time it is below {f.loud_db:.0f} dB"
    if "noise" in flags:
        moves = f"noise that moves by only {f.movement_db:.1f} dB"
        if f.level_db > -14 and f.brightness_hz > 3000:
            return "hellish", f"{moves}, loud ({level}) and bright ({f.brightness_hz:.0f} Hz)"
        return "wind", f"{moves}, at {level} around {f.brightness_hz:.0f} Hz"
    if "tone" in flags:
        return "tones", f"{f.lines:.0%} of the power stands in lines that move by only {f.movement_db:.1f} dB"
    if f.pulse > 0.5 and f.onsets_per_s >= 1.5:
        return "rhythmic", f"{f.onsets_per_s:.1f} onsets a second, regular to {f.pulse:.0%}"
    if f.pitch > 0.6 and 1.5 <= f.pitch_spread <= 8 and 400 < f.brightness_hz < 3500 and 1 <= f.onsets_per_s <= 8:
        return "voice", f"pitched to {f.pitch:.0%}, gliding over {2 * f.pitch_spread:.0f} semitones"
    if f.lines > 0.7 and f.movement_db < 8:
        return "tones", f"{f.lines:.0%} of the power stands in lines, and moves by {f.movement_db:.1f} dB"
    if f.flatness > 0.1 and f.level_db > -14:
        return "hellish", f"near noise (flatness {f.flatness:.2f}), loud ({level}), moving by {f.movement_db:.1f} dB"
    if f.movement_db >= 6:
        return "gnarly", f"tones and noise that move by {f.movement_db:.1f} dB, {f.onsets_per_s:.1f} onsets a second"
    return "garbled", f"neither steady nor eventful: it moves by {f.movement_db:.1f} dB, {f.lines:.0%} of it in lines"
