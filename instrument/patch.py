"""Patches: YAML <-> typed, frozen patches, strictly.

Main thread, before anything plays; standard library and PyYAML. Every fault is one line: file, field, what is wrong,
what would be right. Bank files are found here but not opened; what a patch does to the sound is left to the session and
the controller. The fields' rules are in :mod:`instrument.patch_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from instrument import patch_osc, patch_rules, saved
from instrument.parameters import shorten
from instrument.patch_midi import Binding as Binding  # how others reach it
from instrument.patch_midi import Known, read_binding
from instrument.patch_midi import bank_index as bank_index
from instrument.patch_midi import partner_index as partner_index
from instrument.patch_movement import Movements, read_movements, read_sweep
from instrument.patch_osc import Osc as Osc
from instrument.patch_osc import endpoint as endpoint
from instrument.patch_text import parse, read_bytes
from instrument.places import EPOCH, epochs, latest_epoch
from instrument.places import find as find  # how others reach it
from instrument.sweeps import Sweep as Sweep  # how others reach it

DEFAULT = "patches/default.yaml"
DRAFT = "http://json-schema.org/draft-07/schema#"
DEFAULT_CROSSFADE = 0.05  # seconds
HISTORY = 24  # epochs of a run that are loaded at once: each takes a fifth of a second of the start


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the bank: what it is called, what the patch says, and where that was found (or would be)."""

    name: str
    file: str
    path: Path


@dataclass(frozen=True)
class Output:
    """Where the sound goes: device name, L in milliseconds, frames of a device block, channels; and how many samples a
    GPU makes at once.
    """

    device: str = "default"
    latency: float = 20.0
    block: int = 128
    channels: int = 2
    launch: int = 64  # engine.generator.AT_ONCE


@dataclass(frozen=True)
class VoiceSettings:
    """What one voice starts with, where it differs from all: bank index (None: program 0) and parameters."""

    checkpoint: int | None = None
    stereo: bool | None = None  # as all voices
    partner: int = -1
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Patch:
    """Everything a set starts from. ``data`` is the same as plain JSON-able tables, for the log's head.

    ``switch`` is what another checkpoint begins with: ``prime``, what was just played, or ``keep``, the state as it is.
    ``path`` is the file it was read from, if it was; what MIDI learns is saved there. ``digest`` is of what it held.
    ``history`` says that the bank is a training run's, its epochs in order, for ``maturity`` to move through.
    ``fallback`` plays on when a GPU fails that plays the bank.
    ``crossfade`` is what it takes to change to the patch, or to what it says once it is saved again; None is the usual.
    """

    name: str
    bank: tuple[Entry, ...]
    voices: int = 1
    stereo: bool = False
    seed: int | None = None
    output: Output = Output()
    parameters: Mapping[str, float] = field(default_factory=dict)
    voice: Mapping[int, VoiceSettings] = field(default_factory=dict)
    midi: tuple[Binding, ...] = ()
    midi_out: str | None = None
    midi_port: str | None = None
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    movements: Movements = field(default_factory=Movements)
    osc: Osc = field(default_factory=Osc)
    switch: str = "prime"
    escape: str = "off"
    history: bool = False
    fallback: Entry | None = None
    crossfade: float | None = None
    path: Path | None = field(default=None, compare=False)
    data: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    digest: str = field(default="", compare=False, repr=False)

    def program(self, voice: int) -> int:
        """Bank index that ``voice`` (from 1) starts with."""
        settings = self.voice.get(voice)
        if settings and settings.checkpoint is not None:
            return settings.checkpoint
        maturity = {**self.parameters, **(settings.parameters if settings else {})}.get("maturity", 1.0)
        return int(maturity * (len(self.bank) - 1) + 0.5) if self.history else 0

    def is_stereo(self, voice: int) -> bool:
        """Whether ``voice`` (from 1) has a right side."""
        settings = self.voice.get(voice)
        return bool(self.stereo if settings is None or settings.stereo is None else settings.stereo)

    def partner(self, voice: int) -> int:
        """Bank index of the network that is blended with that of ``voice`` (from 1); -1 for none."""
        settings = self.voice.get(voice)
        return settings.partner if settings else -1

    def missing(self) -> list[str]:
        """One line for every bank file that is not there."""
        lost = [(i, entry) for i, entry in enumerate(self.bank) if not entry.path.is_file()]
        lines = [f"bank[{i}]: {shorten(entry.file)} is not there; looked for {entry.path}" for i, entry in lost]
        if self.fallback and not self.fallback.path.is_file():
            lines.append(f"fallback: {shorten(self.fallback.file)} is not there; looked for {self.fallback.path}")
        return lines


