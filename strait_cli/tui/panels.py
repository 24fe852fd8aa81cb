"""The parts of a watched run's screen: head, reasons, path, attempts, log lines, values as trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import RichLog, Static

from strait_cli import times
from strait_cli.output import dump
from strait_cli.tui import look
from strait_cli.tui.course import Course
from strait_cli.tui.live import Head
from strait_core.run import TERMINAL

# The phases of an attempt: its field, its name, its colour.
PHASES: Final = (
    ("queue_wait", "queue", look.YELLOW),
    ("connect", "connect", look.BLUE),
    ("ttfb", "first byte", look.PURPLE),
    ("transfer", "transfer", look.GREEN),
)
_SHOWN_STEPS: Final = 400
_SHOWN_ATTEMPTS: Final = 100


class RunHead(Head):
    """Job, state, attempt, age; below the id, what it belongs to, and how far it says it has come."""

    DEFAULT_CSS = "RunHead { height: 3; }"

    def __init__(self, course: Course, clock: look.Clock) -> None:
        super().__init__(clock)
        self._course = course

    def render(self) -> Text:
        """Three lines, the last one empty unless progress was reported."""
        course, width = self._course, self.size.width
        run = course.run
        age = look.between(run["created_at"], run["finished_at"] if course.is_over else self.clock())
        first = Text.assemble(
            look.state_text(course.status, bold=True), "  ", look.plain(run["job_slug"], f"bold {look.FOREGROUND}")
        )
        # A replayed run has more attempts behind it than one life may have.
        of = f" of {run['max_attempts']}" if course.attempt <= run["max_attempts"] else ""
        tries = f"attempt {course.attempt}{of}" if course.attempt else "no attempt yet"
        facts = Text.assemble((tries, look.GREY), (" · ", look.FAINT), (_span(age), look.FOREGROUND))
        second = Text.assemble((run["id"], look.GREY), (" · ", look.FAINT), look.plain(run["project_id"], look.DIM))
        if run["workflow_run_id"]:
            second.append_text(Text.assemble((" · step ", look.FAINT), look.plain(run["step_ref"], look.DIM)))
        lines = [look.ends(first, facts, width), look.ends(second, self.word, width)]
        if course.progress is not None:
            lines.append(_progress(course.progress, width))
        return Text("\n").join(lines)


def _progress(progress: dict[str, Any], width: int) -> Text:
    percent, message = progress.get("percent"), look.plain(progress.get("message") or "", look.GREY)
    if percent is None:
        return Text.assemble(("▸ ", look.CYAN), message)
    room = max(10, min(40, width // 3))
    return Text.assemble(look.bar(percent / 100, room, look.CYAN), f" {percent:>3.0f} % ", message)


def _span(seconds: float | None) -> str:
    return "" if seconds is None else times.length(seconds)


class Why(Static):
    """What holds the run; takes no room when nothing does."""

    DEFAULT_CSS = """
    Why { height: auto; max-height: 6; padding: 0 1; margin: 0 0 0 0; border-left: thick $warning; display: none; }
    Why.-held { display: block; }
    """

    def draw(self, reasons: Sequence[dict[str, Any]], now: datetime) -> None:
        """Show the reasons, the first one first."""
        lines = []
        for one in reasons[:5]:
            line = Text.assemble((f"{one['code']}  ", f"bold {look.YELLOW}"), look.plain(one["text"]))
            at = times.parse(one["until"] or "")
            if at is not None:
                line.append(f" · {times.relative(at, now)}", style=look.DIM)
            lines.append(line)
        self.set_class(bool(lines), "-held")
        self.update(Text("\n", overflow="ellipsis", no_wrap=True).join(lines))


class Drawn(VerticalScroll):
    """A panel whose content is drawn as text, and whose end stays in sight."""

    DEFAULT_CSS = """
    Drawn { border: round $border; border-title-color: $accent; scrollbar-size-vertical: 1; }
    Drawn > Static { text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, title: str, name: str) -> None:
        super().__init__(id=name)
        self.border_title = title
        self._content = Static()

    def compose(self) -> ComposeResult:
        """One text."""
        yield self._content

    def draw(self, lines: Sequence[Text], *, follow: bool = True) -> None:
        """Show these lines; whoever looks at the end keeps seeing it, with `follow`."""
        at_end = follow and self.scroll_offset.y >= self.max_scroll_y - 1
        self._content.update(Text("\n", no_wrap=True, overflow="ellipsis").join(lines))
        if at_end:
            self.call_after_refresh(self.scroll_end, animate=False)


