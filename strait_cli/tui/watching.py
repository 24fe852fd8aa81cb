"""The view of `strait runs watch`: one run until its end, with threads that fetch and a screen that only draws."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer

from strait_cli import watch
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.stream import Quiet, patiently
from strait_cli.tui import look
from strait_cli.tui.course import MOST_LINES, Course, Part
from strait_cli.tui.dialogs import Keys, Question
from strait_cli.tui.live import LINGER_SECS, Left, LiveScreen
from strait_cli.tui.mailbox import Mailbox
from strait_cli.tui.panels import Drawn, Head, LogPanel, Why, attempt_lines, legend, path_lines
from strait_cli.tui.values import ValueTree
from strait_core.errors import StraitError
from strait_core.run import REPLAYABLE, TERMINAL

# How often a run that waits is asked for its reasons.
EXPLAIN_SECS: Final = 2.0
VIEWS: Final = ("logs", "payload", "result")
KEYS: Final = (
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


class RunScreen(LiveScreen):
    """One run, live."""

    CSS_PATH = "watching.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "Cancel"),
        Binding("r", "replay", "Replay"),
        Binding("l", "view('logs')", "Logs"),
        Binding("p", "view('payload')", "Payload"),
        Binding("o", "view('result')", "Result"),
        Binding("y", "copy", "Copy id"),
        Binding("question_mark", "keys", "Help", key_display="?"),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+c,ctrl+q", "leave", show=False, priority=True),
    ]

    def __init__(
        self,
        session: Session,
        run: dict[str, Any],
        *,
        until: frozenset[str] = frozenset(),
        deadline: float | None = None,
        linger: float | None = LINGER_SECS,
        clock: look.Clock = look.now,
    ) -> None:
        super().__init__(linger)
        self._session = session
        self._until = until
        self._deadline = deadline
        self._clock = clock
        self._seen = watch.Seen(run["id"])
        self.course = Course(run)
        self.mailbox = Mailbox(self)
        self._shown = "logs"
        self._wants: set[Part] = set()

    # ── screen ────────────────────────────────────────────────────────────────────────────────────────────────────

    def compose(self) -> ComposeResult:
        """Head, reasons, panels, keys."""
        self.head, self.why = Head(self.course, self._clock), Why()
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
        self.follow_run()

    def told_head(self) -> Head:
        """The head."""
        return self.head

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
        if self.count_down():
            self._close("over")

    # ── threads ───────────────────────────────────────────────────────────────────────────────────────────────────

    def on_mailbox_arrived(self) -> None:
        """Do what the threads have asked for."""
        self.mailbox.work_off()

    def _take(self, change: dict[str, Any]) -> None:
        self.head.say("")
        self._draw(self.course.take(change))

    def _lost(self, error: StraitError) -> None:
        self.mailbox.put(lambda: self.head.say(f"◌ {error.message[:60]}; trying again", look.YELLOW))

    @work(thread=True, group="follow", exclusive=True)
    def follow_run(self) -> None:
        """Everything that happens to the run, to its end or until somebody leaves."""
        session, seen = self._session, self._seen
        path = path_of("runs", seen.run_id)
        try:
            for change in watch.changes(
                session, seen, until=self._until, deadline=self._deadline, on_loss=self._lost, stop=self.stop
            ):
                self.mailbox.put(lambda change=change: self._take(change))  # type: ignore[misc]
            if self.stop.is_set():
                return
            run = patiently(lambda: session.api.get(path), deadline=self._deadline, on_loss=self._lost, stop=self.stop)
            self.mailbox.put(lambda: self._arrived_at_end(run))
        except Quiet:
            self.mailbox.put(lambda: self._close("quiet"))
        except StraitError as error:
            self.mailbox.put(lambda error=error: self._close("error", error))  # type: ignore[misc]

    def _arrived_at_end(self, run: dict[str, Any]) -> None:
        self._draw(self.course.read(run) | {Part.PATH, Part.WHY})
        if self.course.status not in TERMINAL:
            self._close("until")
        else:
            self.let_linger()

    def _ask_why(self) -> None:
        if self.course.is_held:
            self.ask_why()

    @work(thread=True, group="why", exclusive=True)
    def ask_why(self) -> None:
        """Why the run waits, as far as it can be asked just now."""
        try:
            told = self._session.api.call("GET", path_of("runs", self._seen.run_id, "explain"), once=True)
        except StraitError:
            return
        self.mailbox.put(lambda: self._draw(self.course.explain(told)))

    @work(thread=True, group="deed")
    def move(self, verb: str) -> None:
        """Cancel or replay."""
        try:
            run = self._session.api.post(path_of("runs", self._seen.run_id, verb))
        except StraitError as error:
            message = error.message
            self.mailbox.put(lambda: self.notify(message, title=f"{verb} failed", severity="error", markup=False))
            return
        if verb == "replay":
            self.mailbox.put(lambda: self._begin_again(run))

    def _begin_again(self, run: dict[str, Any]) -> None:
        """A replayed run is followed from where it stood."""
        self.stay()
        self.head.say("")
        self._draw(self.course.read(run))
        self.follow_run()

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
        self.app.push_screen(Question(text, "Cancel it"), lambda yes: self._answered("cancel") if yes else None)

    def _answered(self, verb: str) -> None:
        self.move(verb)

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

    def action_copy(self) -> None:
        """Copy the id."""
        self.app.copy_to_clipboard(self._seen.run_id)
        self.notify(f"copied {self._seen.run_id}", timeout=2)

    def action_keys(self) -> None:
        """Show the keys."""
        self.app.push_screen(Keys(KEYS, "The run does not care whether anybody watches."))

    def action_leave(self) -> None:
        """Leave the run alone."""
        self._close("over" if self.course.is_over else "left")

    def _close(self, why: str, error: StraitError | None = None) -> None:
        self.close(Left(self.course.run, why, self.course.status, error))
