"""Forgets idempotency keys a day after what they protect is over, closed windows of triggers, spending of days past."""

from __future__ import annotations

from typing import Final

import structlog

from strait_core.store import budgets, idempotency, windows
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock

INTERVAL_SECS: Final = 60.0

log = structlog.get_logger(__name__)


class KeyKeeper:
    """Looks at a thousand overdue keys a tick, the longest overdue first; while more wait it ticks on at once."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def tick(self) -> float | None:
        """One look."""
        async with self._pool.connection() as conn:
            looked, forgotten = await idempotency.settle(conn, self._clock.now())
            closed = await windows.forget(conn, self._clock.now())
            await budgets.forget_spending(conn, self._clock.now())
        if forgotten:
            log.info("idempotency_keys_forgotten", keys=forgotten)
        return 0.0 if looked == idempotency.SETTLE_ROWS or closed == windows.FORGET_ROWS else None
