"""The screen's parts, each drawn from the last picture. The screen's own process.

A part makes pieces of text with styles; it is drawn again only when they are others than before. Nothing is told by
colour alone.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from textual.containers import Container
from textual.content import Content
from textual.widgets import Digits, Static

from instrument.screen.keys import BY_KEY, KEYS, Key
from instrument.screen.signs import Signs, bar, clock, curve, great_figures, large, room, share

Table = Mapping[str, Any]
Piece = tuple[str, str]  # text, style

DEGREES = "#ffd75f"
LABEL, NAME, LOUD, WARM = "#9e9e9e", "bold", "bold white on #d70000", f"bold {DEGREES}"
GREEN, YELLOW, RED = "#5fd75f", "#ffd700", "#ff5f5f"
HELD = 1.5  # seconds a peak is held
FALL = 24.0  # dB a second, after that
PHASES = ("", "primes", "fades", "rests")
SCALE = (-48, -36, -24, -18, -12, -6, -3, 0)
COURSE_S = 0.4  # between two points of the temperature's little curve


class Part(Static):
    """One part. ``pieces`` makes it; ``wide`` is how many columns it has."""

    def __init__(self, signs: Signs) -> None:
        super().__init__("", markup=False)
        self.signs = signs
        self._drawn: list[Piece] | None = None

    @property
    def wide(self) -> int:
        """Columns."""
        return max(1, self.size.width)

    def show(self, picture: Table, voice: int) -> None:
        """Draw ``picture``; the keys are aimed at ``voice``, 0 is all."""
        pieces = list(self.pieces(picture, voice))
        if pieces != self._drawn:
            self._drawn = pieces
            self.update(Content.assemble(*pieces), layout=False)

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        """What it shows."""
        raise NotImplementedError


class Big(Container):
    """A figure to be read from far away: three rows, five where there is room, one where the terminal has no lines."""

    def __init__(self, signs: Signs, id: str, colour: str = "#ffffff") -> None:
        super().__init__(id=id)
        self._signs, self._colour = signs, colour
        self._small: Digits | Static = Digits("") if signs.fine else Static("", markup=False)
        self._great = Static("", markup=False, classes="great-figure")
        self._text = ("", False)

    def compose(self) -> Iterable[Any]:
        yield self._small
        yield self._great

    def tell(self, text: str, great: bool = False) -> None:
        """Show ``text``: figures, colons and points."""
        great = great and self._signs.fine
        if (text, great) != self._text:
            self._text = (text, great)
            self._small.display, self._great.display = not great, great
            if great:
                self._great.update(Content.assemble(*solid("\n".join(great_figures(text)), self._colour)))
            else:
                self._small.update(text)


class Head(Part):
    """Patch, its place in the set, the output, the recording."""

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        left = f" {picture.get('patch', '')}"
        place = f"  {picture['place']}" if "place" in picture else ""
        where = f"  {self.signs.to} {picture['output']}" if "output" in picture else ""
        record = picture.get("recording", {})
        right, style = self._recording(record)
        gap = self.wide - len(left) - len(place) - len(right)
        yield left[: self.wide], NAME
        yield place, WARM
        yield where[: max(0, gap - 1)].ljust(max(0, gap)), LABEL
        yield right, style

    def _recording(self, record: Table) -> Piece:
        if record.get("failed"):
            return " RECORDING STOPPED ", LOUD
        if "seconds" not in record:
            return "not recorded ", LABEL
        left = f", {room(record['left'])} left" if "left" in record else ""
        return f"{self.signs.dot} REC {clock(record['seconds'])}{left} ", f"bold {RED}"


class Course(Part):
    """Above the temperature: what moves it, and where to; below: how it went."""

    DEFAULT_CSS = "Course { height: 1; }"

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        shown = _shown(picture, voice)
        whose = f" {shown['number']}" if shown and len(picture.get("voices", ())) > 1 else ""
        yield f" TEMPERATURE{whose} ", LABEL
        if not shown:
            return
        now, target = shown.get("temperature", 0.0), shown.get("target", 0.0)
        moving = ", ".join(picture.get("moving", ()))
        if abs(target - now) > 0.002:
            yield f"{self.signs.up if target > now else self.signs.down} {self.signs.to} {target:.3f} ", WARM
        yield moving, WARM
        if "steer" in shown:
            yield f" steered x {shown['steer']:.2f}", WARM


class History(Part):
    """The temperature's last seconds as a little curve."""

    DEFAULT_CSS = "History { height: 1; }"

    def __init__(self, signs: Signs) -> None:
        super().__init__(signs)
        self._past: dict[int, deque[float]] = {}
        self._due = 0.0

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + COURSE_S
            for each in picture.get("voices", ()):
                self._past.setdefault(each["number"], deque(maxlen=200)).append(each.get("temperature", 0.0))
        shown = _shown(picture, voice)
        past = self._past.get(shown["number"], ()) if shown else ()
        yield " " + curve(past, self.signs, max(1, self.wide - 4)), YELLOW


