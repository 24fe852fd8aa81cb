"""Calendars: named sets of days, and how a schedule that would fire on such a day behaves.

Days are numbers: days since 1970-01-01, as `day_number` gives them. A calendar knows no times and no zones; a day is a
day of the schedule's own zone.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

from strait_core.errors import Fault, ValidationError

_EPOCH: Final = date(1970, 1, 1).toordinal()
# 1970-01-01 was a Thursday; Sunday is day 0 of the week, as in cron.
_FIRST_WEEKDAY: Final = 4
WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MAX_ENTRIES: Final = 2_000
MAX_ROLL_DAYS: Final = 366


class CalendarMode(StrEnum):
    """Whether the days of the calendar are those without fires, or the only ones with."""

    EXCLUDE = "exclude"
    ONLY = "only"


class Roll(StrEnum):
    """Where a fire goes whose day is not a working one: nowhere, or to the next or previous one within a year."""

    NONE = "none"
    NEXT = "next"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Calendar:
    """A set of days: single dates, ranges of dates (both ends included) and weekdays (0 = Sunday … 6)."""

    dates: frozenset[date] = frozenset()
    ranges: tuple[tuple[date, date], ...] = ()
    weekdays: frozenset[int] = frozenset()
    # The ranges in order, those that touch each other as one: their first days, their last days. A search for the next
    # fire asks for each day of decades.
    _spans: tuple[tuple[date, ...], tuple[date, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        firsts: list[date] = []
        lasts: list[date] = []
        for first, last in sorted(one for one in self.ranges if one[0] <= one[1]):
            if lasts and first <= lasts[-1]:
                lasts[-1] = max(last, lasts[-1])
            else:
                firsts.append(first)
                lasts.append(last)
        object.__setattr__(self, "_spans", (tuple(firsts), tuple(lasts)))

    def __contains__(self, day: date) -> bool:
        """Whether a date is one of its days."""
        if day in self.dates or day.isoweekday() % 7 in self.weekdays:
            return True
        firsts, lasts = self._spans
        at = bisect_right(firsts, day)
        return at > 0 and day <= lasts[at - 1]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A calendar as a schedule uses it; `name` is only for people."""

    calendar: Calendar
    mode: CalendarMode = CalendarMode.EXCLUDE
    roll: Roll = Roll.NONE
    name: str = ""

    def allows(self, day: int) -> bool:
        """Whether fires may be on that day."""
        return (date_of(day) in self.calendar) is (self.mode is CalendarMode.ONLY)


def day_number(day: date) -> int:
    """A date as days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def date_of(day: int) -> date:
    """The date of a day number."""
    return date.fromordinal(day + _EPOCH)


def weekday_of(day: int) -> int:
    """The day of the week of a day number, 0 = Sunday."""
    return (day + _FIRST_WEEKDAY) % 7


def faults_of(calendar: Calendar, pointer: str = "") -> list[Fault]:
    """Everything wrong with a calendar: empty, too long, ranges backwards, weekdays that are none."""
    faults = [
        Fault(f"{pointer}/ranges/{at}", f"runs backwards: {first} is after {last}")
        for at, (first, last) in enumerate(calendar.ranges)
        if first > last
    ]
    faults += [
        Fault(f"{pointer}/weekdays", f"{day} is no weekday; they are 0 (Sunday) to 6 (Saturday)")
        for day in sorted(calendar.weekdays)
        if not 0 <= day <= 6
    ]
    if len(calendar.dates) + len(calendar.ranges) > MAX_ENTRIES:
        faults.append(Fault(pointer, f"must have at most {MAX_ENTRIES} dates and ranges"))
    if not (calendar.dates or calendar.ranges or calendar.weekdays):
        faults.append(Fault(pointer, "must name at least one date, range or weekday"))
    return faults


def parse_days(text: str, pointer: str) -> Calendar:
    """The calendar that a list such as `sat,sun,2030-12-24..2030-12-26` names; raises ValidationError."""
    dates: set[date] = set()
    ranges: list[tuple[date, date]] = []
    weekdays: set[int] = set()
    faults: list[Fault] = []
    for item in filter(None, (part.strip() for part in text.lower().split(","))):
        first, dots, last = item.partition("..")
        try:
            if item[:3] in WEEKDAYS and item.isalpha():
                weekdays.add(WEEKDAYS.index(item[:3]))
            elif dots:
                ranges.append((date.fromisoformat(first), date.fromisoformat(last)))
            else:
                dates.add(date.fromisoformat(item))
        except ValueError:
            faults.append(Fault(pointer, f'"{item[:40]}" is no date (2030-12-24), range (a..b) or weekday (sat)'))
    calendar = Calendar(frozenset(dates), tuple(ranges), frozenset(weekdays))
    faults = faults or [Fault(pointer, one.message) for one in faults_of(calendar)]
    if faults:
        raise ValidationError(faults)
    return calendar
