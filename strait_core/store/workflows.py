"""Workflows, their versions, and what they refer to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.workflow.definition import WorkflowSpec, read_spec, settings_text, steps_text

_SQL = load("workflows")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredWorkflow:
    """A workflow as it stands now: its newest definition and what lies around it; in lists without the steps."""

    id: UUID
    spec: WorkflowSpec
    enabled: bool
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    version: int
    version_id: UUID
    step_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredWorkflowVersion:
    """One immutable version; in lists without the steps."""

    version: int
    version_id: UUID
    spec: WorkflowSpec
    step_count: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """What a list of workflows is narrowed to; None or empty leaves a field open."""

    project_id: str | None = None
    tags: Mapping[str, str] | None = None
    enabled: bool | None = None
    paused: bool | None = None
    slug: str | None = None
    id_range: tuple[UUID, UUID] | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """A job or a workflow that a definition refers to."""

    target_id: UUID
    is_job: bool
    by_slug: bool


@dataclass(frozen=True, slots=True)
class Named:
    """What a reference leads to; `definition` is that of a job, None of a workflow."""

    id: UUID
    slug: str
    definition: str | None = None


def _workflow(row: Row) -> StoredWorkflow:
    return StoredWorkflow(
        id=row["id"],
        spec=read_spec(row["definition"], row["steps"]),
        enabled=row["enabled"],
        paused=row["paused"],
        paused_at=row["paused_at"],
        pause_reason=row["pause_reason"],
        version=row["version"],
        version_id=row["version_id"],
        step_count=row["step_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _version(row: Row) -> StoredWorkflowVersion:
    return StoredWorkflowVersion(
        version=row["version"],
        version_id=row["version_id"],
        spec=read_spec(row["definition"], row["steps"]),
        step_count=row["step_count"],
        created_at=row["created_at"],
    )


async def _one(conn: Conn, statement: str, values: Mapping[str, Any]) -> StoredWorkflow | None:
    row = await _SQL.one(conn, statement, values)
    return None if row is None else _workflow(row)


def _stored(spec: WorkflowSpec) -> dict[str, Any]:
    return {
        "slug": spec.slug,
        "tags": Jsonb(spec.tags),
        "definition": settings_text(spec),
        "steps": steps_text(spec),
        "step_count": len(spec.steps),
    }


async def insert_workflow(
    conn: Conn, workflow_id: UUID, version_id: UUID, spec: WorkflowSpec, now: datetime, *, enabled: bool
) -> StoredWorkflow | None:
    """Store a new workflow as version 1; None when its slug is taken in its project."""
    values = {
        **_stored(spec),
        "id": workflow_id,
        "project_id": spec.project_id,
        "version_id": version_id,
        "enabled": enabled,
        "now": now,
    }
    return await _one(conn, "insert_workflow", values)


async def workflow_by_id(conn: Conn, workflow_id: UUID) -> StoredWorkflow | None:
    """The workflow of that id, unless it was deleted."""
    return await _one(conn, "workflow_by_id", {"id": workflow_id})


async def workflows_by_id(conn: Conn, workflow_ids: Collection[UUID]) -> dict[UUID, StoredWorkflow]:
    """The workflows of these ids, without those that were deleted."""
    found = [_workflow(row) for row in await _SQL.rows(conn, "workflows_by_id", {"ids": list(workflow_ids)})]
    return {one.id: one for one in found}


async def workflows_by_slug(conn: Conn, slug: str, project: str | None) -> list[StoredWorkflow]:
    """The workflows of that slug, one for each project that has one (at most 10); `project` narrows to one."""
    return [_workflow(row) for row in await _SQL.rows(conn, "workflows_by_slug", {"slug": slug, "project": project})]


async def lock_workflow(conn: Conn, workflow_id: UUID) -> StoredWorkflow | None:
    """The workflow, held for an update until the caller's transaction ends."""
    return await _one(conn, "lock_workflow", {"id": workflow_id})


async def update_workflow(
    conn: Conn, workflow: StoredWorkflow, spec: WorkflowSpec, version_id: UUID, now: datetime, *, enabled: bool
) -> StoredWorkflow | None:
    """Store a changed definition as the next version; an unchanged one keeps its version. Needs `lock_workflow` before.

    Raises psycopg's UniqueViolation when the new slug is taken.
    """
    changed = spec != workflow.spec
    values = {
        **_stored(spec),
        "id": workflow.id,
        "enabled": enabled,
        "version": workflow.version + changed,
        "version_id": version_id if changed else workflow.version_id,
        "now": now,
    }
    return await _one(conn, "update_workflow", values)


async def pause_workflow(conn: Conn, workflow_id: UUID, reason: str | None, now: datetime) -> StoredWorkflow | None:
    """Let a workflow take no triggers; None when it is gone."""
    return await _one(conn, "pause_workflow", {"id": workflow_id, "reason": reason, "now": now})


