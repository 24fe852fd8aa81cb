"""Schedules: when each fires next, and what its ticks came to. Every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from strait_core.store import history
from strait_core.store.deadlines import StoredBreach
from strait_core.store.owners import Kind, Owner, owner_of
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.timetable import minds_every_run
from strait_core.workflow.definition import Timed

_SQL = load("schedules")
_encode: Final = msgspec.json.Encoder().encode
_TICK: Final = timedelta(microseconds=1)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule to look at, locked, and what it fires."""

    id: UUID
    next_fire_at: datetime | None
    held_fire_at: datetime | None
    due_at: datetime
    owner: Owner
    # The definition of its calendar, as it is stored.
    calendar: str | None
    # Whether its project has a budget.
    budgeted: bool = False

    @property
    def spec(self) -> Timed:
        """The definition of what it fires."""
        return self.owner.spec


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as it stands, and what it fires; `due_at` None = it does not fire now."""

    id: UUID
    owner: Owner
    next_fire_at: datetime | None
    held_fire_at: datetime | None
    due_at: datetime | None
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    enabled: bool
    owner_paused: bool
    created_at: datetime
    updated_at: datetime
    # The newest tick that made a run; None while there is none, or its time is over.
    last_fire_at: datetime | None
    last_run_id: UUID | None
    # From when on the next success is waited for; None = it is not.
    expected_since: datetime | None
    last_breach: StoredBreach | None
    # The definition of its calendar, as it is stored.
    calendar: str | None

    @property
    def spec(self) -> Timed:
        """The definition of what it fires."""
        return self.owner.spec


class Fire(Struct, frozen=True, kw_only=True):
    """What a tick came to: its run, or why it made none; then it may stand for `ticks`, from `first_fire_at` on."""

    schedule_id: UUID
    fire_at: datetime
    triggered_by: str
    run_id: UUID | None = None
    skipped: str | None = None
    ticks: int = 1
    first_fire_at: datetime


class Step(Struct, frozen=True, kw_only=True):
    """Where a schedule stands after its ticks."""

    id: UUID
    next_fire_at: datetime | None
    held_fire_at: datetime | None
    due_at: datetime | None


def _due(row: tuple[Any, ...]) -> Due:
    schedule_id, next_fire_at, held_fire_at, due_at, kind, owner_id, version, definition, calendar, budgeted = row
    owner = owner_of(kind, owner_id, version, definition)
    return Due(schedule_id, next_fire_at, held_fire_at, due_at, owner, calendar, budgeted)


async def take_due(
    conn: Conn, kind: Kind, now: datetime, limit: int, after: datetime | None = None
) -> tuple[list[Due], list[UUID]]:
    """Lock schedules of a kind that are due, the longest due first; with `after` only those that came due later.

    Apart from the others come those whose owner's definition cannot be read: that of a newer release, say.
    """
    values = {"kind": kind.value, "now": now, "after": after or _LONG_AGO, "limit": limit}
    cursor = await conn.cursor(binary=True).execute(query(_SQL["take_due"]), values)
    due, unreadable = [], []
    for row in await cursor.fetchall():
        try:
            due.append(_due(row))
        except msgspec.MsgspecError:
            unreadable.append(row[0])
    return due, unreadable


async def take_one(conn: Conn, schedule_id: UUID, now: datetime) -> Due | None:
    """Lock one schedule; None when it is not due, or somebody else holds it."""
    cursor = await conn.cursor(binary=True).execute(query(_SQL["take_one"]), {"id": schedule_id, "now": now})
    row = await cursor.fetchone()
    return None if row is None else _due(row)


async def put_off(conn: Conn, schedule_ids: Sequence[UUID], until: datetime) -> None:
    """Let nobody look at these before `until`; what is due of them stays so."""
    await conn.execute(query(_SQL["put_off"]), {"ids": list(schedule_ids), "until": until})


async def next_due(conn: Conn, kind: Kind, after: datetime) -> tuple[datetime | None, datetime | None]:
    """When somebody has to look next at one kind: at anything, at what comes due later than `after`; None = never."""
    values = {"kind": kind.value, "after": after}
    row = await (await conn.cursor(binary=True).execute(query(_SQL["next_due"]), values)).fetchone()
    return (row[0], row[1]) if row else (None, None)


async def active_ticks(conn: Conn, owners: Collection[Owner]) -> dict[UUID, list[UUID]]:
    """By owner, the runs that are in the way of its ticks, the oldest first."""
    jobs = [one.id for one in owners if not one.is_flow]
    flows = [one for one in owners if one.is_flow]
    rows = await _SQL.rows(conn, "active_ticks", {"owners": jobs}) if jobs else []
    if flows:
        every = [one.id for one in flows if minds_every_run(one.spec)]
        ticks = [one.id for one in flows if one.id not in every]
        rows += await _SQL.rows(conn, "active_flows", {"owners": ticks, "every": every})
    found: dict[UUID, list[UUID]] = {}
    for row in rows:
        found.setdefault(row["owner_id"], []).append(row["id"])
    return found


async def note_fires(conn: Conn, fires: Sequence[Fire], now: datetime) -> None:
    """Record what ticks came to; raises psycopg's UniqueViolation when one of them was decided before."""
    if fires:
        await history.ensure_weeks(conn, "schedule_fires", history.LONG, [fire.fire_at for fire in fires], now)
        await conn.execute(query(_SQL["note_fires"]), {"batch": Jsonb(fires, dumps=_encode), "now": now})


