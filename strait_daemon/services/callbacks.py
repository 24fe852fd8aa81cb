"""Ends accepted callbacks that the clock has overtaken: their time is over, or their heartbeats have stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import structlog

from strait_core.run import Outcome, OutcomeKind
from strait_core.store import callbacks
from strait_core.store.callbacks import Live
from strait_core.store.faults import BadData
from strait_core.store.pool import Pool
from strait_daemon.attempts import outcome
from strait_daemon.attempts.ender import Ender
from strait_daemon.attempts.outcome import Ending
from strait_daemon.clock import Clock
from strait_daemon.services.service import REST_SECS

BATCH: Final = 500
# The longest sleep while one is open, for the sake of heartbeats.
LONGEST_SECS: Final = 1.0
# How long a pass waits for its ends. One may take longer: it ends the step of a workflow run that somebody holds.
PATIENCE_SECS: Final = 5.0

log = structlog.get_logger(__name__)


class Callbacks:
    """Sleeps until the earliest deadline; looks at heartbeats every `beat_secs`.

    Nobody is judged by heartbeats before this process has been connected for as long as they may be silent: while it
    was not, they may have had nobody to reach.
    """

    def __init__(self, pool: Pool, ender: Ender, clock: Clock, *, stale_after: timedelta, beat_secs: float) -> None:
        self._pool = pool
        self._ender = ender
        self._clock = clock
        self._stale_after = stale_after
        self._beat_secs = beat_secs
        self._connected_since: float | None = None
        self._looked = float("-inf")
        # Ends that no pass waits for any more, by run.
        self._late: dict[UUID, asyncio.Task[bool]] = {}

    async def tick(self) -> float:
        """End one batch; seconds until the next one is due (0 = now)."""
        try:
            return await self._tick()
        except BaseException:
            self._connected_since = None
            raise

    async def _tick(self) -> float:
        now = self._clock.now()
        silent_since = self._silent_since(now)
        async with self._pool.connection() as conn:
            over = await callbacks.overdue(conn, now, silent_since, BATCH)
            if silent_since is not None:
                await callbacks.forget_over(conn, now)
        if self._connected_since is None:
            self._connected_since = monotonic()
        ended = await self._end_all(over)
        if over:
            log.info("callbacks_overdue", runs=len(over), ended=ended)
        if len(over) == BATCH and ended:
            return 0.0
        async with self._pool.connection() as conn:
            upcoming = await callbacks.next_deadline(conn, now)
        if upcoming is None:
            return REST_SECS
        return min(max((upcoming - self._clock.now()).total_seconds(), 0.001), LONGEST_SECS)

    async def _end_all(self, over: Sequence[Live]) -> int:
        """End these, but for those that are being ended already; how many were."""
        for run_id in [run_id for run_id, task in self._late.items() if task.done()]:
            _result(self._late.pop(run_id))
        tasks = {live.run.id: asyncio.create_task(self._end(live)) for live in over if live.run.id not in self._late}
        if not tasks:
            return 0
        try:
            done, _ = await asyncio.wait(tasks.values(), timeout=PATIENCE_SECS)
        except asyncio.CancelledError:
            for task in tasks.values():
                task.cancel()
            raise
        self._late |= {run_id: task for run_id, task in tasks.items() if task not in done}
        return sum(map(_result, done))

    def _silent_since(self, now: datetime) -> datetime | None:
        """Before when the last heartbeat must have come; None when this is no time to judge by it."""
        since = self._connected_since
        if since is None or monotonic() - since < self._stale_after.total_seconds():
            return None
        if monotonic() - self._looked < self._beat_secs:
            return None
        self._looked = monotonic()
        return now - self._stale_after

    async def _end(self, live: Live) -> bool:
        try:
            async with self._pool.connection() as conn:
                target = await self._ender.target(conn, live)
            if target is None:
                return False
            return await self._ender.end(live, target, _ending(live), silent=live.over == "heartbeat") is not None
        except BadData as error:
            # What the database refuses of one is looked at again, and keeps no other from being judged.
            log.warning("callback_not_ended", run_id=str(live.run.id), error=f"{type(error).__name__}: {error}")
            return False


def _result(task: asyncio.Task[bool]) -> bool:
    """Whether the task has ended its attempt; a fault of one keeps no other from being judged."""
    error = task.exception()
    if error is not None:
        log.warning("callback_not_ended", error=f"{type(error).__name__}: {error}")
    return error is None and task.result()


def _ending(live: Live) -> Ending:
    if live.over == "heartbeat":
        return outcome.of_loss("the endpoint's heartbeats have stopped")._replace(http_status=live.http_status)
    return Ending(
        Outcome(OutcomeKind.TIMEOUT),
        http_status=live.http_status,
        error_class="timeout",
        error=f"timeout: accepted, but not completed within {live.run.timeout_secs} s",
    )
