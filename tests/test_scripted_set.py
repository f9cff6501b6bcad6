"""A whole set by a script, from the command line: everything a performer may do over a real wire, replayed to the byte.

Briefly in `make test`, on tiny networks; at length in `make soak`, on those of the bank, with MIDI where JACK is.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pytest
import scripted
import soundfile
from jackserver import JackServer, jack, missing  # noqa: F401
from networks import network
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from scripted import PREFIX, Play, Save, Send
from test_moments import bursts
from test_session import ROOT

from engine import moments
from engine.checkpoint import save
from instrument import log
from instrument.controls import DRIVE, REFUSED, Op
from instrument.parameters import PARAMETERS, TRIGGERS

# Commands that a set of patches cannot have: a bank grows only where a training run is followed (test_following.py),
# and nothing fails on a processor (test_failing.py).
ELSEWHERE = {Op.GROW, Op.FAIL}
COMMANDS = {op for op in Op if op < Op.PRIMED} - ELSEWHERE
BANKS = {"first": ["gru", "gru-2"], "second": ["lstm", "gru"]}
SHIPPED = {"first": ["tabla", "glass"], "second": ["drones", "tabla"]}


def test_the_script_knows_every_trigger() -> None:
    assert set(scripted.GESTURES) == set(TRIGGERS)


def datagram(step: Send) -> bytes:
    message = OscMessageBuilder(step.address)
    for argument in step.arguments:
        message.add_arg(argument)  # type: ignore[arg-type]
    if not step.later:
        return message.build().dgram
    bundle = OscBundleBuilder(time.time() + step.later)
    bundle.add_content(message.build())
    return bundle.build().dgram


def save_with_moments(name: str, folder: Path) -> None:
    made = network(name)
    found = moments.take(made, bursts(rate=made.config.sample_rate), 16)
    save(moments.with_moments(made, found), folder / f"{name}.safetensors")


def files(folder: Path, names: Iterable[str]) -> list[str]:
    return [f"{name}.safetensors" if folder != ROOT else f"{ROOT}/checkpoints/{name}.safetensors" for name in names]


SENDER = """
import json, sys, rtmidi
out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, "desk")
out.open_virtual_port("keys")
for line in sys.stdin:
    out.send_message(json.loads(line))
"""


class Desk:
    """A MIDI controller at a JACK server: a child, since that library may take its process down."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SENDER], env=environment, stdin=subprocess.PIPE, text=True, bufsize=1
        )

    def send(self, step: Play) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(step.message) + "\n")

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


