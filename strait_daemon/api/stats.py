"""Statistics and workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from strait_core import wire
from strait_core.deadline import Deadline
from strait_core.errors import NotFoundError
from strait_core.ids import Prefix, spell
from strait_core.run import Status
from strait_core.store import deadlines, stats, workers
from strait_core.wire import stats as wire_stats
from strait_daemon.api import query, shape
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply

TOP_JOBS: Final = 10
# Of broken deadlines only those are told that were found so lately.
LATELY: Final = timedelta(days=1)


async def get_stats(api: Api, call: Call) -> Reply:
    """GET /v1/stats. The figures are folded once a second; what awaits a retry is held by `retry`."""
    now, project = api.deps.clock.now(), call.project
    async with api.connection() as conn:
        depth = await stats.depth(conn, project)
        flow = await stats.flow(conn, project, now)
        held = await stats.held(conn, project, now)
        if awaiting := await stats.retrying(conn, project):
            held["retry"] = awaiting
        top = await stats.top_jobs(conn, project, TOP_JOBS)
        late = await deadlines.late(conn, project, now - LATELY)
        oldest = await stats.oldest_ready(conn)
        fleet = await stats.fleet(conn, now - api.deps.stale_after)
    rate_1m, rate_15m = shape.rates(flow)
    body = wire_stats.Stats(
        depth={status.value: max(0, depth.get(status, 0)) for status in Status},
        ready=max(0, depth.get(Status.QUEUED, 0) - sum(held.values())),
        held=held,
        oldest_queued_age=None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 3),
        breaches={one.value: late.get(one, 0) for one in Deadline},
        rate_1m=rate_1m,
        rate_15m=rate_15m,
        workers=fleet.workers,
        slots=wire_stats.Slots(used=fleet.used, total=fleet.total),
        top_jobs=[
            wire_stats.JobLoad(job_id=spell(Prefix.JOB, job), job_slug=slug, queued=queued, executing=executing)
            for job, slug, queued, executing in top
        ],
    )
    return reply(body)


async def list_workers(api: Api, call: Call) -> Reply:
    """GET /v1/workers: the oldest process first."""
    alive_since = api.deps.clock.now() - api.deps.stale_after
    async with api.connection() as conn:
        rows = await workers.list_workers(conn)
    offset, limit = query.after_number(call.query) or 0, query.limit_of(call.query)
    shown = rows[offset : offset + limit]
    cursor = query.number_cursor(offset + limit) if len(rows) > offset + limit else None
    return reply(wire.Page(data=[shape.worker(row, alive_since) for row in shown], next_cursor=cursor))


async def drain_worker(api: Api, call: Call) -> Reply:
    """POST /v1/workers/{id}/drain: it claims nothing more and finishes what it has."""
    ref = call.path["worker"]
    try:
        worker_id = UUID(ref)
    except ValueError:
        raise _no_worker(ref) from None
    async with api.connection() as conn:
        row = await workers.drain_worker(conn, worker_id)
    if row is None:
        raise _no_worker(ref)
    return reply(shape.worker(row, api.deps.clock.now() - api.deps.stale_after))


def _no_worker(ref: str) -> NotFoundError:
    return NotFoundError(f"there is no worker {ref[:128]!r}", hint="see `strait workers list`, or GET /v1/workers")
