"""One network on a GPU, ready to be launched: weights, memory, and a graph for each length of run.

Made before the show; another network of its architecture is loaded over this one while nothing plays it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cpu.memory import address, aligned
from engine.cuda import launching, ways
from engine.cuda.buffers import Block, Shape
from engine.cuda.driver import Cuda, Driver, Eager
from engine.cuda.plain import Plain
from engine.cuda.runs import Steps, run
from engine.cuda.weights import Weights, architecture
from engine.folding import Folded
from engine.generator import AT_ONCE, Unavailable

PLACES = 64  # of a hop, that runs may begin from
TRIALS = 4  # runs that are held against those of another way


class Player:
    """Weights and graphs for ``voices`` lanes. ``words`` is what ``engine.cuda.launching`` reads.

    Args:
        rights: voices that have a right side.
        path: see :mod:`engine.cuda.ways`.
        samples: the most that one launch makes, rounded up to whole hops.
        driver: None is the machine's.

    Attributes:
        path: which way it is.
        news: one line if it is not the best.

    Raises Unavailable where there is no GPU.
    """

    def __init__(
        self,
        folded: Folded,
        voices: int,
        rights: tuple[int, ...] = (),
        path: str = "triton",
        samples: int = AT_ONCE,
        driver: Driver | None = None,
    ) -> None:
        hop = folded.config.hop
        if driver is None and not torch.cuda.is_available():
            raise Unavailable("backend: cuda: torch finds no GPU here")
        device = torch.device("cpu" if isinstance(driver, Eager) else "cuda")
        self.driver: Driver = driver or Cuda(device)
        if self.error:
            raise Unavailable(f"backend: cuda: the GPU has failed ({self.error})")
        self.architecture = architecture(folded)
        self.weights = Weights(folded, device)
        self.shape = Shape(folded.config, voices, rights, -(-samples // hop) * hop, self.weights.apart)
        self.block = Block(self.shape, device)
        self.words, self.news = self._words(), ""
        launching.point(self.words, self.driver)
        self.steps: Steps
        self.path = ""
        self._prepare(ways.ways(path, device.type == "cuda"))

    def load(self, folded: Folded) -> None:
        """Another network of the same architecture; while nothing plays this one."""
        if self.error:
            raise Unavailable(f"backend: cuda: the GPU has failed ({self.error})")
        with torch.inference_mode():
            self.weights.load(folded)
            if isinstance(self.steps, Plain):
                self.steps.widen()
        if self.block.device.is_cuda:  # a copy of memory that is not pinned may still be under way
            torch.cuda.current_stream(self.block.device.device).synchronize()

    @property
    def error(self) -> int:
        """What the driver last said, 0 for success; once it has failed nothing is launched any more."""
        return int(self.driver.failed[0])

    def run_eagerly(self) -> None:
        """From here on call each run's kernels one by one, on the same device: what graphs are compared with."""
        self.driver = Eager()
        launching.point(self.words, self.driver)
        self._capture()

    def fitting(self, clock: int, samples: int) -> int:
        """How many of ``samples`` that are heard the next launch makes."""
        found: int = launching.fitting(self.words, clock % self.shape.config.hop, samples, launching.HEARD)[0]
        return found

    def logits(self, lane: int, samples: int) -> NDArray[np.float32]:
        """(samples, levels) of the last launch, before each of its samples."""
        found: NDArray[np.float32] = self.steps.scratch.logits[:samples, lane].cpu().numpy()
        return found

    def _prepare(self, names: list[str]) -> None:
        """Capture the first of these ways that can be, and that makes what the next one makes."""
        for i, name in enumerate(names):
            rest = names[i + 1 :]
            try:
                with torch.inference_mode():
                    self.steps = ways.make(name, self.shape, self.weights, self.block)
                self._capture()
                self.path = name
                if name != "overlapping" or not rest or self._is_like(rest[0]):
                    return
                fault = "they made other samples"
            except Exception as error:
                if not rest or isinstance(error, torch.cuda.OutOfMemoryError):
                    raise
                fault = first_line(error)
            self.news = ways.NEWS[rest[0]].format(fault)

    def _is_like(self, way: str) -> bool:
        """Whether captured runs make what the kernels of ``way`` make when they are called one by one: every logit, and
        all that is given back. Of whole runs, and of hops from the last place that there are graphs for.
        """
        with torch.inference_mode():
            steps, other = self.steps, ways.make(way, self.shape, self.weights, self.block)
        hop, before, alike = self.shape.config.hop, self.block.host.clone(), True
        last = max(place for place in range(hop) if self._graph(launching.HOPS, place))
        for seed in range(TRIALS):
            kind, place, length = ((launching.RUN, 0, self.shape.samples), (launching.HOPS, last, hop))[seed % 2]
            found = []
            for each in (steps, other):
                self.block.disturb(seed)
                self.steps = each
                if each is steps:
                    launching.launch(self.words, self._graph(kind, place))
                else:
                    self._whole(place, length, False)()
                found.append((each.scratch.logits[:length].cpu(), self.block.host.clone()))
            alike = alike and all(map(torch.equal, *found))
        self.steps = steps
        self.block.host.copy_(before)
        return alike and not self.error

    def _graph(self, kind: int, place: int) -> int:
        return int(self.words[launching.GRAPHS + kind * self.shape.config.hop + place])

    def _words(self) -> NDArray[np.int64]:
        found: NDArray[np.int64] = aligned(launching.GRAPHS + launching.KINDS * self.shape.config.hop, np.int64)
        found[launching.SAMPLES], found[launching.HOP] = self.shape.samples, self.shape.config.hop
        parts = {
            launching.AT_LANES: "lanes", launching.AT_BETAS: "betas", launching.AT_FORCED: "forced",
            launching.AT_TOKENS: "tokens", launching.AT_H: "h", launching.AT_C: "c", launching.AT_OUT: "out",
            launching.AT_MEASURED: "measured", launching.AT_FAULTS: "faults",
        }  # fmt: skip
        for word, name in parts.items():
            found[word] = self.block.beside[name].data_ptr()
        return found

    def _capture(self) -> None:
        """A graph of each kind for each place of a hop: turns are cut anywhere, and begin anywhere where rates differ.

        Of hops longer than PLACES samples only so many places; from the others on it goes by single samples.
        """
        hop, samples = self.shape.config.hop, self.shape.samples
        kinds = {
            launching.RUN: (samples, False), launching.HOPS: (hop, False), launching.ONE: (1, False),
            launching.KNOWN_RUN: (samples, True), launching.KNOWN_HOPS: (hop, True),
        }  # fmt: skip
        for kind, (length, known) in kinds.items():
            for place in range(0, hop, 1 if kind == launching.ONE else -(-hop // PLACES)):
                graph = self.driver.capture(self._whole(place, length, known))
                self.words[launching.GRAPHS + kind * hop + place] = graph

    def _whole(self, place: int, samples: int, known: bool) -> Any:
        def whole() -> None:
            with torch.inference_mode():
                self.block.give()
                run(self.steps, self.shape, place, samples, known)
                self.block.give_back()

        return whole

    @property
    def context(self) -> int:
        """Address of the words."""
        return address(self.words)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
