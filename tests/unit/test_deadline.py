"""Deadlines: until when they are kept, days that do not count, and what may be asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import cron
from strait_core.calendar import Attachment, Calendar, CalendarMode
from strait_core.deadline import Deadline, breaches, faults_of, quiet_until, secs_of, silence
from strait_core.job import JobSpec
from strait_core.schedule import Policy, Rule

FRIDAY = datetime(2030, 1, 18, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPEC = JobSpec(project_id="p", slug="s", name="S", endpoint_url="http://example.com/", cron="@daily")
WEEKEND = Attachment(Calendar(weekdays=frozenset({0, 6})))


def rule(calendar: Attachment | None = WEEKEND, zone: str = "UTC") -> Rule:
    return Rule(cron.parse("0 9 * * *"), zone, calendar=calendar)


def every(hours: float) -> Policy:
    return Policy(expect_every_secs=int(hours * 3_600))


def test_a_name_is_its_field():
    """Every deadline is a field of the policy, under the name that people write."""
    policy = Policy(start_within_secs=1, finish_within_secs=2, expect_every_secs=3)
    assert [secs_of(policy, one) for one in Deadline] == [1, 2, 3]


def test_the_limit_itself_is_in_time():
    """Broken is what happened, or has not happened, later than the limit."""
    policy = Policy(start_within_secs=60, finish_within_secs=600)
    limit = FRIDAY + timedelta(seconds=60)
    tick = timedelta(microseconds=1)
    assert breaches(policy, FRIDAY, limit, None, limit) == ()
    assert breaches(policy, FRIDAY, None, None, limit) == ()
    assert [one.at for one in breaches(policy, FRIDAY, None, None, limit + tick)] == [limit]
    assert [one.deadline for one in breaches(policy, FRIDAY, limit + tick, None, limit + HOUR)] == [
        Deadline.START,
        Deadline.FINISH,
    ]
    assert silence(every(1), FRIDAY, FRIDAY + HOUR) is None
    assert silence(every(1), FRIDAY, FRIDAY + HOUR + tick) is not None
    assert silence(Policy(), FRIDAY, FRIDAY + 1_000 * HOUR) is None


@pytest.mark.parametrize(
    ("since", "hours", "expected"),
    [
        ("18 09:00", 14, "18 23:00"),
        ("18 09:00", 15, "19 00:00"),
        ("18 09:00", 25, "21 10:00"),
        ("19 12:00", 1, "21 01:00"),
        ("18 09:00", 15 + 5 * 24, "26 00:00"),
        ("18 09:00", 15 + 5 * 24 + 1, "28 01:00"),
    ],
)
def test_days_without_fires_do_not_count(since: str, hours: int, expected: str):
    """The weekend between is left out, wherever the counting begins."""
    begins = datetime.strptime(f"2030-01-{since}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    limit = quiet_until(every(hours), begins, rule())
    assert limit is not None
    assert f"{limit:%d %H:%M}" == expected


def test_days_are_days_of_the_zone():
    """Saturday begins in Tokyo nine hours early, and a day with a change of the clocks is as long as it is."""
    limit = quiet_until(every(7), FRIDAY, rule(zone="Asia/Tokyo"))
    assert limit == datetime(2030, 1, 20, 16, tzinfo=UTC)
    spring = Attachment(Calendar(dates=frozenset({date(2030, 3, 31)})))
    limit = quiet_until(every(24), datetime(2030, 3, 30, 22, 0, tzinfo=UTC), rule(spring, "Europe/Berlin"))
    assert limit is not None
    assert limit - datetime(2030, 3, 30, 22, tzinfo=UTC) == timedelta(hours=24 + 23)


def test_a_calendar_with_no_day_left_expects_nothing():
    """It takes for ever, and is found out in good time."""
    never = Attachment(Calendar(dates=frozenset({date(2020, 1, 1)})), CalendarMode.ONLY)
    assert quiet_until(every(1), FRIDAY, rule(never)) is None


@given(st.integers(0, 10_000), st.integers(60, 40 * 86_400))
def test_a_calendar_only_ever_puts_the_limit_off(minutes: int, secs: int):
    """Never earlier than without one, never on a day off, and later beginnings end no earlier."""
    policy = Policy(expect_every_secs=secs)
    begins = FRIDAY + timedelta(minutes=minutes)
    limit = quiet_until(policy, begins, rule())
    plain = quiet_until(policy, begins, rule(None))
    later = quiet_until(policy, begins + HOUR, rule())
    assert limit is not None
    assert plain is not None
    assert later is not None
    assert plain <= limit <= later
    assert (limit - timedelta(microseconds=1)).isoweekday() <= 5


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"expect_every_secs": 59}, ["/expect_every_secs"]),
        ({"expect_every_secs": 60}, []),
        ({"alert_webhook_url": "http://example.com/"}, ["/alert_webhook_url"]),
        ({"alert_webhook_url": "http://example.com/", "finish_within_secs": 1}, []),
    ],
)
def test_what_may_be_asked_for(changes: dict[str, Any], pointers: list[str]):
    """Silences of a minute and more; an alert needs something to tell of."""
    assert [fault.pointer for fault in faults_of(replace(SPEC, **changes))] == pointers
