"""Schedules: what fires when, what it came to; pause, resume, fire by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from strait_core import ids, wire
from strait_core.deadline import Deadline, quiet_until
from strait_core.errors import BudgetError, ConflictError, Fault, NotFoundError, ValidationError
from strait_core.store import budgets, deadlines, runs, schedules, workflow_runs
from strait_core.store.deadlines import StoredBreach
from strait_core.store.idempotency import Scope
from strait_core.store.owners import Owner
from strait_core.store.pool import Conn
from strait_core.store.schedules import StoredSchedule
from strait_core.timetable import schedule_of
from strait_core.wire import schedules as told
from strait_core.wire.workflow_runs import WorkflowRun
from strait_daemon.api import query, shape
from strait_daemon.api.body import Body, Nothing
from strait_daemon.api.context import Api
from strait_daemon.api.following import tell
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.purses import spent_error
from strait_daemon.api.query import LIMIT_PARAM, PAGING, PROJECT, flag_param, id_prefix_param
from strait_daemon.api.schedule_lookup import find_schedule
from strait_daemon.api.workflow_runs import shaped
from strait_daemon.services import placing
from strait_daemon.services.placing import Firing, hold_owner
from strait_daemon.services.ticks import Done

SCHEDULE: Final = "/v1/schedules/{schedule}"
MAX_REASON: Final = 1_000
_UNCLEAR: Final = (NotFoundError, ConflictError)


def _shaped(found: StoredSchedule) -> told.Schedule:
    state = "paused" if found.paused or found.owner_paused else "active" if found.enabled else "disabled"
    owner = found.owner
    return told.Schedule(
        id=ids.spell(ids.Prefix.SCHEDULE, found.id),
        kind=owner.kind.value,
        slug=found.spec.slug,
        job_id=None if owner.is_flow else ids.spell(ids.Prefix.JOB, owner.id),
        job_slug=None if owner.is_flow else found.spec.slug,
        workflow_id=ids.spell(ids.Prefix.WORKFLOW, owner.id) if owner.is_flow else None,
        workflow_slug=found.spec.slug if owner.is_flow else None,
        project_id=found.spec.project_id,
        state=state,
        cron=found.spec.cron or "",
        timezone=found.spec.timezone,
        next_fire_at=None if found.due_at is None else found.next_fire_at,
        held_fire_at=found.held_fire_at,
        last_fire_at=found.last_fire_at,
        last_run_id=_run_id(owner, found.last_run_id),
        expected_by=_expected_by(found),
        last_breach=None if found.last_breach is None else _breach(owner, found.last_breach),
        paused=found.paused,
        paused_at=found.paused_at,
        pause_reason=found.pause_reason,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def _expected_by(found: StoredSchedule) -> datetime | None:
    if found.expected_since is None:
        return None
    schedule = schedule_of(found.id, found.spec, found.calendar)
    return quiet_until(schedule.policy, found.expected_since, schedule.rule)


def _breach(owner: Owner, one: StoredBreach) -> told.Breach:
    return told.Breach(
        deadline=one.deadline,
        since=one.since.astimezone(UTC),
        limit_at=one.limit_at.astimezone(UTC),
        found_at=one.found_at.astimezone(UTC),
        run_id=_run_id(owner, one.run_id),
    )


async def list_breaches(api: Api, call: Call) -> Reply:
    """GET /v1/schedules/{schedule}/breaches."""
    limit = query.limit_of(call.query)
    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["schedule"], call.project)
        rows = await deadlines.breaches(conn, found.id, limit=limit + 1, before=query.before_id(call.query))
    page, cursor = query.cut(rows, limit, lambda one: query.id_cursor(one.id))
    return reply(wire.Page(data=[_breach(found.owner, one) for one in page], next_cursor=cursor))


async def list_schedules(api: Api, call: Call) -> Reply:
    """GET /v1/schedules."""
    asked = call.query
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        found = await schedules.list_schedules(
            conn,
            call.project,
            limit=limit + 1,
            before=query.before_id(asked),
            paused=asked.get("paused"),
            id_range=asked.get("id_prefix"),
        )
    page, cursor = query.cut(found, limit, lambda one: query.id_cursor(one.id))
    return reply(wire.Page(data=[_shaped(one) for one in page], next_cursor=cursor))


async def get_schedule(api: Api, call: Call) -> Reply:
    """GET /v1/schedules/{schedule}."""
    async with api.connection() as conn:
        return reply(_shaped(await find_schedule(conn, call.path["schedule"], call.project)))


async def history(api: Api, call: Call) -> Reply:
    """GET /v1/schedules/{schedule}/history."""
    limit, micros = query.limit_of(call.query), query.after_number(call.query)
    before = None if micros is None else (_instant(micros // 2), micros % 2 == 1)
    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["schedule"], call.project)
        rows = await schedules.fires(conn, found.id, limit=limit + 1, before=before, skipped=call.query.get("skipped"))
    page, cursor = query.cut(rows, limit, lambda row: query.number_cursor(2 * _micros(row["fire_at"]) + row["again"]))
    return reply(wire.Page(data=[_fire(found.owner, row) for row in page], next_cursor=cursor))


def _fire(owner: Owner, row: dict[str, Any]) -> told.ScheduleFire:
    return told.ScheduleFire(
        fire_at=row["fire_at"],
        first_fire_at=row["first_fire_at"],
        ticks=row["ticks"],
        decided_at=row["decided_at"],
        triggered_by=row["triggered_by"],
        run_id=_run_id(owner, row["run_id"]),
        skipped=row["skipped"],
        breaches=[Deadline(name) for name in row["breaches"]],
    )


def _run_id(owner: Owner, run_id: UUID | None) -> str | None:
    prefix = ids.Prefix.WORKFLOW_RUN if owner.is_flow else ids.Prefix.RUN
    return None if run_id is None else ids.spell(prefix, run_id)


def _micros(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def _instant(micros: int) -> datetime:
    try:
        return datetime.fromtimestamp(micros / 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        raise query.wrong_request("?cursor= is not a cursor of this list; take it from next_cursor") from None


async def next_of_schedule(api: Api, call: Call) -> Reply:
    """GET /v1/schedules/{schedule}/next."""
    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["schedule"], call.project)
    return _upcoming(call, found)


async def next_of_job(api: Api, call: Call) -> Reply:
    """GET /v1/jobs/{job}/next-runs."""
    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["job"], call.project)
    return _upcoming(call, found)


def _upcoming(call: Call, found: StoredSchedule) -> Reply:
    coming = [] if found.due_at is None else placing.upcoming(found, query.limit_of(call.query))
    zone = ZoneInfo(found.spec.timezone)
    shown = [
        told.NextFire(
            fire_at=fire_at,
            runs_at=runs_at,
            local=f"{fire_at.astimezone(zone):%Y-%m-%dT%H:%M:%S}",
            zone_offset=fire_at.astimezone(zone).isoformat()[len("2030-01-31T09:00:00") :],
        )
        for fire_at, runs_at in coming
    ]
    return reply(wire.Page(data=shown, next_cursor=None))


@asynccontextmanager
async def _changing(api: Api, call: Call) -> AsyncIterator[tuple[Conn, Firing, StoredSchedule]]:
    """A schedule and what it fires, both held, that first as every change of it does; what was due has fired."""
    done = Done()
    async with api.connection() as conn, conn.transaction():
        ref = await find_schedule(conn, call.path["schedule"], call.project)
        one = await hold_owner(conn, ref.owner.kind, ref.owner.id)
        if one is not None:
            done.add(await placing.settle(conn, one, api.deps.clock.now(), api.deps.new_id))
        found = None if one is None else await schedules.of_owner(conn, one.id)
        if one is None or found is None:
            raise NotFoundError(f"schedule {call.path['schedule']!r} has just been deleted")
        yield conn, one, found
    tell(api, done)


async def pause_schedule(api: Api, call: Call) -> Reply:
    """POST /v1/schedules/{schedule}/pause."""
    reason = call.body.reason or None
    if reason is not None and len(reason) > MAX_REASON:
        raise ValidationError([Fault("/reason", f"must be at most {MAX_REASON} characters")])
    return await _set_paused(api, call, paused=True, reason=reason)


async def resume_schedule(api: Api, call: Call) -> Reply:
    """POST /v1/schedules/{schedule}/resume."""
    return await _set_paused(api, call, paused=False, reason=None)


async def _set_paused(api: Api, call: Call, *, paused: bool, reason: str | None) -> Reply:
    async with _changing(api, call) as (conn, one, found):
        if found.paused != paused or paused:
            await placing.set_paused(conn, one, found, api.deps.clock.now(), paused=paused, reason=reason)
        after = await schedules.of_owner(conn, one.id)
        assert after is not None
    return reply(_shaped(after))


async def trigger_schedule(api: Api, call: Call) -> Reply:
    """POST /v1/schedules/{schedule}/trigger."""
    deps, done = api.deps, Done()

    async def work(conn: Conn) -> Reply:
        ref = await find_schedule(conn, call.path["schedule"], call.project)
        project, now = ref.spec.project_id, deps.clock.now()
        if (until := await budgets.spent_until(conn, project, now)) is not None:
            raise spent_error(project, until, now)
        one = await hold_owner(conn, ref.owner.kind, ref.owner.id)
        if one is None:
            raise NotFoundError(f"schedule {call.path['schedule']!r} has just been deleted")
        run_id, made = await placing.fire_now(conn, one, ref, now, deps.new_id)
        done.add(made)
        return reply(await _run(conn, ref.owner, run_id), 201)

    async with api.connection() as conn:
        found = await find_schedule(conn, call.path["schedule"], call.project)
    answer = await answered_once(api, call, Scope(found.spec.project_id, f"triggerSchedule:{found.id}"), work)
    deps.brought(done.brought)
    deps.bus.wake()
    return answer


async def _run(conn: Conn, owner: Owner, run_id: UUID) -> wire.Run | WorkflowRun:
    """The run that a tick has just made, as the API shows it."""
    if owner.is_flow:
        flow = await workflow_runs.get_run(conn, run_id)
        assert flow is not None
        return shaped(flow)
    row = await runs.get_run(conn, run_id)
    assert row is not None
    return shape.run(row)


def _route(method: str, end: str, **rest: Any) -> Operation:
    return Operation(method=method, path=SCHEDULE + end, tag="schedules", query=rest.pop("query", (PROJECT,)),
        raises=rest.pop("raises", _UNCLEAR), **rest)  # fmt: skip


_COUNT: Final = (PROJECT, LIMIT_PARAM)
ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/schedules",
        handle=list_schedules,
        name="listSchedules",
        summary="List schedules, the newest first: what fires when.",
        tag="schedules",
        returns=wire.Page[told.Schedule],
        query=(
            PROJECT,
            *PAGING,
            id_prefix_param(ids.Prefix.SCHEDULE),
            flag_param("paused", "Only paused schedules, or only those that are not."),
        ),
    ),
    _route("GET", "", handle=get_schedule, name="getSchedule", summary="Read a schedule.", returns=told.Schedule),
    _route(
        "GET",
        "/history",
        handle=history,
        name="listScheduleFires",
        summary="List what each tick came to, the newest first: the run it made, or why it made none.",
        returns=wire.Page[told.ScheduleFire],
        query=(PROJECT, *PAGING, flag_param("skipped", "Only ticks that made no run, or only those that did.")),
    ),
    _route(
        "GET",
        "/breaches",
        handle=list_breaches,
        name="listBreaches",
        summary="List broken deadlines, the newest first: late starts, late ends, successes that did not come.",
        returns=wire.Page[told.Breach],
        query=(PROJECT, *PAGING),
    ),
    _route(
        "GET",
        "/next",
        handle=next_of_schedule,
        name="listNextFires",
        summary="The next fires, the nearest first; none while the schedule does not fire.",
        returns=wire.Page[told.NextFire],
        query=_COUNT,
    ),
    _route(
        "POST",
        "/pause",
        handle=pause_schedule,
        name="pauseSchedule",
        summary="Fire no more ticks; nothing piles up meanwhile. The job or the workflow still takes triggers.",
        returns=told.Schedule,
        body=Body(told.SchedulePause),
    ),
    _route(
        "POST",
        "/resume",
        handle=resume_schedule,
        name="resumeSchedule",
        summary="Go on with the next tick.",
        returns=told.Schedule,
        body=Body(Nothing),
    ),
    _route(
        "POST",
        "/trigger",
        handle=trigger_schedule,
        name="triggerSchedule",
        summary="Fire now, beside whatever runs, a job or a workflow; the ticks to come stay as they are.",
        status=201,
        returns=(wire.Run, WorkflowRun),
        body=Body(Nothing),
        raises=(*_UNCLEAR, BudgetError),
        once=True,
    ),
    Operation(
        method="GET",
        path="/v1/jobs/{job}/next-runs",
        handle=next_of_job,
        name="listNextRuns",
        summary="When the job's schedule fires next.",
        tag="jobs",
        returns=wire.Page[told.NextFire],
        query=_COUNT,
        raises=_UNCLEAR,
    ),
)