class Program(Part):
    """Checkpoint, and the next one while there is one; what the dice are unsure of; the beat."""

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        shown = _shown(picture, voice)
        yield "CHECKPOINT\n", LABEL
        if not shown:
            return
        yield from self._playing(shown.get("now", ""))
        yield "\n", ""
        if "next" in shown:
            doing = PHASES[shown["phase"]] if 0 <= shown.get("phase", 0) < len(PHASES) else ""
            yield f" {self.signs.to} {shown['next']} {doing or 'waits'}"[: self.wide], WARM
        yield "\n", ""
        if picture.get("silent"):
            yield " PANIC: silent; space resumes "[: self.wide], LOUD
        elif "waits" in picture:
            yield f" {picture['waits']}"[: self.wide], WARM
        elif "entropy" in shown:
            yield f" entropy {shown['entropy']:.2f} bit"[: self.wide], ""
        yield "\n", ""
        beat = picture.get("tempo", {})
        if "bpm" in beat:
            yield f" {beat['bpm']:.1f} bpm ", NAME
            yield self._beats(beat), WARM

    def _playing(self, name: str) -> Iterable[Piece]:
        """In large letters where there is room for them."""
        rows = large(name) if self.signs.fine and self.size.height >= 8 else []
        if rows and len(rows[0]) <= self.wide:
            yield "\n".join(rows), NAME
        else:
            yield f" {name} "[: self.wide], "bold black on #ffffff"

    def _beats(self, beat: Table) -> str:
        at, of = beat.get("beat"), int(beat.get("bar", 4))
        if at is None:
            return str(beat.get("state", ""))
        return " ".join(self.signs.dot if i == int(at) % of else self.signs.rest for i in range(of))


