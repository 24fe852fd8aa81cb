"""What the views of one thing have in common: they end with it, a little later, unless somebody is still looking."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

from textual import events
from textual.app import App
from textual.message import Message
from textual.screen import Screen

from strait_cli.tui import look
from strait_core.errors import StraitError

# How long the last picture stays before the view closes by itself; any key keeps it open.
LINGER_SECS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Left:
    """How a view was left: the object as last known, and why: over, until, quiet, left or error."""

    run: dict[str, Any]
    why: str
    status: str
    error: StraitError | None = None


class Head(Protocol):
    """The part of a view that has a place for a word."""

    def say(self, text: str, color: str = ...) -> None:
        """Put a word there."""


class LiveScreen(Screen[None]):
    """Says when it is to be closed, and leaves that to the app. `linger` None = it never closes by itself."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (116, "-wide")]  # noqa: RUF012 - as the base class declares it

    class Closed(Message):
        """The view is done."""

        def __init__(self, left: Left) -> None:
            super().__init__()
            self.left = left

    def __init__(self, linger: float | None) -> None:
        super().__init__()
        self._linger = linger
        self._closes_at: float | None = None
        self.stop = threading.Event()

    def told_head(self) -> Head:
        """The head of the view."""
        raise NotImplementedError

    def let_linger(self) -> None:
        """The end has come: count down."""
        if self._linger is not None:
            self._closes_at = time.monotonic() + self._linger
            self.count_down()

    def count_down(self) -> bool:
        """Once a second: show what is left; True when the time has come to close."""
        if self._closes_at is None:
            return False
        left = self._closes_at - time.monotonic()
        self.told_head().say(f"closes in {max(left, 0):.0f} s; any key keeps it open", look.YELLOW)
        return left <= 0

    def stay(self) -> None:
        """Do not close by itself: somebody is there."""
        if self._closes_at is not None:
            self._closes_at = None
            self.told_head().say("q leaves")

    def close(self, left: Left) -> None:
        """Stop the threads, and tell the app."""
        self.stop.set()
        self.post_message(self.Closed(left))

    def on_unmount(self) -> None:
        """Whatever closed it, its threads end."""
        self.stop.set()


class LiveApp(App[Left]):
    """One view, and nothing else."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, screen: LiveScreen) -> None:
        super().__init__()
        self._first = screen

    def on_mount(self) -> None:
        """Show it."""
        self.register_theme(look.THEME)
        self.theme = look.THEME.name
        self.push_screen(self._first)

    async def on_event(self, event: events.Event) -> None:
        """A key, a click or the wheel after the end keeps the view open."""
        if isinstance(event, events.Key | events.MouseDown | events.MouseScrollUp | events.MouseScrollDown):
            self._first.stay()
        await super().on_event(event)

    def on_live_screen_closed(self, message: LiveScreen.Closed) -> None:
        """Leave; a view that was opened from another goes back to it."""
        if self.screen is self._first or not isinstance(self.screen, LiveScreen):
            self.exit(message.left)
        else:
            self.pop_screen()
