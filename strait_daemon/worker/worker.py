"""The worker: claims runs, opens their attempts, gives them slots, keeps its heartbeat, lets go, drains."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final
from uuid import UUID

import structlog

from strait_core.run import Event, Status
from strait_core.store import endings, runs, workers
from strait_core.store.claims import Claim, Claimed
from strait_core.store.faults import Clash
from strait_core.store.pool import Pool
from strait_core.store.queue import Accept, Start
from strait_core.store.workers import WorkerRow
from strait_daemon.attempts.attempt import Attempt, Stop
from strait_daemon.attempts.catalog import Catalog
from strait_daemon.clock import Clock
from strait_daemon.ending import end
from strait_daemon.line import Line
from strait_daemon.telemetry import Metrics
from strait_daemon.worker.claimer import Claimer
from strait_daemon.worker.executor import Executor
from strait_daemon.worker.slots import Slots
from strait_daemon.writer import Move, TransitionWriter

# Without any signal the queue is looked at this often; signals only make it faster.
POLL_SECS: Final = 1.0
# An attempt opened ahead of its slot goes back when it has waited so long.
PATIENCE_SECS: Final = 1.0
_PAUSE_SECS: Final = 0.5
# After which an ending that the database refuses, whatever it says, is written again.
REFUSED_SECS: Final = 10.0
# A run that cannot be dispatched has so long to be ended.
ABORT_SECS: Final = 5.0
_LAST_WRITES_SECS: Final = 3.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPolicy:
    """A worker's identity (a UUID of this process, never a host's name), its slots, and times in seconds."""

    id: UUID
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
        pool: Pool,
        heart: Line,
        writers: tuple[TransitionWriter, TransitionWriter],
        claimer: Claimer,
        executor: Executor,
        catalog: Catalog,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._policy = policy
        self._pool = pool
        self._heart = heart  # a connection of its own: a busy API must not hold up the heartbeat
        self._starter, self._writer = writers
        self._claimer = claimer
        self._executor = executor
        self._catalog = catalog
        self._clock = clock
        self._metrics = metrics
        self._started_at = clock.now()
        # When the last heartbeat began, as a reaper counts. Before the first nothing is claimed: nobody would miss it.
        self._beaten = float("-inf")
        # Every run this process holds, from the claim until its last write is answered.
        self._live: dict[UUID, Attempt] = {}
        self._slots = Slots(policy.slots)
        self._wake = asyncio.Event()
        self._taken: set[UUID] | None = None  # who was ended from outside while a claim is under way; None: no claim is
        # Whether the last look at the queue was left out for want of room: only then is new room a reason to look.
        self._full = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.on_accepted: Callable[[], None] = lambda: None  # once an endpoint's acceptance has been written
        self._loop: asyncio.Task[None] | None = None
        self._aborting: dict[UUID, asyncio.Task[None]] = {}
        metrics.slots.set(policy.slots)
        metrics.in_flight.set_function(lambda: self._slots.busy)

    def start(self) -> None:
        """Begin to claim."""
        self._loop = asyncio.create_task(self._claim_for_ever(), name="worker-claims")

    def wake(self) -> None:
        """Runs may be ready: look at once."""
        self._claimer.nudge()
        self._wake.set()

    def freed(self, lanes: Collection[int]) -> bool:
        """In these lanes a limit has room again. Whether this worker has room too."""
        self._claimer.freed(lanes)
        return not self._draining and not self._cut_off() and self._slots.room() > 0

    def taken(self, run_ids: Sequence[UUID]) -> None:
        """These runs' live attempts were ended from outside: close their requests."""
        for run_id in run_ids:
            attempt = self._live.get(run_id)
            if attempt is not None:
                attempt.end(Stop.TAKEN)
        if self._taken is not None:
            self._taken.update(run_ids)

    # -- claims ---------------------------------------------------------------------------------------------------

    async def _claim_for_ever(self) -> None:
        while True:
            try:
                more = await self._claim_once()
            except Clash:
                continue
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever the database does
                log.warning("claim_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(_PAUSE_SECS)
                continue
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._claimer.patience(POLL_SECS * random.uniform(0.9, 1.1))):  # noqa: S311 - jitter
                        await self._wake.wait()
            self._wake.clear()

    async def _claim_once(self) -> bool:
        """Claim what there is room for; whether to look again at once."""
        room = 0 if self._draining or self._cut_off() else self._slots.room()
        self._full = room == 0
        if self._full:
            return False
        beaten, taken = self._beaten, set[UUID]()
        self._taken = taken
        try:
            claim = await self._claimer.claim(room, self._known)
        finally:
            self._taken = None
        # So long after the last heartbeat before it a reaper may have acted on what it started.
        is_late = monotonic() - beaten > self._policy.stale_secs - self._policy.heartbeat_secs
        self._open(claim, taken, is_late=is_late)
        return self._claimer.again(claim, room)

    def _open(self, claim: Claim, taken: Container[UUID], *, is_late: bool) -> None:
        """Write the starts of what was claimed, unless they are written; once its start has committed it is open."""
        now = self._clock.now()
        attempts = []
        for run in claim.runs:
            target = self._catalog.get(run.job_id, run.job_version)
            if target is None:
                self._aborting[run.id] = asyncio.create_task(self._abort(run))
                continue
            attempt = self._live[run.id] = Attempt(run, target, now)
            attempt.checkpoint = self._claimer.checkpoints.get(run.id)
            attempts.append(attempt)
            if run.id in taken:
                attempt.end(Stop.TAKEN)
            elif is_late and claim.started is not None:
                attempt.end(Stop.RELEASED)
        if not attempts:
            return
        self._idle.clear()
        self._slots.opening += len(attempts)
        if claim.started is not None:
            self._opened(attempts, [attempt.run.id in claim.started for attempt in attempts])
        else:
            starts = [Start(a.run.id, a.run.attempt, a.run.lease) for a in attempts]
            self._starter.post(starts, partial(self._opened, attempts))

    def _opened(self, attempts: list[Attempt], answers: Sequence[bool | Exception] | None) -> None:
        """The starts were answered: who is still held waits for a slot, who is not was taken away."""
        self._slots.opening -= len(attempts)
        now = monotonic()
        for attempt, answer in zip(attempts, answers or [False] * len(attempts), strict=True):
            if answer is True:
                attempt.open, attempt.opened = True, now
                self._slots.waiting.append(attempt)
            else:
                if isinstance(answer, Exception):
                    log.error("start_refused", run_id=str(attempt.run.id), error=f"{type(answer).__name__}: {answer}")
                    self._claimer.doubt()
                self._forget(attempt)
        if self._draining:
            self._release(self._slots.empty())
        self._fill()

    # -- attempts -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give free slots to those who wait; look for more when there is room."""
        while (attempt := self._slots.next()) is not None:
            attempt.task = asyncio.create_task(self._see_through(attempt))
        if self._full and self._slots.room():
            self._wake.set()

    async def _see_through(self, attempt: Attempt) -> None:
        """An attempt that has a slot, until its ending is decided; the slot is free before the ending is written."""
        move: Move | None = None
        try:
            move = await self._executor.execute(attempt)
        except Exception as error:
            log.exception("attempt_failed", run_id=str(attempt.run.id))
            move = self._executor.failed(attempt, error)
        finally:
            self._slots.free()
            self._close(attempt, move)
            self._fill()

    def _close(self, attempt: Attempt, move: Move | None) -> None:
        attempt.open = False
        if move is None:
            self._forget(attempt)
        elif isinstance(move, Accept):
            self._writer.post((move,), partial(self._accepted, attempt))
        else:
            self._writer.post((move,), partial(self._closed, attempt))

    def _accepted(self, attempt: Attempt, answers: Sequence[bool | Exception] | None) -> None:
        """The endpoint will end it from now on; who keeps the time may have to wake earlier for it."""
        self._closed(attempt, answers)
        self.on_accepted()

    def _closed(self, attempt: Attempt, answers: Sequence[bool | Exception] | None, *, last_word: bool = False) -> None:
        """The last write was answered; an ending that was refused is followed by one that says so (`last_word`)."""
        answer = answers[0] if answers else None
        if answer is False:
            self._metrics.moves_lost.inc()
            log.info("attempt_superseded", run_id=str(attempt.run.id), attempt=attempt.number)
        elif isinstance(answer, Exception):
            log.error("ending_refused", run_id=str(attempt.run.id), error=f"{type(answer).__name__}: {answer}")
            if not (last_word and self._draining):
                move = self._executor.failed(attempt, answer)
                again = partial(self._writer.post, (move,), partial(self._closed, attempt, last_word=True))
                if not last_word:
                    again()
                else:
                    # It is said again and again: nobody else would ever end what a live worker holds.
                    asyncio.get_running_loop().call_later(REFUSED_SECS, again)
                return
        self._forget(attempt)

    def _forget(self, attempt: Attempt) -> None:
        if self._live.get(attempt.run.id) is attempt:
            del self._live[attempt.run.id]
        if not self._live:
            self._idle.set()

    def _release(self, attempts: Sequence[Attempt]) -> None:
        """Let go of attempts that are open but have no slot yet."""
        for attempt in attempts:
            attempt.end(Stop.RELEASED)
            self._slots.busy += 1
            attempt.task = asyncio.create_task(self._see_through(attempt))

    async def _abort(self, run: Claimed) -> None:
        """A run that cannot even be dispatched: our own fault, said so at once; should that fail, it is given back."""
        try:
            async with asyncio.timeout(ABORT_SECS), self._pool.connection() as conn, conn.transaction():
                await endings.end_active(
                    conn,
                    [run.id],
                    event=Event.SYSTEM_FAIL,
                    to=Status.SYSTEM_FAILED,
                    allowed=(Status.DEQUEUED, Status.EXECUTING),
                    now=self._clock.now(),
                    error=("system", f"system: version {run.job_version} of the job is missing"),
                    lease=run.lease,
                )
        except Exception as error:  # noqa: BLE001 - nobody else knows that this worker has it
            log.warning("run_not_aborted", run_id=str(run.id), error=f"{type(error).__name__}: {error}")
            self._claimer.doubt()
        finally:
            del self._aborting[run.id]

    def _known(self) -> Collection[UUID]:
        """The runs of which this worker knows at this moment that it has them."""
        return {*self._live, *self._aborting}

    # -- heartbeat ------------------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """One heartbeat: report, hear of a drain, and let go of what is no longer held."""
        began, row = monotonic(), self._row()
        held = [(a.run.id, a.run.lease) for a in self._live.values() if a.open]
        try:
            conn = await self._heart.conn()
            asked_to_drain = await workers.heartbeat(conn, row)
            still = await runs.still_held(conn, held) if held else set()
        except BaseException:
            await self._heart.drop()
            raise
        if self._cut_off():
            self._wake.set()
        self._beaten = began
        if asked_to_drain and not self._draining:
            log.info("worker_draining", worker_id=str(self._policy.id))
            self._draining = True
        for run_id, lease in held:
            attempt = self._live.get(run_id)
            if run_id not in still and attempt is not None and attempt.run.lease == lease and attempt.open:
                attempt.end(Stop.TAKEN)

    async def watch_heart(self) -> None:
        """Close every request when no heartbeat has been committed for so long that a reaper may soon act."""
        self._release(self._slots.overdue(PATIENCE_SECS))
        if not self._cut_off():
            return
        held = [attempt for attempt in self._live.values() if attempt.stop is None]
        if held:
            log.error("worker_cut_off", silent_secs=round(self._silence(), 1), attempts=len(held))
        for attempt in held:
            # Of an attempt that has no task no byte has left: it need not count.
            attempt.end(Stop.RELEASED if attempt.task is None else Stop.CUT_OFF)

    def _silence(self) -> float:
        return monotonic() - self._beaten

    def _cut_off(self) -> bool:
        """Whether a reaper may soon take this worker for dead: it must neither hold nor claim anything then."""
        return self._silence() > self._policy.stale_secs - self._policy.heartbeat_secs

    def _row(self) -> WorkerRow:
        return WorkerRow(
            id=self._policy.id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            mode=self._policy.mode,
            version=self._policy.version,
            slots=self._policy.slots,
            in_flight=self._slots.busy,
            draining=self._draining,
            started_at=self._started_at,
            heartbeat_at=self._clock.now(),
        )

    # -- the end --------------------------------------------------------------------------------------------------

    async def drain(self, within: float, now: asyncio.Event) -> None:
        """Stop claiming, wait `within` seconds (or until `now` is set) for what is under way, release the rest."""
        self._draining = True
        # Beside the wait: a claim whose answer does not come is given up after seconds of its own.
        stopping = asyncio.create_task(self._stop_claiming())
        self._release(self._slots.empty())
        waits = [asyncio.ensure_future(self._idle.wait()), asyncio.ensure_future(now.wait())]
        await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for attempt in list(self._live.values()):
            attempt.end(Stop.RELEASED)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITES_SECS):
                await self._idle.wait()
        await stopping

    async def _stop_claiming(self) -> None:
        if self._loop is not None:
            await end(self._loop, within=_LAST_WRITES_SECS)
            await asyncio.gather(*self._aborting.values(), return_exceptions=True)
        try:
            await self._claimer.close(self._known)
        except Exception as error:  # noqa: BLE001 - the reaper finds what cannot be given back now
            log.warning("claims_not_given_back", error=f"{type(error).__name__}: {error}")

    def holds_nothing(self) -> bool:
        """Whether the database says of no run that this worker has it; asked before the last writes are given up."""
        return not self._live and not self._claimer.doubtful

    async def leave(self, *, held: bool) -> None:
        """Take this worker off the list, unless something was still held: then the reaper has to see it die."""
        try:
            if not held:
                async with asyncio.timeout(_LAST_WRITES_SECS):
                    await workers.remove_worker(await self._heart.conn(), self._policy.id)
        except Exception as error:  # noqa: BLE001 - the reaper takes it off
            log.warning("worker_not_removed", error=f"{type(error).__name__}: {error}")
        finally:
            await self._heart.drop()
