"""Finds runs that wait for a key which nobody uses any more.

Whoever frees a slot of a key lets the next run return in the same transaction. What is left for this loop is what a
run leaves behind that returned, and then was in no state to take its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from strait_core.store import limits
from strait_core.store.pool import Pool

KEYS: Final = 500

log = structlog.get_logger(__name__)


class Unparker:
    """One pass over the keys for which runs are parked."""

    def __init__(self, pool: Pool, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake

    async def tick(self) -> float | None:
        """Let runs of idle keys return; 0 when there may be more such keys."""
        async with self._pool.connection() as conn:
            keys = await limits.unpark_idle(conn, KEYS)
        if keys:
            log.info("runs_unparked", keys=keys)
            self._wake()
        return 0.0 if keys == KEYS else None
