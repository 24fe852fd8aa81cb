"""Breakers as they are stored: one row for each endpoint that has failed lately."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core.breaker import NEVER, Breaker, BreakerState, Stand, Verdict, judged, ticked
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("breakers")
_encode: Final = msgspec.json.Encoder().encode


def _breaker(row: Mapping[str, Any]) -> Breaker:
    return Breaker(**{**row, "state": BreakerState(row["state"])})


async def noteworthy(conn: Conn) -> dict[UUID, Breaker]:
    """Every breaker that a success would change, or that holds runs."""
    return {row["key"]: _breaker(row) for row in await _SQL.rows(conn, "noteworthy", {})}


async def judge(conn: Conn, verdicts: Sequence[Verdict], now: datetime, cooldown: timedelta) -> bool:
    """Apply what attempts said of their endpoints, in order; whether that changed anything.

    Needs a transaction. An endpoint that has only successes and no row gets none.
    """
    failed = sorted({verdict.key for verdict in verdicts if not verdict.ok})
    if failed:
        await conn.execute(query(_SQL["add_breakers"]), {"keys": failed, "never": NEVER})
    rows = await _SQL.rows(conn, "lock_breakers", {"keys": sorted({verdict.key for verdict in verdicts})})
    said = {
        key: list(group) for key, group in groupby(sorted(verdicts, key=lambda v: v.key), lambda verdict: verdict.key)
    }
    before = [_breaker(row) for row in rows]
    after = [judged(breaker, said[breaker.key], now, cooldown) for breaker in before]
    return await _save(conn, before, after)


async def tick(conn: Conn, now: datetime) -> bool:
    """Let time pass for the breakers that nobody else holds; whether that changed anything. Needs a transaction."""
    rows = await _SQL.rows(conn, "lock_due", {"now": now})
    probed = [row.pop("probed") for row in rows]
    before = [_breaker(row) for row in rows]
    after = [ticked(breaker, now, probed=live) for breaker, live in zip(before, probed, strict=True)]
    return await _save(conn, before, after)


async def _save(conn: Conn, before: Iterable[Breaker], after: Iterable[Breaker]) -> bool:
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    if changed:
        await conn.execute(query(_SQL["save_breakers"]), {"batch": Jsonb(changed, dumps=_encode)})
    if any(breaker.state is BreakerState.OPEN for breaker in changed):
        await leave_lane_0(conn)
    return bool(changed)


async def let_through(conn: Conn, key: UUID, run_id: UUID, lease: int) -> Stand | None:
    """Let one run through that no claim has counted: None = it may start, else how the breaker stands that holds it."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["let_through"]), {"key": key, "run": run_id, "lease": lease})
    row = await cursor.fetchone()
    return None if row is None or row[0] else Stand(BreakerState(row[1]), row[2], row[3])


async def leave_lane_0(conn: Conn) -> None:
    """Jobs whose breaker holds runs get out of the way of all others."""
    await conn.execute(query(_SQL["leave_lane_0"]))


async def forget(conn: Conn, before: datetime) -> None:
    """Drop the rows that nothing happened to since `before` and that say nothing."""
    await conn.execute(query(_SQL["forget_breakers"]), {"before": before})
