"""``samplernn doctor FOLDER``: which checkpoints of a folder this machine can play, and with how many voices.

Main thread, nothing playing. Each network is packed as for a set and its samples are timed as at a set's start; one
that cannot be read or played costs a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoint import Checkpoint, load
from engine.config import ModelConfig

if TYPE_CHECKING:
    from instrument.audio.headroom import Cost

PRECISION = "int8"  # as `samplernn play` has it
LANES = 4  # voices that are timed together, beside one alone


@dataclass(frozen=True)
class Played:
    """What was found out about one file.

    Attributes:
        name: of the file.
        network: its tiers and size, in words.
        precision: that it was timed at.
        threads: that make its samples, as few as will do unless their number was given.
        realtime: times faster than it sounds, one voice.
        holds: how many voices there may be here.
        verdict: in words.
        fault: why it cannot be played, instead of all the rest.
    """

    name: str
    network: str = ""
    precision: str = ""
    threads: int = 0
    realtime: float = 0.0
    holds: int = 0
    verdict: str = ""
    fault: str = ""


def files_in(target: Path) -> list[Path]:
    """The checkpoints of a folder, or the one that ``target`` is. Raises ValueError where there is none."""
    if not target.exists():
        raise ValueError(f"{target}: is not there; a folder of checkpoints expected")
    inside = (path for path in target.glob("[!.]*.safetensors") if path.name != "resume.safetensors")  # a run's own
    found = sorted(inside) if target.is_dir() else [target]
    if not found:
        raise ValueError(f"{target}: holds no checkpoint (*.safetensors)")
    return found


def examine(paths: list[Path], voices: int, threads: int | None = None) -> Iterator[Played]:
    """Each file in turn, ``voices`` being how many are wanted; ``threads`` None as a set would choose."""
    for path in paths:
        try:
            yield _judged(load(path), path, voices, threads)
        except (ValueError, OSError, MemoryError) as error:
            text = " ".join(str(error).split()).removeprefix(f"{path}: ")
            yield Played(path.stem, fault=text or type(error).__name__)


def table(paths: list[Path], voices: int, threads: int | None = None) -> Iterator[str]:
    """The same as lines, each as soon as it is known."""
    width = max(len("checkpoint"), *(len(path.stem) for path in paths))
    yield f"{'checkpoint':{width}}  {'network':28}  {'precision':9}  threads  x real time  voices"
    for each in examine(paths, voices, threads):
        if each.fault:
            yield f"{each.name:{width}}  {each.fault}"
            continue
        figures = f"{each.network:28}  {each.precision:9}  {each.threads:7}  {each.realtime:11.2f}  {each.holds:6}"
        yield f"{each.name:{width}}  {figures}  {each.verdict}"


def as_json(paths: list[Path], voices: int, threads: int | None = None) -> str:
    """The same as one line of JSON."""
    return json.dumps({"checkpoints": [asdict(each) for each in examine(paths, voices, threads)], "voices": voices})


def verdict(holds: int, realtime: float, voices: int) -> str:
    """In words, where ``voices`` are wanted."""
    if not holds:
        return f"too slow ({realtime:.1f}x)"
    return "plays" if holds >= voices else f"plays with {holds} voice{'s' * (holds > 1)}"


def _judged(checkpoint: Checkpoint, path: Path, voices: int, threads: int | None) -> Played:
    from instrument.audio.headroom import hold

    config = checkpoint.config
    cost, threads = _cost(checkpoint, threads)
    found = hold(path.stem, PRECISION, cost, config.sample_rate, threads)
    realtime = 1e6 / config.sample_rate / cost.alone
    words = verdict(found.holds, realtime, voices)
    return Played(path.stem, _network(config), PRECISION, threads, round(realtime, 3), found.holds, words)


def _cost(checkpoint: Checkpoint, threads: int | None) -> tuple[Cost, int]:
    """us a sample at the network's own rate, and by how many threads. Raises ValueError."""
    from engine.generator import make_generator
    from instrument.audio.costs import with_helpers
    from instrument.audio.headroom import Cost
    from instrument.audio.priority import raise_priority
    from instrument.audio.slots import Slot
    from instrument.audio.timing import measure_playing

    generator: Any = make_generator(checkpoint, "cpu", PRECISION, LANES)
    slot = Slot(generator.program, name=checkpoint.name, precision=PRECISION)
    slot.prepare(checkpoint.config.sample_rate, checkpoint.config.hop)
    slot.begin(0)

    def cost_of(slot: Slot) -> Cost:
        return Cost(measure_playing(slot, 1), measure_playing(slot, LANES), LANES)

    budget = 1e6 / checkpoint.config.sample_rate
    costs, helpers, _ = with_helpers([slot], cost_of, lambda found: found[0].alone, budget, threads, raise_priority)
    slot.have_help(0)
    helpers.close()
    return costs[0], helpers.threads


def _network(c: ModelConfig) -> str:
    return f"{c.frame_sizes} {c.n_rnn} {c.rnn.upper()} x {c.dim}, mlp {c.mlp_dim}"
