"""Log lines of endpoints: written in batches, read in the order of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from strait_core.store.pool import Conn, query
from strait_core.store.runs import made_at
from strait_core.store.sql import load

_SQL = load("logs")
_encode = msgspec.json.Encoder().encode


class Line(Struct, frozen=True, gc=False, omit_defaults=True):
    """One line on its way in; `data` is JSON text."""

    run_id: UUID
    attempt: int
    at: datetime
    level: str
    message: str
    data: str | None = None


class _Placed(Struct, frozen=True, gc=False, omit_defaults=True):
    n: int
    run_id: UUID
    attempt: int
    at: datetime
    level: str
    message: str
    data: str | None = None


async def add_lines(conn: Conn, lines: Sequence[Line]) -> set[tuple[UUID, int]]:
    """Store lines; the (run, attempt) pairs whose lines were stored: the others' attempts are over."""
    placed = [
        _Placed(n, line.run_id, line.attempt, line.at, line.level, line.message, line.data)
        for n, line in enumerate(lines)
    ]
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["add_lines"]), {"batch": Jsonb(placed, dumps=_encode)})
    return {(run_id, attempt) for run_id, attempt in await cursor.fetchall()}


async def lines(
    conn: Conn, run_id: UUID, *, after: int, limit: int, levels: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """A run's lines behind that number, in order; of these levels alone when some are named."""
    values = {"id": run_id, "made_at": made_at(run_id), "after": after, "limit": limit, "levels": levels}
    return await _SQL.rows(conn, "lines", values)
