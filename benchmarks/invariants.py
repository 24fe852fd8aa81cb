"""No figure counts unless the database is in order afterwards."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from strait_core.store import invariants
from strait_core.store.pool import connect
from strait_daemon.clock import database_time


def check(url: str, *, finished: int | None = None) -> None:
    """Raise when the invariants checker finds anything, or when not exactly `finished` runs have completed."""
    faults = asyncio.run(_faults(url))
    if faults:
        raise AssertionError("invariants broken:\n" + "\n".join(map(str, faults[:20])))
    if finished is not None:
        found = asyncio.run(_finished(url))
        if found != finished:
            raise AssertionError(f"{found} of {finished} runs completed")


async def _faults(url: str) -> list[object]:
    conn = await connect(url)
    try:
        now = await database_time(conn)
        return list(await invariants.violations(conn, now, dead_before=now - timedelta(minutes=5)))
    finally:
        await conn.close()


async def _finished(url: str) -> int:
    conn = await connect(url)
    try:
        row = await (
            await conn.execute("SELECT count(*) FROM strait.run_history WHERE status = 'completed'")
        ).fetchone()
        return int(row[0]) if row else 0
    finally:
        await conn.close()
