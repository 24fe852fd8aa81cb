"""Runs by what a filter says of them, for moves of many: their ids a page at a time, and how many there are.

A page reads only the table that can hold what the move takes: `runs` for a cancel, the history for a replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from psycopg import sql

from strait_core.run import Status
from strait_core.store.pool import Conn
from strait_core.store.runs import UNSUCCESSFUL, RunFilter, conditions, first_made
from strait_core.store.sql import load

_SQL = load("selection")
# A dry run counts no further.
MOST_COUNTED: Final = 100_000


class Among(StrEnum):
    """Where the runs stand."""

    ACTIVE = "active"
    # Ended in a state from which a replay leads back.
    UNSUCCESSFUL = "unsuccessful"
    DEAD = "dead_letter"


_SOURCES: Final = {
    Among.ACTIVE: sql.SQL("strait.runs r WHERE true"),
    Among.UNSUCCESSFUL: sql.SQL("strait.run_history r WHERE {}").format(UNSUCCESSFUL),
    Among.DEAD: sql.SQL("strait.run_history r WHERE r.keep = 'long' AND r.status = 'dead_letter'"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run stands, and whether its job takes it back."""

    status: Status
    project_id: str
    deleted: bool
    enabled: bool
    # Whether it carries out the step of a workflow run.
    is_step: bool


async def select_ids(conn: Conn, where: RunFilter, *, among: Among, limit: int, before: UUID | None) -> list[UUID]:
    """Ids of runs that match, newest first, older than `before`."""
    found, values = conditions(where)
    if before is not None:
        found.append(sql.SQL("r.id < %(before)s"))
        values["before"] = before
    statement = sql.SQL("SELECT r.id FROM {} ORDER BY r.id DESC LIMIT %(limit)s").format(_narrowed(among, found))
    cursor = await conn.cursor(binary=True).execute(statement, {**values, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def count(conn: Conn, where: RunFilter, *, among: Among) -> int:
    """How many match; no more than MOST_COUNTED are counted."""
    found, values = conditions(where)
    statement = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT %(limit)s) n").format(_narrowed(among, found))
    row = await (await conn.execute(statement, {**values, "limit": MOST_COUNTED})).fetchone()
    return int(row[0]) if row else 0


def _narrowed(among: Among, found: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(" AND ").join([_SOURCES[among], *found])


async def places(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, Place]:
    """Where these runs stand; those that do not exist are left out."""
    if not run_ids:
        return {}
    values = {"ids": list(run_ids), "made_at": first_made(run_ids)}
    return {
        row["id"]: Place(Status(row["status"]), row["project_id"], row["deleted"], row["enabled"], row["is_step"])
        for row in await _SQL.rows(conn, "places", values)
    }
