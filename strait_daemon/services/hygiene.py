"""Vacuums the small hot tables every few seconds and says what keeps their dead rows from leaving."""

from __future__ import annotations

from typing import Final

import structlog

from strait_core.store import hygiene
from strait_core.store.history import PARENTS
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock

INTERVAL_SECS: Final = 3.0
# Partitioned parents are analyzed this many ticks apart (about ten minutes).
ANALYZE_EVERY: Final = 200
WARN_EVERY: Final = 20

log = structlog.get_logger(__name__)


class Hygiene:
    """One pass over the hot tables."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._ticks = 0

    async def tick(self) -> None:
        """Vacuum what needs it; now and then analyze the partitioned tables and look for held snapshots."""
        async with self._pool.connection() as conn:
            for table in await hygiene.dead_rows(conn):
                await hygiene.vacuum(conn, table)
            if self._ticks % WARN_EVERY == WARN_EVERY - 1:
                for holder in await hygiene.holders(conn, self._clock.now()):
                    log.warning("snapshot_held", kind=holder.kind, holder=holder.name, secs=round(holder.age_secs))
            if self._ticks % ANALYZE_EVERY == ANALYZE_EVERY - 1:
                for table in PARENTS:
                    await hygiene.analyze(conn, table)
        self._ticks += 1
