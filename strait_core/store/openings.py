"""Execution windows of jobs: from when until when their runs may start. In the caller's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from strait_core import cron, window
from strait_core.job import JobSpec
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("openings")
_decode: Final = msgspec.json.Decoder(JobSpec).decode
# An interval that is told piece by piece is told anew so long before its piece is over.
AHEAD: Final = window.REACH / 2


async def place(conn: Conn, job_id: UUID, spec: JobSpec, now: datetime) -> None:
    """Set the interval of a job's window that is open at `now`, or the next one; none for a job without a window."""
    open_from: datetime | None = None
    open_until: datetime | None = None
    due_at: datetime | None = None
    if spec.execution_window_cron is not None:
        expression = cron.parse(spec.execution_window_cron)
        open_from, open_until = window.open_interval(expression, spec.timezone, now)
        goes_on = open_until - max(open_from, now) > AHEAD
        due_at = open_until - AHEAD if goes_on else open_until
    values = {"id": job_id, "open_from": open_from, "open_until": open_until, "due_at": due_at}
    await conn.execute(query(_SQL["set_opening"]), values)


async def clear(conn: Conn, job_id: UUID) -> None:
    """Take a deleted job's window away: nobody could open it again."""
    values = {"id": job_id, "open_from": None, "open_until": None, "due_at": None}
    await conn.execute(query(_SQL["set_opening"]), values)


async def keep_ahead(conn: Conn, now: datetime, limit: int) -> int:
    """Set the intervals anew that are over or soon will be, of at most `limit` jobs; how many."""
    rows = await _SQL.rows(conn, "take_due_openings", {"now": now, "limit": limit})
    for row in rows:
        await place(conn, row["id"], _decode(row["definition"]), now)
    return len(rows)


async def next_due(conn: Conn, now: datetime) -> timedelta | None:
    """How long until an interval has to be looked at, or begins; None when no job has a window."""
    row = await (await conn.cursor(binary=True).execute(query(_SQL["next_opening_due"]), {"now": now})).fetchone()
    return None if row is None or row[0] is None else row[0] - now
