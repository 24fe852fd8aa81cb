"""What a person wants to know of coming fires: instant, local time, offset, a word where clocks or calendars meddle.

The instants are those of `firing`; what is added here only explains them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from strait_core.calendar import Attachment, Roll, date_of
from strait_core.firing import next_fire
from strait_core.localtime import matches, next_match
from strait_core.rule import DstGap, Rule
from strait_core.wallclock import DAY, EPOCH, Segment, segment_at, to_seconds


@dataclass(frozen=True, slots=True)
class Coming:
    """One fire: `local` is the zone's wall clock without an offset, which stands beside it; `note` may be empty."""

    fire_at: datetime
    local: datetime
    zone_offset: str
    note: str


def coming(rule: Rule, after: datetime, count: int) -> list[Coming]:
    """The next `count` fires later than `after`, fewer when there are no more."""
    return list(islice(_all(rule, after), count))


def _all(rule: Rule, after: datetime) -> Iterator[Coming]:
    known = segment_at(rule.zone, to_seconds(after)).offset
    at = next_fire(rule, after)
    while at is not None:
        instant = to_seconds(at)
        segment = segment_at(rule.zone, instant)
        local = (EPOCH + timedelta(seconds=instant + segment.offset)).replace(tzinfo=None)
        said = [_moved(rule, (instant + segment.offset) // DAY), _seam(rule, segment, instant)]
        if segment.offset != known and not said[1]:
            said.append(f"clocks have changed from {offset_text(known)} to {offset_text(segment.offset)}")
        known = segment.offset
        yield Coming(at, local, offset_text(segment.offset), "; ".join(filter(None, said)))
        at = next_fire(rule, at)


def offset_text(seconds: int) -> str:
    """An offset from UTC as it is written in ISO 8601: `+02:00`."""
    sign, (minutes, rest) = "-" if seconds < 0 else "+", divmod(abs(seconds), 60)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}" + (f":{rest:02}" if rest else "")


def _seam(rule: Rule, segment: Segment, instant: int) -> str:
    """What the clocks' change means for this fire."""
    start, end, offset, before, after = segment
    local = instant + offset
    if offset < before and local < start + before:
        return f"{_clock(local)} occurs twice: the second time"
    if after < offset and local >= end + after:
        return f"{_clock(local)} occurs twice: the first time"
    if offset > before and instant < start + offset - before and rule.expression.is_fixed_time and not rule.every_match:
        missing = start + before if rule.dst_gap is DstGap.TRANSITION else instant + before
        named = next_match(rule, missing, start + offset)
        shifted = rule.dst_gap is DstGap.SHIFT and named == missing
        if named is not None and ((rule.dst_gap is DstGap.TRANSITION and instant == start) or shifted):
            return f"{_clock(named)} does not exist that day: {'shifted' if shifted else 'fires as the clocks jump'}"
    return ""


def _moved(rule: Rule, day: int) -> str:
    """From where a calendar has moved this day's fires."""
    calendar = rule.calendar
    if calendar is None or calendar.roll is Roll.NONE or matches(rule.expression, day):
        return ""
    return f"moved from {date_of(_origin(rule, calendar, day))}" + (f" ({calendar.name})" if calendar.name else "")


def _origin(rule: Rule, calendar: Attachment, day: int) -> int:
    step = -1 if calendar.roll is Roll.NEXT else 1
    day += step
    while not matches(rule.expression, day) and not calendar.allows(day):
        day += step
    return day


def _clock(local: int) -> str:
    minute = local % DAY // 60
    return f"{minute // 60:02}:{minute % 60:02}"
