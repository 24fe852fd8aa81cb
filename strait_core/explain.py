"""What a cron expression says, in plain English: `explain` for a person who did not write it.

Only words: nothing here decides when anything fires.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from strait_core.cron import Expression

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MAX_TIMES: Final = 6


def explain(expression: Expression) -> str:
    """The expression as one sentence, such as "At 09:00, Monday to Friday"."""
    parts = [_times(expression), *_days(expression)]
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def notes(expression: Expression) -> list[str]:
    """What may surprise whoever reads or wrote the expression; nothing when nothing may."""
    found = []
    if expression.by_day and expression.by_weekday:
        found.append("day of month and day of week are both given: either one is enough")
    for name, field, size in (("minute", expression.fields[0], 60), ("hour", expression.fields[1], 24)):
        for item in field.split(","):
            body, _, step = item.partition("/")
            if body == "*" and step and int(step) > 1 and size % int(step):
                found.append(_uneven(name, int(step), size))
    if not expression.by_weekday and _lowest(expression.days) > 28:
        found.append(
            "only leap years have that day" if expression.months == 1 << 2 else "months without that day are skipped"
        )
    if expression.is_fixed_time:
        found.append("names times of the day: follows dst_gap and dst_overlap where clocks change")
    else:
        found.append("follows elapsed time where clocks change: every instant whose local time matches")
    return found


def _uneven(name: str, step: int, size: int) -> str:
    if step >= size:
        return f"step {step} is beyond the field: {name} 0 alone matches"
    return f"{size} is no multiple of {step}: the last step of each {'hour' if size == 60 else 'day'} is shorter"


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


# ── times of the day ──────────────────────────────────────────────────────────────────────────────────────────────────


def _times(expression: Expression) -> str:
    minutes, hours = _values(expression.minutes, 0, 59), _values(expression.hours, 0, 23)
    every_hour = len(hours) == 24
    if len(minutes) * len(hours) <= _MAX_TIMES and not every_hour:
        return "at " + _listed([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
    if len(minutes) == 60:
        return "every minute" if every_hour else f"every minute {_within(hours)}"
    step = _step(minutes, 60)
    if step and minutes[0] == 0:
        return f"every {step} minutes" if every_hour else f"every {step} minutes {_within(hours)}"
    if every_hour:
        return "every hour, on the hour" if minutes == [0] else f"every hour, at {_minutes(minutes)}"
    if minutes == [0]:
        return _whole_hours(hours)
    return f"at {_minutes(minutes)} of {_hours(hours)}"


def _whole_hours(hours: Sequence[int]) -> str:
    step = _step(hours, 24)
    if step:
        return f"every {step} hours" + ("" if hours[0] == 0 else f" from {hours[0]:02}:00 on")
    low, high = hours[0], hours[-1]
    if list(hours) == list(range(low, high + 1)):
        return f"every hour from {low:02}:00 to {high:02}:00"
    return "at " + _listed([f"{hour:02}:00" for hour in hours])


def _within(hours: Sequence[int]) -> str:
    """The hours in which something repeats: `from 09:00 to 17:59`."""
    return _listed([f"from {low:02}:00 to {high:02}:59" for low, high in _runs(hours, shortest=2)])


def _hours(hours: Sequence[int]) -> str:
    step = _step(hours, 24)
    if step:
        return f"every {_ordinal(step)} hour" + ("" if hours[0] == 0 else f" from {hours[0]:02}:00 on")
    spans = [f"{low:02}" if low == high else f"{low:02} to {high:02}" for low, high in _runs(hours)]
    return f"hour{'s' if len(hours) > 1 else ''} {_listed(spans)}"


def _minutes(minutes: Sequence[int]) -> str:
    spans = [str(low) if low == high else f"{low} to {high}" for low, high in _runs(minutes)]
    return f"minute{'s' if len(minutes) > 1 else ''} {_listed(spans)}"


# ── days ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _days(expression: Expression) -> list[str]:
    days = _month_days(expression) if expression.by_day else ""
    weekdays = _weekdays(expression) if expression.by_weekday else ""
    months = _values(expression.months, 1, 12)
    parts = []
    if days and not weekdays and len(months) == 1:
        return [days.replace("the month", MONTHS[months[0] - 1])]
    if days or weekdays:
        parts.append(f"{days} or {weekdays}" if days and weekdays else days or weekdays)
    elif len(_values(expression.hours, 0, 23)) <= _MAX_TIMES:
        parts.append("every day")
    if len(months) < 12:
        spans = [_span(MONTHS[low - 1], MONTHS[high - 1], low, high) for low, high in _runs(months)]
        step = _step([month - 1 for month in months], 12)
        parts.append(
            f"in every {_ordinal(step)} month from January on" if step and months[0] == 1 else f"in {_listed(spans)}"
        )
    return parts


def _month_days(expression: Expression) -> str:
    field = expression.fields[2]
    days = _values(expression.days, 1, 31)
    if field.startswith("*/") and "," not in field:
        return f"on every {_ordinal(int(field[2:]))} day of the month from the 1st on"
    spans = [_span(f"the {_ordinal(low)}", f"the {_ordinal(high)}", low, high) for low, high in _runs(days)]
    return f"on {_listed(spans)} of the month"


def _weekdays(expression: Expression) -> str:
    days = _values(expression.weekdays, 0, 6)
    if len(days) == 7:
        return "every day of the week"
    # A week is read from Monday on.
    shifted = _runs(sorted((day + 6) % 7 for day in days))
    spans = [_span(DAYS[(low + 1) % 7], DAYS[(high + 1) % 7], low, high) for low, high in shifted]
    return spans[0] if len(spans) == 1 and " to " in spans[0] else f"on {_listed(spans)}"


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _values(mask: int, low: int, high: int) -> list[int]:
    return [value for value in range(low, high + 1) if mask >> value & 1]


def _runs(values: Sequence[int], shortest: int = 3) -> list[tuple[int, int]]:
    """Values as runs of `shortest` or more, and single ones."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return [
        part
        for low, high in runs
        for part in ([(low, high)] if high - low + 1 >= shortest else [(one, one) for one in range(low, high + 1)])
    ]


def _step(values: Sequence[int], size: int) -> int | None:
    """The distance of three or more evenly spaced values that go on to the end of the field."""
    if len(values) < 3:
        return None
    step = values[1] - values[0]
    even = all(b - a == step for a, b in pairwise(values))
    return step if even and step > 1 and values[0] < step and values[-1] + step >= size else None


def _span(first: str, last: str, low: int, high: int) -> str:
    return first if low == high else f"{first} to {last}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
