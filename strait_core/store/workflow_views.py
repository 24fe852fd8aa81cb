"""Reads of workflow runs: lists, steps with what the definition says of them, approvals, and why a step waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from strait_core.store.pool import Conn
from strait_core.store.workflow_rows import Row, rows, snapshot_for
from strait_core.store.workflow_runs import steps_of
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import RUN_TERMINAL, RunStatus, StepStatus


@dataclass(frozen=True, slots=True)
class WorkflowRunFilter:
    """What a list of workflow runs is narrowed to; None or empty leaves a field open."""

    project_id: str | None = None
    workflow_id: UUID | None = None
    statuses: Collection[RunStatus] = ()
    tags: Mapping[str, str] | None = None
    id_range: tuple[UUID, UUID] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


async def list_runs(conn: Conn, where: WorkflowRunFilter, *, limit: int, before: UUID | None) -> list[Row]:
    """Runs that match, newest first, older than `before`, without their payloads."""
    return await rows(conn, "list_runs", {**narrowed(where), "before": before, "limit": limit})


def narrowed(where: WorkflowRunFilter) -> dict[str, Any]:
    """A filter as the parameters of a statement."""
    low, high = where.id_range or (None, None)
    return {
        "project_id": where.project_id,
        "workflow_id": where.workflow_id,
        "statuses": [status.value for status in where.statuses] or None,
        "tags": Jsonb(dict(where.tags)) if where.tags else None,
        "low": low,
        "high": high,
        "created_after": where.created_after,
        "created_before": where.created_before,
    }


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a run: what the definition says, where it is, and what is stored of it and of its undoing."""

    at: int
    status: StepStatus
    row: Row | None
    undone_by: UUID | None


_NOTHING: Final[Row] = {}
# Questions forgotten by one statement.
FORGET_ROWS: Final = 1_000


async def view_steps(conn: Conn, run: Row) -> tuple[Snapshot, list[StepView]]:
    """Every step of a run, in the order of the definition. What has not begun when a run is over is canceled."""
    snapshot = await snapshot_for(conn, run["workflow_id"], run["version"])
    stored = await steps_of(conn, run["id"])
    is_over = RunStatus(run["status"]) in RUN_TERMINAL
    views = []
    for at in range(len(snapshot.steps)):
        row = stored.get(at)
        status = StepStatus.PENDING if row is None else StepStatus(row["status"])
        if status is StepStatus.PENDING and is_over:
            status = StepStatus.CANCELED
        undone_by: UUID | None = stored.get(-1 - at, _NOTHING).get("job_run_id")
        views.append(StepView(at, status, row, undone_by))
    return snapshot, views


async def keys_of_events(conn: Conn, event_ids: Collection[UUID]) -> dict[UUID, str]:
    """The keys of these events; those that are no longer kept are left out."""
    found = await rows(conn, "keys_of_events", {"ids": list(event_ids)}) if event_ids else []
    return {row["id"]: row["key"] for row in found}


async def list_approvals(
    conn: Conn,
    project: str | None,
    *,
    status: str | None,
    limit: int,
    before: UUID | None,
    id_range: tuple[UUID, UUID] | None = None,
) -> list[Row]:
    """Questions that steps ask, or have asked, the newest first."""
    low, high = id_range or (None, None)
    values: dict[str, Any] = {"project_id": project, "status": status, "limit": limit, "before": before}
    return await rows(conn, "list_approvals", {**values, "low": low, "high": high})


async def forget_approvals(conn: Conn, before: datetime) -> int:
    """Forget questions that were decided before that, a thousand at a time; how many."""
    return len(await rows(conn, "forget_approvals", {"before": before, "limit": FORGET_ROWS}))


async def approval(conn: Conn, approval_id: UUID) -> Row | None:
    """One question."""
    found = await rows(conn, "get_approval", {"id": approval_id})
    return found[0] if found else None
