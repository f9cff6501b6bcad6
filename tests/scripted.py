"""A script of everything a performer may do, in an order by a seed: OSC messages, and patch files saved anew.

A deck holds every trigger and every parameter of the table, in every form of address; it is shuffled and dealt again
until the time is over. A trigger that the table gets and this script does not know fails its test.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from instrument.parameters import ESCAPES, LAUNCHES, PARAMETERS, PREFIX, RESEEDS, TRIGGERS, TURNS

MOVES = """
tempo: 180
voices: {voices}
crossfade: 0.05
parameters: {{gain: -9, temperature: 1.0}}
voice: {{1: {{stereo: true}}, 2: {{pan: 0.3}}}}
sweeps:
  up: {{parameter: temperature, points: [[0, 0.8], [0.4, 1.2, exp], [0.8, 1.0]]}}
  round: {{parameter: pan, voice: 1, points: [[0, -0.8], [1, 0.8, smooth]], unit: beats, loop: true, pingpong: true}}
lfos:
  sway: {{parameter: pan, rate: 2, depth: 0.4}}
  steps: {{parameter: temperature, shape: random, beats: 0.5, depth: 0.2, voice: 1, seed: {seed}}}
macros:
  wild: [{{to: filter, range: [-0.5, 0.5]}}, {{to: drive, range: [0, 12], voice: 1}}, {{to: lfo/sway}}]
snapshots:
  still: {{parameters: {{gain: -15, temperature: 0.9}}, checkpoint: 1}}
