"""Ends live attempts that no worker ends: by the endpoint's own word, by a budget, or by the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from strait_core.breaker import Verdict
from strait_core.store import callbacks
from strait_core.store.callbacks import Live
from strait_core.store.pool import Conn, Pool
from strait_core.store.queue import Finish, Retry
from strait_daemon.attempts.attempt import Attempt
from strait_daemon.attempts.catalog import Catalog, Target
from strait_daemon.attempts.closing import close, verdict_of
from strait_daemon.attempts.outcome import Ending
from strait_daemon.clock import Clock
from strait_daemon.telemetry import Metrics
from strait_daemon.writer import TransitionWriter

Closing: TypeAlias = Finish | Retry


class Ender:
    """Decides by the same rules as a worker, and writes through the same fenced writer: one of the two wins."""

    def __init__(
        self,
        pool: Pool,
        catalog: Catalog,
        writer: TransitionWriter,
        clock: Clock,
        metrics: Metrics,
        heard: Callable[[Verdict], None],
    ) -> None:
        self._heard = heard
        self._pool = pool
        self._catalog = catalog
        self._writer = writer
        self._clock = clock
        self._metrics = metrics

    async def target(self, conn: Conn, live: Live) -> Target | None:
        """The job version that the attempt runs."""
        version = (live.run.job_id, live.run.job_version)
        await self._catalog.learn(conn, {version})
        return self._catalog.get(*version)

    async def end(self, live: Live, target: Target, ending: Ending, *, silent: bool = False) -> Closing | None:
        """End the attempt like that; the move that did it, None when somebody else was quicker.

        `silent`: the endpoint has stopped to speak.
        """
        attempt = Attempt(live.run, target, live.claimed_at)
        attempt.fallback = live.fallback
        now = self._clock.now()
        took = max(now - live.started_at, timedelta(0))
        millis = {**live.millis, "total_ms": round(took / timedelta(milliseconds=1), 3)}
        event, move = close(attempt, ending, now, millis)
        held = await self._writer.write(move)
        if held:
            self._metrics.attempts.ended(event, took.total_seconds())
            verdict = verdict_of(attempt, ending, silent=silent)
            if verdict is not None:
                self._heard(verdict)
        if live.accepted:
            async with self._pool.connection() as conn:
                await callbacks.forget(conn, live.run.id, live.run.lease)
        return move if held else None
