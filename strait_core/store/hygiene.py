"""Keeping the small hot tables small: their dead rows are what a claim would otherwise walk past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import sql

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("hygiene")
# Short tables with a row or more per run; `runs` itself is left to autovacuum, whose thresholds its migration sets.
HOT_TABLES: Final = (
    "ready",
    "due",
    "stats_deltas",
    "stats_depth",
    "stats_jobs",
    "stats_rates",
    "workers",
    "lane_state",
    "lane_rates",
    "parked",
)
DEAD_ROWS: Final = 2_000
LONG_SECS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Something that keeps dead rows from being removed: its kind, its name, for how many seconds."""

    kind: str
    name: str
    age_secs: float


async def dead_rows(conn: Conn) -> list[str]:
    """Hot tables with more than 2,000 dead rows."""
    values = {"tables": list(HOT_TABLES), "least": DEAD_ROWS}
    return [row[0] for row in await (await conn.execute(query(_SQL["dead_rows"]), values)).fetchall()]


async def vacuum(conn: Conn, table: str) -> None:
    """Vacuum one table, unless somebody else does; needs a connection without an open transaction."""
    await conn.execute(sql.SQL("VACUUM (SKIP_LOCKED, TRUNCATE false) strait.{}").format(sql.Identifier(table)))


async def analyze(conn: Conn, table: str) -> None:
    """Refresh the planner's idea of a partitioned table, which autovacuum never does."""
    await conn.execute(sql.SQL("ANALYZE (SKIP_LOCKED) strait.{}").format(sql.Identifier(table)))


async def holders(conn: Conn, now: datetime) -> list[Holder]:
    """What has held back the removal of dead rows for more than 30 seconds, the oldest first."""
    cursor = await conn.execute(query(_SQL["holders"]), {"now": now, "least_secs": LONG_SECS})
    return [Holder(*row) for row in await cursor.fetchall()]
