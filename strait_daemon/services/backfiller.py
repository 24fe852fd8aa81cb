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
from strait_core.store import backfills, queue
from strait_core.store.backfills import Due
from strait_core.store.pool import Conn, Pool
from strait_core.trigger import NewRun, new_run
from strait_core.wire import TriggerRequest
from strait_daemon.clock import Clock

INTERVAL_SECS: Final = 1.0
# How soon a backfill that is under way is looked at again, and one whose job takes no runs just now.
PACE: Final = timedelta(milliseconds=100)
REFUSED_PAUSE: Final = timedelta(seconds=1)
MOST_LOOKS: Final = 20
# Runs stored in one transaction.
BATCH: Final = 200
FORGET_SECS: Final = 600.0
_NOTHING_SAID: Final = TriggerRequest()

log = structlog.get_logger(__name__)


class Backfiller:
    """The service. `changed` is told of runs made; backfills are kept for `kept_days` after their end, 0 = for ever."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        new_id: Callable[[], UUID],
        *,
        wake: Callable[[], None],
        changed: Callable[[Sequence[UUID]], None],
        kept_days: int,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._new_id = new_id
        self._wake = wake
        self._changed = changed
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
        now = self._clock.now()
        async with conn.transaction():
            due = await backfills.take_due(conn, now)
            if due is None:
                return False
            if due.spec is None or due.spec.cron is None:
                await backfills.stop(conn, due.backfill.id, now)
                log.info("backfill_stopped", schedule=str(due.backfill.schedule_id), reason="the schedule is gone")
                return True
            made = await self._feed(conn, due, now)
        if made:
            self._changed(made)
            self._wake()
        return True

    async def _feed(self, conn: Conn, due: Due, now: datetime) -> list[UUID]:
        """Count what has ended and fill up; the runs made. Nobody else makes runs of it meanwhile: it is held."""
        one = due.backfill
        completed, unsuccessful = await backfills.settle_fires(conn, one.id)
        active = one.active - completed - unsuccessful
        room = min(one.max_concurrency - active, one.fires - one.made, BATCH)
        ticks = await backfills.next_ticks(conn, one.id, room) if room > 0 else []
        new = {at: self._new_run(due, at, now) for at in ticks}
        stored = await queue.insert_runs(conn, list(new.values()), now) if new else set()
        made = {at: run.id for at, run in new.items() if run.id in stored}
        if made:
            await backfills.note_made(conn, one, made, now)
        over = one.made + len(made) == one.fires and active + len(made) == 0
        pause = REFUSED_PAUSE if len(made) < len(new) else PACE
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

    def _new_run(self, due: Due, fire_at: datetime, now: datetime) -> NewRun:
        assert due.spec is not None
        assert due.job_id is not None
        assert due.version is not None
        run = new_run(
            _NOTHING_SAID,
            due.spec,
            run_id=self._new_id(),
            job_id=due.job_id,
            job_version=due.version,
            now=now,
            triggered_by=TRIGGERED_BY,
        )
        return replace(run, fire_at=fire_at)

    async def _forget(self, conn: Conn) -> None:
        if not self._kept_days or monotonic() - self._forgot < FORGET_SECS:
            return
        before = self._clock.now() - timedelta(days=self._kept_days)
        while await backfills.forget(conn, before) == backfills.FORGET_ROWS:
            pass
        self._forgot = monotonic()
