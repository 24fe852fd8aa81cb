"""What ticks come to, applied: `schedule.decide` says it, here runs are stored, ticks recorded and schedules moved on.

Every function works in the caller's transaction, on schedules that it holds, so a tick is decided once whoever comes
first: the ticker of any process, or the request that changes the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from strait_core.deadline import SETTLE, WATCHED, quiet_until
from strait_core.errors import Fault, ValidationError
from strait_core.run import CANCELABLE, Event, Status
from strait_core.schedule import (
    CATCH_UP,
    CRON,
    GRACE,
    Action,
    Decision,
    Decisions,
    OverlapPolicy,
    SkipReason,
    State,
    calendar_faults,
    decide,
    due_at,
    next_fire,
    previous_fire,
)
from strait_core.store import budgets, calendars, deadlines, endings, queue, schedules
from strait_core.store.calendars import StoredCalendar
from strait_core.store.deadlines import Watch, watches_of
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.runs import Ended
from strait_core.store.schedules import ActiveTick, Due, Fire, Step, StoredSchedule
from strait_core.timetable import policy_of, rule_of, schedule_of
from strait_core.trigger import NewRun, new_run
from strait_core.wire import TriggerRequest

# Runs made for missed ticks of one schedule in one go, and how long until the next go: a backlog drains at this pace.
ROOM: Final = 5
PACE: Final = timedelta(seconds=1)
# How long until a tick that waits for the run before it is looked at again.
HELD_PAUSE: Final = timedelta(seconds=0.5)
UNDECIDED_PAUSE: Final = timedelta(minutes=1)
_TICK: Final = timedelta(microseconds=1)
_NOTHING_SAID: Final = TriggerRequest()
NewId = Callable[[], UUID]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Done:
    """What came of a look: runs made, runs canceled, and schedules left because they need a transaction of their own.

    `refused`: schedules whose job has changed since it was read; they are as due as they were.
    """

    made: list[UUID] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    left: list[UUID] = field(default_factory=list)
    refused: int = 0

    def add(self, more: Done) -> None:
        """Take in what came of another look."""
        self.made += more.made
        self.ended += more.ended


@dataclass(slots=True)
class _Plan:
    """What one schedule's look is to do."""

    due: Due
    step: Step
    fires: list[Fire] = field(default_factory=list)
    new: list[NewRun] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    cancel: list[UUID] = field(default_factory=list)


async def look(
    conn: Conn,
    due: Sequence[Due],
    now: datetime,
    new_id: NewId,
    *,
    alone: bool = False,
    room: int = ROOM,
    as_of: datetime | None = None,
) -> Done:
    """Decide what is due of these schedules at `now`, or at `as_of` when that is given.

    Unless it is `alone`, one that would cancel runs is left for later: canceling waits for other transactions, and
    nobody else should wait with it.
    """
    done = Done()
    overlapping = [one.job_id for one in due if _minds_overlap(one)]
    active = await schedules.active_ticks(conn, overlapping) if overlapping else {}
    deciding = _Deciding(as_of or now, room)
    plans = [_planned(one, active.get(one.job_id, ()), now, deciding, new_id) for one in due]
    await _withhold(conn, [plan for plan in plans if plan.new and plan.due.budgeted], now)
    if not alone:
        done.left = [plan.due.id for plan in plans if plan.cancel]
        plans = [plan for plan in plans if not plan.cancel]
    else:
        for plan in plans:
            await _pass_over_recorded(conn, plan)
    await _apply(conn, plans, now, done)
    return done


async def _withhold(conn: Conn, plans: Sequence[_Plan], now: datetime) -> None:
    """Ticks of projects that have spent their budget of the day make no runs, and cancel none to make room."""
    projects = {plan.due.spec.project_id for plan in plans}
    spent = {project for project in projects if await budgets.spent_until(conn, project, now) is not None}
    for plan in plans:
        if plan.due.spec.project_id in spent:
            plan.fires = [
                fire if fire.run_id is None else replace(fire, run_id=None, skipped=SkipReason.BUDGET.value)
                for fire in plan.fires
            ]
            # Nobody need wait for a run that is not made; one that is held for later may come.
            plan.watches = [watch for watch in plan.watches if watch.since == plan.step.held_fire_at]
            plan.new.clear()
            plan.cancel.clear()


