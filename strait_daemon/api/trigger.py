"""The hot route: from a trigger body to a stored run, and the same for many at once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from strait_core import ids, wire
from strait_core.errors import ConflictError, Fault, UnavailableError, ValidationError
from strait_core.store.jobs import StoredJob
from strait_core.trigger import MAX_BULK_ITEMS, faults_of, new_run
from strait_daemon.api import shape
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.strict import MOST_FAULTS

# The job is looked at again when it changed between the look and the insert; more often than this is no accident.
TRIES: Final = 3


async def trigger(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/trigger."""
    body: wire.TriggerRequest = call.body
    deps = api.deps
    for _ in range(TRIES):
        job = await _runnable(api, call)
        now = deps.clock.now()
        faults = faults_of(body, now)
        if faults:
            raise ValidationError(faults)
        run = new_run(body, job.spec, run_id=deps.new_id(), job_id=job.id, job_version=job.version, now=now)
        if await deps.intake.add(run):
            return reply(shape.new_run(run, job.spec.slug, whole=True), 201)
        api.jobs.forget()
    raise _restless(call)


async def trigger_bulk(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/trigger/bulk: all items or none."""
    body: wire.BulkTriggerRequest = call.body
    deps = api.deps
    for _ in range(TRIES):
        job = await _runnable(api, call)
        now = deps.clock.now()
        _check_items(body, now)
        batch_id = deps.new_id()
        runs = [
            new_run(
                item,
                job.spec,
                run_id=deps.new_id(),
                job_id=job.id,
                job_version=job.version,
                now=now,
                batch_id=batch_id,
            )
            for item in body.items
        ]
        if await deps.intake.add_all(runs):
            data = [shape.new_run(run, job.spec.slug, whole=False) for run in runs]
            return reply(wire.Batch(batch_id=ids.spell(ids.Prefix.BATCH, batch_id), data=data), 201)
        api.jobs.forget()
    raise _restless(call)


def _check_items(body: wire.BulkTriggerRequest, now: datetime) -> None:
    if not 1 <= len(body.items) <= MAX_BULK_ITEMS:
        raise ValidationError([Fault("/items", f"must have from 1 to {MAX_BULK_ITEMS} entries")])
    faults: list[Fault] = []
    for index, item in enumerate(body.items):
        faults += [Fault(f"/items/{index}{fault.pointer}", fault.message) for fault in faults_of(item, now)]
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise ValidationError(faults)


async def _runnable(api: Api, call: Call) -> StoredJob:
    """The job that the path names, if it takes runs."""
    job = await api.jobs.find(call.path["job"], call.project)
    if not job.enabled:
        raise ConflictError(
            f"job {job.spec.slug!r} is disabled", hint=f"enable it: strait jobs update {job.spec.slug} --enabled"
        )
    if job.paused:
        why = f": {job.pause_reason}" if job.pause_reason else ""
        raise ConflictError(
            f"job {job.spec.slug!r} is paused{why}", hint=f"resume it: strait jobs resume {job.spec.slug}"
        )
    return job


def _restless(call: Call) -> UnavailableError:
    return UnavailableError(
        f"job {call.path['job']!r} keeps changing; nothing was stored", hint="try again in a moment", retry_after=1
    )
