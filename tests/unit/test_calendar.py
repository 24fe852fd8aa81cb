"""Calendars: which days they name, and how fires keep off them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strait_core import cron
from strait_core.calendar import (
    MAX_ENTRIES,
    MAX_ROLL_DAYS,
    Attachment,
    Calendar,
    CalendarMode,
    Roll,
    date_of,
    day_number,
    faults_of,
    parse_days,
    weekday_of,
)
from strait_core.errors import ValidationError
from strait_core.firing import count_fires, fires, next_fire, previous_fire
from strait_core.rule import Rule
from tests.support.sizes import size

START, END = datetime(2030, 12, 20, tzinfo=UTC), datetime(2031, 1, 4, tzinfo=UTC)
# 2030-12-25 is a Wednesday.
HOLIDAYS = Calendar(frozenset({date(2031, 1, 1)}), ((date(2030, 12, 24), date(2030, 12, 26)),), frozenset({0, 6}))


def days(text: str, mode: CalendarMode, roll: Roll, calendar: Calendar = HOLIDAYS) -> list[str]:
    """The days of the fires at the turn of the year."""
    rule = Rule(cron.parse(text), "UTC", calendar=Attachment(calendar, mode, roll))
    found = list(fires(rule, START, END))
    assert [previous_fire(rule, one) for one in found[1:]] == found[:-1]
    assert count_fires(rule, START, END - timedelta(seconds=1)) == len(found)
    return [f"{one:%d}" for one in found]


@pytest.mark.parametrize(
    ("text", "mode", "roll", "expected"),
    [
        ("0 9 * * *", "exclude", "none", ["20", "23", "27", "30", "31", "02", "03"]),
        ("0 9 * * *", "only", "none", ["21", "22", "24", "25", "26", "28", "29", "01"]),
        ("0 9 25 * *", "exclude", "none", []),
        ("0 9 25 * *", "exclude", "next", ["27"]),
        ("0 9 25 * *", "exclude", "previous", ["23"]),
        ("0 9 24,25,26,27 * *", "exclude", "next", ["27"]),
        ("0 9 21,22,25 * *", "exclude", "next", ["23", "27"]),
        ("0 9 1 * *", "exclude", "next", ["02"]),
        ("0 9 1 * *", "exclude", "previous", ["31"]),
        ("0 9 * * 5", "only", "next", ["21", "28"]),
        ("0 9 * * 5", "only", "previous", ["26", "01"]),
        ("0,30 9 25 * *", "exclude", "next", ["27", "27"]),
    ],
)
def test_fires_keep_off_days(text: str, mode: str, roll: str, expected: list[str]):
    """Left out, or moved to the next or previous working day at the same time; two on one day are one."""
    assert days(text, CalendarMode(mode), Roll(roll)) == expected


def test_a_day_is_the_zones_own():
    """New Year in Auckland begins while UTC has the year before."""
    calendar = Attachment(Calendar(frozenset({date(2031, 1, 1)})), CalendarMode.ONLY)
    rule = Rule(cron.parse("0 */12 * * *"), "Pacific/Auckland", calendar=calendar)
    assert [f"{one:%d %H}" for one in fires(rule, START, END)] == ["31 11", "31 23"]


@settings(max_examples=size(ci=25, soak=5_000))
@given(
    st.sampled_from(["0 9 * * *", "0 9 1,15 * *", "30 12 * 12 1-3", "0 9 31 * 5"]),
    st.sampled_from(CalendarMode),
    st.sampled_from(Roll),
    st.frozensets(st.dates(date(2030, 12, 1), date(2031, 2, 1)), max_size=20),
    st.frozensets(st.integers(0, 6), max_size=5),
)
def test_a_calendar_moves_days_and_nothing_else(text: str, mode, roll, dates, weekdays):
    """By the definition: each matching day goes to the nearest allowed day on its roll's side, within a year."""
    calendar = Calendar(dates, (), weekdays)
    attached = Attachment(calendar, mode, roll)
    plain = Rule(cron.parse(text))
    far = timedelta(days=MAX_ROLL_DAYS)
    step = {Roll.NONE: None, Roll.NEXT: 1, Roll.PREVIOUS: -1}[roll]

    def landing(day: int) -> int | None:
        if step is None:
            return day if attached.allows(day) else None
        reach = range(day, day + step * MAX_ROLL_DAYS, step)
        return next((other for other in reach if attached.allows(other)), None)

    landed = {landing(day_number(one.date())) for one in fires(plain, START - far, END + far)}
    wanted = sorted(
        day for day in landed if day is not None and day_number(START.date()) <= day < day_number(END.date())
    )
    found = [day_number(one.date()) for one in fires(Rule(plain.expression, calendar=attached), START, END)]
    assert found == wanted