async def _pass_over_recorded(conn: Conn, plan: _Plan) -> None:
    """Take out of a plan what has been decided before: a clock has gone back, say, and the schedule after it."""
    if not plan.fires:
        return
    known = await schedules.recorded(conn, plan.due.id, [fire.fire_at for fire in plan.fires])
    if known:
        gone = {fire.run_id for fire in plan.fires if fire.fire_at in known}
        plan.fires = [fire for fire in plan.fires if fire.fire_at not in known]
        plan.new = [run for run in plan.new if run.id not in gone]
        plan.watches = [watch for watch in plan.watches if watch.since not in known]
        plan.cancel = plan.cancel if plan.new else []


def _minds_overlap(due: Due) -> bool:
    return due.held_fire_at is not None or due.spec.overlap_policy is not OverlapPolicy.ALLOW


class _Deciding:
    """Asks `decide`, once for all schedules that must come to the same: at the full hour most do."""

    def __init__(self, as_of: datetime, room: int) -> None:
        self._as_of = as_of
        self._room = room
        self._known: dict[tuple[object, ...], Decisions] = {}

    def of(self, due: Due, live: int, *, held: bool) -> Decisions:
        """What becomes of the ticks of a schedule of which so many runs are live."""
        spec = due.spec
        if spec.jitter_secs or held or spec.overlap_policy is not OverlapPolicy.ALLOW:
            return self._decide(due, live, held=held)
        same = (
            spec.cron, spec.timezone, spec.dst_gap, spec.dst_overlap, due.next_fire_at, spec.misfire_policy,
            spec.misfire_max_lateness_secs, spec.misfire_max_runs, due.calendar, spec.calendar_mode, spec.calendar_roll,
        )  # fmt: skip
        found = self._known.get(same)
        if found is None:
            found = self._known[same] = self._decide(due, live, held=held)
        return found

    def _decide(self, due: Due, live: int, *, held: bool) -> Decisions:
        schedule = schedule_of(due.id, due.spec, due.calendar)
        return decide(schedule, State(due.next_fire_at, live, held), self._as_of, room=self._room)


def _planned(due: Due, active: Sequence[ActiveTick], now: datetime, deciding: _Deciding, new_id: NewId) -> _Plan:
    """The plan of one schedule; one that cannot be decided stands in nobody's way and is looked at again later."""
    try:
        return _plan(due, active, now, deciding, new_id)
    except Exception as error:  # noqa: BLE001 - a zone that is gone, a definition that cannot be read
        log.warning("schedule_not_decided", schedule=str(due.id), error=f"{type(error).__name__}: {error}")
        later = now + UNDECIDED_PAUSE
        return _Plan(due, Step(id=due.id, next_fire_at=due.next_fire_at, held_fire_at=due.held_fire_at, due_at=later))


def _plan(due: Due, active: Sequence[ActiveTick], now: datetime, deciding: _Deciding, new_id: NewId) -> _Plan:
    plan = _Plan(due, Step(id=due.id, next_fire_at=None, held_fire_at=None, due_at=None))
    held, live = due.held_fire_at, len(active)
    if held is not None and (live == 0 or due.spec.overlap_policy is not OverlapPolicy.QUEUE_ONE):
        _fire(plan, held, CRON if now - held <= GRACE else CATCH_UP, now, new_id)
        held, live = None, live + 1
    waiting = [one.id for one in active]
    found = deciding.of(due, live, held=held is not None)
    for decision in found.decided:
        if decision.action is Action.SKIP:
            plan.fires.append(_skip(due.id, decision))
        elif decision.after_running:
            held = decision.fire_at
        else:
            if decision.cancel_running:
                plan.cancel = waiting
                _drop_earlier(plan)
            _fire(plan, decision.fire_at, decision.triggered_by, now, new_id)
    plan.step = _step(due.id, found, held, now)
    ticks = [fire.fire_at for fire in plan.fires if fire.run_id is not None and fire.triggered_by in WATCHED]
    plan.watches = watches_of(due.id, policy_of(due.spec), ticks if held is None else [*ticks, held])
    return plan


