"""Pictures of a stereo voice, and of one network turning into another by `blend`, as they leave the loop.

    python tools/pairs.py stereo checkpoints/tabla.safetensors checkpoints/drones.safetensors -o docs/stereo.png
    python tools/pairs.py blend checkpoints/tabla.safetensors checkpoints/guitar.safetensors \
        checkpoints/drones.safetensors -o docs/blend.png

Blended is the first of the checkpoints with each of the others. Seed 7; stereo at temperature 0.9, blends at 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import engine
from instrument import bank
from instrument.audio.performance import Performance
from instrument.controls import BLEND, DEFAULTS, TEMPERATURE, Command, Op

# isort: split
import numpy as np
import soundfile
from dice import save
from numpy.typing import NDArray

SEED = 7
STEREO_S, HELD_S, SWEPT_S = 8.0, 3.0, 12.0


def render(paths: list[Path], stereo: bool, seconds: float, commands: list[Command], keep: Path | None) -> Any:
    """Sound, (n, 2), and its rate; where there are two networks, the second is the partner from the start."""
    checkpoints = [engine.load(path) for path in paths]
    rate = checkpoints[0].config.sample_rate
    slots = bank.make_slots(checkpoints, [path.stem for path in paths], "cpu", "int8", 1, [stereo])
    row = list(DEFAULTS)
    row[TEMPERATURE] = 0.9 if stereo else 1.0
    made = Performance(
        slots, sample_rate=rate, seed=SEED, offline=True, parameters=[row], partners=[1 if len(paths) > 1 else -1]
    )
    for command in commands:
        made.link.push(command)
    sound = made.render_to(round(seconds * rate))
    made.close()
    if keep:
        soundfile.write(keep / ("-".join(path.stem for path in paths) + ".flac"), sound, rate)
    return sound, rate


def draw(axis: Any, sound: NDArray[Any], rate: int, title: str) -> None:
    """One spectrogram."""
    axis.specgram(sound + 1e-9, NFFT=1024, Fs=rate, noverlap=512, vmin=-140, vmax=-45, cmap="magma")
    axis.set(ylim=(0, 12_000), title=title, yticks=(0, 4000, 8000), yticklabels=("0", "4", "8 kHz"))


def stereo(paths: list[Path], axes: Any, keep: Path | None) -> None:
    """Left, right, middle and what differs of each."""
    for path, column in zip(paths, axes.T, strict=True):
        sound, rate = render([path], True, STEREO_S, [], keep)
        left, right = sound.T
        shown = {"left": left, "right": right, "middle": (left + right) / 2, "half the difference": (left - right) / 2}
        for axis, (name, side) in zip(column, shown.items(), strict=True):
            draw(axis, side, rate, f"{path.stem}, {name}")
        column[-1].set(xlabel="s")


def blend(paths: list[Path], axes: Any, keep: Path | None) -> None:
    """Three seconds of one, twelve on the way to the other, three of that."""
    for path, axis in zip(paths[1:], np.atleast_1d(axes), strict=True):
        rate = engine.load(path).config.sample_rate
        sweep = Command(round(HELD_S * rate), Op.SET, parameter=BLEND, value=1.0, ramp=round(SWEPT_S * rate))
        sound, rate = render([paths[0], path], False, 2 * HELD_S + SWEPT_S, [sweep], keep)
        draw(axis, sound[:, 0], rate, f"{paths[0].stem} to {path.stem}: blend 0 to 3 s, to 1 at 15 s")
        levels = [10 * np.log10(np.mean(part**2) + 1e-12) for part in np.array_split(sound[:, 0], 9)]
        print(f"{paths[0].stem} to {path.stem}, dB in stretches of 2 s:", *(f"{one:.1f}" for one in levels))


def main() -> None:
    """Parse, draw, save."""
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stereo", "blend"))
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="a folder for the sounds too")
    args = parser.parse_args()
    if args.what == "stereo":
        figure, axes = plt.subplots(4, len(args.checkpoints), figsize=(12, 9), sharex=True, squeeze=False)
        stereo(args.checkpoints, axes, args.keep)
    else:
        figure, axes = plt.subplots(len(args.checkpoints) - 1, figsize=(12, 6), sharex=True)
        blend(args.checkpoints, axes, args.keep)
    save(figure, args.out)


if __name__ == "__main__":
    main()
