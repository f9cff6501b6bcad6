"""What checkpoints of several sizes cost and how well they know their source: large and sparse beside small and dense.

    python tools/large_or_small.py CHECKPOINT ...

Prints a row for each: us a sample at int8, one voice on one thread, all measured in turns, and the bits a sample on the
windows that were held out of its training, fp32 and int8, over active samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from precision_loss import bits  # noqa: E402

import engine  # noqa: E402
from instrument import bench_measure, bench_subjects  # noqa: E402

SECONDS = 2.0  # of measurement for each
HEAD = """| checkpoint | dim | weights left | steps | MB | us a sample | x real time | fp32 | int8 |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]]
    checkpoints = [engine.load(path) for path in paths]
    speeds = bench_measure.measure([bench_subjects.pair(c, "int8")[0] for c in checkpoints], SECONDS)
    print(HEAD)
    for path, c, speed in zip(paths, checkpoints, speeds, strict=True):
        left, size = c.training.get("density", 1.0), path.stat().st_size / 1e6
        fp32, int8 = (bits(c, precision)[1] for precision in ("fp32", "int8"))
        shape = f"{path.stem} | {c.config.dim} | {100 * left:.0f} % | {c.training['steps']} | {size:.1f}"
        print(f"| {shape} | {speed.us:.2f} | {speed.realtime:.2f} | {fp32:.3f} | {int8:.3f} |", flush=True)


if __name__ == "__main__":
    main()
