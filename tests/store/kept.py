"""Connections that outlive the tests that use them: what each learns of the tables costs more than most tests do."""

from __future__ import annotations

from psycopg.pq import TransactionStatus

from strait_core.store import pool
from strait_core.store.pool import Conn


class Kept:
    """The idle connections to one database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Conn] = []

    async def take(self) -> Conn:
        """An idle connection, or a new one when there is none."""
        while self._idle:
            conn = self._idle.pop()
            if not pool.hung_up(conn):
                # The one it has belongs to the loop of an earlier test.
                conn.lock = type(conn.lock)()
                return conn
            conn.pgconn.finish()
        return await pool.connect(self._url)

    async def give_back(self, conn: Conn) -> None:
        """Keep a connection for others as if it were new; one that is in the middle of something is closed."""
        if conn.closed or conn.info.transaction_status is not TransactionStatus.IDLE:
            await conn.close()
            return
        await conn.execute("RESET ALL; SELECT pg_advisory_unlock_all(); UNLISTEN *")
        self._idle.append(conn)

    def finish(self) -> None:
        """Close all that are idle; the loops they were used in are gone, so nobody is left to do it politely."""
        for conn in self._idle:
            conn.pgconn.finish()
