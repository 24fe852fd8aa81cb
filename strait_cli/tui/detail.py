"""What opens over the dashboard when somebody looks at one thing: a text or a value, to scroll through."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from strait_cli.tui import look
from strait_cli.tui.values import ValueTree


class Detail(ModalScreen[None]):
    """A value as a tree, or lines as they are."""

    DEFAULT_CSS = """
    Detail { align: center middle; background: $background 60%; }
    Detail > Vertical { width: 96%; height: 92%; background: $background; border: round $accent;
        border-title-color: $accent; border-subtitle-color: $foreground 50%; padding: 0 1; }
    Detail VerticalScroll { scrollbar-size: 1 1; }
    Detail VerticalScroll Static { width: auto; }
    Detail ValueTree { border: none; height: 1fr; }
    Detail ValueTree:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss", "Back")]

    def __init__(self, title: str, *, value: Any = None, lines: str | None = None) -> None:
        super().__init__()
        self._heading = title
        self._value = value
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The lines, or the tree."""
        with Vertical() as box:
            box.border_title = Text(self._heading).markup
            box.border_subtitle = "escape closes"
            if self._lines is not None:
                with VerticalScroll():
                    yield Static(Text(self._lines, style=look.FOREGROUND, no_wrap=True))
            else:
                yield ValueTree("", "detail")

    def on_mount(self) -> None:
        """Fill the tree."""
        for tree in self.query(ValueTree):
            tree.show(self._value)
            tree.focus()
