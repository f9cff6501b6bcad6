"""``samplernn doctor --soak``: the soundcheck. A patch is played on the real device, and the machine watched meanwhile.

Main thread, through the session like any set, its gestures scripted: temperature up and down, from checkpoint to
checkpoint. What is said is what a performer needs to know before the doors open: the longest turn, what broke off,
whether the machine gets slower as it gets warm, and how many voices it holds. That number is reckoned from what the
voices cost, and played for a while where there is time for it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instrument.parameters import MAX_VOICES
from instrument.plan import Options

LOAD = 0.85  # of the time there is: what a machine is trusted with
GESTURE_S = 3.0
LOOK_S = 0.5
SHORTEST = 20.0  # seconds of soak from which the number of voices is played too
SHARE = 0.25  # of the soak for that, each try
TRIES = 2
PARTS = 32  # audio.state: parts of an octave in the histogram of turns

Say = Callable[[str], None]
Perform = Callable[..., tuple[Any, int]]


@dataclass
class Watched:
    """What was seen of one set while it played."""

    begun: float = 0.0
    next_look: float = 0.0
    next_gesture: float = 0.0
    gestures: int = 0
    clocks: list[float] = field(default_factory=list)  # MHz
    heat: list[float] = field(default_factory=list)  # degrees Celsius
    turns: list[NDArray[np.int64]] = field(default_factory=list)  # histograms so far
    faults: tuple[int, int] = (0, 0)  # page faults as it began: those that read a disk, others

    def __call__(self, session: Any) -> None:
        """One look, from the main thread."""
        now = time.monotonic()
        if not self.begun:
            self.begun, self.next_gesture, self.faults = now, now + 1.0, page_faults()
        if now >= self.next_look:
            self.next_look = now + LOOK_S
            self.clocks += [mhz] if (mhz := clock_mhz()) else []
            self.heat += [degrees] if (degrees := heat()) else []
            self.turns.append(session.performance.turns())
        if now >= self.next_gesture:
            self.next_gesture = now + GESTURE_S
            self._gesture(session.controller)

    def _gesture(self, controller: Any) -> None:
        """Temperature up and down within the gesture's time, and every other time the next checkpoint."""
        self.gestures += 1
        controller.set("temperature", (0.9, 1.1)[self.gestures % 2], ramp=GESTURE_S)
        if self.gestures % 2 == 0 and len(controller.bank) > 1:
            controller.trigger("checkpoint", self.gestures // 2 % len(controller.bank))


def run(options: Options, seconds: float, perform: Perform, say: Say) -> int:
    """Play for about ``seconds`` in all and say what was found. Returns 1 if the sound broke off, else 0.

    ``perform`` is the session's. Raises ValueError, one line.
    """
    options = replace(options, output=_output(options.output, say), screen="none", midi="none", osc="none")
    rest = seconds * (1.0 - SHARE * TRIES) if seconds >= SHORTEST else seconds
    found, watched, code = _play(options, rest, perform, say)
    for line in describe(found, watched) if found else ():
        say(line)
    if code:
        return code
    fit = voices_that_fit(found, watched)
    broken, proof = breaks(found), ""
    fit = min(fit, found["voices"] - max(1, found["rested"])) if broken else fit
    if seconds >= SHORTEST and fit and (fit != found["voices"] or broken):
        fit, proof, code = _prove(options, fit, found["threads"], seconds * SHARE, perform, say)
        broken += fit < found["voices"]
    elif not broken and fit:
        proof = ", as they just played" if fit == found["voices"] else ", reckoned from what they cost"
    proof = proof or ", as busy as it is now" * (not fit)
    say(f"this machine holds {fit} voice{'s' * (fit != 1)} of this patch{proof}")
    return code or int(broken > 0)


def voices_that_fit(found: dict[str, Any], watched: Watched) -> int:
    """By what a voice costs: the usual turn within ``LOAD`` of its time, the longest within what the ring holds."""
    usual = found["hop_us"]["p50"] * found["realtime_factor"]  # the time that a hop has, us
    by_load = LOAD * usual / max(1e-9, _typical(found, watched) / found["voices"])
    ring = 1e6 * found["ring_frames"] / found["sample_rate"]
    by_worst = ring / max(1e-9, found["hop_us"]["max"] / found["voices"])
    least: float = min(by_load, by_worst)
    return max(0, min(MAX_VOICES, math.floor(least)))


def breaks(found: dict[str, Any]) -> int:
    """How often the sound broke off, or a voice was let rest so that it did not."""
    return int(found["underruns"] + found["xruns"] + found["rested"])


def describe(found: dict[str, Any], watched: Watched) -> Iterator[str]:
    """What was found, in lines."""
    hops, (rare, longest) = found["hop_us"], p999(watched.turns)
    rare = min(hops["max"], rare * hops["max"] / max(1e-9, longest))  # turns are not always a hop long
    yield (
        f"played      {found['seconds']:.0f} s, {found['voices']} voice{'s' * (found['voices'] != 1)} to "
        f"{found['output']} at {found['sample_rate']} Hz, {found['latency_ms']:.1f} ms, priority {found['priority']}, "
        f"{found['threads']} thread{'s' * (found['threads'] != 1)}"
    )
    yield (
        f"hops        median {hops['p50']:.0f} us, p99 {hops['p99']:.0f}, p99.9 {rare:.0f}, "
        f"worst {hops['max']:.0f}; real time needs {hops['p50'] * found['realtime_factor']:.0f}"
    )
    rested = f", {found['rested']} voice{'s' * (found['rested'] != 1)} let rest" if found["rested"] else ""
    yield f"broken off  {found['underruns']} underruns, {found['xruns']} xruns of the driver{rested}"
    yield f"throttling  {drift(watched.turns)}; clock {_ends(watched.clocks, 'MHz')}; {_ends(watched.heat, 'C')}"
    hard, soft = (now - then for now, then in zip(page_faults(), watched.faults, strict=True))
    yield f"memory      {hard} page faults that read the disk, {soft} others"


def drift(turns: list[NDArray[np.int64]]) -> str:
    """The median turn of the last quarter against the first."""
    if len(turns) < 8:
        return "too short to tell"
    quarter = len(turns) // 4
    first, last = _median(turns[quarter] - turns[0]), _median(turns[-1] - turns[-1 - quarter])
    if not first or not last:
        return "too short to tell"
    change = last / first - 1.0
    return f"hops took {abs(change):.0%} {'longer' if change > 0 else 'less'} at the end than at the beginning"


def p999(turns: list[NDArray[np.int64]]) -> tuple[float, float]:
    """Nanoseconds that one turn in a thousand takes, and the longest, out of the last histogram."""
    if not turns or not turns[-1].sum():
        return 0.0, 0.0
    seen = np.cumsum(turns[-1])
    return _nanoseconds(int(np.searchsorted(seen, 0.999 * seen[-1]))), _nanoseconds(int(np.flatnonzero(turns[-1])[-1]))


def clock_mhz() -> float | None:
    """The fastest core's clock now; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError):
        found = list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        if found:
            return max(float(path.read_text()) for path in found) / 1000.0
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return max((float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")), default=None)
    return None


def heat() -> float | None:
    """The hottest part of the machine, degrees Celsius; None where the system does not tell."""
    found = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):
            found.append(float(path.read_text()) / 1000.0)
    return max(found, default=None)


def page_faults() -> tuple[int, int]:
    """Page faults of this process so far: those that read a disk, and others."""
    try:
        import resource
    except ImportError:
        return 0, 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_majflt, usage.ru_minflt


def _output(name: str, say: Say) -> str:
    """The device asked for; a clock where there is none, saying so."""
    if name != "auto":
        return name
    from instrument.audio import devices

    try:
        devices.choose("default")
    except ValueError as error:
        say(f"sound       {error}: playing to a clock, so the driver is not tested")
        return "null"
    return name


def _play(options: Options, seconds: float, perform: Perform, say: Say) -> tuple[dict[str, Any], Watched, int]:
    watched = Watched()
    session, code = perform(replace(options, seconds=seconds), lambda _line: None, say, watched)
    return session.figures(), watched, code


def _prove(
    options: Options, fit: int, threads: int, seconds: float, perform: Perform, say: Say
) -> tuple[int, str, int]:
    """Play that many, fewer if it breaks off, more if it had more ``threads`` than were reckoned with.

    Returns how many held, how that is known, and the exit code.
    """
    held, proof = 0, ", reckoned"
    for _ in range(TRIES):
        found, watched, code = _play(replace(options, voices=fit), seconds, perform, say)
        if code:
            return fit, ", not played to the end", code
        if broken := breaks(found):
            say(f"proof       {fit} voice{'s' * (fit != 1)} broke off {broken} time{'s' * (broken != 1)}")
            fit -= 1
        else:
            held, proof = fit, f", played for {found['seconds']:.0f} s"
            more = voices_that_fit(found, watched)
            fit = more if found["threads"] > threads else fit
        if fit <= held:
            break
    fit = held or fit
    return fit, proof if fit else "", 0


def _typical(found: dict[str, Any], watched: Watched) -> float:
    """us of a usual hop: the median of the last half, when the machine is warm."""
    whole = _median(watched.turns[-1]) if watched.turns else 0.0
    half = _median(watched.turns[-1] - watched.turns[len(watched.turns) // 2]) if len(watched.turns) > 4 else 0.0
    usual: float = found["hop_us"]["p50"]
    return usual * half / whole if whole and half else usual


def _median(turns: NDArray[np.int64]) -> float:
    seen = np.cumsum(turns)
    return _nanoseconds(int(np.searchsorted(seen, seen[-1] / 2))) if seen[-1] else 0.0


def _nanoseconds(bucket: int) -> float:
    """The middle of a bucket of ``audio.loop.bucket``."""
    octave = max(0, bucket // PARTS - 1)
    return float(((bucket - octave * PARTS) << octave) + 0.5 * (1 << octave))


def _ends(values: list[float], unit: str) -> str:
    return f"{values[0]:.0f} {unit}, at the end {values[-1]:.0f}" if values else f"{unit} not told here"
