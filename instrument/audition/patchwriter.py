"""Chosen clips -> a patch that plays: the bank is their epochs, and a pad brings back each clip's temperature.

Any thread; reads nothing but the run's folder and writes one file into it. The patch is checked before it is put in
place, and what has its name already is replaced only when asked. What a patch means is left to :mod:`instrument.patch`.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instrument import patch
from instrument.audition.store import CLIP, Run

FIRST_PAD = 36  # C2, where pads of most controllers begin
MOST = 64  # pads
MOST_TOGETHER = 8  # voices at once: more than any laptop carries
_FORBIDDEN = '/\\:*?"<>|'


@dataclass(frozen=True)
class Choice:
    """What a clip was made with."""

    clip: str
    epoch: int
    temperature: float
    seed: int

    @classmethod
    def of(cls, clip: str) -> Choice:
        """From a clip's name. Raises ValueError."""
        match = CLIP.fullmatch(clip)
        if match is None:
            raise ValueError(f"clips: {clip[:80]!r} is not a clip")
        return cls(clip, int(match[1]), float(match[2]), int(match[3]))


def write(run: Run, name: str, clips: Sequence[str], together: bool = False, replace: bool = False) -> Path:
    """Write the patch ``name``.yaml beside the run's epochs; returns where it is.

    Args:
        together: a voice for each clip, all sounding; else one voice, and a pad for each clip.
        replace: whether a file of that name may go.

    Raises:
        ValueError: one line, nothing was written.
        FileExistsError: the name is taken, and ``replace`` is false.
        OSError: it could not be written; what was there before is as it was.
    """
    path = run.folder / f"{_file_name(name)}.yaml"
    if path.exists() and not replace:
        raise FileExistsError(f"{path.name} is there already")
    choices = [Choice.of(clip) for clip in dict.fromkeys(clips)]
    _check_count(choices, together)
    words = text(name, choices, run.epochs(), together)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            file.write(words)
            file.flush()
            os.fsync(file.fileno())
        _check(part, path)
        _put(part, path, replace)
    finally:
        part.unlink(missing_ok=True)
    return path


def text(name: str, choices: Sequence[Choice], epochs: dict[int, str], together: bool) -> str:
    """The patch's YAML. Raises ValueError if an epoch's checkpoint is not there."""
    bank = list(dict.fromkeys(choice.epoch for choice in choices))
    if lost := [epoch for epoch in bank if epoch not in epochs]:
        raise ValueError(f"epoch {lost[0]}: its checkpoint epoch-{lost[0]:03}.safetensors is not in the run any more")
    programs = [bank.index(choice.epoch) for choice in choices]
    lines = [
        f"# Chosen by ear: {len(choices)} clip{'s' * (len(choices) > 1)} of a run, whose folder this file stays in.",
        f"name: {json.dumps(name, ensure_ascii=False)}",
        f"seed: {choices[0].seed}",
        "bank:",
        *(f"  - {epochs[epoch]} # program {i}" for i, epoch in enumerate(bank)),
        *(_together(choices, programs) if together else _alone(choices)),
        "midi:",
        "  - {cc: 1, to: temperature, range: [0.7, 1.3], takeover: pickup}",
        "  - {cc: 7, to: gain, range: [-48, 6], takeover: pickup}",
        "  - {program: any, to: checkpoint, crossfade: 0.05}",
        *([] if together else _pads(choices, programs)),
        "switch: keep # epochs of one run can take over each other's memory",
    ]
    return "\n".join(lines) + "\n"


def _alone(choices: Sequence[Choice]) -> list[str]:
    return ["voices: 1", f"parameters: {{temperature: {choices[0].temperature:g}, gain: -3}}"]


def _together(choices: Sequence[Choice], programs: Sequence[int]) -> list[str]:
    gain = round(-3 - 10 * math.log10(len(choices)), 1)  # what is unlike adds up in power
    spread = [0.0] if len(choices) == 1 else [round(1.2 * i / (len(choices) - 1) - 0.6, 2) for i in range(len(choices))]
    return [
        f"voices: {len(choices)}",
        f"parameters: {{gain: {gain:g}}}",
        "voice:",
        *(
            f"  {n}: {{checkpoint: {program}, temperature: {choice.temperature:g}, pan: {pan:g}}} # {choice.clip}"
            for n, (choice, program, pan) in enumerate(zip(choices, programs, spread, strict=True), 1)
        ),
    ]


def _pads(choices: Sequence[Choice], programs: Sequence[int]) -> list[str]:
    lines = []
    unlike = {(program, choice.temperature): choice for choice, program in zip(choices, programs, strict=True)}
    for note, ((program, _), choice) in enumerate(unlike.items(), FIRST_PAD):
        lines.append(f"  - {{note: {note}, to: checkpoint, value: {program}, crossfade: 0.05}} # {choice.clip}")
        lines.append(f"  - {{note: {note}, to: temperature, value: {choice.temperature:g}}}")
    return lines


def _check_count(choices: Sequence[Choice], together: bool) -> None:
    most = MOST_TOGETHER if together else MOST
    if not 1 <= len(choices) <= most:
        raise ValueError(f"clips: {len(choices)} chosen; 1 to {most} expected{' for voices at once' * together}")


def _file_name(name: str) -> str:
    """``name``, if it can be a file's everywhere. Raises ValueError."""
    bad = (
        not name
        or name != name.strip()
        or name[0] in ".-"
        or name.endswith(".")
        or len(name.encode(errors="replace")) > 100
    )
    if bad or any(c in _FORBIDDEN or not c.isprintable() for c in name):
        raise ValueError(f"name: {name[:40]!r}: 1 to 100 letters, digits, spaces, - or _ expected")
    return name


def _check(part: Path, path: Path) -> None:
    try:
        patch.check(part)
    except ValueError as error:
        raise ValueError(str(error).replace(str(part), path.name)) from None


def _put(part: Path, path: Path, replace: bool) -> None:
    if not replace:
        path.open("x").close()  # fails if the name was taken meanwhile, where a rename would not
    part.replace(path)
