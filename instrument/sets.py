"""The patches of a set while it plays: watched, read again when they are saved, loaded before they are asked for.

One thread of its own, off the audio path and the control path. A file that is wrong costs a line (on the terminal, to
OSC, in the log), and what played goes on. What a change does to the sound is left to :mod:`instrument.changing`, the
way of checkpoints to :mod:`instrument.loading`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from instrument import patch as patches
from instrument import saved, setlist
from instrument.arguments import Value
from instrument.changing import Changing, restarts
from instrument.faults import Faults
from instrument.loading import Bank, Loading
from instrument.parameters import shorten, suggest
from instrument.patch import Patch
from instrument.patch_text import MAX_BYTES, line_of, parse
from instrument.setlist import SetList
from instrument.watching import Watched
from instrument.worker import Worker

if TYPE_CHECKING:
    from instrument.controller import Controller
    from instrument.launch import Act
    from instrument.movement import Voices

LOOK_S = 0.3  # between two looks at the files
MEMORY = 1 << 30  # bytes of checkpoints that may be ready; the playing patch's and its neighbours' are in any case
A_BYTE = 1.5  # bytes of a slot for each byte of a checkpoint's file
PATIENCE_S = 10.0


class Ears(Protocol):
    """Who is told, besides the terminal; must not block."""

    def patch(self, patch: Patch, renewed: bool) -> None:
        """Another patch, or another version of it (``renewed``), is in effect: its MIDI map and endpoints too."""

    def error(self, text: str) -> None:
        """Something in a file is wrong."""

    def note(self, **fields: Any) -> None:
        """For the log."""


class _Silent(Exception):
    """A panic came first."""


@dataclass
class Place:
    """One patch of the set: what its file said last, and its bank while that is loaded."""

    name: str
    patch: Patch
    bank: Bank | None = None
    fault: str = ""
    memory: float = 0.0  # bytes that its checkpoints take, about


class Sets:
    """The set that plays.

    Args:
        found: what is played.
        bank: of its first patch.
        loading: the way of checkpoints.
        controller: whose lock guards what is here.
        voices: how many sound, whatever patches say; None as they say.
        ears: who is told.
        say, complain: take lines for the terminal; must not block.
    """

    def __init__(
        self,
        found: SetList,
        bank: Bank,
        loading: Loading,
        controller: Controller,
        voices: int | None,
        ears: Ears,
        say: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._set, self._loading, self._controller, self._ears = found, loading, controller, ears
        self._say, self._faults, self._voices = say, Faults(complain), voices
        pairs = zip(found.names, found.patches, strict=True)
        self.places = [Place(name, patch, memory=_memory(patch)) for name, patch in pairs]
        self.places[0].bank = bank
        self.playing, self._asked = 0, -1
        self.changing = Changing(controller, found.patches[0], bank, ears.patch, voices)
        controller.patch, controller.patches = (0, found.names[0]), found.names
        self._watched: dict[Path, Watched] = {}
        self._news: list[tuple[Path, bytes]] = []  # what was saved while nothing could be done about it
        self._worker = Worker("patches", LOOK_S, self._turn, self._failed, patience=PATIENCE_S, at_once=True)
        controller.at_panic.append(self._forget)
        controller.act_on("patch", self._patch)
        controller.act_on("patch/next", lambda _arguments, _voices: lambda moment: self._step(1, moment))
        controller.act_on("patch/previous", lambda _arguments, _voices: lambda moment: self._step(-1, moment))

    def start(self) -> None:
        """Watch and load from now on."""
        self._watched = self._watching()
        self._worker.start()

    def finish(self) -> None:
        """Stop. Safe to call again, and before `start`."""
        self._worker.stop()
        self._loading.stop()
        self._worker.finish()

    def moments(self, slot: int) -> int:
        """How many moments the checkpoint in ``slot`` holds, as far as it is the playing patch's. Any thread."""
        bank = self.changing.bank
        return bank.moments[bank.slots.index(slot)] if slot in bank.slots else 0

    # --- gestures: under the controller's lock

    def _patch(self, arguments: list[Value], _voices: Voices) -> Act:
        index = self._index(arguments[0])
        return lambda moment: self._ask(index, moment)

    def _index(self, entry: Value) -> int:
        names = [place.name for place in self.places]
        if isinstance(entry, str) and entry in names:
            return names.index(entry)
        number = int(entry) if isinstance(entry, str) and entry.isascii() and entry.isdigit() else entry
        if isinstance(number, int) and 0 <= number < len(names):
            return number
        known = suggest(entry, names) if isinstance(entry, str) else f"; there is 0 to {len(names) - 1}"
        raise ValueError(f"patch: {shorten(entry)} is not in the set{known}")

    def _step(self, by: int, moment: float) -> None:
        """On from what was asked for last; both ends stay."""
        now = self.playing if self._asked < 0 else self._asked
        self._ask(min(max(now + by, 0), len(self.places) - 1), moment)

    def _ask(self, index: int, moment: float) -> None:
        if index >= len(self.places):  # the set was saved with fewer in the meantime
            return
        place = self.places[index]
        if place.bank is None:
            self._asked, place.fault = index, ""
            self._say(f"patch {index}, {place.name}: is being loaded, and comes as soon as it is")
            self._worker.wake()
        elif index != self.playing or self._controller.silent or self._lost(place):
            self._go(index, moment)
        else:
            self._asked = -1

    def _lost(self, place: Place) -> bool:
        """Whether a panic came before the voices could change to it; where the maturity leads nobody knows anyway."""
        return None in self._controller.table.asked and not place.patch.history

    def _forget(self) -> None:
        """After a panic nothing sounds by itself, a patch that was being loaded neither."""
        self._asked = -1

    def _go(self, index: int, moment: float) -> None:
        place = self.places[index]
        assert place.bank is not None
        self.playing, self._asked = index, -1
        self._controller.patch = index, place.name
        self.changing.go(place.patch, place.bank, moment)
        self._ears.note(kind="patch", index=index, name=place.name, patch=place.patch.data)
        self._say(f"patch {index}: {place.name}")
        self._worker.wake()

    # --- the thread

    def _failed(self, text: str) -> None:
        self._faults.report(f"patches: {text}")

    def _turn(self) -> None:
        self._look()
        self._fill()
        self._let_go()
        self._loading.sweep({key for place in self.places if place.bank for key in place.bank.keys} | self._held())
        self._faults.flush()

    def _held(self) -> set[Any]:
        """What plays, be it of a patch that is not in the set any more."""
        with self._controller.lock:
            return set(self.changing.bank.keys)

    def _watching(self) -> dict[Path, Watched]:
        """All files, from when they were read: what was written since is news."""
        files = {place.patch.path: place.patch.digest for place in self.places if place.patch.path}
        files |= {self._set.file: self._set.digest} if self._set.file else {}
        return {path: self._watched.get(path) or Watched(path, digest) for path, digest in files.items()}

    def _look(self) -> None:
        """Read what was saved; in panic's silence it waits, since another checkpoint would end that."""
        for path, watched in self._watched.items():
            if (data := watched.look()) is not None:
                self._news = [news for news in self._news if news[0] != path] + [(path, data)]
        while self._news and not self._controller.silent and not self._worker.stopped:
            path, data = self._news.pop(0)
            try:
                self._saved(path, data)
            except _Silent:
                self._news.append((path, data))
            except ValueError as error:
                self._fault(f"{error}; what played goes on")

    def _fault(self, text: str) -> None:
        self._faults.report(text)
        self._ears.error(text)
        self._ears.note(kind="error", text=text)

    def _saved(self, path: Path, data: bytes) -> None:
        """``path`` holds ``data`` now. Raises ValueError."""
        ours = saved.is_ours(path, data)
        if len(data) > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES // 1024} KiB; a patch is a few lines")
        try:
            tables = parse(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if path == self._set.file:
            with _lined(path, data):
                self._renew_set(setlist.from_data(tables, path))
            return
        with _lined(path, data):
            patch = setlist.patch_of(tables, path, self._set.shared, self._set.file)
            for i, place in enumerate(self.places):
                if place.patch.path == path:  # somebody's edit may lie below the line that we wrote
                    self._renew(i, patch, quiet=ours and replace(patch, midi=place.patch.midi) == place.patch)

    def _renew(self, index: int, patch: Patch, quiet: bool = False) -> None:
        """A patch says something new; ``quiet`` if that is in effect already. Raises ValueError."""
        place = self.places[index]
        for line in patch.missing():
            raise ValueError(f"{patch.path}: {line}")
        before = place.patch
        if patch.history != before.history:
            raise ValueError(f"{patch.path}: history: takes effect at the next start only")
        bank = None
        if index == self.playing or place.bank is not None:
            bank = self._loading.prepare(patch.bank)
        with self._controller.lock:
            if self._controller.silent and index == self.playing and not quiet:
                raise _Silent
            place.patch, place.fault, place.memory = patch, "", _memory(patch)
            place.bank = bank if place.bank is not None or index == self.playing else None
            if patch.name != before.name:
                place.name = patches.unused(patch.name, [each.name for each in self.places if each is not place])
                self._controller.patch = self.playing, self.places[self.playing].name
                self._controller.patches = tuple(each.name for each in self.places)
            if index == self.playing and quiet:
                self.changing.patch = patch
            elif index == self.playing and bank is not None:
                self.changing.renew(patch, bank, self._controller.now())
        if not quiet:
            self._tell(index, before, patch)

    def _tell(self, index: int, before: Patch, patch: Patch) -> None:
        self._ears.note(kind="reload", index=index, name=self.places[index].name, patch=patch.data)
        later = restarts(before, patch, None if self._voices else self._controller.voices)
        waits = f"; {', '.join(later)}: at the next start" if later else ""
        self._say(f"{patch.path}: read again{waits}")

    def _renew_set(self, found: SetList) -> None:
        """The set's own file was saved. Raises ValueError."""
        for patch in found.patches:
            for line in patch.missing():
                raise ValueError(f"{patch.path}: {line}")
        by_path = {place.patch.path: place for place in self.places}
        with self._controller.lock:
            current = self.places[self.playing]
            places = [
                replace(by_path[patch.path], name=name)
                if patch.path in by_path
                else Place(name, patch, None, "", _memory(patch))
                for name, patch in zip(found.names, found.patches, strict=True)
            ]
            paths = [patch.path for patch in found.patches]
            if current.patch.path in paths:
                self.playing = paths.index(current.patch.path)
            else:
                self.playing = min(self.playing, len(places))
                places.insert(self.playing, current)
                self._say(f"{found.file}: {current.name} is not in it any more, and plays on")
            self.places, self._set, self._asked = places, found, -1
            self._controller.patch = self.playing, self.places[self.playing].name
            self._controller.patches = tuple(place.name for place in places)
        self._watched = self._watching()
        self._say(f"{found.file}: read again, {len(found.patches)} patches")
        for patch in found.patches:
            index = next(i for i, place in enumerate(self.places) if place.patch.path == patch.path)
            if self.places[index].patch != patch:
                self._renew(index, patch)

    def _fill(self) -> None:
        """Load what is asked for, else the nearest patch that is not loaded and has room."""
        while (index := self._next()) >= 0 and not self._worker.stopped:
            place = self.places[index]
            patch = place.patch
            try:
                for line in patch.missing():
                    raise ValueError(f"{patch.path}: {line}")
                bank = self._loading.prepare(patch.bank, partial(self._others_turn, index))
            except ValueError as error:
                place.fault = str(error)
                self._fault(f"patch {index}, {place.name}: {error}")
                with self._controller.lock:
                    self._asked = -1 if self._asked == index else self._asked
                continue
            with self._controller.lock:
                if self.places[index] is not place or place.patch is not patch:
                    return
                place.bank = bank
                if bank is not None and self._asked == index:
                    self._go(index, self._controller.now())

    def _others_turn(self, index: int) -> bool:
        """Whether another patch than this has been asked for."""
        return self._asked not in (-1, index)

    def _next(self) -> int:
        with self._controller.lock:
            if self._asked >= 0:
                return self._asked
            wanted = (i for i in self._ready() if self.places[i].bank is None and not self.places[i].fault)
            return next(wanted, -1)

    def _ready(self) -> list[int]:
        """The patches that should be loaded, nearest first: the neighbours, and what else the memory allows."""
        order = sorted(range(len(self.places)), key=lambda i: (abs(i - self.playing), i < self.playing))
        found, total = [], 0.0
        for i in order:
            total += self.places[i].memory
            if total <= MEMORY or abs(i - self.playing) <= 1:
                found.append(i)
        return found

    def _let_go(self) -> None:
        """Forget the banks that are too far away."""
        with self._controller.lock:
            kept = {*self._ready(), self._asked}
            for i, place in enumerate(self.places):
                if i not in kept:
                    place.bank = None


@contextlib.contextmanager
def _lined(path: Path, data: bytes) -> Iterator[None]:
    """Faults of ``path`` say their line in ``data`` too."""
    try:
        yield
    except ValueError as error:
        owner, fault = f"{path}: ", str(error)
        if not fault.startswith(owner):
            raise
        fault = fault.removeprefix(owner)
        raise ValueError(f"{owner}line {line_of(data, fault)}: {fault}") from None


def _memory(patch: Patch) -> float:
    """Bytes that a patch's checkpoints take in the table, about."""
    total = 0.0
    for path in {entry.path for entry in patch.bank}:
        try:
            total += A_BYTE * path.stat().st_size
        except OSError:
            continue
    return total
