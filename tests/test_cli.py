"""Mistakes at the command line: one line that names the fault, the documented exit code, at once, and no traceback."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import pytest
import soundfile

from engine.checkpoint import save
from engine.training import recipes
from instrument.cli import FIRST_SETTINGS

BAD_ARGUMENTS = [
    ([], "COMMAND"),
    (["dance"], "dance"),
    (["play", "--seconds", "-1"], "'-1'"),
    (["play", "--seconds", "nan"], "'nan'"),
    (["play", "--seed", "1.5"], "'1.5'"),
    (["play", "--seed", str(1 << 64)], "2**64"),
    (["play", "--voices", "0"], "1 to 64"),
    (["play", "--backend", "tpu"], "tpu"),
    (["play", "--second", "1"], "samplernn play: unknown argument --second (see samplernn play --help)"),
    (["patch", "check", "a.yaml", "b.yaml"], "samplernn patch check: unknown argument b.yaml"),
    (["play", "--latency", "soon"], "'soon'"),
    (["render", "x.safetensors", "-o", "x.wav", "--temperature", "3"], "'3'"),
    (["render", "x.safetensors", "-o", "x.wav", "--temperature", "1:1:1"], "'1:1:1'"),
    (["render", "x.safetensors"], "-o"),
    (["replay", "x.jsonl"], "-o"),
    (["patch"], "ACTION"),
    (["train", "x.wav", "-o", "run", "--set", "dim"], "'dim'"),
    (["train", "-dash.wav", "-o", "run"], "unknown argument -dash.wav; if -dash.wav is a file: ./-dash.wav"),
    (["render", "x.safetensors", "-o", "-dash.wav"], "if -dash.wav is a file: ./-dash.wav"),
    (["import", "-dash.pt", "--sample-rate", "8000", "-o", "x.safetensors"], "if -dash.pt is a file: ./-dash.pt"),
    (["train", "x.wav", "-o", ""], "argument -o: '': a name expected"),
    (["play", "--record", ""], "argument --record: '': a name expected"),
]
FAULTS = [
    (["info", "missing.safetensors"], "missing.safetensors"),
    (["info", "pyproject.toml"], "pyproject.toml"),
    (["info", "."], "."),
    (["play", "missing.yaml"], "missing.yaml"),
    (["play", "pyproject.toml"], "pyproject.toml"),
    (["play", "sounds/tabla.flac"], "is a sound; a patch, a checkpoint or a run folder expected"),
    (["play", "--record", "set.mp3"], "set.mp3"),
    (["play", "--record", "no/such/folder/set.wav"], "no/such/folder"),
    (["play", "--log", "tests"], "tests"),
    (["play", "--report", "no/such/folder/x.json"], "no/such/folder"),
    (["play", "--output", "x.wav", "--record", "./x.wav"], "--record x.wav: is the --output already"),
    (["play", "--record", "x.wav", "--log", "x.wav"], "--log x.wav: is the --record already"),
    (["play", "--output", "x.wav", "--log", "x.wav"], "--log x.wav: is the --output already"),
    (["play", "--log", "x.json", "--report", "tests/../x.json"], "--report tests/../x.json: is the --log already"),
    (["play", "--output", "x.wav", "--report", "x.wav"], "--report x.wav: is the --output already"),
    (["play", "--record", "x.wav", "--report", "x.wav"], "--report x.wav: is the --record already"),
    (["play", "--osc", "nowhere"], "nowhere"),
    (["play", "--backend", "cuda"], "cuda"),
    (["play", "--backend", "reference"], "render only"),
    (["play", "--precision", "int3"], "int3"),
    (["render", "missing.safetensors", "-o", "x.wav"], "missing.safetensors"),
    (["render", "missing.safetensors", "-o", "x.mp3"], "x.mp3"),
    (["replay", "missing.jsonl", "-o", "x.wav"], "missing.jsonl"),
    (["replay", "pyproject.toml", "-o", "x.wav"], "pyproject.toml"),
    (["patch", "check", "missing.yaml"], "missing.yaml"),
    (["train", "missing.wav", "-o", "run"], "missing.wav"),
    (["train", "pyproject.toml", "-o", "run", "--recipe", "soup"], "soup"),
    (["train", "pyproject.toml", "-o", "run", "--set", "dimm=3"], "dimm"),
    (["train", "pyproject.toml", "-o", "run"], "pyproject.toml: no sound file"),
    (["train", "pyproject.toml", "-o", "tests"], "tests: exists already"),
    (["train", "-o", "run", "--resume"], "run: no run to resume"),
    (["train", "-o", "{left}", "--resume"], "resume.safetensors: missing: this run was never saved"),
    (["train", "pyproject.toml", "-o", "run", "--set", "clip_temperatures=0.9001,1"], "0.9001: at most three decimals"),
    (["import", "missing.pt", "--sample-rate", "16000", "-o", "x.wav"], "x.wav"),
    (["import", "missing.pt", "--sample-rate", "16000", "-o", "x.safetensors"], "missing.pt: no such file"),
    (["import", "tests", "--sample-rate", "16000", "-o", "x.safetensors"], "tests: not a file"),
    (["import", "pyproject.toml", "--sample-rate", "16000", "-o", "x.safetensors"], "not what torch.save writes"),
]
SLOWEST_S = 1.0  # of processor time: the machine may be busy with other things


def samplernn(*args: str, **more: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-X", "importtime", "-m", "instrument.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload]


def said(done: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line for line in done.stderr.splitlines() if not line.startswith("import time:")]


def check_fault(args: list[str], code: int, words: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = samplernn(*args)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert (done.returncode, len(said(done))) == (code, 1), done.stderr
    assert words in said(done)[0]
    assert done.stdout == ""
    for heavy in ("numba", "sounddevice", "torch"):
        assert f"| {heavy}\n" not in done.stderr, f"{heavy} was imported before the fault was named"
    assert took < SLOWEST_S


@pytest.mark.parametrize(("args", "words"), BAD_ARGUMENTS)
def test_bad_arguments(args: list[str], words: str) -> None:
    check_fault(args, 2, words)


@pytest.mark.parametrize(("args", "words"), FAULTS)
def test_faults(args: list[str], words: str, tmp_path: Path) -> None:
    settings = {"recipe": "default", "sounds": ["a.wav"], "values": {}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "epoch-001.safetensors").touch()
    check_fault([arg.format(left=tmp_path) for arg in args], 1, words)


# Runs before the command: imports of one name fail in a certain way, or are interrupted.
UNTIL = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            {act}
sys.meta_path.insert(0, Finder())
from instrument.start import main
raise SystemExit(main())
"""


