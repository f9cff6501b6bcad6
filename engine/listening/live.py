"""What a voice is stuck on right now, from its last seconds: silence, a tone, noise, or a trap. NumPy only.

The verdicts of :mod:`engine.listening.verdicts` on what is being played instead of on a clip. A clip's trap is told by
the textures of ten clips together as well, which a voice that is playing cannot wait for: here it is recurrence alone,
against the least that the source ever had (docs/listening.md has the errors).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.listening.descriptors import Array, steadiness
from engine.listening.traps import EXACT, WINDOW_SECONDS, Source, recurrence
from engine.listening.verdicts import verdicts

RATE = 22050  # the highest it needs: at 44.1 kHz it takes five times as long and says the same
STEADY_SECONDS = 4.0  # of sound that silence, tone and noise are told by
TRAP_SECONDS = WINDOW_SECONDS
HIGHEST = 0.25  # least recurrence; five sources of 40 to 60 s have 0.19 to 0.28, one of 12 s has 0.43
TRAPPED = 1.0  # of the source's least recurrence, as a clip is; every stretch of a source is at 1 or above


def stuck(audio: NDArray[np.floating], sample_rate: int, least_recurrence: float | None = None) -> str:
    """What the end of ``audio`` (T,) is stuck on: one of verdicts.FLAGS, or nothing.

    Args:
        audio: newest last; nothing is said of less than STEADY_SECONDS.
        least_recurrence: of the source (``Source.least_recurrence`` of TRAP_SECONDS); None: no trap is looked for.
    """
    x, rate = lowered(audio, sample_rate)
    if len(x) < STEADY_SECONDS * rate:
        return ""
    found = verdicts(steadiness(x[-round(STEADY_SECONDS * rate) :], rate))
    if found:
        return found[0]
    size = round(TRAP_SECONDS * rate)
    if least_recurrence is None or len(x) < size:
        return ""
    share = max(recurrence(x[-size:], rate), EXACT) / max(least_recurrence, EXACT)
    return "trap" if share < TRAPPED else ""


def least_recurrence(audio: NDArray[np.floating], sample_rate: int) -> float:
    """What :func:`stuck` needs to know of a source, ``audio`` (T,), TRAP_SECONDS or longer.

    A source that hardly fills the stretch it is looked at in has too few of them to know its least: HIGHEST at most.
    """
    return min(HIGHEST, Source(*lowered(audio, sample_rate)).least_recurrence(TRAP_SECONDS))


def lowered(audio: NDArray[np.floating], sample_rate: int) -> tuple[Array, int]:
    """``audio`` at RATE or less, by means of neighbours: enough to be judged, not to be listened to."""
    share = max(1, sample_rate // RATE)
    size = len(audio) // share * share
    x = np.asarray(audio[len(audio) - size :], np.float64).reshape(-1, share).mean(axis=1)
    return x, sample_rate // share


def flux(before: NDArray[np.floating], now: NDArray[np.floating]) -> float:
    """How much of a sound is new, 0 to 1: of two windows (T,) of equal length, what the spectrum gained.

    Half-wave rectified difference of magnitudes as a share of their sum (Dixon 2006, "Onset detection revisited", the
    spectral flux, normalised so that it is no measure of loudness). 0 for silence and for what does not change.
    """
    window = np.hanning(len(now))
    a, b = (np.abs(np.fft.rfft(np.asarray(x, np.float64) * window)) for x in (before, now))
    total = float(np.maximum(a, b).sum())
    return float(np.maximum(b - a, 0.0).sum()) / total if total > 1e-4 * len(now) else 0.0