def _drop_earlier(plan: _Plan) -> None:
    """A run that this very look would make and then cancel is not made: its tick gives way to the later one."""
    for run in plan.new:
        at = next(at for at, fire in enumerate(plan.fires) if fire.run_id == run.id)
        plan.fires[at] = replace(plan.fires[at], run_id=None, skipped=SkipReason.OVERLAP.value)
    plan.new.clear()


def _fire(plan: _Plan, fire_at: datetime, triggered_by: str, now: datetime, new_id: NewId) -> None:
    due = plan.due
    run = new_run(
        _NOTHING_SAID,
        due.spec,
        run_id=new_id(),
        job_id=due.job_id,
        job_version=due.version,
        now=now,
        triggered_by=triggered_by,
    )
    plan.new.append(replace(run, fire_at=fire_at))
    plan.fires.append(
        Fire(schedule_id=due.id, fire_at=fire_at, triggered_by=triggered_by, run_id=run.id, first_fire_at=fire_at)
    )


def _skip(schedule_id: UUID, decision: Decision) -> Fire:
    assert decision.reason is not None
    return Fire(
        schedule_id=schedule_id,
        fire_at=decision.fire_at,
        triggered_by=decision.triggered_by,
        skipped=decision.reason.value,
        ticks=decision.count,
        first_fire_at=decision.first_fire_at or decision.fire_at,
    )


def _step(schedule_id: UUID, found: Decisions, held: datetime | None, now: datetime) -> Step:
    upcoming = found.next_due_at
    if upcoming is not None and upcoming <= now:
        # A backlog goes on at its pace, and stays recognizable as one.
        upcoming = max(upcoming, now - GRACE - PACE)
    if held is not None:
        upcoming = now + HELD_PAUSE if upcoming is None else min(upcoming, now + HELD_PAUSE)
    return Step(id=schedule_id, next_fire_at=found.next_fire_at, held_fire_at=held, due_at=upcoming)


async def _apply(conn: Conn, plans: Sequence[_Plan], now: datetime, done: Done) -> None:
    """Cancel, store, record, move on. A plan of which a run is refused is dropped whole: its job has just changed."""
    for plan in plans:
        if plan.cancel:
            done.ended += await endings.end_active(
                conn,
                plan.cancel,
                event=Event.CANCEL,
                to=Status.CANCELED,
                allowed=CANCELABLE,
                now=now,
                reason="the next tick came (overlap_policy cancel_running)",
            )
    new = [run for plan in plans for run in plan.new]
    stored = await queue.insert_runs(conn, new, now) if new else set()
    kept = [plan for plan in plans if all(run.id in stored for run in plan.new)]
    done.refused += len(plans) - len(kept)
    await schedules.note_fires(conn, [fire for plan in kept for fire in plan.fires], now)
    await deadlines.watch(conn, [watch for plan in kept for watch in plan.watches])
    await schedules.advance(conn, [plan.step for plan in kept])
    done.made += stored


# ── changes of a schedule ─────────────────────────────────────────────────────────────────────────────────────────────


async def settle(conn: Conn, job: StoredJob, now: datetime, new_id: NewId) -> Done:
    """Decide every tick whose time has come under the rule in force, before it changes: none is lost by an edit.

    The caller holds the job; this takes the schedule too. Jitter is cut short.
    """
    row = await schedules.lock(conn, job.id)
    if row is None or row["due_at"] is None or job.spec.cron is None:
        return Done()
    at, held = row["next_fire_at"], row["held_fire_at"]
    if held is None and (at is None or at > now):
        return Done()
    due = Due(row["id"], at, held, row["due_at"], job.id, job.version, job.spec, row["calendar"], budgeted=True)
    schedule = schedule_of(row["id"], job.spec, row["calendar"])
    last = previous_fire(schedule.rule, now + _TICK)
    as_of = now if last is None else max(now, due_at(schedule, last))
    return await look(conn, [due], now, new_id, alone=True, room=job.spec.misfire_max_runs, as_of=as_of)


