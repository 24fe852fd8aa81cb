"""Makes the partitions that the next weeks need and drops those whose time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from strait_core.store import changes, history, workflow_views
from strait_core.store.history import LONG, PARENTS, SHORT
from strait_core.store.pool import Pool
from strait_core.store.workflow_views import FORGET_ROWS
from strait_daemon.clock import Clock

INTERVAL_SECS: Final = 3_600.0

log = structlog.get_logger(__name__)


class Retention:
    """Old data leaves by whole partitions, so its cost does not grow with history. 0 days = keep for ever."""

    def __init__(self, pool: Pool, clock: Clock, *, short_days: int, long_days: int) -> None:
        self._pool = pool
        self._clock = clock
        self._days = {SHORT: short_days, LONG: long_days}

    async def tick(self) -> None:
        """One pass over every partitioned table; what is too old is left to whoever drops already."""
        now = self._clock.now()
        dropped: list[str] = []
        async with self._pool.connection() as conn, conn.transaction():
            made = await history.ensure_partitions(conn, now)
        async with self._pool.connection() as guard, guard.transaction(), self._pool.connection() as conn:
            if await history.lock_retention(guard):
                for parent in PARENTS:
                    for keep, days in self._days.items():
                        if days:
                            dropped += await history.drop_before(conn, parent, keep, now - timedelta(days=days))
                dropped += await changes.drop_before(conn, now - changes.KEPT)
                if days := self._days[LONG]:
                    while await workflow_views.forget_approvals(conn, now - timedelta(days=days)) == FORGET_ROWS:
                        pass
        if made or dropped:
            log.info("partitions_changed", made=made, dropped=dropped)
