"""Stereo against mono, for each checkpoint: how alike the sides are by band, how loud, how silent; or what it costs.

    python tools/stereo.py checkpoints/*.safetensors [--seconds 20] [--seeds 3] [--keep FOLDER]
    python tools/stereo.py checkpoints/*.safetensors --costs

Both are rendered by the loop itself, offline, at temperature 1 and of one seed; the left side of the stereo voice then
draws what the mono voice draws. Bands are of what leaves the loop; of several seeds the mean is printed, and the worst.
Costs are the quickest of many short stretches, by the thread's own clock, the ways of playing taking turns: the network
alone, and whole turns of the loop, mono, stereo, and with the next checkpoint that fits as a partner at a blend of 0
and of 0.5. What the loop takes for itself is mono less the network.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from engine.checkpoint import Checkpoint, load  # noqa: E402
from engine.config import sound_differs  # noqa: E402
from instrument import bank  # noqa: E402
from instrument.audio.performance import Performance  # noqa: E402
from instrument.audio.slots import run_generate  # noqa: E402
from instrument.controls import BLEND, DEFAULTS  # noqa: E402

RATE, SEED, SKIPPED_S, ROUND_S, ROUNDS = 44100, 7, 0.5, 0.02, 200
LOW, HIGH = 0.5, 0.3  # what is asked of the correlation, at least below 200 Hz and at most above 3 kHz


def performance(
    checkpoints: Sequence[Checkpoint], stereo: bool, seed: int = SEED, blend: float | None = None
) -> Performance:
    """One voice of the first checkpoint, offline; with the last as its partner if there is a ``blend``."""
    names = [checkpoint.name for checkpoint in checkpoints]
    slots = bank.make_slots(checkpoints, names, "cpu", "int8", 1, [stereo])
    row = list(DEFAULTS)
    row[BLEND] = blend or 0.0
    partners = [len(slots) - 1 if blend is not None else -1]
    return Performance(slots, sample_rate=RATE, seed=seed, offline=True, tap=True, parameters=[row], partners=partners)


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


def figures(path: Path, seed: int, seconds: float, keep: Path | None) -> list[float]:
    """Likeness below 120, below 200, above 3000 Hz; levels left and right against mono; added silence of the worse."""
    checkpoint = load(path)
    rendered = []
    for stereo in (False, True):
        made = performance([checkpoint], stereo, seed)
        rendered.append(made.render_to(int(seconds * RATE))[int(SKIPPED_S * RATE) :])
        made.close()
    mono, sides = rendered
    if keep:
        soundfile.write(keep / f"stereo-{path.stem}-{seed}.flac", sides, RATE)
    bands = [alike(sides, *band) for band in ((20, 120), (20, 200), (3000, RATE / 2))]
    levels = [level(side) - level(mono[:, 0]) for side in sides.T]
    return [*bands, *levels, max(silence(side) for side in sides.T) - silence(mono[:, 0])]


def show_figures(paths: Sequence[Path], seeds: int, seconds: float, keep: Path | None) -> None:
    """The table of likeness, a line a network: mean and worst of the seeds."""
    print(
        "| network | <120 Hz | <200 Hz | >3 kHz | left, right to mono | silence more than mono | within both bounds |"
    )
    print("|---|---|---|---|---|---|---|")
    for path in paths:
        found = np.array([figures(path, SEED + i, seconds, keep) for i in range(seeds)])
        mean = found.mean(axis=0)
        worst = [*found[:, :2].min(axis=0), found[:, 2].max()]
        bands = " | ".join(f"{a:.2f}, worst {b:.2f}" for a, b in zip(mean, worst, strict=False))
        good = int(np.sum((found[:, 1] >= LOW) & (found[:, 2] <= HIGH)))
        print(
            f"| {path.stem} | {bands} | {mean[3]:+.1f} dB, {mean[4]:+.1f} dB "
            f"| {100 * mean[5]:+.1f} points, worst {100 * found[:, 5].max():+.1f} | {good} of {seeds} |",
            flush=True,
        )


def quickest(ways: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """us a session sample of each way, which makes ROUND_S at a call."""
    best = [np.inf] * len(ways)
    for _ in range(rounds):
        for i, way in enumerate(ways):
            begun = time.thread_time()  # of this thread alone, whatever else runs
            way()
            best[i] = min(best[i], (time.thread_time() - begun) / (ROUND_S * RATE) * 1e6)
    return best


def playing(made: Performance) -> Callable[[], None]:
    """Stretch after stretch of a performance."""
    place = [int(SKIPPED_S * RATE)]  # a partner has been primed
    made.render_to(place[0])

    def on() -> None:
        place[0] += int(ROUND_S * RATE)
        made.render_to(place[0])

    return on


def alone(checkpoint: Checkpoint) -> Callable[[], None]:
    """The network, called as the loop calls it, without the loop."""
    (slot,) = bank.make_slots([checkpoint], [checkpoint.name], "cpu", "int8", 1)
    made = Performance([slot], sample_rate=RATE, seed=SEED, offline=True)
    program, stride = slot.program, slot.betas.shape[1]
    slot.betas.fill(1.0)
    betas, tokens = slot.betas.ctypes.data, slot.tokens.ctypes.data
    whole, rest = divmod(int(ROUND_S * RATE) * slot.resampler.source // slot.resampler.target, made.turn)

    def on() -> None:
        for count in (*[made.turn] * whole, rest):
            run_generate(program.generate, program.context, 1, count, betas, tokens, stride)

    return on


def show_costs(paths: Sequence[Path]) -> None:
    """The table of costs, a line a network: us a session sample, and times real time."""
    print("| network | alone | mono | the loop's own | stereo | partner | at 0 | at 0.5 |")
    print("|---|---|---|---|---|---|---|---|")
    everything = {path.stem: load(path) for path in paths}
    for name, one in everything.items():
        fitting = (n for n, o in everything.items() if n != name and not sound_differs(one.config, o.config))
        partner = next(fitting, name)
        ways = [alone(one), playing(performance([one], False)), playing(performance([one], True))]
        ways += [playing(performance([one, everything[partner]], False, SEED, blend)) for blend in (0.0, 0.5)]
        found = quickest(ways, ROUNDS)
        own = found[1] - found[0]
        cells = [f"{cost:.1f} ({1e6 / RATE / cost:.1f})" for cost in found]
        print(
            f"| {name} | {cells[0]} | {cells[1]} | {own:.2f} ({own / found[1]:.0%}) "
            f"| {cells[2]}: {found[2] / found[1]:.2f} times "
            f"| {partner} | {cells[3]}: {found[3] / found[1]:.2f} | {cells[4]}: {found[4] / found[1]:.2f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1, help=f"how many, from {SEED} on")
    parser.add_argument("--keep", type=Path, help="a folder for what was rendered in stereo")
    parser.add_argument("--costs", action="store_true", help="what it costs instead")
    arguments = parser.parse_args()
    if arguments.costs:
        show_costs(arguments.checkpoints)
    else:
        show_figures(arguments.checkpoints, arguments.seeds, arguments.seconds, arguments.keep)


if __name__ == "__main__":
    main()
