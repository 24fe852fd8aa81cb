"""The first tab of the dashboard: how much waits, how fast it goes, who works, what has just run."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from strait_cli import times
from strait_cli.tui import look
from strait_cli.tui import moves as told
from strait_core.run import TERMINAL, Status

# One value a second; more than any terminal is wide.
KEPT: Final = 600
NEWEST: Final = 10
# Runs by whose ends the share of errors is told.
SAMPLE: Final = 100


class Panel(Static):
    """A framed text, drawn anew from what it is given."""

    DEFAULT_CSS = """
    Panel { border: round $border; border-title-color: $accent; padding: 0 1; height: 1fr; text-wrap: nowrap;
        text-overflow: ellipsis; }
    """

    def __init__(self, title: str, name: str) -> None:
        super().__init__(id=name)
        self.border_title = title

    @property
    def room(self) -> int:
        """Columns to draw in."""
        return max(16, self.content_size.width)

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines."""
        self.update(Text("\n", no_wrap=True, overflow="ellipsis").join(lines))


class Overview(Container):
    """Figures with their recent past, workers, busy jobs, the newest runs."""

    def __init__(self, clock: look.Clock) -> None:
        super().__init__(id="overview-body")
        self._clock = clock
        self._depth: deque[float] = deque(maxlen=KEPT)
        self._finished: deque[float] = deque(maxlen=KEPT)
        self.stats: dict[str, Any] | None = None
        self.processes: list[dict[str, Any]] = []
        self.newest: list[dict[str, Any]] = []
        # Whether something has moved that only a read can bring.
        self.is_behind = False

    def compose(self) -> ComposeResult:
        """Four panels."""
        self.queue, self.flow = Panel("Queue", "queue"), Panel("Throughput", "flow")
        self.fleet, self.runs = Panel("Workers", "fleet"), Panel("Newest runs", "newest")
        yield from (self.queue, self.flow, self.fleet, self.runs)

    def forget_the_past(self) -> None:
        """Let the lines of the past begin anew."""
        for values in (self._depth, self._finished):
            values.clear()

    def take_stats(self, stats: dict[str, Any]) -> None:
        """A second's figures."""
        self.stats = stats
        self.count()
        self.draw()

    def count(self) -> None:
        """One second more of the past, with the figures as they are known."""
        if self.stats is None:
            return
        stats, depth = self.stats, self.stats["depth"]
        self._depth.append(sum(depth.get(state, 0) for state in (Status.QUEUED, Status.DELAYED, Status.DEQUEUED)))
        self._finished.append(stats["rate_1m"]["finished"])

    def take_newest(self, page: dict[str, Any]) -> None:
        """The newest runs as they were read."""
        self.newest = told.merged(page["data"], {run["id"]: run for run in self.newest})[:SAMPLE]
        self.draw()

    def hear(self, moves: Sequence[dict[str, Any]]) -> None:
        """Take in what moves of runs tell of the newest ones."""
        known = {run["id"]: run for run in self.newest}
        rows, unsaid, is_behind = told.news(known, moves, whole=len(known) < NEWEST)
        self.is_behind = self.is_behind or is_behind or bool(unsaid)
        born = [row for key, row in rows.items() if key not in known]
        self.newest = [*reversed(born), *(rows.get(key, row) for key, row in known.items())][:SAMPLE]

    def draw(self) -> None:
        """All panels, from what is known."""
        if self.stats is not None:
            self.queue.draw(self._queue_lines(self.stats))
            self.flow.draw(self._flow_lines(self.stats))
            self.fleet.draw(self._fleet_lines(self.stats))
        self.draw_newest()

    def draw_newest(self) -> None:
        """The newest runs, as many as there is room for."""
        self.runs.draw(self._run_lines())

    def on_resize(self) -> None:
        """Lines are as long as there is room."""
        self.call_after_refresh(self.draw)

    def _queue_lines(self, stats: dict[str, Any]) -> list[Text]:
        depth, age = stats["depth"], stats["oldest_queued_age"]
        held = sum(stats["held"].values())
        oldest = "none" if age is None else times.length(age)
        lines = [
            _figure("queued", f"{depth.get('queued', 0):,}", look.YELLOW),
            _figure("executing", f"{depth.get('executing', 0):,}", look.CYAN),
            _figure("held", f"{held:,}", look.PURPLE if held else look.DIM),
            _figure("oldest", oldest, _age_color(age)),
            look.spark(list(self._depth), self.queue.room, look.YELLOW),
            _figure("ready", f"{stats['ready']:,}", look.GREEN),
        ]
        for reason, count in sorted(stats["held"].items(), key=lambda one: -one[1]):
            if count:
                lines.append(Text.assemble((f"{count:>7} ", look.PURPLE), (f"held: {reason}", look.DIM)))
        return lines

    def _flow_lines(self, stats: dict[str, Any]) -> list[Text]:
        now, long = stats["rate_1m"], stats["rate_15m"]
        ended = [run for run in self.newest if run["status"] in TERMINAL]
        bad = sum(1 for run in ended if run["status"] not in {Status.COMPLETED, Status.CANCELED})
        share = None if not ended else bad / len(ended)
        rate = "–" if share is None else f"{share:.0%}"
        color = look.DIM if share is None else look.GREEN if share < 0.01 else look.YELLOW if share < 0.1 else look.RED
        return [
            _figure("out/s", f"{now['finished']:.1f}", look.GREEN),
            _figure("in/s", f"{now['created']:.1f}", look.BLUE),
            _figure("errors", rate, color).append(f"/{len(ended)}", style=look.FAINT),
            _figure("15 min", f"{long['finished']:.1f}", look.GREY).append("/s", look.FAINT),
            look.spark(list(self._finished), self.flow.room, look.GREEN),
        ]

    def _fleet_lines(self, stats: dict[str, Any]) -> list[Text]:
        used, total = stats["slots"]["used"], stats["slots"]["total"]
        room = max(8, self.fleet.room - 18)
        lines = [
            Text.assemble(
                look.bar(used / total if total else 0, room, look.CYAN), (f" {used}/{total} slots", look.GREY)
            )
        ]
        for one in self.processes[:4]:
            color, mark = (look.GREEN, "●") if one["alive"] else (look.RED, "✗")
            if one["draining"]:
                color, mark = look.ORANGE, "◌"
            facts = f"{one['in_flight']}/{one['slots']}"
            left = Text.assemble((f"{mark} ", color), look.plain(f"{one['host']}:{one['pid']}", look.GREY))
            lines.append(look.ends(left, Text(facts, style=look.FOREGROUND), self.fleet.room))
        if stats["top_jobs"]:
            lines.append(look.ends(Text("busy jobs", look.DIM), Text("queued / live", look.FAINT), self.fleet.room))
        for job in stats["top_jobs"][:6]:
            left = look.plain(job["job_slug"], look.FOREGROUND)
            facts_text = Text.assemble((f"{job['queued']}", look.YELLOW), " / ", (f"{job['executing']}", look.CYAN))
            lines.append(look.ends(left, facts_text, self.fleet.room))
        return lines

    def _run_lines(self) -> list[Text]:
        if not self.newest:
            return [Text("none yet: strait trigger JOB", style=look.DIM)]
        now, room = self._clock(), self.runs.room
        lines = []
        for run in self.newest[: max(NEWEST, self.runs.content_size.height)]:
            state = look.state_text(run["status"])
            state.pad_right(max(0, 16 - state.cell_len))
            left = Text.assemble(state, look.plain(run["job_slug"], look.FOREGROUND))
            if run["error"]:
                left.append_text(Text.assemble("  ", look.plain(run["error"], look.DIM)))
            at = times.parse(run["created_at"])
            age = Text("" if at is None else times.relative(at, now), style=look.GREY)
            lines.append(look.ends(left, age, room))
        return lines


def _figure(name: str, value: str, color: str) -> Text:
    return Text.assemble((f"{name:<10}", look.DIM), (f"{value:>9}", f"bold {color}"), no_wrap=True)


def _age_color(age: float | None) -> str:
    if age is None:
        return look.DIM
    return look.FOREGROUND if age < 60 else look.YELLOW if age < 600 else look.RED
