"""Stereo against mono, for each checkpoint: how alike the sides are by band, how loud, how silent, and what it costs.

    python tools/stereo.py checkpoints/*.safetensors [--seconds 20] [--keep FOLDER]

Both are rendered by the loop itself, offline, at temperature 1 and of one seed; the left side of the stereo voice then
draws what the mono voice draws. Bands are of what leaves the loop. Costs are the quickest of many short stretches of
the loop's whole turns, mono and stereo taking turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from engine.checkpoint import load  # noqa: E402
from instrument import bank  # noqa: E402
from instrument.audio.performance import Performance  # noqa: E402

RATE, SEED, SKIPPED_S, ROUND_S = 44100, 7, 0.5, 0.02


def performance(path: Path, stereo: bool) -> Performance:
    """One voice of the checkpoint, offline."""
    slots = bank.make_slots([load(path)], [path.stem], "cpu", "int8", 1, [stereo])
    return Performance(slots, sample_rate=RATE, seed=SEED, offline=True, tap=True)


def banded(sound: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    """(n, 2) between two frequencies."""
    spectra = np.fft.rfft(sound, axis=0)
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectra[(frequencies < low) | (frequencies >= high)] = 0.0
    return np.fft.irfft(spectra, len(sound), axis=0)


def alike(sound: NDArray[np.floating], low: float, high: float) -> float:
    """Correlation of the sides between two frequencies."""
    return float(np.corrcoef(banded(sound, low, high).T)[0, 1])


def level(sound: NDArray[np.floating]) -> float:
    """RMS, dB of full scale."""
    return float(10 * np.log10(np.mean(sound**2) + 1e-12))


def silence(sound: NDArray[np.floating]) -> float:
    """Share of stretches of 50 ms below -50 dB."""
    size = RATE // 20
    frames = sound[: len(sound) // size * size].reshape(-1, size)
    return float(np.mean(10 * np.log10(np.mean(frames**2, axis=1) + 1e-12) < -50.0))


def costs(paths: tuple[Performance, Performance], rounds: int) -> list[float]:
    """us a session sample of mono and of stereo."""
    best, at, step = [np.inf, np.inf], [0, 0], int(ROUND_S * RATE)
    for _ in range(rounds):
        for i, played in enumerate(paths):
            at[i] += step
            begun = time.thread_time()  # of this thread alone, whatever else runs
            played.render_to(at[i])
            best[i] = min(best[i], (time.thread_time() - begun) / step * 1e6)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--keep", type=Path, help="a folder for what was rendered in stereo")
    arguments = parser.parse_args()
    print("| network | <120 Hz | <200 Hz | >3 kHz | left, right to mono | silence: mono, left, right | us a sample |")
    print("|---|---|---|---|---|---|---|")
    for path in arguments.checkpoints:
        ways = (performance(path, False), performance(path, True))
        mono, stereo = (p.render_to(int(arguments.seconds * RATE))[int(SKIPPED_S * RATE) :] for p in ways)
        left, right = (level(side) - level(mono[:, 0]) for side in stereo.T)
        quiet = ", ".join(f"{silence(side):.0%}" for side in (mono[:, 0], *stereo.T))
        one, two = costs((performance(path, False), performance(path, True)), 150)
        print(
            f"| {path.stem} | {alike(stereo, 20, 120):.2f} | {alike(stereo, 20, 200):.2f} "
            f"| {alike(stereo, 3000, RATE / 2):.2f} | {left:+.1f} dB, {right:+.1f} dB | {quiet} "
            f"| {one:.1f}, {two:.1f}: {two / one:.2f} times |",
            flush=True,
        )
        if arguments.keep:
            soundfile.write(arguments.keep / f"stereo-{path.stem}.flac", stereo, RATE)


if __name__ == "__main__":
    main()
