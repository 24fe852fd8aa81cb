"""When a rule fires: the search for the next and the previous instant, and the DST rules.

A rule's zone is cut into segments of constant offset (`wallclock`); inside one, local time runs straight and matches
are found in bit masks, month by month, then hour by hour. What happens at the seams is the DST rule, told in
`_sources`: a schedule that names times of the day answers to `dst_gap` and `dst_overlap`; one with `*` or a step in
hour or minute fires at every instant whose local time matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from strait_core.localtime import count_matches, next_match, previous_match
from strait_core.rule import DstGap, DstOverlap, Rule
from strait_core.wallclock import DAY, EARLIEST, LATEST, Segment, segment_at, to_instant, to_seconds

__all__ = ["DstGap", "DstOverlap", "Rule", "count_fires", "fires", "next_fire", "previous_fire"]


@dataclass(frozen=True, slots=True)
class _Source:
    """Local times that fire in a segment: matches of `low` ≤ local < `high`, at local − `offset` or all at `at`."""

    low: int
    high: int
    offset: int
    at: int | None = None


def next_fire(rule: Rule, after: datetime) -> datetime | None:
    """The first fire later than `after`, in UTC; None when there is none."""
    found = next_second(rule, to_seconds(after))
    return None if found is None else to_instant(found)


def previous_fire(rule: Rule, before: datetime) -> datetime | None:
    """The last fire earlier than `before`, in UTC; None when there is none."""
    found = previous_second(rule, seconds_up(before))
    return None if found is None else to_instant(found)


def fires(rule: Rule, start: datetime, end: datetime) -> Iterator[datetime]:
    """Every fire from `start` on and before `end`, in order."""
    at, last = seconds_up(start) - 1, seconds_up(end)
    while (found := next_second(rule, at)) is not None and found < last:
        yield to_instant(found)
        at = found


def count_fires(rule: Rule, first: datetime, last: datetime) -> int:
    """How many fires there are from `first` to `last`, both included; quick for any number."""
    at, end, total = seconds_up(first), to_seconds(last) + 1, 0
    while at < end:
        segment = segment_at(rule.zone, at)
        own, *others = _sources(rule, segment)
        if others:
            # After a gap two local times can mean one instant: these days are counted fire by fire.
            until = min(segment.start + 2 * DAY, end)
            while at < until and (found := next_second(rule, at - 1)) is not None and found < until:
                total, at = total + 1, found + 1
            at = max(at, until)
        until = min(segment.end, end)
        total += count_matches(rule, max(own.low, at + own.offset), min(own.high, until + own.offset))
        at = max(at, until)
    return total


def seconds_up(instant: datetime) -> int:
    """An aware datetime in UTC seconds, rounded up."""
    return to_seconds(instant) + (1 if instant.microsecond else 0)


def next_second(rule: Rule, after: int) -> int | None:
    """The first fire later than `after`, in UTC seconds."""
    at, limit = max(after, EARLIEST), min(after + rule.horizon, LATEST)
    while at < limit:
        segment = segment_at(rule.zone, at)
        if _is_plain(rule, segment):
            low, offset = max(segment.start, after + 1), segment.offset
            local = next_match(rule, low + offset, segment.end + offset)
            if local is not None:
                return local - offset
        else:
            hits = [_next_hit(rule, source, after) for source in _sources(rule, segment)]
            found = min((hit for hit in hits if hit is not None), default=None)
            if found is not None:
                return found
        at = segment.end
    return None


def _next_hit(rule: Rule, source: _Source, after: int) -> int | None:
    if source.at is not None:
        return source.at if source.at > after and next_match(rule, source.low, source.high) is not None else None
    local = next_match(rule, max(source.low, after + source.offset + 1), source.high)
    return None if local is None else local - source.offset


def previous_second(rule: Rule, before: int) -> int | None:
    """The last fire earlier than `before`, in UTC seconds."""
    at, limit = min(before - 1, LATEST), max(before - rule.horizon, EARLIEST)
    while at >= limit:
        segment = segment_at(rule.zone, at)
        hits = [_previous_hit(rule, source, before) for source in _sources(rule, segment)]
        found = max((hit for hit in hits if hit is not None), default=None)
        if found is not None:
            return found
        at = segment.start - 1
    return None


def _previous_hit(rule: Rule, source: _Source, before: int) -> int | None:
    if source.at is not None:
        return source.at if source.at < before and next_match(rule, source.low, source.high) is not None else None
    local = previous_match(rule, source.low, min(source.high, before + source.offset))
    return None if local is None else local - source.offset


def _is_plain(rule: Rule, segment: Segment) -> bool:
    """Whether every match of the segment's local time fires, and nothing else."""
    _, _, offset, before, after = segment
    return before == offset == after or rule.every_match or not rule.expression.is_fixed_time


def _sources(rule: Rule, segment: Segment) -> list[_Source]:
    start, end, offset, before, after = segment
    if _is_plain(rule, segment):
        return [_Source(start + offset, end + offset, offset)]
    low, high = start + offset, end + offset
    if offset < before and rule.dst_overlap is DstOverlap.FIRST:
        low = start + before
    if after < offset and rule.dst_overlap is DstOverlap.SECOND:
        high = end + after
    sources = [_Source(low, high, offset)]
    if offset > before and rule.dst_gap is DstGap.TRANSITION:
        sources.append(_Source(start + before, start + offset, offset, at=start))
    if offset > before and rule.dst_gap is DstGap.SHIFT:
        sources.append(_Source(start + before, min(start + offset, end + before), before))
    return sources
