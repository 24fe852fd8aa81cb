"""The view of `strait workflow-runs watch`: the graph of the steps in the colours of their states, and their list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer, Static

from strait_cli import flow_watch, times
from strait_cli.columns import STEP_RUN
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.tui import look
from strait_cli.tui.dialogs import Question
from strait_cli.tui.graph import Picture
from strait_cli.tui.listing import Listing
from strait_cli.tui.live import LAST_BINDINGS, LINGER_SECS, Head, LiveScreen, Row
from strait_cli.tui.mailbox import Fetcher
from strait_cli.tui.panels import Drawn
from strait_cli.tui.watching import RunScreen
from strait_core.errors import StraitError

_SHOWN: Final = ("step_ref", "status", "attempt", "took", "error")
COLUMNS: Final = tuple(column for column in STEP_RUN if column.field in _SHOWN)
_STEPS: Final = 1_000
# The list's columns where it stands beside the graph (flowing.tcss), and those of the graph's frame and scrollbar.
_LIST: Final = 64
_FRAME: Final = 4


@dataclass(slots=True)
class Flow:
    """A workflow run as far as it is known, and the states of its steps."""

    run: Row
    states: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Its state."""
        return str(self.run["status"])

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in flow_watch.OVER


class FlowHead(Head):
    """Workflow, state, how many steps are done, age."""

    DEFAULT_CSS = "FlowHead { height: 2; }"

    def __init__(self, flow: Flow, clock: look.Clock) -> None:
        super().__init__(clock)
        self._flow = flow

    def render(self) -> Text:
        """Two lines."""
        run, states, width = self._flow.run, self._flow.states, self.size.width
        first = Text.assemble(
            look.state_text(run["status"], bold=True), "  ", look.plain(run["workflow_slug"], f"bold {look.FOREGROUND}")
        )
        done = sum(1 for state in states.values() if state in {"completed", "skipped"})
        age = look.between(run["created_at"], run["finished_at"] or self.clock())
        total = len(states)
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
        *LAST_BINDINGS,
    ]
    KEYS: ClassVar[Sequence[tuple[str, str]]] = (
        ("c", "cancel the run (asks first)"),
        ("p", "pause; again: resume"),
        ("r", "retry: completed steps are kept"),
        ("tab", "between the graph and the steps"),
        ("enter", "watch the run of the step under the cursor"),
        ("y", "copy the run's id"),
        ("q", "leave; the run goes on"),
    )
    KEYS_NOTE = "Heavy boxes are the critical path."

    def __init__(
        self,
        session: Session,
        run: Row,
        *,
        deadline: float | None = None,
        linger: float | None = LINGER_SECS,
        clock: look.Clock = look.now,
    ) -> None:
        self.flow = Flow(run)
        super().__init__(session, self.flow, FlowHead(self.flow, clock), deadline=deadline, linger=linger)
        self._seen = flow_watch.Seen(run["id"])
        self._why: dict[str, str] = {}
        self._picture: Picture | None = None
        self._is_stale = False
        self._front: int | None = None
        self._fetcher = Fetcher(self.mailbox, lambda act: self.run_worker(act, thread=True), self._say_trouble)
        self.graph = Drawn("Steps", "graph")
        self._parts = Container(id="flow")
        self.listing = Listing(COLUMNS, key="step_ref", name="steps", clock=clock, selectable=False)
        self.word = Static(id="why")

    # ── screen ────────────────────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """Head, graph, list, why, keys."""
        yield self.head
        with self._parts:
            yield self.graph
            yield self.listing
        yield self.word
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to fetch."""
        self.set_interval(1.0, self._tick)
        self._fetcher.fetch("graph", self._get("graph"), self._take_graph)
        self._refresh_steps()
        self.listing.focus()
        self._follow()

    def _get(self, end: str) -> Any:
        path = path_of("workflow-runs", self._seen.run_id, end)
        query: dict[str, Any] = {"limit": 200} if end == "steps" else {}
        return partial(self.session.api.get, path, query)

    def _tick(self) -> None:
        self.head.refresh()
        if self._is_stale:
            self._refresh_steps()
        self.count_down()

    def on_resize(self) -> None:
        """The graph has another room."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self.head.refresh()
        if self._picture is not None:
            states, room = self.flow.states, self._room(self._picture)
            self.graph.draw(self._picture.lines(room, states), follow=False)
            front = self._picture.front(states)
            if front is not None and front != self._front:
                # What is under way comes into sight; whoever scrolls elsewhere is left there until it moves on.
                self._front = front
                self.graph.scroll_to(y=max(0, front - 1), animate=False)
        self.on_listing_moved()

    def _room(self, picture: Picture) -> int:
        """The columns of the drawing. One that does not fit beside the list, but above it, goes there."""
        whole = self._parts.size.width - _FRAME
        above = self.has_class("-wide") and not picture.fits(whole - _LIST) and picture.fits(whole)
        if above != self._parts.has_class("-above"):
            self._parts.set_class(above, "-above")
            self.call_after_refresh(self._draw)
        return whole if above else max(30, self.graph.content_size.width - 1)

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
            self.flow.states.setdefault(node["step_ref"], node["status"])

    def _refresh_steps(self) -> None:
        self._is_stale = False
        self._fetcher.fetch(
            "steps",
            lambda: list(self.session.api.pages(_steps_path(self._seen.run_id), limit=_STEPS)),
            self._take_steps,
        )
        self._fetcher.fetch("why", self._get("explain"), self._take_why)

    def _take_steps(self, steps: list[Row]) -> None:
        self.listing.replace(steps)
        self.flow.states = {one["step_ref"]: one["status"] for one in steps}
        for ref, (state, _) in self._seen.steps.items():
            if self._is_stale:
                self.flow.states[ref] = state

    def _take_why(self, told: Row) -> None:
        self._why = {one["step_ref"]: one["text"] for one in told["steps"]}

    def _take(self, change: Row) -> None:
        self.head.say("")
        match change["event"]:
            case "step":
                self.flow.states[change["step_ref"]] = change["state"]
                row = self.listing.rows.get(change["step_ref"])
                if row is not None:
                    self.listing.put([{**row, "status": change["state"]}])
                self._is_stale = True
            case "status":
                self.flow.run = {**self.flow.run, "status": change["status"]}
                self.refresh_bindings()
            case "snapshot":
                self.flow.run = change["run"]
        self._is_stale = True

    def _follow(self) -> None:
        seen = self._seen
        changes = flow_watch.changes(self.session, seen, deadline=self.deadline, on_loss=self.lost, stop=self.stop)
        self.follow(changes, path_of("workflow-runs", seen.run_id), self._take, self._arrived_at_end)

    def _arrived_at_end(self, run: Row) -> None:
        self.flow.run = run
        self.refresh_bindings()
        self._refresh_steps()
        self.let_linger()

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done now is greyed."""
        del parameters
        status = self.flow.run["status"]
        if action in {"cancel", "pause"} and self.flow.is_over:
            return None
        if action == "retry" and status not in {"failed", "timed_out", "canceled"}:
            return None
        return True

    def _move(self, verb: str) -> None:
        path = path_of("workflow-runs", self._seen.run_id, verb)
        self._fetcher.fetch("deed", partial(self.session.api.post, path), partial(self._moved, verb))

    def _moved(self, verb: str, run: Row) -> None:
        self.flow.run = run
        self._is_stale = True
        self.refresh_bindings()
        if verb == "retry":
            self.stay()
            self._seen = flow_watch.Seen(run["id"])
            self._follow()

    def action_cancel(self) -> None:
        """Ask, then cancel."""
        run = self.flow.run
        text = f"Cancel {run['id']}\n({run['workflow_slug']}, {run['status']}) and whatever is under way below it?"
        self.app.push_screen(Question(text, "Cancel it"), lambda yes: self._move("cancel") if yes else None)

    def action_pause(self) -> None:
        """Pause, or resume."""
        self._move("resume" if self.flow.run["status"] == "paused" else "pause")

    def action_retry(self) -> None:
        """Let it go on."""
        self._move("retry")

    def on_listing_opened(self, message: Listing.Opened) -> None:
        """Watch the run of a step."""
        run_id = message.row["job_run_id"]
        if run_id is None:
            self.notify(f"{message.row['step_ref']} has no run of its own", severity="warning", timeout=3, markup=False)
            return
        self._fetcher.fetch("deed", partial(self.session.api.get, path_of("runs", run_id)), self._open_run)

    def _open_run(self, run: Row) -> None:
        self.app.push_screen(RunScreen(self.session, run, linger=None))


def _steps_path(run_id: str) -> str:
    return path_of("workflow-runs", run_id, "steps")
