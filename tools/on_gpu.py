"""The GPU's engine on a card: is it right, how fast is it, and does a set play. One table and one line of JSON.

    python tools/on_gpu.py [--live 240] [--json FILE] [--quick]

From a bare checkout, with PyTorch, Triton, numba, PyYAML, safetensors and rich; networks are seeded here. Under eight
minutes with four of them live. `--quick` is a trial of the script itself on small networks, which the stand-in for a
driver plays where there is no GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"

from engine.config import ModelConfig  # noqa: E402
from engine.cuda.driver import Eager  # noqa: E402
from engine.cuda.generator import CudaGenerator  # noqa: E402
from engine.cuda.players import Players  # noqa: E402
from engine.cuda.runs import Fused, InOrder, SecondStream, can_overlap, run  # noqa: E402
from engine.folding import Folded, fold  # noqa: E402
from engine.generator import make_generator  # noqa: E402
from engine.reference import log_softmax  # noqa: E402
from engine.seeded import network  # noqa: E402

POSTER = ModelConfig(dim=1024, frame_sizes=(8, 16))
METAL = ModelConfig(dim=1024, frame_sizes=(16,), rnn="lstm", n_rnn=5, skip=True, sample_rate=16000)
SMALL = replace(POSTER, dim=16, mlp_dim=64, frame_sizes=(2, 4), q_levels=16, emb_size=4)
LIVE_PATH = "triton" if GPU else "plain"  # the interpreter takes tenths of a second for a sample
ASKED = {  # figure: how it compares with what is asked
    "poster, 1 voice, us a sample": ("<=", 5.0),
    "poster, 64 voices, us a step": ("<=", 15.0),
    "poster, times eager PyTorch": (">=", 50.0),
    "poster, times plain PyTorch captured": (">=", 3.0),
    "metal, 1 voice, times real time": (">=", 8.0),
    "parity, largest difference, nats": ("<=", 1e-3),
    "parity, draws without an explanation": ("<=", 0.0),
    "parity, bursts of draws of its own that differ": ("<=", 2.0),
    "parity, graph and eager differ": ("<=", 0.0),
    "parity, overlapping or not differ": ("<=", 0.0),
    "live, underruns": ("<=", 0.0),
    "switch, ms on the render thread": ("<=", 1.0),
}


WAYS: set[str] = set()  # what was asked for, and what that came to
BEST: dict[str, str] = {}  # what that was of the poster's network: each other way compiles every kernel once more


@dataclass
class Found:
    """Figures by name, printed as they come."""

    figures: dict[str, float]

    def add(self, name: str, value: float) -> None:
        """One more."""
        self.figures[name] = value
        sign, asked = ASKED.get(name, ("", 0.0))
        met = "" if not sign else ("yes" if (value <= asked if sign == "<=" else value >= asked) else "NO")
        print(f"{name:64} {value:12.3f}   {f'{sign} {asked:g}' if sign else '':8} {met}", flush=True)


def player(folded: Folded, voices: int = 1, path: str = "triton") -> CudaGenerator:
    """A generator on the card, or on the stand-in."""
    path = BEST.get(path, path)
    made = Players(voices, path=path, samples=64 if GPU else 4, driver=None if GPU else Eager).generator(folded)
    made.seed(7)
    WAYS.add(f"{path}: {made.player.path} kernels. {made.news}".strip())
    return made


def best(config: ModelConfig) -> None:
    """Find out which of Triton's ways the poster's network takes here; the rest is asked for that one."""
    BEST["triton"] = player(fold(network(config, "poster"), "fp16")).player.path


def parity(found: Found, config: ModelConfig, voices: int, samples: int, path: str) -> None:
    """Teacher-forced beside the cpu's fp32 sums of the same numbers: a draw that differs is at an edge of its CDF."""
    checkpoint = network(config, "parity")
    known = np.random.default_rng(3).integers(0, config.q_levels, (voices, samples)).astype(np.int32)
    ours = log_softmax(player(fold(checkpoint, "fp16"), voices, path).force(known))
    truth = log_softmax(make_generator(checkpoint, "cpu", "fp16", voices, 7).force(known))
    tolerance = float(np.abs(ours - truth).max())
    words = np.random.default_rng(4).random(samples)
    unexplained = differing = 0
    for lane in range(voices):
        cdf = [np.cumsum(np.exp(x[lane]), axis=1) for x in (ours, truth)]
        tokens = [(c <= words[:, None]).sum(1) for c in cdf]
        margin = np.abs(cdf[1] - words[:, None]).min(1)
        apart = tokens[0] != tokens[1]
        differing += int(apart.sum())
        unexplained += int((margin[apart] > 4 * tolerance + 1e-6).sum())
    name = f"parity, {path}, {config.rnn} {config.n_rnn} x {config.dim}, {voices} voices"
    found.add(f"{name}: largest difference, nats", tolerance)
    found.add(f"{name}: draws that differ of {voices * samples}", differing)
    worst(found, "parity, largest difference, nats", tolerance)
    worst(found, "parity, draws without an explanation", float(unexplained))


