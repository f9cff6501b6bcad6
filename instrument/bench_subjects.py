"""What ``samplernn bench`` measures: networks, their matrix products alone, and what the seeds had.

Everything here is made on the main thread and kept by whoever measures it: the largest networks take hundreds of
megabytes. This module holds no tensors of torch's; samplernn-pytorch's step lives in ``engine.training.peer``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine import seeded
from engine.checkpoint import Checkpoint, load
from engine.config import ModelConfig
from engine.training import recipes
from instrument import places

if TYPE_CHECKING:
    from engine.cpu.generator import CpuGenerator

PRECISIONS = ("int8", "fp32")
SHARES: tuple[seeded.Shares, ...] = ((0.2, 0.3, 1.0), (0.1, 0.1, 1.0), (0.1, 0.08, 0.5), (0.08, 0.05, 0.3))
NETWORK, PRODUCTS, PEER, LEANER = "network", "products", "samplernn-pytorch", "leaner loop"
CHOIR = 8  # voices that several threads make too


@dataclass(frozen=True)
class Subject:
    """Something that makes samples.

    Attributes:
        name: of the network.
        precision: that its samples are made at.
        rate: Hz at which they would sound.
        make: ``make(n)`` makes ``n`` of every voice.
        hop: samples of a top-tier frame: of what is measured a whole number of these is asked for.
        kind: the ``network`` as it plays, its ``products`` alone, ``samplernn-pytorch``'s step or the ``leaner loop``.
        weights: ``dense``, or the blocks left of tiers, sample level and output, in per cent: ``20/30/100``.
        voices: that it makes at once.
        threads: that make them.
        around: what holds while ``make`` is timed; entering and leaving it is not.
    """

    name: str
    precision: str
    rate: int
    make: Callable[[int], object]
    hop: int = 16
    kind: str = NETWORK
    weights: str = "dense"
    voices: int = 1
    threads: int = 1
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def shipped_checkpoints() -> list[Path]:
    """The files of the bank that came with the program, or none."""
    return sorted(places.find("checkpoints").glob("*.safetensors"))


def shipped(precisions: Iterable[str] = PRECISIONS) -> list[Subject]:
    """Every shipped checkpoint at every precision."""
    loaded = [load(path) for path in shipped_checkpoints()]
    return [pair(checkpoint, precision)[0] for checkpoint in loaded for precision in precisions]


def size(dim: int, threads: Iterable[int] = (1,), shares: Iterable[seeded.Shares] = SHARES) -> list[Subject]:
    """The poster's architecture, (8, 16), at ``dim``: whole at every precision, and int8 with blocks taken away.

    ``threads``: that make the samples of int8, besides one alone.
    """
    checkpoint, counts = poster(dim), list(threads)
    subjects = [*crew(checkpoint, counts), *pair(checkpoint, "fp32")]
    for left in shares:
        subjects += [replace(one, weights=named(left)) for one in crew(seeded.pruned(checkpoint, left), counts)]
    return subjects


def poster(dim: int, left: seeded.Shares = seeded.DENSE) -> Checkpoint:
    """Random weights in the poster's architecture, at ``dim``."""
    return seeded.network(ModelConfig(dim=dim), f"seeded-{dim}", left)


def choirs(
    dim: int, voices: Iterable[int], left: seeded.Shares = seeded.DENSE, threads: Iterable[int] = (1,)
) -> list[Subject]:
    """So many voices of one network, int8; ``CHOIR`` of them by so many ``threads`` too."""
    counts = list(voices)
    checkpoint = poster(dim, left)
    generator = _generator(checkpoint, "int8", max(counts))
    one = replace(_subject(checkpoint, "int8", _player(generator, 1)), weights=named(left))
    alone = [replace(one, make=_player(generator, n), voices=n) for n in counts]
    several = [n for n in threads if n > 1]
    return alone + [_helped(choir, generator, n) for choir in alone if choir.voices == CHOIR for n in several]


def recipe(name: str) -> list[Subject]:
    """A network as that recipe would train it, random as it is before; int8."""
    config, training = recipes.resolve(name, {})
    left = (training.density_frames, training.density_sample, training.density_output)
    return [replace(one, weights=named(left)) for one in pair(seeded.network(config, name, left), "int8")]


def pair(checkpoint: Checkpoint, precision: str) -> tuple[Subject, Subject]:
    """One voice of ``checkpoint``, and its matrix products alone, which its whole step cannot beat."""
    return _pair(checkpoint, _generator(checkpoint, precision, 1))


def crew(checkpoint: Checkpoint, threads: Iterable[int]) -> list[Subject]:
    """The same at int8, the voice by several ``threads`` too."""
    generator = _generator(checkpoint, "int8", 1)
    network, products = _pair(checkpoint, generator)
    return [network, *(_helped(network, generator, n) for n in threads if n > 1), products]


def loops(dim: int) -> list[Subject]:
    """samplernn-pytorch's generation step and a leaner loop at the size of ``poster(dim)``, one thread each.

    Raises ImportError where torch is missing.
    """
    from engine.training import peer

    config = ModelConfig(dim=dim)
    made = peer.loops(dim).items()
    return [Subject(f"seeded-{dim}", "fp32", config.sample_rate, make, config.hop, kind) for kind, make in made]


def named(left: seeded.Shares) -> str:
    """``dense``, or the shares in per cent."""
    return "dense" if left == seeded.DENSE else "/".join(f"{100 * share:.0f}" for share in left)


def _pair(checkpoint: Checkpoint, generator: CpuGenerator) -> tuple[Subject, Subject]:
    from engine.cpu import roof

    network = _subject(checkpoint, generator.precision, _player(generator, 1))
    return network, replace(network, kind=PRODUCTS, make=lambda n: roof.matvecs(generator.context, n))


def _helped(alone: Subject, generator: CpuGenerator, threads: int) -> Subject:
    """The same by several threads, which are there only while it is measured: they would be in the way of others."""
    from instrument.audio.helpers import Helpers

    @contextmanager
    def around() -> Iterator[None]:
        with closing(Helpers(threads)) as helpers:
            helpers.start()
            with helpers.played():
                generator.have_help(helpers.address)
                try:
                    yield
                finally:
                    generator.have_help(0)

    return replace(alone, make=_player(generator, alone.voices), threads=threads, around=around)


def _generator(checkpoint: Checkpoint, precision: str, voices: int) -> CpuGenerator:
    from engine.cpu.generator import CpuGenerator
    from engine.generator import make_generator

    generator = make_generator(checkpoint, precision=precision, voices=voices)
    assert isinstance(generator, CpuGenerator)
    return generator


def _subject(checkpoint: Checkpoint, precision: str, make: Callable[[int], object]) -> Subject:
    return Subject(checkpoint.name, precision, checkpoint.config.sample_rate, make, checkpoint.config.hop)


def _player(generator: CpuGenerator, voices: int) -> Callable[[int], object]:
    """Makes samples of the first ``voices`` lanes at temperature 1 as the audio path has them made."""
    from engine.cpu import hop
    from engine.cpu.memory import address

    lanes = -1 if voices == generator.voices else (1 << voices) - 1

    @lru_cache(1)
    def room(n: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        return np.ones((generator.voices, n), np.float32), np.zeros((2 * generator.voices, n), np.int32)

    def make(n: int) -> object:
        betas, tokens = room(n)
        return hop.generate(generator.context, lanes, n, address(betas), address(tokens), n)

    return make
