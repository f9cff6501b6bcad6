"""The figures of docs/bench.md: measured, drawn, and put into the page.

    python tools/speeds.py                    measures as `samplernn bench` does (four minutes, nothing else running)
    python tools/speeds.py docs/bench.json    draws and writes again what was measured then

Writes docs/bench.json, the line of `samplernn bench --json`; docs/bench.png; and the table between the page's marks.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from instrument import bench, bench_table  # noqa: E402
from instrument.bench_measure import Speed  # noqa: E402

BEGIN, END = "<!-- figures: written by tools/speeds.py -->\n", "<!-- end of figures -->"
IDLE = 0.5  # load up to which a machine has nothing else to do
COLOURS = 32  # of a picture, which is small then
CURVES = {  # who made the samples of which weights, at what precision, on how many threads: how it is drawn
    ("samplernn-pytorch", "dense", "fp32", 1): "k--",
    ("leaner loop", "dense", "fp32", 1): "k:",
    ("network", "dense", "fp32", 1): "C3o-",
    ("network", "dense", "int8", 1): "C0o-",
    ("network", "dense", "int8", 2): "C0x--",
    ("network", "20/30/100", "int8", 1): "C1o-",
    ("network", "10/10/100", "int8", 1): "C2o-",
    ("network", "10/8/50", "int8", 1): "C4o-",
    ("network", "8/5/30", "int8", 1): "C5o-",
}


def page(result: bench.Result) -> str:
    """What stands between the marks: the machine, and the table that the program prints."""
    m = result.machine
    about = f"{m['cpu']}, {m['cores']} cores, kernels {m['kernels']}, {result.asked.seconds:g} s for each figure"
    busy = "" if m["load"] is None else f", a load of {m['load']:.1f} before it began"
    if m["load"] is not None and m["load"] > IDLE:
        busy += ": other programs were running, and an idle machine is faster"
    return "\n".join([f"{about}{busy}:", "", "```text", *list(lines(result))[1:], "```", ""])


def lines(result: bench.Result) -> Iterator[str]:
    """The whole table."""
    for section in result.asked.only:
        yield from bench_table.head(section)
        found = result.hops if section == "steadiness" else [s for s in result.speeds if s.section == section]
        yield from map(bench_table.row, found)
    if result.note:
        yield result.note


def written(text: str, result: bench.Result) -> str:
    """The page's ``text`` with these figures."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{page(result)}{END}{rest.split(END)[1]}"


def draw(result: bench.Result, path: Path) -> None:
    """Microseconds a sample over the size of the network, and over voices; a small PNG."""
    import matplotlib.pyplot as plt
    from PIL import Image

    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 6))
    for made, style in CURVES.items():
        own = [s for s in result.speeds if (s.kind, s.weights, s.precision, s.threads) == made and s.section == "sizes"]
        if own:
            _curve(left, own, lambda s: int(s.name.split("-")[1]), style, _name(*made))
    colours = {f"seeded-{dim}": f"C{i}" for i, dim in enumerate(result.asked.dims)}
    for name, weights in dict.fromkeys((s.name, s.weights) for s in result.speeds if s.section == "voices"):
        made = ("voices", name, weights, 1)
        own = [s for s in result.speeds if (s.section, s.name, s.weights, s.threads) == made]
        style = f"{colours[name]}o{'-' if weights == 'dense' else '--'}"
        _curve(right, own, lambda s: s.voices, style, f"{name.removeprefix('seeded-')} {weights}")
    _finish(left, "dim", result.asked.dims, "one voice")
    _finish(right, "voices", result.asked.voices, "voices of one network (dim, weights), int8")
    left.set_ylabel("microseconds a sample")
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=70)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def _name(kind: str, weights: str, precision: str, threads: int) -> str:
    whole = f"{precision} {weights}" if kind == "network" else kind
    return whole if threads == 1 else f"{whole}, {threads} threads"


def _curve(axis: Any, speeds: list[Speed], place: Callable[[Speed], int], style: str, name: str) -> None:
    axis.plot([place(s) for s in speeds], [s.us for s in speeds], style, label=name)


def _finish(axis: Any, what: str, ticks: tuple[int, ...], title: str) -> None:
    axis.axhline(1e6 / 44100, color="0.6", lw=6, alpha=0.4, label="real time, 44.1 kHz")
    axis.set(xscale="log", yscale="log", xlabel=what, title=title)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.yaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    curves = sorted(axis.get_lines(), key=lambda curve: -float(curve.get_ydata()[-1]))
    axis.legend(handles=curves, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def main() -> None:
    """Measure or read, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure, as of `samplernn bench`")
    parser.add_argument("figures", nargs="?", type=Path, help="a line of `samplernn bench --json`")
    args = parser.parse_args()
    if args.figures:
        result = bench.Result.from_json(json.loads(args.figures.read_text()))
    else:
        result = bench.collect(bench.Asked(seconds=args.seconds), print)
    docs = ROOT / "docs"
    (docs / "bench.json").write_text(json.dumps(result.to_json()) + "\n")
    (docs / "bench.md").write_text(written((docs / "bench.md").read_text(), result))
    draw(result, docs / "bench.png")


if __name__ == "__main__":
    main()
