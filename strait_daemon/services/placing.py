"""Schedules follow what they belong to: settled before a job or a workflow changes, placed after it has.

Every function works in the caller's transaction, on a job or a workflow that it holds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from strait_core.deadline import SETTLE, quiet_until
from strait_core.errors import ConflictError, Fault, ValidationError
from strait_core.schedule import calendar_faults, due_at, next_fire, previous_fire
from strait_core.store import calendars, deadlines, jobs, schedules, workflows
from strait_core.store.calendars import StoredCalendar
from strait_core.store.jobs import StoredJob
from strait_core.store.owners import Kind, Owner
from strait_core.store.pool import Conn
from strait_core.store.schedules import Due, StoredSchedule
from strait_core.store.workflows import StoredWorkflow
from strait_core.timetable import rule_of, schedule_of
from strait_daemon.services import ticks
from strait_daemon.services.ticks import Done, NewId, look

# What a schedule fires, as the store has it.
Firing: TypeAlias = StoredJob | StoredWorkflow
_TICK: Final = timedelta(microseconds=1)


def owner_of(one: Firing) -> Owner:
    """A job or a workflow as the owner of a schedule."""
    kind = Kind.JOB if isinstance(one, StoredJob) else Kind.WORKFLOW
    return Owner(kind, one.id, one.version, one.spec)


async def hold_owner(conn: Conn, kind: Kind, owner_id: UUID) -> Firing | None:
    """The job or the workflow of that id, held until the transaction ends; None when it was deleted."""
    if kind is Kind.JOB:
        return await jobs.lock_job(conn, owner_id)
    return await workflows.lock_workflow(conn, owner_id)


async def settle(conn: Conn, one: Firing, now: datetime, new_id: NewId) -> Done:
    """Decide every tick whose time has come under the rule in force, before it changes: none is lost by an edit.

    The caller holds the job or the workflow; this takes the schedule too. Jitter is cut short.
    """
    row = await schedules.lock(conn, one.id)
    if row is None or row["due_at"] is None or one.spec.cron is None:
        return Done()
    at, held = row["next_fire_at"], row["held_fire_at"]
    if held is None and (at is None or at > now):
        return Done()
    due = Due(row["id"], at, held, row["due_at"], owner_of(one), row["calendar"], budgeted=True)
    schedule = schedule_of(row["id"], one.spec, row["calendar"])
    last = previous_fire(schedule.rule, now + _TICK)
    as_of = now if last is None else max(now, due_at(schedule, last))
    return await look(conn, [due], now, new_id, alone=True, room=one.spec.misfire_max_runs, as_of=as_of)


async def place(conn: Conn, one: Firing, now: datetime, new_id: NewId) -> None:
    """Let the schedule of a job or a workflow follow its definition: there or not, firing or not, next after `now`.

    Raises ValidationError when it names a calendar that is not there, or one that leaves it no day.
    """
    if one.spec.cron is None:
        await schedules.drop(conn, one.id)
        return
    row = await schedules.lock(conn, one.id)
    schedule_id = new_id() if row is None else row["id"]
    fires_now = one.enabled and not one.paused and not (row is not None and row["paused"])
    held = row is not None and row["held_fire_at"] is not None
    calendar = await _calendar(conn, one, now)
    days = None if calendar is None else calendar.definition
    upcoming, upcoming_due = _upcoming(schedule_id, one, days, now, held=held) if fires_now else (None, None)
    calendar_id = None if calendar is None else calendar.id
    kind = owner_of(one).kind
    await schedules.put(conn, schedule_id, kind, one.id, upcoming, upcoming_due, now, calendar_id=calendar_id)
    await _expect(conn, schedule_id, one, days, now, fires_now=fires_now)


async def _expect(
    conn: Conn, schedule_id: UUID, one: Firing, calendar: str | None, now: datetime, *, fires_now: bool
) -> None:
    """Expect successes as long as the schedule fires, counted from now on if they were not expected before."""
    if not fires_now or not one.spec.expect_every_secs:
        await deadlines.expect_nothing(conn, schedule_id)
        return
    schedule = schedule_of(schedule_id, one.spec, calendar)
    limit = quiet_until(schedule.policy, now, schedule.rule)
    await deadlines.expect(conn, schedule_id, now, now + SETTLE if limit is None else limit + SETTLE)


async def _calendar(conn: Conn, one: Firing, now: datetime) -> StoredCalendar | None:
    """The calendar that a definition names; it is there, and leaves a day."""
    spec = one.spec
    if spec.calendar is None:
        return None
    found = await calendars.share(conn, spec.calendar, spec.project_id)
    if found is None:
        said = f"project {spec.project_id!r} has no calendar {spec.calendar[:128]!r}"
        raise ValidationError([Fault("/calendar", said)], hint="see `strait calendars list`, or make one first")
    faults = calendar_faults(rule_of(spec, found.definition), now, "/calendar")
    if faults:
        raise ValidationError(faults, hint=f"{owner_of(one).kind} {spec.slug!r} fires by {spec.cron!r}")
    return found


def _upcoming(
    schedule_id: UUID, one: Firing, calendar: str | None, now: datetime, *, held: bool
) -> tuple[datetime | None, datetime | None]:
    """The next tick, and when somebody has to look: at once when another tick waits."""
    schedule = schedule_of(schedule_id, one.spec, calendar)
    at = next_fire(schedule.rule, now)
    return at, now if held else None if at is None else due_at(schedule, at)


async def set_paused(
    conn: Conn, one: Firing, found: StoredSchedule, now: datetime, *, paused: bool, reason: str | None
) -> None:
    """Pause a schedule, or let it go on with the next tick after `now`. The caller has settled what was due."""
    fires_now = one.enabled and not one.paused and not paused
    held = found.held_fire_at is not None
    upcoming, upcoming_due = _upcoming(found.id, one, found.calendar, now, held=held) if fires_now else (None, None)
    await schedules.set_paused(
        conn, found.id, now, paused=paused, reason=reason, next_fire_at=upcoming, due_at=upcoming_due
    )
    await _expect(conn, found.id, one, found.calendar, now, fires_now=fires_now)


async def fire_now(conn: Conn, one: Firing, found: StoredSchedule, now: datetime, new_id: NewId) -> tuple[UUID, Done]:
    """Fire by hand, beside whatever runs: the run, and what came of it. ConflictError when it takes no runs."""
    due = Due(found.id, None, None, now, owner_of(one), found.calendar)
    run, done = await ticks.fire_by_hand(conn, due, now, new_id)
    if run is None:
        kind, slug = found.owner.kind, found.spec.slug
        raise ConflictError(
            f"{kind} {slug!r} takes no runs: it is paused or disabled", hint=f"see `strait {kind}s get {slug}`"
        )
    return run, done


def upcoming(found: StoredSchedule, count: int) -> list[tuple[datetime, datetime]]:
    """The next ticks of a schedule that fires: when each is, and when with its jitter it is due."""
    schedule = schedule_of(found.id, found.spec, found.calendar)
    coming: list[tuple[datetime, datetime]] = []
    at = found.next_fire_at
    while at is not None and len(coming) < count:
        coming.append((at, due_at(schedule, at)))
        at = next_fire(schedule.rule, at)
    return coming
