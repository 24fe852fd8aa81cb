"""The feed of changes: every committed change of a run, a job, a workflow run or an event, each at its position.

Who changes something writes so in the delta of its transaction (`stats.sql` folds those and publishes them, one process
at a time). A row of `changes` is a writer's batch; a place in the feed is the row's position and the entry in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import sql

from strait_core import ids
from strait_core.ids import Prefix
from strait_core.store import partitions
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.wire.changes import Change, Kind, spell_cursor

_SQL = load("changes")
TABLE: Final = "changes"
# How long a change is kept.
KEPT: Final = timedelta(hours=24)
HOURS_AHEAD: Final = 6
_HOUR: Final = timedelta(hours=1)
_WHOLE_ROWS: Final = sql.SQL("ALTER TABLE strait.{} SET (toast_tuple_target = 8160)")
_RAISE_FLOOR: Final = sql.SQL(
    "UPDATE strait.change_floor f SET position = m.position, entries = cardinality(m.ids)"
    " FROM (SELECT position, ids FROM strait.{} ORDER BY position DESC LIMIT 1) m WHERE m.position > f.position"
)
# Positions that one statement reads, and how long a reader goes on who finds little of what is wanted.
READ_POSITIONS: Final = 2_000
READ_SECS: Final = 1.0
# More than any row has, and behind all rows.
ALL_ENTRIES: Final = 2**31 - 1
MOST_POSITION: Final = 2**63 - 1
_PREFIXES: Final = {
    Kind.RUN: Prefix.RUN,
    Kind.JOB: Prefix.JOB,
    Kind.WORKFLOW_RUN: Prefix.WORKFLOW_RUN,
    Kind.EVENT: Prefix.EVENT,
}


class Place(NamedTuple):
    """Where in the feed: behind this entry (the first is 1) of the row at this position; entry 0 = before the row."""

    position: int
    entry: int

    @property
    def cursor(self) -> str:
        """The place as the API spells it."""
        return spell_cursor(*self)


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

    @property
    def shown(self) -> Change:
        """The change as everybody is told of it."""
        kind = Kind(self.kind)
        return Change(
            cursor=self.place.cursor,
            kind=kind,
            id=ids.spell(_PREFIXES[kind], self.id),
            project_id=self.project_id,
            seq=self.seq,
            status=self.status,
            at=self.at,
            attempt=self.attempt,
            job_id=ids.spell(Prefix.JOB, self.owner) if kind is Kind.RUN and self.owner else None,
            workflow_id=ids.spell(Prefix.WORKFLOW, self.owner) if kind is Kind.WORKFLOW_RUN and self.owner else None,
        )


@dataclass(frozen=True, slots=True)
class Stretch:
    """What lies behind a place, and the place from which to go on: behind all that was looked at.

    `has_more`: it may not be all that there was.
    """

    changes: list[StoredChange]
    end: Place
    has_more: bool = False


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
        # Not taken from the parent: rows of many ids stay in one piece.
        await conn.execute(_WHOLE_ROWS.format(sql.Identifier(partition_of(hour))))
    return len(missing)


async def drop_before(conn: Conn, before: datetime) -> list[str]:
    """Drop the hours that end at or before `before`, and note up to where; their names. `conn` is in no transaction."""
    for name in await partitions.of(conn, TABLE):
        if _end_of(name) <= before:
            # Before anything goes: who reads meanwhile finds what he asks for, or is told that it is not kept.
            await conn.execute(_RAISE_FLOOR.format(sql.Identifier(name)))
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
    conn: Conn,
    after: Place,
    limit: int,
    *,
    upto: int = MOST_POSITION,
    project: str | None = None,
    kinds: Sequence[str] | None = None,
) -> list[StoredChange]:
    """At most `limit` changes behind a place and up to a position, in the feed's order; of one project, some kinds."""
    values = {
        "position": after.position,
        "upto": upto,
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


async def floor(conn: Conn) -> Place:
    """Behind the last change that is not kept any more; START = everything is there."""
    row = await (await conn.execute(query(_SQL["floor"]))).fetchone()
    return Place(*row) if row else START


async def read(
    conn: Conn, after: Place, limit: int, *, project: str | None = None, kinds: Sequence[str] | None = None
) -> Stretch | None:
    """At most `limit` changes behind a place, as `page`; None when some that lay behind it are not kept any more.

    None too of a place that the feed has not come to: it is another database's, or of the time before a backup. Where
    few of very many are wanted it ends after a while, wherever it has come. `conn` is in no transaction: each statement
    must see what has been committed by then.
    """
    # First the head: whatever is not found although there was room lies behind it. Last the floor: it is raised before
    # anything goes, so what was left out is noticed.
    last = Place(await head(conn), ALL_ENTRIES)
    found: list[StoredChange] = []
    end, until = after, monotonic() + READ_SECS
    while len(found) < limit and end < last and (end == after or monotonic() < until):
        upto = min(last.position, end.position + READ_POSITIONS)
        found += await page(conn, end, limit - len(found), upto=upto, project=project, kinds=kinds)
        end = found[-1].place if len(found) == limit else Place(upto, ALL_ENTRIES)
    if after < await floor(conn) or after.position > last.position:
        return None
    return Stretch(found, end, has_more=len(found) == limit or end < last)
