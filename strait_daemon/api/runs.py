"""Runs: read, list, cancel, replay, and the path each one walked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from strait_core import ids, wire
from strait_core.errors import ConflictError, ValidationError
from strait_core.run import REPLAYABLE, Status
from strait_core.store import jobs, lineage, runs, waits, watch
from strait_core.store.pool import Conn
from strait_core.store.runs import Ended, Row, RunFilter
from strait_core.store.workflow_live import Brought
from strait_core.trigger import check_schedule
from strait_daemon.api import query, shape
from strait_daemon.api.context import Api
from strait_daemon.api.lookup import find_job_ids, no_run, run_id_of
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.turns import retried, wait_briefly

_TRIES: Final = 5


def _answer(row: Row) -> Reply:
    return reply(shape.run(row), 200, ((b"etag", shape.run_etag(row)),))


async def _row(conn: Conn, call: Call, run_id: UUID) -> Row:
    row = await runs.get_run(conn, run_id)
    if row is None or call.project not in {None, row["project_id"]}:
        raise no_run(call.path["run"])
    return row


async def _head(conn: Conn, call: Call) -> watch.Head:
    head = await watch.head(conn, run_id_of(call.path["run"]))
    if head is None or call.project not in {None, head.project_id}:
        raise no_run(call.path["run"])
    return head


async def get_run(api: Api, call: Call) -> Reply:
    """GET /v1/runs/{run}."""
    run_id = run_id_of(call.path["run"])
    async with api.connection() as conn:
        return _answer(await _row(conn, call, run_id))


async def list_runs(api: Api, call: Call) -> Reply:
    """GET /v1/runs."""
    asked = call.query
    include = {name for names in asked.get("include", ()) for name in names}
    limit = asked.get("limit", query.MOST_WITH_BODIES if include else query.LIMIT)
    if include and limit > query.MOST_WITH_BODIES:
        raise query.wrong_request(f"?limit= must be at most {query.MOST_WITH_BODIES} together with ?include=")
    async with api.connection() as conn:
        where = _filter(call, await find_job_ids(conn, asked["job_id"], call.project) if "job_id" in asked else None)
        found = await runs.list_runs(
            conn, where, limit=limit + 1, before=query.before_id(asked), include=sorted(include)
        )
    page, cursor = query.cut(found, limit, lambda row: query.id_cursor(row["id"]))
    return reply(wire.Page(data=[shape.run(row) for row in page], next_cursor=cursor))


def _filter(call: Call, job_ids: list[UUID] | None) -> RunFilter:
    asked = call.query
    return RunFilter(
        project_id=call.project,
        job_ids=job_ids,
        statuses=sorted({status for statuses in asked.get("status", ()) for status in statuses}),
        triggered_by=asked.get("triggered_by"),
        error_class=asked.get("error_class"),
        batch_id=asked.get("batch_id"),
        tags=dict(asked.get("tag", ())),
        metadata=dict(asked.get("metadata", ())),
        id_range=asked.get("id_prefix"),
        created_after=asked.get("created_after"),
        created_before=asked.get("created_before"),
    )


async def list_attempts(api: Api, call: Call) -> Reply:
    """GET /v1/runs/{run}/attempts: the first one first, the live one last."""
    async with api.connection() as conn:
        head = await _head(conn, call)
        live = await runs.live_attempt(conn, head.id)
        closed = await runs.attempts(conn, head.id)
    attempts = [shape.attempt(row) for row in closed]
    if live is not None and (now := shape.live_attempt(live)).attempt > max((a.attempt for a in attempts), default=0):
        attempts.append(now)
    return _counted(call, attempts, lambda attempt: attempt.attempt)


async def list_events(api: Api, call: Call) -> Reply:
    """GET /v1/runs/{run}/events: the whole path, by seq."""
    async with api.connection() as conn:
        course = await watch.course(conn, await _head(conn, call))
    return _counted(call, [shape.event(step) for step in course.steps], lambda event: event.seq)


def _counted(call: Call, items: list[Any], number: Any) -> Reply:
    after, limit = query.after_number(call.query), query.limit_of(call.query)
    rest = [item for item in items if after is None or number(item) > after]
    page, cursor = query.cut(rest, limit, lambda item: query.number_cursor(number(item)))
    return reply(wire.Page(data=list(page), next_cursor=cursor))


async def cancel_run(api: Api, call: Call) -> Reply:
    """POST /v1/runs/{run}/cancel, and DELETE /v1/runs/{run}."""
    deps = api.deps
    run_id = run_id_of(call.path["run"])
    async with api.connection() as conn:
        await _head(conn, call)
        brought = Brought()
        ended = await _cancel_family(conn, run_id, deps.clock.now(), brought)
        row = await _row(conn, call, run_id)
        # Who waited for one of them goes on.
        resumed = await waits.resume_ripe(conn, deps.clock.now()) if any(run.awaited for run in ended) else []
    if ended:
        brought.ended += ended
        brought.resumed += resumed
        deps.brought(brought)
    elif row["status"] != Status.CANCELED:
        raise ConflictError(
            f"the run is over: it is {row['status']}", hint="only a run that is not over can be canceled"
        )
    return _answer(row)


async def _cancel_family(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> list[Ended]:
    """Cancel the run and its descendants; once more when a batch of the workers held the same in another order."""

    async def work() -> list[Ended]:
        async with conn.transaction():
            await wait_briefly(conn)
            return await lineage.cancel_family(conn, [run_id], now, brought=brought)

    return await retried(work, "the run, or one of its family, is in other hands; nothing was canceled", tries=_TRIES)


async def reschedule_run(api: Api, call: Call) -> Reply:
    """POST /v1/runs/{run}/reschedule."""
    deps = api.deps
    run_id = run_id_of(call.path["run"])
    now = deps.clock.now()
    at: datetime = call.body.scheduled_at
    if faults := check_schedule(at, now):
        raise ValidationError(faults)
    async with api.connection() as conn:
        await _head(conn, call)
        due_at = await runs.reschedule(conn, run_id, at.astimezone(UTC), now)
        row = await _row(conn, call, run_id)
    if due_at is None:
        raise ConflictError(
            f"the run is {row['status']} and waits for no time",
            hint="only a delayed run, or a queued one that awaits a retry, can be rescheduled",
        )
    deps.bus.runs_changed([run_id])
    deps.stage(due_at)
    return _answer(row)


async def replay_run(api: Api, call: Call) -> Reply:
    """POST /v1/runs/{run}/replay."""
    deps = api.deps
    run_id = run_id_of(call.path["run"])
    async with api.connection() as conn:
        await _head(conn, call)
        replayed = await runs.replay(conn, run_id, deps.clock.now())
        row = await _row(conn, call, run_id)
        if not replayed:
            raise await _not_replayable(conn, row)
    deps.bus.wake()
    deps.bus.runs_changed([run_id])
    return _answer(row)


async def _not_replayable(conn: Conn, row: Row) -> ConflictError:
    if row["status"] not in REPLAYABLE:
        return ConflictError(
            f"the run is {row['status']}; only a run that is {', '.join(sorted(REPLAYABLE))} can be replayed",
            hint="trigger the job anew",
        )
    if row["workflow_run_id"] is not None:
        flow = ids.spell(ids.Prefix.WORKFLOW_RUN, row["workflow_run_id"])
        return ConflictError(
            f"the run carries out step {row['step_ref']!r} of workflow run {flow}",
            hint=f"retry the step: POST /v1/workflow-runs/{flow}/steps/{row['step_ref']}/retry",
        )
    job = await jobs.job_by_id(conn, row["job_id"])
    if job is None:
        return ConflictError("the job of this run was deleted", hint="create it again and trigger it anew")
    if not job.enabled:
        slug = job.spec.slug
        return ConflictError(f"job {slug!r} is disabled", hint=f"enable it first: strait jobs update {slug} --enabled")
    return ConflictError(f"run {ids.spell(ids.Prefix.RUN, row['id'])} is moving just now", hint="try again")
