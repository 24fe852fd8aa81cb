"""Fires schedules when their time has come. Any number of processes do so at once: each takes what no other holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import structlog

from strait_core.schedule import GRACE
from strait_core.store import schedules
from strait_core.store.pool import Conn, Pool
from strait_core.store.schedules import Due
from strait_daemon.clock import Clock
from strait_daemon.services import ticks
from strait_daemon.services.ticks import Done

BATCH: Final = 500
# The longest sleep: what another process changes meanwhile is seen after this.
LONGEST_SECS: Final = 1.0
CONTENDED_SECS: Final = 0.02
# Schedules whose ticks were missed, taken in one go once a pace: nobody's start ends in a storm.
MISSED_BATCH: Final = 200

log = structlog.get_logger(__name__)


class Ticker:
    """The service. `changed` is told of runs made and canceled, `taken` of canceled ones that a worker holds."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        new_id: Callable[[], UUID],
        *,
        wake: Callable[[], None],
        changed: Callable[[Sequence[UUID]], None],
        taken: Callable[[Sequence[UUID]], None],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._new_id = new_id
        self._wake = wake
        self._changed = changed
        self._taken = taken
        self._missed_at = float("-inf")

    async def tick(self) -> float:
        """Decide one batch of what is due, and now and then one of what was missed; seconds until the next."""
        now = self._clock.now()
        async with self._pool.connection() as conn:
            found = await self._batch(conn, now, BATCH, after=now - GRACE)
            if found < BATCH and monotonic() - self._missed_at >= ticks.PACE.total_seconds():
                await self._batch(conn, now, MISSED_BATCH, until=now - GRACE)
                self._missed_at = monotonic()
            upcoming = None if found == BATCH else await schedules.next_due(conn, now - GRACE)
        if found == BATCH:
            return 0.0
        if upcoming is None:
            return LONGEST_SECS
        wait = (upcoming - self._clock.now()) / timedelta(seconds=1)
        # What is due and was not taken is in another transaction's hands: no reason to ask all the time.
        return min(max(wait, 0.001), LONGEST_SECS) if wait > 0 else CONTENDED_SECS

    async def _batch(
        self, conn: Conn, now: datetime, limit: int, *, after: datetime | None = None, until: datetime | None = None
    ) -> int:
        async with conn.transaction():
            due = await schedules.take_due(conn, until or now, limit, after)
            done = await ticks.look(conn, due, now, self._new_id) if due else Done()
        self._tell(done, due)
        for schedule_id in done.left:
            async with conn.transaction():
                alone = await schedules.take_one(conn, schedule_id, now)
                taken = [] if alone is None else [alone]
                done = await ticks.look(conn, taken, now, self._new_id, alone=True)
            self._tell(done, taken)
        return len(due)

    def _tell(self, done: Done, due: Sequence[Due]) -> None:
        if done.refused:
            log.info("ticks_put_off", schedules=done.refused, of=len(due))
        if done.made:
            self._changed(done.made)
            self._wake()
        if done.ended:
            self._changed([run.id for run in done.ended])
            self._taken([run.id for run in done.ended if run.worker_id is not None])
