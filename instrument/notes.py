"""MIDI note numbers as musicians write them, C4 = 60. Pure functions, any thread."""

from __future__ import annotations

import re

PATTERN = r"^[A-Ga-g](#|b)?(-1|[0-9])$"  # C-1 (0) to G9 (127)
_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def number_of(name: str) -> int:
    """``C2`` -> 36, ``F#3`` -> 54, ``Bb-1`` -> 10. Raises ValueError for what is no note from C-1 to G9."""
    if not re.match(PATTERN, name.strip()):
        raise ValueError(f"{name[:20]!r} is no note; write C2, F#3 or Bb-1 (C4 = 60), or a number from 0 to 127")
    letter, accidental, octave = name.strip()[0], name.strip()[1:2], name.strip().lstrip("ABCDEFGabcdefg#")
    number = 12 * (int(octave) + 1) + _STEPS[letter.lower()] + {"#": 1, "b": -1}.get(accidental, 0)
    if not 0 <= number <= 127:
        raise ValueError(f"{name[:20]!r} is note {number}; MIDI has 0 (C-1) to 127 (G9)")
    return number


def name_of(number: int) -> str:
    """60 -> ``C4``."""
    return f"{_NAMES[number % 12]}{number // 12 - 1}"
