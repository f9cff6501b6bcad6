"""What the choices of a recipe are worth: the same network and steps, one choice changed at a time, several seeds.

    python tools/learning.py sounds/tabla.flac -o runs/learning/tabla [--steps 300] [--seeds 3] [--jobs 2]

Prints held-out bits over active samples, mean and range over the seeds, as a Markdown table. The held-out windows of a
seed are the same sound in every row but "gaps left", which cuts none. Runs lie in the folder given; those that are
there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = {"threads": "1", "clips": "0", "moments": "0", "restarts": "0", "save_steps": "100"}
CHOICES: dict[str, dict[str, str]] = {
    "the default recipe": {},
    "without stretched copies": {"stretches": "1.0"},
    "varispeed and inversion instead of copies": {"stretches": "1.0", "varispeed": "1.0", "invert": "0.5"},
    "copies and half of it turned round": {"invert": "0.5"},
    "the rate left high": {"decay": "0.0"},
    "averaged weights": {"average": "0.98"},
    "averaged weights, the rate left high": {"average": "0.98", "decay": "0.0"},
    "gaps left": {"gap": "0.0"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path, nargs="+")
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pairs = product(range(args.seeds), enumerate(CHOICES))
    jobs = [(name, seed, args.out / f"{number}-{seed}") for seed, (number, name) in pairs]
    with ThreadPoolExecutor(args.jobs) as pool:
        bits = list(pool.map(lambda job: train(job[2], args.sounds, CHOICES[job[0]], job[1], args.steps), jobs))
    names = ", ".join(path.stem for path in args.sounds)
    print(f"| {args.steps} steps, {names} | bits, mean of {args.seeds} seeds | range |")
    print("|---|---|---|")
    for name in CHOICES:
        found = [value for (choice, _, _), value in zip(jobs, bits, strict=True) if choice == name]
        print(f"| {name} | {sum(found) / len(found):.3f} | {min(found):.3f} to {max(found):.3f} |")


def train(folder: Path, sounds: list[Path], choice: dict[str, str], seed: int, steps: int) -> float:
    """Held-out bits over active samples at the end of a run, made if it is not there."""
    settings = {**BASE, "steps": str(steps), "epoch_steps": str(steps), "seed": str(seed), **choice}
    command = [sys.executable, "-m", "instrument.cli", "train", *map(str, sounds), "-o", str(folder)]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    if (folder / "settings.json").exists():
        command = [*command[:4], "-o", str(folder), "--resume"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return float(next(row["bits_active"] for row in reversed(rows) if "bits_active" in row))


if __name__ == "__main__":
    main()
