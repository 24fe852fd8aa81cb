"""One look a second for all services that wait for something: it wakes those that have something to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from strait_core.store import lookout
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock

INTERVAL_SECS: Final = 1.0
# Who has something to do before the next look is woken now, and sleeps the rest by itself.
AHEAD: Final = timedelta(seconds=1.2 * INTERVAL_SECS)


class Lookout:
    """`wake` is given the name of each service that has something to do.

    What this process knows of it tells the service itself. This finds what came from elsewhere, or was not told; so who
    is looked after here may rest (`service.REST_SECS`) when it has nothing to do.
    """

    def __init__(self, pool: Pool, clock: Clock, wake: Callable[[str], None]) -> None:
        self._pool = pool
        self._clock = clock
        self._wake = wake

    async def tick(self) -> None:
        """One look."""
        async with self._pool.connection() as conn:
            busy = await lookout.busy(conn, self._clock.now() + AHEAD)
        for name in busy:
            self._wake(name)
