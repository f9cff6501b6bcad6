"""CUDA's driver by address, for code that cannot call Python: where its functions are and what they are handed.

A GPU that has failed is lost to everyone in this process: its word of failure is one, and no player of it launches
anything once that is not 0.

``Eager`` stands in for it on a machine without a GPU: the same words and addresses, behind which a run's kernels are
called one after the other, in Triton's interpreter. It is for tests, and says nothing of speed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cpu.memory import aligned
from engine.cuda.presence import LIBRARY
from engine.generator import Unavailable

RUN = Callable[[], None]
FAILED = 719  # CUDA_ERROR_LAUNCH_FAILED, what a kernel's own fault is called


class Where(Protocol):
    """One GPU."""

    def beside(self) -> Driver:
        """A driver of it whose stream goes behind those of players."""


class Driver(Protocol):
    """What a player needs of a driver: addresses of functions and handles, and runs made into graphs."""

    set_context: int
    launch: int
    query: int
    context: int
    stream: int
    where: Where
    failed: NDArray[np.int64]  # (1,) what the GPU's driver said when it failed, 0 while all is well

    def capture(self, run: RUN) -> int:
        """A handle with which ``launch`` repeats all that ``run`` does. Not while playing."""


class Gpu:
    """What all players of one GPU share: its context, the driver's functions, and the word of its failure.

    Raises Unavailable where there is no driver, or none that works.
    """

    def __init__(self, device: torch.device) -> None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise Unavailable(f"backend: cuda: no driver ({error})") from None
        self.set_context, self.launch, self.query = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
            for name in ("cuCtxSetCurrent", "cuGraphLaunch", "cuStreamQuery")
        )
        current = ctypes.c_void_p()
        torch.zeros(1, device=device)  # makes the device's context current
        if library.cuCtxGetCurrent(ctypes.byref(current)) or not current.value:
            raise Unavailable("backend: cuda: the driver gives no context")
        self.device, self.context, self.failed = device, current.value, aligned(1, np.int64)

    def beside(self) -> Cuda:
        """A driver of it whose stream goes behind those of players."""
        return Cuda(self.device, priority=0)


gpu = cache(Gpu)


class Cuda:
    """A stream of the GPU that ``device`` names, behind which its player's runs are captured.

    Args:
        priority: of the stream; -1 goes before 0.

    Raises Unavailable where the driver cannot be had.
    """

    def __init__(self, device: torch.device, priority: int = -1) -> None:
        shared = gpu(device)
        self.where: Where = shared
        self.device, self.side = device, torch.cuda.Stream(device, priority=priority)  # type: ignore[no-untyped-call]
        self.set_context, self.launch, self.query = shared.set_context, shared.launch, shared.query
        self.context, self.stream, self.failed = shared.context, self.side.cuda_stream, shared.failed
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._pool = torch.cuda.graph_pool_handle()  # of all of them: one runs at a time, and keeps nothing in it

    def capture(self, run: RUN) -> int:
        self.side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.side):
            run()  # once before, so that everything is compiled and loaded
        self.side.synchronize()
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        with torch.cuda.graph(graph, self._pool, self.side, capture_error_mode="thread_local"):
            run()
        graph.instantiate()
        self._graphs.append(graph)
        with torch.cuda.stream(self.side):
            graph.replay()  # the first launch sends it to the device
        self.side.synchronize()
        return int(graph.raw_cuda_graph_exec())


class Eager:
    """Stands in for a driver. ``failing`` is what the next calls return instead of success, 0 for nothing."""

    def __init__(self) -> None:
        self.where: Where = self
        self.failing, self.failed = 0, aligned(1, np.int64)
        self.launched: list[int] = []
        self.errors: list[BaseException] = []
        self.context, self.stream = 1, 2
        self._runs: list[RUN] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        self._kept: list[Any] = [kind(f) for f in (self._set, self._launch, self._query)]
        self.set_context, self.launch, self.query = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in self._kept)

    def beside(self) -> Eager:
        return self

    def capture(self, run: RUN) -> int:
        self._runs.append(run)
        return len(self._runs)

    def _set(self, context: int, _: int) -> int:
        return self.failing or (0 if context == self.context else 201)  # CUDA_ERROR_INVALID_CONTEXT

    def _launch(self, graph: int, stream: int) -> int:
        if self.failing or stream != self.stream:
            return self.failing or 400  # CUDA_ERROR_INVALID_HANDLE
        self.launched.append(graph)
        try:
            self._runs[graph - 1]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
        except Exception as error:  # nothing can be raised through C
            self.errors.append(error)
            return FAILED
        return 0

    def _query(self, stream: int, _: int) -> int:
        return self.failing or (0 if stream == self.stream else 400)
