"""A workflow run's steps as a drawing that changes colour: boxes in the colour of their states, heavy ones critical."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.text import Text

from strait_cli.table import safe
from strait_cli.tui import look
from strait_core.workflow.boxes import MOST_STEPS, Drawing, drawing
from strait_core.workflow.graph import Graph

_LONGEST: Final = 28
# Widths for which a drawing is kept: beside the list and above it, and those of a few sizes of the terminal.
_KEPT: Final = 8
_LIVE: Final = frozenset({"running", "waiting"})


def graph_of(told: Mapping[str, Any]) -> Graph:
    """The graph that the API tells as nodes and edges."""
    refs = [str(node["step_ref"]) for node in told["nodes"]]
    number = {ref: at for at, ref in enumerate(refs)}
    parents: list[list[int]] = [[] for _ in refs]
    children: list[list[int]] = [[] for _ in refs]
    for edge in told["edges"]:
        before, after = number[edge["before"]], number[edge["after"]]
        parents[after].append(before)
        children[before].append(after)
    level = tuple(int(node["level"]) for node in told["nodes"])
    order = tuple(sorted(range(len(refs)), key=lambda at: (level[at], at)))
    return Graph(tuple(refs), tuple(map(tuple, parents)), tuple(map(tuple, children)), order, level)


class Picture:
    """The drawing of one graph within so many columns; drawn once for each room."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        self._graph = graph_of(told)
        self._critical = {at for at, node in enumerate(told["nodes"]) if node["on_critical_path"]}
        self._labels = [f"· {_short(str(node['step_ref']))}{_kind(node)}" for node in told["nodes"]]
        self._drawn: Drawing | None = None
        self._by_width: dict[int, Drawing | None] = {}

    def lines(self, width: int, states: Mapping[str, str]) -> list[Text]:
        """The lines, each step in the colour of its state; a list by levels when it does not fit."""
        self._drawn = self._at(width)
        if self._drawn is None:
            return self._listed(states)
        rows = [list(line) for line in self._drawn.lines]
        for step, (y, x, _) in self._drawn.places.items():
            rows[y + 1][x + 2] = look.STATES.get(states.get(self._graph.refs[step], "pending"), ("", "·"))[1]
        texts = [Text("".join(row), style=look.FAINT, no_wrap=True) for row in rows]
        for step, (y, x, room) in self._drawn.places.items():
            state = states.get(self._graph.refs[step], "pending")
            color = look.color_of(state)
            style = f"bold {color}" if state in {"running", "executing"} else color
            for row in (y, y + 1, y + 2):
                texts[row].stylize(style, x, x + room)
        return texts

    def fits(self, width: int) -> bool:
        """Whether there is a drawing within so many columns."""
        return self._at(width) is not None

    def _at(self, width: int) -> Drawing | None:
        if width not in self._by_width:
            if len(self._by_width) >= _KEPT:
                self._by_width.clear()
            fits = len(self._labels) <= MOST_STEPS
            self._by_width[width] = drawing(self._graph, self._labels, self._critical, width) if fits else None
        return self._by_width[width]

    def front(self, states: Mapping[str, str]) -> int | None:
        """The row of the first box that is under way; None when none is, or nothing was drawn."""
        refs, places = self._graph.refs, self._drawn.places if self._drawn else {}
        return min((y for at, (y, _, _) in places.items() if states.get(refs[at]) in _LIVE), default=None)

    def _listed(self, states: Mapping[str, str]) -> list[Text]:
        lines = []
        for number, level in enumerate(self._graph.levels):
            lines.append(Text(f"level {number + 1}", style=look.DIM))
            for step in level:
                ref = self._graph.refs[step]
                lines.append(Text.assemble("  ", look.state_text(states.get(ref, "pending")), f"  {safe(ref)}"))
        return lines


def _short(ref: str) -> str:
    return ref if len(ref) <= _LONGEST else f"{ref[: _LONGEST - 1]}…"


def _kind(node: Mapping[str, Any]) -> str:
    kind = str(node["step_type"])
    return "" if kind == "job" else f" · {kind.replace('_', ' ')}"
