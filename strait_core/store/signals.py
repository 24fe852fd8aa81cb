"""LISTEN and NOTIFY: how processes tell each other to look again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from psycopg import sql

from strait_core.store.pool import Conn


async def notify(conn: Conn, channel: str, text: str) -> None:
    """Send one message of less than 8,000 bytes to every listener."""
    await conn.execute("SELECT pg_notify(%s, %s)", (channel, text))


async def listen(conn: Conn, channel: str) -> None:
    """Subscribe this connection, which must not run through a transaction pooler."""
    await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))


async def heard(conn: Conn, within: float) -> AsyncIterator[str]:
    """Messages as they come, for that many seconds; ends with an error when the connection is lost."""
    async for notice in conn.notifies(timeout=within):
        yield notice.payload


async def alive(conn: Conn) -> None:
    """Raises when the server does not answer; messages that come meanwhile are kept for `heard`."""
    await conn.execute("SELECT 1")
