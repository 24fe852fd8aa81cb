"""One database connection for one busy part, opened on first use and opened again after a failure."""

from __future__ import annotations

from contextlib import suppress

from strait_core.store.faults import Refused
from strait_core.store.pool import Conn, connect, fix_plans, hung_up


class Line:
    """A connection that its one user may lose: `conn()` opens it when needed, `drop()` closes it after an error."""

    def __init__(self, url: str, *, pooled: bool) -> None:
        self._url = url
        self._pooled = pooled
        self._conn: Conn | None = None

    async def conn(self) -> Conn:
        """The open connection; raises UnavailableError when the database does not answer within ten seconds."""
        if self._conn is not None and not self._conn.closed and hung_up(self._conn):
            await self.drop()
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._url, pooled=self._pooled)
            if not self._pooled:
                await fix_plans(self._conn)
        return self._conn

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Refused, OSError):
                await conn.close()
