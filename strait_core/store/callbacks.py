"""Live attempts that end by their endpoint's own word, or by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from strait_core.store.claims import Claimed
from strait_core.store.pool import Conn, query
from strait_core.store.sdk import Speaker
from strait_core.store.sql import load

_SQL = load("callbacks")
_FACTS: Final = ("connect_ms", "ttfb_ms", "transfer_ms")


@dataclass(frozen=True, slots=True)
class Live:
    """A live attempt; `accepted` once its endpoint has answered 2xx and no worker holds it any more.

    `over` is why the clock ends it: `time` or `heartbeat`; None = it does not.
    """

    run: Claimed
    claimed_at: datetime
    started_at: datetime
    accepted: bool
    http_status: int | None
    fallback: str | None
    millis: dict[str, float | None]
    over: str | None


def _live(row: dict[str, Any]) -> Live:
    facts = {name: row[name] for name in Claimed._fields if name in row}
    facts |= {"attempt": row["attempt"] - 1, "payload": "", "ready_seq": 0}
    return Live(
        run=Claimed(**facts),
        claimed_at=row["claimed_at"],
        started_at=row["started_at"],
        accepted=row["accepted"],
        http_status=row["http_status"],
        fallback=row["fallback"],
        millis={name: row[name] for name in _FACTS},
        over=row["over"],
    )


async def _all(conn: Conn, statement: str, values: dict[str, Any]) -> list[Live]:
    return [_live(row) for row in await _SQL.rows(conn, statement, values)]


async def live(conn: Conn, speaker: Speaker) -> Live | None:
    """The attempt that a token speaks for; None when it is over."""
    found = await _all(conn, "live", {"id": speaker.run_id, "attempt": speaker.attempt})
    return found[0] if found else None


async def overdue(conn: Conn, now: datetime, silent_since: datetime | None, limit: int) -> list[Live]:
    """Accepted attempts that the clock ends now; heartbeats count only with `silent_since`."""
    if silent_since is None:
        return await _all(conn, "late", {"now": now, "limit": limit})
    return await _all(conn, "overdue", {"now": now, "silent_since": silent_since, "limit": limit})


async def forget(conn: Conn, run_id: UUID, lease: int) -> None:
    """Clear away an acceptance whose attempt has been ended."""
    await conn.execute(query(_SQL["forget"]), {"id": run_id, "lease": lease})


async def forget_over(conn: Conn, now: datetime) -> None:
    """Clear away acceptances past their deadline whose attempts were ended in another way."""
    await conn.execute(query(_SQL["forget_over"]), {"now": now})


async def next_deadline(conn: Conn, now: datetime) -> datetime | None:
    """When the next accepted attempt runs out of time; None when none waits."""
    row = await (await conn.cursor(binary=True).execute(query(_SQL["next_deadline"]), {"now": now})).fetchone()
    return row[0] if row else None
