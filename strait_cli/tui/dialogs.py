"""What is laid over a view: a question before a deed, and the keys there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from strait_cli.tui import look


class Question(ModalScreen[bool]):
    """Asks before a deed; y and n answer, so do the buttons and escape."""

    DEFAULT_CSS = """
    Question { align: center middle; background: $background 60%; }
    Question > Vertical { width: 64; max-width: 94%; height: auto; padding: 1 2; background: $panel;
        border: round $warning; border-title-color: $warning; }
    Question Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
    Question Button { margin-left: 2; min-width: 12; height: 1; border: none; }
    Question Button:focus { text-style: bold reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n,escape,q", "answer(False)", "No", show=False),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, text: str, yes: str) -> None:
        super().__init__()
        self._text = text
        self._yes = yes

    def compose(self) -> ComposeResult:
        """The question and two buttons; the one that does nothing has the focus."""
        with Vertical() as box:
            box.border_title = "Sure?"
            yield Static(Text(self._text))
            with Horizontal():
                yield Button("No (n)", id="no", compact=True)
                yield Button(f"{self._yes} (y)", id="yes", variant="warning", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button answers."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """A key answers."""
        self.dismiss(answer)


class Keys(ModalScreen[None]):
    """The keys of a view, each with what it does."""

    DEFAULT_CSS = """
    Keys { align: center middle; background: $background 60%; }
    Keys > Vertical { width: 66; max-width: 94%; height: auto; max-height: 90%; padding: 1 2; background: $panel;
        border: round $accent; border-title-color: $accent; border-subtitle-color: $foreground 50%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter,space", "dismiss", show=False)]

    def __init__(self, keys: Sequence[tuple[str, str]], last: str) -> None:
        super().__init__()
        self._keys = keys
        self._last = last

    def compose(self) -> ComposeResult:
        """One line a key."""
        with Vertical() as box:
            box.border_title = "Keys"
            box.border_subtitle = "escape closes"
            width = max(12, *(len(key) + 2 for key, _ in self._keys))
            lines = [Text.assemble((f"{key:<{width}}", f"bold {look.CYAN}"), what) for key, what in self._keys]
            yield Static(Text("\n").join([*lines, Text(), Text(self._last, style=look.DIM)]))

    def on_click(self) -> None:
        """A click closes as well."""
        self.dismiss()
