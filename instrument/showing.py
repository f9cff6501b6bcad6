"""A set on its terminal: what the screen is told of it, what its keys do, and the plain line where there is none.

The session makes one; pictures and keys are the screen's thread's, the plain line is the control thread's. What others
have not brought (a beat, a set list, a learn) is left out, and the screen leaves it blank.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from instrument import console
from instrument.news import News
from instrument.parameters import targets
from instrument.screen import picture
from instrument.screen.hands import Hands
from instrument.screen.process import Screen, impossible

if TYPE_CHECKING:
    from instrument.controller import Controller
    from instrument.controls import Telemetry

STATUS_S = 0.2  # between two plain lines

Facts = Callable[[], dict[str, Any]]


class Showing:
    """What the performer sees.

    Args:
        controller: what keys play on, and whose values are shown.
        look: the latest telemetry.
        ring_frames, latency: of the set, frames.
        news: what was said.
        facts: whatever else is to be on the screen, by the names of its pictures; asked 15 times a second.
        moments: how many the slot's checkpoint has.
        leave: ends the set; at once or as if it had come to its end.
    """

    def __init__(
        self,
        controller: Controller,
        look: Callable[[], Telemetry],
        *,
        ring_frames: int,
        latency: int,
        news: News,
        facts: Facts,
        moments: Callable[[int], int],
        leave: Callable[[bool], None],
    ) -> None:
        self._controller, self.look, self._news, self._facts = controller, look, news, facts
        self._ring_frames, self._latency = ring_frames, latency
        self.moments, self.leave = moments, leave
        self._hands = Hands(controller, self, news.complain)
        self._screen: Screen | None = None
        self._line = False
        self._next = 0.0
        self._lasting: dict[str, Any] = {}

    def start(self, mode: str) -> None:
        """Begin, as ``--screen`` says: auto, full, line or none. The sound is on its way already."""
        why = impossible() if mode in ("auto", "full") else mode
        if not why:
            self._news.hold()
            self._screen = Screen(self.draw, self._hands.do, self._gone)
            self._screen.start()
        elif mode == "full":
            self._news.complain(f"--screen full: {why}; plain lines instead")
        self._line = mode != "none"

    def finish(self) -> None:
        """Leave the terminal as it was, and say what was kept for it. Safe to call again."""
        self._line = False
        if self._screen:
            self._screen.finish()
            self._screen = None
        self._news.release()
        console.wipe()

    @property
    def pid(self) -> int | None:
        """Of the screen's own process."""
        return self._screen.pid if self._screen else None

    def _gone(self, why: str) -> None:
        self._screen = None
        self._news.release()
        self._news.complain(why)

    # --- pictures: the screen's thread

    def draw(self) -> dict[str, Any]:
        """The next picture, with the news since the last."""
        t, c = self.look(), self._controller
        whole = picture.whole(t, c.sample_rate, self._ring_frames, self._latency)
        facts = self._facts()
        now = time.monotonic()
        news = [[round(whole["time"] - (now - line.moment), 1), line.loud, line.text] for line in self._news.take()]
        facts["tempo"] = picture.ask(self._beat)
        facts["waits"] = picture.ask(self._controller.waiting)
        facts = {name: value for name, value in facts.items() if value or value == 0}
        voices = self._voices(t, facts.pop("stuck", ()))
        drawn = {**whole, **facts, "voices": voices, "sweep": self._hands.sweep, "news": news}
        return {**drawn, "moving": list(self.moving()), "lasting": self._changed({"targets": list(targets())})}

    def _voices(self, t: Telemetry, stuck: Sequence[str]) -> list[picture.Table]:
        c, found = self._controller, []
        for number, (each, state) in enumerate(itertools.zip_longest(t.voices, stuck[: len(t.voices)]), start=1):
            asked = str(picture.ask(lambda number=number: c.get(f"voice/{number}/checkpoint")))  # type: ignore[misc]
            target = picture.ask(lambda number=number: c.target("temperature", number))  # type: ignore[misc]
            target = each.temperature if target is None else target
            found.append({**picture.voice(each, c.table.by_slot(), asked, target), "stuck": state or ""})
        return found

    def _changed(self, lasting: dict[str, Any]) -> dict[str, Any]:
        """What is not as it was sent last."""
        new = {name: value for name, value in lasting.items() if self._lasting.get(name) != value}
        self._lasting.update(new)
        return new

    # --- what keys need to know

    def sweeps(self) -> Sequence[str]:
        """Names of the patch's sweeps."""
        return list(self._controller.sweeps)

    def moving(self) -> Sequence[str]:
        """Names of the sweeps and LFOs under way."""
        return self._controller.moving()

    def _beat(self) -> dict[str, Any]:
        """The tempo and where the bar is; no place where nobody plays to it."""
        beat, c = self._controller.transport, self._controller
        place = {"beat": round(beat.beat(c.now()), 2), "bar": beat.meter} if beat.running else {"state": "stopped"}
        return {"bpm": round(beat.tempo, 1), **place}

    # --- the plain line: the control thread

    def line(self, now: float) -> None:
        """Draw it when it is due, where there is a terminal and no screen on it."""
        if not self._line or self._screen or now < self._next or not console.is_terminal():
            return
        from instrument import status

        self._next = now + STATUS_S
        latency = 1000 * self._latency / self._controller.sample_rate
        fixed = status.Fixed(self._controller.table.by_slot(), latency, self._ring_frames, self._controller.sample_rate)
        console.draw(status.line(self.look(), fixed, shutil.get_terminal_size().columns))
