"""What the clocks of a zone show: its offsets from UTC as segments of constant offset, and which zone names exist.

All times are whole seconds since 1970: "UTC seconds" are instants, "local seconds" what a clock on the wall shows, so
local = UTC + offset of the segment. Zones come from the tz database alone; nothing here asks the machine for its own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from strait_core.errors import Fault

DAY: Final = 86_400
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The first and last instants that are asked for: a day of room for any offset within what datetime can hold.
EARLIEST: Final = int((datetime(2, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
LATEST: Final = int((datetime(9998, 12, 31, tzinfo=UTC) - EPOCH).total_seconds())
_BLOCK: Final = 366 * DAY
_OFFSET: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?00)?", re.IGNORECASE)
# Names that the tz database or a system has beside the zones: the machine's own, or clocks with leap seconds.
_NOT_ZONES: Final = frozenset({"Factory", "localtime", "posixrules"})


class Segment(NamedTuple):
    """A stretch of constant offset, `start` ≤ instant < `end`, with the offsets in force before and after it.

    `before` or `after` may equal `offset`: stretches are also cut where blocks of the cache meet.
    """

    start: int
    end: int
    offset: int
    before: int
    after: int


def segment_at(zone: str, instant: int) -> Segment:
    """The segment that holds an instant (UTC seconds)."""
    starts, offsets = _block(zone, instant // _BLOCK)
    at = bisect_right(starts, instant)
    return Segment(starts[at - 1], starts[at], offsets[at], offsets[at - 1], offsets[at + 1])


@lru_cache(maxsize=16_384)
def _block(zone: str, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The segments of one block: n + 1 boundaries, and n + 2 offsets, one before and one after those of the block.

    Offsets are compared day by day, a change is then found to the second. No zone changes twice within a day and back.
    """
    first, last = index * _BLOCK, (index + 1) * _BLOCK
    tz = ZoneInfo(zone)
    starts, offsets = [first], [_offset(tz, first - 1), _offset(tz, first)]
    for day in range(first, last, DAY):
        known, new = offsets[-1], _offset(tz, day + DAY - 1)
        if new == known:
            continue
        low, high = day - 1, day + DAY - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(tz, middle) == known else (low, middle)
        starts.append(high)
        offsets.append(new)
    return (*starts, last), (*offsets, _offset(tz, last))


def _offset(zone: ZoneInfo, instant: int) -> int:
    at = EPOCH + timedelta(seconds=min(max(instant, EARLIEST), LATEST))
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every zone of the tz database."""
    return frozenset(available_timezones()) - _NOT_ZONES


def zone_faults(name: str, pointer: str) -> list[Fault]:
    """What is wrong with a zone's name: nothing, or that there is none such, with the nearest."""
    if name in zone_names():
        return []
    near = nearest_zones(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "use a name such as Europe/Berlin or UTC"
    return [Fault(pointer, f'"{name[:64]}" is no zone of the tz database; {hint}')]


def nearest_zones(name: str) -> list[str]:
    """Up to three zone names that may have been meant, the nearest first."""
    wanted = "_".join(name[:64].split()).casefold()
    offset = _OFFSET.fullmatch(wanted)
    if offset:
        # POSIX turns the sign round: Etc/GMT-2 is two hours ahead of Greenwich.
        return [f"Etc/GMT{'-' if offset[1] == '+' else '+'}{int(offset[2])}"][: int(offset[2]) <= 12]
    folded = {one.casefold(): one for one in sorted(zone_names())}
    if wanted in folded:
        return [folded[wanted]]
    cities: dict[str, list[str]] = {}
    for low, one in folded.items():
        cities.setdefault(low.rpartition("/")[2], []).append(one)
    city = get_close_matches(wanted.rpartition("/")[2], cities, n=2, cutoff=0.8)
    whole = get_close_matches(wanted, folded, n=2, cutoff=0.7)
    found = [one for match in city for one in cities[match]] + [folded[one] for one in whole]
    return list(dict.fromkeys(found))[:3]


def to_seconds(instant: datetime) -> int:
    """An aware datetime in UTC seconds, rounded down."""
    return (instant - EPOCH) // timedelta(seconds=1)


def to_instant(seconds: int) -> datetime:
    """UTC seconds as an aware datetime in UTC."""
    return EPOCH + timedelta(seconds=seconds)
