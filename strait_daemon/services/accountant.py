"""Folds the statistics' deltas every second, and keeps the short tables tidy."""

from __future__ import annotations

from typing import Final

from strait_core.store import stats
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock

TIDY_EVERY: Final = 60
# With nothing new the fold rests; a stale figure is at most this old.
IDLE_SECS: Final = 1.0


class Accountant:
    """Adds up what the writers report."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._ticks = 0

    async def tick(self) -> float | None:
        """Fold one batch of deltas; 0 when there are more."""
        async with self._pool.connection() as conn:
            async with conn.transaction():
                folded = await stats.fold(conn)
            if self._ticks % TIDY_EVERY == 0:
                await stats.tidy(conn, self._clock.now())
        self._ticks += 1
        return 0.0 if folded == stats.FOLD_ROWS else IDLE_SECS
