"""Recovers what dead workers held, and ends runs whose time to live is over.

Its writes go through the same fenced writer as the workers': a worker that comes back late, or a second reaper, loses
or wins each run once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from strait_core.completion import with_consequences
from strait_core.job import JobSpec
from strait_core.retry import RetryStrategy, boosted, retry_delay
from strait_core.run import TRANSITIONS, Event, Outcome, OutcomeKind, Status, decide
from strait_core.store import endings, jobs, runs, workers
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
# Looking for holders that are not on the list takes at most this part of the time.
LOOK_SHARE: Final = 0.01
# How long a pass waits for its moves. One may take longer: it ends the step of a workflow run that somebody holds.
PATIENCE_SECS: Final = 5.0

log = structlog.get_logger(__name__)


class Suspects:
    """Workers whose heartbeats do not tell how long they have been silent, and since when each has been seen so.

    One that lives reports within that time, and is no suspect any more.
    """

    def __init__(self) -> None:
        self._since: dict[tuple[UUID, datetime | None], float] = {}

    def clear(self) -> None:
        """Begin anew: nobody could report."""
        self._since.clear()

    def dead(self, found: Collection[tuple[UUID, datetime | None]], after_secs: float) -> dict[UUID, datetime | None]:
        """Those among `found` that have not changed for so long, and the heartbeat that they left."""
        now = monotonic()
        self._since = {one: self._since.get(one, now) for one in found}
        return dict(one for one, since in self._since.items() if now - since >= after_secs)


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
        self._suspects = Suspects()
        self._look_at = 0.0
        # Runs whose moves have not been answered yet.
        self._unanswered: set[UUID] = set()
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
            self.cut_off()
            raise
        return 0.0 if more else None

    def cut_off(self) -> None:
        """Heartbeats could not be written just now: give everybody the time to report."""
        self._connected_since = None
        self._suspects.clear()

    def settle_again(self, more_secs: float) -> None:
        """Reap nobody before `more_secs` and the usual time to settle have passed."""
        self._connected_since = monotonic() + more_secs
        self._suspects.clear()

    async def _expire(self) -> bool:
        """End a batch of runs whose time is over; whether there may be more."""
        now = self._clock.now()
        async with self._pool.connection() as conn:
            expired = await runs.expired_ids(conn, BATCH, now)
            if not expired:
                return False
            async with conn.transaction():
                # Steps of workflow runs that somebody holds are left to the next pass: no other run waits for him.
                tree, free = await endings.hold_free_trees(conn, expired, now)
                ended = await endings.end_active(
                    conn,
                    free,
                    event=Event.EXPIRE,
                    to=Status.EXPIRED,
                    allowed=(Status.DELAYED, Status.QUEUED),
                    now=now,
                    reason="its time to live was over before it started",
                    tree=tree,
                )
                if tree is not None:
                    await tree.settle()
        if ended:
            log.info("runs_expired", runs=len(ended))
            self._changed([run.id for run in ended] + sorted(tree.brought.moved if tree is not None else ()))
            # Workflow runs may have gone on.
            self._wake()
        # Without any progress the rows are somebody else's for now.
        return len(expired) == BATCH and bool(ended)

    async def _reap(self) -> None:
        before = self._clock.now() - self._stale_after
        async with self._pool.connection() as conn:
            dead = await workers.stale_workers(conn, before, WORKERS_PER_TICK)
        for worker in dead:
            await self._recover(worker, before)
        for worker, seen in (await self._silent()).items():
            await self._recover(worker, before, seen)

    async def _silent(self) -> dict[UUID, datetime | None]:
        """Workers that are dead though no heartbeat says so, and the heartbeat of each as it was seen all the time."""
        if monotonic() < self._look_at:
            return {}
        async with self._pool.connection() as conn:
            began = monotonic()
            found = await workers.silent_holders(conn, self._clock.now() + self._stale_after, WORKERS_PER_TICK)
            self._look_at = began + (monotonic() - began) / LOOK_SHARE
        return self._suspects.dead(found, self._stale_after.total_seconds())

    async def _recover(self, worker: UUID, before: datetime, seen: datetime | None = None) -> None:
        """Take everything from a dead worker, batch by batch, then forget it."""
        held = done = stuck = 0
        while True:
            async with self._pool.connection() as conn:
                rows = await runs.held_by_worker(conn, worker, BATCH)
                specs = await jobs.definitions(conn, {(row["job_id"], row["job_version"]) for row in rows})
            now = self._clock.now()
            moves = [lost_move(row, specs.get((row["job_id"], row["job_version"])), now) for row in rows]
            answers = await self._answers(moves)
            recovered = sum(answer is True for answer in answers)
            stuck += sum(not isinstance(answer, bool) for answer in answers)
            held, done = held + len(rows), done + recovered
            # A row that cannot be moved is left to the next pass; without any progress it ends this one.
            if len(rows) < BATCH or not recovered:
                break
        if not stuck:
            # What is still held would never be found again without its worker.
            async with self._pool.connection() as conn:
                await workers.remove_stale_worker(conn, worker, before, seen)
        if held:
            log.warning("worker_reaped", worker_id=str(worker), held=held, recovered=done)
        self._wake()

    async def _answers(self, moves: Sequence[Move]) -> list[bool | BaseException | None]:
        """What became of each move: True when it happened, None while nobody knows."""
        sent = {move.id: self._writer.write(move) for move in moves if move.id not in self._unanswered}
        if not sent:
            return [None] * len(moves)
        for run_id, answer in sent.items():
            self._unanswered.add(run_id)
            answer.add_done_callback(partial(self._answered, run_id))
        await asyncio.wait(sent.values(), timeout=PATIENCE_SECS)
        return [_known(sent.get(move.id)) for move in moves]

    def _answered(self, run_id: UUID, answer: asyncio.Future[bool]) -> None:
        self._unanswered.discard(run_id)
        # Asked for here, so that nobody misses a question that no pass waits for any more.
        if not answer.cancelled():
            answer.exception()


def _known(answer: asyncio.Future[bool] | None) -> bool | BaseException | None:
    """The answer to a move; None when there is none."""
    if answer is None or not answer.done() or answer.cancelled():
        return None
    return answer.exception() or answer.result()


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
        status = TRANSITIONS[Status.EXECUTING, event]
        follow = spec is not None and status in with_consequences(spec)
        step = {name: row[name] for name in ("workflow_run_id", "step_index")}
        return Finish(**held, **told, **step, status=status, hook=hook, follow=follow)
    return Retry(
        **held,
        **told,
        outcome=OutcomeKind.LOST.value,
        due_at=now + _delay(row, spec),
        priority=boosted(row["priority"], spec.retry_priority_boost if spec else 0),
    )


def _delay(row: dict[str, Any], spec: JobSpec | None) -> timedelta:
    strategy = row["retry_strategy"] or (spec.retry_strategy if spec else RetryStrategy.EXPONENTIAL)
    return retry_delay(
        RetryStrategy(strategy),
        row["attempt"] - row["attempt_base"],
        custom_secs=spec.retry_delays_secs if spec else (),
        initial_secs=row["retry_initial_secs"],
        most_secs=row["retry_max_secs"],
        uniform=random.uniform,
    )
