"""Controllers that say more, or other things, than a position from 0 to 127.

The MIDI input's thread. Two controllers that are one of 14 bits, and endless encoders that send steps. Acceleration is
the device's: an encoder turned fast sends larger steps.
"""

from __future__ import annotations

import itertools

FINE = 32  # how far above a controller its fine one lies


class Fine:
    """A pair of controllers, coarse and fine, whichever comes first."""

    def __init__(self) -> None:
        self._coarse: int | None = None
        self._fine: int | None = None

    def way(self, value: int, fine: bool) -> float | None:
        """Where the control is, 0..1, after ``value`` of one of the two; None until the coarse one was heard.

        A device that never sends the fine one is a controller of 7 bits.
        """
        if fine:
            self._fine = value
        else:
            self._coarse = value
        if self._coarse is None:
            return None
        return self._coarse / 127 if self._fine is None else (self._coarse * 128 + self._fine) / 16383


def steps(coding: str, value: int) -> int:
    """Steps to the right (or, below 0, to the left) that an encoder's ``value`` says."""
    if coding == "offset":
        return value - 64
    return value if value < 64 else value - 128


def guess(values: list[int]) -> str | None:
    """How the encoder that sent ``values`` codes its steps; None for what has a position.

    Steps are small and repeat themselves; a fader or a knob sends no value twice in a row.
    """
    if len(values) < 3 or all(a != b for a, b in itertools.pairwise(values)):
        return None
    if all(0 < value <= 10 or value >= 118 for value in values):
        return "twos"
    return "offset" if all(54 <= value <= 74 and value != 64 for value in values) else None
