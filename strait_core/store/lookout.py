"""Which services have something to do: one statement instead of one for each of them, every second."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from psycopg.rows import dict_row

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL: Final = load("lookout")


async def busy(conn: Conn, until: datetime) -> list[str]:
    """The services that have something to do before `until`, by name."""
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(query(_SQL["look"]), {"until": until})
        row = await cursor.fetchone()
    return [name for name, has in (row or {}).items() if has]
