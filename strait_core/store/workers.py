"""Worker processes and their heartbeats."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("workers")


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker process, as it last reported."""

    id: UUID
    host: str
    pid: int
    mode: str
    version: str
    slots: int
    in_flight: int
    draining: bool
    started_at: datetime
    heartbeat_at: datetime


async def heartbeat(conn: Conn, worker: WorkerRow) -> bool:
    """Report a worker as alive at `worker.heartbeat_at`; whether it has been asked to drain."""
    values = asdict(worker)
    values["now"] = values.pop("heartbeat_at")
    row = await (await conn.execute(query(_SQL["heartbeat"]), values)).fetchone()
    return bool(row and row[0])


async def list_workers(conn: Conn) -> list[WorkerRow]:
    """Every worker that has not been removed, the oldest first."""
    async with conn.cursor(row_factory=class_row(WorkerRow), binary=True) as cursor:
        await cursor.execute(query(_SQL["list_workers"]))
        return await cursor.fetchall()


async def stale_workers(conn: Conn, before: datetime, limit: int) -> list[UUID]:
    """Workers whose heartbeat is older than `before`."""
    cursor = await conn.execute(query(_SQL["stale_workers"]), {"before": before, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def remove_worker(conn: Conn, worker: UUID) -> None:
    """Forget a worker that has left of its own will."""
    await conn.execute(query(_SQL["remove_worker"]), {"id": worker})


async def remove_stale_worker(conn: Conn, worker: UUID, before: datetime, seen: datetime | None = None) -> None:
    """Forget a dead worker, unless it has come back: its heartbeat is older than `before`, or `seen`."""
    await conn.execute(query(_SQL["remove_stale_worker"]), {"id": worker, "before": before, "seen": seen})


async def silent_holders(conn: Conn, ahead: datetime, limit: int) -> list[tuple[UUID, datetime | None]]:
    """Workers whose heartbeat is later than `ahead`, and, with None, those not on the list that hold runs.

    Reads every active run.
    """
    cursor = await conn.execute(query(_SQL["silent_holders"]), {"ahead": ahead, "limit": limit})
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def drain_worker(conn: Conn, worker: UUID) -> WorkerRow | None:
    """Ask a worker to stop claiming; None when there is no such worker."""
    async with conn.cursor(row_factory=class_row(WorkerRow), binary=True) as cursor:
        await cursor.execute(query(_SQL["drain_worker"]), {"id": worker})
        return await cursor.fetchone()
