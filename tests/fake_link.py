"""A link without an audio path: a clock that the test turns, and a list of what was pushed."""

from __future__ import annotations

from dataclasses import replace

from instrument.controller import Controller
from instrument.controls import Command, Event, Telemetry, VoiceTelemetry
from instrument.patch import Sweep

RATE, LATENCY = 44100, 882


class FakeLink:
    """Takes ``room`` commands, then is full."""

    def __init__(self) -> None:
        self.pushed: list[Command] = []
        self.room = 1 << 30
        self.panics = 0
        self.now = 100.0
        self.played = True
        self.frozen: float | None = None  # when the device was lost, while it is
        self.slip = 0.0  # seconds that were lost so far

    def time(self) -> float:
        return self.now

    def push(self, command: Command) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.pushed.append(command)
        return True

    def clock(self) -> tuple[int, float]:
        now = self.now if self.frozen is None else self.frozen
        return (round((now - 100.0 - self.slip) * RATE), now) if self.played else (0, 0.0)

    def lose(self) -> None:
        """No block is read any more."""
        self.frozen = self.now

    def find(self) -> None:
        """The device is there again, and goes on where it was."""
        assert self.frozen is not None
        self.slip += self.now - self.frozen
        self.frozen = None

    def panic(self) -> None:
        self.panics += 1

    def telemetry(self) -> Telemetry:
        return Telemetry(rms=0.1, peak=1.0, load=0.25, fill=256, voices=(VoiceTelemetry(temperature=0.9, slot=1),))

    def take(self) -> list[Command]:
        """What was pushed since the last call, serials wiped."""
        taken, self.pushed = self.pushed, []
        return [replace(command, serial=0) for command in taken]

    def echo(self, late: float = 0.0) -> list[Event]:
        """Events for what was pushed."""
        return [Event(**{**vars(c), "at": c.at + int(late), "late": late}) for c in self.pushed]


def make_controller(link: FakeLink, voices: int = 2, said: list[str] | None = None, **kwargs: object) -> Controller:
    sweeps = {
        "unhinge": Sweep("temperature", ((0.0, 0.875), (45.0, 1.15))),
        "steps": Sweep("gain", ((1.0, -6.0), (2.0, -6.0), (2.0, 0.0))),
        "second": Sweep("pan", ((0.0, -1.0), (1.0, 1.0)), 2),
    }
    return Controller(
        link,
        ["tabla", "glass", "drones"],
        voices=voices,
        sample_rate=RATE,
        latency=LATENCY,
        say=(said if said is not None else []).append,
        sweeps=sweeps,
        ring_frames=512,
        now=link.time,
        **kwargs,  # type: ignore[arg-type]
    )
