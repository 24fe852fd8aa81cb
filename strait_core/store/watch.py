"""What a watcher of runs reads: where a run stands and the path it walked, without payload and result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from strait_core import path
from strait_core.run import Status
from strait_core.store import runs
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("watch")
Row = dict[str, Any]


# Named tuples, as those of the path and for their reason.
class Head(NamedTuple):
    """Where a run stands, and whose it is."""

    id: UUID
    job_id: UUID
    job_slug: str
    project_id: str
    standing: path.Standing
    # The number of its last note (a log line or a report of progress), and that report.
    note_seq: int = 0
    progress: dict[str, Any] | None = None


class Course(NamedTuple):
    """A run's path up to its head, and the rows of the attempts that were closed on it."""

    steps: list[path.Step]
    attempts: list[dict[str, Any]]


async def head(conn: Conn, run_id: UUID) -> Head | None:
    """Where the run stands; None when there is none."""
    return (await _heads(conn, [run_id])).get(run_id)


async def _heads(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, Head]:
    values = {"ids": list(run_ids), "made_at": runs.first_made(run_ids)}
    cursor = await conn.cursor(binary=True).execute(query(_SQL["heads"]), values)
    return {row[0]: _head(row) for row in await cursor.fetchall()}


def _head(row: tuple[Any, ...]) -> Head:
    run_id, job_id, job_slug, project_id, status, *times, note_seq, progress = row
    seq, attempt, created_at, scheduled_at, claimed_at, started_at = times
    standing = path.Standing(seq, Status(status), attempt, created_at, scheduled_at, claimed_at, started_at)
    return Head(run_id, job_id, job_slug, project_id, standing, note_seq or 0, progress)


async def course(conn: Conn, at: Head) -> Course:
    """The path that led to `at`; what happens meanwhile is left out."""
    return _course(at, await runs.attempts(conn, at.id), await runs.run_events(conn, [at.id]))


async def looks(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, tuple[Head, Course]]:
    """Where these runs stand, and how they came there; a run that there is not is left out."""
    if not run_ids:
        return {}
    heads = await _heads(conn, run_ids)
    closed, moves = defaultdict[UUID, list[Row]](list), defaultdict[UUID, list[Row]](list)
    for row in await runs.attempts_of(conn, run_ids):
        closed[row["run_id"]].append(row)
    for row in await runs.run_events(conn, run_ids):
        moves[row["run_id"]].append(row)
    return {run_id: (at, _course(at, closed[run_id], moves[run_id])) for run_id, at in heads.items()}


def _course(at: Head, attempts: Sequence[Row], events: Sequence[Row]) -> Course:
    standing = at.standing
    rows = [row for row in attempts if row["seq"] <= standing.seq]
    closed = [
        path.Closed(
            row["number"],
            row["seq"],
            row["outcome"],
            row["claimed_at"],
            row["started_at"],
            row["finished_at"],
            row["error"],
        )
        for row in rows
    ]
    moves = [
        path.Move(row["seq"], row["event"], Status(row["status"]), row["attempt"], row["at"], row["reason"])
        for row in events
        if row["seq"] <= standing.seq
    ]
    return Course(path.path_of(standing, closed, moves), rows)


async def seqs(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """The numbers of the last move and the last note of each of these runs that is active still."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["seqs"]), {"ids": list(run_ids)})
    return {run_id: (seq, note) for run_id, seq, note in await cursor.fetchall()}
