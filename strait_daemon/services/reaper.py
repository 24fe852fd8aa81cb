"""Recovers what dead workers held, and ends runs whose time to live is over.

Its writes go through the same fenced writer as the workers': a worker that comes back late, or a second reaper, loses
or wins each run once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from strait_core.completion import has_consequences
from strait_core.job import JobSpec
from strait_core.retry import RetryStrategy, boosted, retry_delay
from strait_core.run import TRANSITIONS, Event, Outcome, OutcomeKind, Status, decide
from strait_core.store import jobs, runs, workers
from strait_core.store.history import LONG
from strait_core.store.pool import Pool
from strait_core.store.queue import Finish, Release, Retry
from strait_core.store.webhooks import new_hook
from strait_daemon.clock import Clock
from strait_daemon.writer import Move, TransitionWriter

BATCH: Final = 500
WORKERS_PER_TICK: Final = 20
_SLOW_SECS: Final = 1.0
REASON: Final = "the worker's heartbeat was lost"

log = structlog.get_logger(__name__)


class Reaper:
    """One pass: dead workers, then expired runs; each bounded in rows."""

    def __init__(
        self,
        pool: Pool,
        writer: TransitionWriter,
        clock: Clock,
        *,
        stale_after: timedelta,
        settle_secs: float,
        wake: Callable[[], None],
        changed: Callable[[Sequence[UUID]], None],
        predecessor: UUID | None = None,
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._clock = clock
        self._stale_after = stale_after
        self._settle_secs = settle_secs
        self._wake = wake
        self._changed = changed
        self._connected_since: float | None = None
        # A worker that is known to be dead, whatever its heartbeat says.
        self._predecessor = predecessor

    async def tick(self) -> float | None:
        """Reap once; 0 when more runs have expired than fit into one pass.

        After an error, or an answer so slow that heartbeats were held up as well, live workers get time to report
        before the next reap.
        """
        try:
            began = monotonic()
            more = await self._expire()
            slow = monotonic() - began > max(self._settle_secs / 2, _SLOW_SECS)
            if self._predecessor is not None:
                await self._recover(self._predecessor, self._clock.now())
                self._predecessor = None
            if self._connected_since is None or slow:
                self._connected_since = monotonic()
            elif monotonic() - self._connected_since >= self._settle_secs:
                await self._reap()
        except BaseException:
            self._connected_since = None
            raise
        return 0.0 if more else None

    def settle_again(self, more_secs: float) -> None:
        """Reap nobody before `more_secs` and the usual time to settle have passed."""
        self._connected_since = monotonic() + more_secs

    async def _expire(self) -> bool:
        """End a batch of runs whose time is over; whether there may be more."""
        now = self._clock.now()
        async with self._pool.connection() as conn:
            expired = await runs.expired_ids(conn, BATCH, now)
            if not expired:
                return False
            async with conn.transaction():
                ended = await runs.end_active(
                    conn,
                    expired,
                    event=Event.EXPIRE,
                    to=Status.EXPIRED,
                    allowed=(Status.DELAYED, Status.QUEUED),
                    now=now,
                    reason="its time to live was over before it started",
                )
        if ended:
            log.info("runs_expired", runs=len(ended))
            self._changed([run.id for run in ended])
        # Without any progress the rows are somebody else's for now.
        return len(expired) == BATCH and bool(ended)

    async def _reap(self) -> None:
        before = self._clock.now() - self._stale_after
        async with self._pool.connection() as conn:
            dead = await workers.stale_workers(conn, before, WORKERS_PER_TICK)
        for worker in dead:
            await self._recover(worker, before)

    async def _recover(self, worker: UUID, before: datetime) -> None:
        """Take everything from a dead worker, batch by batch, then forget it."""
        held = done = stuck = 0
        while True:
            async with self._pool.connection() as conn:
                rows = await runs.held_by_worker(conn, worker, BATCH)
                specs = await jobs.definitions(conn, {(row["job_id"], row["job_version"]) for row in rows})
            now = self._clock.now()
            moves = [lost_move(row, specs.get((row["job_id"], row["job_version"])), now) for row in rows]
            answers = await asyncio.gather(*map(self._writer.write, moves), return_exceptions=True)
            recovered = sum(answer is True for answer in answers)
            stuck += sum(isinstance(answer, Exception) for answer in answers)
            held, done = held + len(rows), done + recovered
            # A row that cannot be moved is left to the next pass; without any progress it ends this one.
            if len(rows) < BATCH or not recovered:
                break
        if not stuck:
            # What is still held would never be found again without its worker.
            async with self._pool.connection() as conn:
                await workers.remove_stale_worker(conn, worker, before)
        if held:
            log.warning("worker_reaped", worker_id=str(worker), held=held, recovered=done)
        self._wake()


def lost_move(row: dict[str, Any], spec: JobSpec | None, now: datetime) -> Move:
    """What becomes of a live claim whose worker is dead: given back if it had not started, else retried or crashed."""
    held: dict[str, Any] = {"id": row["id"], "attempt": row["attempt"], "lease": row["lease"], "lane": row["lane"]}
    if row["status"] == Status.DEQUEUED:
        return Release(**held, reason=REASON)
    event = decide(
        Outcome(OutcomeKind.LOST),
        attempt=row["attempt"],
        attempt_base=row["attempt_base"],
        max_attempts=row["max_attempts"],
    )
    told: dict[str, Any] = {"finished_at": now, "error_class": "lost", "error": f"lost: {REASON}", "keep": LONG}
    if event is not Event.RETRY:
        hook = new_hook(now) if spec is not None and spec.webhook_url is not None else None
        follow = spec is not None and has_consequences(spec, TRANSITIONS[Status.EXECUTING, event])
        return Finish(**held, **told, status=TRANSITIONS[Status.EXECUTING, event], hook=hook, follow=follow)
    failures = row["attempt"] - row["attempt_base"]
    return Retry(
        **held,
        **told,
        outcome=OutcomeKind.LOST.value,
        due_at=now + _delay(row["retry_strategy"], spec, failures),
        priority=boosted(row["priority"], spec.retry_priority_boost if spec else 0),
    )


def _delay(override: str | None, spec: JobSpec | None, failures: int) -> timedelta:
    strategy = override or (spec.retry_strategy if spec else RetryStrategy.EXPONENTIAL)
    custom = spec.retry_delays_secs if spec else ()
    return retry_delay(RetryStrategy(strategy), failures, custom_secs=custom, uniform=random.uniform)
