"""A workflow's graph as boxes and lines, for terminals: what depends on something stands below it.

Heavy boxes are the longest chain. Dependencies that follow from others are not drawn; where lines cross without
meeting, the one from left to right has a gap. What does not fit is listed instead.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from strait_core.workflow.definition import StepSpec, StepType
from strait_core.workflow.graph import Graph, graph_of
from strait_core.workflow.layout import Item, rows_of
from strait_core.workflow.plan import critical_path
from strait_core.workflow.states import StepStatus

WIDTH: Final = 120
# More steps are listed: nobody follows their lines.
MOST_STEPS: Final = 150
_LONGEST: Final = 32
# Where a step of a run is: one column each, whatever the terminal.
MARKS: Final[Mapping[StepStatus, str]] = {
    StepStatus.COMPLETED: "✓",
    StepStatus.FAILED: "✗",
    StepStatus.RUNNING: "▶",
    StepStatus.WAITING: "‖",
    StepStatus.PENDING: "·",
    StepStatus.SKIPPED: "↷",
    StepStatus.CANCELED: "⊘",
}
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LINES: Final = " │││─┘┐┤─└┌├─┴┬┼"
_LIGHT: Final = "┌─┐│└┘┬"
_HEAVY: Final = "┏━┓┃┗┛┯"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn graph; `places` tells the row, the column and the width of each step's box, which is three rows high."""

    lines: list[str]
    places: dict[int, tuple[int, int, int]]


def drawing(graph: Graph, labels: Sequence[str], critical: Collection[int], width: int) -> Drawing | None:
    """The drawing of a graph within so many columns; None when it does not fit."""
    rows = rows_of(graph.levels, graph.needed_parents(), labels, width)
    if rows is None:
        return None
    canvas = _Canvas()
    for number, row in enumerate(rows):
        if number:
            canvas.channel(rows[number - 1], row)
        canvas.band(row, critical)
    return Drawing(canvas.lines(), canvas.places)


def boxes(
    steps: Sequence[StepSpec],
    width: int = WIDTH,
    statuses: Sequence[StepStatus] = (),
    critical_steps: Collection[int] | None = None,
) -> str:
    """The drawing of the steps of a valid definition, within so many columns.

    With `statuses`, one for each step, it is that of a run. `critical_steps` None: the longest chain.
    """
    graph = graph_of(steps)
    parents = graph.needed_parents()
    critical = set(critical_path(graph) if critical_steps is None else critical_steps)
    marks = [f"{MARKS[status]} " for status in statuses] or [""] * len(steps)
    labels = [mark + _label(step) for mark, step in zip(marks, steps, strict=True)]
    drawn = drawing(graph, labels, critical, width) if len(steps) <= MOST_STEPS else None
    if drawn is None:
        return _listed(graph, marks, width)
    notes = []
    if len(steps) > 1 and len(critical) < len(steps):
        notes.append(f"heavy: the {'longest chain' if critical_steps is None else 'chain that takes longest'}")
    hidden = sum(map(len, graph.parents)) - sum(map(len, parents))
    if hidden:
        notes.append(f"not drawn, as they follow from others: {hidden} of the dependencies")
    if statuses:
        notes.append("  ".join(f"{mark} {status}" for status, mark in MARKS.items() if status in statuses))
    return "\n".join([*drawn.lines, *([""] if notes else []), *notes]) + "\n"


def _label(step: StepSpec) -> str:
    ref = step.step_ref if len(step.step_ref) <= _LONGEST else f"{step.step_ref[: _LONGEST - 1]}…"
    return ref if step.step_type is StepType.JOB else f"{ref} · {step.step_type.replace('_', ' ')}"


def _listed(graph: Graph, marks: Sequence[str], width: int) -> str:
    lines = []
    for number, level in enumerate(graph.levels):
        lines.append(f"level {number + 1}")
        for step in level:
            after = ", ".join(graph.refs[parent] for parent in graph.parents[step])
            name = marks[step] + graph.refs[step]
            text = f"{name} ← {after}" if after else name
            lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


