"""The feed of changes: every committed change of a run, a job, a workflow run or an event, each at its position.

Who changes something writes so in the delta of its transaction (`stats.sql` folds those and publishes them, one process
at a time). A row of `changes` is a writer's batch; a place in the feed is the row's position and the entry in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import sql

from strait_core.store import partitions
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.wire.changes import Kind

_SQL = load("changes")
TABLE: Final = "changes"
# How long a change is kept.
KEPT: Final = timedelta(hours=24)
HOURS_AHEAD: Final = 6
_HOUR: Final = timedelta(hours=1)
_RAISE_FLOOR: Final = sql.SQL(
    "UPDATE strait.change_floor SET position = greatest(position, (SELECT max(position) FROM strait.{}))"
)


class Place(NamedTuple):
    """Where in the feed: behind this entry (the first is 1) of the row at this position; entry 0 = before the row."""

    position: int
    entry: int


START: Final = Place(0, 0)


@dataclass(frozen=True, slots=True)
class StoredChange:
    """One change. `owner`: the job of a run, the workflow of a workflow run, None of others.

    `seq` grows by one with each change of a run or a workflow run and is the version of a job, 0 of an event; `attempt`
    is None but for runs.
    """

    position: int
    entry: int
    kind: str
    id: UUID
    owner: UUID | None
    project_id: str | None
    seq: int
    attempt: int | None
    status: str
    at: datetime

    @property
    def place(self) -> Place:
        """Behind this change."""
        return Place(self.position, self.entry)


def partition_of(at: datetime) -> str:
    """The partition that takes what is published at that time."""
    return f"{TABLE}_{at.astimezone(UTC):%Y%m%d%H}"


async def ensure_hours(conn: Conn, now: datetime, ahead: int = HOURS_AHEAD) -> int:
    """Make the partitions of this hour and the next ones where they are missing; how many were made.

    Runs in the caller's transaction.
    """
    await partitions.lock(conn)
    have = set(await partitions.of(conn, TABLE))
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [first + later * _HOUR for later in range(ahead + 1)]
    missing = [hour for hour in hours if partition_of(hour) not in have]
    for hour in missing:
        await partitions.make(conn, TABLE, partition_of(hour), (hour, hour + _HOUR))
    return len(missing)


async def drop_before(conn: Conn, before: datetime) -> list[str]:
    """Drop the hours that end at or before `before`, and note up to where; their names. `conn` is in no transaction."""
    gone = await partitions.take_out(conn, TABLE, lambda name: _end_of(name) <= before)
    for name in gone:
        async with conn.transaction():
            await conn.execute(_RAISE_FLOOR.format(sql.Identifier(name)))
            await partitions.drop(conn, name)
    return gone


def _end_of(name: str) -> datetime:
    return datetime.strptime(name.rpartition("_")[2], "%Y%m%d%H").replace(tzinfo=UTC) + _HOUR


async def tell(
    conn: Conn, kind: Kind, of: tuple[UUID, UUID | None], project: str, *, seq: int, status: str, now: datetime
) -> None:
    """Write that an object (its id and its owner's) has changed, in the transaction that changes it."""
    values = {"kind": kind, "id": of[0], "owner": of[1], "project": project, "seq": seq, "status": status, "now": now}
    await conn.execute(query(_SQL["tell"]), values)


async def page(
    conn: Conn, after: Place, limit: int, *, project: str | None = None, kinds: Sequence[str] | None = None
) -> list[StoredChange]:
    """At most `limit` changes behind a place, in the order of the feed; of one project, of some kinds."""
    values = {
        "position": after.position,
        "entry": after.entry,
        "limit": limit,
        "project": project,
        "kinds": None if kinds is None else list(kinds),
    }
    cursor = await conn.cursor(binary=True).execute(query(_SQL["page"]), values)
    return [StoredChange(*row) for row in await cursor.fetchall()]


async def head(conn: Conn) -> int:
    """The highest position so far; 0 = nothing has ever changed."""
    row = await (await conn.execute(query(_SQL["head"]))).fetchone()
    return int(row[0]) if row else 0


async def floor(conn: Conn) -> int:
    """The highest position that is not kept any more; 0 = everything is there."""
    row = await (await conn.execute(query(_SQL["floor"]))).fetchone()
    return int(row[0]) if row else 0


async def hold_sink(conn: Conn, name: str) -> Place | None:
    """How far a sink has got, held until the caller's transaction ends; None while another process sends.

    A sink that is new begins with the changes from now on.
    """
    await conn.execute(query(_SQL["new_sink"]), {"name": name})
    row = await (await conn.execute(query(_SQL["hold_sink"]), {"name": name})).fetchone()
    return None if row is None else Place(*row)


async def move_sink(conn: Conn, name: str, to: Place) -> None:
    """All up to this place has been sent."""
    await conn.execute(query(_SQL["move_sink"]), {"name": name, "position": to.position, "entry": to.entry})
