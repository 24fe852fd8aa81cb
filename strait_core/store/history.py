"""Partitions of what has ended: by retention class, then by week (Monday, UTC)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from strait_core.run import LONG_KEPT, Status
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
    await conn.execute(query(_SQL["lock_partitions"]))
    first = week_of(now)
    made = 0
    for parent in PARENTS:
        for keep in (SHORT, LONG):
            have = set(await partitions(conn, f"{parent}_{keep}"))
            for ahead in range(-1, WEEKS_AHEAD + 1):
                made += await _ensure_one(conn, f"{parent}_{keep}", first + ahead * _WEEK, have)
    return made


async def ensure_weeks(conn: Conn, parent: str, keep: str, days: Sequence[datetime], now: datetime) -> None:
    """Make the partitions of the weeks of these days, where they lie before those that are always there."""
    earliest = week_of(now) - _WEEK
    weeks = {week_of(day) for day in days if day < earliest}
    if weeks:
        await conn.execute(query(_SQL["lock_partitions"]))
        have = set(await partitions(conn, f"{parent}_{keep}"))
        for monday in sorted(weeks):
            await _ensure_one(conn, f"{parent}_{keep}", monday, have)


async def _ensure_one(conn: Conn, parent: str, monday: datetime, have: set[str]) -> int:
    name = f"{parent}_{monday:%Y%m%d}"
    if name in have:
        return 0
    # Made apart and then attached: that neither waits for readers of the parent nor makes writers wait behind it.
    await conn.execute(
        sql.SQL("CREATE TABLE strait.{} (LIKE strait.{} INCLUDING ALL)").format(
            sql.Identifier(name), sql.Identifier(parent)
        )
    )
    await conn.execute(
        sql.SQL("ALTER TABLE strait.{} ATTACH PARTITION strait.{} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(parent), sql.Identifier(name), sql.Literal(monday), sql.Literal(monday + _WEEK)
        )
    )
    return 1


async def partitions(conn: Conn, parent: str) -> Sequence[str]:
    """The weekly partitions below `parent` (`run_history_short`), oldest first."""
    cursor = await conn.execute(query(_SQL["partitions"]), {"parent": parent})
    return [row[0] for row in await cursor.fetchall()]


async def drop_before(conn: Conn, parent: str, keep: str, before: datetime) -> list[str]:
    """Drop the partitions of `parent` that end at or before `before`; their names.

    Each goes in a transaction of its own with a short lock timeout: a reader in the way costs a later try, not a queue.
    The runs that go are taken off the statistics.
    """
    gone = []
    for name in await partitions(conn, f"{parent}_{keep}"):
        monday = datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
        if monday + _WEEK <= before:
            async with conn.transaction():
                await conn.execute("SET LOCAL lock_timeout = '500ms'")
                if parent == "run_history":
                    await _take_off(conn, name, before)
                await conn.execute(sql.SQL("DROP TABLE strait.{}").format(sql.Identifier(name)))
            gone.append(name)
    return gone


async def _take_off(conn: Conn, name: str, at: datetime) -> None:
    """Write the delta that forgets the runs of one partition; a replay out of it has to wait."""
    await conn.execute(sql.SQL("LOCK TABLE strait.{} IN SHARE ROW EXCLUSIVE MODE").format(sql.Identifier(name)))
    await conn.execute(
        sql.SQL(
            "INSERT INTO strait.stats_deltas (at, moves)"
            " SELECT {}, jsonb_agg(jsonb_build_array(project_id, job_id, status, '', n)) FROM"
            " (SELECT project_id, job_id, status, count(*) AS n FROM strait.{} GROUP BY 1, 2, 3) g HAVING count(*) > 0"
        ).format(sql.Literal(at), sql.Identifier(name))
    )
