"""What PostgreSQL says of itself, and which endpoints there are, for who looks whether all is well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("checkup")


@dataclass(frozen=True, slots=True)
class Connections:
    """How many sessions there are, how many of them ours, and how many do nothing inside a transaction."""

    used: int
    ours: int
    idle_in_transaction: int


@dataclass(frozen=True, slots=True)
class Called:
    """A job and what it calls, or until when that is left alone (None: it is being tried)."""

    job_slug: str
    project_id: str
    url: str | None = None
    until: datetime | None = None


async def _rows(conn: Conn, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    return await (await conn.cursor(binary=True).execute(query(_SQL[statement]), values)).fetchall()


async def settings(conn: Conn) -> dict[str, str]:
    """Settings of the server that can hurt, by name."""
    return dict(await _rows(conn, "settings"))


async def connections(conn: Conn) -> Connections:
    """The server's sessions."""
    return Connections(*(await _rows(conn, "connections"))[0])


async def open_breakers(conn: Conn, limit: int) -> list[Called]:
    """Jobs whose endpoints are left alone, one for each endpoint."""
    rows = await _rows(conn, "open_breakers", limit=limit)
    return [Called(slug, project, until=until) for slug, project, until in rows]


async def endpoints(conn: Conn, limit: int) -> list[Called]:
    """Enabled jobs and what they call, the newest first."""
    return [Called(slug, project, url) for slug, project, url in await _rows(conn, "endpoints", limit=limit)]
