"""The statements of `sql/<noun>.sql`: read once per process, sent by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from psycopg.rows import dict_row

from strait_core.store.pool import Conn, query

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)

Row = dict[str, Any]


class Statements(dict[str, bytes]):
    """The statements of one noun by name, and what they answer: rows by the names of their columns."""

    async def rows(self, conn: Conn, name: str, values: Mapping[str, Any]) -> list[Row]:
        """The rows of a statement; none of one that gives none."""
        async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
            await cursor.execute(query(self[name]), values)
            answer = cursor.pgresult
            return await cursor.fetchall() if answer is not None and answer.nfields else []

    async def one(self, conn: Conn, name: str, values: Mapping[str, Any]) -> Row | None:
        """The first row of a statement; None when there is none."""
        found = await self.rows(conn, name, values)
        return found[0] if found else None


@cache
def load(noun: str) -> Statements:
    """The statements of `sql/<noun>.sql` by name; text before the first name is the file's own comment."""
    text = files("strait_core.store").joinpath("sql", f"{noun}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return Statements((name, body.strip().encode()) for name, body in zip(parts[::2], parts[1::2], strict=True))