async def place(conn: Conn, job: StoredJob, now: datetime, new_id: NewId) -> None:
    """Let the schedule of a job follow its definition: there or not, firing or not, next after `now`.

    Raises ValidationError when it names a calendar that is not there, or one that leaves it no day.
    """
    if job.spec.cron is None:
        await schedules.drop(conn, job.id)
        return
    row = await schedules.lock(conn, job.id)
    schedule_id = new_id() if row is None else row["id"]
    fires_now = job.enabled and not job.paused and not (row is not None and row["paused"])
    held = row is not None and row["held_fire_at"] is not None
    calendar = await _calendar(conn, job, now)
    days = None if calendar is None else calendar.definition
    upcoming, upcoming_due = _upcoming(schedule_id, job, days, now, held=held) if fires_now else (None, None)
    calendar_id = None if calendar is None else calendar.id
    await schedules.put(conn, schedule_id, job.id, upcoming, upcoming_due, now, calendar_id=calendar_id)
    await _expect(conn, schedule_id, job, days, now, fires_now=fires_now)


async def _expect(
    conn: Conn, schedule_id: UUID, job: StoredJob, calendar: str | None, now: datetime, *, fires_now: bool
) -> None:
    """Expect successes as long as the schedule fires, counted from now on if they were not expected before."""
    if not fires_now or not job.spec.expect_every_secs:
        await deadlines.expect_nothing(conn, schedule_id)
        return
    schedule = schedule_of(schedule_id, job.spec, calendar)
    limit = quiet_until(schedule.policy, now, schedule.rule)
    await deadlines.expect(conn, schedule_id, now, now + SETTLE if limit is None else limit + SETTLE)


async def _calendar(conn: Conn, job: StoredJob, now: datetime) -> StoredCalendar | None:
    """The calendar that a job names; it is there, and leaves a day."""
    if job.spec.calendar is None:
        return None
    found = await calendars.by_slug(conn, job.spec.calendar, job.spec.project_id)
    if found is None:
        said = f"project {job.spec.project_id!r} has no calendar {job.spec.calendar[:128]!r}"
        raise ValidationError([Fault("/calendar", said)], hint="see `strait calendars list`, or make one first")
    faults = calendar_faults(rule_of(job.spec, found.definition), now, "/calendar")
    if faults:
        raise ValidationError(faults, hint=f"job {job.spec.slug!r} fires by {job.spec.cron!r}")
    return found


def _upcoming(
    schedule_id: UUID, job: StoredJob, calendar: str | None, now: datetime, *, held: bool
) -> tuple[datetime | None, datetime | None]:
    """The next tick, and when somebody has to look: at once when another tick waits."""
    schedule = schedule_of(schedule_id, job.spec, calendar)
    at = next_fire(schedule.rule, now)
    return at, now if held else None if at is None else due_at(schedule, at)


async def set_paused(
    conn: Conn, job: StoredJob, found: StoredSchedule, now: datetime, *, paused: bool, reason: str | None
) -> None:
    """Pause a schedule, or let it go on with the next tick after `now`. The caller has settled what was due."""
    fires_now = job.enabled and not job.paused and not paused
    held = found.held_fire_at is not None
    upcoming, upcoming_due = _upcoming(found.id, job, found.calendar, now, held=held) if fires_now else (None, None)
    await schedules.set_paused(
        conn, found.id, now, paused=paused, reason=reason, next_fire_at=upcoming, due_at=upcoming_due
    )
    await _expect(conn, found.id, job, found.calendar, now, fires_now=fires_now)


async def fire_now(conn: Conn, job: StoredJob, found: StoredSchedule, now: datetime, new_id: NewId) -> UUID | None:
    """Fire by hand, beside whatever runs; None when the job takes no runs."""
    due = Due(found.id, None, None, now, job.id, job.version, job.spec, found.calendar)
    plan = _Plan(due, Step(id=found.id, next_fire_at=None, held_fire_at=None, due_at=None))
    _fire(plan, now, "manual", now, new_id)
    if not await queue.insert_runs(conn, plan.new, now):
        return None
    await schedules.note_fires(conn, plan.fires, now)
    return plan.new[0].id


def upcoming(found: StoredSchedule, count: int) -> list[tuple[datetime, datetime]]:
    """The next ticks of a schedule that fires: when each is, and when with its jitter it is due."""
    schedule = schedule_of(found.id, found.spec, found.calendar)
    coming: list[tuple[datetime, datetime]] = []
    at = found.next_fire_at
    while at is not None and len(coming) < count:
        coming.append((at, due_at(schedule, at)))
        at = next_fire(schedule.rule, at)
    return coming
