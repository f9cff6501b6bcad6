"""The event log: everything needed to play a set again, bit for bit, as lines of JSON.

The first line is the head: what was fixed before the first sample (:class:`Head`). Every other line is one event at the
session sample where it took effect, fields left out where they hold the default of
:class:`instrument.controls.Event`; a ``GROW`` names the checkpoint that joined as well
(:class:`instrument.controls.Joined`), a ``LOAD`` the one that was loaded, and its rules
(:class:`instrument.controls.Loaded`). A line of op ``MARK`` only says how far the set had come, so that a set whose
machine died can be played again up to there; one of op ``NOTE`` is for people: a marker, a patch that was changed to,
or read again, or could not be. Floats are written as Python's ``repr``, the shortest decimal that reads back to the
same 64 bits.

A thread of the log's own writes: the disk may take its time, and nothing that is due waits for it. Reading is for
``instrument.replay``.
"""

from __future__ import annotations

import json
import math
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instrument.keeping import Claim
from instrument.parameters import PARAMETERS, shorten

if TYPE_CHECKING:  # at run time only once a head has been read: a bad file is named without waiting for numba
    from engine.checkpoint import Checkpoint
    from instrument.controls import Event, Loaded

FORMAT = 1
PATIENCE = 10.0  # seconds a hanging disk may delay the end
MARK, NOTE = "MARK", "NOTE"
ENDED = 24  # controls.Op.ENDED
MOST_SLOTS = 256  # audio.table.ROOM
_INTEGERS = ("at", "voice", "parameter", "ramp", "number", "flags", "serial")


@dataclass(frozen=True)
class Head:
    """What was fixed before the first sample.

    Attributes:
        sample_rate: Hz of the session.
        backend, precision, kernel: of every network; ``kernel`` is the instruction set's variant.
        voices, seed: how many, and the dice key.
        bank: name, path and sha256 of every checkpoint, by program.
        start: bank index of each voice at sample 0.
        parameters: starting values, ``[voice][code]``.
        timing: whatever the loop measured or chose before it began (``Performance.timing``).
        rules: constants that decide about samples: priming, crossfades.
        versions: of this program and of what computes.
        patch: the whole patch as tables.
        stereo: which voices have a right side; older logs have none.
        partners: bank index of each voice's partner at sample 0, -1 for none; older logs have none.
        fallback: name, path and sha256 of the network that plays on when a GPU fails, if there is one.
        format: of this file.
    """

    sample_rate: int
    backend: str
    precision: str
    kernel: str
    voices: int
    seed: int
    bank: tuple[dict[str, str], ...]
    start: tuple[int, ...]
    parameters: tuple[tuple[float, ...], ...]
    timing: dict[str, Any]
    versions: dict[str, str]
    patch: dict[str, Any]
    rules: dict[str, Any]
    stereo: tuple[bool, ...] = ()
    partners: tuple[int, ...] = ()
    fallback: tuple[dict[str, str], ...] = ()
    format: int = FORMAT


def entry(name: str, path: Path, checkpoint: Checkpoint) -> dict[str, str]:
    """A checkpoint as the head has it."""
    return {"name": name, "path": str(path.resolve()), "sha256": checkpoint.sha256}


class EventLog:
    """A log file being written, by a thread of its own; never raises: what went wrong is said, and kept in ``fault``.

    One thread at a time hands in lines, and closes it. ``complain`` takes the line about what went wrong, once, from
    whichever thread it is; must not block.
    """

    def __init__(self, path: Path, head: Head, complain: Callable[[str], None] = lambda _line: None) -> None:
        """Raises ValueError if the file cannot be opened."""
        self.path = path
        self.fault = ""
        self._complain = complain
        try:
            self._claim = Claim(path)  # before anything that was in it is gone
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        self._lines: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._lines.put({"samplernn_log": head.format, **asdict(head)})
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def events(self, events: Iterable[Event]) -> None:
        """Append events as they came; returns at once."""
        for event in events:
            self._lines.put(to_line(event))

    def mark(self, at: int) -> None:
        """Say that the set had come to session sample ``at``; returns at once."""
        self._lines.put({"at": at, "op": MARK})

    def note(self, at: int, **fields: Any) -> None:
        """Write ``fields`` down, which a replay passes over; returns at once."""
        self._lines.put({"at": at, "op": NOTE, **fields})

    def close(self) -> None:
        """Complete the file. Idempotent; what is handed in afterwards is lost."""
        self._lines.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._fail(f"the disk has not answered for {PATIENCE:g} s: the log ends somewhere before")

    def _fail(self, text: str) -> None:
        """The first fault is the one that counts."""
        if not self.fault:
            self.fault = f"{self.path}: {text}"
            self._complain(self.fault)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
        try:
            self._file.close()
        except OSError as error:
            self._fail(f"{error.strerror}: the log ends here")
        self._claim.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.fault:
            return
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            if self._lines.empty():
                self._file.flush()
        except (OSError, ValueError, TypeError) as error:
            self._fail(f"{getattr(error, 'strerror', None) or error}: the log ends here")