"""
BROKEN = (
    "bank: [",
    "name: first\nbank: [nothing.safetensors]\n",
    "name: first\nbank: [{first}]\nparameters: {{gain: loud}}\n",
)

Arguments = list[object]
Deal = Callable[[random.Random], Arguments]

GESTURES: dict[str, Deal] = {
    "checkpoint": lambda r: [r.choice([0, 1]), r.choice([0.0, 0.02, 0.3])],
    "reseed": lambda r: r.choice([[], [1], *([mode] for mode in RESEEDS)]),
    "seed": lambda r: [r.randrange(1 << 31)],
    "partner": lambda r: [r.choice([0, 1, "none"])],
    "moment": lambda r: [r.randrange(16)],
    "loop": lambda r: r.choice([[], [0.5], ["3/4"], [2]]),
    "rest": lambda r: r.choice([[], [0]]),
    "wake": lambda r: [],
    "loop/stop": lambda r: [],
    "sweep": lambda r: [r.choice(["up", "round"])],
    "patch": lambda r: [r.choice([0, 1, "first", "second"])],
    "patch/next": lambda r: [],
    "patch/previous": lambda r: [],
    "sweep/stop": lambda r: r.choice([[], ["up"]]),
    "lfo": lambda r: [r.choice(["sway", "steps"]), *r.choice([[], [0.5], [1.0, 0.3]])],
    "lfo/stop": lambda r: r.choice([[], ["sway"]]),
    "macro": lambda r: ["wild", r.random(), r.choice([0.0, 0.3])],
    "snapshot": lambda r: ["here"],
    "recall": lambda r: [r.choice(["still", "here"]), r.choice([0.0, 0.4])],
    "tempo": lambda r: [r.uniform(100, 240)],
    "tap": lambda r: [],
    "transport": lambda r: [r.choice([*TURNS, "start", "continue"])],
    "quantise": lambda r: [r.choice(LAUNCHES)],
    "panic": lambda r: [],
    "resume": lambda r: [],
    "learn": lambda r: ["gain"],
    "learn/stop": lambda r: [],
    "resend": lambda r: [],
    "marker": lambda r: r.choice([[], ["here"]]),
    "escape": lambda r: [r.choice(ESCAPES)],
    "get": lambda r: ["gain"],
    "ping": lambda r: [],
    "subscribe": lambda r: [9, 5.0],
    "unsubscribe": lambda r: [9],
    "listen": lambda r: [9, 5.0],
    "unlisten": lambda r: [],
    "dump": lambda r: [],
}


@dataclass(frozen=True)
class Send:
    """A message at ``at`` seconds; with ``later`` in a bundle whose time tag is that many seconds ahead."""

    at: float
    address: str
    arguments: Arguments
    later: float = 0.0


@dataclass(frozen=True)
class Play:
    """A MIDI message at ``at`` seconds."""

    at: float
    message: tuple[int, ...]


@dataclass(frozen=True)
class Save:
    """A file of the set is saved anew at ``at`` seconds."""

    at: float
    name: str
    text: str


def patch_of(name: str, bank: list[str], voices: int, seed: int = 1) -> str:
    """A patch with everything in it that moves."""
    return f"name: {name}\nbank: [{', '.join(bank)}]\n" + MOVES.format(voices=voices, seed=seed)


def deck(r: random.Random, voices: int) -> list[tuple[str, Arguments, float]]:
    """(address, arguments, seconds ahead) of everything once, in an order of its own."""
    cards = [(f"{PREFIX}/{name}", deal(r), 0.0) for name, deal in GESTURES.items() if name not in ("panic", "resume")]
    for name, trigger in TRIGGERS.items():
        if trigger.voice:
            cards.append((f"{PREFIX}/voice/{r.randint(1, voices)}/{name}", GESTURES[name](r), 0.0))
    for p in PARAMETERS.values():
        low, high = (-24.0, 0.0) if p.name == "gain" else (0.6, 1.3) if p.name == "temperature" else (p.low, p.high)
        for address in (p.name, f"voice/{r.randint(1, voices)}/{p.name}", f"voice/*/{p.name}"):
            value: object = r.randint(int(low), int(high)) if p.whole else r.uniform(low, high)
            cards.append((f"{PREFIX}/{address}", [value, *r.choice([[], [r.random()]])], r.choice([0.0, 0.0, 0.1])))
        cards.append((f"{PREFIX}/norm/{p.name}", [r.uniform(p.norm(low), p.norm(high))], 0.0))
    r.shuffle(cards)
    return cards


# What a shuffled deck may put behind a panic or a bar that never comes: once in order, so that each command happens.
OVERTURE: tuple[tuple[str, Arguments], ...] = (
    ("snapshot", ["here"]),
    ("checkpoint", [1, 0.05]),
    ("moment", [3]),
    ("reseed", ["zeros"]),
    ("seed", [77]),
    ("lfo", ["sway"]),
    ("loop", [0.5]),
    ("variation", [0.4]),
    ("loop/stop", []),
    ("partner", [0]),
    ("blend", [0.5, 0.2]),
    ("recall", ["still", 0.1]),
    ("rest", []),
    ("wake", []),
    ("patch/next", []),
    ("panic", []),
    ("resume", []),
    ("patch/previous", []),
)
CONTROLS = (
    "midi: [{cc: 1, to: drive, takeover: jump}, {cc: 2, to: macro/wild, takeover: jump}, {note: 36, to: reseed}]\n"
)


def by_midi(seed: int, seconds: float, every: float) -> Iterator[Play]:
    """Controllers 1 and 2 and note 36, as `CONTROLS` maps them."""
    r, at = random.Random(seed), every
    while at < seconds:
        yield Play(at, r.choice([(0xB0, 1, r.randrange(128)), (0xB0, 2, r.randrange(128)), (0x90, 36, 100)]))
        at += every


def played(seed: int, seconds: float, rate: float, voices: int) -> Iterator[Send]:
    """So many gestures a second; every deck has a panic, which half a second ends."""
    r, at, cards = random.Random(seed), 0.0, list[tuple[str, Arguments, float]]()
    for name, given in OVERTURE:
        at += 0.15
        yield Send(at, f"{PREFIX}/{name}", given)
    while at < seconds:
        if not cards:
            cards = deck(r, voices)
            panic = r.randrange(len(cards) // 2, len(cards))
        address, arguments, later = cards.pop()
        yield Send(at, address, arguments, later)
        if len(cards) == panic:
            yield Send(at, f"{PREFIX}/panic", [])
            name, given = r.choice([("resume", []), ("patch", [0]), ("checkpoint", [1])])
            yield Send(at + 0.5, f"{PREFIX}/{name}", list(given))
        at += r.expovariate(rate)


def saved(seed: int, seconds: float, every: float, banks: dict[str, list[str]], more: list[str]) -> Iterator[Save]:
    """Patches saved anew: with another bank, broken, and as they were, in turns."""
    r = random.Random(seed)
    turn, at = 0, every
    while at < seconds:
        name = r.choice(list(banks)) if turn > 2 else "first"
        bank = banks[name]
        if turn % 3 == 0:
            yield Save(at, name, patch_of(name, [*bank, r.choice(more)], r.choice([2, 3]), r.randrange(100)))
        elif turn % 3 == 1:
            yield Save(at, name, r.choice(BROKEN).format(first=bank[0]))
        else:
            yield Save(at, name, patch_of(name, bank, r.choice([2, 3]), r.randrange(100)))
        turn, at = turn + 1, at + every
