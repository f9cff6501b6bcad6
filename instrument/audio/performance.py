"""One performance: shared memory, slots and the thread that renders them. Stub: the signature others build on.

The session makes it, starts it, and closes it; commands and telemetry go through ``link``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instrument.controls import Link


class Performance:
    """Everything that makes the sound, from bank to ring.

    Args:
        slots: the bank, every program already made with a lane per voice (``instrument.audio.slots.Slot``).
        sample_rate: Hz of the session, fixed.
        voices: how many.
        seed: dice key of every voice (their voice numbers differ).
        start: bank index of each voice at sample 0; default all 0.
        parameters: starting values, ``parameters[voice][code]`` in natural units; default the table's.
        ring_frames: frames the audio ring may hold.
        block: frames of the device's callback, for the latency figures.
        tap: keep the final mix for a recorder from sample 0 on (drained with ``link.tap``).
        offline: no device and no clock: :meth:`render_to` makes the sound, as fast as it can.
        timing: a :class:`Timing` from a log's head (as a table) instead of measuring one.
    """

    def __init__(
        self,
        slots: Sequence[Any],
        *,
        sample_rate: int,
        voices: int = 1,
        seed: int = 0,
        start: Sequence[int] | None = None,
        parameters: Sequence[Sequence[float]] | None = None,
        ring_frames: int = 512,
        block: int = 128,
        tap: bool = False,
        offline: bool = False,
        timing: Mapping[str, Any] | None = None,
    ) -> None:
        self.link: Link
        raise NotImplementedError

    @property
    def delay(self) -> int:
        """Samples by which the loop must know a command before its sample reaches the ring: resampler and limiter."""
        raise NotImplementedError

    @property
    def turn(self) -> int:
        """Samples the loop makes at once."""
        raise NotImplementedError

    @property
    def timing(self) -> dict[str, Any]:
        """What the loop's length rules were computed from; belongs in the log's head."""
        raise NotImplementedError

    def start(self, on_thread: Callable[[], None] | None = None) -> None:
        """Start the render thread; ``on_thread`` runs on it first (priority, affinity)."""
        raise NotImplementedError

    def prefill_done(self) -> bool:
        """Whether the ring has been full once, so that a device may start reading."""
        raise NotImplementedError

    def render_to(self, sample: int) -> NDArray[np.float32]:
        """Offline: what lies between the last call and session sample ``sample``, (n, 2); shorter once ended."""
        raise NotImplementedError

    def stop(self) -> None:
        """Closing fade, then ENDED; returns at once."""
        raise NotImplementedError

    def close(self, timeout: float = 5.0) -> None:
        """Fade, join the thread, let go of the memory. Idempotent; safe at exit."""
        raise NotImplementedError

    def report(self) -> dict[str, Any]:
        """The figures of ``--report`` that the loop and the ring know."""
        raise NotImplementedError
