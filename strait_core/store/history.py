"""Partitions of what has ended: by retention class, then by week (Monday, UTC)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from strait_core.run import LONG_KEPT, Status
from strait_core.store import partitions
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

SHORT: Final = "short"
LONG: Final = "long"
PARENTS: Final = (
    "run_history",
    "attempts",
    "run_events",
    "run_logs",
    "schedule_fires",
    "workflow_run_history",
    "workflow_step_history",
)
WEEKS_AHEAD: Final = 4
_SQL = load("history")
_WEEK: Final = timedelta(days=7)


def keep_of(status: Status | str) -> str:
    """The retention class of what ended in that state."""
    return LONG if status in LONG_KEPT else SHORT


def week_of(at: datetime) -> datetime:
    """The Monday midnight, UTC, at or before `at`."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


async def ensure_partitions(conn: Conn, now: datetime) -> int:
    """Make the partitions of this week and the next four where they are missing; how many were made.

    Runs in the caller's transaction, one process at a time.
    """
    await partitions.lock(conn)
    first = week_of(now)
    made = 0
    for parent in PARENTS:
        for keep in (SHORT, LONG):
            have = set(await partitions.of(conn, f"{parent}_{keep}"))
            for ahead in range(-1, WEEKS_AHEAD + 1):
                made += await _ensure_one(conn, f"{parent}_{keep}", first + ahead * _WEEK, have)
    return made


async def ensure_weeks(conn: Conn, parent: str, keep: str, days: Sequence[datetime], now: datetime) -> None:
    """Make the partitions of the weeks of these days, where they lie before those that are always there."""
    earliest = week_of(now) - _WEEK
    weeks = {week_of(day) for day in days if day < earliest}
    if weeks:
        await partitions.lock(conn)
        have = set(await partitions.of(conn, f"{parent}_{keep}"))
        for monday in sorted(weeks):
            await _ensure_one(conn, f"{parent}_{keep}", monday, have)


async def _ensure_one(conn: Conn, parent: str, monday: datetime, have: set[str]) -> int:
    name = f"{parent}_{monday:%Y%m%d}"
    if name in have:
        return 0
    await partitions.make(conn, parent, name, (monday, monday + _WEEK))
    return 1


async def lock_retention(conn: Conn) -> bool:
    """Whether nobody else drops partitions until the caller's transaction ends."""
    row = await (await conn.execute(query(_SQL["lock_retention"]))).fetchone()
    return bool(row and row[0])


async def drop_before(conn: Conn, parent: str, keep: str, before: datetime) -> list[str]:
    """Drop the partitions of `parent` that end at or before `before`; their names. `conn` is in no transaction.

    The runs that go are counted and taken off the statistics. Who is stopped in between leaves the rest to the next.
    """
    gone = await partitions.take_out(conn, f"{parent}_{keep}", lambda name: _end_of(name) <= before)
    for name in gone:
        async with conn.transaction():
            if parent == "run_history":
                await _take_off(conn, name, before)
            await partitions.drop(conn, name)
    return gone


def _end_of(name: str) -> datetime:
    """When the week of a partition is over."""
    return datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC) + _WEEK


async def _take_off(conn: Conn, name: str, at: datetime) -> None:
    """Write the delta that forgets the runs of what was a partition."""
    await conn.execute(
        sql.SQL(
            "INSERT INTO strait.stats_deltas (at, moves)"
            " SELECT {}, jsonb_agg(jsonb_build_array(project_id, job_id, status, '', n)) FROM"
            " (SELECT project_id, job_id, status, count(*) AS n FROM strait.{} GROUP BY 1, 2, 3) g HAVING count(*) > 0"
        ).format(sql.Literal(at), sql.Identifier(name))
    )
