"""Listening to a run's clips: figures, verdicts and a suggested class, a line a clip in ``audition/listening.jsonl``.

Lines are only ever added, and the last of a clip counts. A clip is judged together with the others of its epoch and
temperature and against the run's source, so a group is judged anew when it has grown. Where the sounds are gone the
clips are judged without distance and traps. What a human says of them is kept elsewhere. No torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.listening.clips import Clip, Say, clips_of, tag_of
from engine.listening.descriptors import Atlas, Figures, figures
from engine.listening.traps import FEWEST_CLIPS, Source
from engine.listening.verdicts import suggestion, verdicts

LONGEST_SOURCE = 300.0  # seconds; of longer ones as much is taken in STRETCHES spread evenly
STRETCHES = 30
JUDGING = 2  # one more when clips are to be judged anew: 2 holds them against the source as it was learned


def listen(run_dir: Path, epochs: Iterable[int], say: Say = lambda line: None) -> int:
    """Judge the clips of ``epochs`` that are new or have new neighbours; returns how many were judged.

    Raises OSError where the lines cannot be written.
    """
    known, chosen = lines_of(run_dir), set(epochs)
    groups: dict[tuple[int, float], list[Clip]] = {}
    for clip in clips_of(run_dir):
        if clip.epoch in chosen:
            groups.setdefault((clip.epoch, clip.temperature), []).append(clip)
    source: _Against | None = None
    count = 0
    for group in groups.values():
        tags = [tag_of(clip.path) for clip in group]
        marks = [_mark(tag, len(group)) for tag in tags]
        if all(known.get(clip.path.name, {}).get("made") == mark for clip, mark in zip(group, marks, strict=True)):
            continue
        heard = [_read(clip.path) for clip in group]
        rate = next((rate for _, rate in filter(None, heard)), 0)
        if rate and (source is None or source.sample_rate != rate):
            source = _Against.of(run_dir, rate, say)
        lines = _judged(group, [sound and sound[0] for sound in heard], tags, source)
        append(run_dir, [{**line, "made": mark} for line, mark in zip(lines, marks, strict=True)])
        count += len(group)
    return count


def lines_of(run_dir: Path) -> dict[str, dict[str, Any]]:
    """The last line of every clip, by name. Lines that a crash cut short are passed over."""
    try:
        text = (run_dir / "audition" / "listening.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        try:
            row = json.loads(line)
            found[str(row["clip"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return found


def append(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Add lines, safely on disk when this returns; a torn line before them is ended first."""
    folder = run_dir / "audition"
    folder.mkdir(exist_ok=True)
    with (folder / "listening.jsonl").open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"
            file.write(b"\n" if torn else b"")
        file.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        file.flush()
        os.fsync(file.fileno())


def _mark(tag: dict[str, Any], beside: int) -> str:
    """What a judgement rests on: the clip's network and length, how many were judged together, and how."""
    return f"{str(tag.get('checkpoint', ''))[:12]} {tag.get('seconds')} {beside} {JUDGING}"


def _read(path: Path) -> tuple[NDArray[np.float64], int] | None:
    """A clip's sound, mono, and its rate; None for a file that cannot be read."""
    import soundfile

    try:
        audio, rate = soundfile.read(path, always_2d=True)
    except (OSError, RuntimeError):
        return None
    return audio.mean(axis=1), int(rate)


@dataclass(frozen=True)
class _Against:
    """The run's source, or what is left of it."""

    sample_rate: int
    source: Source | None

    @classmethod
    def of(cls, run_dir: Path, sample_rate: int, say: Say) -> _Against:
        """The sounds that the settings name, as the network heard them; those that are gone are named and left out."""
        from engine.training.hearing import as_trained
        from engine.training.sounds import check

        sounds = []
        for path in source_paths(run_dir):
            try:
                check(path)
                sounds.append(path)
            except ValueError as fault:
                say(f"without a source: {fault}")
        if not sounds:
            return cls(sample_rate, None)
        try:
            heard = as_trained(sounds, sample_rate, _settings(run_dir).get("values")).astype(np.float64)
            return cls(sample_rate, Source(_thinned(heard, sample_rate), sample_rate))
        except (ValueError, ImportError) as fault:
            say(f"without the source: {fault}")
            return cls(sample_rate, None)

    def distance(self, audio: NDArray[np.float64]) -> float | None:
        """As Atlas measures it; None where there is nothing to compare."""
        if self.source is None:
            return None
        try:
            return Atlas({"": self.source.cloud}).distances(audio, self.sample_rate)[""]
        except ValueError:
            return None


def source_paths(run_dir: Path) -> list[Path]:
    """The sounds of a run: where they were when it began, or else under the names that were typed, as --resume looks.

    None where its settings say nothing.
    """
    settings = _settings(run_dir)
    typed = settings.get("sounds")
    there = settings.get("sounds_at", typed)
    if not (isinstance(typed, list) and isinstance(there, list) and len(typed) == len(there)):
        return []
    return [Path(str(at)) if Path(str(at)).exists() else Path(str(name)) for at, name in zip(there, typed, strict=True)]


def _settings(run_dir: Path) -> dict[str, Any]:
    """What ``settings.json`` of a run holds; nothing where it cannot be read."""
    try:
        settings = json.loads((run_dir / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _thinned(audio: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    if len(audio) <= LONGEST_SOURCE * rate:
        return audio
    size = int(LONGEST_SOURCE / STRETCHES * rate)
    starts = np.linspace(0, len(audio) - size, STRETCHES).astype(int)
    return np.concatenate([audio[at : at + size] for at in starts])


def _judged(
    group: list[Clip], audios: list[NDArray[np.float64] | None], tags: list[dict[str, Any]], against: _Against | None
) -> list[dict[str, Any]]:
    """The lines of a group."""
    source = against.source if against else None
    heard = [audio for audio in audios if audio is not None]
    coverage = source.coverage(heard) if source and len(heard) >= FEWEST_CLIPS else None
    return [
        _line(clip.path.name, audio, tag, coverage, against)
        for clip, audio, tag in zip(group, audios, tags, strict=True)
    ]


def _line(
    name: str, audio: NDArray[np.float64] | None, tag: dict[str, Any], coverage: float | None, against: _Against | None
) -> dict[str, Any]:
    try:
        if audio is None or against is None:
            raise ValueError("not a sound file")
        found = figures(audio, against.sample_rate)
    except ValueError as fault:
        return {"clip": name, "flags": [], "class": None, "reason": str(fault)}
    recurs = against.source.recurs(audio) if against.source and coverage is not None else None
    flags = verdicts(found, coverage, recurs)
    suggested, reason = suggestion(found, flags)
    if "trap" in flags:
        reason += f"; a trap: {coverage:.0%} of the source's textures, and nearer to itself than the source ever is"
    return {
        "clip": name,
        **_rounded(found),
        "entropy_bits": tag.get("entropy_bits"),
        "distance": _short(against.distance(audio)),
        "coverage": _short(coverage),
        "recurs": _short(recurs),
        "flags": flags,
        "class": suggested,
        "reason": reason,
    }


def _rounded(found: Figures) -> dict[str, float]:
    return {key: round(value, 3) for key, value in vars(found).items()}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
