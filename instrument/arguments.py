"""Arguments as they arrive from wires and maps, made into what a trigger takes.

Pure, any thread. Ints, floats and booleans stand for each other; NaN, infinities and everything else is refused with a
ValueError of one line that starts with the argument's name.
"""

from __future__ import annotations

import math

from instrument.parameters import (
    FASTEST,
    LAUNCHES,
    MAX_RAMP,
    RESEEDS,
    SLOWEST,
    TURNS,
    Argument,
    Trigger,
    number,
    shorten,
    suggest,
)

MOST_MOMENTS = 64  # of a checkpoint
FEWEST_BEATS, MOST_BEATS = 1 / 64, 1024.0  # of a loop

# What TRIGGERS' kinds become; None stands for an optional argument that was left out.
Value = float | int | str | None


def read_arguments(trigger: Trigger, given: tuple[object, ...]) -> list[Value]:
    """``given`` as the trigger's arguments, one for each that it knows. Raises ValueError."""
    needed = sum(not argument.optional for argument in trigger.arguments)
    if not needed <= len(given) <= len(trigger.arguments):
        takes = " ".join(map(str, trigger.arguments)) or "nothing"
        raise ValueError(f"{trigger.name}: {len(given)} argument{'s' * (len(given) != 1)}; it takes {takes}")
    found: list[Value] = [
        _read(argument, value, trigger.name) for argument, value in zip(trigger.arguments, given, strict=False)
    ]
    return found + [None] * (len(trigger.arguments) - len(found))


def read_number(value: object, name: str) -> float:
    """A finite float. Raises ValueError."""
    if isinstance(value, (bool, int, float)):
        try:
            if math.isfinite(found := float(value)):
                return found
        except OverflowError:
            pass
    raise ValueError(f"{name}: {shorten(value)} is not a finite number")


def read_whole(value: object, name: str) -> int:
    """The nearest integer, exact for integers of any size. Raises ValueError."""
    if isinstance(value, int):
        return int(value)
    return math.floor(read_number(value, name) + 0.5)


def read_seconds(value: object, name: str) -> float:
    """Seconds, clipped to 0..3600. Raises ValueError."""
    return min(max(read_number(value, f"{name} seconds"), 0.0), MAX_RAMP)


def _read(argument: Argument, value: object, name: str) -> Value:
    match argument.kind:
        case "gate":
            return read_number(value, name)
        case "mode":
            return _mode(value, name)
        case "entry" | "name or gate":
            return value if isinstance(value, str) else _entry(argument.kind, value, name)
        case "name":
            return _name(value, name)
        case "word":
            return _word(value, argument.words, name)
        case "integer":
            return read_whole(value, name) & 0xFFFF_FFFF_FFFF_FFFF
        case "index":
            return _within(read_whole(value, name), 0, MOST_MOMENTS - 1, name)
        case "seconds":
            return read_seconds(value, name)
        case "port":
            return _within(read_whole(value, f"{name} port"), 1, 65535, f"{name} port")
        case "rate":
            return min(max(read_number(value, f"{name} rate"), 0.1), 120.0)
        case "beats":
            return _beats(value, name)
        case "share":
            return min(max(read_number(value, name), 0.0), 1.0)
        case "bpm":
            return min(max(read_number(value, name), SLOWEST), FASTEST)
        case "turn":
            return _word(value, TURNS, name)
        case "launch":
            return _word(value, LAUNCHES, name)
        case kind:
            raise AssertionError(kind)


def _mode(value: object, name: str) -> Value:
    if isinstance(value, str):
        if value.lower() not in RESEEDS:
            raise ValueError(f"{name}: {shorten(value)} is not one of {', '.join(RESEEDS)}, or a gate")
        return value.lower()
    return read_number(value, name)


def _beats(value: object, name: str) -> float:
    """A number of beats, or a fraction like 3/4 in words; 0 is none."""
    count = _fraction(value) if isinstance(value, str) else None
    found = read_number(value, name) if count is None else count
    if found and not FEWEST_BEATS <= found <= MOST_BEATS:
        raise ValueError(f"{name}: {shorten(value)} is not 1/64 to {number(MOST_BEATS)} beats (0 ends a loop)")
    return found


def _fraction(text: str) -> float | None:
    above, stroke, below = text.partition("/")
    parts = (above, below) if stroke else (above, "1")
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts) or not int(parts[1]):
        return None
    return int(parts[0]) / int(parts[1])


def _word(value: object, words: tuple[str, ...], name: str) -> str:
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError(f"{name}: {shorten(value)} is not one of {', '.join(words)}{_near(value, words)}")
    return value.lower()


def _near(value: object, words: tuple[str, ...]) -> str:
    hint = suggest(value, words)
    return hint if "did you mean" in hint else ""


def _entry(kind: str, value: object, name: str) -> Value:
    return read_whole(value, name) if kind == "entry" else read_number(value, name)


def _name(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: {shorten(value)} is not a name")
    return value


def _within(value: int, low: int, high: int, name: str) -> int:
    if not low <= value <= high:
        raise ValueError(f"{name}: {shorten(value)} is not one of {number(low)} to {number(high)}")
    return value
