"""What the feed reads besides the courses of runs: where workflow runs stand, and what may have moved meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from strait_core import ids
from strait_core.store import runs
from strait_core.store.pool import Conn
from strait_core.store.sql import load
from strait_core.workflow.states import RunStatus

_SQL = load("feed")
# Of what a listener has missed, the newest of each kind.
MOST_MISSED: Final = 1_000
# Clocks of daemons may differ by so much.
_SLACK: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Flow:
    """A workflow run that has moved: whose it is, and where it stands."""

    id: UUID
    workflow_id: UUID
    workflow_slug: str
    project_id: str
    status: RunStatus
    seq: int
    at: datetime


async def flows(conn: Conn, run_ids: Sequence[UUID]) -> list[Flow]:
    """Those of these workflow runs that there are."""
    if not run_ids:
        return []
    asked = {"ids": list(run_ids), "made_at": runs.first_made(run_ids)}
    found = {row["id"]: row for row in await _SQL.rows(conn, "workflow_heads", asked)}
    return [Flow(**{**row, "status": RunStatus(row["status"])}) for row in found.values()]


async def moved_since(conn: Conn, since: datetime) -> list[UUID]:
    """Runs and workflow runs that may have moved since then."""
    since -= _SLACK
    values = {"low": ids.first_at(since), "since": since, "limit": MOST_MISSED}
    return [row["id"] for row in await _SQL.rows(conn, "moved_since", values)]
