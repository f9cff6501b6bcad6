"""What the screen asks: whether the set is to end, what is to be learned; and all keys. In the screen's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from instrument.screen.keys import KEYS


class Asking(ModalScreen[None]):
    """Something over the screen that escape takes away."""

    BINDINGS: ClassVar[list[Any]] = [("escape", "app.pop_screen", "away")]
    title_text = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(self.title_text, markup=False)


class Confirm(Asking):
    """Whether the set is to end: only y or a second q does it."""

    title_text = "End the set?\n\ny or q  yes        any other key  no"

    def __init__(self, yes: Callable[[], None]) -> None:
        super().__init__()
        self._yes = yes

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.app.pop_screen()
        if event.key in ("y", "q"):
            self._yes()


class Help(Asking):
    """All keys."""

    def compose(self) -> ComposeResult:
        fine = getattr(self.app, "signs", None) is None or self.app.signs.fine  # type: ignore[attr-defined]
        rows = (f"{key.label if fine else key.plain:<16}{key.help}" for key in KEYS if key.help)
        with Vertical(classes="box"):
            yield Static("\n".join(rows), markup=False)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.app.pop_screen()


class Learn(Asking):
    """What a control is to be learned for."""

    def __init__(self, targets: list[str], chosen: Callable[[str], None]) -> None:
        super().__init__()
        self._targets, self._chosen = targets, chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static("Learn what? (nothing: not now)\n", markup=False)
            yield Input(placeholder="temperature", suggester=SuggestFromList(self._targets, case_sensitive=False))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.app.pop_screen()
        self._chosen(event.value.strip())
