"""What an endpoint asks and says in the middle of an attempt; every function speaks for one attempt of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("sdk")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whom a run token speaks for."""

    run_id: UUID
    attempt: int


async def _one(conn: Conn, statement: str, speaker: Speaker, more: Mapping[str, Any] | None = None) -> Row | None:
    """The row of a statement; None when the attempt is over."""
    values = {"id": speaker.run_id, "attempt": speaker.attempt, **(more or {})}
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(query(_SQL[statement]), values)
        return await cursor.fetchone()


async def payload(conn: Conn, speaker: Speaker) -> str | None:
    """The run's payload, as it was sent; None when the attempt is over."""
    row = await _one(conn, "payload", speaker)
    return None if row is None else row["payload"]
