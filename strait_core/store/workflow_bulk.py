"""Many workflow runs at once: by what a filter says of them, canceled or retried in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from strait_core.errors import ConflictError
from strait_core.store import workflow_runs
from strait_core.store.faults import Held
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_rows import Row, rows
from strait_core.store.workflow_views import WorkflowRunFilter, narrowed
from strait_core.workflow.states import RunStatus

# A dry run counts no further.
MOST_COUNTED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one workflow run stands; `is_child`: it carries out a step of another."""

    status: RunStatus
    project_id: str
    is_child: bool


async def select_ids(
    conn: Conn, where: WorkflowRunFilter, *, ended: bool, limit: int, before: UUID | None
) -> list[UUID]:
    """Ids of outermost runs that match, newest first, older than `before`: of those that are over, or of the others."""
    values = {**narrowed(where), "ended": ended, "before": before, "limit": limit}
    return [row["id"] for row in await rows(conn, "select_ids", values)]


async def count(conn: Conn, where: WorkflowRunFilter, *, ended: bool) -> int:
    """How many match; no more than MOST_COUNTED are counted."""
    return len(await select_ids(conn, where, ended=ended, limit=MOST_COUNTED, before=None))


async def places(conn: Conn, run_ids: Collection[UUID]) -> dict[UUID, Place]:
    """Where these runs stand; those that are not there are left out."""
    found = await rows(conn, "places", {"ids": list(run_ids)}) if run_ids else []
    return {row["id"]: Place(RunStatus(row["status"]), row["project_id"], row["is_child"]) for row in found}


async def shown(conn: Conn, run_ids: Collection[UUID]) -> list[Row]:
    """These runs as lists show them, the newest first."""
    return await rows(conn, "runs_by_id", {"ids": list(run_ids)}) if run_ids else []


async def cancel(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought) -> Mapping[UUID, str]:
    """Cancel these runs; of those that were not canceled, why. One that somebody holds for long keeps no other."""
    first = Brought()
    try:
        async with conn.transaction():
            canceled = await workflow_runs.cancel_all(conn, run_ids, now, first)
    except Held:
        canceled = await workflow_runs.cancel_all(conn, run_ids, now, first := Brought(), free_only=True)
    brought.add(first)
    return {run_id: "it is moving just now" for run_id in run_ids if run_id not in canceled}


async def retry(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought) -> Mapping[UUID, str]:
    """Retry these runs, each or not by itself; of those that were not retried, why."""
    refused: dict[UUID, str] = {}
    for run_id in sorted(run_ids):
        one = Brought()
        try:
            async with conn.transaction():
                await workflow_runs.retry(conn, run_id, now, one)
        except ConflictError as error:
            refused[run_id] = error.message
        else:
            brought.add(one)
    return refused