def open_target(target: str | Path | None = None) -> Patch:
    """What ``samplernn play TARGET`` plays: a patch, a checkpoint, a run's latest epoch, or the default patch.

    Raises ValueError, one line.
    """
    if target is None:
        return load(find(DEFAULT))
    path = find(str(target))
    if path.is_dir() or path.suffix == ".safetensors":
        return bare(path)
    if path.suffix.lower() in (".wav", ".flac", ".aif", ".aiff", ".mp3", ".ogg"):
        raise ValueError(f"{path}: is a sound; a patch, a checkpoint or a run folder expected (train makes networks)")
    return load(path)


def run_folder(target: str | Path | None) -> Path | None:
    """The run whose epochs :func:`open_target` makes a bank of; None where it does something else."""
    path = None if target is None else find(str(target))
    return path.resolve() if path is not None and path.is_dir() else None


def load(path: str | Path) -> Patch:
    """The patch in the YAML file ``path``. Raises ValueError: file, field, what is wrong."""
    path = Path(path)
    try:
        data = read_bytes(path)
        return replace(from_data(parse(data), path), digest=saved.digest(data))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check(path: str | Path) -> str:
    """One line saying that the patch in ``path`` is sound, its bank files present. Raises ValueError, one line."""
    patch = load(path)
    for line in patch.missing():
        raise ValueError(f"{path}: {line}")
    return (
        f"{path}: {patch.name!r}, {_count(patch.bank, 'checkpoint')}, {patch.voices} voice{'s' * (patch.voices > 1)}, "
        f"{_count(patch.midi, 'MIDI mapping')}, {_count(patch.sweeps, 'sweep')}"
        + "".join(f", {_count(found, name)}" for name, found in _moving(patch).items() if found)
    )


