"""The view of `strait workflow-runs watch`: the graph of the steps in the colours of their states, and their list."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Footer, Static

from strait_cli import flow_watch, times
from strait_cli.columns import STEP_RUN
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.stream import Quiet, patiently
from strait_cli.tui import look
from strait_cli.tui.dialogs import Keys, Question
from strait_cli.tui.graph import Picture
from strait_cli.tui.listing import Listing
from strait_cli.tui.live import LINGER_SECS, Left, LiveScreen
from strait_cli.tui.mailbox import Fetcher, Mailbox
from strait_cli.tui.panels import Drawn
from strait_cli.tui.watching import RunScreen
from strait_core.errors import StraitError

KEYS: Final = (
    ("c", "cancel the run (asks first)"),
    ("p", "pause; again: resume"),
    ("r", "retry: completed steps are kept"),
    ("tab", "between the graph and the steps"),
    ("enter", "watch the run of the step under the cursor"),
    ("y", "copy the run's id"),
    ("q", "leave; the run goes on"),
)
_SHOWN: Final = ("step_ref", "status", "attempt", "took", "error")
COLUMNS: Final = tuple(column for column in STEP_RUN if column.field in _SHOWN)
_STEPS: Final = 1_000
Row = dict[str, Any]


class FlowHead(Widget):
    """Workflow, state, how many steps are done, age."""

    DEFAULT_CSS = "FlowHead { height: 2; padding: 0 1; background: $panel; }"

    def __init__(self, run: Row, clock: look.Clock) -> None:
        super().__init__()
        self.run = run
        self.states: dict[str, str] = {}
        self.word = Text()
        self._clock = clock

    def say(self, text: str, color: str = look.DIM) -> None:
        """Put a word at the right of the second line."""
        self.word = Text(text, style=color)
        self.refresh()

    def render(self) -> Text:
        """Two lines."""
        run, width = self.run, self.size.width
        first = Text.assemble(
            look.state_text(run["status"], bold=True), "  ", look.plain(run["workflow_slug"], f"bold {look.FOREGROUND}")
        )
        done = sum(1 for state in self.states.values() if state in {"completed", "skipped"})
        age = look.between(run["created_at"], run["finished_at"] or self._clock())
        total = len(self.states)
        room = max(8, min(30, width // 4))
        facts = Text.assemble(look.bar(done / total if total else 0, room, look.GREEN), f" {done}/{total}")
        facts.append(f" · {'' if age is None else times.length(age)}", style=look.FOREGROUND)
        second = Text.assemble((run["id"], look.GREY), (f" · v{run['version']} · ", look.FAINT))
        second.append_text(look.plain(run["error"] or run["project_id"], look.RED if run["error"] else look.DIM))
        return Text("\n").join([look.ends(first, facts, width), look.ends(second, self.word, width)])


class FlowScreen(LiveScreen):
    """One workflow run, live."""

    CSS_PATH = "flowing.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "Cancel"),
        Binding("p", "pause", "Pause/resume"),
        Binding("r", "retry", "Retry"),
        Binding("y", "copy", "Copy id"),
        Binding("question_mark", "keys", "Help", key_display="?"),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c,ctrl+q", "leave", show=False, priority=True),
    ]

    def __init__(
        self,
        session: Session,
        run: Row,
        *,
        deadline: float | None = None,
        linger: float | None = LINGER_SECS,
        clock: look.Clock = look.now,
    ) -> None:
        super().__init__(linger)
        self._session = session
        self._deadline = deadline
        self._seen = flow_watch.Seen(run["id"])
        self._why: dict[str, str] = {}
        self._picture: Picture | None = None
        self._is_stale = False
        self._front: int | None = None
        self.mailbox = Mailbox(self)
        self._fetcher = Fetcher(self.mailbox, lambda act: self.run_worker(act, thread=True), self._say_trouble)
        self.head = FlowHead(run, clock)
        self.graph = Drawn("Steps", "graph")
        self.listing = Listing(COLUMNS, key="step_ref", name="steps", clock=clock, selectable=False)
        self.word = Static(id="why")

    # ── screen ────────────────────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """Head, graph, list, why, keys."""
        yield self.head
        yield Container(self.graph, self.listing, id="flow")
        yield self.word
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to fetch."""
        self.set_interval(1.0, self._tick)
        self._fetcher.fetch("graph", self._get("graph"), self._take_graph)
        self._refresh_steps()
        self.listing.focus()
        self.follow_run()

    def told_head(self) -> FlowHead:
        """The head."""
        return self.head

    def _get(self, end: str) -> Any:
        path = path_of("workflow-runs", self._seen.run_id, end)
        query: dict[str, Any] = {"limit": 200} if end == "steps" else {}
        return partial(self._session.api.get, path, query)

    def _tick(self) -> None:
        self.head.refresh()
        if self._is_stale:
            self._refresh_steps()
        if self.count_down():
            self._close("over")

    def on_resize(self) -> None:
        """The graph has another room."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self.head.refresh()
        if self._picture is not None:
            states, room = self.head.states, max(30, self.graph.content_size.width - 1)
            self.graph.draw(self._picture.lines(room, states), follow=False)
            front = self._picture.front(states)
            if front is not None and front != self._front:
                # What is under way comes into sight; whoever scrolls elsewhere is left there until it moves on.
                self._front = front
                self.graph.scroll_to(y=max(0, front - 1), animate=False)
        self.on_listing_moved()

    def on_listing_moved(self) -> None:
        """Why the step under the cursor is where it is."""
        row = self.listing.current
        text = self._why.get(row["step_ref"], "") if row else ""
        said = Text.assemble((f" {row['step_ref']}  ", look.CYAN), look.plain(text, look.GREY)) if row and text else ""
        self.word.update(said)

    # ── what comes ────────────────────────────────────────────────────────────────────────────────────────────────

    def on_mailbox_arrived(self) -> None:
        """Do what the threads have asked for, then draw once."""
        self.mailbox.work_off()
        self._draw()

    def _say_trouble(self, purpose: str, error: StraitError | None) -> None:
        if error is not None and purpose == "deed":
            self.notify(error.message, severity="error", markup=False)

    def _take_graph(self, told: Row) -> None:
        self._picture = Picture(told)
        for node in told["nodes"]:
            self.head.states.setdefault(node["step_ref"], node["status"])

    def _refresh_steps(self) -> None:
        self._is_stale = False
        self._fetcher.fetch(
            "steps",
            lambda: list(self._session.api.pages(_steps_path(self._seen.run_id), limit=_STEPS)),
            self._take_steps,
        )
        self._fetcher.fetch("why", self._get("explain"), self._take_why)

    def _take_steps(self, steps: list[Row]) -> None:
        self.listing.replace(steps)
        self.head.states = {one["step_ref"]: one["status"] for one in steps}
        for ref, (state, _) in self._seen.steps.items():
            if self._is_stale:
                self.head.states[ref] = state

    def _take_why(self, told: Row) -> None:
        self._why = {one["step_ref"]: one["text"] for one in told["steps"]}

    def _take(self, change: Row) -> None:
        self.head.say("")
        match change["event"]:
            case "step":
                self.head.states[change["step_ref"]] = change["state"]
                row = self.listing.rows.get(change["step_ref"])
                if row is not None:
                    self.listing.put([{**row, "status": change["state"]}])
                self._is_stale = True
            case "status":
                self.head.run = {**self.head.run, "status": change["status"]}
                self.refresh_bindings()
            case "snapshot":
                self.head.run = change["run"]
        self._is_stale = True

    @work(thread=True, group="follow", exclusive=True)
    def follow_run(self) -> None:
        """Everything that happens to the run, to its end or until somebody leaves."""
        api, seen = self._session.api, self._seen
        path = path_of("workflow-runs", seen.run_id)
        try:
            for change in flow_watch.changes(
                self._session, seen, deadline=self._deadline, on_loss=self._lost, stop=self.stop
            ):
                self.mailbox.put(partial(self._take, change))
            if self.stop.is_set():
                return
            run = patiently(lambda: api.get(path), deadline=self._deadline, on_loss=self._lost, stop=self.stop)
            self.mailbox.put(lambda: self._arrived_at_end(run))
        except Quiet:
            self.mailbox.put(lambda: self._close("quiet"))
        except StraitError as error:
            self.mailbox.put(partial(self._close, "error", error))

    def _lost(self, error: StraitError) -> None:
        self.mailbox.put(lambda: self.head.say(f"◌ {error.message[:60]}; trying again", look.YELLOW))

    def _arrived_at_end(self, run: Row) -> None:
        self.head.run = run
        self.refresh_bindings()
        self._refresh_steps()
        self.let_linger()

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _is_over(self) -> bool:
        return self.head.run["status"] in flow_watch.OVER

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done now is greyed."""
        del parameters
        status = self.head.run["status"]
        if action in {"cancel", "pause"} and self._is_over:
            return None
        if action == "retry" and status not in {"failed", "timed_out", "canceled"}:
            return None
        return True

    def _move(self, verb: str) -> None:
        path = path_of("workflow-runs", self._seen.run_id, verb)
        self._fetcher.fetch("deed", partial(self._session.api.post, path), partial(self._moved, verb))

    def _moved(self, verb: str, run: Row) -> None:
        self.head.run = run
        self._is_stale = True
        self.refresh_bindings()
        if verb == "retry":
            self.stay()
            self._seen = flow_watch.Seen(run["id"])
            self.follow_run()

    def action_cancel(self) -> None:
        """Ask, then cancel."""
        run = self.head.run
        text = f"Cancel {run['id']}\n({run['workflow_slug']}, {run['status']}) and whatever is under way below it?"
        self.app.push_screen(Question(text, "Cancel it"), lambda yes: self._move("cancel") if yes else None)

    def action_pause(self) -> None:
        """Pause, or resume."""
        self._move("resume" if self.head.run["status"] == "paused" else "pause")

    def action_retry(self) -> None:
        """Let it go on."""
        self._move("retry")

    def action_copy(self) -> None:
        """Copy the id."""
        self.app.copy_to_clipboard(self._seen.run_id)
        self.notify(f"copied {self._seen.run_id}", timeout=2)

    def action_keys(self) -> None:
        """Show the keys."""
        self.app.push_screen(Keys(KEYS, "Heavy boxes are the critical path."))

    def action_leave(self) -> None:
        """Leave the run alone."""
        self._close("over" if self._is_over else "left")

    def on_listing_opened(self, message: Listing.Opened) -> None:
        """Watch the run of a step."""
        run_id = message.row["job_run_id"]
        if run_id is None:
            self.notify(f"{message.row['step_ref']} has no run of its own", severity="warning", timeout=3, markup=False)
            return
        self._fetcher.fetch("deed", partial(self._session.api.get, path_of("runs", run_id)), self._open_run)

    def _open_run(self, run: Row) -> None:
        self.app.push_screen(RunScreen(self._session, run, linger=None))

    def _close(self, why: str, error: StraitError | None = None) -> None:
        self.close(Left(self.head.run, why, self.head.run["status"], error))


def _steps_path(run_id: str) -> str:
    return path_of("workflow-runs", run_id, "steps")
