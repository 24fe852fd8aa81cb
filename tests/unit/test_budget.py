"""The day of a budget: midnight to midnight in its zone, whatever its clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core.budget import BUCKET, bucket_of, day_of


@pytest.mark.parametrize(
    ("now", "zone", "since", "hours"),
    [
        ("2030-01-16T12:00:00", "UTC", "2030-01-16T00:00:00", 24),
        ("2030-01-16T23:59:59", "Europe/Berlin", "2030-01-16T23:00:00", 24),
        ("2030-01-16T22:59:59", "Europe/Berlin", "2030-01-15T23:00:00", 24),
        ("2030-03-31T12:00:00", "Europe/Berlin", "2030-03-30T23:00:00", 23),
        ("2030-10-27T12:00:00", "Europe/Berlin", "2030-10-26T22:00:00", 25),
        ("2030-01-16T18:20:00", "Asia/Kathmandu", "2030-01-16T18:15:00", 24),
    ],
)
def test_the_day_of_a_zone(now: str, zone: str, since: str, hours: int) -> None:
    """Its begin and its length, on days when clocks change too."""
    day = day_of(datetime.fromisoformat(now).replace(tzinfo=UTC), zone)
    assert day.since == datetime.fromisoformat(since).replace(tzinfo=UTC)
    assert day.until - day.since == timedelta(hours=hours)


_TIMES = st.integers(1_700_000_000_000, 2_200_000_000_000).map(lambda ms: datetime.fromtimestamp(ms / 1_000, UTC))


@given(now=_TIMES, zone=st.sampled_from(sorted(available_timezones())))
def test_now_is_in_its_day(now: datetime, zone: str) -> None:
    """A day holds its moment, ends after it, and holds whole bookings."""
    day = day_of(now, zone)
    assert day.since <= now < day.until <= now + timedelta(hours=26)
    assert bucket_of(day.since) == day.since
    assert bucket_of(now) <= now < bucket_of(now) + BUCKET
