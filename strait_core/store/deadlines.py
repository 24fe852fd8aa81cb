"""Deadlines that are watched, and breaches of them. Every function runs in the caller's transaction."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.deadline import OF_TICKS, SETTLE, Deadline, secs_of
from strait_core.reasons import Late
from strait_core.run import TERMINAL
from strait_core.schedule import Policy
from strait_core.store.owners import Owner, owner_of
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("deadlines")
_encode: Final = msgspec.json.Encoder().encode
_TERMINAL: Final = sorted(status.value for status in TERMINAL)
# Two processes may read the clock a little apart.
_CLOCK_SLACK: Final = timedelta(days=1)
# Breaches of the last day are counted so far.
MOST_COUNTED: Final = 10_000
FORGET_ROWS: Final = 1_000
Row = dict[str, Any]


class Watch(Struct, frozen=True, kw_only=True):
    """A deadline to look at when it is due; `since` is the tick."""

    schedule_id: UUID
    deadline: Deadline
    since: datetime
    due_at: datetime


def watches_of(schedule_id: UUID, policy: Policy, ticks: Sequence[datetime]) -> list[Watch]:
    """The deadlines of ticks that are to be looked at."""
    return [
        Watch(schedule_id=schedule_id, deadline=deadline, since=tick, due_at=tick + timedelta(seconds=secs) + SETTLE)
        for deadline in OF_TICKS
        if (secs := secs_of(policy, deadline))
        for tick in ticks
    ]


@dataclass(frozen=True, slots=True)
class Taken:
    """A deadline that is due, held, and whose schedule it is now; `owner` None = that is gone."""

    schedule_id: UUID
    deadline: Deadline
    since: datetime
    due_at: datetime
    # Whether the schedule itself is paused, and whether its owner is neither paused nor disabled nor deleted.
    paused: bool
    takes_runs: bool
    held_fire_at: datetime | None
    owner: Owner | None
    slug: str | None
    project_id: str | None
    calendar: str | None
    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class Moments:
    """When a run first started and first ended; None = it has not."""

    started_at: datetime | None
    finished_at: datetime | None


class MovedOn(Struct, frozen=True, kw_only=True):
    """A deadline that is to be looked at again, counted from `new_since` on."""

    schedule_id: UUID
    deadline: Deadline
    since: datetime
    new_since: datetime
    due_at: datetime


class NewBreach(Struct, frozen=True, kw_only=True):
    """A deadline that was broken."""

    id: UUID
    schedule_id: UUID
    project_id: str
    deadline: Deadline
    since: datetime
    limit_at: datetime
    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class StoredBreach:
    """A deadline that was broken: counted from `since`, it would have been kept until `limit_at`."""

    id: UUID
    deadline: Deadline
    since: datetime
    limit_at: datetime
    found_at: datetime
    run_id: UUID | None


def new_breach(now: datetime) -> UUID:
    """An id for a breach."""
    return ids.uuid7(now, random.getrandbits)


def _batch(items: Sequence[Any]) -> Jsonb:
    return Jsonb(items, dumps=_encode)


async def watch(conn: Conn, watches: Sequence[Watch]) -> None:
    """Look at these deadlines when they are due."""
    if watches:
        await _SQL.rows(conn, "watch", {"batch": _batch(watches)})


async def expect(conn: Conn, schedule_id: UUID, since: datetime, due_at: datetime) -> None:
    """Expect successes of a schedule, counted from `since` unless that goes on already; the caller holds it."""
    await _SQL.rows(conn, "expect", {"schedule_id": schedule_id, "since": since, "due_at": due_at})


async def expect_nothing(conn: Conn, schedule_id: UUID) -> None:
    """Expect no successes of a schedule any more; the caller holds it."""
    await _SQL.rows(conn, "expect_nothing", {"schedule_id": schedule_id})


async def note_successes(conn: Conn, succeeded: Mapping[UUID, datetime]) -> None:
    """Runs of these jobs and workflows have completed, the last of each at that time."""
    if succeeded:
        batch = [{"owner_id": owner_id, "at": at} for owner_id, at in succeeded.items()]
        await _SQL.rows(conn, "note_successes", {"batch": _batch(batch)})


async def take_due(conn: Conn, now: datetime, limit: int) -> list[Taken]:
    """Hold deadlines that are due, the longest due first."""
    return [_taken(row) for row in await _SQL.rows(conn, "take_due", {"now": now, "limit": limit})]


def _taken(row: Row) -> Taken:
    kind, owner_id, version, definition = (row.pop(name) for name in ("kind", "owner_id", "version", "definition"))
    told = {**row, "deadline": Deadline(row["deadline"]), "paused": bool(row["paused"])}
    owner = None if definition is None else owner_of(kind, owner_id, version, definition)
    return Taken(**{**told, "takes_runs": bool(row["takes_runs"])}, owner=owner)


async def moments(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, Moments]:
    """When these runs first started and ended; without those that are no longer kept."""
    if not run_ids:
        return {}
    values = {
        "ids": list(run_ids),
        "made_at": min(map(ids.time_of, run_ids)) - _CLOCK_SLACK,
        "terminal": _TERMINAL,
    }
    return {
        row["id"]: Moments(row["started_at"], row["finished_at"]) for row in await _SQL.rows(conn, "moments", values)
    }


async def forget(conn: Conn, over: Sequence[Taken]) -> None:
    """Look at these no more."""
    if over:
        keys = [{"schedule_id": one.schedule_id, "deadline": one.deadline, "since": one.since} for one in over]
        await _SQL.rows(conn, "forget", {"batch": _batch(keys)})


async def move_on(conn: Conn, moves: Sequence[MovedOn]) -> None:
    """Look at these again later."""
    if moves:
        await _SQL.rows(conn, "move_on", {"batch": _batch(moves)})


async def record(conn: Conn, found: Sequence[NewBreach], now: datetime) -> set[UUID]:
    """Record breaches; the ids of those that nobody had recorded before."""
    if not found:
        return set()
    return {row["id"] for row in await _SQL.rows(conn, "record", {"batch": _batch(found), "now": now})}


async def breaches(conn: Conn, schedule_id: UUID, *, limit: int, before: UUID | None) -> list[StoredBreach]:
    """The breaches of a schedule, the newest first."""
    rows = await _SQL.rows(conn, "breaches", {"schedule_id": schedule_id, "before": before, "limit": limit})
    return [StoredBreach(**{**row, "deadline": Deadline(row["deadline"])}) for row in rows]


async def breaches_of_run(conn: Conn, owner_id: UUID, fire_at: datetime) -> list[Late]:
    """The deadlines of a tick that its run has broken."""
    rows = await _SQL.rows(conn, "breaches_of_run", {"owner_id": owner_id, "fire_at": fire_at})
    return [Late(Deadline(row["deadline"]), row["since"], row["limit_at"]) for row in rows]


async def late(conn: Conn, project: str | None, since: datetime) -> dict[str, int]:
    """Breaches found since an instant, by deadline."""
    values = {"project": project, "since": since, "most": MOST_COUNTED}
    return {row["deadline"]: row["count"] for row in await _SQL.rows(conn, "late", values)}


async def forget_breaches(conn: Conn, before: datetime) -> int:
    """Delete a batch of breaches found before that; how many."""
    return (await conn.execute(query(_SQL["forget_breaches"]), {"before": before, "limit": FORGET_ROWS})).rowcount
