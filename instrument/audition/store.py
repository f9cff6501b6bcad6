"""A run's folder as the audition page sees it: clips, what was measured of them, what was said of them.

Any thread; standard library and soundfile. Everything but the ratings belongs to the training and is only read, again
when it changed, so that a run can be listened to while it goes on. The ratings are lines of a plain file, appended and
flushed to the disk, each with what was said just then of the clip of one network; of every field the last word counts,
so that two pages can be at it, and what a crash tore is skipped. Nothing here knows of HTTP.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import soundfile

from instrument.places import EPOCH

CLIP = re.compile(r"epoch-(\d{1,9})-t(\d{1,3}\.\d{1,6})-s(\d{1,20})\.flac", re.ASCII)
CLASSES = ("silence", "wind", "tones", "voice", "rhythmic", "gnarly", "garbled", "hellish")
SCORES = range(1, 7)  # 6 is the best
MAX_NOTE = 2000  # characters
# numbers of a line of listening.jsonl
MEASURED = ("level_db", "brightness_hz", "flatness", "onsets_per_s", "pitch", "entropy_bits", "distance")
_HEAD = ("step", "backend", "precision", "checkpoint")
_HASH = re.compile(r"[0-9a-f]{0,64}", re.ASCII)
_MAX_TABLE = 1 << 26  # bytes of a table that are read: 781 clips take a quarter of a megabyte

Table = dict[str, dict[str, Any]]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Source:
    """A sound that the run was trained on: its file's name, and where it is, or None if it is gone."""

    name: str
    path: Path | None


