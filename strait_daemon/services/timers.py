"""Ends what workflow runs wait for when its time comes, lets runs begin that wait for room, and sweeps.

Sleeps until the earliest time that anything is due, or the lookout finds something. What it looks at is stored, so a
lost wake-up costs a second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from strait_core.store import workflow_runs
from strait_core.store.faults import Clash
from strait_core.store.pool import Conn, Pool
from strait_core.store.workflow_live import Brought
from strait_daemon.announcer import Announcer
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS
from strait_daemon.telemetry import Metrics

BATCH: Final = 200
SWEEP_SECS: Final = 15.0
# Until the next try when something could not be moved.
RETRY_SECS: Final = 1.0
# What is due and was not taken is in another transaction's hands.
CONTENDED_SECS: Final = 0.05

log = structlog.get_logger(__name__)


class Timers:
    """One pass: what is due, each run in a transaction of its own; runs that wait for room; now and then a sweep."""

    def __init__(self, pool: Pool, clock: Clock, announcer: Announcer, metrics: Metrics) -> None:
        self._pool = pool
        self._clock = clock
        self._announcer = announcer
        self._metrics = metrics
        self._sweep_at = clock.now()
        # Something could not be moved in this pass: there is no hurry to try again.
        self._failed = False

    async def tick(self) -> float:
        """Look once; seconds until the next look."""
        self._failed = False
        async with self._pool.connection() as conn:
            due = await workflow_runs.due_runs(conn, self._clock.now(), BATCH)
            fired = [await self._try(conn, run_id, self._fire) for run_id in due]
            for workflow_id in await workflow_runs.crowded_workflows(conn):
                while await self._try(conn, workflow_id, self._promote):
                    pass
            if self._clock.now() >= self._sweep_at:
                await self._sweep(conn)
                self._sweep_at = self._clock.now() + timedelta(seconds=SWEEP_SECS)
            upcoming = await workflow_runs.next_due(conn)
        if len(due) >= BATCH and any(fired):
            return 0.0
        if self._failed:
            return RETRY_SECS
        if upcoming is None:
            return REST_SECS
        wait = (upcoming - self._clock.now()) / timedelta(seconds=1)
        return min(max(wait, 0.001), REST_SECS) if wait > 0 else CONTENDED_SECS

    async def _try(self, conn: Conn, what: UUID, act: Callable[[Conn, UUID, Brought], Awaitable[bool]]) -> bool:
        """One transaction; a run that cannot be moved now, or at all, keeps no other one waiting."""
        brought = Brought()
        try:
            async with conn.transaction():
                done = await act(conn, what, brought)
        except Clash:
            return False
        except Exception as error:
            if conn.closed:
                raise
            self._failed = True
            log.exception("timer_failed", id=str(what), error=type(error).__name__)
            return False
        self._announcer.brought(brought)
        return done

    async def _fire(self, conn: Conn, run_id: UUID, brought: Brought) -> bool:
        return await workflow_runs.fire_due(conn, run_id, self._clock.now(), brought)

    async def _promote(self, conn: Conn, workflow_id: UUID, brought: Brought) -> bool:
        return await workflow_runs.promote(conn, workflow_id, self._clock.now, brought)

    async def _sweep(self, conn: Conn) -> None:
        """Look once more at runs in which nothing is under way: there should be nothing to do."""
        for run_id in await workflow_runs.untouched(conn, self._clock.now(), BATCH):
            if await self._try(conn, run_id, self._look_again):
                self._metrics.swept.inc()
                log.error("workflow_run_had_stalled", workflow_run=str(run_id))

    async def _look_again(self, conn: Conn, run_id: UUID, brought: Brought) -> bool:
        found = await workflow_runs.look_again(conn, run_id, self._clock.now())
        if found is not None:
            brought.add(found)
        return found is not None
