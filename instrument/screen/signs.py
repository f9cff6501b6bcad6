"""Bars, little curves and marks in characters, for terminals that know the fine ones and for others. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Signs:
    """What to draw with."""

    cells: str  # parts of a character, from the left, the last one full
    tick: str
    curve: str  # from low to high
    up: str
    down: str
    to: str
    here: str
    dot: str
    rest: str
    fine: bool


FINE = Signs("▏▎▍▌▋▊▉█", "┃", "▁▂▃▄▅▆▇█", "▲", "▼", "→", "▶", "●", "·", True)
PLAIN = Signs("#", "|", "_.-=*^", "^", "v", "->", ">", "*", ".", False)


def choose(encoding: str | None, terminal: str | None = None) -> Signs:
    """Those for a terminal that writes ``encoding`` and calls itself ``terminal`` ($TERM if left out)."""
    terminal = os.environ.get("TERM", "") if terminal is None else terminal
    wide = (encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")
    return FINE if wide and terminal not in ("linux", "vt100", "vt220") else PLAIN


def share(db: float, floor: float = -60.0) -> float:
    """How much of a bar from ``floor`` to 0 dB is full, 0..1."""
    return min(1.0, max(0.0, 1.0 - db / floor)) if db < 0.0 else 1.0


def bar(full: float, width: int, signs: Signs) -> str:
    """A bar of ``width`` characters, ``full`` 0..1."""
    steps = len(signs.cells)
    whole, part = divmod(round(full * width * steps), steps)
    text = signs.cells[-1] * whole + (signs.cells[part - 1] if part else "")
    return text.ljust(width)[:width]


def curve(values: Iterable[float], signs: Signs, width: int, least: float = 0.05) -> str:
    """The last ``width`` values as a little curve, over their own range but never less than ``least``."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = max(high - low, least)
    low = 0.5 * (low + high) - 0.5 * span
    top = len(signs.curve) - 1
    return "".join(signs.curve[min(top, max(0, round((value - low) / span * top)))] for value in shown)


def clock(seconds: float) -> str:
    """``12:34``, or ``1:02:34`` from an hour on."""
    whole = int(max(0.0, seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def room(seconds: float) -> str:
    """How long there is room for: ``14 h``, ``35 min``, ``50 s``."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


# 3 x 5 cells each, a row of cells as an octal digit
_FIGURES = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71222",
    "8": "75757", "9": "75717", "-": "00700", ".": "00001", ":": "01010",
}  # fmt: skip
_LETTERS = {
    "A": "25755", "B": "65656", "C": "74447", "D": "65556", "E": "74647", "F": "74644", "G": "74757", "H": "55755",
    "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555", "O": "75557", "P": "65644",
    "Q": "25563", "R": "65655", "S": "74717", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "_": "00007", " ": "00000",
}  # fmt: skip


def large(text: str) -> list[str]:
    """Three rows of half blocks, 4 columns a letter; nothing for a text with letters that are not known."""
    cells = [{**_FIGURES, **_LETTERS}.get(each, "") for each in text.upper()]
    if not all(cells):
        return []
    rows = ["0" * 4 * len(cells)] + ["".join(f"{int(cell[row]):03b}0" for cell in cells) for row in range(5)]
    halves = {"00": " ", "10": "▀", "01": "▄", "11": "█"}
    return ["".join(halves[a + b] for a, b in zip(rows[i], rows[i + 1], strict=True)) for i in (0, 2, 4)]


def great_figures(text: str) -> list[str]:
    """Five rows of full blocks: figures 6 columns wide, points and colons 2, 2 between them."""
    rows = [""] * 5
    for each in text:
        cells = _FIGURES.get(each, "00000")
        width = 1 if each in ".:" else 3
        for row, cell in enumerate(cells):
            bits = f"{int(cell):03b}"[-width:]
            rows[row] += "".join("██" if bit == "1" else "  " for bit in bits) + "  "
    return rows
