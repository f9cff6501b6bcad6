"""Commands on their way to the ring, kept when it is full.

Whoever holds the controller's lock calls this. A continuous value that waits is replaced by a newer one of the same
address, unless that is a ramp; what happens once (a reseed, a switch) waits for its turn and is never lost silently.
"""

from __future__ import annotations

from collections.abc import Callable

from instrument.controls import Command, Op

MOST = 8192  # waiting commands; the loop has then been dead for long


class Outbox:
    """``push`` takes a command or returns False when the ring is full; ``lost`` is told of what could not wait."""

    def __init__(self, push: Callable[[Command], bool], lost: Callable[[Command], None]) -> None:
        self._push = push
        self._lost = lost
        self._waiting: list[Command] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, command: Command) -> None:
        """To the ring, or behind what waits already."""
        self.flush()
        if not self._waiting and self._push(command):
            return
        if command.op == Op.SET:
            self._waiting = [waiting for waiting in self._waiting if not _replaces(command, waiting)]
        if len(self._waiting) < MOST:
            self._waiting.append(command)
        else:
            self._lost(command)

    def flush(self) -> None:
        """To the ring with as many as it takes, in order."""
        taken = 0
        while taken < len(self._waiting) and self._push(self._waiting[taken]):
            taken += 1
        del self._waiting[:taken]

    def drop(self, ops: tuple[Op, ...]) -> list[Command]:
        """Forget waiting commands of these kinds (a panic overtakes them); returns them."""
        dropped = [waiting for waiting in self._waiting if waiting.op in ops]
        self._waiting = [waiting for waiting in self._waiting if waiting.op not in ops]
        return dropped


def _replaces(new: Command, old: Command) -> bool:
    """Whether ``new`` makes ``old`` pointless: same parameter, same voice or all, and not before it.

    A ramp does not: it may start from there.
    """
    same = old.op == Op.SET and old.parameter == new.parameter and new.voice in (old.voice, -1)
    return same and old.at <= new.at and new.ramp == 0
