"""The schedule of a job or a workflow follows every change of it, in the same transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from strait_core.errors import Fault, ValidationError
from strait_core.schema import Judge
from strait_core.store import jobs, openings, schedules, workflows
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.workflows import StoredWorkflow
from strait_core.timetable import OF_CRON
from strait_core.trigger import EMPTY_PAYLOAD
from strait_daemon.api.context import Api
from strait_daemon.services import placing
from strait_daemon.services.placing import Firing
from strait_daemon.services.ticks import Done


@asynccontextmanager
async def following(api: Api, conn: Conn, job: StoredJob, done: Done) -> AsyncIterator[None]:
    """Around a change of a job that is held: what was due fires under the rule so far, then the new one counts.

    `done` is filled with what came of it; tell it after the commit.
    """
    deps = api.deps
    done.add(await placing.settle(conn, job, deps.clock.now(), deps.new_id))
    yield
    after = await jobs.job_by_id(conn, job.id)
    if after is None:
        await schedules.drop(conn, job.id)
        await openings.clear(conn, job.id)
        return
    _check_payload(after)
    if _facts(after) != _facts(job):
        await placing.place(conn, after, deps.clock.now(), deps.new_id)
    if _window(after) != _window(job):
        await openings.place(conn, job.id, after.spec, deps.clock.now())


@asynccontextmanager
async def following_flow(api: Api, conn: Conn, workflow: StoredWorkflow, done: Done) -> AsyncIterator[None]:
    """The same around a change of a workflow."""
    deps = api.deps
    done.add(await placing.settle(conn, workflow, deps.clock.now(), deps.new_id))
    yield
    after = await workflows.workflow_by_id(conn, workflow.id)
    if after is None:
        await schedules.drop(conn, workflow.id)
    elif _facts(after) != _facts(workflow):
        await placing.place(conn, after, deps.clock.now(), deps.new_id)


async def begin(api: Api, conn: Conn, job: StoredJob) -> None:
    """Give a new job the schedule and the window that it asks for."""
    deps = api.deps
    _check_payload(job)
    if job.spec.cron is not None:
        await placing.place(conn, job, deps.clock.now(), deps.new_id)
    if job.spec.execution_window_cron is not None:
        await openings.place(conn, job.id, job.spec, deps.clock.now())


async def begin_flow(api: Api, conn: Conn, workflow: StoredWorkflow) -> None:
    """Give a new workflow the schedule that it asks for."""
    if workflow.spec.cron is not None:
        await placing.place(conn, workflow, api.deps.clock.now(), api.deps.new_id)


def _check_payload(job: StoredJob) -> None:
    """Ticks bring no payload of their own: the job has to take an empty one."""
    if job.spec.cron is None or job.spec.payload_schema is None:
        return
    faults = Judge(job.spec.payload_schema).faults("/payload", EMPTY_PAYLOAD)
    if faults:
        said = f"ticks have the payload {EMPTY_PAYLOAD}, which payload_schema refuses: {faults[0].message}"
        raise ValidationError([Fault("/cron", said)])


def _facts(one: Firing) -> list[Any]:
    """What a schedule depends on."""
    spec = one.spec
    calendar = [spec.calendar_mode, spec.calendar_roll]
    return [one.enabled, one.paused, spec.cron, spec.timezone, *calendar, *(getattr(spec, name) for name in OF_CRON)]


def _window(job: StoredJob) -> tuple[str | None, str]:
    return job.spec.execution_window_cron, job.spec.timezone


def tell(api: Api, done: Done) -> None:
    """Let workers and watchers know of runs that ticks have made and canceled."""
    bus = api.deps.bus
    if done.brought.moved:
        api.deps.brought(done.brought)
    if done.made:
        bus.runs_changed(done.made)
        bus.wake()
    if done.ended:
        bus.runs_changed([run.id for run in done.ended])
        bus.runs_taken([run.id for run in done.ended if run.worker_id is not None])
