"""Which services have something to do: one statement instead of one for each of them, every second."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from strait_core.store.pool import Conn
from strait_core.store.sql import load

_SQL: Final = load("lookout")


async def busy(conn: Conn, until: datetime) -> list[str]:
    """The services that have something to do before `until`, by name."""
    row = await _SQL.one(conn, "look", {"until": until})
    return [name for name, has in (row or {}).items() if has]