def to_line(event: Event) -> dict[str, Any]:
    """An event as a table, fields of default value left out."""
    line: dict[str, Any] = {"at": event.at, "op": _op_name(event.op)}
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name not in line and repr(value) != repr(field.default):  # -0.0 is not 0.0 here
            line[field.name] = value
    return line


def _op_name(op: int) -> str | int:
    from instrument.controls import Op

    try:
        return Op(op).name
    except ValueError:
        return int(op)


def read(path: Path) -> tuple[Head, list[Event], int]:
    """Head, events, and the set's length in samples as far as it is known.

    Raises ValueError: file, line, what is wrong.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a file: a log expected")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a log: no UTF-8 text") from None
    lines.pop()  # after the last newline: nothing, or what a dying machine had begun to write
    if not lines:
        raise ValueError(f"{path}: not a log: its first line is missing")
    head = _at(path, 1, _head, lines[0])
    from instrument.controls import REFUSED, Op

    events: list[Event] = []
    last, bank = 0, _Bank(len(head.bank))
    lost = False  # what joined in the meantime is not known then; a replay says what is missing
    for number, text in enumerate(lines[1:], start=2):
        event = _at(path, number, _event, text, None if lost else bank, head.voices)
        lost |= event.op == Op.EVENTS_LOST
        last = max(last, event.at)
        if not event.flags & REFUSED:
            bank.follow(event)
        if event.op:
            events.append(event)
    ended = [event.at for event in events if event.op == ENDED]
    return head, events, ended[0] if ended else last


class _Bank:
    """What there is at one place of the log: how many programs a history has, and which slots are taken."""

    def __init__(self, programs: int) -> None:
        self.programs, self.slots = programs, set(range(programs))

    def follow(self, event: Event) -> None:
        """As it is after ``event``."""
        from instrument.controls import Op

        if event.op == Op.GROW:
            self.slots.add(self.programs)
            self.programs += 1
        elif event.op == Op.LOAD:
            self.slots.add(event.number)
        elif event.op == Op.DROP:
            self.slots.discard(event.number)


def _at(path: Path, number: int, parse: Any, *args: Any) -> Any:
    try:
        return parse(*args)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: line {number}: {error}") from None


def _table(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        raise ValueError("no JSON") from None
    if not isinstance(data, dict):
        raise ValueError("a table expected")
    return data


def _head(text: str) -> Head:
    from instrument.audio.timing import Timing

    data = _table(text)
    version = data.pop("samplernn_log", None)
    if version != FORMAT:
        raise ValueError(f"samplernn_log: {version!r}: not a log this version reads ({FORMAT})")
    for field in fields(Head):
        if field.default is MISSING and field.name not in data:
            raise ValueError(f"{field.name} is missing")
        wanted = {"int": int, "str": str, "d": dict, "t": list}[_kind(str(field.type))]
        if field.name in data and (not isinstance(data[field.name], wanted) or isinstance(data[field.name], bool)):
            raise ValueError(f"{field.name}: {str(data[field.name])[:40]!r}: {wanted.__name__} expected")
    head = Head(**{field.name: data[field.name] for field in fields(Head) if field.name in data})
    _check_head(head)
    Timing.from_json(head.timing, len(head.bank))
    return head


def _kind(annotation: str) -> str:
    return annotation if annotation in ("int", "str") else annotation[0]


def _check_head(head: Head) -> None:
    if not 1000 <= head.sample_rate <= 384_000:
        raise ValueError(f"sample_rate: {head.sample_rate}: 1000 to 384000 expected")
    if not 1 <= head.voices <= 64 or not len(head.start) == len(head.parameters) == head.voices:
        raise ValueError(f"voices: {head.voices}: 1 to 64 expected, with start and parameters of each")
    if not -(1 << 63) <= head.seed < 1 << 64:
        raise ValueError(f"seed: {shorten(head.seed)}: a 64-bit integer expected")
    if not head.bank or not all(map(_is_entry, head.bank)):
        raise ValueError("bank: path and sha256 of each checkpoint expected")
    if len(head.fallback) > 1 or not all(map(_is_entry, head.fallback)):
        raise ValueError("fallback: path and sha256 of a checkpoint expected, or nothing")
    if not all(type(program) is int and 0 <= program < len(head.bank) for program in head.start):
        raise ValueError(f"start: {list(head.start)}: programs 0 to {len(head.bank) - 1} expected")
    if len(head.stereo) not in (0, head.voices) or not all(isinstance(side, bool) for side in head.stereo):
        raise ValueError("stereo: true or false for each voice expected")
    if len(head.partners) not in (0, head.voices) or not all(
        type(partner) is int and -1 <= partner < len(head.bank) for partner in head.partners
    ):
        raise ValueError(f"partners: a program below {len(head.bank)}, or -1, for each voice expected")
    for values in head.parameters:
        # four is what the first version knew (controls.OLDEST); what is missing is at its default
        if not isinstance(values, list) or not 4 <= len(values) <= len(PARAMETERS):
            raise ValueError(f"parameters: {len(PARAMETERS)} numbers for each voice expected")
        if not all(map(_is_number, values)):
            raise ValueError("parameters: finite numbers for each voice expected")


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    return all(
        isinstance(entry.get(name, default), str) for name, default in (("path", 0), ("sha256", 0), ("name", ""))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _event(text: str, bank: _Bank | None, voices: int) -> Event:
    from instrument.controls import REFUSED, Event, Joined, Loaded, Op

    data = _table(text)
    op = _op(data.get("op"))
    if data.get("op") == NOTE:
        data = {name: data[name] for name in ("at", "op") if name in data}
    done = not _integer(data, "flags") & REFUSED
    joins, loads = done and op == Op.GROW, done and op == Op.LOAD
    kind = Joined if joins else Loaded if loads else Event
    known = {field.name for field in fields(kind)}
    for name in data:
        if name not in known:
            raise ValueError(f"{name}: unknown field")
    for name in _INTEGERS:
        _integer(data, name)
    for name in ("value", "late"):
        if not _is_number(data.get(name, 0.0)):
            raise ValueError(f"{name}: {shorten(data[name])}: a number expected")
    if (joins or loads) and not _is_entry(data):
        raise ValueError("path and sha256 of the checkpoint that joined expected")
    if loads:
        data["prime_length"], data["pairs"] = _rules(data)
    event = kind(**{**data, "at": data.get("at", -1), "op": op})
    _check_event(event, bank, voices)
    return event


def _rules(data: Mapping[str, Any]) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """A LOAD's prime_length and pairs, which the loop trusts."""
    from instrument.audio.timing import check_rules

    length, pairs = _integer(data, "prime_length"), data.get("pairs", [])
    if not isinstance(pairs, list) or not all(isinstance(row, list) and len(row) == 5 for row in pairs):
        raise ValueError("pairs: rows of five integers expected")
    rows = tuple(tuple(row) for row in pairs)
    check_rules(length, rows)
    return length, rows


