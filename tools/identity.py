"""Which source does every checkpoint of the bank sound like? Ten clips of 5 s each, and a table for docs/bank.md.

    python tools/identity.py [checkpoints/tabla.safetensors ...] [--temperature 0.9] [--pictures docs/bank]

The distance is engine.listening.descriptors', over all sounds/*.flac; a checkpoint's own source is the file of the
same name up to a dash; its temperature, unless given, the one that its card calls best. With --pictures a
spectrogram of two clips under its source is drawn for each.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import engine  # noqa: E402
from engine.listening.descriptors import Atlas  # noqa: E402

CLIPS, SECONDS, SETTLE = 10, 5.0, 1.0  # the first second, out of silence, is not judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", type=Path)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    paths = args.checkpoints or sorted((ROOT / "checkpoints").glob("*.safetensors"))
    sources = {path.stem: soundfile.read(path)[0] for path in sorted((ROOT / "sounds").glob("*.flac"))}
    atlas = Atlas.of(sources, 44100)
    out = sys.stdout
    out.write(
        f"| checkpoint | temperature | own | {' | '.join(sources)} | silent |\n|---|---|{'---|' * (len(sources) + 2)}\n"
    )
    for path in paths:
        checkpoint = engine.load(path)
        temperature = args.temperature or checkpoint.playing.get("temperature", 1.0)
        audio = clips(checkpoint, temperature, args.precision, args.seed)
        own = path.stem.split("-")[0]
        name = f"{path.stem} | {temperature:g}"
        out.write(row(name, own, atlas, audio, checkpoint.config.sample_rate) + "\n")
        out.flush()
        if args.pictures:
            draw(args.pictures / f"{path.stem}.png", sources[own], audio, checkpoint.config.sample_rate)


def clips(checkpoint: engine.Checkpoint, temperature: float, precision: str, seed: int) -> NDArray[np.float32]:
    """(CLIPS, samples) of sound, a voice a clip."""
    rate = checkpoint.config.sample_rate
    generator = engine.make_generator(checkpoint, precision=precision, voices=CLIPS, seed=seed)
    indices = generator.generate(round((SETTLE + SECONDS) * rate), temperature=temperature)
    return engine.dequantize(indices, checkpoint.config)[:, round(SETTLE * rate) :]


def row(name: str, own: str, atlas: Atlas, audio: NDArray[np.float32], rate: int) -> str:
    """A row of the table: how many clips are nearest to their own source, and the mean distance to each."""
    found = []
    for clip in audio:
        try:
            found.append(atlas.distances(clip, rate))
        except ValueError:  # nothing but silence
            found.append(dict.fromkeys(atlas.clouds, float("nan")))
    nearest = Counter(min(d, key=d.__getitem__) for d in found if d[own] == d[own])
    silent = np.mean(np.abs(audio).reshape(len(audio), -1, rate // 20).max(axis=2) < 1 / 64)
    means = " | ".join(f"{np.nanmean([d[source] for d in found]):.1f}" for source in atlas.clouds)
    return f"| {name} | {nearest[own]}/{len(audio)} | {means} | {silent:.0%} |"


def draw(path: Path, source: NDArray[np.float64], audio: NDArray[np.float32], rate: int) -> None:
    """Spectrograms: six seconds of the source, and two clips, on one scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = {"source": source[2 * rate : 7 * rate], "clip": audio[0], "another": audio[1]}
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(9, 5.4), sharex=True, layout="constrained")
    for axis, (title, sound) in zip(axes, rows.items(), strict=True):
        panel(axis, sound, rate, f"{title}, Hz")
    axes[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


def panel(axis: Any, sound: NDArray[np.floating], rate: int, title: str) -> None:
    """One spectrogram; a little noise, so that silence has a colour."""
    faint = sound + 1e-5 * np.random.default_rng(0).normal(size=len(sound))
    axis.specgram(faint, NFFT=1024, Fs=rate, noverlap=512, vmin=-130, vmax=-40, cmap="magma")
    axis.set(ylim=(0, 12000), ylabel=title)


if __name__ == "__main__":
    main()
