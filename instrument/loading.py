"""Checkpoints on their way into the loop's table of slots and out of it, while the set plays.

The patches' thread: it reads a file, packs the network, touches its memory, measures what it costs, and lets it in with
a LOAD; a DROP gives it up, and only when the loop has told of that is its memory freed. The session's control thread
hands in what the loop told. Which checkpoints are wanted is left to :mod:`instrument.sets`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoint import Checkpoint, load
from instrument.patch import Entry

if TYPE_CHECKING:
    from instrument.audio.performance import Performance
    from instrument.audio.slots import Slot
    from instrument.audio.table import Rules
    from instrument.controls import Event

Key = tuple[str, int]  # a checkpoint's sha256, and which of the equal files of one bank it is
A_WEIGHT = 3  # bytes of a slot for each weight of its network
MEMORY = 1 << 31  # bytes that one checkpoint may take
PATIENCE_S = 30.0  # for the loop's answer, which comes within L
AGAIN_S = 5.0  # until what could not be dropped is tried again


class Stopped(Exception):
    """The set has ended in the meantime."""


@dataclass(frozen=True)
class Bank:
    """A patch's programs in the table: what they are called, which slots they are, and what is in them."""

    names: tuple[str, ...]
    slots: tuple[int, ...]
    keys: tuple[Key, ...]
    paths: tuple[Path, ...]
    moments: tuple[int, ...]


@dataclass(frozen=True)
class _There:
    """One checkpoint in the table."""

    slot: int
    moments: int


