"""The hot route: from a trigger body to a stored run."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from strait_core import wire
from strait_core.errors import BudgetError, ConflictError, UnavailableError, ValidationError
from strait_core.idempotency import Once
from strait_core.store import idempotency as keys
from strait_core.store import runs
from strait_core.store.idempotency import trigger_scope
from strait_core.store.jobs import StoredJob
from strait_core.trigger import NewRun, faults_of, new_run, window_faults_of
from strait_daemon.api import shape, windowed
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import REPLAYED, check_same, once_of_trigger
from strait_daemon.api.operation import Call, Headers, Reply, reply
from strait_daemon.api.purses import exhausted

# The job is looked at again when it changed between the look and the insert; more often than this is no accident.
TRIES: Final = 3
DRY: Final[Headers] = ((b"strait-dry-run", b"true"),)


async def trigger(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/trigger."""
    body: wire.TriggerRequest = call.body
    deps = api.deps
    once = await once_of_trigger(call)
    for _ in range(TRIES):
        job = await runnable(api, call)
        now = deps.clock.now()
        await check(api, job, body, now)
        if (broke := await exhausted(api, job)) is not None:
            return await _first_or(broke, api, job, once)
        run = new_run(body, job.spec, run_id=deps.new_id(), job_id=job.id, job_version=job.version, now=now, once=once)
        if body.dry_run is True:
            known = None if once is None else await _first_run(api, job, once)
            return known or reply(shape.new_run(run, job.spec.slug, whole=True), 200, DRY)
        answer = await _stored(api, job, body, run, once)
        if answer is not None:
            return answer
        if once is not None and (first := await _first_run(api, job, once)) is not None:
            return first
        api.jobs.forget()
    raise restless(call)


async def check(api: Api, job: StoredJob, body: wire.TriggerFields, now: datetime) -> None:
    """Raise ValidationError for everything that is wrong with a trigger of the job."""
    faults = faults_of(body, now, job.spec) + window_faults_of(body, job.spec)
    if job.spec.payload_schema is not None:
        faults += await api.judges.faults(job, body)
    if faults:
        raise ValidationError(faults)


async def _stored(api: Api, job: StoredJob, body: wire.TriggerRequest, run: NewRun, once: Once | None) -> Reply | None:
    """The answer to a trigger that was carried out; None = the job has changed, or the key is in use."""
    spec = job.spec
    if spec.dedup_window_secs or spec.debounce_window_secs or spec.batch_window_secs:
        return await windowed.admit(api, spec, body, run, once)
    if await api.deps.intake.add(run):
        return reply(shape.new_run(run, spec.slug, whole=True), 201)
    return None


async def _first_or(broke: BudgetError, api: Api, job: StoredJob, once: Once | None) -> Reply:
    """Nothing may be spent, but a repetition is told of its first run."""
    first = None if once is None else await _first_run(api, job, once)
    if first is None:
        raise broke
    return first


async def _first_run(api: Api, job: StoredJob, once: Once) -> Reply | None:
    """The run that this key made before, as it is now; None when the key is free, or has just become so."""
    async with api.connection() as conn:
        scope = trigger_scope(job.spec.project_id, job.id)
        kept = (await keys.find(conn, scope, [once.key], api.deps.clock.now())).get(once.key)
        if kept is None:
            return None
        check_same(kept, once)
        row = await runs.get_run(conn, kept.run_ids[0])
    return None if row is None else reply(shape.run(row), 200, REPLAYED)


async def runnable(api: Api, call: Call) -> StoredJob:
    """The job that the path names, if it takes runs."""
    return await taking(api, call.path["job"], call.project)


async def taking(api: Api, ref: str, project: str | None) -> StoredJob:
    """The job of that id or slug, if it takes runs; ConflictError says why it does not."""
    job = await api.jobs.find(ref, project)
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


def restless(call: Call) -> UnavailableError:
    """The error for a job, or a key, that changed at every try."""
    return restless_job(call.path["job"])


def restless_job(ref: str) -> UnavailableError:
    """The same for a job that no path names."""
    return UnavailableError(
        f"job {ref!r} keeps changing; nothing was stored", hint="try again in a moment", retry_after=1
    )
