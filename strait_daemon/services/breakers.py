"""This process's part in the circuit breakers: what its attempts say of their endpoints, and what it must know of them.

The state is PostgreSQL's. A failure is always told; a success only when it would change something, which the last look
tells: an endpoint that is well costs one dictionary. The look may be old, and that does no harm:

- Who has told a failure knows of it at once, so its own successes undo it; other processes hear of it by a signal, and
  see it within a second when that is lost. Until then they hold successes back that would have set the count to zero,
  so a breaker may open a little early. It never stays open for that: only claims and the clock decide from then on.
- Successes told for nothing change nothing.
- A probe whose success was not told is followed by another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from strait_core.breaker import Breaker, BreakerState, Stand, Verdict, wait_of
from strait_core.store import breakers
from strait_core.store.claims import Claimed
from strait_core.store.pool import Pool
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS

# While some endpoint is not well; the lookout tells when it begins, should no signal have come.
INTERVAL_SECS: Final = 1.0
# Failures that come close together are written together: an endpoint that fails now and then may do so often.
LINGER_SECS: Final = 0.01
# Verdicts that wait for a database that is away; the oldest say the least.
MOST_WAITING: Final = 10_000
_ASK_SECS: Final = 5.0
_FORGET_EVERY: Final = timedelta(hours=1)
# Longer than any attempt can take.
_FORGET_AFTER: Final = timedelta(days=2)

log = structlog.get_logger(__name__)


class Breakers:
    """Hears verdicts, lets time pass, keeps the last look; `changed` tells the other processes to look as well."""

    def __init__(self, pool: Pool, clock: Clock, cooldown: timedelta, changed: Callable[[], None]) -> None:
        self._pool = pool
        self._clock = clock
        self._cooldown = cooldown
        self._changed = changed
        self._wake: Callable[[], None] = lambda: None
        self._waiting: list[Verdict] = []
        self._known: dict[UUID, Breaker] = {}
        self._forgotten_at = clock.now()

    def on_news(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a tick has something to write."""
        self._wake = wake

    def heard(self, verdict: Verdict) -> None:
        """An attempt has ended; what changes nothing is forgotten."""
        known = self._known.get(verdict.key)
        if verdict.ok and (known is None or known.quiet):
            return
        if known is not None and known.state is BreakerState.OPEN and not _is_over(known, verdict.began_at):
            return
        del self._waiting[: max(0, len(self._waiting) + 1 - MOST_WAITING)]
        self._waiting.append(verdict)
        self._wake()

    def accepted(self, verdict: Verdict) -> None:
        """An endpoint has accepted, and will end the attempt itself: enough for a probe, but nothing to be counted.

        Else every acceptance would undo the callbacks that never came.
        """
        known = self._known.get(verdict.key)
        if known is not None and known.state in {BreakerState.OPEN, BreakerState.PROBING}:
            self.heard(verdict)

    async def held_until(self, key: UUID | None, run: Claimed) -> datetime | None:
        """Until when an attempt is to leave its endpoint alone; None when it may start.

        Of runs that the claim has let through there is nothing to count. Others (of an older version that calls another
        endpoint, or claimed before anything was known) take their share here, so that they do not start together.
        """
        known = self._known.get(key) if self._known and key is not None else None
        if known is None or key is None or known.state is BreakerState.CLOSED:
            return None
        now = self._clock.now()
        stand: Stand | None = Stand(known.state, known.step, known.open_until)
        if known.state is not BreakerState.OPEN or _is_over(known, now):
            if run.breaker == key:
                return None
            try:
                async with asyncio.timeout(_ASK_SECS), self._pool.connection() as conn:
                    stand = await breakers.let_through(conn, key, run.id, run.lease)
            except Exception as error:  # noqa: BLE001 - whoever cannot ask does not start
                log.warning("breaker_not_asked", error=f"{type(error).__name__}: {error}")
        return None if stand is None else wait_of(stand, now, self._cooldown, random.uniform)

    @property
    def calm(self) -> bool:
        """Whether no endpoint has failed lately: successes need not be told."""
        return not self._known

    async def tick(self) -> float:
        """Write what was heard, let time pass, look; seconds until time may change something."""
        if self._waiting:
            await asyncio.sleep(LINGER_SECS)
        now = self._clock.now()
        waiting, self._waiting = self._waiting, []
        before, wrote = self._known, False
        try:
            async with self._pool.connection() as conn:
                if waiting:
                    async with conn.transaction():
                        wrote = await breakers.judge(conn, waiting, now, self._cooldown)
                    waiting = []
                if any(known.state is not BreakerState.CLOSED for known in before.values()):
                    async with conn.transaction():
                        wrote |= await breakers.tick(conn, now)
                        await breakers.leave_lane_0(conn)
                if now - self._forgotten_at > _FORGET_EVERY:
                    await breakers.forget(conn, now - _FORGET_AFTER)
                    self._forgotten_at = now
                self._known = await breakers.noteworthy(conn)
        except BaseException:
            self._waiting = [*waiting, *self._waiting][-MOST_WAITING:]
            raise
        self._log(before)
        if wrote:
            self._changed()
        return self._next(now)

    def _log(self, before: dict[UUID, Breaker]) -> None:
        """One line for each breaker that is in another state than at the last look."""
        states = {key: known.state for key, known in before.items() if known.state is not BreakerState.CLOSED}
        now_are = {key: known.state for key, known in self._known.items() if known.state is not BreakerState.CLOSED}
        for key in states.keys() | now_are.keys():
            if states.get(key) is not now_are.get(key):
                log.info("breaker_changed", breaker=str(key), state=now_are.get(key, BreakerState.CLOSED).value)

    def _next(self, now: datetime) -> float:
        if not self._known:
            return REST_SECS
        due = [known.open_until for known in self._known.values() if known.state is BreakerState.OPEN]
        waits = [(at - now) / timedelta(seconds=1) for at in due if at is not None]
        return min([max(wait, 0.01) for wait in waits], default=INTERVAL_SECS) if waits else INTERVAL_SECS


def _is_over(known: Breaker, at: datetime) -> bool:
    return known.open_until is not None and at >= known.open_until
