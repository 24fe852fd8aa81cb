"""Fire times in the zones of the tz database, compared with zoneinfo one local time after the other.

CI: 14 zones whose clocks change in unlike ways, the days around each change of 2020–2030. `make soak`: every zone, and
every day of these years; about ten minutes. Zones whose clocks show the same in all these years share their fires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest

from strait_core import cron, wallclock
from strait_core.firing import count_fires, fires, next_fire, previous_fire
from strait_core.rule import DstGap, DstOverlap, Rule
from tests.support.sizes import SOAK
from tests.unit.clocks import expected

FIRST, LAST = date(2020, 1, 1), date(2030, 12, 31)
CHOSEN = (
    "UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Africa/Cairo",
    "Asia/Beirut", "America/Sao_Paulo", "Antarctica/Troll", "Pacific/Chatham", "America/Scoresbysund", "Asia/Kathmandu",
    "Pacific/Apia", "Asia/Pyongyang",
)  # fmt: skip


def every() -> tuple[str, ...]:
    """Every zone of the tz database; names for the very same file count once, under the first of them."""
    root = files("tzdata").joinpath("zoneinfo")
    found: dict[bytes, str] = {}
    for name in sorted(wallclock.zone_names()):
        file = root.joinpath(*name.split("/"))
        found.setdefault(file.read_bytes() if file.is_file() else name.encode(), name)
    return tuple(found.values())


def unlike(zones: Iterable[str]) -> tuple[str, ...]:
    """The first of those whose clocks show the same from 2019 to 2031, as zoneinfo has it."""
    found: dict[tuple[tuple[int, timedelta | None], ...], str] = {}
    for name in zones:
        found.setdefault(tuple(offsets(ZoneInfo(name))), name)
    return tuple(found.values())


def offsets(zone: ZoneInfo) -> Iterator[tuple[int, timedelta | None]]:
    """From which second on which offset is in force; clocks do not change and change back within a day."""

    def at(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, zone).utcoffset()

    begin, end = (int(datetime(year, 6, 1, tzinfo=UTC).timestamp()) for year in (2019, 2031))
    yield begin, at(begin)
    for high in range(begin + DAY, end, DAY):
        low, found = high - DAY, high
        if at(low) == at(high):
            continue
        while found - low > 1:
            middle = (low + found) // 2
            low, found = (middle, found) if at(middle) == at(high - DAY) else (low, middle)
        yield found, at(high)


DAY = 86_400
EVERY = every() if SOAK else CHOSEN
ZONES = unlike(EVERY) if SOAK else CHOSEN
EXPRESSIONS = (
    "30 2 * * *", "0 0 * * *", "15 1 * * 0", "0 9-17 * * 1-5", "0,30 1,2,3 * * *", "0 0 1 * *", "45 23 31 * *",
    "0 0 29 2 *", "0 12 13 * 5", "0 * * * *", "*/30 0-3 * * *", "5 */6 * * *",
)  # fmt: skip


@cache
def changes(zone: str) -> list[date]:
    """The days on which the zone's offset changes, by asking zoneinfo every hour."""
    tz = ZoneInfo(zone)
    at, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    found: list[date] = []
    known = at.astimezone(tz).utcoffset()
    while at < end:
        at += timedelta(hours=1)
        if (offset := at.astimezone(tz).utcoffset()) != known:
            found, known = [*found, at.date()], offset
    return found


def spans(zone: str) -> list[tuple[date, date]]:
    """The stretches of days that are compared."""
    if SOAK:
        return [(FIRST, LAST)]
    wide = timedelta(days=1)
    return [(day - wide, day + wide) for day in changes(zone)] or [(date(2024, 2, 25), date(2024, 3, 5))]


def local_span(zone: str, first: date, last: date) -> tuple[datetime, datetime]:
    """The instants at which these local days begin and end."""
    tz = ZoneInfo(zone)
    begin = datetime(first.year, first.month, first.day, tzinfo=tz)
    return begin.astimezone(UTC), (datetime(last.year, last.month, last.day, tzinfo=tz) + timedelta(days=1)).astimezone(
        UTC
    )


@pytest.mark.soak
@pytest.mark.parametrize("zone", ZONES)
def test_every_fire_is_where_the_written_rule_puts_it(zone: str):
    """Twelve expressions: the same instants as the slow reading, none twice, counted alike, found from both sides."""
    for first, last in spans(zone):
        start, end = local_span(zone, first, last)
        for text in EXPRESSIONS:
            rule = Rule(cron.parse(text), zone)
            found = list(fires(rule, start, end))
            assert found == expected(text, zone, first, last), text
            if found:
                assert count_fires(rule, found[0], found[-1]) == len(found)
            back = [previous_fire(rule, one) for one in found[1:]] if not SOAK else found[:-1]
            assert back == found[:-1], text


@pytest.mark.soak
@pytest.mark.parametrize("overlap", DstOverlap)
@pytest.mark.parametrize("gap", DstGap)
def test_every_rule_for_the_nights_when_clocks_change(gap: DstGap, overlap: DstOverlap):
    """The nine rules in every zone, at the days around each change (CI: the chosen zones)."""
    for zone in ZONES:
        for day in changes(zone):
            first, last = day - timedelta(days=1), day + timedelta(days=1)
            start, end = local_span(zone, first, last)
            for text in EXPRESSIONS[:5]:
                rule = Rule(cron.parse(text), zone, gap, overlap)
                found = list(fires(rule, start, end))
                assert found == expected(text, zone, first, last, gap, overlap), (zone, text)
                assert [previous_fire(rule, one) for one in found[1:]] == found[:-1], (zone, text)
                assert count_fires(rule, start, end - timedelta(seconds=1)) == len(found), (zone, text)


@pytest.mark.soak
@pytest.mark.parametrize("zone", EVERY)
def test_offsets_are_those_of_the_tz_database(zone: str):
    """A segment ends to the second where zoneinfo says so, and its offsets are zoneinfo's."""
    tz, at = ZoneInfo(zone), int(datetime(2019, 6, 1, tzinfo=UTC).timestamp())
    while at < 1_930_000_000:
        segment = wallclock.segment_at(zone, at)
        assert segment.start <= at < segment.end
        for instant, offset in (
            (segment.start, segment.offset),
            (segment.end - 1, segment.offset),
            (segment.start - 1, segment.before),
            (segment.end, segment.after),
        ):
            assert datetime.fromtimestamp(instant, tz).utcoffset() == timedelta(seconds=offset)
        at = segment.end


def test_a_search_ends_where_time_does():
    """At the end of what a date can hold there is no next fire, at its beginning no previous one, and no error."""
    rule = Rule(cron.parse("* * * * *"), "Europe/London")
    assert next_fire(rule, datetime(9999, 12, 31, 23, 59, tzinfo=UTC)) is None
    assert previous_fire(rule, datetime(1, 1, 1, tzinfo=UTC)) is None
