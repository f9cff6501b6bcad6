"""Pictures of a run, as SVG: what went in, and how the bits fell. Text in, text out; no library.

``material.svg`` lies in the run from its beginning, ``metrics.svg`` is drawn anew after every epoch.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, EDGE = 960, 240, 44
INK, FAINT, ONE, OTHER = "#d8d8d8", "#555", "#e8a33d", "#5bc0c0"


def material(line: NDArray[np.floating], rate: int, windows: Iterable[tuple[int, int]], title: str) -> str:
    """The sound as it is learned, gaps trimmed, files end to end: its envelope, held-out windows marked."""
    columns = WIDTH - 2 * EDGE
    size = max(1, -(-len(line) // columns))
    padded = np.pad(np.asarray(line, dtype=np.float64), (0, -len(line) % size)).reshape(-1, size)
    middle, half = HEIGHT / 2, HEIGHT / 2 - EDGE
    marks = [
        f'<rect x="{EDGE + a / size:.1f}" y="{EDGE}" width="{max(1.0, (b - a) / size):.1f}" height="{2 * half:.0f}" '
        f'fill="{OTHER}" opacity="0.35"/>'
        for a, b in windows
    ]
    wave = " ".join(
        f"M{EDGE + x} {middle - half * high:.1f}V{middle - half * low + 0.5:.1f}"
        for x, (low, high) in enumerate(zip(padded.min(axis=1), padded.max(axis=1), strict=True))
    )
    words = f"{title}: {len(line) / rate:.1f} s without its gaps; held out: {len(marks)} windows"
    return _page([*marks, f'<path d="{wave}" stroke="{ONE}"/>'], words)


def metrics(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Bits a sample over steps: in training (a line), held out after every epoch (dots)."""
    train = [(row["step"], row["train_bits"]) for row in rows if "train_bits" in row]
    held = [(row["step"], row.get("bits_active", row["bits"])) for row in rows if "bits" in row]
    points = train + held
    if not points:
        return _page([], f"{title}: nothing yet")
    last = max(step for step, _ in points)
    low, high = min(bits for _, bits in points), float(np.percentile([bits for _, bits in points], 98))
    span = max(high - low, 1e-6)

    def place(step: float, bits: float) -> tuple[float, float]:
        share = min(max((bits - low) / span, 0.0), 1.0)
        return EDGE + (WIDTH - 2 * EDGE) * step / max(1, last), HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in train))
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{OTHER}"/>' for x, y in (place(*point) for point in held)]
    axis = [_level(place(0, bits)[1], bits) for bits in (low, low + span / 2, high)]
    best = min(held, key=lambda point: point[1], default=None)
    words = f"{title}: bits a sample to step {last}; line: in training, dots: held out"
    words += f", best {best[1]:.3f} at step {best[0]}" if best else ""
    return _page([*axis, f'<polyline points="{path}" fill="none" stroke="{ONE}"/>', *dots], words)


def _page(parts: Iterable[str], words: str) -> str:
    inner = "\n".join([*parts, _text(EDGE, 24, words)])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    return f'{head}\n<rect width="100%" height="100%" fill="#111"/>\n{inner}\n</svg>\n'


def _text(x: float, y: float, words: str) -> str:
    shown = html.escape("".join(letter if letter.isprintable() else " " for letter in words))
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{INK}" font-family="sans-serif" font-size="13">{shown}</text>'


def _level(y: float, bits: float) -> str:
    rule = f'<line x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>'
    return _text(4, y + 4, f"{bits:.2f}") + rule
