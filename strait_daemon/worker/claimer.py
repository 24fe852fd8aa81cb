"""Claims from the ready order on one connection, and finds again what a lost connection claimed unheard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog

from strait_core.run import Status
from strait_core.store import claims, runs, sdk
from strait_core.store.claims import Claim
from strait_core.store.pool import Conn, end_session
from strait_core.store.queue import Release, Retry, released
from strait_daemon.announcer import Announcer
from strait_daemon.attempts.catalog import Catalog
from strait_daemon.clock import Clock
from strait_daemon.line import Line
from strait_daemon.worker.lanes import Lanes
from strait_daemon.worker.marks import Marks
from strait_daemon.writer import TransitionWriter

CLAIM_SECS: Final = 30.0
_CLOSE_SECS: Final = 5.0
# At most so many entries of gated jobs leave lane 0 at once, and claims are recovered in such batches.
BATCH: Final = 5_000

log = structlog.get_logger(__name__)


class Claimer:
    """One worker's claims, with their starts."""

    def __init__(
        self,
        worker_id: UUID,
        line: Line,
        catalog: Catalog,
        writer: TransitionWriter,
        clock: Clock,
        announcer: Announcer,
    ) -> None:
        self._worker_id = worker_id
        self._announcer = announcer
        self._line = line
        self._catalog = catalog
        self._writer = writer
        self._clock = clock
        self._marks = Marks()
        self._lanes = Lanes()
        # When the next closed lane that holds entries opens by itself.
        self._opens_at: datetime | None = None
        # Whether a claim may have committed whose answer was lost, or is under way, and in which session.
        self._unheard = False
        self._session: int | None = None
        # Whether the next claim leaves the starts to the writer, which finds the one that cannot be written.
        self._apart = False
        # Whether somebody else has come to doubt, which he may while a claim is under way.
        self._doubted = False
        # Whether the last claim met entries of gated jobs in lane 0: there may be more.
        self._met_gated = False
        # Once runs are parked that return by themselves.
        self.on_parked: Callable[[], None] = lambda: None
        # The short checkpoints of the runs that were claimed last and had attempts before.
        self.checkpoints: dict[UUID, str] = {}

    @property
    def doubtful(self) -> bool:
        """Whether runs may be claimed that nobody here knows of."""
        return self._unheard or self._doubted

    def doubt(self) -> None:
        """Something that was claimed is not known any more: look for it before the next claim."""
        self._doubted = True

    async def claim(self, most: int, known: Callable[[], Collection[UUID]]) -> Claim:
        """Claim at most `most` runs, whose targets are in the catalog then; `known` says what this worker holds.

        After an error the connection is dropped, and the next call first gives back what was claimed unheard.
        """
        try:
            async with asyncio.timeout(CLAIM_SECS):
                if self.doubtful:
                    await self._give_back(known)
                return await self._claim(most)
        except BaseException:
            self._apart = True
            await self._line.drop()
            raise

    async def close(self, known: Callable[[], Collection[UUID]]) -> None:
        """Claim no more: give back what was claimed unheard, and close the connection."""
        try:
            if self.doubtful:
                async with asyncio.timeout(_CLOSE_SECS):
                    await self._give_back(known)
        finally:
            await self._line.drop()

    async def _claim(self, most: int) -> Claim:
        conn = await self._line.conn()
        self._marks.begin()
        if self._opens_at is not None and self._clock.now() >= self._opens_at:
            self._opens_at = None
            self._lanes.nudge()
        if self._lanes.look_due():
            await self._lanes.look(partial(self._find, conn))
        if self._met_gated:
            await claims.move_gated(conn, BATCH)
            self._met_gated = False
        lanes, now = self._lanes.best(most), self._clock.now()
        starting = None if self._line.pooled or self._apart else self._clock.now
        self._unheard = True
        self._session = conn.info.backend_pid if starting is not None else None
        claim = await claims.claim(conn, self._worker_id, most, self._marks.lows(), lanes, now, starting=starting)
        self._apart = False
        if claim.started is not None:
            self._announcer.moved(claim.started)
            # Canceled in between, or claimed in another session than ours, which only a wrong setting could do.
            self._doubted = self._doubted or len(claim.started) < len(claim.runs)
        await self._catalog.learn(conn, {(run.job_id, run.job_version) for run in claim.runs})
        again = [run.id for run in claim.runs if run.attempt]
        self.checkpoints = await sdk.checkpoints(conn, again) if again else {}
        self._unheard, self._session = False, None
        self._marks.claimed(claim.runs)
        self._met_gated = claim.moved > 0
        self._lanes.seen(lanes, {run.lane for run in claim.runs}, gated=claim.gated)
        if claim.skipped or len({run.lane for run in claim.runs} - {0}) < len(lanes):
            # Who held them may have room for less than they give; and what has closed may open again by itself.
            self._lanes.nudge()
        if claim.returns_at is not None:
            self.on_parked()
        return claim

    def again(self, claim: Claim, most: int) -> bool:
        """Whether another claim right after this one may find more."""
        return claim.moved > 0 or claim.taken == most or self._lanes.best(1) != [] or self._lanes.look_due()

    async def _find(self, conn: Conn) -> Sequence[int]:
        look = await claims.look_at_lanes(conn, self._clock.now())
        self._opens_at = look.opens_at
        return look.lanes

    def nudge(self) -> None:
        """Something has come or gone: what was closed may be open."""
        self._lanes.nudge()

    def freed(self, lanes: Collection[int]) -> None:
        """In these lanes a limit has room again."""
        self._lanes.freed(lanes)

    def patience(self, most: float) -> float:
        """For how many seconds (at most so many) there is no reason to claim again unasked."""
        if self._opens_at is not None:
            left = (self._opens_at - self._clock.now()) / timedelta(seconds=1)
            if left <= 0:
                self._opens_at = None
                self._lanes.nudge()
            else:
                # The millisecond that an early timer would cost a second look.
                most = min(most, left + 0.001)
        return min(most, self._lanes.patience())

    async def _give_back(self, known: Callable[[], Collection[UUID]]) -> None:
        conn = await self._line.conn()
        self._unheard, self._doubted = True, False
        if self._session is not None:
            # What it was asked may be under way still, and commit after a look at what it has done.
            await end_session(conn, self._session)
            self._session = None
        # What is known is asked for before the database is: who goes meanwhile is no stray.
        while moves := await self._strays(conn, known()):
            log.warning("claims_given_back", runs=len(moves))
            # Whoever was not given back has moved meanwhile: it takes another look to know where.
            if all(await asyncio.gather(*map(self._writer.write, moves))):
                break
        self._unheard = False

    async def _strays(self, conn: Conn, known: Collection[UUID]) -> list[Release | Retry]:
        """The moves that give back what this worker holds, by the database, and nobody here knows of."""
        # What is known fills no place that an unknown one needs.
        held = await runs.held_by_worker(conn, self._worker_id, len(known) + BATCH)
        return [self._release(row) for row in held if row["id"] not in known]

    def _release(self, row: Mapping[str, Any]) -> Release | Retry:
        """The move that gives back a run; no byte has left, so no attempt is spent."""
        run_id, attempt, lease, lane = row["id"], row["attempt"], row["lease"], row["lane"]
        if row["status"] == Status.DEQUEUED:
            return Release(run_id, attempt, lease, "the claim was not heard", lane)
        return released(run_id, attempt, lease, row["priority"], lane, self._clock.now())
