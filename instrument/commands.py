"""What each of ``samplernn``'s commands does with its parsed arguments: imports what it needs, and hands over.

Main thread. Raises what ``instrument.cli`` turns into one line; returns the exit code, or None for 0.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from instrument import console

if TYPE_CHECKING:
    from engine.checkpoint import Checkpoint


def no_action(_args: argparse.Namespace) -> int:
    return 2


def play(args: argparse.Namespace) -> int:
    from instrument import plan, session

    return session.play(plan.Options.from_arguments(args))


def render(args: argparse.Namespace) -> None:
    from instrument import render

    render.run(args)


def replay(args: argparse.Namespace) -> None:
    from instrument import replay

    replay.run(args.log, args.out)


def train(args: argparse.Namespace) -> int:
    if not args.sounds and not args.resume:
        raise ValueError("train: no sound files given")
    return _train(args, dict(args.overrides))


def prune(args: argparse.Namespace) -> int:
    from engine.training.again import pruning

    args.recipe, args.resume = "default", False
    return _train(args, pruning(args.checkpoint, dict(args.overrides)))


def _train(args: argparse.Namespace, overrides: dict[str, str]) -> int:
    from engine.listening import clips
    from engine.training import runs, sounds

    # torch takes seconds to import: what can be wrong without it is said first
    plan = runs.make_plan(args.sounds, args.out, args.recipe, overrides, args.resume)
    t = plan.training
    clips.Wanted(t.clips, t.clip_seconds, t.clip_temperatures)  # what its names cannot tell apart is refused
    for path in plan.sounds:
        sounds.check(path)
    _need("torch")
    if args.dry_run:
        from engine.training import dryrun

        for line in dryrun.report(plan):
            _show(line)
        return 0
    from engine.training import running

    return running.run(args.sounds, args.out, args.recipe, overrides, args.resume, _show)


def clips(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from engine.listening import clips

    asked = {"clips": args.clips, "seconds": args.seconds, "temperatures": args.temperature and tuple(args.temperature)}
    given = {key: value for key, value in asked.items() if value is not None}
    clips.run(args.run_dir, args.epoch, replace(clips.wanted_of(args.run_dir), seed=args.seed, **given), _show)


def _need(module: str) -> None:
    """Say which extra is missing, whatever it is that keeps its module from being imported."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library of its own that the loader does not find
        kind = ModuleNotFoundError if isinstance(error, ModuleNotFoundError) and error.name == module else ImportError
        raise kind(" ".join(str(error).split()), name=module) from None


def _show(line: str) -> None:
    print(console.printable(line), flush=True)


def audition(args: argparse.Namespace) -> None:
    if importlib.util.find_spec("torch") is None:  # the page does without, but comes with it
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    _need("starlette")
    _need("uvicorn")
    from instrument.audition import server

    server.serve(args.run_dir, args.port, not args.no_browser, lambda line: print(line, flush=True))


def moments(args: argparse.Namespace) -> None:
    from engine import moments
    from engine.listening.report import source_paths
    from instrument import compiling, places

    path = places.find_checkpoint(args.checkpoint)
    sounds, out = args.sounds or source_paths(path.parent), args.out or path
    if not sounds:
        raise ValueError(f"{path}: no sound given, and none that its folder knows of")
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise ValueError(f"{out}: a name that ends in .safetensors, in a folder that is there, expected")
    with compiling.shown(_show):
        found = moments.anew(path, sounds, args.count)
    _keep(found, out, aside=args.out is not None)
    _show(f"{args.count} moments in {out}")


def bring_over(args: argparse.Namespace) -> None:
    if args.out.suffix != ".safetensors" or not args.out.parent.is_dir():
        raise ValueError(f"{args.out}: a name that ends in .safetensors, in a folder that is there, expected")
    from engine.foreign import check_file, load_foreign

    check_file(args.file)
    _need("torch")
    _keep(load_foreign(args.file, args.sample_rate), args.out)
    _show(f"wrote {args.out}")


def _keep(checkpoint: Checkpoint, out: Path, aside: bool = True) -> None:
    """Save ``checkpoint`` as ``out``; what was there is renamed, unless it is ``checkpoint`` itself with less in it."""
    from engine.checkpoint import save
    from instrument.keeping import set_aside

    if aside and (kept := set_aside(out)):
        console.say(f"{out} was there already: it is {kept} now")
    save(checkpoint, out)


def info(args: argparse.Namespace) -> None:
    from instrument import info, places

    print(info.describe(places.find_checkpoint(args.checkpoint)))


def devices(_args: argparse.Namespace) -> None:
    from instrument import doctor

    for line in doctor.device_lines():
        _show(line)


def doctor(args: argparse.Namespace) -> int | None:
    from instrument import doctor

    if args.soak:
        from instrument import plan, session, soundcheck

        names = ("target", "output", "voices", "threads")
        options = plan.Options(**{name: getattr(args, name) for name in names})
        return soundcheck.run(options, args.soak, session.perform, _show)
    if args.target and not Path(args.target).exists():
        raise ValueError(f"{args.target}: is not there; a folder of checkpoints expected, or a patch for --soak TIME")
    if args.target and args.output == "auto" and (Path(args.target).is_dir() or args.target.endswith(".safetensors")):
        _playable(args)
        return None
    if args.target or args.voices or args.threads or args.json or args.output != "auto":
        raise ValueError(
            "doctor: a patch and --output are for --soak TIME, --voices, --threads and --json for a folder too"
        )
    for line in doctor.examine():
        _show(line)
    return None


def _playable(args: argparse.Namespace) -> None:
    """Which checkpoints of a folder can be played here."""
    from instrument import compiling, playable

    asked = playable.files_in(Path(args.target)), args.voices or 1, args.threads
    with compiling.shown((lambda _line: None) if args.json else _show):
        for line in [playable.as_json(*asked)] if args.json else playable.table(*asked):
            _show(line)


def bench(args: argparse.Namespace) -> None:
    from instrument import bench

    names = [field.name for field in fields(bench.Asked) if getattr(args, field.name)]
    bench.run(bench.Asked(**{name: getattr(args, name) for name in names}), as_json=args.json, say=_show)


def patch_check(args: argparse.Namespace) -> None:
    from instrument import latency

    _show(latency.check_patch(args.file))


def patch_schema(_args: argparse.Namespace) -> None:
    import json

    from instrument import setlist

    print(json.dumps(setlist.schema(), indent=2))


def midi_monitor(args: argparse.Namespace) -> None:
    from instrument.midi import monitor

    monitor.run(args.midi, _show)


def osc_list(_args: argparse.Namespace) -> None:
    from instrument.osc import addresses

    print("\n".join(addresses.listing()))


def version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("samplernn-live")
    except PackageNotFoundError:
        return "unknown"
