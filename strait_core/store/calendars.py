"""Calendars, and which jobs go by them. Every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from strait_core.store.owners import Kind
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("calendars")


@dataclass(frozen=True, slots=True)
class StoredCalendar:
    """A calendar as it stands; `definition` is its days, as `timetable.definition_of` writes them."""

    id: UUID
    project_id: str
    slug: str
    definition: str
    created_at: datetime
    updated_at: datetime


async def _all(conn: Conn, statement: str, values: Mapping[str, Any]) -> list[StoredCalendar]:
    return [StoredCalendar(**row) for row in await _SQL.rows(conn, statement, values)]


async def _one(conn: Conn, statement: str, values: Mapping[str, Any]) -> StoredCalendar | None:
    found = await _all(conn, statement, values)
    return found[0] if found else None


async def insert(
    conn: Conn, new_id: UUID, project: str, slug: str, definition: str, now: datetime
) -> StoredCalendar | None:
    """Store a calendar; None when its name is taken."""
    values = {"id": new_id, "project_id": project, "slug": slug, "definition": definition, "now": now}
    return await _one(conn, "insert_calendar", values)


async def by_id(conn: Conn, calendar_id: UUID, project: str | None) -> StoredCalendar | None:
    """The calendar of that id."""
    return await _one(conn, "calendar_by_id", {"id": calendar_id, "project": project})


async def with_slug(conn: Conn, slug: str, project: str | None) -> list[StoredCalendar]:
    """The calendars of that name, one for each project that has one."""
    return await _all(conn, "calendars_by_slug", {"slug": slug, "project": project})


async def share(conn: Conn, slug: str, project: str) -> StoredCalendar | None:
    """The project's calendar of that name; until the transaction ends nobody changes or deletes it."""
    return await _one(conn, "share_calendar", {"slug": slug, "project": project})


async def lock(conn: Conn, calendar_id: UUID) -> StoredCalendar | None:
    """The calendar, held until the transaction ends."""
    return await _one(conn, "lock_calendar", {"id": calendar_id})


async def update(conn: Conn, calendar_id: UUID, definition: str, now: datetime) -> StoredCalendar | None:
    """Give a calendar other days; None when it is gone."""
    return await _one(conn, "update_calendar", {"id": calendar_id, "definition": definition, "now": now})


async def delete(conn: Conn, calendar_id: UUID) -> None:
    """Take a calendar away that no schedule goes by."""
    await conn.execute(query(_SQL["delete_calendar"]), {"id": calendar_id})


async def users_of(conn: Conn, calendar_id: UUID) -> list[tuple[Kind, UUID]]:
    """The jobs and workflows whose schedules go by it, in the order in which they are locked."""
    cursor = await conn.execute(query(_SQL["users_of_calendar"]), {"id": calendar_id})
    return [(Kind(kind), owner_id) for kind, owner_id in await cursor.fetchall()]


async def list_calendars(
    conn: Conn, project: str | None, *, limit: int, before: UUID | None, id_range: tuple[UUID, UUID] | None = None
) -> list[StoredCalendar]:
    """Calendars, the newest first."""
    low, high = id_range or (None, None)
    values = {"project": project, "before": before, "low": low, "high": high, "limit": limit}
    return await _all(conn, "calendars", values)
