"""What is about to be played, checked: command line and patch become one plan before anything compiles.

Main thread; reads the patch and the bank's files, imports neither numba nor PortAudio. Every fault of the user's is a
ValueError of one line from here, within a second. Building and playing the plan is left to ``instrument.session``.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from engine.checkpoint import Checkpoint, config_of, load
from engine.config import ModelConfig, sound_differs
from engine.cuda import presence
from engine.folding import PRECISIONS
from engine.generator import BACKENDS, USUAL
from instrument import patch as patches
from instrument import report, setlist
from instrument.parameters import PARAMETERS, shorten
from instrument.patch import Entry, Patch
from instrument.setlist import SetList

LIVE = ("cpu", "cuda")
WHY_NOT = {"reference": "for render only, far too slow to play"}
LONGEST_LATENCY_MS = 2000.0


@dataclass(frozen=True)
class Options:
    """``samplernn play``'s command line, as typed; None is what the patch or the default says."""

    target: str | None = None
    seconds: float | None = None
    output: str = "auto"
    record: Path | None = None
    log: Path | None = None
    report: Path | None = None
    seed: int | None = None
    voices: int | None = None
    backend: str = "auto"
    precision: str | None = None
    fallback: str | None = None
    threads: int | None = None
    osc: str | None = None
    midi: str | None = None
    block: int | None = None
    latency: float | None = None
    screen: str = "auto"

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> Options:
        """From the parsed command line."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Coming:
    """A network of another patch of the set, known by its file's header only."""

    config: ModelConfig


@dataclass(frozen=True)
class Plan:
    """Everything decided before the first kernel.

    Attributes:
        options: as typed.
        patch: as read; the first of a set.
        set: all that is played.
        coming: the networks of its other patches.
        output: the command line's, else the patch's.
        checkpoints: by program; equal files are one object.
        voices, seed, backend, precision: as they will be.
        start: bank index of each voice at sample 0.
        parameters: ``parameters[voice][code]`` at sample 0, natural units.
        osc: (host, port) to listen on, or None.
        block: frames of a device callback.
        latency_ms: L.
        follows: the run folder that is played, whose new epochs join; None for any other target.
        latency_from: who asked for it, an option or a patch's field; empty where nobody did.
        stereo: which voices have a right side.
        partners: bank index of the network that each voice is blended with, -1 for none.
        fallback: what plays on when a GPU fails, and where it was found; None without a GPU, or nothing was named.
        stand_in: what every program plays instead of its own network, where a GPU was asked for and is not there;
            ``news`` says so.
    """

    options: Options
    patch: Patch
    set: SetList
    coming: tuple[Coming, ...]
    output: str
    checkpoints: tuple[Checkpoint, ...]
    voices: int
    seed: int
    backend: str
    precision: str
    start: tuple[int, ...]
    parameters: tuple[tuple[float, ...], ...]
    osc: tuple[str, int] | None
    block: int
    latency_ms: float
    latency_from: str
    follows: Path | None = None
    stereo: tuple[bool, ...] = ()
    partners: tuple[int, ...] = ()
    fallback: tuple[Entry, Checkpoint] | None = None
    stand_in: Entry | None = None
    news: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What the programs are called."""
        return tuple(entry.name for entry in self.patch.bank)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where their files are."""
        return tuple(self.stand_in.path if self.stand_in else entry.path for entry in self.patch.bank)

    @property
    def networks(self) -> tuple[Checkpoint | Coming, ...]:
        """All that the set may come to play, but the fallback."""
        return (*self.checkpoints, *self.coming)

    def without_gpu(self, why: str) -> Plan:
        """The same on the processor, every program playing the fallback. Raises ValueError without one."""
        if self.fallback is None:
            raise ValueError(f"--backend cuda: {why}; cpu expected, or a network to play there with --fallback")
        entry, checkpoint = self.fallback
        news = f"--backend cuda: {why}: every program is {entry.name} instead, on the processor"
        checkpoints = (checkpoint,) * len(self.checkpoints)
        played = {"backend": "cpu", "precision": USUAL["cpu"], "checkpoints": checkpoints}
        return replace(self, **played, coming=(), follows=None, fallback=None, stand_in=entry, news=news)  # type: ignore[arg-type]


def make(options: Options) -> Plan:
    """Check everything that can be checked without compiling. Raises ValueError, one line."""
    backend, precision = check_backend(options.backend, options.precision, LIVE)
    if options.fallback is not None and backend != "cuda":
        raise ValueError(f"--fallback {shorten(options.fallback)}: is for --backend cuda, which was not asked for")
    found = setlist.open_target(options.target)
    patch = found.patches[0]
    output = patch.output.device if options.output == "auto" and patch.output.device != "default" else options.output
    _check_files(options, output)
    osc = patch.osc.listen if options.osc is None else patches.endpoint(options.osc, "--osc")
    for each in found.patches:
        for line in each.missing():
            raise ValueError(f"{each.path if found.file else options.target or patches.DEFAULT}: {line}")
    voices = options.voices or max(each.voices for each in found.patches)
    latency = patch.output.latency if options.latency is None else options.latency
    asked = _latency_from(options, patch)
    if latency > LONGEST_LATENCY_MS:
        raise ValueError(f"{asked}: {latency:g}: at most {LONGEST_LATENCY_MS:g} ms")
    checkpoints = load_bank([entry.path for entry in patch.bank])
    where = str(options.target or patches.DEFAULT)
    partners = _partners(patch, voices, checkpoints, where)
    _check_blending(backend, found)
    made = Plan(
        options=options,
        patch=patch,
        set=found,
        coming=_coming(found),
        output=output,
        checkpoints=checkpoints,
        voices=voices,
        seed=_seed(options, patch),
        backend=backend,
        precision=precision,
        start=tuple(patch.program(voice) for voice in range(1, voices + 1)),
        parameters=tuple(starting_values(patch, voice) for voice in range(1, voices + 1)),
        osc=osc,
        block=options.block or patch.output.block,
        latency_ms=latency,
        latency_from=asked,
        follows=patches.run_folder(options.target),
        stereo=tuple(patch.is_stereo(voice) for voice in range(1, voices + 1)),
        partners=partners,
        fallback=fallback_of(options, found) if backend == "cuda" else None,
    )
    why = presence.missing() if backend == "cuda" else ""
    return made.without_gpu(why) if why else made