def run_until(name: str, act: str, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", UNTIL.format(name=name, act=act), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["instrument.cli", "argparse", "numpy", "engine.checkpoint"])
def test_ctrl_c_before_anything_is_there(name: str) -> None:
    done = run_until(name, "os.kill(os.getpid(), signal.SIGINT)", "info", "missing.safetensors")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("act", ["raise ImportError('torch is blocked')", "raise OSError('libtorch.so: not there')"])
@pytest.mark.parametrize("command", ["train", "import"])
def test_torch_that_cannot_be_imported(command: str, act: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 8000)
    network = str(Path(__file__).parent / "vectors" / "deepsound-16.pt")
    out = str(tmp_path / "x.safetensors")
    more = {"train": [str(tmp_path / "a.wav")], "import": [network, "--sample-rate", "16000"]}[command]
    done = run_until("torch", act, command, *more, "-o", out)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith("samplernn: torch cannot be imported (")
    assert "this needs the extra 'train'" in done.stderr


def test_text_of_a_file_moves_no_cursor(tmp_path: Path) -> None:
    wild = "a\x1b[2Jb\x07\r\x9bc\u202e"
    checkpoint = replace(networks.network("gru"), source={"title": wild, "by": [wild]}, training={wild: wild})
    save(checkpoint, tmp_path / "x.safetensors")
    patch = f"name: {json.dumps(wild)}\nbank: [x.safetensors]\n"
    (tmp_path / "x.yaml").write_text(patch)
    (tmp_path / "y.yaml").write_text(patch + f"{json.dumps(wild)}: 3\n")
    for args in (["info", "x.safetensors"], ["patch", "check", "x.yaml"], ["patch", "check", "y.yaml"]):
        done = samplernn(*args[:-1], str(tmp_path / args[-1]))
        shown = [*done.stdout.splitlines(), *said(done)]
        assert shown
        assert all(line.isprintable() for line in shown), shown


def test_a_run_folder_stands_for_its_newest_epoch(tmp_path: Path) -> None:
    save(networks.network("gru"), tmp_path / "epoch-001.safetensors")
    save(networks.network("lstm"), tmp_path / "epoch-002.safetensors")
    assert "LSTM" in samplernn("info", str(tmp_path)).stdout
    done = samplernn("render", str(tmp_path), "-o", str(tmp_path / "x.wav"), "--seconds", "0.01")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.wav").exists()


def test_a_patch_is_checked_with_its_bank_and_its_latency(tmp_path: Path) -> None:
    save(networks.network("gru"), tmp_path / "x.safetensors")
    cases = {"": "", "osc: {listen: 9000}": "osc.listen: 9000 is not HOST:PORT"}
    cases["output: {latency: 2}"] = "output.latency: 2 ms: at least"
    for more, fault in cases.items():
        (tmp_path / "x.yaml").write_text(f"bank: [x.safetensors]\n{more}\n")
        done = samplernn("patch", "check", str(tmp_path / "x.yaml"))
        assert (done.returncode, len(said(done))) == (bool(fault), bool(fault)), done.stderr
        assert not fault or fault in said(done)[0]
    (tmp_path / "x.safetensors").write_bytes(b"no network")
    done = samplernn("patch", "check", str(tmp_path / "x.yaml"))
    assert (done.returncode, len(said(done))) == (1, 1)
    assert "x.safetensors" in said(done)[0]


def test_help_names_every_command() -> None:
    done = samplernn("--help")
    assert done.returncode == 0
    for command in (
        "play",
        "render",
        "replay",
        "train",
        "clips",
        "info",
        "devices",
        "doctor",
        "bench",
        "patch",
        "midi",
        "osc",
    ):
        assert f"\n    {command} " in done.stdout


def test_the_help_of_training_names_recipes_and_where_settings_are_explained() -> None:
    done = samplernn("train", "--help")
    assert done.returncode == 0
    for name in recipes.names():
        assert f"\n  {name} " in done.stdout
        assert recipes.load(name).about.split(",")[0][:30] in done.stdout
    assert "docs/settings.md" in done.stdout
    assert set(recipes.known_keys()) >= {key for keys in FIRST_SETTINGS for key in keys.split(", ")}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stream_is_said_if_anything_is_lost(stream: str) -> None:
    with Path("/dev/full").open("w") as full:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: full}
        command = [sys.executable, "-m", "instrument.cli"]
        fine = subprocess.run([*command, "patch", "schema"], timeout=60, **streams)  # type: ignore[call-overload]
        bad = subprocess.run([*command, "info", "missing"], timeout=60, **streams)  # type: ignore[call-overload]
    assert (fine.returncode, bad.returncode) == (int(stream == "stdout"), 1)


@pytest.mark.skipif(os.name != "posix", reason="closes file descriptors as a POSIX shell does")
def test_closed_streams_are_no_fault() -> None:
    program = f"{sys.executable} -m instrument.cli"
    done = subprocess.run(f"{program} --help >&- 2>&- <&-; echo $?", shell=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
