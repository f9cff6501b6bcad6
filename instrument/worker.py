"""A thread that takes a turn now and then, until it is told to stop; what goes wrong in a turn costs a line.

What the turns do is left to their owners.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from instrument.faults import words


class Worker:
    """One such thread, a daemon.

    Args:
        name: of the thread.
        period: seconds from the end of a turn to the next.
        turn: what it does.
        report: takes the line about a fault; must not block.
        patience: seconds that the end of its last turn is waited for.
        at_once: the first turn comes with the start, and not a period later.
    """

    def __init__(
        self,
        name: str,
        period: float,
        turn: Callable[[], None],
        report: Callable[[str], None],
        *,
        patience: float = 3.0,
        at_once: bool = False,
    ) -> None:
        self._period, self._turn, self._report, self._patience = period, turn, report, patience
        self._stop, self._wake = threading.Event(), threading.Event()
        if at_once:
            self._wake.set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether it has been told to stop: a long turn ends early then."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Let the next turn come now. Any thread."""
        self._wake.set()

    def stop(self) -> None:
        """No more turns; one that is under way goes on, and its faults are nobody's concern any more."""
        self._stop.set()
        self._wake.set()

    def finish(self) -> None:
        """Stop, and wait for the end of the turn. Safe to call again, and before `start`."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(self._patience)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._period)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self._turn()
            except Exception as error:  # a fault here must cost no more than a line
                if not self._stop.is_set():
                    self._report(words(error))
