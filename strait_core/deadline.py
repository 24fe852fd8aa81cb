"""Deadlines of a schedule: until when they are kept, and which were broken. Pure.

Times are those of the tick or of the last success, never of whoever notices: a breach found after an outage is the same
as one found at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from strait_core.calendar import date_of, day_number
from strait_core.errors import Fault
from strait_core.rule import Rule
from strait_core.schedule import CATCH_UP, CRON, Policy

if TYPE_CHECKING:
    from strait_core.workflow.definition import Timed

# Schedules count in minutes: a shorter silence means nothing.
SHORTEST_SILENCE_SECS: Final = 60
# Ticks that are held to their deadlines; what a person fires, or fires again, has its time from that person.
WATCHED: Final = frozenset({CRON, CATCH_UP})
# A start that was in time may be written a moment later: whoever judges waits so long after the limit.
SETTLE: Final = timedelta(seconds=1)
# A calendar that leaves so few days is as good as one that leaves none.
_MOST_DAYS: Final = 42 * 366


class Deadline(StrEnum):
    """What was to happen in time: the start, the finish, or any success at all."""

    START = "start_within_secs"
    FINISH = "finish_within_secs"
    SUCCESS = "expect_every_secs"


OF_TICKS: Final = (Deadline.START, Deadline.FINISH)


@dataclass(frozen=True, slots=True)
class Breach:
    """A deadline that passed: which, and the instant until which it would have been kept."""

    deadline: Deadline
    at: datetime


def secs_of(policy: Policy, deadline: Deadline) -> int | None:
    """The length of a deadline; None when the schedule has none of that kind."""
    secs: int | None = getattr(policy, deadline.value)
    return secs


def faults_of(spec: Timed) -> list[Fault]:
    """What is wrong with a definition's deadlines beside their bounds."""
    faults = []
    silence = spec.expect_every_secs
    if silence and 0 < silence < SHORTEST_SILENCE_SECS:
        faults.append(Fault("/expect_every_secs", f"must be 0 or at least {SHORTEST_SILENCE_SECS}"))
    if spec.alert_webhook_url is not None and not any(getattr(spec, name) for name in Deadline):
        faults.append(Fault("/alert_webhook_url", f"works only with {', '.join(Deadline)}"))
    return faults


def breaches(
    policy: Policy, fire_at: datetime, started_at: datetime | None, finished_at: datetime | None, now: datetime
) -> tuple[Breach, ...]:
    """The deadlines of one tick's run that it has broken by `now`; a time that has not come is None."""
    happened = {Deadline.START: started_at, Deadline.FINISH: finished_at}
    return tuple(
        Breach(deadline, limit)
        for deadline in OF_TICKS
        if (secs := secs_of(policy, deadline))
        and (happened[deadline] or now) > (limit := fire_at + timedelta(seconds=secs))
    )


def silence(policy: Policy, last_success_at: datetime, now: datetime, rule: Rule | None = None) -> Breach | None:
    """The breach of `expect_every_secs` by `now`; before any success, count from when the schedule began to fire."""
    limit = quiet_until(policy, last_success_at, rule)
    return Breach(Deadline.SUCCESS, limit) if limit is not None and now > limit else None


def quiet_until(policy: Policy, last_success_at: datetime, rule: Rule | None = None) -> datetime | None:
    """Until when the next success is in time; None = it may take for ever.

    Days on which the rule's calendar lets nothing fire do not count.
    """
    if not policy.expect_every_secs:
        return None
    left = timedelta(seconds=policy.expect_every_secs)
    if rule is None or rule.calendar is None:
        return last_success_at + left
    for begins, ends in _open_days(rule, last_success_at):
        if ends - begins >= left:
            return begins + left
        left -= ends - begins
    return None


def _open_days(rule: Rule, since: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The days from `since` on that the calendar of a rule leaves, each from its beginning to its end."""
    assert rule.calendar is not None
    zone = ZoneInfo(rule.zone)
    first = day_number(since.astimezone(zone).date())
    begins = since
    for day in range(first, first + _MOST_DAYS):
        ends = datetime.combine(date_of(day + 1), time(), zone).astimezone(UTC)
        if rule.calendar.allows(day) and ends > begins:
            yield begins, ends
        begins = max(begins, ends)
