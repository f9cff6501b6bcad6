"""What the choices of a recipe are worth: the same sound and steps, one choice changed at a time, several seeds.

    python tools/learning.py sounds/tabla.flac -o runs/learning/tabla --steps 400
    python tools/learning.py sounds/tabla.flac -o runs/learning/shapes --compare shapes --steps 250 --seeds 2
    python tools/learning.py sounds/guitar.flac -o runs/learning/metal --compare metal --steps 250 --seeds 2

Prints a Markdown table: held-out bits over active samples, mean over the seeds; how far each seed is from the same seed
of the first row (a seed also chooses the held-out windows, so that only the same seeds compare), where bits compare at
all; seconds a step. Windows are the same sound in every row but "gaps left", which cuts none. Runs lie in the folder
given; those that are there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402

from engine.model import SampleRNN  # noqa: E402
from engine.training.data import prepare  # noqa: E402
from engine.training.judging import held_out_bits  # noqa: E402
from engine.training.runs import make_plan  # noqa: E402

BASE = {"threads": "1", "clips": "0", "moments": "0", "restarts": "0", "save_steps": "100"}
PLAIN = {"q_type": "linear", "preemphasis": "0", "average": "0", "decay": "0.7", "gap_level": "-32"}
CHEAP = {"batch": "32", "keep": "0.25"}
ELSEWHERE = ("gaps left", "mu-law with pre-emphasis")  # other windows, or another measure
# a name instead of settings: that run's weights as they are, not their average, which changes nothing of the steps
COMPARISONS: dict[str, tuple[str, dict[str, dict[str, str] | str]]] = {
    "choices": (
        "default",
        {
            "rate to zero over 70 % of the run": "averaged weights",
            "without stretched copies": {**PLAIN, "stretches": "1.0"},
            "the rate left high": "averaged weights, the rate left high",
            "averaged weights": {**PLAIN, "average": "0.98"},
            "averaged weights, the rate left high": {**PLAIN, "average": "0.98", "decay": "0.0"},
            "gaps left": {**PLAIN, "gap": "0.0"},
            "mu-law with pre-emphasis": {**PLAIN, "q_type": "mu-law", "preemphasis": "0.85"},
        },
    ),
    "shapes": (
        "default",
        {
            "dim 256": PLAIN,
            "dim 384, hidden layers of 256": {**PLAIN, "dim": "384", "mlp_dim": "256"},
            "dim 512, hidden layers of 256": {**PLAIN, "dim": "512", "mlp_dim": "256"},
            "dim 384": {**PLAIN, "dim": "384"},
            "dim 512": {**PLAIN, "dim": "512"},
        },
    ),
    "metal": (
        "live-metal",
        {
            "3 LSTM layers of 256": CHEAP,
            "5 layers of 256": {**CHEAP, "n_rnn": "5"},
            "5 layers of 192": {**CHEAP, "n_rnn": "5", "dim": "192"},
            "GRU": {**CHEAP, "rnn": "gru"},
            "without skip connections": {**CHEAP, "skip": "false"},
            "rate 0.002": {**CHEAP, "lr": "0.002"},
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path, nargs="+")
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--compare", choices=COMPARISONS, default="choices")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    recipe, choices = COMPARISONS[args.compare]
    names = list(choices)
    jobs = [(seed, name) for seed, name in product(range(args.seeds), names) if isinstance(choices[name], dict)]

    def folder(seed: int, name: str) -> Path:
        return args.out / f"{names.index(name)}-{seed}"

    def made(job: tuple[int, str]) -> tuple[float, float]:
        settings = choices[job[1]]
        assert isinstance(settings, dict)
        return train(folder(*job), args.sounds, recipe, settings, job[0], args.steps)

    with ThreadPoolExecutor(args.jobs) as pool:
        found = {(name, seed): result for (seed, name), result in zip(jobs, pool.map(made, jobs), strict=True)}
    for seed, name in product(range(args.seeds), names):
        of = choices[name]
        if isinstance(of, str):
            found[name, seed] = (bits_as_they_are(folder(seed, of)), found[of, seed][1])
    print(table(names, args.seeds, found, f"{args.steps} steps, {', '.join(p.stem for p in args.sounds)}"))


def table(choices: list[str], seeds: int, found: dict[tuple[str, int], tuple[float, float]], title: str) -> str:
    """The Markdown table."""
    lines = [
        f"| {title} | bits, mean of {seeds} seeds | against the first row, each seed | s a step |",
        "|---|---|---|---|",
    ]
    for name in choices:
        bits = [found[name, seed][0] for seed in range(seeds)]
        against = [f"{own - found[choices[0], seed][0]:+.3f}" for seed, own in enumerate(bits)]
        shown = "" if name in (choices[0], *ELSEWHERE) else ", ".join(against)
        step = statistics.median(found[name, seed][1] for seed in range(seeds))
        lines.append(f"| {name} | {statistics.mean(bits):.3f} | {shown} | {step:.2f} |")
    return "\n".join(lines)


def train(
    folder: Path, sounds: list[Path], recipe: str, choice: dict[str, str], seed: int, steps: int
) -> tuple[float, float]:
    """Held-out bits over active samples at the end of a run, made if it is not there, and seconds a step."""
    settings = {**BASE, "steps": str(steps), "epoch_steps": str(steps), "seed": str(seed), **choice}
    command = [sys.executable, "-m", "instrument.cli", "train"]
    if (folder / "settings.json").exists():
        planned = json.loads((folder / "settings.json").read_text())["values"]["steps"]
        if planned != steps:
            sys.exit(f"{folder}: a run of {planned} steps: another folder, or --steps {planned}, expected")
        command += ["-o", str(folder), "--resume"]
    else:
        command += [*map(str, sounds), "-o", str(folder), "--recipe", recipe]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    bits = next(row["bits_active"] for row in reversed(rows) if "bits_active" in row)
    return float(bits), statistics.median(row["seconds"] for row in rows if "seconds" in row)


def bits_as_they_are(folder: Path) -> float:
    """Held-out bits over active samples of a run's last weights before averaging."""
    plan = make_plan([], folder, "", {}, resume=True)
    material = prepare(plan.sounds, plan.config, replace(plan.training, stretches=(1.0,)))
    model = SampleRNN(plan.config)
    with safe_open(folder / "resume.safetensors", "pt") as file, torch.no_grad():
        for name, parameter in model.tensors.items():
            parameter.copy_(file.get_tensor(f"p/{name}"))
    return held_out_bits(model, material.windows, plan.training)["bits_active"]


if __name__ == "__main__":
    main()
