"""What the feed reads besides the courses of runs: where workflow runs stand, and what has moved unheard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from strait_core.store import runs
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.workflow.states import RunStatus

_SQL = load("feed")


@dataclass(frozen=True, slots=True)
class Flow:
    """A workflow run that has moved: whose it is, and where it stands; `started_at` is that of its first start."""

    id: UUID
    workflow_id: UUID
    workflow_slug: str
    project_id: str
    status: RunStatus
    seq: int
    at: datetime
    created_at: datetime
    started_at: datetime | None

    def since(self, seq: int, status: str) -> list[FlowStep]:
        """The states that led from one (seq 0 = it was not there) to where it stands, as far as they are known.

        A start that was over before anybody looked has left its time and not its seq: it gets one in between.
        """
        steps = []
        if not seq:
            begins = RunStatus.RUNNING if self.started_at == self.created_at else RunStatus.PENDING
            steps.append(FlowStep(1, begins, self.created_at))
            seq, status = 1, begins
        if status == RunStatus.PENDING and self.status is not RunStatus.RUNNING and self.started_at is not None:
            steps.append(FlowStep(seq + 1, RunStatus.RUNNING, self.started_at))
        if self.status != status:
            steps.append(FlowStep(self.seq, self.status, self.at))
        return steps


class FlowStep(NamedTuple):
    """A state that a workflow run came to, and when."""

    seq: int
    status: RunStatus
    at: datetime


async def flows(conn: Conn, run_ids: Sequence[UUID]) -> list[Flow]:
    """Those of these workflow runs that there are."""
    if not run_ids:
        return []
    asked = {"ids": list(run_ids), "made_at": runs.first_made(run_ids)}
    found = {row["id"]: row for row in await _SQL.rows(conn, "workflow_heads", asked)}
    return [Flow(**{**row, "status": RunStatus(row["status"])}) for row in found.values()]


async def moved_between(conn: Conn, after: int, upto: int) -> list[tuple[UUID, int, int]]:
    """Runs and workflow runs that moved by what was published in between, each with its first and last seq there.

    `after` and `upto` are positions of the feed of changes; what lies at `upto` is part of it.
    """
    asked = {"after": after, "upto": upto}
    return await (await conn.cursor(binary=True).execute(query(_SQL["moved_between"]), asked)).fetchall()


async def slugs(conn: Conn, owner_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The slugs of those of these jobs and workflows that there are."""
    asked = {"ids": list(owner_ids)}
    return dict(await (await conn.cursor(binary=True).execute(query(_SQL["slugs"]), asked)).fetchall())