def worst(found: Found, name: str, value: float) -> None:
    """The largest of all."""
    found.add(name, max(found.figures.get(name, 0.0), value))


def bursts(found: Found, config: ModelConfig, voices: int, count: int) -> None:
    """Draws of the card's own, in calls of odd lengths, beside the cpu's: a draw at an edge may part a burst, once."""
    checkpoint = network(config, "parity")
    ours, truth = player(fold(checkpoint, "fp16"), voices), make_generator(checkpoint, "cpu", "fp16", voices, 7)
    lengths, differing = (3, 64, 1, 17, 43) if GPU else (3, 4, 1), 0
    for seed in range(count):
        for generator in (ours, truth):
            generator.reset()
            generator.seed(seed)
            generator.reset("random")
        pairs = [(ours.generate(n, 0.9), truth.generate(n, 0.9)) for n in lengths]
        differing += any((one != other).any() for one, other in pairs)
    worst(found, "parity, bursts of draws of its own that differ", differing)


def eager(found: Found, config: ModelConfig) -> None:
    """The same kernels launched one by one: equal to the token."""
    folded = fold(network(config, "parity"), "fp16")
    graphs, single = player(folded, 2), player(folded, 2)
    n = 2 * graphs.player.shape.samples
    expected = graphs.generate(n, 0.9)
    single.player.run_eagerly()
    found.add("parity, graph and eager differ", float((single.generate(n, 0.9) != expected).sum()))


def again(made: CudaGenerator, programmatic: bool, branches: bool) -> CudaGenerator:
    """The same player's runs captured again: whether kernels overlap, and whether they branch."""
    p = made.player
    device = p.block.device.device
    beside = SecondStream(device) if branches and GPU else InOrder()
    with torch.inference_mode():
        p.steps = Fused(p.shape, p.weights, p.block, programmatic and can_overlap(device), beside)
    p._capture()
    return made


def overlapping(found: Found, config: ModelConfig) -> None:
    """Every way to capture a run plays the same; how fast each is with one voice."""
    folded = fold(network(config, "poster"), "fp16")
    expected = None
    for programmatic, branches in ((True, True), (False, True), (True, False), (False, False)):
        made = again(player(folded), programmatic, branches)
        tokens = made.generate(2 * made.player.shape.samples, 0.9)
        expected = tokens if expected is None else expected
        name = "parity, overlapping or not differ"
        found.add(name, found.figures.get(name, 0.0) + float((tokens != expected).sum()))
        how = f"{'overlapping' if programmatic else 'one by one'}, {'branches' if branches else 'none beside'}"
        found.add(f"poster, 1 voice, {how}, us", us_a_sample(made.generate))


def launched(found: Found, config: ModelConfig, name: str, counts: tuple[int, ...]) -> None:
    """What a run's graph is made of: kernels of each kind, beside one of dice and the copies."""
    folded = fold(network(config, name), "fp16")
    for voices in counts:
        p, kinds = player(folded, voices).player, Counter[str]()
        p.steps._launch = lambda kernel, *_: kinds.update([kernel.fn.__name__])  # type: ignore[attr-defined]  # noqa: B023
        with torch.inference_mode():
            run(p.steps, p.shape, 0, p.shape.samples)
        for kind, times in kinds.items():
            found.add(f"{name}, {voices} voices: {kind} in {p.shape.samples} samples", times)


def us_a_sample(generate: Callable[[int], object], least: float = 2.0) -> float:
    """Median of five turns, us for a sample of all voices, launches and copies included."""
    n = 256 if GPU else 4
    generate(n)
    turns = []
    for _ in range(5):
        begun, made = time.perf_counter(), 0
        while time.perf_counter() - begun < least / 5:
            generate(n)
            made += n
        turns.append((time.perf_counter() - begun) / made * 1e6)
    return float(np.median(turns))


