"""Where local time matches a rule: searches along one straight line of minutes, which knows no zone and no seams.

Local times are whole seconds since 1970 as a clock on the wall would count them. Days are found in bit masks of a
month, minutes in masks of hour and minute.
"""

from __future__ import annotations

from functools import lru_cache

from strait_core.calendar import MAX_ROLL_DAYS, Attachment, Roll, date_of, weekday_of
from strait_core.cron import Expression
from strait_core.rule import Rule
from strait_core.wallclock import DAY


def next_match(rule: Rule, low: int, high: int) -> int | None:
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


def previous_match(rule: Rule, low: int, high: int) -> int | None:
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


def count_matches(rule: Rule, low: int, high: int) -> int:
    """How many local times of `low` ≤ local < `high` match."""
    if low >= high:
        return 0
    (first, begin), (last, end) = divmod(-(-low // 60), 1_440), divmod((high - 1) // 60, 1_440)
    total = 0
    day = _next_day(rule, first, last)
    while day is not None:
        total += _count_minutes(rule.expression, end + 1 if day == last else 1_440)
        total -= _count_minutes(rule.expression, begin) if day == first else 0
        day = _next_day(rule, day + 1, last)
    return total


def _count_minutes(expression: Expression, minute: int) -> int:
    """How many minutes of a day match before `minute`."""
    hour, within = divmod(minute, 60)
    whole = (expression.hours & ((1 << hour) - 1)).bit_count() * expression.minutes.bit_count()
    return whole + (expression.hours >> hour & 1) * (expression.minutes & ((1 << within) - 1)).bit_count()


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
        return matches(rule.expression, day)
    if not calendar.allows(day):
        return False
    return matches(rule.expression, day) or _rolls_to(rule.expression, calendar, day)


def _rolls_to(expression: Expression, calendar: Attachment, day: int) -> bool:
    """Whether a fire of a day that the calendar forbids is moved to this one, which it allows."""
    if calendar.roll is Roll.NONE:
        return False
    step = -1 if calendar.roll is Roll.NEXT else 1
    for other in range(day + step, day + step * MAX_ROLL_DAYS, step):
        if calendar.allows(other):
            return False
        if matches(expression, other):
            return True
    return False


def matches(expression: Expression, day: int) -> bool:
    """Whether the expression matches a day, whatever any calendar says."""
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