class Playing:
    """A child that plays a set, and the wire to it."""

    def __init__(self, folder: Path, environment: dict[str, str], *more: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.replies = folder, list[tuple[object, ...]]()
        command = [sys.executable, "-m", "instrument.start", "play", "set.yaml", "--output", "null"]
        command += ["--record", "set.wav", "--log", "set.jsonl", "--osc", f"127.0.0.1:{self.port}", *more]
        environment = environment | {"PYTHONPATH": str(ROOT), "JACK_NO_START_SERVER": "1"}
        self.words = (folder / "words.txt").open("w")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self.words, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + 240
        while not any(address == f"{PREFIX}/pong" for address, *_ in self.replies):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until
            self.send(Send(0.0, f"{PREFIX}/ping", []))
            self.listen(0.2)

    def send(self, step: Send) -> None:
        self.socket.sendto(datagram(step), ("127.0.0.1", self.port))

    def listen(self, seconds: float) -> None:
        """Take replies for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                message = OscMessage(self.socket.recv(65536))
            except (TimeoutError, ConnectionRefusedError):
                continue
            self.replies.append((message.address, *message.params))

    def act_out(self, script: Iterable[Send | Save | Play], desk: Desk | None) -> None:
        """Do what the script says, when it says it."""
        began = time.monotonic()
        for step in script:
            self.listen(began + step.at - time.monotonic())
            if isinstance(step, Send):
                self.send(step)
            elif isinstance(step, Play):
                assert desk
                desk.send(step)
            else:
                (self.folder / f"{step.name}.new").write_text(step.text)
                (self.folder / f"{step.name}.new").replace(self.folder / f"{step.name}.yaml")
        self.listen(1.0)

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.words.close()
        self.socket.close()

    def said(self) -> str:
        return (self.folder / "words.txt").read_text()


def replayed(folder: Path) -> None:
    """The log makes the recording again, byte for byte."""
    command = [sys.executable, "-m", "instrument.start", "replay", "set.jsonl", "-o", "again.wav"]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "again.wav").read_bytes() == (folder / "set.wav").read_bytes()


@dataclass(frozen=True)
class Length:
    """How much of everything: seconds, gestures a second, seconds from one saved file to the next."""

    seconds: float
    rate: float
    every: float


def write_set(folder: Path, banks: dict[str, list[str]]) -> None:
    for name, voices in (("first", 2), ("second", 3)):
        (folder / f"{name}.yaml").write_text(scripted.patch_of(name, banks[name], voices))
    (folder / "set.yaml").write_text(f"name: script\nset: [first.yaml, second.yaml]\n{scripted.CONTROLS}")


def perform(
    folder: Path, banks: dict[str, list[str]], more: list[str], length: Length, server: JackServer | None = None
) -> int:
    """Play the script, look at what was in it, and replay it; how many gestures it had."""
    write_set(folder, banks)
    environment = server.environment if server else dict(os.environ)
    playing = Playing(folder, environment, "--latency", "60", "--seed", "3")
    desk = Desk(environment) if server else None
    sends = sorted(scripted.played(1, length.seconds, length.rate, 3), key=attrgetter("at"))
    saves = list(scripted.saved(2, length.seconds, length.every, banks, more))
    keys = list(scripted.by_midi(3, length.seconds, 1.0)) if desk else []
    try:
        playing.wait()
        playing.act_out(heapq.merge(sends, saves, keys, key=attrgetter("at")), desk)
        assert playing.process.poll() is None, playing.said()
    finally:
        playing.end()
        if desk:
            desk.end()
    said = playing.said()
    assert not re.search("Traceback|(Key|Index|Type|Attribute)Error", said), said
    assert playing.process.returncode == 130, said  # as ended by Ctrl-C
    check(folder, midi=desk is not None)
    replayed(folder)
    return len(sends) + len(saves) + len(keys)


def check(folder: Path, midi: bool) -> None:
    """Everything was in it: commands, parameters, news of files."""
    _, events, _ = log.read(folder / "set.jsonl")
    done = Counter(Op(event.op) for event in events if not event.flags & REFUSED)
    print(", ".join(f"{op.name} {count}" for op, count in sorted(done.items())))
    assert {op.name for op in COMMANDS if not done[op]} == set()
    sets = [event for event in events if event.op == Op.SET]
    assert {event.parameter for event in sets} == {p.code for p in PARAMETERS.values()}
    lines = map(json.loads, (folder / "set.jsonl").read_text().splitlines())
    notes = {line.get("kind", "marker") for line in lines if line.get("op") == "NOTE"}
    assert notes == {"marker", "patch", "reload", "error"}
    if midi:
        steps = {PARAMETERS["drive"].natural(step / 127) for step in range(1, 127)}
        assert any(event.parameter == DRIVE and event.value in steps for event in sets)


def tiny_bank(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    for name in ("gru", "lstm"):
        save_with_moments(name, folder)
    for name in ("one-tier", "mu-law"):
        save(network(name), folder / f"{name}.safetensors")
    save(network("gru", 1), folder / "gru-2.safetensors")
    return {name: files(folder, bank) for name, bank in BANKS.items()}, files(folder, ["one-tier", "mu-law"])


def test_a_scripted_set_replays_to_the_byte(tmp_path: Path) -> None:
    perform(tmp_path, *tiny_bank(tmp_path), Length(11.0, 11.0, 1.2))


def server(request: pytest.FixtureRequest) -> JackServer | None:
    """For MIDI, where this machine has it."""
    return None if missing() else request.getfixturevalue("jack")


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_five_minutes_of_everything_replay_to_the_byte(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    length = Length(300.0, 8.0, 6.0)
    assert perform(tmp_path, *tiny_bank(tmp_path), length, server(request)) >= 2000
    assert soundfile.info(tmp_path / "set.wav").duration >= length.seconds


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_a_minute_of_everything_on_the_bank(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    banks = {name: files(ROOT, bank) for name, bank in SHIPPED.items()}
    perform(tmp_path, banks, files(ROOT, ["guitar"]), Length(60.0, 8.0, 6.0), server(request))
