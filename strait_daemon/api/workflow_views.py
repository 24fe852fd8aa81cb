"""Workflows looked at: versions and what differs, dry runs, plans, graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from msgspec import UNSET

from strait_core import wire
from strait_core.errors import NotFoundError
from strait_core.store import workflows
from strait_core.store.pool import Conn
from strait_core.store.workflows import StoredWorkflow, StoredWorkflowVersion
from strait_core.wire.workflows import Verdict, WorkflowDryRun
from strait_core.workflow.boxes import WIDTH, boxes
from strait_core.workflow.compare import compared
from strait_core.workflow.definition import evolve
from strait_core.workflow.drawing import GraphFormat, dot, mermaid
from strait_core.workflow.plan import drawn, planned
from strait_core.workflow.request import steps_of
from strait_core.workflow.validate import faults_of
from strait_daemon.api import query, workflow_shape
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflow_refs import check_refs, refuse
from strait_daemon.api.workflows import find_workflow

TEXT: Final = b"text/plain; charset=utf-8"


async def _find(conn: Conn, call: Call) -> StoredWorkflow:
    return await find_workflow(conn, call.path["workflow"], call.project)


async def list_versions(api: Api, call: Call) -> Reply:
    """GET /v1/workflows/{workflow}/versions."""
    limit = query.limit_of(call.query)
    async with api.connection() as conn:
        found = await _find(conn, call)
        before = query.after_number(call.query)
        rows = await workflows.workflow_versions(conn, found.id, limit=limit + 1, before=before)
    page, cursor = query.cut(rows, limit, lambda one: query.number_cursor(one.version))
    return reply(wire.Page(data=[workflow_shape.version(one, whole=False) for one in page], next_cursor=cursor))


async def get_version(api: Api, call: Call) -> Reply:
    """GET /v1/workflows/{workflow}/versions/{version}."""
    async with api.connection() as conn:
        (found,) = await _versions(conn, await _find(conn, call), [call.path["version"]])
    return reply(workflow_shape.version(found))


async def diff_versions(api: Api, call: Call) -> Reply:
    """GET /v1/workflows/{workflow}/versions/{a}/diff/{b}."""
    async with api.connection() as conn:
        before, after = await _versions(conn, await _find(conn, call), [call.path["a"], call.path["b"]])
    return reply(compared(before.spec, after.spec, (before.version, after.version)))


async def _versions(conn: Conn, workflow: StoredWorkflow, named: Sequence[str]) -> list[StoredWorkflowVersion]:
    """The versions that a path names, in its order."""
    numbers = [int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0 for text in named]
    found = await workflows.versions_of(conn, workflow.id, numbers)
    for text, number in zip(named, numbers, strict=True):
        if number not in found:
            raise NotFoundError(
                f"workflow {workflow.spec.slug!r} has no version {text[:20]!r}",
                hint=f"it has 1 to {workflow.version}: strait workflows versions {workflow.spec.slug}",
            )
    return [found[number] for number in numbers]


async def dry_run(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/dry-run."""
    body: WorkflowDryRun = call.body
    async with api.connection() as conn, conn.transaction():
        found = await _find(conn, call)
        spec = found.spec if body.steps is UNSET else evolve(found.spec, {"steps": steps_of(body.steps)})
        await refuse(conn, spec, faults_of(spec), found.id)
        await check_refs(conn, spec, found.id)
    return reply(Verdict(valid=True, step_count=len(spec.steps)))


async def plan(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/plan."""
    async with api.connection() as conn:
        found = await _find(conn, call)
    return reply(planned(found.spec, found.version))


async def graph(api: Api, call: Call) -> Reply:
    """GET /v1/workflows/{workflow}/graph."""
    async with api.connection() as conn:
        found = await _find(conn, call)
    made: GraphFormat = call.query.get("format", GraphFormat.JSON)
    match made:
        case GraphFormat.JSON:
            return reply(drawn(found.spec))
        case GraphFormat.MERMAID:
            text = mermaid(drawn(found.spec))
        case GraphFormat.DOT:
            text = dot(drawn(found.spec))
        case GraphFormat.ASCII:
            text = boxes(found.spec.steps, call.query.get("width", WIDTH))
        case _:
            assert_never(made)
    return Reply(200, text.encode(), TEXT)