def path_lines(course: Course) -> Iterator[Text]:
    """The states that a run came to, each with its time: the first by the clock, the others by what it took."""
    steps = list(course.steps)
    if len(steps) > _SHOWN_STEPS:
        yield Text(f"… {len(steps) - _SHOWN_STEPS} before", style=look.DIM)
        steps = steps[-_SHOWN_STEPS:]
    before: str | None = None
    for at, step in enumerate(steps):
        is_last = at == len(steps) - 1
        took = None if before is None else look.between(before, step.at)
        line = look.state_text(step.status, bold=is_last)
        line.pad_right(max(0, 15 - line.cell_len))
        line.append(f"{look.clock(step.at)[:-4] if took is None else '+' + times.length(took):>9}", style=look.GREY)
        if step.attempt and step.status not in TERMINAL:
            line.append(f"  #{step.attempt}", style=look.DIM)
        yield line
        if step.reason:
            yield Text.assemble(("│ ", look.FAINT), look.plain(step.reason, look.DIM))
        before = step.at


def attempt_lines(course: Course, width: int, now: datetime) -> Iterator[Text]:
    """Each attempt in two lines: how it ended and what it took, then where its time went as a bar to one scale."""
    shown = course.attempts[-_SHOWN_ATTEMPTS:]
    live = course.live_since()
    spent = look.between(live, now) if live else None
    longest = max([*(sum(_phases(one)) for one in shown), (spent or 0) * 1000, 1.0])
    for one in shown:
        yield _outcome(one, width)
        yield _bar(one, longest, width)
    if spent is not None:
        left = Text.assemble((f"{course.attempt:>2} ", look.GREY), ("● under way", f"bold {look.CYAN}"))
        of = f"{times.length(spent)} of {times.length(course.run['timeout_secs'])}"
        yield look.ends(left, Text(of, style=look.GREY), width)
        yield Text.assemble("   ", ("━" * max(1, round(spent * 1000 / longest * _room(width))), look.CYAN))


def _phases(attempt: dict[str, Any]) -> list[float]:
    timings = attempt.get("timings_ms") or {}
    return [float(timings.get(field) or 0.0) for field, _, _ in PHASES]


def _outcome(attempt: dict[str, Any], width: int) -> Text:
    good = attempt["outcome"] == "completed"
    color = look.GREEN if good else look.color_of(attempt["outcome"]) if attempt["outcome"] in look.STATES else look.RED
    text = attempt.get("error") or (f"HTTP {attempt['http_status']}" if attempt.get("http_status") else "")
    left = Text.assemble(
        (f"{attempt['attempt']:>2} ", look.GREY),
        (f"{'✓' if good else '✗'} {attempt['outcome']}", color),
        "  ",
        look.plain(text, look.GREY),
    )
    total = (attempt.get("timings_ms") or {}).get("total")
    return look.ends(left, Text("" if total is None else times.length(total / 1000), style=look.FOREGROUND), width)


def _room(width: int) -> int:
    return max(8, width - 38)


def _bar(attempt: dict[str, Any], longest: float, width: int) -> Text:
    """The phases side by side; one that took any time at all is seen."""
    line = Text("   ", no_wrap=True)
    room = _room(width)
    for took, (_, _, color) in zip(_phases(attempt), PHASES, strict=True):
        if took > 0:
            line.append("━" * max(1, round(took / longest * room)), style=color)
    numbers = [(took, color) for took, (_, _, color) in zip(_phases(attempt), PHASES, strict=True) if took > 0]
    for took, color in numbers:
        line.append(f" {times.length(took / 1000)}", style=color)
    return line


def legend() -> str:
    """What the colours of the bars mean, for the border of the panel."""
    return " ".join(f"[{color}]━ {name}[/]" for _, name, color in PHASES)


class LogPanel(RichLog):
    """The log lines of a run, the newest in sight unless somebody scrolls."""

    DEFAULT_CSS = """
    LogPanel { border: round $border; border-title-color: $accent; background: $background; scrollbar-size: 1 1; }
    LogPanel:focus { border: round $accent; }
    """

    def __init__(self, most: int) -> None:
        super().__init__(id="logs", max_lines=most, min_width=10, wrap=True, highlight=False, markup=False)
        self.border_title = "Logs"

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append lines."""
        at_end = self.scroll_offset.y >= self.max_scroll_y - 1
        for one in lines:
            text = Text.assemble(
                (look.clock(one["at"]), look.DIM),
                (f" {one['level']:<7} ", look.LEVELS.get(one["level"], look.DIM)),
                look.plain(one["message"], look.FOREGROUND),
            )
            if one.get("data") is not None:
                text.append(f"  {dump(one['data'])}", style=look.DIM)
            text.no_wrap, text.overflow = False, "fold"
            self.write(text, scroll_end=at_end)
