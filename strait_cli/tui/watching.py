"""The view of `strait runs watch`: one run until its end, with threads that fetch and a screen that only draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer

from strait_cli import watch
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.tui import look
from strait_cli.tui.course import MOST_LINES, Course, Part
from strait_cli.tui.dialogs import Question
from strait_cli.tui.live import LAST_BINDINGS, LINGER_SECS, Left, LiveScreen, Row
from strait_cli.tui.panels import Drawn, LogPanel, RunHead, Why, attempt_lines, legend, path_lines
from strait_cli.tui.values import ValueTree
from strait_core.errors import StraitError
from strait_core.run import REPLAYABLE, TERMINAL

# How often a run that waits is asked for its reasons.
EXPLAIN_SECS: Final = 2.0
VIEWS: Final = ("logs", "payload", "result")


class RunScreen(LiveScreen):
    """One run, live."""

    CSS_PATH = "watching.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "Cancel"),
        Binding("r", "replay", "Replay"),
        Binding("l", "view('logs')", "Logs"),
        Binding("p", "view('payload')", "Payload"),
        Binding("o", "view('result')", "Result"),
        *LAST_BINDINGS,
    ]
    KEYS: ClassVar[Sequence[tuple[str, str]]] = (
        ("c", "cancel the run (asks first)"),
        ("r", "replay a run that did not succeed"),
        ("l", "logs; again: fill the screen"),
        ("p", "payload; again: fill the screen"),
        ("o", "result (output); again: fill the screen"),
        ("tab", "next panel; arrows and the wheel scroll"),
        ("y", "copy the run's id"),
        ("escape", "back from a full screen"),
        ("q", "leave; the run goes on"),
    )
    KEYS_NOTE = "The run does not care whether anybody watches."

    def __init__(
        self,
        session: Session,
        run: Row,
        *,
        until: frozenset[str] = frozenset(),
        deadline: float | None = None,
        linger: float | None = LINGER_SECS,
        clock: look.Clock = look.now,
    ) -> None:
        self.course = Course(run)
        super().__init__(session, self.course, RunHead(self.course, clock), deadline=deadline, linger=linger)
        self._until = until
        self._clock = clock
        self._seen = watch.Seen(run["id"])
        self._shown = "logs"
        self._wants: set[Part] = set()

    # ── screen ────────────────────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """Head, reasons, panels, keys."""
        self.why = Why()
        self.path, self.attempts = Drawn("Path", "path"), Drawn("Attempts", "attempts")
        self.attempts.border_subtitle = legend()
        self.logs = LogPanel(MOST_LINES)
        self.payload, self.result = ValueTree("Payload", "payload"), ValueTree("Result", "result")
        yield self.head
        yield self.why
        yield Container(self.path, self.attempts, self.payload, self.logs, self.result, id="body")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to fetch."""
        for change in watch.beginning(self._seen, self.course.run):
            self.course.take(change)
        self._show_view("logs")
        self._draw(set(Part))
        self.set_interval(1.0, self._tick)
        self.set_interval(EXPLAIN_SECS, self._ask_why)
        self._ask_why()
        self._follow()

    def _draw(self, parts: set[Part]) -> None:
        """Draw what changed, once for all changes of a burst."""
        if not self._wants:
            self.call_after_refresh(self._draw_now)
        self._wants |= parts

    def _draw_now(self) -> None:
        parts, self._wants = self._wants, set()
        course = self.course
        if Part.HEAD in parts:
            self.head.refresh()
            self.refresh_bindings()
        if Part.WHY in parts:
            self.why.draw(course.reasons, self._clock())
        if Part.PATH in parts:
            self.path.draw(list(path_lines(course)))
        if Part.ATTEMPTS in parts:
            width = max(20, self.attempts.content_size.width)
            self.attempts.draw(list(attempt_lines(course, width, self._clock())))
        if Part.LOGS in parts and course.fresh:
            fresh = list(course.fresh)
            course.fresh.clear()
            self.logs.add(fresh)
            self.logs.border_subtitle = f"{course.lines}"
        if Part.DATA in parts:
            self.payload.show(course.run.get("payload"))
            absent = "none" if course.is_over else "not yet"
            self.result.show(course.run.get("result"), absent=absent)

    def on_resize(self) -> None:
        """Bars are as long as there is room."""
        self._draw({Part.HEAD, Part.ATTEMPTS})

    def _tick(self) -> None:
        """Ages and live bars move once a second; after the end the seconds until the view closes."""
        self._draw({Part.HEAD} if self.course.live_since() is None else {Part.HEAD, Part.ATTEMPTS})
        self.count_down()

    # ── threads ───────────────────────────────────────────────────────────────────────────────────────────────────

    def on_mailbox_arrived(self) -> None:
        """Do what the threads have asked for."""
        self.mailbox.work_off()

    def _take(self, change: Row) -> None:
        self.head.say("")
        self._draw(self.course.take(change))

    def _follow(self) -> None:
        seen = self._seen
        changes = watch.changes(
            self.session, seen, until=self._until, deadline=self.deadline, on_loss=self.lost, stop=self.stop
        )
        self.follow(changes, path_of("runs", seen.run_id), self._take, self._arrived_at_end)

    def _arrived_at_end(self, run: Row) -> None:
        self._draw(self.course.read(run) | {Part.PATH, Part.WHY})
        if self.course.status not in self._until and watch.goes_on(self._seen, run):
            self._follow()
        elif self.course.status not in TERMINAL:
            self.close("until")
        else:
            self.let_linger()

    def _ask_why(self) -> None:
        if self.course.is_held:
            self.ask_why()

    @work(thread=True, group="why", exclusive=True)
    def ask_why(self) -> None:
        """Why the run waits, as far as it can be asked just now."""
        try:
            told = self.session.api.call("GET", path_of("runs", self._seen.run_id, "explain"), once=True)
        except StraitError:
            return
        self.mailbox.put(lambda: self._draw(self.course.explain(told)))

    @work(thread=True, group="deed")
    def move(self, verb: str) -> None:
        """Cancel or replay."""
        try:
            run = self.session.api.post(path_of("runs", self._seen.run_id, verb))
        except StraitError as error:
            message = error.message
            self.mailbox.put(lambda: self.notify(message, title=f"{verb} failed", severity="error", markup=False))
            return
        if verb == "replay":
            self.mailbox.put(lambda: self._begin_again(run))

    def _begin_again(self, run: Row) -> None:
        """A replayed run is followed from where it stood."""
        self.stay()
        self.head.say("")
        self._draw(self.course.read(run))
        self._seen.known = run["seq"]
        self._follow()

    def left(self, why: str = "", error: StraitError | None = None) -> Left:
        """As for every view; an old end that the run has left behind is none."""
        return super().left(why or ("over" if self.course.is_over and self._seen.is_over else "left"), error)

    # ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done now is greyed."""
        del parameters
        if action == "cancel" and self.course.is_over:
            return None
        if action == "replay" and self.course.status not in REPLAYABLE:
            return None
        return True

    def action_cancel(self) -> None:
        """Ask, then cancel."""
        course = self.course
        text = f"Cancel {course.run['id']}\n({course.run['job_slug']}, {course.status})?"
        if course.live_since() is not None:
            text += "\nThe request under way is cut off."
        self.app.push_screen(Question(text, "Cancel it"), lambda yes: self._answered(yes=yes))

    def _answered(self, *, yes: bool | None) -> None:
        if yes:
            self.move("cancel")

    def action_replay(self) -> None:
        """Replay."""
        self.move("replay")

    def action_view(self, name: str) -> None:
        """Show a view; the one that has the focus fills the screen, or stops doing so."""
        panel = self.query_one(f"#{name}")
        if self.maximized is not None:
            self.minimize()
        elif self.focused is panel:
            self.maximize(panel)
        self._show_view(name)
        panel.focus()

    def _show_view(self, name: str) -> None:
        self._shown = name
        for one in VIEWS:
            self.query_one(f"#{one}").set_class(one == name, "-shown")
