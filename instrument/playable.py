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
        realtime: times faster than it sounds, one voice on one core.
        holds: how many voices there may be here.
        verdict: in words.
        fault: why it cannot be played, instead of all the rest.
    """

    name: str
    network: str = ""
    precision: str = ""
    realtime: float = 0.0
    holds: int = 0
    verdict: str = ""
    fault: str = ""


def files_in(target: Path) -> list[Path]:
    """The checkpoints of a folder, or the one that ``target`` is. Raises ValueError where there is none."""
    if not target.exists():
        raise ValueError(f"{target}: is not there; a folder of checkpoints expected")
    found = sorted(target.glob("*.safetensors")) if target.is_dir() else [target]
    if not found:
        raise ValueError(f"{target}: holds no checkpoint (*.safetensors)")
    return found


def examine(paths: list[Path], voices: int) -> Iterator[Played]:
    """Each file in turn, ``voices`` being how many are wanted."""
    for path in paths:
        try:
            yield _judged(load(path), path, voices)
        except (ValueError, OSError, MemoryError) as error:
            text = " ".join(str(error).split()).removeprefix(f"{path}: ")
            yield Played(path.stem, fault=text or type(error).__name__)


def table(paths: list[Path], voices: int) -> Iterator[str]:
    """The same as lines, each as soon as it is known."""
    width = max(len("checkpoint"), *(len(path.stem) for path in paths))
    yield f"{'checkpoint':{width}}  {'network':28}  {'precision':9}  x real time  voices"
    for each in examine(paths, voices):
        if each.fault:
            yield f"{each.name:{width}}  {each.fault}"
            continue
        figures = f"{each.network:28}  {each.precision:9}  {each.realtime:11.2f}  {each.holds:6}"
        yield f"{each.name:{width}}  {figures}  {each.verdict}"


def as_json(paths: list[Path], voices: int) -> str:
    """The same as one line of JSON."""
    return json.dumps({"checkpoints": [asdict(each) for each in examine(paths, voices)], "voices": voices})


def verdict(holds: int, realtime: float, voices: int) -> str:
    """In words, where ``voices`` are wanted."""
    if not holds:
        return f"too slow ({realtime:.1f}x)"
    return "plays" if holds >= voices else f"plays with {holds} voice{'s' * (holds > 1)}"


def _judged(checkpoint: Checkpoint, path: Path, voices: int) -> Played:
    from instrument.audio.headroom import hold

    config, cost = checkpoint.config, _cost(checkpoint)
    found = hold(path.stem, PRECISION, cost, config.sample_rate)
    realtime = 1e6 / config.sample_rate / cost.alone
    words = verdict(found.holds, realtime, voices)
    return Played(path.stem, _network(config), PRECISION, round(realtime, 3), found.holds, words)


def _cost(checkpoint: Checkpoint) -> Cost:
    """us a sample at the network's own rate. Raises ValueError."""
    from engine.generator import make_generator
    from instrument.audio.headroom import Cost
    from instrument.audio.slots import Slot
    from instrument.audio.timing import measure_playing

    generator: Any = make_generator(checkpoint, "cpu", PRECISION, LANES)
    slot = Slot(generator.program, name=checkpoint.name, precision=PRECISION)
    slot.prepare(checkpoint.config.sample_rate, checkpoint.config.hop)
    slot.begin(0)
    return Cost(measure_playing(slot, 1), measure_playing(slot, LANES), LANES)


def _network(c: ModelConfig) -> str:
    return f"{c.frame_sizes} {c.n_rnn} {c.rnn.upper()} x {c.dim}, mlp {c.mlp_dim}"
