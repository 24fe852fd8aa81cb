"""Log lines on their way in: those that come together share an insert, and each is answered after its commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from strait_core.errors import UnavailableError
from strait_core.store import history, logs
from strait_core.store.faults import BadData, Broken, Clash, MissingPartition, Refused
from strait_core.store.logs import Line as LogLine
from strait_core.store.pool import Conn
from strait_daemon.clock import Clock
from strait_daemon.gather import Gatherer
from strait_daemon.line import Line

INSERT_SECS: Final = 15.0
CLOSE_SECS: Final = 3.0
_TRIES: Final = 3

log = structlog.get_logger(__name__)


class Logbook:
    """Stores log lines; True means committed, False that the line's attempt is over."""

    def __init__(self, line: Line, clock: Clock, changed: Callable[[Collection[UUID]], None]) -> None:
        self._line = line
        self._clock = clock
        self._changed = changed
        self._gatherer: Gatherer[LogLine, bool] = Gatherer(self._insert, _weight)

    async def add(self, line: LogLine) -> bool:
        """Store one line, together with whatever else arrives meanwhile."""
        return await self._gatherer.add(line)

    async def _insert(self, lines: list[LogLine]) -> list[bool | Exception]:
        try:
            async with asyncio.timeout(INSERT_SECS):
                stored = await self._insert_soon(lines)
        except (*Broken, TimeoutError, OSError) as error:
            await self._line.drop()
            log.warning("lines_not_stored", lines=len(lines), error=type(error).__name__)
            raise UnavailableError(
                "the database did not take the line; it may or may not have been stored", retry_after=1
            ) from error
        except BadData as error:
            if len(lines) == 1:
                return [error]
            # What the database refuses is split until the line is alone.
            middle = len(lines) // 2
            return await self._insert(lines[:middle]) + await self._insert(lines[middle:])
        if stored:
            self._changed({run_id for run_id, _ in stored})
        return [(line.run_id, line.attempt) in stored for line in lines]

    async def _insert_soon(self, lines: list[LogLine]) -> set[tuple[UUID, int]]:
        conn = await self._line.conn()
        for _ in range(_TRIES):
            try:
                return await logs.add_lines(conn, lines)
            except Clash:
                continue
            except MissingPartition:
                await self._make_partitions(conn)
        return await logs.add_lines(conn, lines)

    async def _make_partitions(self, conn: Conn) -> None:
        """A line fell into a week that retention has not prepared."""
        async with conn.transaction():
            await history.ensure_partitions(conn, self._clock.now())

    async def close(self) -> None:
        """Answer what is waiting, for three seconds at the most, then close the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECS):
                await self._gatherer.settle()
        await self._gatherer.abandon()
        with suppress(Refused):
            await self._line.drop()


def _weight(line: LogLine) -> int:
    return len(line.message) + len(line.data or "") + 200
