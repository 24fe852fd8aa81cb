"""Keeps the intervals of execution windows ahead, and wakes the workers when one begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from strait_core.store import openings
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS

BATCH: Final = 500
# The longest sleep; what another process changes meanwhile, the lookout finds.
LONGEST_SECS: Final = REST_SECS


class Opener:
    """Any process may do any look; an interval that is late keeps its job's runs held, never the other way."""

    def __init__(self, pool: Pool, clock: Clock, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._clock = clock
        self._wake = wake
        # Whether the sleep was until a window's beginning.
        self._expected = False

    async def tick(self) -> float:
        """One look; seconds until the next."""
        now = self._clock.now()
        async with self._pool.connection() as conn:
            async with conn.transaction():
                moved = await openings.keep_ahead(conn, now, BATCH)
            left = await openings.next_due(conn, now)
        if moved or self._expected:
            self._wake()
        wait = LONGEST_SECS if left is None else left.total_seconds()
        self._expected = wait < LONGEST_SECS
        return 0.0 if moved == BATCH else min(max(wait, 0.001), LONGEST_SECS)
