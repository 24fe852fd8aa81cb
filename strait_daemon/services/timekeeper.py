"""Finds deadlines of schedules that were broken, records each once and tells the job's alert webhook.

Any number of processes look at once: each holds what it looks at, and a key stands behind that. What was broken while
no process was up is found by the first that comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

import msgspec
import structlog

from strait_core import ids
from strait_core.deadline import SETTLE, Deadline, breaches, quiet_until, secs_of, silence
from strait_core.schedule import Schedule
from strait_core.store import deadlines, webhooks
from strait_core.store.deadlines import Moments, MovedOn, NewBreach, Taken
from strait_core.store.owners import Owner
from strait_core.store.pool import Conn, Pool
from strait_core.store.webhooks import Alert
from strait_core.timetable import schedule_of
from strait_core.wire.schedules import Late
from strait_daemon.clock import Clock

BATCH: Final = 200
# What cannot be judged (a zone that is gone) is looked at again after this.
UNDECIDED_PAUSE: Final = timedelta(minutes=1)
# A limit that a calendar moves out of sight is looked for again after this.
FAR: Final = timedelta(days=1)
FORGET_SECS: Final = 600.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Verdicts:
    """What comes of the deadlines of one look."""

    over: list[Taken] = field(default_factory=list)
    moved: list[MovedOn] = field(default_factory=list)
    broken: list[tuple[NewBreach, Taken]] = field(default_factory=list)


class Timekeeper:
    """The service. Breaches are kept for `kept_days`, 0 = for ever."""

    def __init__(self, pool: Pool, clock: Clock, *, kept_days: int) -> None:
        self._pool = pool
        self._clock = clock
        self._kept_days = kept_days
        self._forgot = float("-inf")

    async def tick(self) -> float | None:
        """One look at a batch of what is due; 0 when there may be more."""
        now = self._clock.now()
        async with self._pool.connection() as conn:
            async with conn.transaction():
                taken = await deadlines.take_due(conn, now, BATCH)
                if taken:
                    await _settle(conn, taken, now)
            await self._forget(conn, now)
        return 0.0 if len(taken) == BATCH else None

    async def _forget(self, conn: Conn, now: datetime) -> None:
        if not self._kept_days or monotonic() - self._forgot < FORGET_SECS:
            return
        while await deadlines.forget_breaches(conn, now - timedelta(days=self._kept_days)) == deadlines.FORGET_ROWS:
            pass
        self._forgot = monotonic()


async def _settle(conn: Conn, taken: list[Taken], now: datetime) -> None:
    runs = await deadlines.moments(conn, [one.run_id for one in taken if one.run_id is not None])
    verdicts = _Verdicts()
    for one in taken:
        try:
            _judge(one, None if one.run_id is None else runs.get(one.run_id), now, verdicts)
        except Exception as error:  # noqa: BLE001 - a zone that is gone, a definition that cannot be read
            log.warning("deadline_not_judged", schedule=str(one.schedule_id), error=f"{type(error).__name__}: {error}")
            verdicts.moved.append(_moved(one, one.since, now + UNDECIDED_PAUSE))
    await deadlines.forget(conn, verdicts.over)
    await deadlines.move_on(conn, verdicts.moved)
    new = await deadlines.record(conn, [breach for breach, _ in verdicts.broken], now)
    told = [(breach, one) for breach, one in verdicts.broken if breach.id in new]
    for breach, one in told:
        log.info("deadline_broken", schedule=str(one.schedule_id), slug=one.slug, deadline=breach.deadline.value)
    alerts = [_alert(breach, one.owner, now) for breach, one in told if one.owner and one.owner.spec.alert_webhook_url]
    await webhooks.note_alerts(conn, alerts, now)


def _judge(one: Taken, run: Moments | None, now: datetime, verdicts: _Verdicts) -> None:
    """Whether a deadline was broken, and what is to be looked at next. Of what takes no runs nothing is expected."""
    if one.owner is None or one.owner.spec.cron is None or not one.takes_runs:
        verdicts.over.append(one)
        return
    schedule = schedule_of(one.schedule_id, one.owner.spec, one.calendar)
    if one.deadline is Deadline.SUCCESS:
        _judge_silence(one, schedule, now, verdicts)
    else:
        _judge_tick(one, schedule, run, now, verdicts)


def _judge_tick(one: Taken, schedule: Schedule, run: Moments | None, now: datetime, verdicts: _Verdicts) -> None:
    secs = secs_of(schedule.policy, one.deadline)
    waits = one.run_id is None and one.held_fire_at == one.since
    # Without a run there is nothing to be late: its tick was dropped, or retention has taken the run after its end.
    if secs is None or (run is None and not waits):
        verdicts.over.append(one)
        return
    look_at = one.since + timedelta(seconds=secs) + SETTLE
    if look_at > now:
        verdicts.moved.append(_moved(one, one.since, look_at))
        return
    verdicts.over.append(one)
    run = run or Moments(None, None)
    for breach in breaches(schedule.policy, one.since, run.started_at, run.finished_at, now):
        if breach.deadline is one.deadline:
            verdicts.broken.append((_breach(one, breach.at, now), one))


def _judge_silence(one: Taken, schedule: Schedule, now: datetime, verdicts: _Verdicts) -> None:
    if one.paused or not schedule.policy.expect_every_secs:
        verdicts.over.append(one)
        return
    since, rule = one.since, schedule.rule
    quiet = silence(schedule.policy, since, now, rule)
    if quiet is not None and quiet.at + SETTLE <= now:
        verdicts.broken.append((_breach(one, quiet.at, now), one))
        following = quiet_until(schedule.policy, quiet.at, rule)
        # Nobody watched the periods of an outage: the first stands for all of them.
        since = quiet.at if following is None or following > now else now
    limit = quiet_until(schedule.policy, since, rule)
    verdicts.moved.append(_moved(one, since, now + FAR if limit is None else limit + SETTLE))


def _moved(one: Taken, since: datetime, due_at: datetime) -> MovedOn:
    return MovedOn(schedule_id=one.schedule_id, deadline=one.deadline, since=one.since, new_since=since, due_at=due_at)


def _breach(one: Taken, limit: datetime, now: datetime) -> NewBreach:
    assert one.project_id is not None
    return NewBreach(
        id=deadlines.new_breach(now),
        schedule_id=one.schedule_id,
        project_id=one.project_id,
        deadline=one.deadline,
        since=one.since,
        limit_at=limit,
        run_id=one.run_id,
    )


def _alert(breach: NewBreach, owner: Owner, now: datetime) -> Alert:
    prefix = ids.Prefix.WORKFLOW_RUN if owner.is_flow else ids.Prefix.RUN
    run_id = None if breach.run_id is None else ids.spell(prefix, breach.run_id)
    told = Late(
        deadline=breach.deadline,
        secs=getattr(owner.spec, breach.deadline.value),
        since=breach.since,
        limit_at=breach.limit_at,
        found_at=now,
        run_id=run_id,
        schedule_id=ids.spell(ids.Prefix.SCHEDULE, breach.schedule_id),
        job_id=None if owner.is_flow else ids.spell(ids.Prefix.JOB, owner.id),
        job_slug=None if owner.is_flow else owner.spec.slug,
        workflow_id=ids.spell(ids.Prefix.WORKFLOW, owner.id) if owner.is_flow else None,
        workflow_slug=owner.spec.slug if owner.is_flow else None,
        project_id=breach.project_id,
    )
    return Alert(breach.project_id, owner.id, breach.run_id, msgspec.json.encode(told).decode())
