"""Execution windows: which minutes are open, where intervals join, and what a boundary second does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import cron, window
from strait_core.window import open_interval

TICK = timedelta(microseconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def opened(text: str, now: str, zone: str = "UTC") -> list[str]:
    """The interval at a time (UTC), both ends as UTC."""
    return [f"{one:%Y-%m-%d %H:%M}" for one in open_interval(cron.parse(text), zone, utc(now))]


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        # 2030-01-16 is a Wednesday.
        ("0 9-17 * * 1-5", "2030-01-16T12:34:56", ["2030-01-16 09:00", "2030-01-16 17:01"]),
        ("0 9-17 * * 1-5", "2030-01-16T08:59:59.999999", ["2030-01-16 09:00", "2030-01-16 17:01"]),
        ("0 9-17 * * 1-5", "2030-01-16T17:00:59.999999", ["2030-01-16 09:00", "2030-01-16 17:01"]),
        ("0 9-17 * * 1-5", "2030-01-16T17:01:00", ["2030-01-17 09:00", "2030-01-17 17:01"]),
        ("0 9-17 * * 1-5", "2030-01-18T17:01:00", ["2030-01-21 09:00", "2030-01-21 17:01"]),
        ("0 9-17 * * 1-5", "2030-01-19T12:00:00", ["2030-01-21 09:00", "2030-01-21 17:01"]),
        ("* 22-23,0-5 * * *", "2030-01-16T23:30", ["2030-01-16 22:00", "2030-01-17 06:00"]),
        ("* 22-23,0-5 * * *", "2030-01-17T05:59:59.999999", ["2030-01-16 22:00", "2030-01-17 06:00"]),
        ("* 22-23,0-5 * * *", "2030-01-17T06:00", ["2030-01-17 22:00", "2030-01-18 06:00"]),
        ("30 12 * * *", "2030-01-16T12:30:30", ["2030-01-16 12:30", "2030-01-16 12:31"]),
        ("0,59 12 * * *", "2030-01-16T12:30", ["2030-01-16 12:00", "2030-01-16 13:00"]),
        ("0 12-13 * * *", "2030-01-16T12:30", ["2030-01-16 12:00", "2030-01-16 13:01"]),
        ("30 12,14 * * *", "2030-01-16T13:00", ["2030-01-16 14:30", "2030-01-16 14:31"]),
        ("* * * * 1-5", "2030-01-16T12:00", ["2030-01-14 00:00", "2030-01-19 00:00"]),
        ("0 0 29 2 *", "2030-01-16T12:00", ["2032-02-29 00:00", "2032-02-29 00:01"]),
    ],
)
def test_an_interval(text: str, now: str, expected: list[str]):
    """From the first matching minute to the end of the last; an hour between matches joins, more parts."""
    assert opened(text, now) == expected


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        # London loses 01:00–02:00 on 29 March 2026 and has it twice on 25 October.
        ("* 0-3 * * *", "Europe/London", "2026-03-29T00:30", ["2026-03-29 00:00", "2026-03-29 03:00"]),
        ("* 0-3 * * *", "Europe/London", "2026-10-25T00:30", ["2026-10-24 23:00", "2026-10-25 04:00"]),
        ("* 1 * * *", "Europe/London", "2026-03-29T00:30", ["2026-03-30 00:00", "2026-03-30 01:00"]),
        ("* 1 * * *", "Europe/London", "2026-10-25T00:30", ["2026-10-25 00:00", "2026-10-25 02:00"]),
        ("30 1 * * *", "Europe/London", "2026-10-25T00:45", ["2026-10-25 00:30", "2026-10-25 01:31"]),
        ("0 1-4 * * *", "America/New_York", "2026-03-08T06:30", ["2026-03-08 06:00", "2026-03-08 08:01"]),
        ("30 0,2 * * *", "Europe/London", "2026-03-29T00:45", ["2026-03-29 00:30", "2026-03-29 01:31"]),
        ("0 9-17 * * *", "Asia/Tokyo", "2026-03-29T00:00", ["2026-03-29 00:00", "2026-03-29 08:01"]),
        ("* 10-11 30 12 *", "Pacific/Apia", "2011-12-30T09:00", ["2012-12-29 20:00", "2012-12-29 22:00"]),
    ],
)
def test_where_clocks_change(text: str, zone: str, now: str, expected: list[str]):
    """Elapsed minutes count: a skipped hour is not there, a repeated one is open twice and joined."""
    assert opened(text, now, zone) == expected


@pytest.mark.parametrize("text", ["* * * * *", "0 * * * *", "*/59 * * * *"])
def test_what_never_closes_is_told_in_pieces(text: str):
    """Always open: each piece holds the moment that asked, and the next begins where it ended."""
    now = utc("2030-01-16T12:34:56")
    for _ in range(3):
        begin, end = open_interval(cron.parse(text), "Europe/London", now)
        assert begin <= now < end
        assert end - now == window.REACH
        now = end


@pytest.mark.parametrize("text", ["0 0 30 2 *", "* * 31 4,6 *"])
def test_what_never_opens_is_a_fault(text: str):
    """A window that no date ever opens would hold its runs for ever."""
    (fault,) = window.faults(text, "/execution_window_cron")
    assert (fault.pointer, fault.message) == ("/execution_window_cron", "can never open: no such date is in any year")


def test_other_faults_are_those_of_the_expression():
    """A bad field is told as for any expression; a good one has none."""
    assert "61 is outside 0-59" in window.faults("61 * * * *", "/execution_window_cron")[0].message
    assert window.faults("* 22-23,0-5 * * *", "/execution_window_cron") == []


def is_open(text: str, zone: ZoneInfo, at: datetime) -> bool:
    """The written rule, minute by minute: a match within the hour before and one within the rest of that hour after."""
    expression = cron.parse(text)

    def matches(minute: datetime) -> bool:
        local = minute.astimezone(zone)
        return bool(
            expression.minutes >> local.minute & 1
            and expression.hours >> local.hour & 1
            and expression.weekdays >> local.isoweekday() % 7 & 1
        )

    minute = at.replace(second=0, microsecond=0)
    if matches(minute):
        return True
    before = next((n for n in range(1, 60) if matches(minute - timedelta(minutes=n))), None)
    after = next((n for n in range(1, 60) if matches(minute + timedelta(minutes=n))), None)
    return before is not None and after is not None and before + after <= 60


@given(
    st.sampled_from(["0 9-17 * * 1-5", "* 22-23,0-5 * * *", "*/40 1-3 * * *", "0,30 0-2 * * *", "15 */2 * * *", "59 0-3 * * 0"]),
    st.sampled_from(["UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from([1_774_746_000, 1_792_890_000, 1_772_953_200, 1_793_512_800, 1_775_314_800, 1_790_000_000])
    .flatmap(lambda near: st.integers(near - 200_000, near + 200_000)),
)  # fmt: skip
def test_open_is_what_the_rule_says(text: str, zone: str, at: int):
    """At any second near the changes of 2026, and at both ends of the interval that is told."""
    tz, now = ZoneInfo(zone), datetime.fromtimestamp(at, UTC)
    begin, end = open_interval(cron.parse(text), zone, now)
    assert now < end
    assert (begin <= now) is is_open(text, tz, now)
    assert is_open(text, tz, begin)
    assert is_open(text, tz, end - TICK)
    assert not is_open(text, tz, begin - TICK)
    assert not is_open(text, tz, end)
