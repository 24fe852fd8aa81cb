"""Workflows: create, read, change, pause, clone, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import UNSET

from strait_core import ids, wire
from strait_core.errors import ConflictError, Fault, NotFoundError, PreconditionError, ValidationError
from strait_core.job import check_slug, check_url
from strait_core.store import workflow_runs, workflows
from strait_core.store.faults import Taken
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.workflows import StoredWorkflow, WorkflowFilter
from strait_core.wire.workflows import WorkflowClone, WorkflowCreate, WorkflowPatch
from strait_core.workflow.definition import WorkflowSpec, evolve
from strait_core.workflow.request import given_of, spec_and_faults
from strait_core.workflow.validate import faults_of
from strait_daemon.api import query, workflow_shape
from strait_daemon.api.context import Api
from strait_daemon.api.following import begin_flow, following_flow, tell
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflow_refs import check_refs, refuse, refuse_users
from strait_daemon.services.ticks import Done

MAX_REASON: Final = 1_000


async def find_workflow(conn: Conn, ref: str, project: str | None) -> StoredWorkflow:
    """The workflow of that id or slug; ConflictError lists the projects when several have the slug."""
    workflow_id = ids.parse(ids.Prefix.WORKFLOW, ref)
    if workflow_id is not None:
        one = await workflows.workflow_by_id(conn, workflow_id)
        found = [] if one is None or project not in {None, one.spec.project_id} else [one]
    else:
        found = [] if check_slug(ref) else await workflows.workflows_by_slug(conn, ref, project)
    if not found:
        where = f" in project {project!r}" if project else ""
        hint = "see `strait workflows list`, or GET /v1/workflows"
        raise NotFoundError(f"there is no workflow {ref[:128]!r}{where}", hint=hint)
    if len(found) > 1:
        raise ConflictError(
            f"several projects have a workflow {ref!r}: {', '.join(one.spec.project_id for one in found)}",
            hint="name the project (--project NAME; in the API ?project_id= or X-Project-Id), or use the workflow's id",
        )
    return found[0]


async def create_workflow(api: Api, call: Call) -> Reply:
    """POST /v1/workflows."""
    body: WorkflowCreate = call.body
    given = given_of(body)
    refused = await refusals(api, given)
    spec, faults = spec_and_faults(given, call.project)
    faults += refused
    if faults:
        async with api.connection() as conn, conn.transaction():
            await refuse(conn, spec, faults)
    enabled = body.enabled is UNSET or body.enabled
    return await _store(api, call, Scope(spec.project_id, "createWorkflow"), spec, enabled=enabled)


async def refusals(api: Api, given: Mapping[str, Any]) -> list[Fault]:
    """A URL that may not be called; looked at before any transaction, for names are resolved."""
    url = given.get("alert_webhook_url")
    if not url or check_url("alert_webhook_url", url):
        return []
    refusal = await api.deps.guard.refusal(url)
    return [Fault("/alert_webhook_url", refusal)] if refusal else []


async def _store(api: Api, call: Call, scope: Scope, spec: WorkflowSpec, *, enabled: bool) -> Reply:
    deps = api.deps

    async def work(conn: Conn) -> Reply:
        refs = await check_refs(conn, spec)
        made = await workflows.insert_workflow(
            conn, deps.new_id(), deps.new_id(), spec, deps.clock.now(), enabled=enabled
        )
        if made is None:
            raise _taken(spec)
        await workflows.put_refs(conn, made.id, refs)
        await begin_flow(api, conn, made)
        return answer(made, 201)

    return await answered_once(api, call, scope, work)


def _taken(spec: WorkflowSpec) -> ConflictError:
    return ConflictError(
        f"project {spec.project_id!r} has a workflow {spec.slug!r} already",
        hint="choose another slug, or change that workflow",
    )


def answer(workflow: StoredWorkflow, status: int = 200) -> Reply:
    """A workflow, whole, with its ETag."""
    return reply(workflow_shape.workflow(workflow), status, ((b"etag", workflow_shape.etag(workflow)),))


async def get_workflow(api: Api, call: Call) -> Reply:
    """GET /v1/workflows/{workflow}."""
    async with api.connection() as conn:
        return answer(await find_workflow(conn, call.path["workflow"], call.project))


async def list_workflows(api: Api, call: Call) -> Reply:
    """GET /v1/workflows."""
    asked = call.query
    where = WorkflowFilter(
        project_id=call.project,
        tags=dict(asked["tag"]) if "tag" in asked else None,
        enabled=asked.get("enabled"),
        paused=asked.get("paused"),
        slug=asked.get("slug"),
        id_range=asked.get("id_prefix"),
    )
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        found = await workflows.list_workflows(conn, where, limit=limit + 1, before=query.before_id(asked))
    page, cursor = query.cut(found, limit, lambda one: query.id_cursor(one.id))
    return reply(wire.Page(data=[workflow_shape.workflow(one, whole=False) for one in page], next_cursor=cursor))


@asynccontextmanager
async def _changing(api: Api, call: Call) -> AsyncIterator[tuple[Conn, StoredWorkflow]]:
    """The workflow that the path names, held in a transaction, as it must be (`If-Match`) before it is changed."""
    done = Done()
    async with api.connection() as conn, conn.transaction():
        found = await find_workflow(conn, call.path["workflow"], call.project)
        held = await workflows.lock_workflow(conn, found.id)
        if held is None:
            raise _gone(call)
        _check_match(call.headers.get(b"if-match"), held)
        async with following_flow(api, conn, held, done):
            yield conn, held
    tell(api, done)


def _check_match(wanted: bytes | None, workflow: StoredWorkflow) -> None:
    if wanted is None or wanted.strip() == b"*":
        return
    etag = workflow_shape.etag(workflow)
    if etag not in {tag.strip() for tag in wanted.split(b",")}:
        raise PreconditionError(
            f"workflow {workflow.spec.slug!r} has changed since you looked: its ETag is {etag.decode()} now",
            hint="read it again, and repeat the change on what it is now",
        )


def _gone(call: Call) -> NotFoundError:
    return NotFoundError(f"workflow {call.path['workflow']!r} has just been deleted")


async def patch_workflow(api: Api, call: Call) -> Reply:
    """PATCH /v1/workflows/{workflow}."""
    body: WorkflowPatch = call.body
    deps = api.deps
    given = given_of(body)
    refused = await refusals(api, given)
    async with _changing(api, call) as (conn, before):
        spec = evolve(before.spec, given)
        await refuse(conn, spec, [*faults_of(spec), *refused], before.id)
        enabled = before.enabled if body.enabled is UNSET else body.enabled
        if spec == before.spec and enabled == before.enabled:
            return answer(before)
        if spec.slug != before.spec.slug:
            await refuse_users(conn, "workflow", before.id, before.spec.slug, by_slug=True)
        if spec.steps != before.spec.steps or spec.slug != before.spec.slug:
            await workflows.put_refs(conn, before.id, await check_refs(conn, spec, before.id))
        try:
            changed = await workflows.update_workflow(
                conn, before, spec, deps.new_id(), deps.clock.now(), enabled=enabled
            )
        except Taken:
            raise _taken(spec) from None
    if changed is None:
        raise _gone(call)
    return answer(changed)


async def delete_workflow(api: Api, call: Call) -> Reply:
    """DELETE /v1/workflows/{workflow}."""
    async with _changing(api, call) as (conn, found):
        await refuse_users(conn, "workflow", found.id, found.spec.slug)
        if await workflow_runs.has_active(conn, found.id):
            raise ConflictError(
                f"workflow {found.spec.slug!r} has runs that are not over",
                hint=f"see them: strait workflow-runs list --workflow {found.spec.slug}",
            )
        await workflows.delete_workflow(conn, found.id, api.deps.clock.now())
    return Reply(204)


async def pause_workflow(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/pause."""
    reason = call.body.reason or None
    if reason is not None and len(reason) > MAX_REASON:
        raise ValidationError([Fault("/reason", f"must be at most {MAX_REASON} characters")])
    async with _changing(api, call) as (conn, found):
        paused = await workflows.pause_workflow(conn, found.id, reason, api.deps.clock.now())
    if paused is None:
        raise _gone(call)
    return answer(paused)


async def resume_workflow(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/resume."""
    async with _changing(api, call) as (conn, found):
        resumed = await workflows.resume_workflow(conn, found.id, api.deps.clock.now())
    if resumed is None:
        raise _gone(call)
    return answer(resumed)


async def clone_workflow(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/clone."""
    body: WorkflowClone = call.body
    async with api.connection() as conn:
        found = await find_workflow(conn, call.path["workflow"], call.project)
    changes = {"slug": body.slug} if body.name is UNSET else {"slug": body.slug, "name": body.name}
    spec = evolve(found.spec, changes)
    faults = [*faults_of(spec), *await refusals(api, {"alert_webhook_url": spec.alert_webhook_url})]
    if faults:
        raise ValidationError(faults)
    return await _store(api, call, Scope(spec.project_id, f"cloneWorkflow:{found.id}"), spec, enabled=found.enabled)
