"""`strait dashboard`: everything there is, live, in tabs; what is seen can be acted upon."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.tui import look
from strait_cli.tui.detail import Detail
from strait_cli.tui.dialogs import Keys, Question
from strait_cli.tui.feed import Feed
from strait_cli.tui.listing import Listing
from strait_cli.tui.live import LiveScreen
from strait_cli.tui.mailbox import Fetcher, Mailbox
from strait_cli.tui.nouns import NOUNS, Deed, Row
from strait_cli.tui.overview import SAMPLE, Overview
from strait_cli.tui.pane import Pane
from strait_cli.tui.watching import RunScreen
from strait_core.errors import StraitError

# How often the tab in sight is asked for while there is no feed; how often what changes seldom; how often, while there
# is a feed, what that tells of all the same.
LOOK_SECS: Final = 1.0
SLOW_LOOKS: Final = 4
FED_LOOKS: Final = 10
# How often what the feed has only hinted at is read.
CATCH_UP_SECS: Final = 0.4
ASKED: Final = frozenset({"open", "deed"})
TABS: Final = ("overview", *(noun.name for noun in NOUNS))
# What is asked for again and again: a single run may be gone, which is no trouble.
BY_ITSELF: Final = frozenset({"stats", "newest", "workers", "active", *TABS})
KEYS: Final = (
    ("1 … 7", "the tabs; ctrl+p lists every command"),
    ("↑ ↓ PgUp PgDn", "move; home and end jump; the wheel scrolls"),
    ("enter", "open: a run live, a workflow's graph, all fields"),
    ("/", "filter by words; escape clears"),
    ("s", "sort by the next column; a click on a heading too"),
    ("space  a", "select a row; all rows that are shown"),
    ("c  r", "cancel, replay the chosen runs"),
    ("t  p  u", "trigger; pause, resume the chosen jobs …"),
    ("y", "copy the id"),
    ("q", "leave"),
)


class Link(Enum):
    """How what is on the screen comes: its mark, its colour, its name."""

    LIVE = ("●", look.GREEN, "live")
    POLLING = ("◔", look.YELLOW, "polling")
    LOST = ("◌", look.YELLOW, "reconnecting")


class Dashboard(App[None]):
    """The tabs, the line above them, the keys below."""

    CSS_PATH = "dashboard.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (116, "-wide")]  # noqa: RUF012 - as the base class declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(at + 1), f"tab('{name}')", show=False) for at, name in enumerate(TABS)),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("c", "deed('c')", "Cancel"),
        Binding("r", "deed('r')", "Replay"),
        Binding("t", "deed('t')", "Trigger"),
        Binding("p", "deed('p')", "Pause"),
        Binding("u", "deed('u')", "Resume"),
        Binding("y", "copy", "Copy id", show=False),
        Binding("escape", "clear", show=False),
        Binding("question_mark", "keys", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, session: Session, *, clock: look.Clock = look.now, address: str = "") -> None:
        super().__init__()
        self._session = session
        self._client = session.api
        self.mailbox = Mailbox(self)
        self._fetcher = Fetcher(self.mailbox, lambda act: self.run_worker(act, thread=True), self._say_trouble)
        self._feed = Feed(self._client, self.mailbox, self._hear, self._say_stream)
        self.link = Link.POLLING
        self._has_moved = False
        # What went wrong with what the view asks for by itself, as long as it does.
        self._troubles: dict[str, str] = {}
        self._looks = 0
        self._clock = clock
        self._address = address or session.api.connection.server
        self.overview = Overview(clock)
        self.panes = {noun.name: Pane(noun, self._client, self._fetcher, clock) for noun in NOUNS}
        self._line = Static(id="line")

    # ── screen ────────────────────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """A line, the tabs, the keys."""
        yield self._line
        with TabbedContent(initial="overview"):
            with TabPane("Overview", id="overview"):
                yield self.overview
            for noun in NOUNS:
                with TabPane(noun.title, id=noun.name):
                    yield self.panes[noun.name]
        # The palette's key stands among the keys: at 80 columns there is no room for it here.
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to look."""
        self.register_theme(look.THEME)
        self.theme = look.THEME.name
        self.title = "strait dashboard"
        self.set_interval(LOOK_SECS, self._look)
        self.set_interval(CATCH_UP_SECS, self._catch_up)
        self._look()
        self._feed.begin()

    def on_unmount(self) -> None:
        """Nobody listens any more."""
        self._feed.stop.set()

    def on_mailbox_arrived(self) -> None:
        """Do what the threads have asked for."""
        self.mailbox.work_off()

    @property
    def tab(self) -> str:
        """The tab in sight."""
        return self.query_one(TabbedContent).active or TABS[0]

    @property
    def pane(self) -> Pane | None:
        """The table in sight, None in the overview."""
        return self.panes.get(self.tab)

    def is_busy(self, purpose: str) -> bool:
        """Whether that is under way."""
        return self._fetcher.is_busy(purpose)

    def _draw_line(self) -> None:
        where = Text.assemble(
            ("▲ strait ", f"bold {look.CYAN}"),
            (f" {self._address} ", look.GREY),
            ("· ", look.FAINT),
            (self._client.connection.project or "all projects", look.GREY),
        )
        trouble = next(iter(self._troubles.values()), None)
        if trouble is None:
            mark, color, name = self.link.value
            time = f"{self._clock().astimezone():%H:%M:%S}"
            state = Text.assemble((f"{mark} {name} ", color), (time, look.GREY))
        else:
            state = Text(f"◌ {trouble}", style=look.YELLOW)
        self._line.update(look.ends(where, state, max(20, self.size.width - 2)))

    def _say_trouble(self, purpose: str, error: StraitError | None) -> None:
        """What somebody asked for is answered; what the view asks for by itself is tried again."""
        if error is not None and purpose in ASKED:
            self._complain(error)
            return
        if error is None:
            self._troubles.pop(purpose, None)
        elif purpose in BY_ITSELF:
            self._troubles[purpose] = error.message[:60]
        if error is None and self.link is Link.LOST:
            # What is asked for comes: the stream is tried again meanwhile.
            self.link = Link.POLLING
        self._draw_line()

    # ── the feed ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _say_stream(self, has_stream: bool) -> None:
        """With a stream, and without one, begin with a look: nobody has told what happened in between."""
        self.link = Link.LIVE if has_stream else Link.LOST
        # A look that is under way may have begun too early.
        self.overview.is_behind = True
        for pane in self.panes.values():
            pane.is_behind = True
        self._look_anew()

    def _hear(self, moves: list[Row]) -> None:
        """Show what moves tell of at once, in the tabs that are not in sight too."""
        self._has_moved = True
        self.overview.hear(moves)
        if self.pane is None:
            self.overview.draw_newest()
        for pane in self.panes.values():
            pane.hear(moves)

    def _catch_up(self) -> None:
        """Read what the feed has only hinted at, as far as it is in sight."""
        if len(self.screen_stack) > 1:
            return
        if self.pane is not None:
            self.pane.catch_up()
        elif self.overview.is_behind and not self.is_busy("newest"):
            self._ask_newest()

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """Ask for what is in sight, and seldom for what is told; nothing else costs the server anything."""
        self._draw_line()
        is_slow = self._looks % SLOW_LOOKS == 0
        is_due = self.link is not Link.LIVE or self._looks % FED_LOOKS == 0
        self._looks += 1
        if len(self.screen_stack) > 1:
            return
        pane = self.pane
        if pane is None:
            self._look_at_overview(is_slow=is_slow, is_due=is_due)
        elif (is_due if pane.noun.grows else is_slow) or not pane.listing.rows:
            pane.refresh_rows()

    def _look_anew(self) -> None:
        self._looks = 0
        # What is not in sight any more is not asked for again.
        self._troubles.clear()
        self._look()

    def _look_at_overview(self, *, is_slow: bool, is_due: bool) -> None:
        call, overview = self._client.call, self.overview
        if is_due or is_slow or self._has_moved:
            self._has_moved = False
            self._fetcher.fetch("stats", lambda: call("GET", "/v1/stats", once=True), overview.take_stats)
        else:
            overview.count()
            overview.draw()
        if is_due:
            self._ask_newest()
        if is_slow:
            self._fetcher.fetch("workers", lambda: call("GET", "/v1/workers", once=True), self._take_workers)

    def _ask_newest(self) -> None:
        call, query = self._client.call, {"limit": SAMPLE}
        self.overview.is_behind = False
        self._fetcher.fetch(
            "newest", lambda: call("GET", "/v1/runs", query=query, once=True), self.overview.take_newest
        )

    def _take_workers(self, page: Any) -> None:
        workers = page["data"] if isinstance(page, dict) else page
        self.overview.processes = [one for one in workers if one["alive"]] or workers

    def on_tabbed_content_tab_activated(self) -> None:
        """Look at once, and let the keys go to the table."""
        if self.pane is not None:
            self.pane.listing.focus()
        self.refresh_bindings()
        self._look_anew()

    # ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────

    def on_listing_opened(self, message: Listing.Opened) -> None:
        """A run opens live, a workflow as its graph, anything else with all its fields."""
        row, pane = message.row, self.pane
        if pane is None:
            return
        get, name = self._client.get, pane.noun.name
        if name in {"runs", "dlq"}:
            self._fetcher.fetch("open", partial(get, path_of("runs", row["id"])), self._open_run)
        elif name == "workflows":
            query: dict[str, str | int | list[str] | None] = {"format": "ascii", "width": max(40, self.size.width - 10)}
            path = path_of("workflows", row["id"], "graph")
            title = f"{row['slug']} · version {row['version']}"
            self._fetcher.fetch("open", partial(get, path, query), lambda drawn: self._open(title, lines=str(drawn)))
        elif name == "schedules":
            path = path_of("schedules", row["id"], "next")
            self._fetcher.fetch("open", partial(get, path), lambda fires: self._open_schedule(row, fires))
        else:
            path = path_of(name, row["id"])
            self._fetcher.fetch(
                "open", partial(get, path), lambda one: self._open(str(row[pane.noun.label]), value=one)
            )

    def _open_run(self, run: Row) -> None:
        self.push_screen(RunScreen(self._session, run, linger=None))

    def _open_schedule(self, row: Row, fires: Any) -> None:
        # Each in one line: what lies deeper in a tree is folded.
        lines = [f"{one['fire_at']}  ·  {one['local']}{one['zone_offset']}" for one in fires["data"]]
        self._open(f"{row['slug']} · next fires", value={"next": lines, "schedule": row})

    def _open(self, title: str, *, value: Any = None, lines: str | None = None) -> None:
        self.push_screen(Detail(title, value=value, lines=lines))

    def on_live_screen_closed(self, message: LiveScreen.Closed) -> None:
        """Back from a run."""
        self.pop_screen()
        if message.left.error is not None:
            self._complain(message.left.error)
        self._look()

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing in this tab are not offered."""
        if not self.is_running or not self.query(TabbedContent):
            return True
        pane = self.pane
        if action == "deed":
            return pane is not None and any(deed.key == parameters[0] for deed in pane.noun.deeds)
        if action in {"filter", "copy"}:
            return pane is not None
        return True

    def action_tab(self, name: str) -> None:
        """Go to a tab."""
        self.query_one(TabbedContent).active = name

    def action_filter(self) -> None:
        """Type words."""
        if self.pane is not None:
            self.pane.begin_filter()

    def action_clear(self) -> None:
        """Forget filter and selection."""
        if self.pane is not None:
            self.pane.clear()

    def action_copy(self) -> None:
        """Copy the id under the cursor."""
        row = self.pane.listing.current if self.pane else None
        if row is not None:
            self.copy_to_clipboard(row["id"])
            self.notify(f"copied {row['id']}", timeout=2, markup=False)

    def action_keys(self) -> None:
        """Show the keys."""
        self.push_screen(Keys(KEYS, "Nothing here stops or starts anything without asking."))

    def action_deed(self, key: str) -> None:
        """Do something to the chosen rows, after asking."""
        pane = self.pane
        deed = next((one for one in pane.noun.deeds if one.key == key), None) if pane else None
        if pane is None or deed is None:
            return
        rows = [row for row in pane.listing.chosen if deed.fits(row)]
        if not rows:
            self.notify(f"nothing chosen that could be done: {deed.name.lower()}", severity="warning", timeout=3)
            return
        names = "\n".join(f"  {row[pane.noun.label]}" for row in rows[:5])
        more = f"\n  and {len(rows) - 5} more" if len(rows) > 5 else ""
        what = f"{len(rows)} of them" if len(rows) > 1 else "this"
        question = Question(f"{deed.name} {what}?\n\n{names}{more}", deed.name)
        self.push_screen(question, lambda yes: self._do(pane, deed, rows) if yes else None)

    def _do(self, pane: Pane, deed: Deed, rows: list[Row]) -> None:
        requests = deed.requests(rows)

        def carry_out() -> tuple[int, str | None]:
            done, trouble = 0, None
            for path, body in requests:
                try:
                    answer = self._client.post(path, body)
                except StraitError as error:
                    trouble = error.message
                    continue
                done += answer["done"] if isinstance(answer, dict) and "done" in answer else 1
            return done, trouble

        self._fetcher.fetch("deed", carry_out, lambda told: self._tell(pane, deed, rows, *told))

    def _tell(self, pane: Pane, deed: Deed, rows: list[Row], done: int, trouble: str | None) -> None:
        text = f"{deed.name}: {done} of {len(rows)}" + (f"; {trouble}" if trouble else "")
        self.notify(text, severity="information" if done == len(rows) else "warning", markup=False)
        pane.listing.selected.clear()
        pane.refresh_rows()

    def _complain(self, error: StraitError) -> None:
        self.notify(error.message, severity="error", markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        yield SystemCommand("Overview", "Depth, throughput, workers, newest runs", partial(self.action_tab, "overview"))
        for noun in NOUNS:
            yield SystemCommand(noun.title, f"Go to the tab {noun.title}", partial(self.action_tab, noun.name))
        pane = self.pane
        for deed in pane.noun.deeds if pane else ():
            yield SystemCommand(deed.name, f"{deed.name} what is chosen", partial(self.action_deed, deed.key))
        yield SystemCommand("Filter", "Show only rows with certain words", self.action_filter)
        yield SystemCommand("Keys", "Show the keys", self.action_keys)
        yield SystemCommand("Quit", "Leave the dashboard", self.action_quit)
        del screen
