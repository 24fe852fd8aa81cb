"""Signals to other processes by PostgreSQL's LISTEN/NOTIFY: what is used where no Redis is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog

from strait_core.errors import UnavailableError
from strait_core.store import signals
from strait_core.store.faults import Refused
from strait_daemon.line import Line
from strait_daemon.transports import CHANNEL, FIRST_PAUSE, LONGEST_PAUSE, QUIET_SECS

_ANSWER_SECS: Final = 5.0

log = structlog.get_logger(__name__)


class PostgresTransport:
    """NOTIFY on one connection, LISTEN on another, which must lead to PostgreSQL itself and not to a pooler."""

    def __init__(self, line: Line, direct_line: Line) -> None:
        self._line = line
        self._direct = direct_line

    async def send(self, text: str) -> None:
        """Notify every listener."""
        try:
            await signals.notify(await self._line.conn(), CHANNEL, text)
        except Refused:
            await self._line.drop()
            raise

    async def listen(self) -> AsyncIterator[str | None]:
        """What others notify, without end."""
        pause = FIRST_PAUSE
        while True:
            try:
                conn = await self._direct.conn()
                await signals.listen(conn, CHANNEL)
                yield None
                pause = FIRST_PAUSE
                while True:
                    async for text in signals.heard(conn, QUIET_SECS):
                        yield text
                    async with asyncio.timeout(_ANSWER_SECS):
                        await signals.alive(conn)
            except (Refused, UnavailableError, OSError) as error:
                log.warning("signals_interrupted", transport="postgresql", error=type(error).__name__)
            await self._direct.drop()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def close(self) -> None:
        """Close both connections."""
        await self._line.drop()
        await self._direct.drop()
