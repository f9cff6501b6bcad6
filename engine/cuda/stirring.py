"""Something for a GPU to do while nobody asks for samples, so that it does not slow down: one warp, for a millisecond.

Drivers lower a GPU's clocks when little of its time is used, and a set uses a fifth of it, or nothing during a panic's
silence; the first samples afterwards would then be late. What is done lies on a stream that goes behind all others.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cpu.memory import address, aligned
from engine.cuda import launching
from engine.cuda.driver import Driver, Where

CYCLES = 1_500_000  # about a millisecond

_made: WeakKeyDictionary[Where, tuple[Driver, NDArray[np.int64]]] = WeakKeyDictionary()


def context(driver: Driver) -> int:
    """Address of what ``launching.stir`` works on, one for all players of a GPU; captures it the first time."""
    if driver.where not in _made:
        _made[driver.where] = _capture(driver.where.beside())
    return address(_made[driver.where][1])


def _capture(beside: Driver) -> tuple[Driver, NDArray[np.int64]]:
    words: NDArray[np.int64] = aligned(launching.GRAPHS + 1, np.int64)
    launching.point(words, beside)
    words[launching.GRAPHS] = beside.capture(_spin)
    return beside, words


def _spin() -> None:
    if torch.cuda.is_available():
        torch.cuda._sleep(CYCLES)  # type: ignore[no-untyped-call]