def test_days_are_numbers_and_back():
    """Day 0 is Thursday, 1 January 1970."""
    assert (day_number(date(1970, 1, 1)), date_of(0), weekday_of(0)) == (0, date(1970, 1, 1), 4)
    assert [weekday_of(day_number(date(2030, 12, day))) for day in (22, 23, 28)] == [0, 1, 6]


def test_days_as_text():
    """Dates, ranges and weekdays, by short or long name."""
    assert parse_days("Sat, sunday,2030-12-24..2030-12-26 ,2031-01-01,", "/x") == HOLIDAYS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name at least one date, range or weekday"),
        ("2030-02-30", '"2030-02-30" is no date (2030-12-24), range (a..b) or weekday (sat)'),
        ("2030-02-02..", '"2030-02-02.." is no date (2030-12-24), range (a..b) or weekday (sat)'),
        ("2030-02-02..2030-02-01", "runs backwards: 2030-02-02 is after 2030-02-01"),
        ("holidays", '"holidays" is no date (2030-12-24), range (a..b) or weekday (sat)'),
    ],
)
def test_days_that_are_none(text: str, message: str):
    """Each bad item is named."""
    with pytest.raises(ValidationError) as caught:
        parse_days(text, "/exclude")
    assert [(one.pointer, one.message) for one in caught.value.faults] == [("/exclude", message)]


def test_every_fault_of_a_calendar():
    """Weekdays that are none, and more entries than a calendar holds."""
    long = Calendar(frozenset(date(2030, 1, 1) + timedelta(days=n) for n in range(2_001)), (), frozenset({7}))
    assert [one.pointer for one in faults_of(long, "/calendars/0")] == ["/calendars/0/weekdays", "/calendars/0"]
    assert faults_of(HOLIDAYS) == []


def test_ranges_may_overlap():
    """A day is in a calendar when it is in any of its ranges, however these lie; one that runs backwards has no day."""
    chance = random.Random(1)
    for _ in range(50):
        ends = [(START.date() + timedelta(chance.randrange(40)), timedelta(chance.randint(-2, 9))) for _ in range(6)]
        ranges = tuple((first, first + length) for first, length in ends)
        days_of_it = [START.date() + timedelta(n) for n in range(-3, 55)]
        found = [day for day in days_of_it if day in Calendar(ranges=ranges)]
        assert found == [day for day in days_of_it if any(first <= day <= last for first, last in ranges)]


@pytest.mark.parametrize("roll", Roll)
def test_a_long_calendar_keeps_nobody_waiting(roll: Roll):
    """As many ranges as it may have, all of them past: that nothing fires any more is known in no time."""
    past = [date(2000, 1, 1) + timedelta(days=2 * n) for n in range(MAX_ENTRIES)]
    calendar = Calendar(ranges=tuple((day, day) for day in past))
    rule = Rule(cron.parse("0 9 * * *"), calendar=Attachment(calendar, CalendarMode.ONLY, roll))
    began = process_time()
    assert next_fire(rule, END) is None
    assert process_time() - began < 1


def test_the_longest_ways_between_two_fires():
    """Leap days around 2100 are eight years apart, those on a Monday forty; neither is taken for never."""
    leap, start = cron.parse("0 0 29 2 *"), datetime(2070, 1, 1, tzinfo=UTC)
    rule = Rule(leap, "Europe/London")
    assert [one.year for one in islice(fires(rule, start, END.replace(year=2200)), 9)][-3:] == [2096, 2104, 2108]
    mondays = Rule(leap, "Europe/London", calendar=Attachment(parse_days("mon", "/only"), CalendarMode.ONLY))
    found = list(islice(fires(mondays, start, END.replace(year=2200)), 3))
    assert [one.year for one in found] == [2072, 2112, 2140]
    assert [previous_fire(mondays, one) for one in found[1:]] == found[:-1]
