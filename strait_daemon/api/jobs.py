"""Jobs: create, read, change, pause, clone, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import UNSET

from strait_core import completion, wire
from strait_core.errors import ConflictError, Fault, NotFoundError, PreconditionError, ValidationError
from strait_core.job import WEBHOOKS, JobSpec, check_url, evolve, faults_of
from strait_core.limits import limits_of
from strait_core.request import given_of, judged
from strait_core.schema import check_schema
from strait_core.store import jobs
from strait_core.store.faults import Taken
from strait_core.store.idempotency import Scope
from strait_core.store.jobs import JobFilter, StoredJob
from strait_core.store.pool import Conn
from strait_daemon.api import query, secrets, shape
from strait_daemon.api.context import Api
from strait_daemon.api.following import begin, following, tell
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.lookup import find_job
from strait_daemon.api.onward import check_targets
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflow_refs import refuse_users
from strait_daemon.services.ticks import Done

# Fields that name something the daemon calls.
URLS: Final = ("endpoint_url", "fallback_endpoint_url", *WEBHOOKS)
SCHEMAS: Final = ("payload_schema", "result_schema")
MAX_REASON: Final = 1_000

PRIVATE_HINT: Final = (
    "ALLOW_PRIVATE_ENDPOINTS=true (or a list of networks), set for the daemon, opens private addresses"
)


async def create_job(api: Api, call: Call) -> Reply:
    """POST /v1/jobs."""
    body: wire.JobCreate = call.body
    given = given_of(body)
    refused = [*await _refusals(api, given), *secrets.faults_of(given)]
    spec = _spec_of(secrets.sealed(api.deps.vault, given), call.project, refused)
    enabled = body.enabled is UNSET or body.enabled
    return await _store(api, call, Scope(spec.project_id, "createJob"), spec, enabled=enabled)


def _invalid(faults: list[Fault]) -> ValidationError:
    """The error of a wrong definition; what looks like a mistake to who runs in a private network gets its way out."""
    private = any(fault.message.startswith("must name a public") for fault in faults)
    return ValidationError(faults, hint=PRIVATE_HINT if private else None)


async def _refusals(api: Api, given: Mapping[str, Any]) -> list[Fault]:
    """URLs that may not be called, schemas that are none; looked at before any transaction: names are resolved."""
    urls = [(name, given[name]) for name in URLS if given.get(name) and not check_url(name, given[name])]
    found = await asyncio.gather(*(api.deps.guard.refusal(url) for _, url in urls))
    refused = [Fault(f"/{name}", refusal) for (name, _), refusal in zip(urls, found, strict=True) if refusal]
    return refused + [fault for name in SCHEMAS if given.get(name) for fault in check_schema(name, given[name])]


def _spec_of(given: dict[str, Any], project: str | None, refused: Sequence[Fault]) -> JobSpec:
    """The definition that the given fields make; ValidationError lists every missing and every wrong one."""
    spec, faults = judged(given, project, refused)
    if faults:
        raise _invalid(faults)
    return spec


async def _store(api: Api, call: Call, scope: Scope, spec: JobSpec, *, enabled: bool) -> Reply:
    deps = api.deps

    async def work(conn: Conn) -> Reply:
        await check_targets(conn, spec)
        job = await jobs.insert_job(conn, deps.new_id(), deps.new_id(), spec, deps.clock.now(), enabled=enabled)
        if job is None:
            raise _taken(spec)
        await begin(api, conn, job)
        return _answer(job, 201)

    answer = await answered_once(api, call, scope, work)
    api.jobs.forget()
    return answer


def _taken(spec: JobSpec) -> ConflictError:
    return ConflictError(
        f"project {spec.project_id!r} has a job {spec.slug!r} already", hint="choose another slug, or change that job"
    )


def _answer(job: StoredJob, status: int = 200) -> Reply:
    return reply(shape.job(job), status, ((b"etag", shape.job_etag(job)),))


async def get_job(api: Api, call: Call) -> Reply:
    """GET /v1/jobs/{job}."""
    async with api.connection() as conn:
        return _answer(await find_job(conn, call.path["job"], call.project))


async def list_jobs(api: Api, call: Call) -> Reply:
    """GET /v1/jobs."""
    asked = call.query
    where = JobFilter(
        project_id=call.project,
        tags=dict(asked["tag"]) if "tag" in asked else None,
        enabled=asked.get("enabled"),
        paused=asked.get("paused"),
        slug=asked.get("slug"),
        id_range=asked.get("id_prefix"),
    )
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        found = await jobs.list_jobs(conn, where, limit=limit + 1, before=query.before_id(asked))
    page, cursor = query.cut(found, limit, lambda job: query.id_cursor(job.id))
    return reply(wire.Page(data=[shape.job(job) for job in page], next_cursor=cursor))


async def list_versions(api: Api, call: Call) -> Reply:
    """GET /v1/jobs/{job}/versions."""
    limit = query.limit_of(call.query)
    async with api.connection() as conn:
        job = await find_job(conn, call.path["job"], call.project)
        before = query.after_number(call.query)
        found = await jobs.job_versions(conn, job.id, limit=limit + 1, before=before)
    page, cursor = query.cut(found, limit, lambda version: query.number_cursor(version.version))
    return reply(wire.Page(data=[shape.version(version) for version in page], next_cursor=cursor))


@asynccontextmanager
async def _changing(api: Api, call: Call) -> AsyncIterator[tuple[Conn, StoredJob]]:
    """The job that the path names, held in a transaction, as it must be (`If-Match`) before it is changed."""
    done = Done()
    async with api.connection() as conn, conn.transaction():
        found = await find_job(conn, call.path["job"], call.project)
        job = await jobs.lock_job(conn, found.id)
        if job is None:
            raise _gone(call)
        _check_match(call.headers.get(b"if-match"), job)
        async with following(api, conn, job, done):
            yield conn, job
    api.jobs.forget()
    tell(api, done)


def _check_match(wanted: bytes | None, job: StoredJob) -> None:
    if wanted is None or wanted.strip() == b"*":
        return
    etag = shape.job_etag(job)
    if etag not in {tag.strip() for tag in wanted.split(b",")}:
        raise PreconditionError(
            f"job {job.spec.slug!r} has changed since you looked: its ETag is {etag.decode()} now",
            hint="read it again, and repeat the change on what it is now",
        )


def _gone(call: Call) -> NotFoundError:
    return NotFoundError(f"job {call.path['job']!r} has just been deleted")


async def patch_job(api: Api, call: Call) -> Reply:
    """PATCH /v1/jobs/{job}."""
    body: wire.JobPatch = call.body
    deps = api.deps
    given = given_of(body)
    refused = [*await _refusals(api, given), *secrets.faults_of(given)]
    async with _changing(api, call) as (conn, job):
        spec = evolve(job.spec, secrets.sealed(deps.vault, given, job.spec))
        faults = [*faults_of(spec), *refused]
        if faults:
            raise _invalid(faults)
        if any(given.get(name) for name in completion.FIELDS):
            await check_targets(conn, spec, job.id)
        enabled = job.enabled if body.enabled is UNSET else body.enabled
        if spec == job.spec and enabled == job.enabled:
            return _answer(job)
        if spec.slug != job.spec.slug:
            await refuse_users(conn, "job", job.id, job.spec.slug, by_slug=True)
        try:
            changed = await jobs.update_job(conn, job, spec, deps.new_id(), deps.clock.now(), enabled=enabled)
        except Taken:
            raise _taken(spec) from None
    if changed is None:
        raise _gone(call)
    if (enabled and not job.enabled) or limits_of(spec) != limits_of(job.spec):
        deps.bus.wake()
    return _answer(changed)


async def delete_job(api: Api, call: Call) -> Reply:
    """DELETE /v1/jobs/{job}."""
    async with _changing(api, call) as (conn, job):
        await refuse_users(conn, "job", job.id, job.spec.slug)
        if not await jobs.delete_job(conn, job.id, api.deps.clock.now()):
            raise ConflictError(
                f"job {job.spec.slug!r} has runs that are not over",
                hint="cancel them or wait; a paused job takes no new ones",
            )
    return Reply(204)


async def pause_job(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/pause."""
    reason = call.body.reason or None
    if reason is not None and len(reason) > MAX_REASON:
        raise ValidationError([Fault("/reason", f"must be at most {MAX_REASON} characters")])
    async with _changing(api, call) as (conn, job):
        paused = await jobs.pause_job(conn, job.id, reason, api.deps.clock.now())
    if paused is None:
        raise _gone(call)
    return _answer(paused)


async def resume_job(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/resume."""
    async with _changing(api, call) as (conn, job):
        resumed = await jobs.resume_job(conn, job.id, api.deps.clock.now())
    if resumed is None:
        raise _gone(call)
    api.deps.bus.wake()
    return _answer(resumed)


async def clone_job(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/clone."""
    body: wire.JobClone = call.body
    async with api.connection() as conn:
        job = await find_job(conn, call.path["job"], call.project)
    changes = {"slug": body.slug} if body.name is UNSET else {"slug": body.slug, "name": body.name}
    spec = evolve(job.spec, changes)
    faults = [*faults_of(spec), *await _refusals(api, {name: getattr(spec, name) for name in URLS})]
    if faults:
        raise _invalid(faults)
    return await _store(api, call, Scope(spec.project_id, f"cloneJob:{job.id}"), spec, enabled=job.enabled)
