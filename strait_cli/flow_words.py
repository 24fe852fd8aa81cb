"""Workflows for a person at a terminal: a plan level by level, a run's time as bars on one scale."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from strait_cli import times
from strait_cli.table import cut, safe

# Columns of a timeline's names and bars at most, and of a bar at least.
_LONGEST_NAME: Final = 32
_LONGEST_BAR: Final = 60
_SHORTEST_BAR: Final = 10
# What stands in a line beside name and bar: when it began, its state, how long it took.
_BESIDE: Final = 46


def plan_lines(told: Mapping[str, Any], width: int) -> Iterator[str]:
    """What a plan says: the steps of each level, how many at once, the longest chain."""
    levels: Sequence[Sequence[str]] = told["levels"]
    room = len(str(len(levels)))
    for number, level in enumerate(levels, 1):
        yield from _wrapped(f"{number:>{room}}  ", ", ".join(level), width)
    yield ""
    steps, at_once = told["step_count"], told["max_parallelism"]
    yield f"{_many(steps, 'step')} in {_many(len(levels), 'level')}, at most {at_once} at once"
    yield from chain_lines(told["critical_path"], width)


def chain_lines(refs: Sequence[str], width: int) -> Iterator[str]:
    """The critical path, broken between steps."""
    return _wrapped("critical path: ", " → ".join(refs), width)


def _wrapped(head: str, text: str, width: int) -> Iterator[str]:
    rest = " " * len(head)
    yield from textwrap.wrap(
        safe(text), width, initial_indent=head, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def timeline_lines(told: Mapping[str, Any], now: datetime, width: int) -> Iterator[str]:
    """When each step began, since the run did, and how long it took; bars on one scale, what goes on ends in `>`."""
    began, ended = times.parse(told["started_at"] or ""), times.parse(told["finished_at"] or "") or now
    name = min(max((len(step["step_ref"]) for step in told["steps"]), default=0), _LONGEST_NAME)
    bar = min(max(width - name - _BESIDE, _SHORTEST_BAR), _LONGEST_BAR)
    for step in told["steps"]:
        start, end = times.parse(step["started_at"] or ""), times.parse(step["finished_at"] or "")
        drawn, since, took = " " * bar, "-", ""
        if began is not None and start is not None:
            whole, until = (ended - began).total_seconds(), end or ended
            first, last = (start - began).total_seconds(), max((until - began).total_seconds(), 0.0)
            drawn, since = _bar(first, last, whole, bar, is_over=end is not None), f"+{times.length(max(first, 0.0))}"
            took = f"in {times.length(last - first)}" if end is not None else f"for {times.length(last - first)}"
        waited = float(step["wait_ms"] or 0) / 1000
        if waited >= 1:
            took += f", waited {times.length(waited)}"
        ref = cut(safe(step["step_ref"]), name)
        yield cut(f"{since:<9} {ref:<{name}} [{drawn}] {safe(step['status'])} {took}".rstrip(), width)


def _bar(first: float, last: float, whole: float, room: int, *, is_over: bool) -> str:
    """From the instant to the other, as their share of the whole; what took any time at all is seen."""
    if whole <= 0:
        return ("=" if is_over else ">") * room
    at = min(max(int(room * first / whole), 0), room - 1)
    count = min(max(round(room * (last - first) / whole), 1), room - at)
    return (" " * at + "=" * (count - 1) + ("=" if is_over else ">")).ljust(room)
