"""Folds the statistics' deltas every second, and keeps the short tables tidy."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from strait_core.store import changes, stats
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS

TIDY_EVERY: Final = timedelta(minutes=1)
# While something comes in: a stale figure is at most this old.
FOLD_SECS: Final = 1.0


class Accountant:
    """Adds up what the writers report."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._tidy_at = clock.now()

    async def tick(self) -> float:
        """Fold one batch of deltas; 0 when there are more."""
        now = self._clock.now()
        async with self._pool.connection() as conn:
            folded = await stats.fold(conn, now)
            if now >= self._tidy_at:
                await stats.tidy(conn, now)
                async with conn.transaction():
                    await changes.ensure_hours(conn, now)
                self._tidy_at = now + TIDY_EVERY
        if folded == stats.FOLD_ROWS:
            return 0.0
        return FOLD_SECS if folded else REST_SECS
