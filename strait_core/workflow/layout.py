"""Where the boxes of a drawn workflow stand: rows of boxes, and of lines that pass between them.

A step stands in a row below all that it depends on. A dependency that leaps over rows is a chain of `Pass`es, one for
each row, shared by all that depend on the same step. Orders and places within the rows follow the neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

PASS: Final = 3
GAP: Final = 2
_SWEEPS: Final = 6


@dataclass(eq=False, slots=True)
class Item:
    """A box, or (no `label`) a line that passes a row; `source` is the step whose dependents are below."""

    source: int
    label: str | None
    width: int
    x: int = 0
    up: list[Item] = field(default_factory=list)
    down: list[Item] = field(default_factory=list)

    @property
    def center(self) -> int:
        """The column in which lines leave."""
        return self.x + self.width // 2


Rows = list[list[Item]]


def rows_of(
    levels: Sequence[Sequence[int]], parents: Sequence[Sequence[int]], labels: Sequence[str], width: int
) -> Rows | None:
    """The rows of a graph, placed within `width` columns; None when they do not fit."""
    children: list[set[int]] = [set() for _ in parents]
    for step, above in enumerate(parents):
        for parent in above:
            children[parent].add(step)
    split = _split(levels, children, [len(label) + 4 for label in labels], width)
    if split is None:
        return None
    rows = _linked(split, children, labels)
    _order(rows)
    _place(rows, width)
    return rows


def _split(
    levels: Sequence[Sequence[int]], children: Sequence[set[int]], widths: Sequence[int], width: int
) -> list[list[int]] | None:
    """The steps of each row, as many as fit beside the lines that pass; None when not even one does."""
    rows: list[list[int]] = []
    placed: set[int] = set()
    for level in levels:
        waiting = list(level)
        while waiting:
            row: list[int] = []
            for step in waiting:
                passing = sum(1 for one in placed if children[one] - placed - {*row, step})
                room = sum(widths[one] + GAP for one in (*row, step)) + passing * (PASS + GAP)
                if room <= width:
                    row.append(step)
            if not row:
                return None
            rows.append(row)
            placed |= set(row)
            waiting = [step for step in waiting if step not in placed]
    return rows


def _linked(split: Sequence[Sequence[int]], children: Sequence[set[int]], labels: Sequence[str]) -> Rows:
    """The items of each row, linked to those of the rows beside it."""
    rows: Rows = []
    row_of = {step: number for number, row in enumerate(split) for step in row}
    last = {step: max((row_of[child] for child in children[step]), default=-1) for step in row_of}
    above: dict[int, Item] = {}
    for number, row in enumerate(split):
        here = [Item(step, labels[step], len(labels[step]) + 4) for step in row]
        passes = [Item(source, None, PASS) for source in above if last[source] > number]
        for item in passes:
            _link(above[item.source], item)
        for item in here:
            for source, upper in above.items():
                if item.source in children[source]:
                    _link(upper, item)
        rows.append(here + passes)
        above = {item.source: item for item in rows[-1] if last[item.source] > number}
    return rows


def _link(upper: Item, lower: Item) -> None:
    upper.down.append(lower)
    lower.up.append(upper)


def _order(rows: Rows) -> None:
    """Sort rows by the mean place of what their items are linked to, down and up by turns."""
    for sweep in range(_SWEEPS):
        pairs = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for number in pairs:
            beside = rows[number - 1 if sweep % 2 == 0 else number + 1]
            place = {id(item): at / max(len(beside) - 1, 1) for at, item in enumerate(beside)}
            mean = [_mean(item, place, at, len(rows[number])) for at, item in enumerate(rows[number])]
            order = sorted(range(len(mean)), key=mean.__getitem__)
            rows[number] = [rows[number][at] for at in order]


def _mean(item: Item, place: Mapping[int, float], at: int, count: int) -> float:
    found = [place[id(one)] for one in (*item.up, *item.down) if id(one) in place]
    return sum(found) / len(found) if found else at / max(count - 1, 1)


def _place(rows: Rows, width: int) -> None:
    """Give every item its column: near the middle of what it is linked to, beside each other, within the width."""
    widest = max(sum(item.width + GAP for item in row) - GAP for row in rows)
    for row in rows:
        _settle(row, [], max(widest, 1))
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = []
            for item in row:
                beside = item.up if sweep % 2 == 0 else item.down
                middle = sum(one.center for one in beside) / len(beside) if beside else item.center
                wanted.append(round(middle) - item.width // 2)
            _settle(row, wanted, width)
    left = min(item.x for row in rows for item in row)
    for row in rows:
        for item in row:
            item.x -= left


def _settle(row: Sequence[Item], wanted: Sequence[int], width: int) -> None:
    """Place a row as wished, as far as there is room; without wishes in the middle."""
    at = 0 if wanted else (width - sum(item.width + GAP for item in row) + GAP) // 2
    for number, item in enumerate(row):
        item.x = max(at, wanted[number]) if wanted else at
        at = item.x + item.width + GAP
    limit = width
    for item in reversed(row):
        item.x = min(item.x, limit - item.width)
        limit = item.x - GAP