def speeds(found: Found, poster: ModelConfig, metal: ModelConfig, seconds: float, counts: tuple[int, ...]) -> None:
    """One voice and many, by path; the metal network."""
    folded = fold(network(poster, "poster"), "fp16")
    budget = 1e6 / poster.sample_rate
    one = us_a_sample(player(folded).generate, seconds)
    found.add("poster, 1 voice, us a sample", one)
    found.add("poster, 1 voice, times real time", budget / one)
    for voices in counts:
        found.add(f"poster, {voices} voices, us a step", us_a_sample(player(folded, voices).generate, seconds))
    plain = player(folded, path="plain")
    found.add("poster, plain PyTorch captured, us a sample", us_a_sample(plain.generate, seconds))
    captured = found.figures["poster, plain PyTorch captured, us a sample"]
    found.add("poster, times plain PyTorch captured", captured / one)
    plain.player.run_eagerly()
    slow = us_a_sample(plain.generate, seconds)
    found.add("poster, eager PyTorch, one step a sample, us", slow)
    found.add("poster, times eager PyTorch", slow / one)
    loud = us_a_sample(player(fold(network(metal, "metal"), "fp16")).generate, seconds)
    found.add("metal, 1 voice, us a sample", loud)
    found.add("metal, 1 voice, times real time", 1e6 / metal.sample_rate / loud)


def loading(found: Found, config: ModelConfig) -> None:
    """Another network over one that is there, beside the show: its weights to the card."""
    folded = [fold(network(config, f"{seed}", seed=seed), "fp16") for seed in range(2)]
    made = player(folded[0])
    begun = time.perf_counter()
    made.player.load(folded[1])
    if GPU:
        torch.cuda.synchronize()
    found.add("loading another network over one, ms", 1e3 * (time.perf_counter() - begun))
    pair, more = [made, player(folded[0])], []
    for turn in range(60 if GPU else 12):  # three calls of one network, then the other's: what the first costs more
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            pair[turn % 2].generate(made.player.shape.samples)
            times.append(time.perf_counter() - begun)
        more.append(times[0] - times[2])
    found.add("switch, ms on the render thread", 1e3 * float(np.max(more[10:])))


def live(found: Found, config: ModelConfig, seconds: float) -> None:
    """A set through the real render loop with the interpreter hogged, temperature and checkpoint changing; then the GPU
    is said to have failed, and the fallback has to go on.
    """
    from instrument.audio.outputs import ClockOutput
    from instrument.audio.performance import Performance
    from instrument.audio.priority import raise_priority
    from instrument.audio.slots import Slot

    rate = max(8000, config.sample_rate)
    networks = [player(fold(network(config, f"live-{seed}", seed=seed), "fp16"), path=LIVE_PATH) for seed in range(2)]
    slots = [Slot(made.program, precision="fp16") for made in networks]
    idle, weights = player(networks[0].folded, path=LIVE_PATH), networks[1].folded
    spare = make_generator(network(replace(SMALL, dim=64, sample_rate=rate), "fallback"), "cpu", "int8", spare=2)
    fallback = Slot(spare.program, precision="int8")  # type: ignore[attr-defined]
    ring = round((0.020 if GPU else 0.5) * rate)
    performance = Performance(slots, sample_rate=rate, ring_frames=ring, block=128, seed=7, fallback=fallback)
    found.add("live, ring ms", 1e3 * performance.ring_frames / rate)
    found.add("live, L ms", 1e3 * performance.latency / rate)
    performance.start(raise_priority)
    stop = threading.Event()
    if GPU:  # the stand-in needs the interpreter itself
        threading.Thread(target=hog, args=(stop,), daemon=True).start()
    output = ClockOutput(128)
    while not performance.prefill_done():
        time.sleep(0.001)
    output.start(performance.link, rate)
    changes(performance, seconds, lambda: idle.player.load(weights))
    found.add("live, underruns", performance.report()["underruns"])
    before = time.monotonic()
    networks[0].player.driver.failed[0] = 999
    while performance.link.telemetry().voices[0].slot != performance.fallback and time.monotonic() < before + 5:
        time.sleep(0.001)
    found.add("live, ms until the fallback goes on", 1e3 * (time.monotonic() - before))
    changes(performance, 1.0)
    networks[0].player.driver.failed[0] = 0
    stop.set()
    performance.close()
    output.stop()
    report: dict[str, Any] = performance.report()
    found.add("live, underruns with the fallback", report["underruns"])
    found.add("live, seconds", report["seconds"])
    found.add("live, times real time", report["realtime_factor"])
    found.add("live, longest hop ms", report["hop_us"]["max"] / 1e3)


