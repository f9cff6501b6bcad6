"""``samplernn replay``: a set again from its log, bit for bit, into a file.

Main thread, no clock and no device: the render loop itself runs offline up to a horizon, and every command of the log
is on its ring before that horizon reaches it. What the loop decided by time or load stands in the head and in the
events; the events it reports now must be those of the log, or the replay says where they part.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoint import Checkpoint
from engine.cuda import presence
from engine.generator import AT_ONCE
from instrument import compiling, console, log
from instrument.keeping import set_aside
from instrument.parameters import shorten
from instrument.plan import load_bank

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from instrument.audio.performance import Performance
    from instrument.audio.soundfiles import SoundFile
    from instrument.bank import Maker
    from instrument.controls import Command, Event, Joined, Loaded

Essence = tuple[int, int, int, int, float, int, int]

STEP_S = 0.5  # seconds made at once
MARGIN = 8192  # samples a command is on the ring before it is due: more than any delay of the loop
KEEP_FLAGS = 1  # of a command's flags the ones that are part of what was asked (controls.KEEP_STATE)


def run(path: Path, out: Path) -> None:
    """Play the log at ``path`` again into ``out``. Raises ValueError: what is wrong with which file."""
    from instrument.audio.soundfiles import SoundFile, check_path

    check_path(out)
    head, events, last = log.read(path)
    if head.backend == "cuda" and (why := presence.missing()):
        raise ValueError(f"{path}: was played on a GPU: {why}")
    if not last:
        raise ValueError(f"{path}: not a sample was played in it, as far as it tells")
    if not any(event.op == log.ENDED for event in events):
        console.complain(f"{path}: has no end, as if the set had been killed: replaying what is known of it")
    joined, loaded = joins(events), loads(events)
    checkpoints = find_bank(path, [*head.bank, *joined])
    fallback = next(iter(find_bank(path, head.fallback)), None)
    others = find_bank(path, [entry_of(event) for event in loaded])
    count = len({checkpoint.sha256 for checkpoint in (*checkpoints, *others)})
    console.say(f"replaying {last / head.sample_rate:.1f} s of {path} with {count} checkpoints ...")
    try:
        with compiling.shown(console.say):
            made = maker(head)
            performance = prepare(head, checkpoints, [entry["name"] for entry in joined], made, fallback)
        arrivals = Arrivals(performance, made, loaded, others)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        file = SoundFile(out.with_stem(f".{out.stem}.{os.getpid()}"), head.sample_rate)
        heard = _kept(file, out, lambda: play(performance, file, events, last, head.sample_rate, arrivals))
    finally:
        performance.close()
    fault = compare(events, heard, last)
    if fault:
        raise ValueError(
            "; ".join([f"{path}: {fault}", f"{out} is not the same set", *differences(head, made.versions)])
        )
    console.say(f"wrote {out}")


def _kept(file: SoundFile, out: Path, work: Callable[[], list[Event]]) -> list[Event]:
    """What ``work`` returns, having filled ``file``, which is then ``out``. Half a set would pass for a whole one."""
    try:
        heard = work()
        file.close()
        for i, part in enumerate(file.parts, start=1):
            name = out if i == 1 else out.with_stem(f"{out.stem}-{i}")
            if kept := set_aside(name):
                console.say(f"{name} was there already: it is {kept} now")
            part.replace(name)
        return heard
    except BaseException:  # Ctrl-C included
        with contextlib.suppress(OSError):
            file.close()
        for part in file.parts:
            part.unlink(missing_ok=True)
        raise


def joins(events: Sequence[Event]) -> list[dict[str, str]]:
    """The checkpoints that joined while it was played, in their order, as the head says those of the bank."""
    from instrument.controls import Joined

    return [entry_of(event) for event in events if isinstance(event, Joined)]


def loads(events: Sequence[Event]) -> list[Loaded]:
    """What was loaded while it was played, in its order."""
    from instrument.controls import Loaded

    return sorted((event for event in events if isinstance(event, Loaded)), key=lambda event: event.at)


def entry_of(event: Joined | Loaded) -> dict[str, str]:
    """The checkpoint of a line, as the head has those of the bank."""
    return {"name": event.name, "path": event.path, "sha256": event.sha256}


def find_bank(path: Path, entries: Sequence[dict[str, str]]) -> tuple[Checkpoint, ...]:
    """The log's checkpoints, wherever they are now: where they were, or beside the log, or in the shipped bank.

    Raises ValueError for a file that is missing, or that is another one by its hash.
    """
    found: dict[str, Checkpoint] = {}
    for entry in entries:
        if entry["sha256"] not in found:
            found[entry["sha256"]] = _find(path, entry)
    return tuple(found[entry["sha256"]] for entry in entries)


def _find(path: Path, entry: dict[str, str]) -> Checkpoint:
    from instrument import places

    was = Path(entry["path"])
    candidates = [was, path.parent / was, path.parent / was.name, places.find(f"checkpoints/{was.name}")]
    there = [place for place in candidates if place.is_file()]
    if not there:
        raise ValueError(f"{path}: bank: {was} is not there any more")
    for place in there:
        checkpoint = load_bank([place])[0]
        if checkpoint.sha256 == entry["sha256"]:
            return checkpoint
    raise ValueError(f"{path}: bank: {there[0]} is not the file that was played (its sha256 differs)")


def maker(head: log.Head) -> Maker:
    """Makes the networks of the set that ``head`` is of. Raises ValueError when this machine cannot."""
    from instrument import bank

    launch = head.rules.get("launch", AT_ONCE)
    if type(launch) is not int or not 1 <= launch <= 512:
        raise ValueError(f"rules.launch: {shorten(launch)}: 1 to 512 samples expected")
    return bank.Maker(head.backend, head.precision, head.voices, head.stereo, launch)


def prepare(
    head: log.Head,
    checkpoints: Sequence[Checkpoint],
    joining: Sequence[str] = (),
    made: Maker | None = None,
    fallback: Checkpoint | None = None,
) -> Performance:
    """A performance as it was before its first sample, offline. Raises ValueError when this machine cannot.

    The last checkpoints are those that join while it plays, by these names; ``made`` makes them.
    """
    from instrument.audio.performance import Performance

    names = [*(entry.get("name", "") for entry in head.bank), *joining]
    made = made or maker(head)
    slots = made.slots(checkpoints, names)
    last = made.fallback(fallback, head.fallback[0].get("name", "fallback")) if fallback else None
    performance = Performance(
        slots[: len(head.bank)],
        sample_rate=head.sample_rate,
        voices=head.voices,
        seed=head.seed,
        start=head.start,
        parameters=head.parameters,
        partners=head.partners or None,
        offline=True,
        timing=head.timing,
        history=bool(head.patch.get("history")),
        joining=len(joining),
        fallback=last,
    )
    for slot in slots[len(head.bank) :]:
        performance.add(slot)
    return performance


class Arrivals:
    """Readies what a log says was loaded, each just before its LOAD: its place may have been another's until then.

    Args:
        performance: offline.
        made: makes their slots.
        loaded: its LOADs, in their order.
        checkpoints: one for each.
    """

    def __init__(
        self, performance: Performance, made: Maker, loaded: Sequence[Loaded], checkpoints: Sequence[Checkpoint]
    ) -> None:
        self._performance, self._maker = performance, made
        self._coming = list(zip(loaded, checkpoints, strict=True))
        self._taken = -1

    def take(self, number: int, due: bool) -> bool:
        """Ready the next one, for command ``number``, if all before it is ``due``. Returns whether it lies ready.

        Raises ValueError when this machine cannot.
        """
        if number != self._taken and due:
            self._ready()
            self._taken = number
        return number == self._taken

    def _ready(self) -> None:
        from instrument.audio.table import Rules

        event, checkpoint = self._coming.pop(0)
        slot = self._maker.slot(checkpoint, event.name)
        self._performance.unload(event.number)
        self._performance.load(slot, event.number, Rules(event.prime_length, event.pairs))


def play(
    performance: Performance,
    file: SoundFile,
    events: Sequence[Event],
    last: int,
    rate: int,
    arrivals: Arrivals | None = None,
) -> list[Event]:
    """Render up to session sample ``last`` into ``file``. Returns what the loop told this time."""
    from instrument.controls import Op

    commands, link = commands_of(events), performance.link
    lost = gaps(events)
    heard: list[Event] = []
    at = pushed = 0
    while at < last:
        horizon = min(at + round(STEP_S * rate), last)
        while pushed < len(commands) and commands[pushed].at <= horizon + MARGIN:
            command = commands[pushed]
            if command.op == Op.LOAD and arrivals and not arrivals.take(pushed, command.at - performance.delay <= at):
                horizon = min(horizon, command.at - performance.delay)
                break
            if not link.push(command):  # never past a command that found no room on the ring yet
                horizon = max(at + 1, min(horizon, command.at - MARGIN))
                break
            pushed += 1
        frames = performance.render_to(horizon)
        silence(frames, at, lost)
        file.write(frames)
        heard += link.events()
        if len(frames) < horizon - at:
            break
        at = horizon
    return heard


def commands_of(events: Sequence[Event]) -> list[Command]:
    """What has to be asked for, so that ``events`` happen again: their commands, in the order of their samples."""
    from instrument.controls import REFUSED, Command, Op

    asked = [event for event in events if event.op < Op.PRIMED and not event.flags & REFUSED]
    return [
        Command(e.at, e.op, e.voice, e.parameter, e.value, e.ramp, e.number, e.flags & KEEP_FLAGS, serial=e.serial)
        for e in sorted(asked, key=lambda event: event.at)
    ]


def gaps(events: Sequence[Event]) -> list[tuple[int, int]]:
    """(first, end) of what the recording has zeros for, because its disk was too slow."""
    from instrument.controls import Op

    return [(event.at, event.at + event.number) for event in events if event.op == Op.TAP_OVERFLOW]


def losses(events: Sequence[Event]) -> list[tuple[int, int]]:
    """(sample of the first, how many) of what happened and is not in the log."""
    from instrument.controls import Op

    return [(event.at, event.number) for event in events if event.op == Op.EVENTS_LOST]


def silence(frames: NDArray[np.float32], at: int, lost: Sequence[tuple[int, int]]) -> None:
    """Zeros where ``lost`` says so in ``frames``, whose first is session sample ``at``; in place."""
    for first, end in lost:
        frames[max(0, first - at) : max(0, end - at)] = 0.0


def compare(then: Sequence[Event], now: Sequence[Event], last: int) -> str:
    """Empty if the same things happened, but for what depends on the clock; else where they part, in one line.

    ``last`` is how far the log goes in samples. What happened there is in it only if it has an ENDED.
    """
    for at, count in losses(then):
        return f"from sample {at} on {count} events are missing in it: the machine was too busy to note them"
    whole = any(event.op == log.ENDED for event in then)
    ours, theirs = (map(_essence, _told(events, last + whole)) for events in (then, now))
    for one, other in zip_longest(ours, theirs):
        if one != other:
            at = min(essence[0] for essence in (one, other) if essence)
            return f"at sample {at} the set had {_words(one)}, this machine has {_words(other)}"
    return ""


def differences(head: log.Head, versions: Mapping[str, str]) -> list[str]:
    """What computes here and did not then, in one phrase, if anything: the likeliest reason for another set."""
    from instrument import bank

    here = {"int8 kernels": bank.kernel_variant(), **versions}
    then = {"int8 kernels": head.kernel, **head.versions}
    differ = [f"{name} {shorten(then.get(name))}, here {now!r}" for name, now in here.items() if then.get(name) != now]
    return [f"it was played with {', '.join(differ)}"] if differ else []


def _told(events: Sequence[Event], end: int) -> list[Event]:
    """Of what happened before sample ``end``, what must happen again, in an order that is the same then."""
    from instrument.controls import REFUSED, Op

    clocks = (Op.TAP_OVERFLOW, Op.BEHIND)
    told = [e for e in events if e.at < end and e.op not in clocks and not e.flags & REFUSED]
    return sorted(told, key=lambda e: (e.at, e.op, e.voice, e.parameter))


def _essence(event: Event) -> Essence:
    return (event.at, event.op, event.voice, event.parameter, event.value, event.ramp, event.number)


def _words(essence: Essence | None) -> str:
    from instrument.controls import Op

    if essence is None:
        return "nothing more"
    at, op, voice, *rest = essence
    name = Op(op).name.lower() if op in Op.__members__.values() else f"op {op}"
    return f"{name} (voice {voice + 1}, {', '.join(f'{value:g}' for value in rest)}) at {at}"
