"""Lets runs go on that wait for nothing any more, and ends those that have waited too long."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from strait_core.store import events, parking, waits
from strait_core.store.pool import Conn, Pool
from strait_daemon.bus import Bus
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS

# The longest sleep while something is waited for: what was settled while its run was in other hands goes on after this.
INTERVAL_SECS: Final = 1.0
FORGET_SECS: Final = 60.0
_CONTENDED_SECS: Final = 0.05

log = structlog.get_logger(__name__)


class Waker:
    """One pass: waits that were settled, waits that are overdue, and every minute events that nobody needs."""

    def __init__(self, pool: Pool, clock: Clock, bus: Bus) -> None:
        self._pool = pool
        self._clock = clock
        self._bus = bus
        self._forget_at = clock.now()

    async def tick(self) -> float:
        """Look once; seconds until the next look."""
        async with self._pool.connection() as conn:
            resumed = await waits.resume_ripe(conn, self._clock.now())
            late = await parking.time_out(conn, self._clock.now())
            upcoming = await parking.next_overdue(conn)
            more = await self._forget(conn) if self._clock.now() >= self._forget_at else False
        if late:
            log.info("waits_timed_out", runs=len(late))
            self._bus.runs_changed([run.id for run in late])
            # Steps of workflow runs may have begun for it.
            self._bus.wake()
        if resumed:
            self._bus.runs_changed(resumed)
            self._bus.wake()
        if more or len(resumed) == waits.RESUME_ROWS or len(late) == parking.TIME_OUT_ROWS:
            return 0.0
        if upcoming is None:
            return REST_SECS
        wait = (upcoming - self._clock.now()) / timedelta(seconds=1)
        # An overdue wait that was left belongs to an attempt that goes on, or to somebody who holds its run.
        return min(max(wait, _CONTENDED_SECS), INTERVAL_SECS) if wait > 0 else INTERVAL_SECS

    async def _forget(self, conn: Conn) -> bool:
        looked, gone = await events.forget(conn, self._clock.now())
        if gone:
            log.info("events_forgotten", events=gone)
        if looked == events.FORGET_ROWS:
            return True
        self._forget_at = self._clock.now() + timedelta(seconds=FORGET_SECS)
        return False
