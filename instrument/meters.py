"""The loop's telemetry as performers see it: by the names of ``parameters.TELEMETRY`` and ``VOICE_TELEMETRY``.

Pure, any thread; cheap enough for 120 times a second. Taking the snapshot is left to the link, sending it to the
adapters.
"""

from __future__ import annotations

import math

from instrument.controls import Telemetry, VoiceTelemetry

RESTING = 3  # phase of a voice (instrument.controls)
FLOOR = 1e-6  # -120 dB: silence, as numbers that can be drawn


def overall(t: Telemetry, *, ring_frames: int, latency: int, sample_rate: int, patch: int = 0) -> dict[str, float]:
    """What belongs to the mix; ``ring_frames``, ``latency`` in frames, ``sample_rate`` in Hz, ``patch`` of the set."""
    first = t.voices[0] if t.voices else VoiceTelemetry(temperature=0.0)
    return {
        "level": decibel(t.rms),
        "peak": decibel(t.peak),
        "temperature": first.temperature,
        "entropy": first.entropy,
        "steer": first.steer,
        "looping": first.looping,
        "checkpoint": float(first.slot),
        "patch": float(patch),
        "load": t.load,
        "ring": t.fill / ring_frames if ring_frames else 0.0,
        "latency": 1000.0 * latency / sample_rate,
        "underruns": float(t.underruns),
        "position": t.read / sample_rate,
    }


def voices(t: Telemetry) -> dict[str, float]:
    """What belongs to each voice: ``voice/1/level`` ..."""
    return {f"voice/{n}/{name}": value for n, v in enumerate(t.voices, 1) for name, value in voice(v).items()}


def voice(v: VoiceTelemetry) -> dict[str, float]:
    """One voice's, by the names of ``parameters.VOICE_TELEMETRY``."""
    return {
        "level": decibel(v.rms),
        "peak": decibel(v.peak),
        "temperature": v.temperature,
        "entropy": v.entropy,
        "steer": v.steer,
        "looping": v.looping,
        "resting": float(v.phase == RESTING),
        "checkpoint": float(v.slot),
    }


def decibel(amplitude: float) -> float:
    """Linear amplitude of full scale 1 -> dB, never below -120."""
    return 20.0 * math.log10(max(amplitude, FLOOR))
