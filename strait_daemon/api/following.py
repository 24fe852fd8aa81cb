"""A job's schedule follows every change of the job, in the same transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from strait_core.store import jobs, schedules
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.timetable import OF_CRON
from strait_daemon.api.context import Api
from strait_daemon.services import ticks
from strait_daemon.services.ticks import Done


@asynccontextmanager
async def following(api: Api, conn: Conn, job: StoredJob, done: Done) -> AsyncIterator[None]:
    """Around a change of a job that is held: what was due fires under the rule so far, then the new one counts.

    `done` is filled with what came of it; tell it after the commit.
    """
    deps = api.deps
    done.add(await ticks.settle(conn, job, deps.clock.now(), deps.new_id))
    yield
    after = await jobs.job_by_id(conn, job.id)
    if after is None:
        await schedules.drop(conn, job.id)
    elif _facts(after) != _facts(job):
        await ticks.place(conn, after, deps.clock.now(), deps.new_id)


def _facts(job: StoredJob) -> list[Any]:
    """What a schedule depends on."""
    return [job.enabled, job.paused, job.spec.cron, *(getattr(job.spec, name) for name in OF_CRON)]


def tell(api: Api, done: Done) -> None:
    """Let workers and watchers know of runs that ticks have made and canceled."""
    bus = api.deps.bus
    if done.made:
        bus.runs_changed(done.made)
        bus.wake()
    if done.ended:
        bus.runs_changed([run.id for run in done.ended])
        bus.runs_taken([run.id for run in done.ended if run.worker_id is not None])
