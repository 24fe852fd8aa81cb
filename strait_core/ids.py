"""Typed, time-ordered ids: a UUIDv7 inside, a TypeID (`run_01h…`) at the edges.

The text is a prefix, an underscore and the 128 bits in Crockford's base 32 (26 characters, lower case), as the
TypeID specification 0.3 writes it; the bits are RFC 9562 version 7, so ids sort by the millisecond they were made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# Ten bits at a time: thirteen look-ups spell an id.
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES: Final = {pair: number for number, pair in enumerate(_PAIRS)}
_LENGTH: Final = 26
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# The last millisecond that a datetime can name; a made-up id may carry a later one.
_LAST_MILLIS: Final = 253_402_300_799_999


class Prefix(StrEnum):
    """What an id names."""

    JOB = "job"
    RUN = "run"
    WORKFLOW = "wf"
    WORKFLOW_RUN = "wfr"
    SCHEDULE = "sch"
    CALENDAR = "cal"
    EVENT = "evt"
    APPROVAL = "apr"
    WEBHOOK = "wh"
    BATCH = "bat"
    VERSION = "ver"


_KNOWN: Final = frozenset(Prefix)


def uuid7(now: datetime, bits: Callable[[int], int]) -> UUID:
    """A version 7 UUID of the millisecond of `now`; `bits(n)` gives n random bits (`random.Random().getrandbits`)."""
    millis = (now - _EPOCH) // _MILLISECOND
    noise = bits(74)
    high = noise >> 62
    low = noise & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=millis << 80 | 0x7000 << 64 | high << 64 | 0x8000_0000_0000_0000 | low)


def time_of(uuid: UUID) -> datetime:
    """The millisecond at which a UUIDv7 was made, in UTC; any UUID has one, at the latest the last of year 9999."""
    return _EPOCH + timedelta(milliseconds=min(uuid.int >> 80, _LAST_MILLIS))


def first_at(at: datetime, later: timedelta = timedelta(0)) -> UUID:
    """The bound below every UUIDv7 that is made at `at` or `later` than that; what lies before 1970 counts as 1970."""
    return UUID(int=max((at - _EPOCH + later) // _MILLISECOND, 0) << 80)


def spell(prefix: Prefix, uuid: UUID) -> str:
    """The text of an id: `run_01h455vb4pex5vsknk084sn02q`."""
    # Written out, and in halves that shift as machine words do: every run is spelled several times.
    pair, high, low = _PAIRS, uuid.int >> 60, uuid.int & 0xFFF_FFFF_FFFF_FFFF
    return (
        f"{prefix._value_}_{pair[high >> 60]}{pair[high >> 50 & 1023]}{pair[high >> 40 & 1023]}"
        f"{pair[high >> 30 & 1023]}{pair[high >> 20 & 1023]}{pair[high >> 10 & 1023]}{pair[high & 1023]}"
        f"{pair[low >> 50]}{pair[low >> 40 & 1023]}{pair[low >> 30 & 1023]}{pair[low >> 20 & 1023]}"
        f"{pair[low >> 10 & 1023]}{pair[low & 1023]}"
    )


def parse(prefix: Prefix, text: str) -> UUID | None:
    """The UUID of an id with that prefix; None when the text is not one."""
    head, _, tail = text.rpartition("_")
    return _decode(tail) if head == prefix.value else None


def is_id(text: str) -> bool:
    """Whether the text parses as an id of any kind, so that it may not serve as a slug."""
    head, _, tail = text.rpartition("_")
    return head in _KNOWN and _decode(tail) is not None


def _decode(tail: str) -> UUID | None:
    # The first character carries three bits: above "7" the number would not fit into 128.
    if len(tail) != _LENGTH or tail[0] > "7":
        return None
    number = 0
    for at in range(0, _LENGTH, 2):
        value = _VALUES.get(tail[at : at + 2])
        if value is None:
            return None
        number = number << 10 | value
    return UUID(int=number)


def prefix_range(prefix: Prefix, text: str) -> tuple[UUID, UUID] | None:
    """The lowest and highest UUID whose spelling begins with `text` (`run_01h4…`); None when no id can."""
    head, mark, tail = text.rpartition("_")
    if not mark or head != prefix.value or len(tail) > _LENGTH:
        return None
    low = _decode(tail.ljust(_LENGTH, "0"))
    high = _decode((tail or "7").ljust(_LENGTH, "z"))
    return None if low is None or high is None else (low, high)
