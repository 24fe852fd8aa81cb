"""Backfills and their ticks. Every function runs in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core.run import Status
from strait_core.store.owners import Owner, owner_of
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("backfills")
_encode: Final = msgspec.json.Encoder().encode
FORGET_ROWS: Final = 1_000
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredBackfill:
    """A backfill as it stands: `fires` runs are to be made, `made` have been, of which the others have ended."""

    id: UUID
    schedule_id: UUID
    from_at: datetime
    to_at: datetime
    max_concurrency: int
    fires: int
    made: int
    completed: int
    unsuccessful: int
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    stopped: bool

    @property
    def active(self) -> int:
        """Runs that have been made and have not ended, as far as anybody has looked."""
        return self.made - self.completed - self.unsuccessful


@dataclass(frozen=True, slots=True)
class Due:
    """A backfill to look at, held, and what it fires; None = that is gone."""

    backfill: StoredBackfill
    owner: Owner | None


async def fired_ticks(conn: Conn, schedule_id: UUID, from_at: datetime, to_at: datetime) -> set[datetime]:
    """The ticks of an interval that have made a run when they were due."""
    values = {"schedule_id": schedule_id, "from_at": from_at, "to_at": to_at}
    return {row["fire_at"] for row in await _SQL.rows(conn, "fired_ticks", values)}


async def backfilled_ticks(conn: Conn, schedule_id: UUID, from_at: datetime, to_at: datetime) -> set[datetime]:
    """The ticks of an interval that belong to a backfill already."""
    values = {"schedule_id": schedule_id, "from_at": from_at, "to_at": to_at}
    return {row["fire_at"] for row in await _SQL.rows(conn, "backfilled_ticks", values)}


async def insert(
    conn: Conn,
    new_id: UUID,
    schedule_id: UUID,
    span: tuple[datetime, datetime],
    ticks: Sequence[datetime],
    now: datetime,
    *,
    max_concurrency: int,
) -> StoredBackfill:
    """Store a backfill and its ticks; the caller holds the schedule, which has none under way."""
    values = {
        "id": new_id,
        "schedule_id": schedule_id,
        "from_at": span[0],
        "to_at": span[1],
        "max_concurrency": max_concurrency,
        "fires": len(ticks),
        "ticks": list(ticks),
        "now": now,
    }
    (row,) = await _SQL.rows(conn, "insert_backfill", values)
    await _SQL.rows(conn, "insert_fires", values)
    return StoredBackfill(**row)


async def newest(conn: Conn, schedule_id: UUID) -> StoredBackfill | None:
    """The newest backfill of a schedule, whatever became of it."""
    rows = await _SQL.rows(conn, "newest_backfill", {"schedule_id": schedule_id})
    return StoredBackfill(**rows[0]) if rows else None


async def hold_open(conn: Conn, schedule_id: UUID) -> StoredBackfill | None:
    """The backfill of a schedule that is under way, held; None when none is."""
    rows = await _SQL.rows(conn, "hold_open", {"schedule_id": schedule_id})
    return StoredBackfill(**rows[0]) if rows else None


async def take_due(conn: Conn, now: datetime) -> Due | None:
    """Hold the backfill that has been due the longest; None when there is none."""
    rows = await _SQL.rows(conn, "take_due", {"now": now})
    if not rows:
        return None
    row = rows[0]
    kind, owner_id, version, definition = (row.pop(name) for name in ("kind", "owner_id", "version", "definition"))
    owner = None if definition is None else owner_of(kind, owner_id, version, definition)
    return Due(StoredBackfill(**row), owner)


async def settle_fires(conn: Conn, backfill_id: UUID) -> tuple[int, int]:
    """Look which active runs of a held backfill have ended: how many completed, and how many ended otherwise."""
    outcomes = Counter(row["outcome"] for row in await _SQL.rows(conn, "settle_fires", {"id": backfill_id}))
    completed = outcomes[Status.COMPLETED.value]
    return completed, outcomes.total() - completed


async def next_ticks(conn: Conn, backfill_id: UUID, limit: int) -> list[datetime]:
    """The next ticks without a run, oldest first."""
    return [row["fire_at"] for row in await _SQL.rows(conn, "next_ticks", {"id": backfill_id, "limit": limit})]


async def note_made(conn: Conn, backfill: StoredBackfill, made: Mapping[datetime, UUID], now: datetime) -> None:
    """These ticks have got their runs."""
    batch = [{"fire_at": fire_at, "run_id": run_id} for fire_at, run_id in made.items()]
    values = {"batch": Jsonb(batch, dumps=_encode), "schedule_id": backfill.schedule_id, "now": now}
    await _SQL.rows(conn, "note_made", values)


async def advance(
    conn: Conn,
    backfill_id: UUID,
    *,
    made: int,
    completed: int,
    unsuccessful: int,
    due_at: datetime | None,
    ended_at: datetime | None,
) -> None:
    """Count what has been made and what has ended; look again at `due_at`, or never."""
    values = {
        "id": backfill_id,
        "made": made,
        "completed": completed,
        "unsuccessful": unsuccessful,
        "due_at": due_at,
        "ended_at": ended_at,
    }
    await _SQL.rows(conn, "advance", values)


async def stop(conn: Conn, backfill_id: UUID, now: datetime) -> None:
    """Make no more runs of a held backfill."""
    await _SQL.rows(conn, "drop_unmade", {"id": backfill_id})
    await _SQL.rows(conn, "stop", {"id": backfill_id, "now": now})


async def forget(conn: Conn, before: datetime) -> int:
    """Forget a batch of ticks of backfills that ended before that, then the backfills; how many ticks."""
    gone = (await conn.execute(query(_SQL["forget_fires"]), {"before": before, "limit": FORGET_ROWS})).rowcount
    if gone < FORGET_ROWS:
        await conn.execute(query(_SQL["forget_backfills"]), {"before": before})
    return gone
