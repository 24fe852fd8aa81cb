"""The days of a calendar as they are written: in requests, in answers and in the store."""

from __future__ import annotations

from datetime import date

from msgspec import Struct


class DayRange(Struct, frozen=True, forbid_unknown_fields=True):
    """From one date to another, both included."""

    first: date
    last: date


class Days(Struct, frozen=True, kw_only=True):
    """Single dates, ranges of dates, and days of every week (`sun` to `sat`)."""

    dates: tuple[date, ...] = ()
    ranges: tuple[DayRange, ...] = ()
    weekdays: tuple[str, ...] = ()