def changes(performance: Any, seconds: float, load: Callable[[], None] = lambda: None) -> None:
    """Another temperature four times a second, every second another checkpoint, and every five a network is loaded."""
    from instrument.controls import TEMPERATURE, Command, Op

    ends, n = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        n += 1
        performance.link.push(Command(0, Op.SET, voice=0, parameter=TEMPERATURE, value=0.8 + 0.4 * (n % 10) / 10))
        if n % 4 == 0:
            ramp = round(0.05 * performance.sample_rate)
            performance.link.push(Command(0, Op.SWITCH, voice=0, number=n // 4 % 2, ramp=ramp))
        if n % 20 == 0:
            load()
        time.sleep(0.25)


def hog(stop: threading.Event) -> None:
    """Keep the interpreter busy."""
    rng = random.Random(1)
    numbers = [rng.random() for _ in range(200_000)]
    while not stop.is_set():
        rng.shuffle(numbers)
        sorted(numbers)
        gc.collect()


def machine() -> Iterator[str]:
    """What this is."""
    import triton

    yield f"torch {torch.__version__}, triton {triton.__version__}, Python {sys.version.split()[0]}"
    yield torch.cuda.get_device_name(0) if GPU else "no GPU: the stand-in, whose figures mean nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=float, default=240.0, help="seconds of the set; 0 for none")
    parser.add_argument("--json", type=Path, help="write the line there too")
    parser.add_argument("--quick", action="store_true", help="small networks, short times")
    arguments = parser.parse_args()
    if not GPU and not arguments.quick:
        parser.error("no CUDA GPU here; --quick tries the script")
    about = list(machine())
    print("\n".join(about))
    found, quick = Found({}), arguments.quick
    poster, metal = (SMALL, replace(SMALL, rnn="lstm", n_rnn=2, skip=True)) if quick else (POSTER, METAL)
    parts: list[tuple[str, Callable[[], None]]] = [
        ("best", lambda: best(poster)),
        *(
            (f"parity {path} {voices}", lambda path=path, voices=voices: parity(  # type: ignore[misc]
                found, SMALL if quick else replace(POSTER, dim=512), voices, 12 if quick else 10_000, path))
            for path, voices in (("triton", 1), ("triton", 3), ("triton", 8 if quick else 16), ("plain", 1))
        ),
        ("parity poster", lambda: parity(found, poster, 1, 12 if quick else 10_000, "triton")),
        ("parity metal", lambda: parity(found, metal, 1, 12 if quick else 10_000, "triton")),
        ("bursts", lambda: bursts(found, poster, 1, 2 if quick else 100)),
        ("bursts of many", lambda: bursts(found, SMALL if quick else replace(POSTER, dim=512), 8, 1 if quick else 25)),
        ("eager", lambda: eager(found, poster)),
        ("launched", lambda: launched(found, poster, "poster", (1, 2 if quick else 64))),
        ("launched metal", lambda: launched(found, metal, "metal", (1,))),
        ("overlapping", lambda: overlapping(found, poster)),
        ("speeds", lambda: speeds(found, poster, metal, 0.01 if quick else 2.0, (2,) if quick else (8, 64))),
        ("loading", lambda: loading(found, poster)),
    ]  # fmt: skip
    if arguments.live:
        played, seconds = (poster, arguments.live) if GPU else (replace(SMALL, sample_rate=1000), 3.0)
        parts.append(("live", lambda: live(found, played, seconds)))
    failed = {}
    for name, part in parts:
        begun = time.perf_counter()
        try:
            part()
        except Exception as error:  # the rest is worth having all the same
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: FAILED: {failed[name]}", flush=True)
        print(f"    ({name}: {time.perf_counter() - begun:.0f} s)", flush=True)
    about += sorted(WAYS)
    print("\n".join(sorted(WAYS)))
    line = json.dumps({"machine": about, "figures": found.figures, "failed": failed})
    print(line)
    if arguments.json:
        arguments.json.write_text(line + "\n")


if __name__ == "__main__":
    main()
