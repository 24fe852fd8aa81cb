"""`strait migrate status|up`: what the database has, and bringing it up to date, without starting a daemon."""

from __future__ import annotations

from typing import Final

import msgspec

from strait_core.store import migrate as migrations
from strait_core.store.migrate import Applied
from strait_core.store.pool import Conn, connect
from strait_daemon import settings as configuration
from strait_daemon.clock import database_time

_PENDING: Final = 1


async def migrate(action: str, output: str) -> int:
    """Run `status` (exit code 1 when something is pending) or `up`."""
    conn = await connect(configuration.database_url())
    try:
        if action == "up":
            await _up(conn)
        rows = await migrations.status(conn)
    finally:
        await conn.close()
    print(_render(rows, output))  # noqa: T201 - the data this command is for
    return _PENDING if any(row.applied_at is None for row in rows) else 0


async def _up(conn: Conn) -> None:
    await migrations.up(conn, await database_time(conn))


def _render(rows: list[Applied], output: str) -> str:
    """JSON for programs, aligned lines for people."""
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()
    if output == "jsonl":
        return "\n".join(msgspec.json.encode(row).decode() for row in rows)
    lines = [f"{'VERSION':<9}{'NAME':<24}APPLIED"]
    lines += [f"{r.version:04}     {r.name:<24}{r.applied_at.isoformat() if r.applied_at else 'pending'}" for r in rows]
    return "\n".join(lines)