class Loading:
    """What is in the table, and the ways in and out.

    Args:
        performance: whose table it is.
        send: hands an Op and a slot to the loop.
        make: makes a slot of a checkpoint and its name.
        stand_in: the file of what every program plays in place of its own network, if there is such.
        complain: takes a line; must not block.
    """

    def __init__(
        self,
        performance: Performance,
        send: Callable[[int, int], None],
        make: Callable[[Checkpoint, str], Slot],
        complain: Callable[[str], None],
        stand_in: Path | None = None,
    ) -> None:
        self._performance, self._send, self._make, self._complain = performance, send, make, complain
        self._stand_in = stand_in
        self._there: dict[Key, _There] = {}
        self._orphans: set[int] = set()  # slots that the loop has not answered about in time
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._coming: dict[int, tuple[Entry, str, Rules]] = {}  # what the log must know, by slot
        self._told: dict[tuple[int, int], bool] = {}  # whether the loop did it, by op and slot
        self._answer = threading.Condition()
        self._not_before: dict[Key, float] = {}
        self._stopped = False

    def first(self, entries: Sequence[Entry], checkpoints: Sequence[Checkpoint]) -> Bank:
        """The bank that the performance was made with: slots 0, 1, ..."""
        entries = self._really(entries)
        keys = _keys([checkpoint.sha256 for checkpoint in checkpoints])
        for k, (key, checkpoint) in enumerate(zip(keys, checkpoints, strict=True)):
            self._there[key] = _There(k, _moments(checkpoint))
        for entry, checkpoint in zip(entries, checkpoints, strict=True):
            if (state := _state(entry.path)) is not None:
                self._hashes[entry.path] = state, checkpoint.sha256
        return self._bank(entries, keys)

    def prepare(self, entries: Sequence[Entry], given_up: Callable[[], bool] = lambda: False) -> Bank | None:
        """Have all of a bank in the table, what is not there yet loaded one after another; None once it is given up.

        Raises ValueError naming the file that cannot be played and why, and Stopped.
        """
        entries = self._really(entries)
        keys: list[Key] = []
        counts: Counter[str] = Counter()
        for entry in entries:
            if given_up():
                return None
            sha256, checkpoint = self._read(entry.path)
            key = sha256, counts[sha256]
            counts[sha256] += 1
            if key not in self._there:
                self._load(key, entry, checkpoint or load(entry.path))
            keys.append(key)
        return self._bank(entries, keys)

    def _really(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """With the files that they are played from."""
        return [replace(entry, path=self._stand_in) for entry in entries] if self._stand_in else entries

    def sweep(self, kept: Collection[Key]) -> None:
        """Give up what is not kept and nobody plays. Raises Stopped."""
        from instrument.controls import Op

        self._settle()
        voices = self._performance.link.telemetry().voices
        busy = {voice.slot for voice in voices}
        if any(voice.phase in (1, 2) for voice in voices):
            return  # the slot that is being left is in none of these figures
        now = time.monotonic()
        for key in [key for key in self._there if key not in kept]:
            slot = self._there[key].slot
            if slot in busy or now < self._not_before.get(key, 0.0):
                continue
            done = self._ask(Op.DROP, slot)
            if done is False:
                self._not_before[key] = now + AGAIN_S
                continue
            del self._there[key]
            self._not_before.pop(key, None)
            if done:
                self._performance.unload(slot)

    def _settle(self) -> None:
        """Give up what the loop has answered about after all; what it then has is dropped."""
        from instrument.controls import Op

        for slot in list(self._orphans):
            with self._answer:
                loaded, dropped = self._told.pop((Op.LOAD, slot), None), self._told.pop((Op.DROP, slot), None)
            if dropped or loaded is False:
                self._orphans.discard(slot)
                self._performance.unload(slot)
            elif loaded or dropped is False:
                self._send(Op.DROP, slot)

    def noted(self, events: Sequence[Event]) -> list[Event]:
        """``events``, every LOAD among them with what was loaded: for the log."""
        from instrument.controls import REFUSED, Loaded, Op

        found: list[Event] = []
        for event in events:
            if event.op in (Op.LOAD, Op.DROP):
                done = not event.flags & REFUSED
                if done and event.op == Op.LOAD:
                    entry, sha256, rules = self._coming[event.number]
                    about = {"name": entry.name, "path": str(entry.path.resolve()), "sha256": sha256, **vars(rules)}
                    event = Loaded(**(vars(event) | about))
                with self._answer:
                    self._told[event.op, event.number] = done
                    self._answer.notify_all()
            found.append(event)
        return found

    def stop(self) -> None:
        """Wait for nothing any more. Any thread."""
        with self._answer:
            self._stopped = True
            self._answer.notify_all()

    def __len__(self) -> int:
        return len(self._there)

    # --- how

    def _read(self, path: Path) -> tuple[str, Checkpoint | None]:
        """The sha256 of the file, and what is in it if that had to be looked at."""
        state, (then, sha256) = _state(path), self._hashes.get(path, ((), ""))
        if state is not None and state == then:
            return sha256, None
        checkpoint = load(path)
        if state is not None and _state(path) == state:
            self._hashes[path] = state, checkpoint.sha256
        return checkpoint.sha256, checkpoint

    def _load(self, key: Key, entry: Entry, checkpoint: Checkpoint) -> None:
        from instrument.controls import Op

        weights = sum(tensor.size for tensor in checkpoint.tensors.values())
        if A_WEIGHT * weights > MEMORY:
            raise ValueError(f"{entry.path}: {weights / 1e6:.0f} million weights: too large to join a set that plays")
        slot = self._made(entry, checkpoint)
        overloaded = self._performance.overload
        k, rules = self._performance.load(slot)
        self._coming[k] = entry, checkpoint.sha256, rules
        done = self._ask(Op.LOAD, k)
        if done is None:
            raise ValueError(f"{entry.path}: the render loop has not answered for {PATIENCE_S:g} s")
        if not done:
            self._performance.unload(k)
            raise ValueError(f"{entry.path}: the loop refused it")
        if (line := self._performance.overload) and line != overloaded:
            self._complain(line)
        self._there[key] = _There(k, _moments(checkpoint))

    def _made(self, entry: Entry, checkpoint: Checkpoint) -> Slot:
        try:
            return self._make(checkpoint, entry.name)
        except ValueError as error:
            raise ValueError(f"{entry.path}: {error}") from None

    def _ask(self, op: int, slot: int) -> bool | None:
        """Whether the loop did it; None if it has not answered, and the slot is an orphan. Raises Stopped."""
        self._told.pop((op, slot), None)
        self._send(op, slot)
        with self._answer:
            done = self._answer.wait_for(lambda: self._stopped or (op, slot) in self._told, PATIENCE_S)
            if self._stopped:
                raise Stopped
            if not done:
                self._orphans.add(slot)
                return None
            return self._told.pop((op, slot))

    def _bank(self, entries: Sequence[Entry], keys: Sequence[Key]) -> Bank:
        there = [self._there[key] for key in keys]
        return Bank(
            tuple(entry.name for entry in entries),
            tuple(each.slot for each in there),
            tuple(keys),
            tuple(entry.path for entry in entries),
            tuple(each.moments for each in there),
        )


def _keys(hashes: Sequence[str]) -> list[Key]:
    return [(sha256, hashes[:i].count(sha256)) for i, sha256 in enumerate(hashes)]


def _moments(checkpoint: Checkpoint) -> int:
    return len(checkpoint.moments.get("moments.times", ()))


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
