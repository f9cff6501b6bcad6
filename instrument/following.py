"""A run that is still being trained, followed while it is played: its new epochs join the bank.

One thread of its own, off the audio path: it looks at the run folder, reads what is new, makes a slot of it and lets it
in with a command like any other. Whatever it meets in the folder is a line at most, and the music goes on. What an
epoch is heard of is left to the render loop (``instrument.audio.history``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoint import Checkpoint, load
from instrument.faults import Faults, words
from instrument.patch import unused
from instrument.places import epochs_so_far
from instrument.plan import Plan
from instrument.worker import Worker

if TYPE_CHECKING:
    from instrument.audio.performance import Performance
    from instrument.audio.slots import Slot
    from instrument.controller import Controller
    from instrument.controls import Event

LOOK_S = 0.5  # between two looks at the folder
MOST, FEWEST = 64, 8  # epochs that may join, be they large or small
MEMORY = 1 << 30  # bytes that they may take together, where that leaves room for the fewest
A_WEIGHT = 3  # bytes of a slot for each weight of its network
PATIENCE_S = 10.0  # what a hanging disk, or a large network that is being packed, may add to the end

State = tuple[int, int, int]


def room_for(checkpoint: Checkpoint) -> int:
    """How many epochs like ``checkpoint`` may join."""
    weights = sum(tensor.size for tensor in checkpoint.tensors.values())
    return min(MOST, max(FEWEST, MEMORY // (A_WEIGHT * weights)))


class Folder:
    """A run folder's epochs, and which of them are news.

    A file is news once it has stayed as it is from one look to the next, so that one being copied there is not read in
    the middle, and then once only.
    """

    def __init__(self, run: Path, bank: Iterable[Path]) -> None:
        """``bank`` is what was there and is played; epochs before its newest are no news either."""
        self._run = run
        files, played = {}, {path.resolve() for path in bank}
        with contextlib.suppress(OSError):  # gone already: the first look will say so
            files = _states(run)
        newest = max((i for i, file in enumerate(files) if file.resolve() in played), default=-1)
        self._known = dict(list(files.items())[: newest + 1])
        self._before = files

    def look(self) -> list[Path]:
        """What is new, in the order of the epochs. Raises OSError if the folder is gone."""
        now = _states(self._run)
        news = [file for file, state in now.items() if self._before.get(file) == state != self._known.get(file)]
        self._known.update((file, now[file]) for file in news)
        self._before = now
        return news


def _states(run: Path) -> dict[Path, State]:
    """What tells a file from one of the same name, by epoch."""
    states = {}
    for file in epochs_so_far(run):
        try:
            found = file.stat()
        except FileNotFoundError:  # a run that begins anew takes its epochs away
            continue
        states[file] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return states


class Follower:
    """Lets the new epochs of a run into the bank of the set that plays it.

    Args:
        plan: what is played.
        run: its folder.
        performance: where slots are added.
        make: makes a slot of a checkpoint and its name.
        controller: where names and commands go.
        complain: takes lines about files that cannot join; must not block.
    """

    def __init__(
        self,
        plan: Plan,
        run: Path,
        performance: Performance,
        make: Callable[[Checkpoint, str], Slot],
        controller: Controller,
        complain: Callable[[str], None],
    ) -> None:
        self._plan, self._run, self._performance, self._controller = plan, run, performance, controller
        self._make = make
        self._complain, self._faults = complain, Faults(complain)
        self._folder = Folder(run, plan.paths)
        self._read = {checkpoint.sha256 for checkpoint in plan.checkpoints}
        self._joined: dict[int, dict[str, str]] = {}  # what the log must know, by the size of the bank with it
        self._gone = False
        self._worker = Worker("following", LOOK_S, self._turn, self._fault, patience=PATIENCE_S)
        self.start, self.finish = self._worker.start, self._worker.finish

    def noted(self, events: Sequence[Event]) -> list[Event]:
        """``events``, every GROW among them with the checkpoint that joined: for the log and for people."""
        from instrument.controls import REFUSED, Joined, Op

        return [
            Joined(**(vars(event) | self._joined[event.number]))
            if event.op == Op.GROW and not event.flags & REFUSED
            else event
            for event in events
        ]

    def _fault(self, text: str) -> None:
        self._faults.report(f"{self._run}: {text}")

    def _turn(self) -> None:
        if self._performance.full:
            return
        try:
            news = self._folder.look()
            self._gone = False
        except OSError as error:
            if not self._gone:
                self._complain(f"{self._run}: {error.strerror}: no new epochs from there")
            self._gone = True
            return
        for path in news:
            if not self._performance.full and not self._worker.stopped:
                self._take(path)
        if self._performance.full:
            self._complain(f"{self._run}: the bank is full with {len(self._controller.bank)} checkpoints: no more join")

    def _take(self, path: Path) -> None:
        """Let the checkpoint at ``path`` in, or say why not."""
        try:
            checkpoint = load(path)
            if checkpoint.sha256 in self._read:  # written once more as it was, by a run that was gone on with
                return
            self._check(path, checkpoint)
            self._join(path, checkpoint)
        except ValueError as error:
            self._complain(f"{error}: it does not join")
        except Exception as error:  # whatever is wrong with one, the next may join
            self._complain(f"{path}: {words(error)}: it does not join")

    def _check(self, path: Path, checkpoint: Checkpoint) -> None:
        """Raises ValueError for a network that cannot take over the memory of the bank's."""
        if checkpoint.config != self._plan.checkpoints[-1].config:
            raise ValueError(f"{path}: of another shape than {self._plan.names[-1]}")

    def _join(self, path: Path, checkpoint: Checkpoint) -> None:
        name = unused(path.stem, self._controller.bank)
        count = self._performance.add(self._make(checkpoint, name))
        self._read.add(checkpoint.sha256)
        self._joined[count] = {"name": name, "path": str(path), "sha256": checkpoint.sha256}
        self._controller.grow(name)
