"""``samplernn``: the command line, its checks and its exit codes.

Runs on the main thread. Every command imports what it needs when it is called, so that ``info``, every wrong file and
every mistyped option answer at once, without numba, PortAudio or torch. A fault of the user's is one line on stderr.
What the commands do is instrument.commands'.

Exit codes: 0 done, 1 one line said why not, 2 bad arguments, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from instrument import commands, console
from instrument.interrupts import Interrupted, Resending, leaving

if TYPE_CHECKING:
    pass

EXTRAS = {"torch": "train", "pedalboard": "train", "starlette": "train", "uvicorn": "train", "triton": "cuda"}
FIRST_SETTINGS = {  # that most people change first
    "minutes, steps": "how long it learns",
    "dim": "how large the network is: larger ones learn more, and play slower",
    "gap_level": "dB of full scale under which sound counts as silence, and is cut",
    "clip_temperatures": "of the clips after every epoch: lower is tamer, 1 as it has learned",
    "title, author": "of the sound, for the checkpoints",
}
SCREENS = ("auto", "full", "line", "none")
BACKENDS = ("auto", "cpu", "cuda", "reference")
FILE = re.compile(r"-[^-\d].*\.\w+")  # begins like an option and ends like a file


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line, each from the command that it is about.

    Attributes:
        more: makes what --help says at its end, when it is asked for.
    """

    more: Callable[[], str] | None = None
    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but what is not known is this command's error, not the outermost one's."""
        self._given = sys.argv[1:] if args is None else args
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unknown argument {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        console.complain(f"{self.prog}: {message}{self._dashed()} (see {self.prog} --help)")
        raise SystemExit(2)

    def _dashed(self) -> str:
        """What to type for a file whose name passes for an option."""
        words = (word for word in self._given if FILE.fullmatch(word) and word[:2] not in self._option_string_actions)
        return "".join(f"; if {word} is a file: ./{word}" for word in list(words)[:1])

    def format_help(self) -> str:
        """As argparse's, with ``more``."""
        return super().format_help() + (f"\n{self.more()}\n" if self.more else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises, never prints a traceback."""
    console.occupy_standard_streams()
    before = {number: signal.signal(number, _terminate) for number in leaving() if number != signal.SIGINT}
    try:
        with Resending() as signals:
            code = _run(argv, signals)
        if (fault := console.flush_or_forget()) and not code:
            console.complain(f"samplernn: stdout: {fault}")
            code = 1
        return code
    except (KeyboardInterrupt, Interrupted) as left:  # a second Ctrl-C while the first one's line was being written
        return _code_of(left)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        console.flush_or_forget()


def _code_of(left: BaseException) -> int:
    return 128 + (left.args[0] if isinstance(left, Interrupted) else signal.SIGINT)


def _run(argv: Sequence[str] | None, signals: Resending) -> int:
    try:
        args = build_parser().parse_args(argv)
        code = args.run(args)
        return int(code or 0)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except (KeyboardInterrupt, Interrupted) as left:
        return _code_of(left)
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except Exception as error:
        if signals.lost:  # it came where it could only break something
            return 128 + signals.lost
        _show_traceback()
        console.complain(f"samplernn: {explain(error)}")
        return 1


def explain(error: Exception) -> str:
    """``error`` as one line for the person at the keyboard."""
    if isinstance(error, ImportError) and (module := _of_an_extra(error)):
        state = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({_text(error)})"
        extra = EXTRAS[module]
        return f"{module} {state}: this needs the extra '{extra}' (pip install 'samplernn-live[{extra}]')"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory for that"
    text = _text(error)
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text[:300]}"


def _of_an_extra(error: ImportError) -> str:
    """Which module of an extra could not be imported, by the error's name or else by its words; or none."""
    about = (error.name or str(error)).replace(".", " ").split()
    return next((module for module in EXTRAS if module in about), "")


def _text(error: Exception) -> str:
    return " ".join(str(error).split())


def _show_traceback() -> None:
    if os.environ.get("SAMPLERNN_TRACEBACK"):
        traceback.print_exc()


def _terminate(number: int, _frame: object) -> None:
    raise Interrupted(number)


# --- the grammar ----------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of ``samplernn``."""
    parser = _Parser(prog="samplernn", description="Play SampleRNN networks live.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"samplernn {commands.version()}")
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for add in (
        _add_play,
        _add_render,
        _add_replay,
        _add_train,
        _add_prune,
        _add_clips,
        _add_audition,
        _add_moments,
        _add_import,
        _add_info,
        _add_machine,
        _add_wires,
    ):
        add(group)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[Any]"


def _command(group: Commands, name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> _Parser:
    parser: _Parser = group.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_play(group: Commands) -> None:
    p = _command(group, "play", commands.play, "play a patch, a checkpoint or a run's epochs, until Ctrl-C")
    p.add_argument("target", nargs="?", metavar="PATCH|CHECKPOINT|RUN_DIR", help="default: patches/default.yaml")
    p.add_argument("--seconds", type=_positive, metavar="N", help="stop after N seconds")
    p.add_argument("--output", default="auto", metavar="auto|null|FILE|DEVICE", help="where the sound goes")
    p.add_argument("--record", type=_file, metavar="FILE", help="also write what is heard to a .wav or .flac")
    p.add_argument(
        "--log", type=_file, metavar="FILE", help="write the event log, which `samplernn replay` plays again"
    )
    p.add_argument("--report", type=_file, metavar="FILE.json", help="write figures of the set when it ends")
    p.add_argument("--seed", type=_seed, metavar="N", help="the dice of voice 1; default: the patch's, else drawn")
    p.add_argument("--voices", type=_count(64), metavar="N", help="voices, 1 to 64; default: the patch's")
    p.add_argument(
        "--backend", choices=BACKENDS, default="auto", help="cpu (which is auto) or cuda; reference only renders"
    )
    p.add_argument("--precision", metavar="NAME", help="auto (default): int8, with cuda fp16; fp32")
    p.add_argument("--fallback", metavar="CHECKPOINT", help="goes on, on the processor, when the GPU fails")
    p.add_argument("--threads", type=_threads, metavar="auto|N", help="that make samples; default auto: what it needs")
    p.add_argument("--osc", metavar="HOST:PORT", help="listen for OSC here; default: the patch's")
    p.add_argument("--midi", metavar="NAME|none", help="MIDI input by name, or none; default: every input")
    p.add_argument("--block", type=_count(8192), metavar="N", help="frames a device callback; default 128")
    p.add_argument("--latency", type=_positive, metavar="MS", help="gesture to sound; default: the patch's, else 20")
    p.add_argument("--screen", choices=SCREENS, default="auto", help="what the terminal shows; default: all it can")


def _add_render(group: Commands) -> None:
    p = _command(group, "render", commands.render, "write clips of a checkpoint, faster or slower than real time")
    p.add_argument("checkpoint", metavar="CHECKPOINT|RUN_DIR")
    p.add_argument("-o", dest="out", type=_file, required=True, metavar="FILE", help=".wav or .flac")
    p.add_argument("--seconds", type=_positive, default=10.0, metavar="N", help="of each clip; default 10")
    p.add_argument("--temperature", type=_temperature, default=(1.0, 1.0), metavar="T[:T]", help="constant, or a ramp")
    p.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the first clip; the next ones have N+1 ...")
    p.add_argument("--clips", type=_count(64), default=1, metavar="N", help="FILE becomes FILE-01 ... when more than 1")
    p.add_argument("--prime", type=_file, metavar="FILE", help="run this sound through the network first")
    p.add_argument("--backend", choices=BACKENDS, default="auto", help="auto (default) is cpu")
    p.add_argument("--precision", metavar="NAME", help="auto (default), int8, fp32 or fp16, which is all that cuda has")


def _add_replay(group: Commands) -> None:
    p = _command(group, "replay", commands.replay, "play a set again from its log, bit for bit, into a file")
    p.add_argument("log", type=_file, metavar="LOG")
    p.add_argument("-o", dest="out", type=_file, required=True, metavar="FILE", help=".wav or .flac")


def _add_train(group: Commands) -> None:
    p = _command(group, "train", commands.train, "train a network on sound files (needs the extra 'train')")
    p.add_argument("sounds", type=_file, nargs="*", metavar="SOUND", help="may be left out with --resume")
    p.add_argument("-o", dest="out", type=_file, required=True, metavar="RUN_DIR")
    p.add_argument("--recipe", default="default", metavar="NAME", help="a named set of choices, or a .yaml file")
    _add_settings(p)
    p.add_argument("--resume", action="store_true", help="go on where RUN_DIR was left")
    p.add_argument("--dry-run", action="store_true", help="only measure what it would take; nothing is written")
    p.more = _recipes_and_settings


def _add_prune(group: Commands) -> None:
    p = _command(
        group,
        "prune",
        commands.prune,
        "train on with ever fewer weights, so that a network plays faster (extra 'train')",
    )
    p.add_argument("checkpoint", type=_file, metavar="CHECKPOINT")
    p.add_argument("sounds", type=_file, nargs="+", metavar="SOUND", help="what it has learned")
    p.add_argument("-o", dest="out", type=_file, required=True, metavar="RUN_DIR")
    _add_settings(p)
    p.add_argument("--dry-run", action="store_true", help="only measure what it would take; nothing is written")


def _add_settings(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--set",
        dest="overrides",
        type=_setting,
        action="append",
        default=[],
        metavar="key=value",
        help="change a setting; as often as needed",
    )


def _recipes_and_settings() -> str:
    """The end of ``train --help``."""
    from engine.training import recipes

    lines = ["recipes:", *(_entry(name, recipes.load(name).about) for name in recipes.names())]
    lines += ["", "settings, a few of those that docs/settings.md lists and explains:"]
    lines += [_entry(key, about) for key, about in FIRST_SETTINGS.items()]
    return "\n".join(lines)


def _entry(name: str, about: str) -> str:
    width = max(40, shutil.get_terminal_size().columns - 2)
    return textwrap.fill(about, width, initial_indent=f"  {name:<20}  ", subsequent_indent=" " * 24)


def _add_audition(group: Commands) -> None:
    p = _command(
        group, "audition", commands.audition, "listen to a run's clips in a browser, rate them, make patches of them"
    )
    p.add_argument("run_dir", type=_file, metavar="RUN_DIR")
    p.add_argument("--port", type=_count(65535), metavar="N", help="of the page on this machine; default: a free one")
    p.add_argument("--no-browser", action="store_true", help="only print the address")


def _add_clips(group: Commands) -> None:
    p = _command(group, "clips", commands.clips, "make clips of a run's epochs, those that are missing")
    p.add_argument("run_dir", type=_file, metavar="RUN_DIR")
    p.add_argument("--epoch", type=_count(999_999), nargs="+", default=[], metavar="N", help="default: every epoch")
    p.add_argument("--temperature", type=_number, nargs="+", metavar="T", help="default: the run's settings say")
    p.add_argument("--seconds", type=_positive, metavar="N", help="of each clip; default: the run's settings say")
    p.add_argument("--clips", type=_count(1000), metavar="N", help="at each temperature; default likewise")
    p.add_argument("--seed", type=_seed, default=1, metavar="N", help="of the first; the next ones have N+1 ...")


def _add_moments(group: Commands) -> None:
    p = _command(group, "moments", commands.moments, "store places of a sound in a checkpoint, for pads to jump to")
    p.add_argument("checkpoint", metavar="CHECKPOINT|RUN_DIR")
    p.add_argument("sounds", type=_file, nargs="*", metavar="SOUND", help="default, in a run's folder: the run's own")
    p.add_argument("--count", type=_count(64), default=32, metavar="N", help="16 to 64; default 32")
    p.add_argument("-o", dest="out", type=_file, metavar="FILE", help="default: into the checkpoint itself")


def _add_import(group: Commands) -> None:
    p = _command(
        group, "import", commands.bring_over, "bring a network of samplernn-pytorch over (needs the extra 'train')"
    )
    p.add_argument("file", type=_file, metavar="FILE", help="its saved state_dict")
    p.add_argument("--sample-rate", type=_count(384_000), required=True, metavar="N", help="Hz; the file does not say")
    p.add_argument("-o", dest="out", type=_file, required=True, metavar="CHECKPOINT", help=".safetensors")


def _add_info(group: Commands) -> None:
    p = _command(group, "info", commands.info, "what a checkpoint is: its shape, training, source and licence")
    p.add_argument("checkpoint", metavar="CHECKPOINT|RUN_DIR")


def _add_machine(group: Commands) -> None:
    _command(group, "devices", commands.devices, "list sound outputs and MIDI inputs")
    d = _command(group, "doctor", commands.doctor, "look at this machine: what it offers a live set and what it lacks")
    d.add_argument(
        "target",
        nargs="?",
        metavar="FOLDER|CHECKPOINT|PATCH",
        help="which checkpoints of it can be played here; with --soak: what to play",
    )
    d.add_argument("--soak", type=_duration, metavar="TIME", help="play for 30s, 10m or 1h: how many voices hold here?")
    d.add_argument("--output", default="auto", metavar="auto|null|DEVICE", help="with --soak: where the sound goes")
    d.add_argument(
        "--voices", type=_count(64), metavar="N", help="how many should sound; with --soak: default: the patch's"
    )
    d.add_argument("--threads", type=_threads, metavar="auto|N", help="that make samples, as for play")
    d.add_argument("--json", action="store_true", help="of a folder: one line of JSON instead of the table")
    _add_bench(group)


def _add_bench(group: Commands) -> None:
    p = _command(group, "bench", commands.bench, "measure how fast and how steadily networks play here")
    p.add_argument("--json", action="store_true", help="one line of JSON instead of the table (docs/bench.md)")
    p.add_argument("--seconds", type=_positive, default=1.0, metavar="N", help="for each figure; default 1")
    p.add_argument("--only", type=_sections, metavar="A,B", help="of bank, sizes, voices, recipes, steadiness")
    p.add_argument("--dims", type=_counts(4096), metavar="N,N", help="default 256,384,512,768,1024")
    p.add_argument("--voices", type=_counts(64), metavar="N,N", help="at once; default 1,2,4,8,16")
    p.add_argument("--threads", type=_crews, metavar="N,N", help="that make them, besides one; default 2 where it can")


def _add_wires(group: Commands) -> None:
    patch = _command(group, "patch", commands.no_action, "check patches, or print their schema")
    actions = patch.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)
    check = _command(actions, "check", commands.patch_check, "read a patch and its bank; say what is wrong with it")
    check.add_argument("file", metavar="FILE")
    _command(actions, "schema", commands.patch_schema, "the JSON Schema (draft 7) of a patch, for editors")
    midi = _command(group, "midi", commands.no_action, "MIDI tools").add_subparsers(
        metavar="ACTION", required=True, parser_class=_Parser
    )
    _command(midi, "monitor", commands.midi_monitor, "print what MIDI inputs send, until Ctrl-C").add_argument(
        "--midi", metavar="NAME", help="only inputs whose name holds this"
    )
    osc = _command(group, "osc", commands.no_action, "OSC tools").add_subparsers(
        metavar="ACTION", required=True, parser_class=_Parser
    )
    _command(osc, "list", commands.osc_list, "every OSC address with its arguments")


# --- argument types: ArgumentTypeError carries the line --------------------------------------------------------------


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError(f"{text!r}: a name expected")
    return Path(text)


def _positive(text: str) -> float:
    value = _number(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a finite number above 0 expected")
    return value


def _duration(text: str) -> float:
    """``30s``, ``10m``, ``1h``, or a number of seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        seconds = _positive(text[:-1] if text[-1:] in units else text) * units.get(text[-1:], 1.0)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r}: a time like 30s, 10m or 1h expected") from None
    if seconds < 2.0:
        raise argparse.ArgumentTypeError(f"{text!r}: at least 2s expected")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: a number expected") from None


def _count(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: an integer from 1 to {most} expected")
        return int(text)

    return read


def _threads(text: str) -> int | None:
    return None if text == "auto" else _count(_most_threads())(text)


def _crews(text: str) -> tuple[int, ...]:
    return _counts(_most_threads())(text)


def _most_threads() -> int:
    from instrument.audio.cores import core_count

    return min(16, core_count())


def _counts(most: int) -> Callable[[str], tuple[int, ...]]:
    return lambda text: tuple(_count(most)(part) for part in text.split(","))


def _sections(text: str) -> tuple[str, ...]:
    from instrument.bench import SECTIONS

    for part in text.split(","):
        if part not in SECTIONS:
            raise argparse.ArgumentTypeError(f"{part!r}: {', '.join(SECTIONS)} expected")
    return tuple(text.split(","))


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r}: an integer from 0 to 2**64 - 1 expected")
    return int(text)


def _temperature(text: str) -> tuple[float, float]:
    ends = [_number(part) for part in text.split(":")]
    if len(ends) > 2 or not all(0.0 <= end <= 2.0 for end in ends):
        raise argparse.ArgumentTypeError(f"{text!r}: T or START:END, each from 0 to 2, expected")
    return ends[0], ends[-1]


def _setting(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise argparse.ArgumentTypeError(f"{text!r}: key=value expected")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
