"""Lets runs return that wait for a token of a named rate limit, just when there is one; forgets buckets long full.

A claim that parks a run for a limit writes down when to look after it. Without this loop such runs would never return.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final

from strait_core.store import rates
from strait_core.store.pool import Conn, Pool
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS

# The longest sleep; what a claim has parked meanwhile, the lookout finds.
LONGEST_SECS: Final = REST_SECS
# What is due and was not looked at is in another transaction's hands.
_CONTENDED_SECS: Final = 0.02
_FORGET_EVERY: Final = timedelta(minutes=1)


class Refiller:
    """Sleeps until the next token that somebody waits for; `freed` hears in which lanes runs have returned."""

    def __init__(self, pool: Pool, clock: Clock, freed: Callable[[Collection[int]], None]) -> None:
        self._pool = pool
        self._clock = clock
        self._freed = freed
        self._forgotten_at = datetime.min.replace(tzinfo=clock.now().tzinfo)

    async def tick(self) -> float:
        """Look after the buckets that are due; seconds until the next one is (0 = there may be more)."""
        async with self._pool.connection() as conn:
            looked, returned = await rates.refill(conn, self._clock.now())
            upcoming = await rates.next_wake(conn)
            more = looked == rates.REFILL_BUCKETS or await self._forget(conn)
        if returned:
            self._freed(returned.keys())
        if more:
            return 0.0
        if upcoming is None:
            return LONGEST_SECS
        wait = (upcoming - self._clock.now()) / timedelta(seconds=1)
        return min(max(wait, 0.001), LONGEST_SECS) if wait > 0 else _CONTENDED_SECS

    async def _forget(self, conn: Conn) -> bool:
        """Once a minute, forget buckets that are full; whether there may be more of them."""
        now = self._clock.now()
        if now - self._forgotten_at < _FORGET_EVERY:
            return False
        if await rates.forget_idle(conn, now) == rates.FORGET_ROWS:
            return True
        self._forgotten_at = now
        return False
