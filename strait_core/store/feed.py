"""What the feed of all runs reads, for many runs at once: where they stand, and the path that led there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from strait_core import ids, path
from strait_core.run import Status
from strait_core.store import runs
from strait_core.store.pool import Conn
from strait_core.store.sql import load
from strait_core.workflow.states import RunStatus

_SQL = load("feed")
# Of what a listener has missed, the newest of each kind.
MOST_MISSED: Final = 1_000
# Clocks of daemons may differ by so much.
_SLACK: Final = timedelta(seconds=2)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Walk:
    """A run that has moved: whose it is, and its whole path."""

    id: UUID
    job_id: UUID
    job_slug: str
    project_id: str
    created_at: datetime
    seq: int
    steps: list[path.Step]


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


async def walks(conn: Conn, run_ids: Sequence[UUID]) -> list[Walk]:
    """Those of these runs that there are, each with its path."""
    if not run_ids:
        return []
    asked = {"ids": list(run_ids), "made_at": runs.first_made(run_ids)}
    heads = {row["id"]: row for row in await _SQL.rows(conn, "run_heads", asked)}
    closed: dict[UUID, list[path.Closed]] = defaultdict(list)
    for row in await _SQL.rows(conn, "attempts_of", asked):
        closed[row.pop("run_id")].append(path.Closed(**row))
    moves: dict[UUID, list[path.Move]] = defaultdict(list)
    for row in await _SQL.rows(conn, "moves_of", asked):
        moves[row.pop("run_id")].append(path.Move(**{**row, "status": Status(row["status"])}))
    return [_walk(head, closed[head["id"]], moves[head["id"]]) for head in heads.values()]


def _walk(head: Row, closed: list[path.Closed], moves: list[path.Move]) -> Walk:
    seq = head["seq"]
    standing = path.Standing(
        seq,
        Status(head["status"]),
        head["attempt"],
        head["created_at"],
        head["scheduled_at"],
        head["claimed_at"],
        head["started_at"],
    )
    # What was read after the head and lies beyond it is left for the next look.
    steps = path.path_of(standing, [one for one in closed if one.seq <= seq], [one for one in moves if one.seq <= seq])
    whose = (head["id"], head["job_id"], head["job_slug"], head["project_id"], head["created_at"])
    return Walk(*whose, seq, steps)


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
