"""Budgets: what a project may spend in a day of its own zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

# Spending is booked by the quarter of an hour, so that the day of any zone is a whole number of bookings.
BUCKET: Final = timedelta(minutes=15)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a day that begins at midnight in that zone."""

    daily_microusd: int
    timezone: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day of some zone: from `since` until `until`, when the next one begins."""

    since: datetime
    until: datetime


def day_of(now: datetime, timezone: str) -> Day:
    """The day that `now` falls into; 23 or 25 hours long when the clocks change."""
    zone = ZoneInfo(timezone)
    date = now.astimezone(zone).date()
    since, until = (datetime.combine(day, time.min, zone) for day in (date, date + timedelta(days=1)))
    return Day(since.astimezone(UTC), until.astimezone(UTC))


def bucket_of(at: datetime) -> datetime:
    """The beginning of the quarter of an hour that `at` falls into."""
    return _EPOCH + (at - _EPOCH) // BUCKET * BUCKET
