"""The nights when clocks change, by expectations written down by hand from the tz database's own announcements."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from strait_core import cron
from strait_core.firing import fires, previous_fire
from strait_core.preview import coming
from strait_core.rule import DstGap, DstOverlap, Rule


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def found(text: str, zone: str, start: str, count: int, gap: str = "transition", overlap: str = "first") -> list[str]:
    """The first fires from `start` (UTC) on, as `day hour:minute` of UTC."""
    rule = Rule(cron.parse(text), zone, DstGap(gap), DstOverlap(overlap))
    times = list(islice(fires(rule, utc(start), utc("2099-01-01")), count))
    assert [previous_fire(rule, one) for one in times[1:]] == times[:-1]
    return [f"{one:%d %H:%M}" for one in times]


@pytest.mark.parametrize(
    ("text", "zone", "start", "expected"),
    [
        # London 2026: forward on 29 March at 01:00 UTC (01:00 → 02:00), back on 25 October at 01:00 UTC (02:00 → 01:00).
        ("30 1 * * *", "Europe/London", "2026-03-28", ["28 01:30", "29 01:00", "30 00:30"]),
        ("0 1 * * *", "Europe/London", "2026-03-28", ["28 01:00", "29 01:00", "30 00:00"]),
        ("0,30 1 * * *", "Europe/London", "2026-03-29", ["29 01:00", "30 00:00", "30 00:30"]),
        ("0 1-3 * * *", "Europe/London", "2026-03-29", ["29 01:00", "29 02:00", "30 00:00"]),
        ("30 1 * * *", "Europe/London", "2026-10-24", ["24 00:30", "25 00:30", "26 01:30"]),
        ("30 0-2 * * *", "Europe/London", "2026-10-24T23:00", ["24 23:30", "25 00:30", "25 02:30", "26 00:30"]),
        ("30 * * * *", "Europe/London", "2026-10-25", ["25 00:30", "25 01:30", "25 02:30"]),
        ("*/30 1 * * *", "Europe/London", "2026-10-25", ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00"]),
        ("*/30 1 * * *", "Europe/London", "2026-03-29", ["30 00:00", "30 00:30"]),
        # New York 2026: forward on 8 March at 07:00 UTC (02:00 → 03:00), back on 1 November at 06:00 UTC (02:00 → 01:00).
        ("30 2 * * *", "America/New_York", "2026-03-07", ["07 07:30", "08 07:00", "09 06:30"]),
        ("0 3 * * *", "America/New_York", "2026-03-08", ["08 07:00", "09 07:00"]),
        ("30 2,3 * * *", "America/New_York", "2026-03-08", ["08 07:00", "08 07:30", "09 06:30", "09 07:30"]),
        ("30 1 * * *", "America/New_York", "2026-11-01", ["01 05:30", "02 06:30"]),
        ("0 2 * * *", "America/New_York", "2026-11-01", ["01 07:00", "02 07:00"]),
        ("0 */2 * * *", "America/New_York", "2026-11-01T03:00", ["01 04:00", "01 07:00", "01 09:00"]),
        # Lord Howe 2026: back half an hour on 5 April at 15:00 UTC of the 4th (02:00 → 01:30), forward on 4 October at
        # 15:30 UTC of the 3rd (02:00 → 02:30).
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04", ["04 14:45", "05 15:15"]),
        ("15 1 * * *", "Australia/Lord_Howe", "2026-04-04", ["04 14:15", "05 14:45"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["03 15:30", "04 15:15"]),
        ("45 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["03 15:45", "04 15:45"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-10-03T15:00", ["03 15:00", "03 15:15", "03 15:30", "03 15:45"]),
        # Apia had no 30 December 2011: 24 hours were left out at 10:00 UTC of the 30th.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29", ["29 22:00", "30 10:00", "30 22:00"]),
        ("0 12,18 * * *", "Pacific/Apia", "2011-12-30T05:00", ["30 10:00", "30 22:00", "31 04:00"]),
        ("0 9 30 12 *", "Pacific/Apia", "2011-12-29", ["30 10:00", "29 19:00"]),
        ("0 * * * *", "Pacific/Apia", "2011-12-30T08:30", ["30 09:00", "30 10:00", "30 11:00"]),
        # Casablanca 2026: an hour back for Ramadan on 15 February at 02:00 UTC (03:00 → 02:00), forward again on
        # 22 March at 02:00 UTC (02:00 → 03:00).
        ("30 2 * * *", "Africa/Casablanca", "2026-02-14", ["14 01:30", "15 01:30", "16 02:30"]),
        ("30 2 * * *", "Africa/Casablanca", "2026-03-21", ["21 02:30", "22 02:00", "23 01:30"]),
        # Cairo's clocks go forward at midnight: Friday 24 April 2026 has no 00:00 to 00:59.
        ("0 0 * * *", "Africa/Cairo", "2026-04-22T12:00", ["22 22:00", "23 22:00", "24 21:00"]),
    ],
)  # fmt: skip
def test_the_default_rule(text: str, zone: str, start: str, expected: list[str]):
    """A missing time fires at the transition, a repeated one the first time; stars and steps follow elapsed time."""
    assert found(text, zone, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        ("transition", ["07 07:30", "08 07:00", "09 06:30"]),
        ("skip", ["07 07:30", "09 06:30"]),
        ("shift", ["07 07:30", "08 07:30", "09 06:30"]),
    ],
)
def test_a_missing_time_by_each_rule(gap: str, expected: list[str]):
    """02:30 on the night without it, New York: at 03:00, not at all, or at 03:30."""
    assert found("30 2 * * *", "America/New_York", "2026-03-07", len(expected), gap=gap) == expected


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("first", ["01 05:30", "02 06:30"]),
        ("second", ["01 06:30", "02 06:30"]),
        ("both", ["01 05:30", "01 06:30", "02 06:30"]),
    ],
)
def test_a_repeated_time_by_each_rule(overlap: str, expected: list[str]):
    """01:30 on the night that has it twice, New York."""
    assert found("30 1 * * *", "America/New_York", "2026-11-01", len(expected), overlap=overlap) == expected


@pytest.mark.parametrize("gap", DstGap)
@pytest.mark.parametrize("overlap", DstOverlap)
def test_elapsed_time_asks_no_rule(gap: str, overlap: str):
    """A star in the hour fires every elapsed hour, whatever the two rules say."""
    spring, autumn = ["08 06:00", "08 07:00", "08 08:00"], ["01 05:00", "01 06:00", "01 07:00"]
    assert found("0 * * * *", "America/New_York", "2026-03-08T06:00", 3, gap, overlap) == spring
    assert found("0 * * * *", "America/New_York", "2026-11-01T05:00", 3, gap, overlap) == autumn


@pytest.mark.parametrize(
    ("text", "zone", "after", "gap", "overlap", "notes"),
    [
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", "transition", "first",
         ["02:30 does not exist that day: fires as the clocks jump", ""]),
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", "shift", "first",
         ["02:30 does not exist that day: shifted", ""]),
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", "skip", "first",
         ["clocks have changed from -05:00 to -04:00"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", "transition", "both",
         ["01:30 occurs twice: the first time", "01:30 occurs twice: the second time", ""]),
        ("30 * * * *", "America/New_York", "2026-11-01T05:00", "transition", "first",
         ["01:30 occurs twice: the first time", "01:30 occurs twice: the second time", ""]),
        ("0 12 * * *", "America/New_York", "2026-03-07T12:00", "transition", "first",
         ["", "clocks have changed from -05:00 to -04:00", ""]),
        ("0 3 * * *", "America/New_York", "2026-03-08T00:00", "transition", "first",
         ["clocks have changed from -05:00 to -04:00"]),
    ],
)  # fmt: skip
def test_a_preview_says_what_the_clocks_did(text: str, zone: str, after: str, gap: str, overlap: str, notes: list[str]):
    """The note beside a fire names the local time that was missing or came twice, or the change of offset."""
    rule = Rule(cron.parse(text), zone, DstGap(gap), DstOverlap(overlap))
    assert [one.note for one in coming(rule, utc(after), len(notes))] == notes
