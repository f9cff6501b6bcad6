"""The keys of the terminal screen: THE table of what each does; its help, its footer and the docs are read from it.

Pure data, standard library only; both processes read it. A gesture goes to the player as a line of JSON and becomes a
trigger or a value of the controller there (:mod:`instrument.screen.hands`).
"""

from __future__ import annotations

from dataclasses import dataclass

FINE, COARSE = 0.002, 0.01  # of temperature, a press
PROGRAMS = "123456789"


@dataclass(frozen=True)
class Key:
    """What one key does.

    Attributes:
        keys: as the terminal names them; a printable one is itself.
        gesture: what it is called on the way to the player; empty for what the screen does by itself.
        help: for the overlay and the docs; empty for a key that is named with the one before.
        short: for the footer; empty for what is not on it.
        by: how far, for what moves.
        shown: what the key is called where ``keys`` would be hard to read.
    """

    keys: tuple[str, ...]
    gesture: str
    help: str = ""
    short: str = ""
    by: float = 0.0
    shown: str = ""

    @property
    def label(self) -> str:
        """What is printed on the key."""
        return self.shown or self.keys[0]

    @property
    def plain(self) -> str:
        """The same in characters that every terminal has."""
        arrows = {"↑": "up", "↓": "down", "←": "left", "→": "right"}
        return "".join(arrows.get(each, each) for each in self.label)


KEYS = (
    Key(tuple(PROGRAMS), "checkpoint", "that checkpoint of the bank", "checkpoint", shown="1-9"),
    Key(("up",), "temperature", "temperature up and down", "temp", by=COARSE, shown="↑ ↓"),
    Key(("down",), "temperature", by=-COARSE),
    Key(("shift+up", "+"), "temperature", "the same, finely (+ and - too)", by=FINE, shown="shift ↑ ↓"),
    Key(("shift+down", "-"), "temperature", by=-FINE),
    Key(("left",), "", "which voice the keys are aimed at, or all", "voice", by=-1, shown="← →"),
    Key(("right",), "", by=1),
    Key(("space",), "panic", "panic, and sound again", "panic"),
    Key(("r",), "reseed", "reseed: random", "reseed"),
    Key(("R",), "learned", "reseed: as learned"),
    Key(("m",), "moment", "the checkpoint's next moment", "moment"),
    Key(("s",), "sweep", "start the chosen sweep; end it", "sweep"),
    Key(("S",), "choose", "choose the patch's next sweep"),
    Key(("l",), "loop", "loop what was just played; end it", "loop"),
    Key(("u",), "mute", "mute; sound again"),
    Key(("n",), "next", "the set's next patch", "next"),
    Key(("p",), "previous", "the patch before"),
    Key(("t",), "tap", "tap the tempo"),
    Key(("M",), "marker", "a marker in the recording", "marker"),
    Key(("L",), "learn", "learn: asks for what; then move a control"),
    Key(("q",), "quit", "end the set (asks first)", "quit"),
    Key(("?", "h"), "", "all keys", "help"),
    Key(("ctrl+c",), "interrupt", "end the set at once"),
)

BY_KEY = {name: key for key in KEYS for name in key.keys}


def table() -> str:
    """The keys as a Markdown table, for the docs."""
    rows = [f"| {key.label} | {key.help} |" for key in KEYS if key.help]
    return "\n".join(["| key | |", "|---|---|", *rows])
