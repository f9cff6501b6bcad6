"""What the performer sees: the Textual application, in the screen's own process.

It is given pictures (:mod:`instrument.screen.picture`) and tells which keys were pressed. Every field may be missing
from a picture, and is then left blank. What the parts look like is left to :mod:`instrument.screen.parts`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical

from instrument.screen import signs
from instrument.screen.asking import Confirm, Help, Learn
from instrument.screen.keys import BY_KEY, PROGRAMS, Key
from instrument.screen.parts import (
    DEGREES,
    Big,
    Course,
    Figures,
    Footer,
    Head,
    History,
    Levels,
    NewsLines,
    Part,
    Program,
    Voices,
    Wires,
)

Table = Mapping[str, Any]
CLEARING = ("ctrl+q", "ctrl+p")  # the library's own keys, which mean nothing here


class ScreenApp(App[None]):
    """The screen.

    Args:
        tell: takes a gesture; must not block.
        reads: where pictures come in, a line of JSON each; its end ends this. None for tests, which call :meth:`show`.
        plain: characters that every terminal has; what the terminal can, if left out.
    """

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = [
        *((key, "nothing", "") for key in CLEARING),
        Binding("ctrl+c", "interrupt", priority=True),  # whatever is being asked
    ]
    CSS = """
    Screen { background: black; color: #ffffff; }
    Part { text-wrap: nowrap; text-overflow: clip; }
    .great { height: 5; }
    #warmth, #program { width: 1fr; }
    #hours { width: 27; }
    .hour #hours { width: 29; }
    #degrees Digits, #degrees Static { color: #ffd75f; text-style: bold; }
    Big { height: 3; padding: 0 0 0 1; }
    Head { height: 1; background: #303030; margin: 0 0 1 0; }
    Levels { height: 2; margin: 1 0; }
    Program { height: 1fr; }
    Voices { margin: 0 0 1 0; }
    Figures { height: 1; }
    Wires { height: 2; }
    NewsLines { height: 1fr; min-height: 1; }
    Footer { height: 1; dock: bottom; }
    .tall .great { height: 8; }
    .tall Big { height: 6; padding: 1 0 0 1; }
    .tall #hours { width: 38; }
    .tall.hour #hours { width: 51; }
    .tall #warmth { width: 46; padding: 0 2 0 0; }
    .tall Levels { height: 5; }
    .tall Figures { margin: 0 0 1 0; }
    .tall Wires { height: 3; }
    .low Head, .low Levels, .low Voices { margin: 0; }
    .flat Wires, .flat NewsLines { display: none; }
    Asking { align: center middle; background: black 40%; }
    .box { width: auto; height: auto; max-width: 100%; padding: 0 2; border: heavy #ffd75f; background: black; }
    .box Static { width: auto; }
    .box Input { width: 44; }
    """

    def __init__(self, tell: Callable[[Table], None], reads: int | None = None, plain: bool | None = None) -> None:
        super().__init__()
        best = signs.choose(getattr(sys.__stderr__, "encoding", None))
        self.signs = best if plain is None else signs.PLAIN if plain else signs.FINE
        self._tell, self._reads, self._unread = tell, reads, b""
        self.picture: dict[str, Any] = {}
        self.voice = 0  # the keys are aimed at this one; 0 is all
        self.fault = ""

    def compose(self) -> ComposeResult:
        yield Head(self.signs)
        with Horizontal(classes="great"):
            with Vertical(id="warmth"):
                yield Course(self.signs)
                yield Big(self.signs, "degrees", DEGREES)
                yield History(self.signs)
            with Vertical(id="program"):
                yield Program(self.signs)
            with Vertical(id="hours"):
                yield Clock(self.signs)
                yield Big(self.signs, "clock")
        for kind in (Levels, Voices, Figures, Wires, NewsLines, Footer):
            yield kind(self.signs)

    def on_mount(self) -> None:
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # the player cannot be put to sleep, nor what shows it
        if self._reads is not None:
            os.set_blocking(self._reads, False)
            asyncio.get_running_loop().add_reader(self._reads, self._arrived, self._reads)

    # --- pictures

    def _arrived(self, reads: int) -> None:
        """All that waits; only the last is drawn, but no news is missed."""
        try:
            data = os.read(reads, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(reads)
            self.exit()
            return
        *lines, self._unread = (self._unread + data).split(b"\n")
        pictures = [json.loads(line) for line in lines]
        if pictures:
            news = [item for picture in pictures for item in picture.get("news", ())]
            lasting = {name: value for picture in pictures for name, value in picture.get("lasting", {}).items()}
            self.show({**pictures[-1], "news": news, "lasting": lasting})

    def show(self, picture: Table) -> None:
        """Draw a picture; what it says under ``lasting`` stays until it is said otherwise."""
        kept = {**self.picture.get("lasting", {}), **picture.get("lasting", {})}
        voices = [{"number": i, **each} for i, each in enumerate(picture.get("voices", ()), start=1)]
        self.picture = {**kept, **picture, "lasting": kept, "voices": voices}
        self._fit(len(voices))
        self._draw()
        self.picture["news"] = ()

    def _draw(self) -> None:
        base = self.screen_stack[0]
        for part in base.query(Part):
            part.show(self.picture, self.voice)
        shown = self.picture["voices"][max(self.voice, 1) - 1 :][:1] if self.picture.get("voices") else ()
        temperature = shown[0].get("temperature") if shown else None
        great = base.has_class("tall")
        base.set_class(self.picture.get("time", 0.0) >= 3600.0, "hour")
        base.query_one("#degrees", Big).tell("" if temperature is None else f"{temperature:.3f}", great)
        base.query_one("#clock", Big).tell(signs.clock(self.picture["time"]) if "time" in self.picture else "", great)

    def _fit(self, voices: int) -> None:
        """Rows for the voices there are, as far as the terminal has them."""
        lines = self.size.height
        base = self.screen_stack[0]
        base.set_class(lines >= 32 and self.size.width >= 112, "tall")
        base.set_class(lines < 24, "low")
        base.set_class(lines < 16, "flat")
        rows = lines - 20 if lines >= 24 else lines - 17
        base.query_one(Voices).styles.height = 1 + max(1, min(voices, rows))

    def on_resize(self, _event: events.Resize) -> None:
        if self.picture:
            self.call_after_refresh(self.show, {**self.picture, "lasting": {}})

    # --- keys

    def action_nothing(self) -> None:
        """The library would end the screen here."""

    def action_interrupt(self) -> None:
        """Ctrl-C."""
        self._tell({"do": "interrupt"})

    def on_key(self, event: events.Key) -> None:
        key = BY_KEY.get(event.character or "") or BY_KEY.get(event.key)
        if key is None or len(self.screen_stack) > 1:
            return
        event.stop()
        if key.gesture:
            self._gesture(key, event)
        elif key.by:
            self._aim(int(key.by))
        else:
            self.push_screen(Help())

    def _gesture(self, key: Key, event: events.Key) -> None:
        told: dict[str, Any] = {"do": key.gesture, "voice": self.voice}
        if key.by:
            told["by"] = key.by
        if key.gesture == "checkpoint":
            told["number"] = PROGRAMS.index(event.key)
        if key.gesture == "quit":
            self.push_screen(Confirm(lambda: self._tell(told)))
        elif key.gesture == "learn":
            targets = list(self.picture.get("targets", ()))
            self.push_screen(Learn(targets, lambda text: self._tell({**told, "text": text})))
        else:
            self._tell(told)

    def _aim(self, by: int) -> None:
        voices = len(self.picture.get("voices", ()))
        if voices > 1:
            self.voice = (self.voice + by) % (voices + 1)
            self._draw()

    # --- the end

    def _handle_exception(self, error: Exception) -> None:
        """One line for the player instead of a traceback over the performer's terminal."""
        self.fault = self.fault or f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if self.is_headless:
            super()._handle_exception(error)
        else:
            self.exit(return_code=1)


class Clock(Part):
    """Above the time."""

    DEFAULT_CSS = "Clock { height: 1; }"

    def pieces(self, picture: Table, voice: int) -> list[tuple[str, str]]:
        return [(" TIME", "#9e9e9e")]
