"""When a rule fires: the search for the next and the previous instant, and the DST rules.

A rule's zone is cut into segments of constant offset (`wallclock`); inside one, local time runs straight and matches
are found in bit masks, month by month, then hour by hour. What happens at the seams is the DST rule, told in
`_sources`: a schedule that names times of the day answers to `dst_gap` and `dst_overlap`; one with `*` or a step in
hour or minute fires at every instant whose local time matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

from strait_core.calendar import MAX_ROLL_DAYS, Attachment, Roll, date_of, weekday_of
from strait_core.cron import Expression
from strait_core.wallclock import DAY, EARLIEST, LATEST, Segment, segment_at, to_instant, to_seconds

# How far ahead a search goes before it says "never". 29 February needs 8 years (around 2100); with a calendar that
# leaves only one weekday, 40.
_HORIZON_DAYS: Final = 9 * 366
_CALENDAR_HORIZON_DAYS: Final = 42 * 366


class DstGap(StrEnum):
    """When a named time fires that the clocks jump over: at the jump, not at all, or as late as without the jump."""

    TRANSITION = "transition"
    SKIP = "skip"
    SHIFT = "shift"


class DstOverlap(StrEnum):
    """When a named time fires that occurs twice."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides the fire times of a schedule; `zone` is a name of the tz database that has been checked.

    With `every_match` even a named time fires at every instant whose local time is that: what windows go by.
    """

    expression: Expression
    zone: str = "UTC"
    dst_gap: DstGap = DstGap.TRANSITION
    dst_overlap: DstOverlap = DstOverlap.FIRST
    calendar: Attachment | None = None
    every_match: bool = False

    @property
    def horizon(self) -> int:
        """How many seconds a search looks ahead or back before it ends with nothing."""
        return DAY * (_HORIZON_DAYS if self.calendar is None else _CALENDAR_HORIZON_DAYS)


@dataclass(frozen=True, slots=True)
class _Source:
    """Local times that fire in a segment: matches of `low` ≤ local < `high`, at local − `offset` or all at `at`."""

    low: int
    high: int
    offset: int
    at: int | None = None


def next_fire(rule: Rule, after: datetime) -> datetime | None:
    """The first fire later than `after`, in UTC; None when there is none."""
    found = next_second(rule, to_seconds(after))
    return None if found is None else to_instant(found)


def previous_fire(rule: Rule, before: datetime) -> datetime | None:
    """The last fire earlier than `before`, in UTC; None when there is none."""
    found = previous_second(rule, seconds_up(before))
    return None if found is None else to_instant(found)


def fires(rule: Rule, start: datetime, end: datetime) -> Iterator[datetime]:
    """Every fire from `start` on and before `end`, in order."""
    at, last = seconds_up(start) - 1, seconds_up(end)
    while (found := next_second(rule, at)) is not None and found < last:
        yield to_instant(found)
        at = found


def count_fires(rule: Rule, first: datetime, last: datetime) -> int:
    """How many fires there are from `first` to `last`, both included."""
    return sum(1 for _ in fires(rule, first, last + timedelta(microseconds=1)))


def seconds_up(instant: datetime) -> int:
    """An aware datetime in UTC seconds, rounded up."""
    return to_seconds(instant) + (1 if instant.microsecond else 0)


def next_second(rule: Rule, after: int) -> int | None:
    """The first fire later than `after`, in UTC seconds."""
    at, limit = max(after, EARLIEST), min(after + rule.horizon, LATEST)
    while at < limit:
        segment = segment_at(rule.zone, at)
        found: int | None = None
        for source in _sources(rule, segment):
            if source.at is not None:
                hit = (
                    source.at if source.at > after and _next_match(rule, source.low, source.high) is not None else None
                )
            else:
                local = _next_match(rule, max(source.low, after + source.offset + 1), source.high)
                hit = None if local is None else local - source.offset
            if hit is not None and (found is None or hit < found):
                found = hit
        if found is not None:
            assert found > after
            return found
        at = segment.end
    return None


def previous_second(rule: Rule, before: int) -> int | None:
    """The last fire earlier than `before`, in UTC seconds."""
    at, limit = min(before - 1, LATEST), max(before - rule.horizon, EARLIEST)
    while at >= limit:
        segment = segment_at(rule.zone, at)
        found: int | None = None
        for source in _sources(rule, segment):
            if source.at is not None:
                past = source.at < before and _next_match(rule, source.low, source.high) is not None
                hit = source.at if past else None
            else:
                local = _previous_match(rule, source.low, min(source.high, before + source.offset))
                hit = None if local is None else local - source.offset
            if hit is not None and (found is None or hit > found):
                found = hit
        if found is not None:
            return found
        at = segment.start - 1
    return None


def _sources(rule: Rule, segment: Segment) -> list[_Source]:
    start, end, offset, before, after = segment
    if rule.every_match or not rule.expression.is_fixed_time or before == offset == after:
        return [_Source(start + offset, end + offset, offset)]
    low, high = start + offset, end + offset
    if offset < before and rule.dst_overlap is DstOverlap.FIRST:
        low = start + before
    if after < offset and rule.dst_overlap is DstOverlap.SECOND:
        high = end + after
    sources = [_Source(low, high, offset)]
    if offset > before and rule.dst_gap is DstGap.TRANSITION:
        sources.append(_Source(start + before, start + offset, offset, at=start))
    if offset > before and rule.dst_gap is DstGap.SHIFT:
        sources.append(_Source(start + before, min(start + offset, end + before), before))
    return sources


# ── local time: one straight line of minutes ──────────────────────────────────────────────────────────────────────────


def _next_match(rule: Rule, low: int, high: int) -> int | None:
    """The first local second of `low` ≤ local < `high` that matches."""
    if low >= high:
        return None
    expression = rule.expression
    day, minute = divmod(-(-low // 60), 1_440)
    last = (high - 1) // DAY
    if _fires_on(rule, day):
        found = _next_minute(expression, minute)
        if found is not None:
            local = day * DAY + found * 60
            return local if local < high else None
    following = _next_day(rule, day + 1, last)
    if following is None:
        return None
    first = _next_minute(expression, 0)
    assert first is not None
    local = following * DAY + first * 60
    return local if local < high else None


def _previous_match(rule: Rule, low: int, high: int) -> int | None:
    """The last local second of `low` ≤ local < `high` that matches."""
    if low >= high:
        return None
    expression = rule.expression
    day, minute = divmod((high - 1) // 60, 1_440)
    if _fires_on(rule, day):
        found = _previous_minute(expression, minute)
        if found is not None:
            local = day * DAY + found * 60
            return local if local >= low else None
    earlier = _previous_day(rule, day - 1, low // DAY)
    if earlier is None:
        return None
    last = _previous_minute(expression, 1_439)
    assert last is not None
    local = earlier * DAY + last * 60
    return local if local >= low else None


def _next_minute(expression: Expression, minute: int) -> int | None:
    """The first matching minute of the day from `minute` on."""
    hour, within = divmod(minute, 60)
    if expression.hours >> hour & 1:
        rest = expression.minutes >> within
        if rest:
            return minute + _lowest(rest)
    rest = expression.hours >> (hour + 1)
    return (hour + 1 + _lowest(rest)) * 60 + _lowest(expression.minutes) if rest else None


def _previous_minute(expression: Expression, minute: int) -> int | None:
    """The last matching minute of the day up to `minute`."""
    hour, within = divmod(minute, 60)
    if expression.hours >> hour & 1:
        rest = expression.minutes & ((2 << within) - 1)
        if rest:
            return hour * 60 + rest.bit_length() - 1
    rest = expression.hours & ((1 << hour) - 1)
    return (rest.bit_length() - 1) * 60 + expression.minutes.bit_length() - 1 if rest else None


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


# ── days ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fires_on(rule: Rule, day: int) -> bool:
    """Whether a day has fires, its calendar included."""
    calendar = rule.calendar
    if calendar is None:
        return _matches(rule.expression, day)
    if not calendar.allows(day):
        return False
    return _matches(rule.expression, day) or _rolls_to(rule.expression, calendar, day)


def _rolls_to(expression: Expression, calendar: Attachment, day: int) -> bool:
    """Whether a fire of a day that the calendar forbids is moved to this one, which it allows."""
    if calendar.roll is Roll.NONE:
        return False
    step = -1 if calendar.roll is Roll.NEXT else 1
    for other in range(day + step, day + step * MAX_ROLL_DAYS, step):
        if calendar.allows(other):
            return False
        if _matches(expression, other):
            return True
    return False


def _matches(expression: Expression, day: int) -> bool:
    date = date_of(day)
    if not expression.months >> date.month & 1:
        return False
    return bool(_month_days(expression, (weekday_of(day) - date.day + 1) % 7) >> date.day & 1)


def _month_days(expression: Expression, first_weekday: int) -> int:
    """The matching days of a month that begins on that weekday, as bits 1 to 31."""
    if not expression.by_weekday:
        return expression.days
    days = _weekdays(expression.weekdays, first_weekday)
    return days | expression.days if expression.by_day else days


@lru_cache(maxsize=1_024)
def _weekdays(wanted: int, first_weekday: int) -> int:
    return sum(1 << day for day in range(1, 32) if wanted >> (first_weekday + day - 1) % 7 & 1)


def _next_day(rule: Rule, day: int, last: int) -> int | None:
    """The first day with fires of `day` … `last`."""
    while day <= last:
        found = (
            _next_date(rule.expression, day, last) if rule.calendar is None or rule.calendar.roll is Roll.NONE else day
        )
        if found is None:
            return None
        if rule.calendar is None or _fires_on(rule, found):
            return found
        day = found + 1
    return None


def _previous_day(rule: Rule, day: int, first: int) -> int | None:
    """The last day with fires of `first` … `day`."""
    while day >= first:
        plain = rule.calendar is None or rule.calendar.roll is Roll.NONE
        found = _previous_date(rule.expression, day, first) if plain else day
        if found is None:
            return None
        if rule.calendar is None or _fires_on(rule, found):
            return found
        day = found - 1
    return None


def _next_date(expression: Expression, day: int, last: int) -> int | None:
    """The first day of `day` … `last` that the expression matches, whole months at a time."""
    while day <= last:
        date = date_of(day)
        first = day - date.day + 1
        length = _length(date.year, date.month)
        if expression.months >> date.month & 1:
            rest = _month_days(expression, weekday_of(first)) >> date.day
            if rest:
                offset = date.day + _lowest(rest)
                if offset <= length:
                    found = first + offset - 1
                    return found if found <= last else None
        day = first + length
    return None


def _previous_date(expression: Expression, day: int, first_day: int) -> int | None:
    """The last day of `first_day` … `day` that the expression matches, whole months at a time."""
    while day >= first_day:
        date = date_of(day)
        first = day - date.day + 1
        if expression.months >> date.month & 1:
            rest = _month_days(expression, weekday_of(first)) & ((2 << date.day) - 1) & ~1
            if rest:
                found = first + rest.bit_length() - 2
                return found if found >= first_day else None
        day = first - 1
    return None


def _length(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31
