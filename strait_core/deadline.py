"""Deadlines of a schedule: which were broken, and when. Times are those of the tick, not of whoever notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from strait_core.schedule import Policy


class Deadline(StrEnum):
    """What was to happen in time: the start, the finish, or any success at all."""

    START = "start_within_secs"
    FINISH = "finish_within_secs"
    SUCCESS = "expect_every_secs"


@dataclass(frozen=True, slots=True)
class Breach:
    """A deadline that passed: which, and the instant until which it would have been kept."""

    deadline: Deadline
    at: datetime


def breaches(
    policy: Policy, fire_at: datetime, started_at: datetime | None, finished_at: datetime | None, now: datetime
) -> tuple[Breach, ...]:
    """The deadlines of one tick's run that it has broken by `now`; a time that has not come is None."""
    watched = (
        (Deadline.START, policy.start_within_secs, started_at),
        (Deadline.FINISH, policy.finish_within_secs, finished_at),
    )
    return tuple(
        Breach(deadline, limit)
        for deadline, secs, happened in watched
        if secs and (happened or now) > (limit := fire_at + timedelta(seconds=secs))
    )


def silence(policy: Policy, last_success_at: datetime, now: datetime) -> Breach | None:
    """The breach of `expect_every_secs` by `now`; before any success, count from when the schedule was made."""
    if not policy.expect_every_secs:
        return None
    limit = last_success_at + timedelta(seconds=policy.expect_every_secs)
    return Breach(Deadline.SUCCESS, limit) if now > limit else None
