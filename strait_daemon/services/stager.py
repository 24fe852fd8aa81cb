"""Queues delayed runs and retries when their time has come; sleeps until the earliest of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from strait_core.store import queue
from strait_core.store.pool import Pool, fix_plans_here
from strait_daemon.announcer import LONGEST_SECS
from strait_daemon.clock import Clock

# Of either kind: delayed runs, and retries.
BATCH: Final = 1_000
CONTENDED_SECS: Final = 0.02


class Stager:
    """Moves what is due into the ready order."""

    def __init__(
        self, pool: Pool, clock: Clock, wake: Callable[[], None], changed: Callable[[Sequence[UUID]], None]
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._wake = wake
        self._changed = changed

    async def tick(self) -> float:
        """Promote one batch; seconds until the next one is due (0 = now)."""
        taken = 0
        async with self._pool.connection() as conn:
            upcoming = await queue.next_due(conn)
            now = self._clock.now()
            if upcoming is not None and upcoming <= now:
                async with conn.transaction():
                    await fix_plans_here(conn)
                    taken, promoted = await queue.promote_due(conn, BATCH, now)
                if promoted:
                    self._changed(promoted)
                    self._wake()
                upcoming = None if taken == BATCH else await queue.next_due(conn)
        if taken == BATCH:
            return 0.0
        if upcoming is None:
            return LONGEST_SECS
        wait = (upcoming - self._clock.now()) / timedelta(seconds=1)
        # What is due and was not taken is in another transaction's hands: no reason to ask all the time.
        return min(max(wait, 0.001), LONGEST_SECS) if wait > 0 else CONTENDED_SECS
