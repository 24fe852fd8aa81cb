"""New runs on their way in: concurrent triggers share one INSERT, and each is answered after its own commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from strait_core.errors import UnavailableError
from strait_core.store import queue
from strait_core.store.faults import Broken, Clash, Refused
from strait_core.trigger import NewRun
from strait_daemon.announcer import Announcer
from strait_daemon.bulk import BulkKey, store_bulk
from strait_daemon.clock import Clock
from strait_daemon.gather import Gatherer
from strait_daemon.line import Line

# An insert that takes longer than this has met a database in trouble; the caller is told to come back.
INSERT_SECS: Final = 15.0
CLOSE_SECS: Final = 5.0

log = structlog.get_logger(__name__)


class Intake:
    """Stores new runs; True means committed, False means that the job has changed, so look at it again."""

    def __init__(self, line: Line, bulk_line: Line, clock: Clock, announcer: Announcer) -> None:
        self._line = line
        self._bulk_line = bulk_line
        self._bulk_turn = asyncio.Lock()
        self._clock = clock
        self._announcer = announcer
        self._gatherer: Gatherer[NewRun, bool] = Gatherer(self._insert, _weight)

    async def add(self, run: NewRun) -> bool:
        """Store one run, together with whatever else arrives meanwhile."""
        return await self._gatherer.add(run)

    def admitted(self, run: NewRun) -> None:
        """A run was stored, or given another time, in a transaction of somebody else's."""
        self._announcer.made([run])

    async def add_all(self, runs: Sequence[NewRun], key: BulkKey | None = None) -> list[UUID] | None:
        """Store all of these runs or none; what comes back is that of `store_bulk`."""
        # Waiting for a turn counts: behind a slow database the last in a long row would wait for ever.
        try:
            async with asyncio.timeout(INSERT_SECS), self._bulk_turn:
                stored = await self._insert_all(runs, key)
        except (*Broken, TimeoutError) as error:
            raise _unavailable(error) from error
        if stored is not None:
            self._announcer.made([run for run, run_id in zip(runs, stored, strict=True) if run.id == run_id])
        return stored

    async def _insert_all(self, runs: Sequence[NewRun], key: BulkKey | None) -> list[UUID] | None:
        try:
            conn = await self._bulk_line.conn()
            try:
                return await store_bulk(conn, runs, key, self._clock.now())
            except Clash:
                return await store_bulk(conn, runs, key, self._clock.now())
        except (*Broken, asyncio.CancelledError):
            await self._bulk_line.drop()
            raise

    async def _insert(self, runs: list[NewRun]) -> list[bool | Exception]:
        try:
            async with asyncio.timeout(INSERT_SECS):
                stored = await self._insert_once(runs)
        except (*Broken, TimeoutError) as error:
            await self._line.drop()
            raise _unavailable(error) from error
        except Refused as error:
            if len(runs) == 1:
                return [error]
            # What the database refuses is split until the row is alone.
            middle = len(runs) // 2
            return await self._insert(runs[:middle]) + await self._insert(runs[middle:])
        if stored is None or stored:
            self._announcer.made(runs)
        return [stored is None or run.id in stored for run in runs]

    async def _insert_once(self, runs: list[NewRun]) -> set[UUID] | None:
        """The runs that were stored; None = all."""
        conn = await self._line.conn()
        try:
            return await queue.insert_all_or_some(conn, runs, self._clock.now())
        except Clash:
            return await queue.insert_all_or_some(conn, runs, self._clock.now())

    async def close(self) -> None:
        """Answer what is waiting, for five seconds at the most, then close the connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECS):
                await self._gatherer.settle()
        await self._gatherer.abandon()
        await self._line.drop()
        await self._bulk_line.drop()


def _weight(run: NewRun) -> int:
    return len(run.payload) + 512


def _unavailable(error: Exception) -> UnavailableError:
    if isinstance(error, UnavailableError):
        return error
    log.warning("runs_not_stored", error=f"{type(error).__name__}: {error}".rstrip())
    return UnavailableError(
        "the database did not take the run; it may or may not have been stored",
        hint="look for it in the list of runs, or try again in a moment",
        retry_after=1,
    )
