"""Fires schedules when their time has come. Any number of processes do so at once: each takes what no other holds.

Those of workflows have a ticker of their own: to start a workflow costs more and may have to wait for somebody, and no
job's tick should wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import structlog

from strait_core.schedule import GRACE
from strait_core.store import schedules
from strait_core.store.faults import BadData, Clash, Held
from strait_core.store.owners import Kind
from strait_core.store.pool import Conn, Pool, fix_plans_here, wait_at_most
from strait_core.store.schedules import Due
from strait_core.store.workflow_live import Brought
from strait_daemon.clock import Clock
from strait_daemon.services import ticks
from strait_daemon.services.service import REST_SECS
from strait_daemon.services.ticks import Done

# Schedules decided in one transaction, by kind.
BATCH: Final = {Kind.JOB: 500, Kind.WORKFLOW: 20}
# The longest sleep; what another process changes meanwhile, the lookout finds.
LONGEST_SECS: Final = REST_SECS
CONTENDED_SECS: Final = 0.02
# Schedules whose ticks were missed, taken in one go once a pace: nobody's start ends in a storm.
MISSED_BATCH: Final = {Kind.JOB: 200, Kind.WORKFLOW: 20}
# How long the ticks of workflows wait for what others hold, and after how long they are tried again then.
HELD_SECS: Final = 0.2
HELD_PAUSE: Final = timedelta(seconds=1)

PACE_SECS: Final = ticks.PACE.total_seconds()

log = structlog.get_logger(__name__)


class Ticker:
    """The service, for one kind of schedules. `changed` is told of runs made and canceled.

    `taken` is told of canceled runs that a worker holds, `brought` of what has come of workflow runs.
    """

    def __init__(
        self,
        kind: Kind,
        pool: Pool,
        clock: Clock,
        new_id: Callable[[], UUID],
        *,
        wake: Callable[[], None],
        changed: Callable[[Sequence[UUID]], None],
        taken: Callable[[Sequence[UUID]], None],
        brought: Callable[[Brought], None],
    ) -> None:
        self._kind = kind
        self._most = BATCH[kind]
        self._pool = pool
        self._clock = clock
        self._new_id = new_id
        self._wake = wake
        self._changed = changed
        self._taken = taken
        self._brought = brought
        self._missed_at = float("-inf")
        self._many = False

    async def tick(self) -> float:
        """Decide a batch or two of what is due, and now and then one of what was missed; seconds until the next."""
        now = self._clock.now()
        missed = now - GRACE
        async with self._pool.connection() as conn:
            first, fresh = await schedules.next_due(conn, self._kind, missed)
        if fresh is not None and fresh <= now:
            found = await asyncio.gather(*(self._batch(now, self._most, after=missed) for _ in range(1 + self._many)))
            self._many = max(found) == self._most
        else:
            self._many = False
        late = first is not None and first <= missed
        if late and monotonic() - self._missed_at >= PACE_SECS:
            self._missed_at = monotonic()
            await self._batch(now, MISSED_BATCH[self._kind], until=missed)
        return 0.0 if self._many else await self._rest(late=late)

    async def _rest(self, *, late: bool) -> float:
        """Seconds until the next tick is due, or the next look at what was missed."""
        async with self._pool.connection() as conn:
            _, upcoming = await schedules.next_due(conn, self._kind, self._clock.now() - GRACE)
        longest = PACE_SECS if late else LONGEST_SECS
        if upcoming is None:
            return longest
        wait = (upcoming - self._clock.now()) / timedelta(seconds=1)
        # What is due and was not taken is in another transaction's hands: no reason to ask all the time.
        return min(max(wait, 0.001), longest) if wait > 0 else CONTENDED_SECS

    async def _batch(
        self, now: datetime, limit: int, *, after: datetime | None = None, until: datetime | None = None
    ) -> int:
        due: list[Due] = []
        unreadable: list[UUID] = []
        async with self._pool.connection() as conn:
            try:
                async with conn.transaction():
                    await self._fit(conn)
                    due, unreadable = await schedules.take_due(conn, self._kind, until or now, limit, after)
                    done = await ticks.look(conn, due, now, self._new_id) if due else Done()
                    await self._put_off(conn, unreadable, now, "what it fires cannot be read")
                alone = done.left
                self._tell(done, due)
            except (*BadData, *Clash, Held) as error:
                log.warning("ticks_refused", schedules=len(due), error=f"{type(error).__name__}: {error}")
                alone = [one.id for one in due]
            for schedule_id in alone:
                await self._alone(conn, schedule_id, now)
        return len(due) + len(unreadable)

    async def _fit(self, conn: Conn) -> None:
        """What goes for a transaction that decides ticks."""
        if self._kind is Kind.JOB:
            await fix_plans_here(conn)
        else:
            await wait_at_most(conn, HELD_SECS)

    async def _alone(self, conn: Conn, schedule_id: UUID, now: datetime) -> None:
        """Decide one schedule in a transaction of its own; one that is refused still keeps no other waiting."""
        try:
            async with conn.transaction():
                await wait_at_most(conn, HELD_SECS)
                one = await schedules.take_one(conn, schedule_id, now)
                taken = [] if one is None else [one]
                done = await ticks.look(conn, taken, now, self._new_id, alone=True)
        except Clash:
            # It is as due as it was.
            return
        except Held:
            # So are those after it, which should not wait behind it.
            await schedules.put_off(conn, [schedule_id], now + HELD_PAUSE)
            return
        except BadData as error:
            await self._put_off(conn, [schedule_id], now, f"{type(error).__name__}: {error}")
            return
        self._tell(done, taken)

    async def _put_off(self, conn: Conn, schedule_ids: Sequence[UUID], now: datetime, why: str) -> None:
        if schedule_ids:
            log.error("schedules_not_decided", schedules=[str(one) for one in schedule_ids[:10]], error=why)
            await schedules.put_off(conn, schedule_ids, now + ticks.UNDECIDED_PAUSE)

    def _tell(self, done: Done, due: Sequence[Due]) -> None:
        if done.refused:
            log.info("ticks_put_off", schedules=done.refused, of=len(due))
        if done.made:
            self._changed(done.made)
            self._wake()
        if done.ended:
            self._changed([run.id for run in done.ended])
            self._taken([run.id for run in done.ended if run.worker_id is not None])
        if done.brought.moved:
            self._brought(done.brought)
