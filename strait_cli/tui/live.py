"""What the views of one run have in common: a thread that follows it, keys, and how they end.

They end with what they show, a little later, unless somebody is still looking. What a view shows is its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from rich.text import Text
from textual import events, work
from textual.app import App
from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from strait_cli.session import Session
from strait_cli.stream import Quiet, patiently
from strait_cli.tui import look
from strait_cli.tui.dialogs import Keys
from strait_cli.tui.mailbox import Mailbox
from strait_core.errors import StraitError

Row = dict[str, Any]

# How long the last picture stays before the view closes by itself; any key keeps it open.
LINGER_SECS: Final = 4.0
# The last of every view's keys.
LAST_BINDINGS: Final = (
    Binding("y", "copy", "Copy id"),
    Binding("question_mark", "keys", "Help", key_display="?"),
    Binding("q", "leave", "Quit"),
    Binding("ctrl+c", "leave", show=False, priority=True),
)


@dataclass(frozen=True, slots=True)
class Left:
    """How a view was left: the object as last known, and why: over, until, quiet, left or error."""

    run: Row
    why: str
    status: str
    error: StraitError | None = None


class Subject(Protocol):
    """What a view is of, as far as it is known."""

    run: Row

    @property
    def status(self) -> str:
        """The state that is on the screen."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""


class Head(Widget):
    """The lines on top of a view, with a place for a word: trouble with the connection, or when the view closes."""

    DEFAULT_CSS = "Head { padding: 0 1; background: $panel; }"

    def __init__(self, clock: look.Clock) -> None:
        super().__init__()
        self.clock = clock
        self.word = Text()

    def say(self, text: str, color: str = look.DIM) -> None:
        """Put a word there."""
        self.word = Text(text, style=color)
        self.refresh()


class LiveScreen(Screen[None]):
    """Follows its subject and says when it is to be closed, which it leaves to the app.

    `deadline` is on `time.monotonic()`, None = no limit. `linger` None = it never closes by itself.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (116, "-wide")]  # noqa: RUF012 - as the base class declares it
    KEYS: ClassVar[Sequence[tuple[str, str]]] = ()
    KEYS_NOTE: ClassVar[str] = ""

    class Closed(Message):
        """The view is done."""

        def __init__(self, left: Left) -> None:
            super().__init__()
            self.left = left

    def __init__(
        self, session: Session, subject: Subject, head: Head, *, deadline: float | None, linger: float | None
    ) -> None:
        super().__init__()
        self.session = session
        self.deadline = deadline
        self.head = head
        self.mailbox = Mailbox(self)
        self.stop = threading.Event()
        self._subject = subject
        self._linger = linger
        self._closes_at: float | None = None

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    @work(thread=True, group="follow", exclusive=True)
    def follow(
        self, changes: Iterator[Row], path: str, take: Callable[[Row], None], at_end: Callable[[Row], None]
    ) -> None:
        """Hand every change over, then the object at `path` as it ended, unless somebody leaves before."""
        try:
            for change in changes:
                self.mailbox.put(partial(take, change))
            if self.stop.is_set():
                return
            run: Row = patiently(
                lambda: self.session.api.get(path), deadline=self.deadline, on_loss=self.lost, stop=self.stop
            )
            self.mailbox.put(partial(at_end, run))
        except Quiet:
            self.mailbox.put(lambda: self.close("quiet"))
        except StraitError as error:
            self.mailbox.put(partial(self.close, "error", error))

    def lost(self, error: StraitError) -> None:
        """From any thread: the connection is lost, and tried again."""
        self.mailbox.put(lambda: self.head.say(f"◌ {error.message[:60].rstrip()}; trying again", look.YELLOW))

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def let_linger(self) -> None:
        """The end has come: count down."""
        if self._linger is not None:
            self._closes_at = time.monotonic() + self._linger
            self.count_down()

    def count_down(self) -> None:
        """Once a second: show what is left, and close when that is nothing."""
        if self._closes_at is None:
            return
        left = self._closes_at - time.monotonic()
        self.head.say(f"closes in {max(left, 0):.0f} s; any key keeps it open", look.YELLOW)
        if left <= 0:
            self.close("over")

    def stay(self) -> None:
        """Do not close by itself: somebody is there."""
        if self._closes_at is not None:
            self._closes_at = None
            self.head.say("q leaves")

    def close(self, why: str = "", error: StraitError | None = None) -> None:
        """Stop the threads, and tell the app why, as `left` says it."""
        self.stop.set()
        self.post_message(self.Closed(self.left(why, error)))

    def left(self, why: str = "", error: StraitError | None = None) -> Left:
        """How the view is left now; `why` is by default what leaving by a key means."""
        why = why or ("over" if self._subject.is_over else "left")
        return Left(self._subject.run, why, self._subject.status, error)

    def on_unmount(self) -> None:
        """Whatever closed it, its threads end."""
        self.stop.set()

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def action_copy(self) -> None:
        """Copy the id."""
        run_id = self._subject.run["id"]
        self.app.copy_to_clipboard(run_id)
        self.notify(f"copied {run_id}", timeout=2)

    def action_keys(self) -> None:
        """Show the keys."""
        self.app.push_screen(Keys(self.KEYS, self.KEYS_NOTE))

    def action_leave(self) -> None:
        """Leave the run alone."""
        self.close()


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

    async def action_quit(self) -> None:
        """Textual's own ctrl+q: leave everything."""
        self.exit(self._first.left())

    def on_live_screen_closed(self, message: LiveScreen.Closed) -> None:
        """Leave; a view that was opened from another goes back to it."""
        if self.screen is self._first or not isinstance(self.screen, LiveScreen):
            self.exit(message.left)
        else:
            self.pop_screen()
