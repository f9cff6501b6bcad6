"""The table of ``samplernn bench``, for people: a head for each section and a line for each figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from instrument.bench_measure import Hops, Speed
from instrument.bench_subjects import NETWORK, PRODUCTS

HEADS = {
    "bank": "The bank that came with it: one voice",
    "sizes": "Random networks of the poster's shape, whole and with blocks taken away: one voice",
    "voices": "Voices of one network at once",
    "recipes": "Networks as the recipes have them, at the rate they have: one voice",
    "steadiness": "Microseconds of a hop, one voice: the median, what 99 % and 99.9 % stay under, the longest",
}
_SPEED: dict[str, tuple[int, Callable[[Speed], str]]] = {
    "network": (-14, lambda s: s.name),
    "weights": (-11, lambda s: s.weights),
    "made by": (-18, lambda s: _made_by(s)),
    "voices": (6, lambda s: str(s.voices)),
    "us a sample": (11, lambda s: _three(s.us)),
    "(quartiles)": (-15, lambda s: f"({_three(1e6 / s.fastest)} .. {_three(1e6 / s.slowest)})"),
    "x real time": (11, lambda s: _three(s.realtime)),
    "/ products": (10, lambda s: _three(s.to_products)),
    "/ one voice": (11, lambda s: _three(s.to_one)),
    "x one thread": (12, lambda s: _three(s.to_one_thread)),
    "x samplernn-pytorch": (19, lambda s: _three(s.to_peer)),
}
_HOPS: dict[str, tuple[int, Callable[[Hops], str]]] = {
    "network": (-14, lambda h: h.name),
    "weights": (-11, lambda h: h.weights),
    "hops": (7, lambda h: str(h.hops)),
    "by the wall clock": (-31, lambda h: _four(h.wall_us)),
    "in processor time": (-31, lambda h: _four(h.thread_us)),
    "99.9 % / median": (15, lambda h: " and ".join(_three(tail[2] / tail[0]) for tail in (h.wall_us, h.thread_us))),
    "page faults": (11, lambda h: "not counted" if h.faults is None else str(h.faults)),
}
_ALIKE = ("network", "weights", "made by", "us a sample", "(quartiles)", "x real time", "/ products")
_SHOWN = {
    "bank": _ALIKE[:-1],
    "sizes": (*_ALIKE, "x one thread", "x samplernn-pytorch"),
    "voices": (*_ALIKE[:3], "voices", *_ALIKE[3:-1], "/ one voice", "x one thread"),
    "recipes": _ALIKE,
    "steadiness": tuple(_HOPS),
}


def head(section: str) -> list[str]:
    """An empty line, what the section is about, and the names of its columns."""
    widths = {title: width for table in (_SPEED, _HOPS) for title, (width, _) in table.items()}
    return ["", HEADS[section], _line((widths[title], title) for title in _SHOWN[section])]


def row(found: Speed | Hops) -> str:
    """One figure, or one network's hops."""
    if isinstance(found, Hops):
        return _line((width, text(found)) for width, text in _HOPS.values())
    return _line((_SPEED[title][0], _SPEED[title][1](found)) for title in _SHOWN[found.section])


def _line(cells: Iterable[tuple[int, str]]) -> str:
    """Texts in columns; a negative width is one that begins on the left."""
    return "  ".join(text.rjust(width) if width > 0 else text.ljust(-width) for width, text in cells).rstrip()


def _made_by(s: Speed) -> str:
    if s.kind == NETWORK:
        return s.precision if s.threads == 1 else f"{s.precision}, {s.threads} threads"
    return f"{s.precision} {s.kind}" if s.kind == PRODUCTS else s.kind


def _four(times: tuple[float, ...]) -> str:
    return " ".join(f"{time:7.0f}" for time in times)


def _three(value: float | None) -> str:
    """Three figures, without an exponent; nothing for None."""
    if value is None:
        return ""
    places = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.0995 else 3
    return f"{value:.{places}f}"