class Run:
    """The run in ``folder``. Raises ValueError if that is no run.

    Attributes:
        folder: absolute.
        name: the folder's name.
        cache: where pictures may be kept.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such run folder" if not folder.exists() else f"{folder}: not a folder")
        self.folder = folder.resolve()
        self.name = self.folder.name or str(self.folder)
        if not (self._at("settings.json").exists() or self._at("clips").is_dir() or self.epochs()):
            raise ValueError(f"{folder}: not a run: neither settings.json, clips/ nor epoch-NNN.safetensors in it")
        self.cache = self._at("audition", "pictures")
        self._ratings = self._at("audition", "ratings.jsonl")
        self._heads: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._kept: dict[Path, tuple[tuple[int, int], Any]] = {}
        self._lock = threading.RLock()  # requests are answered by several threads

    def _at(self, *parts: str) -> Path:
        return self.folder.joinpath(*parts)

    def epochs(self) -> dict[int, str]:
        """Names of the checkpoints there are, by epoch."""
        found = ((match, entry.name) for entry in os.scandir(self.folder) if (match := EPOCH.fullmatch(entry.name)))
        return {int(match[1]): name for match, name in found}

    def clip(self, name: str) -> Path | None:
        """Where the clip called ``name`` is; None for what is no clip of this run, a link to elsewhere included."""
        path = self._at("clips", name)
        if not CLIP.fullmatch(name) or path.is_symlink() or not path.is_file():
            return None
        return path

    def sources(self) -> list[Source]:
        """What the run was trained on."""
        settings = self._settings()[0]
        typed = _strings(settings.get("sounds"))
        there = _strings(settings.get("sounds_at"))
        there = there if len(there) == len(typed) else typed
        return [_source(*pair) for pair in zip(typed, there, strict=True)]

    def snapshot(self) -> dict[str, Any]:
        """Everything that the page shows, as plain tables that JSON can hold."""
        with self._lock:
            epochs = self.epochs()
            notices = list(filter(None, [self._settings()[1]]))
            clips = list(self._clips(notices))
            sources = [self._source(source) for source in self.sources()]
            bits = self._table("metrics.jsonl", _epoch_bits)
            return {
                "run": self.name,
                "folder": str(self.folder),
                "classes": list(CLASSES),
                "notices": notices,
                "sources": sources,
                "epochs": {str(e): {"bits": bits.get(str(e), {}).get("bits")} for e in sorted(epochs)},
                "clips": clips,
            }

    def rate(self, said: object) -> dict[str, Any]:
        """Keep what a human said of a clip: ``clip`` and any of ``class``, ``score`` and ``note``.

        ``checkpoint`` may name the network that was heard, by its sha256; else it is the one that the clip is of now.
        Returns the clip's whole rating as it is then.

        Raises:
            ValueError: one line, nothing was kept.
            OSError: it could not be written; what was there before is as it was.
        """
        words = _checked(said)
        path = self.clip(words["clip"])
        if path is None:
            raise ValueError(f"clip: {words['clip'][:80]!r} is not in this run")
        with self._lock:
            network = self._head(path).get("checkpoint")
            heard = {} if network is None else {"checkpoint": network}
            line = {**heard, **words, "at": datetime.now(UTC).isoformat(timespec="seconds")}
            self._ratings.parent.mkdir(exist_ok=True)
            append_line(self._ratings, json.dumps(line, ensure_ascii=False))
            return _rating(self._said().get(words["clip"], ()), network)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _clips(self, notices: list[str]) -> Iterator[dict[str, Any]]:
        heard = self._table("audition/listening.jsonl", lambda lines: _by_clip(lines, _figures))
        said = self._said()
        odd = []
        for entry in self._entries("clips"):
            match = CLIP.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                head = self._head(entry)
                yield {
                    "clip": entry.name,
                    "epoch": int(match[1]),
                    "temperature": float(match[2]),
                    "seed": match[3].lstrip("0") or "0",  # text: a browser's numbers end at 2**53
                    **head,
                    **(heard.get(entry.name) or _UNHEARD),
                    "rating": _rating(said.get(entry.name, ()), head.get("checkpoint")),
                }
            elif not entry.name.startswith("."):  # those are still being written
                odd.append(entry.name)
        if odd:
            notices.append(f"clips/: {len(odd)} left out: no clips of this run ({', '.join(odd[:3])})")

    def _said(self) -> dict[str, list[dict[str, Any]]]:
        """What was said of every clip, by its name, of whichever network it was."""
        return self._table("audition/ratings.jsonl", _words)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """What is in a folder of the run, by name; nothing if there is none."""
        try:
            with os.scandir(self._at(folder)) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _source(self, source: Source) -> dict[str, Any]:
        seconds = self._head(source.path).get("seconds") if source.path else None
        return {"name": source.name, "there": source.path is not None, "seconds": seconds}

    def _head(self, sound: Path | os.DirEntry[str]) -> dict[str, Any]:
        """What a sound file says of itself, read once."""
        try:
            stamp, path = _stamp(sound), os.fspath(sound)
            if path not in self._heads or self._heads[path][0] != stamp:
                self._heads[path] = (stamp, _read_head(path))
            return self._heads[path][1]
        except OSError:  # gone since it was listed
            return {"fault": "cannot be read"}

    def _settings(self) -> tuple[Mapping[str, Any], str | None]:
        """``settings.json`` and None, or nothing and what is wrong with it."""
        path = self._at("settings.json")
        try:
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and isinstance(found.get("sounds"), list):
                return found, None
        except FileNotFoundError:
            return {}, "settings.json: not there, so the source is unknown"
        except OSError as error:
            return {}, f"settings.json: {error.strerror or error}"
        except (ValueError, RecursionError):
            pass
        return {}, "settings.json: not what this version of samplernn train writes, so the source is unknown"

    def _table(self, file: str, read: Callable[[Iterator[dict[str, Any]]], dict[str, Row]]) -> dict[str, Row]:
        """A file of JSON lines, read again when it changed; nothing if it is not there."""
        path = self.folder / file
        try:
            stamp = _stamp(path)
            if path not in self._kept or self._kept[path][0] != stamp:
                self._kept[path] = (stamp, read(_lines(path)))
        except OSError:
            return {}
        table: dict[str, Row] = self._kept[path][1]
        return table


def append_line(path: Path, line: str) -> None:
    """Append ``line`` to the text file ``path`` and flush it to the disk. Raises OSError.

    A last line that a crash left without its end is ended first, so that only it is lost.
    """
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        torn = size > 0 and (file.seek(size - 1), file.read(1))[1] != b"\n"
        data = b"\n" * torn + line.encode("utf-8", errors="replace") + b"\n"
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())


def _stamp(file: Path | os.DirEntry[str]) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The tables in ``path``, one a line; lines that are none, and what is torn, are left out."""
    with path.open("rb") as file:
        for line in file.read(_MAX_TABLE).split(b"\n"):
            try:
                found = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                yield found


