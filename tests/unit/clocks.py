"""A second, slow reading of a schedule: every matching local time asked of zoneinfo, one by one.

It shares nothing with the product: fields come from cronsim, instants from `fold` (PEP 495), transitions from bisection.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

MINUTE = timedelta(minutes=1)


def instants(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """Every instant at which the zone's clocks show a local time: none, one or two."""
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        # Neither left out nor repeated: only there do the two readings differ.
        return [first.astimezone(UTC)]
    found = {one.astimezone(UTC) for one in (first, second)}
    return sorted(one for one in found if one.astimezone(zone).replace(tzinfo=None) == local)


def jump(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of the transition that leaves a local time out."""
    before, after = (local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    low, high = ((local - offset).replace(tzinfo=UTC) for offset in (after, before))
    old = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == old else (low, middle)
    return high


def expected(
    text: str, key: str, first: date, last: date, gap: str = "transition", overlap: str = "first"
) -> list[datetime]:
    """The fires of an expression whose local day is from `first` to `last`, by the written rule."""
    zone, found = ZoneInfo(key), set()
    fixed = not any(sign in field for field in text.split()[:2] for sign in "*/")
    for local in matches(text, first, last):
        at = instants(local, zone)
        if fixed and not at:
            before = local.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
            found |= {
                "transition": lambda local=local: {jump(local, zone)},
                "skip": set,
                "shift": lambda local=local, before=before: {(local - before).replace(tzinfo=UTC)},
            }[gap]()  # type: ignore[operator]
        elif fixed and len(at) == 2:
            found |= {"first": {at[0]}, "second": {at[1]}, "both": set(at)}[overlap]
        else:
            found |= set(at)
    return sorted(found)


@lru_cache(64)
def matches(text: str, first: date, last: date) -> tuple[datetime, ...]:
    """Every local time of these days that matches, the same in every zone."""
    return tuple(_matches(text, first, last))


def _matches(text: str, first: date, last: date) -> Iterator[datetime]:
    fields = CronSim(text, datetime(2020, 1, 1, tzinfo=UTC))
    weekdays = {int(day) % 7 for day in fields.weekdays}  # type: ignore[arg-type]
    _, _, by_day, _, by_weekday = (word not in {"*", "*/1"} for word in text.split())
    times = [time(hour, minute) for hour in sorted(fields.hours) for minute in sorted(fields.minutes)]
    day = first
    while day <= last:
        in_month, in_week = day.day in fields.days, day.isoweekday() % 7 in weekdays
        either = in_month or in_week if by_day and by_weekday else in_month and in_week
        if day.month in fields.months and either:
            yield from (datetime.combine(day, one) for one in times)
        day += timedelta(days=1)