class _Canvas:
    """Characters by row and column, filled from the top."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], str] = {}
        self._height = 0
        # Where the lines from above enter the items of the next band.
        self._entries: dict[int, int] = {}
        self.places: dict[int, tuple[int, int, int]] = {}

    def lines(self) -> list[str]:
        """What was drawn."""
        rows: list[dict[int, str]] = [{} for _ in range(self._height)]
        for (y, x), char in self._cells.items():
            rows[y][x] = char
        return ["".join(row.get(x, " ") for x in range(max(row, default=-1) + 1)).rstrip() for row in rows]

    def _text(self, y: int, x: int, text: str) -> None:
        for at, char in enumerate(text):
            self._cells[y, x + at] = char

    def band(self, row: Sequence[Item], critical: Collection[int]) -> None:
        """One row of boxes, and the lines that pass it."""
        top = self._height
        for item in row:
            if item.label is None:
                self._pass(item, top)
                continue
            left_top, flat, right_top, side, left_end, right_end, out = _HEAVY if item.source in critical else _LIGHT
            self.places[item.source] = (top, item.x, item.width)
            inner = flat * (item.width - 2)
            self._text(top, item.x, left_top + inner + right_top)
            self._text(top + 1, item.x, f"{side} {item.label} {side}")
            self._text(top + 2, item.x, left_end + inner + right_end)
            if item.down:
                self._text(top + 2, item.center, out)
        self._height += 3

    def _pass(self, item: Item, top: int) -> None:
        enters, leaves = self._entries.get(id(item), item.center), item.center
        self._text(top, enters, "│")
        self._text(top + 2, leaves, "│")
        if enters == leaves:
            self._text(top + 1, enters, "│")
        else:
            low, high = sorted((enters, leaves))
            ends = "└┐" if enters < leaves else "┌┘"
            self._text(top + 1, low, ends[0] + "─" * (high - low - 1) + ends[1])

    def channel(self, upper: Sequence[Item], lower: Sequence[Item]) -> None:
        """The lines between two rows: one horizontal each for the items above whose lines turn."""
        entries = _entries(upper, lower)
        self._entries = entries
        nets = [(item.center, [entries[id(one)] for one in item.down]) for item in upper if item.down]
        tracks, count = _tracks(nets)
        top, end = self._height, self._height + max(count, 1)
        vertical: dict[tuple[int, int], int] = {}
        flat: dict[tuple[int, int], int] = {}
        meets: set[tuple[int, int]] = set()
        for (leaves, enters), track in zip(nets, tracks, strict=True):
            y = top + track
            _draw(vertical, leaves, top - 1, y)
            for x in enters:
                _draw(vertical, x, y, end)
            low, high = min(leaves, *enters), max(leaves, *enters)
            for x in range(low, high + 1) if low < high else ():
                flat[y, x] = (_LEFT if x > low else 0) | (_RIGHT if x < high else 0)
            meets |= {(y, x) for x in (leaves, *enters)}
        for cell, bits in vertical.items():
            if top <= cell[0] < end:
                across = flat.pop(cell, 0)
                self._cells[cell] = _LINES[bits | across if cell in meets else bits]
        for cell, bits in flat.items():
            self._cells[cell] = _LINES[bits]
        for item in lower:
            if item.up:
                self._cells[end, entries[id(item)]] = "│" if item.label is None else "▼"
        self._height = end + 1


def _draw(vertical: dict[tuple[int, int], int], x: int, y: int, end: int) -> None:
    """A vertical line from the middle of one row to the middle of another."""
    if y < end:
        vertical[y, x] = vertical.get((y, x), 0) | _DOWN
        vertical[end, x] = vertical.get((end, x), 0) | _UP
    for between in range(y + 1, end):
        vertical[between, x] = vertical.get((between, x), 0) | _UP | _DOWN


def _entries(upper: Sequence[Item], lower: Sequence[Item]) -> dict[int, int]:
    """The column in which each item is entered: its middle, unless a line that leads elsewhere comes down there."""
    leaving = {item.center: item for item in upper if item.down}
    entries: dict[int, int] = {}
    for item in lower:
        border = 0 if item.label is None else 1
        inside = range(item.x + border, item.x + item.width - border)
        columns = sorted(inside, key=lambda x, middle=item.center: (abs(x - middle), x))  # type: ignore[misc]
        entries[id(item)] = next((x for x in columns if _is_free(x, item, leaving.get(x))), item.center)
    return entries


def _is_free(x: int, item: Item, above: Item | None) -> bool:
    """Whether lines into an item that meet in column `x` say nothing that is not so."""
    if above is None:
        return True
    return x == item.center and above in item.up and (len(item.up) == 1 or len(above.down) == 1)


def _tracks(nets: Sequence[tuple[int, list[int]]]) -> tuple[list[int], int]:
    """The horizontal line of each net, 0 at the top; lines that share columns have different ones."""
    tracks = [0] * len(nets)
    ends: list[int] = []
    spans = sorted((min(leaves, *enters), max(leaves, *enters), at) for at, (leaves, enters) in enumerate(nets))
    for low, high, at in spans:
        if low == high:
            continue
        track = next((number for number, end in enumerate(ends) if end < low), len(ends))
        ends[track : track + 1] = [high]
        tracks[at] = track
    return tracks, len(ends)
