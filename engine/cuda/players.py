"""The players of a set on a GPU: graphs are captured before it begins, and networks come and go among them.

While a set plays nothing is captured and nothing allocated on the GPU: a network that joins is loaded into an idle
player of its architecture, which is idle again once that network's generator is gone.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version

import torch

from engine.config import ModelConfig
from engine.cuda.driver import Driver
from engine.cuda.generator import CudaGenerator
from engine.cuda.player import Player, first_line
from engine.cuda.weights import Architecture, architecture
from engine.folding import Folded, fold
from engine.generator import AT_ONCE, Unavailable
from engine.seeded import network


class Players:
    """Of networks with so many voices.

    Args:
        stereo: which voices have a right side.
        path: see :mod:`engine.cuda.ways`.
        samples: the most that one launch makes.
        driver: makes the driver of each player; None is the machine's.

    Attributes:
        news: lines about what is not as it should be.
    """

    def __init__(
        self,
        voices: int,
        stereo: tuple[bool, ...] = (),
        path: str = "auto",
        samples: int = AT_ONCE,
        driver: Callable[[], Driver] | None = None,
    ) -> None:
        self.voices, self.stereo, self.samples = voices, stereo or (False,) * voices, samples
        self.news: list[str] = []
        self._path, self._driver = path, driver
        self._paths: dict[Architecture, str] = {}
        self._idle: list[Player] = []
        self._lock = threading.Lock()
        self._folded: dict[ModelConfig, Folded] = {}  # until the set begins: what idle players are made with
        self._playing = False

    def generator(self, folded: Folded, spare: int = 0) -> CudaGenerator:
        """One that plays ``folded``.

        Raises:
            Unavailable: no GPU, or it has failed, or its memory is full.
            ValueError: the set plays, and no idle player is of that architecture.
        """
        player = self._taken(folded)
        if not self._playing:
            self._folded[folded.config] = folded
        made = CudaGenerator(folded, self.voices, self.stereo, spare, player)
        weakref.finalize(made, self._idle.append, player)
        return made

    def reserve(self, config: ModelConfig, count: int = 1) -> None:
        """Have ``count`` more idle players of an architecture. Raises Unavailable, keeping those there was room for."""
        folded = self._folded.get(config) or fold(network(config, "idle"), "fp16")
        for _ in range(count):
            self._idle.append(self._made(folded))

    @property
    def versions(self) -> dict[str, str]:
        """What computes: the GPU, and what has a say in the order of its sums."""
        found = {
            "torch": torch.__version__,
            "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            "kernels of the GPU": ", ".join(sorted(set(self._paths.values()))),
        }
        with suppress(PackageNotFoundError):
            found["triton"] = version("triton")
        return found

    def begin(self) -> None:
        """The set begins: from here on networks go into idle players only."""
        self._playing = True
        self._folded.clear()

    def _taken(self, folded: Folded) -> Player:
        player = self._idle_one(architecture(folded))
        if player is not None:
            try:
                with _in_words():
                    player.load(folded)
            except BaseException:
                self._idle.append(player)
                raise
            return player
        if self._playing:
            raise ValueError(f"no idle player on the GPU for {_words(folded.config)}: it can join at the next start")
        return self._made(folded)

    def _idle_one(self, wanted: Architecture) -> Player | None:
        """An idle player of an architecture, idle no more."""
        with self._lock:
            found = next((player for player in self._idle if player.architecture == wanted), None)
            if found is not None:
                self._idle.remove(found)
            return found

    def _made(self, folded: Folded) -> Player:
        rights = tuple(v for v, side in enumerate(self.stereo) if side)
        with _in_words():
            driver = self._driver() if self._driver else None
            path = self._paths.get(architecture(folded), self._path)  # what was found out once holds for the next
            player = Player(folded, self.voices, rights, path, self.samples, driver)
        self._paths[player.architecture] = player.path
        if player.news and player.news not in self.news:
            self.news.append(player.news)
        return player


def _words(config: ModelConfig) -> str:
    return f"another network of dim {config.dim}, tiers {config.frame_sizes}"


@contextmanager
def _in_words() -> Iterator[None]:
    """What a GPU has against something, as Unavailable."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise Unavailable("backend: cuda: the memory of the GPU is full") from None
    except ValueError:
        raise
    except Exception as error:  # of torch, triton or the driver, whatever its kind
        raise Unavailable(f"backend: cuda: {first_line(error)}") from None
