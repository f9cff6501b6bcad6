"""What checkpoints of several sizes cost and how well they know their source: large and sparse beside small and dense.

    python tools/large_or_small.py CHECKPOINT ... [--picture FILE.png] [--temperature 0.9] [--seed 901]

Prints a row for each: us a sample at int8, one voice on one thread, all measured in turns, and the bits a sample on the
windows that were held out of its training, fp32 and int8, over active samples. The picture has a column for each source
(the file in sounds/ of a checkpoint's name up to a dash): five seconds of it over five of each of its networks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import soundfile  # noqa: E402
from identity import clips, panel  # noqa: E402
from precision_loss import bits  # noqa: E402

import engine  # noqa: E402
from instrument import bench_measure, bench_subjects  # noqa: E402

MEASURED_S = 2.0  # for each
HEAD = """| checkpoint | dim | weights left | steps | MB | us a sample | x real time | fp32 | int8 |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=901)
    arguments = parser.parse_args()
    paths: list[Path] = arguments.checkpoints
    if arguments.picture:
        draw(arguments.picture, paths, arguments.temperature, arguments.seed)
        return
    checkpoints = [engine.load(path) for path in paths]
    speeds = bench_measure.measure([bench_subjects.pair(c, "int8")[0] for c in checkpoints], MEASURED_S)
    print(HEAD)
    for path, c, speed in zip(paths, checkpoints, speeds, strict=True):
        left, size = c.training.get("density", 1.0), path.stat().st_size / 1e6
        fp32, int8 = (bits(c, precision)[1] for precision in ("fp32", "int8"))
        shape = f"{path.stem} | {c.config.dim} | {100 * left:.0f} % | {c.training['steps']} | {size:.1f}"
        print(f"| {shape} | {speed.us:.2f} | {speed.realtime:.2f} | {fp32:.3f} | {int8:.3f} |", flush=True)


def draw(picture: Path, paths: list[Path], temperature: float, seed: int) -> None:
    """Spectrograms on one scale: a column a source, its networks below it in the order given."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns: dict[str, list[Path]] = {}
    for path in paths:
        columns.setdefault(path.stem.split("-")[0], []).append(path)
    rows = 1 + max(map(len, columns.values()))
    figure, axes = pyplot.subplots(rows, len(columns), figsize=(4.2 * len(columns), 1.5 * rows), layout="constrained")
    for column, (name, files) in zip(axes.T, columns.items(), strict=True):
        source, rate = soundfile.read(ROOT / "sounds" / f"{name}.flac")
        panel(column[0], source[2 * rate : 7 * rate], rate, name)
        for axis, path in zip(column[1:], files, strict=False):
            checkpoint = engine.load(path)
            c = checkpoint.config
            share = "whole" if checkpoint.training.get("density", 1.0) == 1.0 else "pruned"
            panel(axis, clips(checkpoint, temperature, "int8", seed)[0], c.sample_rate, f"{c.dim} {share}")
    figure.savefig(picture, dpi=70)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
