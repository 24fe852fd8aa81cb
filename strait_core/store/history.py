"""Partitions of what has ended: by retention class, then by week (Monday, UTC)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from psycopg import sql
from psycopg.types.json import Jsonb

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
# What is counted at once (16 MB), how many times as long the rest after it is, and how long the rests of one partition
# may be in all.
_PIECE_PAGES: Final = 2_000
_RESTS: Final = 4.0
_MOST_REST_SECS: Final = 30.0


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
    """Write the delta that forgets the runs of what was a partition.

    They are counted piece by piece, with rests between: nobody hurries, and others need the processors.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    rested = 0.0
    for first in range(0, await _pages(conn, name), _PIECE_PAGES):
        began = monotonic()
        cursor = await conn.execute(
            sql.SQL(
                "SELECT project_id, job_id::text, status, count(*) FROM strait.{}"
                " WHERE ctid >= {}::tid AND ctid < {}::tid GROUP BY 1, 2, 3"
            ).format(sql.Identifier(name), *(sql.Literal(f"({page},0)") for page in (first, first + _PIECE_PAGES)))
        )
        for project, job, status, count in await cursor.fetchall():
            counts[project, job, status] += count
        rest = min(_RESTS * (monotonic() - began), _MOST_REST_SECS - rested)
        rested += rest
        await asyncio.sleep(rest)
    if counts:
        moves = [(project, job, status, "", count) for (project, job, status), count in counts.items()]
        await conn.execute(query(_SQL["take_off"]), {"at": at, "moves": Jsonb(moves)})


async def _pages(conn: Conn, name: str) -> int:
    cursor = await conn.execute(query(_SQL["pages"]), {"name": f"strait.{name}"})
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