def _moving(patch: Patch) -> dict[str, Any]:
    m = patch.movements
    return {"LFO": m.lfos, "macro": m.macros, "snapshot": m.snapshots}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of a patch."""
    return {"$schema": DRAFT, "title": "samplernn-live patch", **patch_rules.PATCH.schema()}


def bare(path: Path) -> Patch:
    """A patch around one checkpoint, or a run folder's epochs from first to last, the last one playing.

    The modulation wheel is the temperature, the breath controller a run's maturity. Raises ValueError if there is none.
    """
    if path.is_dir():
        return _history(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint, run folder or patch")
    data = {"name": _entry_name(path), "bank": [str(path.resolve())], "midi": [{"cc": 1, "to": "temperature"}]}
    return from_data(data, None)


def _history(run: Path) -> Patch:
    """The patch around a run: all its epochs, or HISTORY of them, evenly."""
    files = epochs(run)
    chosen = sorted({round(i * (len(files) - 1) / max(1, HISTORY - 1)) for i in range(HISTORY)})
    kept = files if len(files) <= HISTORY else [files[i] for i in chosen]
    data = {
        "name": run.resolve().name,
        "bank": [str(file.resolve()) for file in kept],
        "history": True,
        "switch": "keep",
        "midi": [{"cc": 1, "to": "temperature"}, {"cc": 2, "to": "maturity"}],
    }
    return from_data(data, None)


def from_data(data: object, path: Path | None) -> Patch:
    """A patch from plain tables; ``path`` is the patch's file, which bank files are looked for beside.

    Raises ValueError starting with the field.
    """
    fields = patch_rules.PATCH.read(data, "patch")
    bank = _bank(fields["bank"], path, bool(fields.get("history", False)))
    voices = fields.get("voices", 1)
    sweeps = {name: read_sweep(f"sweeps.{name}", found, voices) for name, found in fields.get("sweeps", {}).items()}
    names = [entry.name for entry in bank]
    _check_pairs(fields, fields.get("output", {}).get("channels", 2) // 2)
    tables = {"sweep": "sweeps", "lfo": "lfos", "macro": "macros"}
    known = Known(voices, names, {name: fields.get(table, {}) for name, table in tables.items()})
    return Patch(
        name=fields.get("name", path.stem if path else "untitled"),
        bank=bank,
        voices=voices,
        stereo=bool(fields.get("stereo", False)),
        seed=fields.get("seed"),
        output=Output(**fields.get("output", {})),
        parameters=fields.get("parameters", {}),
        voice={n: _voice(n, found, voices, names) for n, found in fields.get("voice", {}).items()},
        midi=tuple(read_binding(f"midi[{i}]", line, known) for i, line in enumerate(fields.get("midi", ()))),
        midi_out=fields.get("midi_out"),
        midi_port=fields.get("midi_port"),
        path=path,
        sweeps=sweeps,
        movements=read_movements(fields, voices, names),
        osc=patch_osc.read(fields.get("osc", {})),
        switch=fields.get("switch", "prime"),
        escape=fields.get("escape", "off"),
        history=bool(fields.get("history", False)),
        fallback=entry_of(fields["fallback"], path, "fallback") if "fallback" in fields else None,
        crossfade=fields.get("crossfade"),
        data=data if isinstance(data, dict) else {},
    )


# --- references between the parts -------------------------------------------------------------------------------------


def _check_pairs(fields: Mapping[str, Any], pairs: int) -> None:
    """Voices go to pairs of channels that there are."""
    starts = [("parameters", fields.get("parameters", {}))]
    starts += [(f"voice.{n}", values) for n, values in fields.get("voice", {}).items()]
    for where, values in starts:
        if values.get("output", 1) > pairs:
            raise ValueError(
                f"{where}.output: {values['output']:g} is beyond the {pairs} pair{'s' * (pairs > 1)} of "
                f"output.channels: {2 * pairs}"
            )


def _bank(files: tuple[str, ...], path: Path | None, history: bool) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    runs = [Path(file).parent for file in files if EPOCH.fullmatch(Path(file).name)]
    for i, file in enumerate(files):
        entry = entry_of(file, path, f"bank[{i}]")
        taken = [entry.name for entry in entries]
        of_many = runs.count(Path(file).parent) > 1 or (history and EPOCH.fullmatch(Path(file).name))
        name = entry.path.stem if of_many else entry.name
        entries.append(replace(entry, name=unused(name, taken)))
    return tuple(entries)


def entry_of(file: str, patch: Path | None, where: str) -> Entry:
    """The checkpoint that ``file`` means, or a run's newest epoch. Raises ValueError starting with ``where``."""
    try:
        found = find(file, patch)
        found = latest_epoch(found) if found.is_dir() else found
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Entry(_entry_name(found), file, found)


def _entry_name(path: Path) -> str:
    """What a checkpoint is called: its stem, or its run's name if it is a run's epoch."""
    return path.parent.name or path.stem if EPOCH.fullmatch(path.name) else path.stem


def unused(name: str, taken: Sequence[str]) -> str:
    """``name``, or ``name-2`` ... if another has it."""
    names = (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3)))
    return next(free for free in names if free not in taken)


def _voice(n: int, fields: dict[str, Any], voices: int, names: list[str]) -> VoiceSettings:
    _check_voice(n, voices, "voice")
    checkpoint = fields.pop("checkpoint", None)
    index = None if checkpoint is None else bank_index(checkpoint, names, f"voice.{n}.checkpoint")
    stereo = fields.pop("stereo", None)
    partner = partner_index(fields.pop("partner", -1), names, f"voice.{n}.partner")
    return VoiceSettings(index, None if stereo is None else bool(stereo), partner, fields)


def _check_voice(n: int | None, voices: int, where: str) -> None:
    if n is not None and n > voices:
        raise ValueError(f"{where}: there is no voice {n}; voices is {voices}")


def _count(things: Any, name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"