async def recorded(conn: Conn, schedule_id: UUID, ticks: Sequence[datetime]) -> set[datetime]:
    """Which of these ticks have been decided."""
    values = {"id": schedule_id, "ticks": list(ticks)}
    cursor = await conn.cursor(binary=True).execute(query(_SQL["recorded"]), values)
    return {row[0] for row in await cursor.fetchall()}


async def advance(conn: Conn, steps: Sequence[Step]) -> None:
    """Move schedules on."""
    if steps:
        await conn.execute(query(_SQL["advance"]), {"batch": Jsonb(steps, dumps=_encode)})


async def put(
    conn: Conn,
    new_id: UUID,
    kind: Kind,
    owner_id: UUID,
    next_fire_at: datetime | None,
    due_at: datetime | None,
    now: datetime,
    *,
    calendar_id: UUID | None,
) -> UUID:
    """Give a job or a workflow a schedule, or the one it has its next tick; its id."""
    values = {
        "id": new_id,
        "kind": kind.value,
        "owner_id": owner_id,
        "next_fire_at": next_fire_at,
        "due_at": due_at,
        "calendar_id": calendar_id,
        "now": now,
    }
    found: UUID = (await _SQL.rows(conn, "put_schedule", values))[0]["id"]
    return found


async def drop(conn: Conn, owner_id: UUID) -> None:
    """Take the schedule of a job or a workflow away; what it came to stays until its time is over."""
    await conn.execute(query(_SQL["drop_schedule"]), {"owner_id": owner_id})


async def lock(conn: Conn, owner_id: UUID) -> dict[str, Any] | None:
    """The row of the schedule of a job or a workflow, held until the transaction ends."""
    rows = await _SQL.rows(conn, "lock_schedule", {"owner_id": owner_id})
    return rows[0] if rows else None


async def set_paused(
    conn: Conn,
    schedule_id: UUID,
    now: datetime,
    *,
    paused: bool,
    reason: str | None,
    next_fire_at: datetime | None,
    due_at: datetime | None,
) -> None:
    """Pause a schedule or let it go on."""
    values = {
        "id": schedule_id,
        "paused": paused,
        "paused_at": now if paused else None,
        "reason": reason,
        "next_fire_at": next_fire_at,
        "due_at": due_at,
        "now": now,
    }
    await conn.execute(query(_SQL["set_paused"]), values)


def _stored(row: Mapping[str, Any]) -> StoredSchedule:
    left_out = {"kind", "target_id", "version", "definition", "calendar_id", "last_breach"}
    rest = {name: value for name, value in row.items() if name not in left_out}
    told = row["last_breach"]
    breach = None if told is None else msgspec.convert(told, StoredBreach)
    owner = owner_of(row["kind"], row["target_id"], row["version"], row["definition"])
    return StoredSchedule(**rest, owner=owner, last_breach=breach)


async def by_id(conn: Conn, schedule_id: UUID, project: str | None) -> StoredSchedule | None:
    """The schedule of that id."""
    rows = await _SQL.rows(conn, "schedule_by_id", {"id": schedule_id, "project": project})
    return _stored(rows[0]) if rows else None


async def of_owner(conn: Conn, owner_id: UUID) -> StoredSchedule | None:
    """The schedule of that job or workflow; None when it has none."""
    rows = await _SQL.rows(conn, "schedules_of", {"owners": [owner_id]})
    return _stored(rows[0]) if rows else None


async def with_slug(conn: Conn, slug: str, project: str | None) -> list[StoredSchedule]:
    """The schedules of the jobs and workflows of that slug, by project."""
    owners = [row["id"] for row in await _SQL.rows(conn, "owners_named", {"slug": slug, "project": project})]
    return [_stored(row) for row in await _SQL.rows(conn, "schedules_of", {"owners": owners})] if owners else []


async def list_schedules(
    conn: Conn,
    project: str | None,
    *,
    limit: int,
    before: UUID | None,
    paused: bool | None = None,
    id_range: tuple[UUID, UUID] | None = None,
) -> list[StoredSchedule]:
    """Schedules, the newest first."""
    low, high = id_range or (None, None)
    values = {"project": project, "paused": paused, "before": before, "low": low, "high": high, "limit": limit}
    return [_stored(row) for row in await _SQL.rows(conn, "schedules", values)]


async def fires(
    conn: Conn, schedule_id: UUID, *, limit: int, before: tuple[datetime, bool] | None, skipped: bool | None = None
) -> list[dict[str, Any]]:
    """What the ticks of a schedule came to, the newest first.

    `before`: only what comes after this tick of the list, and whether that was one fired again by a backfill.
    """
    at, again = before or (None, False)
    # Of one tick the run of its backfill comes first.
    later = at if at is None or not again else at + _TICK
    values = {"id": schedule_id, "before": later, "again_before": at, "skipped": skipped, "limit": limit}
    return await _SQL.rows(conn, "fires", values)
