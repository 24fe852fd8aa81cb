"""The worker: claims runs into free slots, keeps its heartbeat, lets go of what was taken from it, drains."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

import structlog

from strait_core.errors import UnavailableError
from strait_core.run import Event, Status
from strait_core.store import queue, runs, workers
from strait_core.store.faults import Broken, Clash
from strait_core.store.pool import Pool
from strait_core.store.queue import Claim, Claimed, Release
from strait_core.store.workers import WorkerRow
from strait_daemon.clock import Clock
from strait_daemon.line import Line
from strait_daemon.telemetry import Metrics
from strait_daemon.worker.catalog import Catalog
from strait_daemon.worker.executor import Attempt, Executor, Stop
from strait_daemon.worker.marks import Marks
from strait_daemon.writer import TransitionWriter

CLAIM_MOST: Final = 500
CLAIM_SECS: Final = 30.0
# Without any signal the queue is looked at this often; signals only make it faster.
POLL_SECS: Final = 1.0
MOVE_BATCH: Final = 5_000
_PAUSE_SECS: Final = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPolicy:
    """A worker's limits: attempts at once, and times in seconds."""

    mode: str
    version: str
    slots: int
    heartbeat_secs: float
    stale_secs: float


class Worker:
    """One process's worker."""

    def __init__(
        self,
        policy: WorkerPolicy,
        *,
        line: Line,
        pool: Pool,
        writer: TransitionWriter,
        executor: Executor,
        catalog: Catalog,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.id = uuid4()
        self._policy = policy
        self._line = line
        self._pool = pool
        self._writer = writer
        self._executor = executor
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics
        self._started_at = clock.now()
        self._beaten = monotonic()
        self._live: dict[UUID, Attempt] = {}
        self._busy = 0
        self._marks = Marks()
        self._lanes: Sequence[int] = ()
        self._doubtful = False
        self._wake = asyncio.Event()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.slots.set(policy.slots)

    def start(self) -> None:
        """Begin to claim."""
        self._loop = asyncio.create_task(self._claim_for_ever(), name="worker-claims")

    def wake(self) -> None:
        """Runs may be ready: look at once."""
        self._wake.set()

    def taken(self, run_ids: Sequence[UUID]) -> None:
        """These runs' live attempts were ended from outside: close their requests."""
        for run_id in run_ids:
            attempt = self._live.get(run_id)
            if attempt is not None:
                attempt.end(Stop.TAKEN)

    async def beat(self) -> None:
        """One heartbeat: report, hear of a drain, and let go of what is no longer held."""
        row = self._row()
        held = [(a.run.id, a.run.lease) for a in self._live.values()]
        async with self._pool.connection() as conn:
            asked_to_drain = await workers.heartbeat(conn, row)
            still = await runs.still_held(conn, held) if held else set()
        self._beaten = monotonic()
        if asked_to_drain and not self._draining:
            log.info("worker_draining", worker_id=str(self.id))
            self._draining = True
        for run_id, lease in held:
            attempt = self._live.get(run_id)
            if run_id not in still and attempt is not None and attempt.run.lease == lease and attempt.started:
                attempt.end(Stop.TAKEN)

    async def watch_heart(self) -> None:
        """Close every request when no heartbeat has been committed for so long that a reaper may soon act."""
        silence = monotonic() - self._beaten
        if silence > self._policy.stale_secs - self._policy.heartbeat_secs and self._live:
            log.error("worker_cut_off", worker_id=str(self.id), silent_secs=round(silence, 1), attempts=len(self._live))
            for attempt in list(self._live.values()):
                attempt.end(Stop.CUT_OFF)

    async def drain(self, within: float, now: asyncio.Event) -> None:
        """Stop claiming, wait `within` seconds (or until `now` is set) for what is under way, release the rest."""
        self._draining = True
        await self._stop_claiming()
        for attempt in list(self._live.values()):
            if not attempt.started:
                attempt.stop = attempt.stop or Stop.RELEASED
        waits = [asyncio.ensure_future(self._idle.wait()), asyncio.ensure_future(now.wait())]
        await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for attempt in list(self._live.values()):
            attempt.end(Stop.RELEASED)
        with suppress(TimeoutError):
            async with asyncio.timeout(within + 5):
                await self._idle.wait()

    async def leave(self) -> None:
        """Take this worker off the list, once nothing is held any more."""
        async with self._pool.connection() as conn:
            await workers.remove_worker(conn, self.id)
        await self._line.drop()

    def _row(self) -> WorkerRow:
        return WorkerRow(
            id=self.id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            mode=self._policy.mode,
            version=self._policy.version,
            slots=self._policy.slots,
            in_flight=self._busy,
            draining=self._draining,
            started_at=self._started_at,
            heartbeat_at=self._clock.now(),
        )

    async def _stop_claiming(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        if self._doubtful:
            await self._line.drop()
            with suppress(Broken, UnavailableError, TimeoutError):
                async with asyncio.timeout(CLAIM_SECS):
                    await self._recover_unheard()

    async def _claim_for_ever(self) -> None:
        while True:
            try:
                more = await self._claim_once()
            except Clash:
                continue
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever the database does
                self._doubtful = True
                await self._line.drop()
                log.warning("claim_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(_PAUSE_SECS)
                continue
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECS * random.uniform(0.9, 1.1)):  # noqa: S311 - jitter
                        await self._wake.wait()
            self._wake.clear()

    async def _claim_once(self) -> bool:
        """Claim into the free slots; whether to look again at once."""
        free = min(self._policy.slots - self._busy, CLAIM_MOST)
        if free <= 0 or self._draining:
            return False
        if self._doubtful:
            await self._recover_unheard()
        async with asyncio.timeout(CLAIM_SECS):
            claim = await self._claim(free)
        return bool(claim.moved) or len(claim.runs) == free

    async def _claim(self, free: int) -> Claim:
        conn = await self._line.conn()
        if self._marks.full_range_due():
            self._lanes = await queue.open_lanes(conn)
        # From here until the answer is here, a lost connection may leave claims that nobody knows of.
        self._doubtful = True
        claim = await queue.claim(conn, self.id, free, self._marks.lows(), self._lanes, self._clock.now())
        await self._catalog.learn(conn, {(run.job_id, run.job_version) for run in claim.runs})
        self._take(claim.runs)
        self._doubtful = False
        self._marks.claimed(claim.runs)
        if claim.moved:
            await queue.move_gated(conn, MOVE_BATCH)
        return claim

    def _take(self, claimed: Sequence[Claimed]) -> None:
        now = self._clock.now()
        for run in claimed:
            target = self._catalog.get(run.job_id, run.job_version)
            if target is None:
                self._keep(asyncio.create_task(self._abort(run)))
                continue
            attempt = Attempt(run, target, now)
            self._live[run.id] = attempt
            self._busy += 1
            attempt.task = asyncio.create_task(self._see_through(attempt))
        if self._live:
            self._idle.clear()
            self._metrics.in_flight.set(self._busy)

    async def _see_through(self, attempt: Attempt) -> None:
        freed = False

        def free_slot() -> None:
            nonlocal freed
            freed = True
            self._busy -= 1
            self._metrics.in_flight.set(self._busy)
            self._wake.set()

        try:
            await self._executor.execute(attempt, free_slot)
        except Exception:
            log.exception("attempt_lost", run_id=str(attempt.run.id))
        finally:
            if not freed:
                free_slot()
            if self._live.get(attempt.run.id) is attempt:
                del self._live[attempt.run.id]
            if not self._live:
                self._idle.set()

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold a reference to a task until it is done, or it might be collected."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _abort(self, run: Claimed) -> None:
        """A run that cannot even be dispatched: our own fault, said so at once."""
        async with self._pool.connection() as conn, conn.transaction():
            await runs.end_active(
                conn,
                [run.id],
                event=Event.SYSTEM_FAIL,
                to=Status.SYSTEM_FAILED,
                allowed=(Status.DEQUEUED,),
                now=self._clock.now(),
                error=("system", f"system: version {run.job_version} of the job is missing"),
                lease=run.lease,
            )

    async def _recover_unheard(self) -> None:
        """Give back claims that had committed before a lost connection could tell of them."""
        conn = await self._line.conn()
        held = await runs.held_by_worker(conn, self.id, MOVE_BATCH)
        unknown = [row for row in held if row["id"] not in self._live]
        moves = [Release(row["id"], row["attempt"], row["lease"], "claim was not heard") for row in unknown]
        if moves:
            await asyncio.gather(*map(self._writer.write, moves))
            log.warning("claims_recovered", runs=len(moves))
        self._doubtful = False
