"""The rule of a schedule: what its fire times depend on, and nothing of when they are; see `firing.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strait_core.calendar import Attachment
from strait_core.cron import Expression
from strait_core.wallclock import DAY

# How far ahead a search goes before it says "never". 29 February needs 8 years (around 2100); with a calendar that
# leaves only one weekday, 40.
_HORIZON_DAYS: Final = 9 * 366
_CALENDAR_HORIZON_DAYS: Final = 42 * 366


class DstGap(StrEnum):
    """When a named time fires that the clocks jump over: at the jump, not at all, or as late as without the jump."""

    TRANSITION = "transition"
    SKIP = "skip"
    SHIFT = "shift"


class DstOverlap(StrEnum):
    """When a named time fires that occurs twice."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides the fire times of a schedule; `zone` is a name of the tz database that has been checked.

    With `every_match` even a named time fires at every instant whose local time is that: what windows go by.
    """

    expression: Expression
    zone: str = "UTC"
    dst_gap: DstGap = DstGap.TRANSITION
    dst_overlap: DstOverlap = DstOverlap.FIRST
    calendar: Attachment | None = None
    every_match: bool = False

    @property
    def horizon(self) -> int:
        """How many seconds a search looks ahead or back before it ends with nothing."""
        return DAY * (_HORIZON_DAYS if self.calendar is None else _CALENDAR_HORIZON_DAYS)