class Levels(Part):
    """Left and right (or the whole), from -60 dB to full scale: RMS a bar, the peak held for a while."""

    def __init__(self, signs: Signs) -> None:
        super().__init__(signs)
        self._held = [(-99.0, 0.0), (-99.0, 0.0)]

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        levels = picture.get("levels") or [[-99.0, -99.0], [-99.0, -99.0]]
        rows = max(1, (self.size.height - (self.size.height > 3)) // len(levels[:2]))
        width = max(8, self.wide - 14)
        for side, (rms, peak) in enumerate(levels[:2]):
            held = self._hold(side, peak)
            line = [
                (f" {'LR'[side] if len(levels) > 1 else ' '} ", LABEL),
                *self._bar(rms, held, width),
                (_figure(held), NAME),
                ("\n", ""),
            ]
            yield from line
            for row in range(1, rows):
                yield "   ", ""
                yield from self._bar(rms, held, width, half=row == rows - 1 and self.signs.fine)
                yield "\n", ""
        yield self._scale(width), LABEL

    def _hold(self, side: int, peak: float) -> float:
        now = time.monotonic()
        held, since = self._held[side]
        if now - since > HELD:
            held -= FALL * min(0.2, now - since - HELD)
            since = now - HELD
        if peak >= held:
            held, since = peak, now
        self._held[side] = held, since
        return held

    def _bar(self, rms: float, held: float, width: int, half: bool = False) -> Iterable[Piece]:
        """One row; ``half`` as high, where another side's begins below."""
        text = bar(share(rms), width, self.signs)
        text = "".join("▀" if each == "█" else " " for each in text) if half else text
        at = min(width - 1, int(share(held) * width)) if held > -60.0 else -1
        if at >= 0:
            text = f"{text[:at]}{self.signs.tick}{text[at + 1 :]}"
        yellow, red = round(share(-12.0) * width), round(share(-3.0) * width)
        parts = (text[:yellow], GREEN), (text[yellow:red], YELLOW), (text[red:], RED)
        return (piece for part in parts for piece in solid(*part))

    def _scale(self, width: int) -> str:
        line = [" "] * (width + 8)
        for db in SCALE:
            place = 3 + int(share(db) * width) - len(str(db)) // 2
            line[place : place + len(str(db))] = str(db)
        return "".join(line)


class Voices(Part):
    """A row each, under one for all of them."""

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        voices = picture.get("voices", ())
        most = max(1, self.size.height - 1)
        first = max(0, min((voice or 1) - 1 - most // 2, len(voices) - most))
        head = "all voices" if len(voices) > 1 else "voice"
        marked = voice == 0 and len(voices) > 1
        yield f" {self.signs.here if marked else ' '} {head:<11}", NAME if marked else LABEL
        yield f"{'level':>8}  {'checkpoint':<24}{'temp':<8}{'entropy':<9}", LABEL
        for each in voices[first : first + most]:
            yield "\n", ""
            yield from self._row(each, voice in (each["number"], 0 if len(voices) == 1 else -1))

    def _row(self, v: Table, marked: bool) -> Iterable[Piece]:
        rms, peak = v.get("db", (-99.0, -99.0))
        yield f" {self.signs.here if marked else ' '}{v['number']:>2} ", NAME if marked else ""
        yield from solid(bar(share(rms), 12, self.signs), GREEN if peak < -3.0 else RED)
        yield f"{rms:4.0f} " if rms > -80.0 else "   - ", LABEL
        doing = PHASES[v["phase"]] if 0 < v.get("phase", 0) < len(PHASES) else ""
        name = f"{v.get('now', '')}{f' {self.signs.to} ' + v['next'] if 'next' in v else ''}{f' {doing}' * bool(doing)}"
        yield f" {name[:23]:<24}", NAME if marked else ""
        now, target = v.get("temperature", 0.0), v.get("target", 0.0)
        arrow = " " if abs(target - now) <= 0.002 else self.signs.up if target > now else self.signs.down
        yield f"{now:5.3f} {arrow} ", WARM
        yield f"{v['entropy']:4.1f} bit " if "entropy" in v else " " * 9, ""
        if v.get("mute"):
            yield " MUTE ", "bold reverse"
        if v.get("stuck"):
            yield f" STUCK: {v['stuck']} ", LOUD
        if "looping" in v:
            yield f" loop {bar(v['looping'], 6, self.signs)}", WARM
        if v.get("gain"):
            yield f" {v['gain']:+.1f} dB", LABEL
        if v.get("pan"):
            yield f" {'L' if v['pan'] < 0 else 'R'}{abs(v['pan']):.1f}", LABEL


class Figures(Part):
    """How the machine bears it."""

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        if "load" not in picture:
            return
        load, lost = picture["load"], picture.get("underruns", 0)
        yield " LOAD ", LABEL
        yield f"{load:4.0%} ", LOUD if load > 0.95 else WARM if load > 0.8 else NAME
        yield "  LATENCY ", LABEL
        yield f"{picture.get('latency', 0.0):.0f} ms", NAME
        yield "  RING ", LABEL
        yield f"{picture.get('ring', 0.0):4.0%}", NAME
        yield "   ", ""
        yield "UNDERRUNS ", LABEL
        yield f" {lost} ", LOUD if lost else NAME
        if picture.get("xruns"):
            yield f"  {picture['xruns']} xruns", LOUD
        if "flux" in picture:
            yield "   FLUX ", LABEL
            yield bar(picture["flux"], 8, self.signs), GREEN
        if "escape" in picture:
            yield f"   ESCAPE {picture['escape']}", LABEL


class Wires(Part):
    """What arrived last on each wire; an armed learn."""

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        learn = picture.get("learn")
        if learn:
            yield f" LEARN {learn}: move a control (L and return: not now)"[: self.wide], "bold reverse"
        else:
            yield from self._wire("MIDI", picture.get("midi"))
        yield "\n", ""
        yield from self._wire("OSC ", picture.get("osc"), picture.get("listens", ""))

    def _wire(self, name: str, last: Table | None, otherwise: str = "") -> Iterable[Piece]:
        yield f" {name} ", LABEL
        if not last:
            yield otherwise or self.signs.rest, LABEL
            return
        ago = last.get("ago", 0.0)
        yield f"{last['text']}"[: max(8, self.wide - 18)], NAME if ago < 1.0 else ""
        yield f"  {ago:.0f} s ago" if ago >= 1.0 else "", LABEL


class NewsLines(Part):
    """The last lines said."""

    def __init__(self, signs: Signs) -> None:
        super().__init__(signs)
        self._lines: deque[tuple[str, bool, str]] = deque(maxlen=200)

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        for at, loud, text in picture.get("news", ()):
            self._lines.append((clock(at) if at > 0 else "", bool(loud), text))
        most = max(1, self.size.height)
        for at, loud, text in list(self._lines)[-most:]:
            yield f" {at:>7} ", LABEL
            yield f"{'! ' if loud else '  '}{text}"[: max(1, self.wide - 10)], f"bold {YELLOW}" if loud else ""
            yield "\n", ""


class Footer(Part):
    """The most used keys."""

    def pieces(self, picture: Table, voice: int) -> Iterable[Piece]:
        always = [self._key(BY_KEY["?"], "help"), self._key(BY_KEY["q"], "quit")]
        left = self.wide - sum(len(label) + len(what) for label, what in always)
        for key in (key for key in KEYS if key.short and key not in (BY_KEY["?"], BY_KEY["q"])):
            sweep = key.short == "sweep" and picture.get("sweep")
            label, what = self._key(key, f"{key.short} {sweep}" if sweep else key.short)
            if len(label) + len(what) > left:
                break
            left -= len(label) + len(what)
            yield label, "bold reverse"
            yield what, LABEL
        yield " " * left, ""
        for label, what in always:
            yield label, "bold reverse"
            yield what, LABEL

    def _key(self, key: Key, what: str) -> Piece:
        label = key.label.replace(" ", "") if self.signs.fine else key.plain
        return f" {label} ", f" {what}  "


def solid(text: str, colour: str) -> Iterable[Piece]:
    """``text`` with its full blocks filled to the edges, whatever the terminal's font leaves between them."""
    for full, run in itertools.groupby(text, "█".__eq__):
        yield "".join(run), f"{colour} on {colour}" if full else colour


def _shown(picture: Table, voice: int) -> Table | None:
    """The voice that the great figures are about."""
    voices = picture.get("voices", ())
    return voices[min(max(voice, 1), len(voices)) - 1] if voices else None


def _figure(db: float) -> str:
    return f" {db:5.1f} dB" if db > -60.0 else "     - dB"
