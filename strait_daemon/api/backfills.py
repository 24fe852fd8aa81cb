"""Backfills: fire an interval of a schedule again, see how far that is, stop it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from strait_core import backfill as planning
from strait_core import ids
from strait_core.backfill import MOST_AT_ONCE, MOST_FIRES, Known, Plan
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.schedule import Schedule
from strait_core.store import backfills, schedules
from strait_core.store.backfills import StoredBackfill
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.schedules import StoredSchedule
from strait_core.timetable import schedule_of
from strait_core.wire.backfills import Backfill, BackfillPlan, BackfillRequest, BackfillTick
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT
from strait_daemon.api.schedule_lookup import find_schedule
from strait_daemon.api.schedules import SCHEDULE
from strait_daemon.services.placing import hold_owner

_UNCLEAR: Final = (NotFoundError, ConflictError)
_PATH: Final = f"{SCHEDULE}/backfill"


async def start_backfill(api: Api, call: Call) -> Reply:
    """POST /v1/schedules/{schedule}/backfill."""
    body: BackfillRequest = call.body
    now = api.deps.clock.now()
    faults = _faults(body, now)
    if faults:
        raise ValidationError(faults)
    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["schedule"], call.project)
        await _check_size(found, body)
        if body.dry_run:
            return reply(_told(found, await _planned(conn, found, body, now), None, dry_run=True))

    async def work(conn: Conn) -> Reply:
        return await _start(api, conn, found, body)

    return await answered_once(api, call, Scope(found.spec.project_id, f"backfillSchedule:{found.id}"), work)


async def _start(api: Api, conn: Conn, ref: StoredSchedule, body: BackfillRequest) -> Reply:
    """Plan with the schedule held: neither its clock nor another backfill decides a tick meanwhile."""
    now = api.deps.clock.now()
    await hold_owner(conn, ref.owner.kind, ref.owner.id)
    await schedules.lock(conn, ref.owner.id)
    found = await schedules.of_owner(conn, ref.owner.id)
    if found is None:
        raise NotFoundError(f"the schedule of {ref.owner.kind} {ref.spec.slug!r} has just been deleted")
    plan = await _planned(conn, found, body, now)
    if not plan.ticks:
        return reply(_told(found, plan, await backfills.newest(conn, found.id)))
    if await backfills.hold_open(conn, found.id) is not None:
        raise ConflictError(
            f"a backfill of {found.spec.slug!r} is under way",
            hint=f"wait for it, or stop it: strait schedules backfill {found.spec.slug} --stop",
        )
    span = (body.from_at.astimezone(UTC), body.to_at.astimezone(UTC))
    made = await backfills.insert(
        conn, api.deps.new_id(), found.id, span, plan.ticks, now, max_concurrency=body.max_concurrency
    )
    return reply(_told(found, plan, made), 201)


async def _planned(conn: Conn, found: StoredSchedule, body: BackfillRequest, now: datetime) -> Plan:
    span = (body.from_at.astimezone(UTC), body.to_at.astimezone(UTC))
    known = Known(
        fired=await backfills.fired_ticks(conn, found.id, *span) if body.missing_only else (),
        backfilled=await backfills.backfilled_ticks(conn, found.id, *span),
        next_fire_at=None if found.due_at is None else found.next_fire_at,
        held_fire_at=found.held_fire_at,
    )
    return await asyncio.to_thread(planning.plan, _schedule(found), *span, known, now, missing_only=body.missing_only)


def _schedule(found: StoredSchedule) -> Schedule:
    return schedule_of(found.id, found.spec, found.calendar)


async def _check_size(found: StoredSchedule, body: BackfillRequest) -> None:
    count = await asyncio.to_thread(planning.count, _schedule(found), body.from_at, body.to_at)
    if count > MOST_FIRES:
        said = f"the interval has {count:,} fires; one call takes at most {MOST_FIRES:,}"
        raise ValidationError([Fault("/to_at", said)], hint="fire it again part by part")


def _faults(body: BackfillRequest, now: datetime) -> list[Fault]:
    faults = [
        Fault(f"/{name}", "must carry a UTC offset, and lie between the years 1970 and 2200")
        for name, at in (("from_at", body.from_at), ("to_at", body.to_at))
        if at.tzinfo is None or not 1970 <= at.year <= 2200
    ]
    if not faults and body.to_at <= body.from_at:
        faults.append(Fault("/to_at", "must be later than from_at"))
    elif not faults and body.to_at > now:
        faults.append(Fault("/to_at", "must have passed: the clock fires what is to come"))
    if not 1 <= body.max_concurrency <= MOST_AT_ONCE:
        faults.append(Fault("/max_concurrency", f"must be from 1 to {MOST_AT_ONCE}"))
    return faults


def _told(found: StoredSchedule, plan: Plan, made: StoredBackfill | None, *, dry_run: bool = False) -> BackfillPlan:
    zone = ZoneInfo(found.spec.timezone)
    return BackfillPlan(
        fires=len(plan.ticks),
        already=plan.already,
        fired=plan.fired,
        undecided=plan.undecided,
        ticks=[_tick(at, zone) for at in plan.ticks] if dry_run else [],
        backfill=None if made is None else _shaped(found, made),
    )


def _tick(at: datetime, zone: ZoneInfo) -> BackfillTick:
    local = at.astimezone(zone)
    return BackfillTick(
        fire_at=at, local=f"{local:%Y-%m-%dT%H:%M:%S}", zone_offset=local.isoformat()[len("2030-01-31T09:00:00") :]
    )


def _shaped(found: StoredSchedule, one: StoredBackfill) -> Backfill:
    return Backfill(
        schedule_id=ids.spell(ids.Prefix.SCHEDULE, found.id),
        job_slug=None if found.owner.is_flow else found.spec.slug,
        workflow_slug=found.spec.slug if found.owner.is_flow else None,
        state="running" if one.ended_at is None else "stopped" if one.stopped else "done",
        from_at=one.from_at,
        to_at=one.to_at,
        max_concurrency=one.max_concurrency,
        fires=one.fires,
        made=one.made,
        active=one.active,
        completed=one.completed,
        unsuccessful=one.unsuccessful,
        created_at=one.created_at,
        ended_at=one.ended_at,
    )


async def get_backfill(api: Api, call: Call) -> Reply:
    """GET /v1/schedules/{schedule}/backfill."""
    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["schedule"], call.project)
        one = await backfills.newest(conn, found.id)
    if one is None:
        raise _none(found)
    return reply(_shaped(found, one))


async def stop_backfill(api: Api, call: Call) -> Reply:
    """DELETE /v1/schedules/{schedule}/backfill."""
    async with api.connection() as conn, conn.transaction():
        found = await find_schedule(conn, call.path["schedule"], call.project)
        one = await backfills.hold_open(conn, found.id)
        if one is None:
            raise _none(found)
        await backfills.stop(conn, one.id, api.deps.clock.now())
    return Reply(204)


def _none(found: StoredSchedule) -> NotFoundError:
    slug = found.spec.slug
    return NotFoundError(
        f"no backfill of {slug!r} is under way",
        hint=f"start one: strait schedules backfill {slug} --from TIME --to TIME",
    )


ROUTES: Final = (
    Operation(
        method="POST",
        path=_PATH,
        handle=start_backfill,
        name="backfillSchedule",
        summary=(
            f"Fire an interval again, at most {MOST_FIRES:,} ticks, each once however often it is asked for. 201 a new"
            " backfill, 200 a dry run, or nothing that is left to fire."
        ),
        tag="schedules",
        status=201,
        returns=BackfillPlan,
        also={200: BackfillPlan},
        body=Body(BackfillRequest, required=True),
        query=(PROJECT,),
        raises=_UNCLEAR,
        once=True,
    ),
    Operation(
        method="GET",
        path=_PATH,
        handle=get_backfill,
        name="getBackfill",
        summary="How far the schedule's newest backfill is.",
        tag="schedules",
        returns=Backfill,
        query=(PROJECT,),
        raises=_UNCLEAR,
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        handle=stop_backfill,
        name="stopBackfill",
        summary="Make no more runs of the backfill that is under way; those it has made go on.",
        tag="schedules",
        status=204,
        query=(PROJECT,),
        raises=_UNCLEAR,
    ),
)
