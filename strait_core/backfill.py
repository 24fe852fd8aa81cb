"""Which ticks of an interval a backfill fires again. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from strait_core.schedule import Schedule, count_fires, due_at, fires

TRIGGERED_BY: Final = "backfill"
# Ticks in one call, and runs of one backfill that may be active at once.
MOST_FIRES: Final = 10_000
MOST_AT_ONCE: Final = 1_000
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Known:
    """What has become of ticks so far: which made runs, which were backfilled, and which the clock has yet to decide.

    `next_fire_at` is the first undecided tick, None while the schedule does not fire; `held_fire_at` one that waits.
    """

    fired: Collection[datetime] = ()
    backfilled: Collection[datetime] = ()
    next_fire_at: datetime | None = None
    held_fire_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The ticks to fire, oldest first; how many are left out: backfilled before, fired, or the clock's to decide."""

    ticks: tuple[datetime, ...]
    already: int = 0
    fired: int = 0
    undecided: int = 0


def count(schedule: Schedule, from_at: datetime, to_at: datetime) -> int:
    """How many ticks there are from `from_at` on and before `to_at`; quick for any number."""
    return count_fires(schedule.rule, from_at, to_at - _TICK)


def plan(
    schedule: Schedule, from_at: datetime, to_at: datetime, known: Known, now: datetime, *, missing_only: bool
) -> Plan:
    """What a backfill of the interval does; with `missing_only` it leaves alone what has made a run."""
    ticks: list[datetime] = []
    already = fired = undecided = 0
    for tick in fires(schedule.rule, from_at, to_at):
        if tick in known.backfilled:
            already += 1
        elif _is_undecided(schedule, tick, known, now):
            undecided += 1
        elif missing_only and tick in known.fired:
            fired += 1
        else:
            ticks.append(tick)
    return Plan(tuple(ticks), already, fired, undecided)


def _is_undecided(schedule: Schedule, tick: datetime, known: Known, now: datetime) -> bool:
    """Whether the clock will still decide this tick by itself, its jitter included."""
    if tick == known.held_fire_at:
        return True
    if known.next_fire_at is not None:
        return tick >= known.next_fire_at
    return due_at(schedule, tick) > now
