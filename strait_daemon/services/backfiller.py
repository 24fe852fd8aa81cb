"""Makes the runs of backfills, never more at once than each allows; any process goes on where another has stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from strait_core.backfill import TRIGGERED_BY
from strait_core.job import JobSpec
from strait_core.store import backfills, budgets, queue, workflow_runs, workflows
from strait_core.store.backfills import StoredBackfill
from strait_core.store.owners import Owner
from strait_core.store.pool import Conn, Pool
from strait_core.store.workflow_live import Brought
from strait_core.trigger import NewRun, new_run
from strait_core.wire import TriggerRequest
from strait_daemon.clock import Clock
from strait_daemon.services.ticks import new_flow, takes_runs

INTERVAL_SECS: Final = 1.0
# How soon a backfill that is under way is looked at again, and one whose job takes no runs just now.
PACE: Final = timedelta(milliseconds=100)
REFUSED_PAUSE: Final = timedelta(seconds=1)
MOST_LOOKS: Final = 20
# Runs stored in one transaction, and workflow runs started in one.
BATCH: Final = 200
FLOWS: Final = 20
FORGET_SECS: Final = 600.0
_NOTHING_SAID: Final = TriggerRequest()

log = structlog.get_logger(__name__)


class Backfiller:
    """The service. `changed` is told of runs made, `brought` of what has come of workflow runs.

    Backfills are kept for `kept_days` after their end, 0 = for ever.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        new_id: Callable[[], UUID],
        *,
        wake: Callable[[], None],
        changed: Callable[[Sequence[UUID]], None],
        brought: Callable[[Brought], None],
        kept_days: int,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._new_id = new_id
        self._wake = wake
        self._changed = changed
        self._brought = brought
        self._kept_days = kept_days
        self._forgot = float("-inf")

    async def tick(self) -> float | None:
        """Look at backfills that are due; seconds until the next look while one is under way."""
        looked = 0
        async with self._pool.connection() as conn:
            while looked < MOST_LOOKS and await self._look(conn):
                looked += 1
            await self._forget(conn)
        return PACE.total_seconds() if looked else None

    async def _look(self, conn: Conn) -> bool:
        """One backfill in one transaction; False when none is due."""
        now, brought = self._clock.now(), Brought()
        async with conn.transaction():
            due = await backfills.take_due(conn, now)
            if due is None:
                return False
            if due.owner is None or due.owner.spec.cron is None:
                await backfills.stop(conn, due.backfill.id, now)
                log.info("backfill_stopped", schedule=str(due.backfill.schedule_id), reason="the schedule is gone")
                return True
            made = await self._feed(conn, due.backfill, due.owner, now, brought)
        if brought.moved:
            self._brought(brought)
        elif made:
            self._changed(made)
            self._wake()
        return True

    async def _feed(self, conn: Conn, one: StoredBackfill, owner: Owner, now: datetime, brought: Brought) -> list[UUID]:
        """Count what has ended and fill up; the runs made. Nobody else makes runs of it meanwhile: it is held."""
        completed, unsuccessful = await backfills.settle_fires(conn, one.id)
        active = one.active - completed - unsuccessful
        room = min(one.max_concurrency - active, one.fires - one.made, FLOWS if owner.is_flow else BATCH)
        ticks = await backfills.next_ticks(conn, one.id, room) if room > 0 else []
        if ticks and await budgets.spent_until(conn, owner.spec.project_id, now) is not None:
            made: dict[datetime, UUID] = {}
        elif owner.is_flow:
            made = await self._start_flows(conn, owner, ticks, now, brought)
        else:
            made = await self._make_runs(conn, owner, ticks, now)
        if made:
            await backfills.note_made(conn, one, made, now)
        over = one.made + len(made) == one.fires and active + len(made) == 0
        pause = REFUSED_PAUSE if len(made) < len(ticks) else PACE
        await backfills.advance(
            conn,
            one.id,
            made=len(made),
            completed=completed,
            unsuccessful=unsuccessful,
            due_at=None if over else now + pause,
            ended_at=now if over else None,
        )
        return list(made.values())

    async def _make_runs(
        self, conn: Conn, owner: Owner, ticks: Sequence[datetime], now: datetime
    ) -> dict[datetime, UUID]:
        """The runs of a job for these ticks, as far as it takes any."""
        new = {at: self._new_run(owner, at, now) for at in ticks}
        stored = await queue.insert_runs(conn, list(new.values()), now) if new else set()
        return {at: run.id for at, run in new.items() if run.id in stored}

    def _new_run(self, owner: Owner, fire_at: datetime, now: datetime) -> NewRun:
        assert isinstance(owner.spec, JobSpec)
        run = new_run(
            _NOTHING_SAID,
            owner.spec,
            run_id=self._new_id(),
            job_id=owner.id,
            job_version=owner.version,
            now=now,
            triggered_by=TRIGGERED_BY,
        )
        return replace(run, fire_at=fire_at)

    async def _start_flows(
        self, conn: Conn, owner: Owner, ticks: Sequence[datetime], now: datetime, brought: Brought
    ) -> dict[datetime, UUID]:
        """The runs of a workflow for these ticks; none while it takes none."""
        workflow = await workflows.workflow_by_id(conn, owner.id) if ticks else None
        if workflow is None or not takes_runs(workflow):
            return {}
        made = {at: new_flow(self._new_id(), TRIGGERED_BY, at) for at in ticks}
        await workflow_runs.trigger_all(conn, [(workflow, run) for run in made.values()], now, brought)
        return {at: run.id for at, run in made.items()}

    async def _forget(self, conn: Conn) -> None:
        if not self._kept_days or monotonic() - self._forgot < FORGET_SECS:
            return
        before = self._clock.now() - timedelta(days=self._kept_days)
        while await backfills.forget(conn, before) == backfills.FORGET_ROWS:
            pass
        self._forgot = monotonic()
