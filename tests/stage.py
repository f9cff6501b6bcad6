"""A set on a stage of processes: `samplernn play` under a JACK server, somebody who plays on it, an ear at its output.

The ear (jack_ear.py) has what the server played and when, by the server's clock; the recording has what the set made,
by session samples. Where the same samples are found in both, a session sample has a moment, without any figure of the
program's. The log says at which session sample an event took effect, the sender when it was sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jackserver import RATE
from numpy.typing import NDArray
from steadiness import excused
from test_osc_soak import rss
from tiny import network

from engine.checkpoint import save
from instrument import log
from instrument.controls import Op
from instrument.parameters import PARAMETERS

HERE = Path(__file__).parent
PATIENCE = 60
COMPILING = 240
PATCH = """
name: stage
bank: [{checkpoint}]
voices: {voices}
seed: 3
osc: {{listen: "127.0.0.1:{port}"}}
midi:
  - {{cc: 1, to: pan, takeover: jump}}
"""


class Child:
    """A process whose lines are kept with their moments."""

    def __init__(self, *command: Any, environment: dict[str, str], folder: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        environment = environment | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
        environment |= {"MIDO_BACKEND": "mido.backends.rtmidi/UNIX_JACK", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=folder,
            env=environment,
            **pipes,  # type: ignore[call-overload]
        )
        self.lines: list[tuple[float, str]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self.lines.append((time.monotonic(), line.rstrip()))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def hear(self, text: str, since: int = 0, patience: float = PATIENCE) -> tuple[int, float, str]:
        """Wait for a line with ``text``: (number of the line behind it, its moment, the line)."""

        def found() -> tuple[int, float, str] | None:
            each = enumerate(self.lines[since:], since + 1)
            return next(((i, moment, line) for i, (moment, line) in each if text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() or not self._reader.is_alive(), patience)
            there = found()
            assert there, f"no {text!r} in {self.lines[-20:]}"
            return there

    def say(self, line: str = "") -> None:
        """A line for its stdin."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, by: int | None = None) -> int:
        """Close its stdin, or send a signal, and wait."""
        if by is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(by)
        code = self.process.wait(PATIENCE)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """At once, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


@dataclass
class Stage:
    """Everything that runs beside the server; a context.

    Attributes:
        server: a JACK server that runs.
        folder: for all files.
        checkpoint: what is played; a tiny network if there is none.
        latency: L in milliseconds.
    """

    server: Any
    folder: Path
    checkpoint: Path | None = None
    latency: float = 20.0
    voices: int = 2
    port: int = 0
    children: list[Child] = field(default_factory=list)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()

    def child(self, *command: Any) -> Child:
        """A process under the server."""
        self.children.append(Child(*command, environment=self.server.environment, folder=self.folder))
        return self.children[-1]

    def play(self) -> Child:
        """The set, when it plays."""
        if self.checkpoint is None:
            self.checkpoint = self.folder / "tiny.safetensors"
            save(network("mu-law"), self.checkpoint)
        self.port = free_port()
        text = PATCH.format(checkpoint=self.checkpoint, voices=self.voices, port=self.port)
        (self.folder / "stage.yaml").write_text(text)
        files = ("--log", "set.jsonl", "--record", "set.wav", "--report", "set.json")
        options = ("--output", "system", "--latency", self.latency, *files)
        player = self.child("-m", "instrument.start", "play", "stage.yaml", *options)
        player.hear("seed", patience=COMPILING)
        return player

    def report(self) -> dict[str, Any]:
        """The set's own."""
        return dict(json.loads((self.folder / "set.json").read_text()))

    def events(self) -> list[Any]:
        """The log's."""
        return list(log.read(self.folder / "set.jsonl")[1])

    def performed(self, seconds: float, osc: float, midi: float) -> dict[str, Any]:
        """Play for a while with that many events a second; the measured figures, times in milliseconds."""
        player = self.play()
        sender = self.child(HERE / "stage_sender.py", "sent.npz", self.port, seconds, osc, midi)
        sender.hear("there")
        player.hear("listening to desk")
        ear = self.child(HERE / "jack_ear.py", "heard.npz", self.server.period, "desk:k")
        ear.hear("ready")
        time.sleep(0.5)  # until the sample clock has settled
        sender.say("go")
        memory = []
        while not any("sent" in line for _, line in sender.lines):
            assert sender.process.poll() is None, sender.lines
            memory.append(rss(player.process.pid))
            time.sleep(0.1)
        time.sleep(1.0)
        values = [ask(self.port, name) for name in ASKED]
        assert ear.end() == 0, ear.lines
        assert player.end(signal.SIGINT) in (0, 130), player.lines
        sender.kill()
        heard = Heard(self.folder)
        report = self.report()
        return {
            **heard.gaps(report["underruns"]),
            **heard.latencies(self.events()),
            "reported": {name: report[name] for name in ("latency_ms", "control_latency_ms", "xruns", "late_events")},
            "values": values,
            "grown": memory[-1] - memory[len(memory) // 4],
            "lines": [line for _, line in player.lines],
        }


ASKED = ("temperature", "gain", "voice/1/width", "blend", "filter", "drive", "level")


class Heard:
    """What the ear, the recording and the sender have, put together."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "heard.npz") as kept:
            self.periods, self.sound, self.midi = kept["periods"], kept["sound"], kept["midi"]
            self.stalls, self.offset = kept["stalls"], int(kept["offset"])
        with np.load(folder / "sent.npz") as kept:
            self.osc, self.sent = kept["osc"], kept["midi"]
        assert len(self.periods), "the ear heard nothing"
        sound, rate = soundfile.read(folder / "set.wav", dtype="float32", always_2d=True)
        assert rate == RATE
        self.recording = sound[:, 0]
        self.places = self._placed()

    def _placed(self) -> NDArray[np.int64]:
        """Of each period the session sample it begins with; -1 where it is none of the recording."""
        places, size, place = np.full(len(self.sound), -1), self.sound.shape[1], -1
        for i, block in enumerate(self.sound):
            step = int(self.periods[i, 0] - self.periods[i - 1, 0]) if i else size
            expected = place + step if place >= 0 else -1
            if not (expected >= 0 and same(block, self.recording[expected : expected + size])):
                expected = find(block, self.recording)
            place = places[i] = expected
        return places

    def gaps(self, underruns: int) -> dict[str, Any]:
        """Where the sound broke off, and which of that the machine explains; what was counted unseen is our own."""
        there = self.places >= 0
        frames = self.periods[:, 0] - self.places  # constant, but where something is missing
        changed = np.flatnonzero(np.diff(frames[there])) + 1
        moments = self.moment(self.periods[there][changed][:, 0])
        own = int((~excused(np.round(moments * 1e9).astype(np.int64), self.stalls)).sum())
        unseen = max(0, underruns - len(changed))
        return {
            "periods": len(self.periods),
            "underruns": underruns,
            "own_underruns": min(underruns, own) + (0 if len(self.stalls) else unseen),
            "breaks": len(changed),
            "own_breaks": own,
            "stalls": len(self.stalls),
            "stall_ms": float(self.stalls[:, 1].max(initial=0)) / 1e6,
        }

    def moment(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """When frames of the server were due, seconds of time.monotonic: their period's begin, and their offset."""
        i = np.clip(np.searchsorted(self.periods[:, 0], frames, side="right") - 1, 0, None)
        usecs = self.periods[i, 1] - self.offset / 1000
        return np.asarray(1e-6 * usecs + (frames - self.periods[i, 0]) / RATE)

    def due(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """When session samples were due; NaN for those that were not heard."""
        there = np.flatnonzero(self.places >= 0)
        places = self.places[there]
        i = np.clip(np.searchsorted(places, samples, side="right") - 1, 0, None)
        beside = samples - places[i]
        frames = self.periods[there[i], 0] + beside
        known = (beside >= 0) & (beside < 4 * self.sound.shape[1])
        return np.where(known, self.moment(frames), np.nan)

    def latencies(self, events: list[Any]) -> dict[str, Any]:
        """Of both wires."""
        sets = {name: [e for e in events if e.op == Op.SET and e.parameter == PARAMETERS[name].code] for name in NAMES}
        found: dict[str, Any] = {}
        for wire, name in zip(("osc", "midi"), NAMES, strict=True):
            if wire == "osc":
                at = {np.float32(e.value): e.at for e in sets[name]}
                pairs = [(moment, at[v]) for moment, value in self.osc if (v := np.float32(value)) in at]
            else:
                pairs = self._brought([(round((e.value + 1) * 63.5), e.at) for e in sets[name]])
            found[wire] = self._figures(np.array(pairs).reshape(-1, 2), len(self.osc if wire == "osc" else self.midi))
        return found

    def _brought(self, heard: list[tuple[int, int]]) -> list[tuple[float, int]]:
        """(moment of the period that brought a message, session sample of its event): the last such value before."""
        due = self.due(np.array([at for _, at in heard], np.int64))
        moments = self.moment(self.midi[:, 0])
        pairs = []
        for (value, at), until in zip(heard, due, strict=True):
            fits = (self.midi[:, 3] == value) & (moments < until) & (moments > until - ONCE)
            if fits.any():
                pairs.append((float(moments[fits][-1]), at))
        return pairs

    def _figures(self, pairs: NDArray[np.float64], sent: int) -> dict[str, Any]:
        due = self.due(pairs[:, 1].astype(np.int64))
        known = ~np.isnan(due)
        arrived, due = pairs[known, 0], due[known]
        taken = 1000 * (due - arrived)
        stalled = excused(np.round(arrived * 1e9).astype(np.int64), self.stalls)
        stalled |= excused(np.round(due * 1e9).astype(np.int64), self.stalls)
        return {"sent": sent, "found": len(taken), "all": spread(taken), "undisturbed": spread(taken[~stalled])}


NAMES = ("gain", "pan")
ONCE = 1.0  # seconds: a controller's value comes again after 128 others


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Percentiles, and how many there were."""
    if not len(values):
        return {"n": 0}
    figures = {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (1, 50, 99)}
    return figures | {"max": round(float(values.max()), 3), "n": len(values)}


def same(block: NDArray[np.float32], kept: NDArray[np.float32]) -> bool:
    """Whether that is what was recorded, in 24 bits."""
    return len(block) == len(kept) and bool(np.abs(block - kept).max() < 3e-7)


def find(block: NDArray[np.float32], recording: NDArray[np.float32]) -> int:
    """Where a period is in the recording; -1 if nowhere, or if it says too little."""
    if len(np.unique(block)) < 16:
        return -1
    k = int(np.argmax(np.abs(block)))
    for place in np.flatnonzero(np.abs(recording - block[k]) < 3e-7) - k:
        if place >= 0 and same(block, recording[place : place + len(block)]):
            return int(place)
    return -1


def free_port() -> int:
    """A UDP port nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))
        return int(wire.getsockname()[1])


def ask(port: int, name: str) -> float:
    """What `/samplernn/get` answers."""
    from pythonosc.osc_message import OscMessage
    from pythonosc.osc_message_builder import OscMessageBuilder

    question = OscMessageBuilder("/samplernn/get")
    question.add_arg(name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(PATIENCE)
        wire.sendto(question.build().dgram, ("127.0.0.1", port))
        return float(OscMessage(wire.recv(4096)).params[1])
