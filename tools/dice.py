"""Pictures of a loop with dice, and of a held entropy, with the figures behind them.

python tools/dice.py loop checkpoints/tabla.safetensors -o docs/loop.png
python tools/dice.py entropy checkpoints/tabla.safetensors checkpoints/guitar.safetensors -o docs/steering.png
"""

from __future__ import annotations

import argparse
import io
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import engine
from instrument import bank
from instrument.audio.performance import Performance
from instrument.controls import DEFAULTS, ENTROPY, TEMPERATURE, VARIATION, Command, Op

# isort: split
import numpy as np
from numpy.typing import NDArray

VARIATIONS = (0.0, 0.1, 0.3, 1.0)
STEP_S = 0.05
COLOURS = 32  # of a picture, which is small then


def performance(path: Path, seed: int, **values: float) -> Performance:
    """One voice of a checkpoint at its own rate, offline, with these parameters."""
    checkpoint = engine.load(path)
    row = list(DEFAULTS)
    for code, value in ((TEMPERATURE, "temperature"), (VARIATION, "variation")):
        row[code] = values.get(value, row[code])
    slots = bank.make_slots([checkpoint], [path.stem], "cpu", "int8", 1)
    return Performance(slots, sample_rate=checkpoint.config.sample_rate, seed=seed, parameters=[row], offline=True)


def spectra(sound: NDArray[Any]) -> NDArray[np.float64]:
    """Log power of windows of 1024 samples."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::512] * np.hanning(1024)
    power: NDArray[np.float64] = np.log10(np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-6)
    return power


def loop(paths: list[Path], axes: Any) -> None:
    """Two seconds, then six passes of a loop of one, at each variation."""
    for axis, variation in zip(axes, VARIATIONS, strict=True):
        made = performance(paths[0], 7, temperature=0.95, variation=variation)
        rate = made.sample_rate
        made.link.push(Command(2 * rate, Op.LOOP, number=rate))
        sound = made.render_to(8 * rate)[:, 0]
        made.close()
        axis.specgram(sound, NFFT=1024, Fs=rate, noverlap=768, vmin=-140, vmax=-40, cmap="magma")
        axis.set(ylim=(0, 12_000), title=f"{paths[0].stem}, a loop of 1 s from 2 s on, variation {variation:g}")
        passes = sound[2 * rate :].reshape(6, rate)
        first, *others = [spectra(one).ravel() for one in passes]
        alike = [np.corrcoef(first, other)[0, 1] for other in others]
        waves = [np.corrcoef(passes[0], other)[0, 1] for other in passes[1:]]
        print(f"variation {variation:g}: like the first pass {np.mean(alike):.2f} (waveform {np.mean(waves):.2f})")


def steered(path: Path, targets: list[tuple[float, float]], seconds: float) -> NDArray[np.float64]:
    """Entropy, factor and temperature every STEP_S, (n, 4) with the time first."""
    made, rows = performance(path, 3), []
    for at, bits in targets:
        made.link.push(Command(round(at * made.sample_rate), Op.SET, parameter=ENTROPY, value=bits, ramp=1))
    for i in range(1, round(seconds / STEP_S)):
        made.render_to(round(i * STEP_S * made.sample_rate))
        voice = made.link.telemetry().voices[0]
        rows.append((i * STEP_S, voice.entropy, voice.steer, voice.temperature))
    made.close()
    return np.array(rows)


def entropy(paths: list[Path], axes: Any) -> None:
    """Free, then a fifth above what it is freely, then a fifth below, then free again."""
    for path, (above, below) in zip(paths, np.reshape(axes, (2, -1)).T, strict=True):
        free = float(steered(path, [], 6.0)[20:, 1].mean())
        targets = [(3.0, round(1.2 * free, 1)), (7.0, round(0.8 * free, 1)), (11.0, 0.0)]
        found = steered(path, targets, 14.0)
        time, bits = found[:, 0], found[:, 1]
        print(f"{path.stem}: freely {free:.2f} bits")
        for (start, target), (end, _) in pairwise(targets):
            held = found[(time > start + 1.5) & (time < end)]
            print(f"  {target}: {held[:, 1].mean():.2f} bits, factor {held[:, 2].min():.2f} to {held[:, 2].max():.2f}")
            above.plot([start, end], [target, target], "k--")
        above.plot(time, bits, lw=0.8, label="measured, 0.1 s")
        above.plot(time[10:-9], np.convolve(bits, np.full(20, 0.05), "valid"), lw=2, label="over 1 s")
        above.set(title=path.stem, ylabel="bits")
        above.legend()
        below.plot(time, found[:, 3])
        below.set(xlabel="s", ylabel="temperature")


def save(figure: Any, path: Path) -> None:
    """A small PNG: few colours."""
    from PIL import Image

    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=60)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def main() -> None:
    """Parse, draw, save."""
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("loop", "entropy"))
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    if args.what == "loop":
        figure, axes = plt.subplots(len(VARIATIONS), figsize=(12, 9), sharex=True)
        loop(args.checkpoints, axes)
    else:
        figure, axes = plt.subplots(2, len(args.checkpoints), figsize=(12, 6), sharex=True)
        entropy(args.checkpoints, axes)
    save(figure, args.out)


if __name__ == "__main__":
    main()
