"""Execution windows: when a job whose window is a cron expression may start runs, as intervals of instants.

Every minute whose local time matches is open, and so is the time between two matches that are at most 60 elapsed
minutes apart: `0 9-17 * * 1-5` is open from 09:00 to the end of the minute 17:00.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from strait_core import cron
from strait_core.cron import Expression
from strait_core.errors import Fault
from strait_core.firing import next_second, previous_second
from strait_core.rule import Rule
from strait_core.wallclock import DAY, segment_at, to_instant, to_seconds

MINUTE: Final = 60
JOIN: Final = 60 * MINUTE
# How far an interval is followed ahead of `now` and how far back: a window that is always open is told piece by piece.
REACH: Final = timedelta(days=8)


def faults(text: str, pointer: str) -> list[Fault]:
    """Everything wrong with a window's expression; one that can never open included."""
    return [
        Fault(one.pointer, "can never open: no such date is in any year")
        if one.message.startswith("never fires")
        else one
        for one in cron.faults(text, pointer)
    ]


def open_interval(expression: Expression, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """The interval that holds `now`, or the next one: open from the first instant on and before the second.

    An interval of more than 8 days is cut there, and the next one begins where it ended.
    """
    rule = Rule(expression, zone, every_match=True)
    at, reach = to_seconds(now), int(REACH.total_seconds())
    first = previous_second(rule, at + 1)
    if first is None or first + JOIN < at:
        first = None
    if first is not None:
        end = _end(rule, first, at + reach)
        if at < end:
            return to_instant(_start(rule, first, at - reach)), to_instant(end)
    following = next_second(rule, at)
    assert following is not None, "an expression that fires: faults() has refused any other"
    return to_instant(following), to_instant(_end(rule, following, following + reach))


def _end(rule: Rule, at: int, limit: int) -> int:
    """When the interval with the match `at` closes; `limit` when it goes on."""
    while at < limit:
        at = _last_of_run(rule, at)
        following = next_second(rule, at)
        if following is None or following - at > JOIN:
            return min(at + MINUTE, limit)
        at = following
    return limit


def _start(rule: Rule, at: int, limit: int) -> int:
    """When the interval with the match `at` opened; `limit` when it was earlier."""
    while at > limit:
        at = _first_of_run(rule, at)
        earlier = previous_second(rule, at)
        if earlier is None or at - earlier > JOIN:
            return max(at, limit)
        at = earlier
    return limit


def _last_of_run(rule: Rule, at: int) -> int:
    """A later match, or the same, with none but joined ones between: the end of its day's run, as far as no seam is."""
    segment = segment_at(rule.zone, at)
    minute = (at + segment.offset) % DAY // MINUTE
    last = next(
        last for first, last in _runs(rule.expression.minutes, rule.expression.hours) if first <= minute <= last
    )
    found = at + (last - minute) * MINUTE
    return found if found < segment.end else previous_second(rule, segment.end) or at


def _first_of_run(rule: Rule, at: int) -> int:
    segment = segment_at(rule.zone, at)
    minute = (at + segment.offset) % DAY // MINUTE
    first = next(
        first for first, last in _runs(rule.expression.minutes, rule.expression.hours) if first <= minute <= last
    )
    found = at - (minute - first) * MINUTE
    return found if found >= segment.start else next_second(rule, segment.start - 1) or at


@lru_cache(maxsize=4_096)
def _runs(minutes: int, hours: int) -> tuple[tuple[int, int], ...]:
    """The matching minutes of a day as runs in which none is further than an hour from the next."""
    runs: list[tuple[int, int]] = []
    for minute in range(DAY // MINUTE):
        if hours >> minute // 60 & 1 and minutes >> minute % 60 & 1:
            joined = runs and (minute - runs[-1][1]) * MINUTE <= JOIN
            runs[-1:] = [(runs[-1][0], minute)] if joined else [*runs[-1:], (minute, minute)]
    return tuple(runs)
