"""One run by several processes, as ``torchrun`` starts them: each follows its share of the streams.

Gradients and losses are averaged, so that every process makes the same step; the first one alone judges, writes and
speaks. A single process is a team of one, without torch.distributed. Gloo between processors, NCCL between GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=2)  # of the others, while the first judges an epoch or takes its moments


@dataclass(frozen=True)
class Team:
    """This process's place: ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1
    local: int = 0  # among the processes of this machine

    @property
    def first(self) -> bool:
        """Whether this process judges, writes and speaks."""
        return self.rank == 0

    def streams(self, batch: int) -> slice:
        """The streams of this process. Raises ValueError where they cannot be shared out evenly."""
        if batch % self.size:
            raise ValueError(f"batch: {batch}: a multiple of {self.size} expected, one share for each process")
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Means over the processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor.div_(self.size)

    def mean(self, value: float) -> float:
        """Of every process's own."""
        told = torch.tensor([value], dtype=torch.float64)
        self.average([told])
        return told.item()

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.mean(float(flag)) > 0.0

    def told(self, thing: Any) -> Any:
        """What the first process says, whatever the others have; of plain Python."""
        if self.size == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, part: Tensor) -> Tensor:
        """Every process's part along axis 1, in the order of the ranks."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim=1)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def assembled() -> Iterator[Team]:
    """The team that ``torchrun``'s environment names; a team of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), size, local)
    finally:
        dist.destroy_process_group()
