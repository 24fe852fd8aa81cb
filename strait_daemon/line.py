"""One database connection for one busy part, opened on first use and opened again after a failure."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from strait_core.errors import ConfigError, UnavailableError
from strait_core.store.faults import Refused
from strait_core.store.pool import Conn, connect, fix_plans, hung_up

# How long a starting daemon tries to reach its database.
START_SECS: Final = 10.0


class Line:
    """A connection that its one user may lose: `conn()` opens it when needed, `drop()` closes it after an error."""

    def __init__(self, url: str, *, pooled: bool) -> None:
        self._url = url
        # Whether a pooler stands in between, so that nothing may be left in the session.
        self.pooled = pooled
        self._conn: Conn | None = None

    async def conn(self) -> Conn:
        """The open connection; raises UnavailableError when the database does not answer within ten seconds."""
        if self._conn is not None and not self._conn.closed and hung_up(self._conn):
            await self.drop()
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._url, pooled=self.pooled)
            if not self.pooled:
                await fix_plans(self._conn)
        return self._conn

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Refused, OSError):
                await conn.close()


async def first_connection(url: str) -> Conn:
    """A connection for a daemon that starts; ConfigError when the database gives none within ten seconds."""
    deadline = asyncio.get_running_loop().time() + START_SECS
    while True:
        left = deadline - asyncio.get_running_loop().time()
        try:
            return await connect(url, timeout=max(left, 1))
        except UnavailableError as error:
            if asyncio.get_running_loop().time() + 0.25 >= deadline or _is_final(error):
                raise ConfigError(error.message, hint=error.hint) from error
        await asyncio.sleep(0.25)


def _is_final(error: UnavailableError) -> bool:
    """A server that answers, but will never let us in, is not worth ten seconds."""
    text = error.message
    return "authentication failed" in text or "does not exist" in text or "no pg_hba.conf entry" in text