def _by_clip(lines: Iterator[dict[str, Any]], read: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Table:
    """What ``read`` makes of each clip's last line."""
    return {line["clip"]: read(line) for line in lines if isinstance(line.get("clip"), str)}


def _epoch_bits(lines: Iterator[dict[str, Any]]) -> Table:
    """Held-out bits per active sample, by epoch."""
    epochs = (line for line in lines if isinstance(line.get("epoch"), int))
    return {str(line["epoch"]): {"bits": _number(line.get("bits_active", line.get("bits")))} for line in epochs}


def _read_head(path: str) -> dict[str, Any]:
    try:
        with soundfile.SoundFile(path) as file:
            seconds, comment = file.frames / file.samplerate, file.comment
    except (soundfile.SoundFileError, OSError):
        return {"fault": "cannot be read"}
    try:
        told = json.loads(comment)
    except (ValueError, TypeError, RecursionError):
        told = {}
    told = told if isinstance(told, dict) else {}
    known = {key: told[key] for key in _HEAD if isinstance(told.get(key), (str, int))}
    return {"seconds": round(seconds, 3), **known}


def _figures(line: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of a clip, without what a page could stumble over."""
    found: dict[str, Any] = {key: value for key in MEASURED if (value := _number(line.get(key))) is not None}
    found["flags"] = _strings(line.get("flags"))
    found["guess"] = line["class"] if line.get("class") in CLASSES else None
    found["reason"] = str(line.get("reason") or "")[:500]
    return found


def _words(lines: Iterator[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What can be understood of what was said, by clip, in its order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        try:
            words = _checked(line)
        except ValueError:
            continue
        found.setdefault(words["clip"], []).append(words)
    return found


def _rating(said: Iterable[Mapping[str, Any]], network: str | None) -> dict[str, Any]:
    """The last word on every field, of what was said of the clip of ``network``, or before networks were noted."""
    rating: dict[str, Any] = {"class": None, "score": None, "note": ""}
    for words in said:
        if words.get("checkpoint", network) == network:
            rating |= {field: words[field] for field in rating if field in words}
    return rating


def _checked(said: object) -> dict[str, Any]:
    """What was said, known fields only. Raises ValueError naming the field."""
    if not isinstance(said, dict) or not isinstance(said.get("clip"), str):
        raise ValueError("clip: the name of a clip expected")
    words = {key: said[key] for key in ("clip", "checkpoint", "class", "score", "note") if key in said}
    name, score, note = words.get("class"), words.get("score"), words.get("note", "")
    if name is not None and name not in CLASSES:
        raise ValueError(f"class: {str(name)[:40]!r} is not one of {', '.join(CLASSES)}")
    if score is not None and (type(score) is not int or score not in SCORES):
        raise ValueError(f"score: {str(score)[:40]!r} is not a whole number from 1 to 6")
    if not isinstance(note, str) or len(note) > MAX_NOTE:
        raise ValueError(f"note: a text of at most {MAX_NOTE} characters expected")
    if any("\ud800" <= each <= "\udfff" for each in note):
        raise ValueError("note: half a character in it, a lone surrogate: whole ones expected")
    checkpoint = words.get("checkpoint", "")
    if not isinstance(checkpoint, str) or not _HASH.fullmatch(checkpoint):
        raise ValueError(f"checkpoint: {str(checkpoint)[:40]!r}: the sha256 of a network expected")
    return words


def _source(typed: str, there: str) -> Source:
    try:
        found = next((Path(place) for place in (there, typed) if Path(place).is_file()), None)
    except ValueError:  # a zero byte
        found = None
    return Source(Path(typed).name, found)


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        return float(f"{value:.6g}") if known and math.isfinite(value) else None  # type: ignore[arg-type]
    except OverflowError:
        return None


_UNHEARD = _figures({})