def _coming(found: SetList) -> tuple[Coming, ...]:
    """Each of the other patches' networks. Raises ValueError naming the file."""
    first = {entry.path.resolve() for entry in found.patches[0].bank}
    others = {entry.path.resolve(): entry.path for patch in found.patches[1:] for entry in patch.bank}
    return tuple(Coming(config_of(path)) for resolved, path in others.items() if resolved not in first)


def _partners(patch: Patch, voices: int, checkpoints: Sequence[Checkpoint], where: str) -> tuple[int, ...]:
    """Each voice's partner at the start. Raises ValueError for one that does not fit what the voice plays."""
    for voice in range(1, voices + 1):
        ours, theirs = patch.program(voice), patch.partner(voice)
        fault = sound_differs(checkpoints[ours].config, checkpoints[theirs].config) if theirs >= 0 else ""
        if fault:
            names = [patch.bank[program].name for program in (theirs, ours)]
            raise ValueError(f"{where}: voice.{voice}.partner: {names[0]} does not fit {names[1]}: its {fault}")
    return tuple(patch.partner(voice) for voice in range(1, voices + 1))


def _check_blending(backend: str, found: SetList) -> None:
    """Raises ValueError for a partner that a GPU cannot blend."""
    for patch in found.patches if backend == "cuda" else ():
        for voice in range(1, patch.voices + 1):
            if patch.partner(voice) >= 0:
                where = f"{patch.path or patches.DEFAULT}: voice.{voice}.partner"
                raise ValueError(f"{where}: --backend cuda blends nothing; none, or cpu, expected")


def fallback_of(options: Options, found: SetList) -> tuple[Entry, Checkpoint] | None:
    """The command line's, else the first that a patch names. Raises ValueError."""
    if options.fallback is not None:
        where, entry = "--fallback", patches.entry_of(options.fallback, None, "--fallback")
    else:
        named = [(patch.path, patch.fallback) for patch in found.patches if patch.fallback]
        if not named:
            return None
        where, entry = f"{named[0][0]}: fallback", named[0][1]
    if not entry.path.is_file():
        raise ValueError(f"{where}: {shorten(entry.file)} is not there; a checkpoint expected")
    try:
        return entry, load(entry.path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check_backend(backend: str, precision: str | None, among: Sequence[str] = BACKENDS) -> tuple[str, str]:
    """Backend and precision as they will be. Raises ValueError for what this version does not play.

    The precision of ``auto`` never depends on how fast this machine is: a set sounds the same on every one.
    """
    backend = "cpu" if backend == "auto" else backend
    if backend not in among:
        why = WHY_NOT.get(backend, "not in this version")
        raise ValueError(f"--backend {backend}: {why}; one of auto, {', '.join(among)} expected")
    if precision in (None, "auto"):
        precision = USUAL[backend]
    if precision not in PRECISIONS:
        raise ValueError(f"--precision {shorten(precision)}: one of auto, {', '.join(PRECISIONS)} expected")
    if backend == "cuda" and precision != USUAL[backend]:
        raise ValueError(f"--precision {precision}: --backend cuda plays {USUAL[backend]}; that or auto expected")
    return backend, precision


def load_bank(paths: Sequence[Path]) -> tuple[Checkpoint, ...]:
    """A checkpoint for each path, each file read once. Raises ValueError naming the file."""
    read: dict[Path, Checkpoint] = {}
    for path in paths:
        if path.resolve() not in read:
            read[path.resolve()] = load(path)
    return tuple(read[path.resolve()] for path in paths)


def starting_values(patch: Patch, voice: int) -> tuple[float, ...]:
    """Values by code that ``voice`` (from 1) starts with: its own, else all voices', else the table's."""
    settings = patch.voice.get(voice)
    values = {**patch.parameters, **(settings.parameters if settings else {})}
    return tuple(float(values.get(p.name, p.default)) for p in sorted(PARAMETERS.values(), key=lambda p: p.code))


def _latency_from(options: Options, patch: Patch) -> str:
    """Who asked for L, as an error line begins; nothing if nobody did."""
    if options.latency is not None:
        return "--latency"
    there = isinstance(patch.data.get("output"), Mapping) and "latency" in patch.data["output"]
    return f"{options.target or patches.DEFAULT}: output.latency" if there else ""


def _seed(options: Options, patch: Patch) -> int:
    if options.seed is not None:
        return options.seed
    return secrets.randbelow(1 << 32) if patch.seed is None else patch.seed


def _check_files(options: Options, output: str) -> None:
    """Raises ValueError for what cannot be written, or would be written twice."""
    from instrument.audio.soundfiles import check_path, is_sound_file

    sounds = {"--output": Path(output) if is_sound_file(output) else None, "--record": options.record}
    written: dict[Path, str] = {}
    for name, path in {**sounds, "--log": options.log, "--report": options.report}.items():
        if path is not None:
            check = check_path if name in sounds else report.check_path
            other = written.setdefault(check(path).resolve(), name)
            if other != name:
                raise ValueError(f"{name} {path}: is the {other} already; another name expected")