def _check_event(event: Event, bank: _Bank | None, voices: int) -> None:
    from instrument.controls import REFUSED, Joined, Loaded, Op

    if event.at < 0 or not -1 <= event.voice < voices:
        raise ValueError(f"at {event.at}, voice {event.voice}: a session sample and a voice of {voices} expected")
    if isinstance(event, Loaded):
        _check_load(event, bank)
    if bank is None:
        return
    if event.op == Op.SWITCH and not event.flags & REFUSED and event.number not in bank.slots:
        there = f"a program below {bank.programs}" if len(bank.slots) == bank.programs else "a slot that is taken"
        raise ValueError(f"number: {event.number}: {there} expected")
    if isinstance(event, Joined) and event.number != bank.programs + 1:
        raise ValueError(f"number: {event.number}: {bank.programs + 1} checkpoints expected in the bank with this one")


def _check_load(event: Loaded, bank: _Bank | None) -> None:
    if not 0 <= event.number < MOST_SLOTS or not all(0 <= row[0] < MOST_SLOTS for row in event.pairs):
        raise ValueError(f"number: {event.number}: slots below {MOST_SLOTS} expected")
    if bank is not None and event.number in bank.slots:
        raise ValueError(f"number: {event.number}: a slot that is free expected")


def _integer(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if type(value) is not int or not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{name}: {shorten(value)}: a 64-bit integer expected")
    return value


def _op(name: object) -> int:
    from instrument.controls import Op

    if name in (MARK, NOTE):
        return 0
    if isinstance(name, int) and not isinstance(name, bool):
        return name
    if isinstance(name, str) and name in Op.__members__:
        return Op[name]
    raise ValueError(f"op: {str(name)[:40]!r}: one of {', '.join(Op.__members__)} expected")
