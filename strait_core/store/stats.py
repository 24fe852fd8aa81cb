"""Statistics that stay cheap however long the history: deltas are folded, never counted again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from strait_core.run import TERMINAL
from strait_core.store import changes
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("stats")
RATES_KEPT: Final = timedelta(hours=2)
FOLD_ROWS: Final = 5_000
_TERMINAL: Final = sorted(status.value for status in TERMINAL)


@dataclass(frozen=True, slots=True)
class Flow:
    """Runs created and finished in the last minute and in the last quarter of an hour."""

    created_1m: int
    finished_1m: int
    created_15m: int
    finished_15m: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Live worker processes, their slots in use and in all."""

    workers: int
    used: int
    total: int


async def fold(conn: Conn, now: datetime) -> int:
    """Add up at most 5,000 deltas and publish the changes they tell of; how many there were, 0 while another folds."""
    async with conn.transaction():
        row = await (await conn.execute(query(_SQL["one_folds"]), {"hour": changes.partition_of(now)})).fetchone()
        alone, is_there = row or (False, False)
        if not alone:
            return 0
        if not is_there:
            await changes.ensure_hours(conn, now, ahead=0)
        values = {"limit": FOLD_ROWS, "terminal": _TERMINAL, "now": now}
        row = await (await conn.execute(query(_SQL["fold"]), values)).fetchone()
        return int(row[0]) if row else 0


async def tidy(conn: Conn, now: datetime) -> None:
    """Forget rates older than two hours and jobs without active runs."""
    await conn.execute(query(_SQL["drop_old_rates"]), {"before": now - RATES_KEPT})
    await conn.execute(query(_SQL["drop_idle_jobs"]))


async def _rows(conn: Conn, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    return await (await conn.cursor(binary=True).execute(query(_SQL[statement]), values)).fetchall()


async def depth(conn: Conn, project: str | None) -> dict[str, int]:
    """Runs by state; a state that never had a run is absent."""
    return {status: int(n) for status, n in await _rows(conn, "depth", project=project)}


async def retrying(conn: Conn, project: str | None) -> int:
    """Queued runs that await a retry."""
    return max(0, int((await _rows(conn, "retrying", project=project))[0][0]))


async def flow(conn: Conn, project: str | None, now: datetime) -> Flow:
    """What came in and went out lately."""
    minute, quarter = now - timedelta(minutes=1), now - timedelta(minutes=15)
    rows = await _rows(conn, "rates", project=project, minute=minute, quarter=quarter)
    return Flow(*rows[0])


async def top_jobs(conn: Conn, project: str | None, limit: int) -> list[tuple[UUID, str, int, int]]:
    """Jobs with the most active runs: (id, slug, queued, executing)."""
    return [
        (job, slug, int(q), int(e)) for job, slug, q, e in await _rows(conn, "top_jobs", project=project, limit=limit)
    ]


async def held(conn: Conn, project: str | None, now: datetime) -> dict[str, int]:
    """Queued runs that may not start now, by reason."""
    return {reason: int(n) for reason, n in await _rows(conn, "held", project=project, now=now)}


async def oldest_ready(conn: Conn) -> datetime | None:
    """Since when the longest-waiting ready run has been ready; None when none is."""
    oldest: datetime | None = (await _rows(conn, "oldest_ready"))[0][0]
    return oldest


async def fleet(conn: Conn, alive_since: datetime) -> Fleet:
    """The workers that have reported since `alive_since`."""
    return Fleet(*(await _rows(conn, "fleet", alive_since=alive_since))[0])