async def resume_workflow(conn: Conn, workflow_id: UUID, now: datetime) -> StoredWorkflow | None:
    """Let a paused workflow take triggers again; None when it is gone."""
    return await _one(conn, "resume_workflow", {"id": workflow_id, "now": now})


async def delete_workflow(conn: Conn, workflow_id: UUID, now: datetime) -> None:
    """Hide a workflow, free its slug and what it refers to. Needs `lock_workflow` before."""
    await conn.execute(query(_SQL["delete_workflow"]), {"id": workflow_id, "now": now})


async def list_workflows(conn: Conn, where: WorkflowFilter, *, limit: int, before: UUID | None) -> list[StoredWorkflow]:
    """Workflows that match, newest first, older than `before`, without their steps."""
    low, high = where.id_range or (None, None)
    values = {
        "project_id": where.project_id,
        "enabled": where.enabled,
        "paused": where.paused,
        "slug": where.slug,
        "tags": Jsonb(where.tags) if where.tags else None,
        "low": low,
        "high": high,
        "before": before,
        "limit": limit,
    }
    return [_workflow(row) for row in await _SQL.rows(conn, "list_workflows", values)]


async def workflow_versions(
    conn: Conn, workflow_id: UUID, *, limit: int, before: int | None
) -> list[StoredWorkflowVersion]:
    """The versions of a workflow, newest first, below `before`, without their steps."""
    values = {"id": workflow_id, "limit": limit, "before": before}
    return [_version(row) for row in await _SQL.rows(conn, "workflow_versions", values)]


async def versions_of(conn: Conn, workflow_id: UUID, versions: Sequence[int]) -> dict[int, StoredWorkflowVersion]:
    """Those of the named versions that there are, whole."""
    values = {"id": workflow_id, "versions": Jsonb(list(versions))}
    return {row["version"]: _version(row) for row in await _SQL.rows(conn, "versions_of", values)}


async def specs(conn: Conn, wanted: Collection[tuple[UUID, int]]) -> dict[tuple[UUID, int], WorkflowSpec]:
    """The definitions of the named (workflow, version) pairs; the workflow may have been deleted since."""
    pairs = list(wanted)
    values = {"workflows": [workflow for workflow, _ in pairs], "versions": [version for _, version in pairs]}
    rows = await _SQL.rows(conn, "specs", values)
    return {(row["workflow_id"], row["version"]): read_spec(row["definition"], row["steps"]) for row in rows}


# ── what definitions refer to ─────────────────────────────────────────────────────────────────────────────────────────


async def jobs_named(conn: Conn, project: str, job_ids: Collection[UUID], slugs: Collection[str]) -> list[Named]:
    """The jobs of a project with these ids and slugs, held as they are until the caller's transaction ends."""
    return [Named(**row) for row in await _SQL.rows(conn, "jobs_named", _names(project, job_ids, slugs))]


async def workflows_named(
    conn: Conn, project: str, workflow_ids: Collection[UUID], slugs: Collection[str]
) -> list[Named]:
    """The workflows of a project with these ids and slugs, held likewise."""
    return [Named(**row) for row in await _SQL.rows(conn, "workflows_named", _names(project, workflow_ids, slugs))]


def _names(project: str, ids: Collection[UUID], slugs: Collection[str]) -> dict[str, Any]:
    return {"project_id": project, "ids": Jsonb([str(one) for one in ids]), "slugs": Jsonb(list(slugs))}


async def put_refs(conn: Conn, workflow_id: UUID, refs: Collection[Ref]) -> None:
    """Make these the jobs and workflows that a workflow refers to."""
    await conn.execute(query(_SQL["clear_refs"]), {"id": workflow_id})
    said = [{"target_id": str(one.target_id), "is_job": one.is_job, "by_slug": one.by_slug} for one in refs]
    if said:
        await conn.execute(query(_SQL["insert_refs"]), {"id": workflow_id, "refs": Jsonb(said)})


async def users_of(conn: Conn, target_id: UUID, *, by_slug: bool | None = None) -> list[str]:
    """The slugs of up to ten workflows that refer to a job or a workflow; `by_slug`: only those that name it so."""
    return [row["slug"] for row in await _SQL.rows(conn, "users_of", {"id": target_id, "by_slug": by_slug})]


async def children_of(conn: Conn, workflow_ids: Collection[UUID]) -> list[tuple[UUID, Named]]:
    """What these workflows run inside: pairs of the workflow and the one that it refers to."""
    rows = await _SQL.rows(conn, "children_of", {"ids": Jsonb([str(one) for one in workflow_ids])})
    return [(row["workflow_id"], Named(row["target_id"], row["slug"])) for row in rows]


async def one_at_a_time(conn: Conn, project: str) -> None:
    """Wait for whoever else nests workflows in this project, until the caller's transaction ends."""
    await conn.execute(query(_SQL["one_at_a_time"]), {"project_id": project})
