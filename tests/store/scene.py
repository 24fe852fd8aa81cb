"""Short words for what happens to runs, so that a test reads as the story it tells."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from strait_core import ids, trigger
from strait_core.job import JobSpec
from strait_core.run import CANCELABLE, Event, Status
from strait_core.store import claims, jobs, pool, queue, runs, stats
from strait_core.store.claims import Claimed
from strait_core.store.history import keep_of
from strait_core.store.invariants import Violation, violations
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.queue import Finish, Release, Retry, Start
from strait_core.trigger import NewRun
from strait_core.wire import TriggerRequest
from tests.store.kept import Kept

# A Wednesday far from today: a statement that read the clock would be noticed.
NOW: Final = datetime(2030, 1, 16, 12, tzinfo=UTC)
NO_MARKS: Final = [0] * len(claims.PRIORITIES)
WORKER: Final = UUID(int=1)
SPEC: Final = JobSpec(project_id="p", slug="a", name="A", endpoint_url="http://example.com/")
TABLES: Final = (
    "jobs", "runs", "ready", "due", "run_history", "attempts", "run_events", "stats_deltas", "idempotency_keys",
    "trigger_windows", "events", "waits", "lane_state", "lane_rates", "rate_buckets", "parked", "workflow_runs",
    "workflow_steps", "workflow_run_history", "workflow_step_history", "approvals", "workflow_refs",
    "workflow_versions", "workflows", "callbacks",
)  # fmt: skip


@dataclass
class Scene:
    """One database, its clock and a worker."""

    url: str
    conn: Conn
    now: datetime = NOW
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    worker: UUID = WORKER
    others: list[Conn] = field(default_factory=list)
    _watcher: Conn | None = None
    _kept: Kept | None = None

    @classmethod
    async def open(cls, url: str, kept: Kept | None = None) -> Scene:
        """A scene on this database; its connections are taken from `kept`, None = they are the scene's own."""
        return cls(url, await (kept.take() if kept else pool.connect(url)), _kept=kept)

    async def clear(self) -> None:
        """Take out every row; sequences and partitions stay."""
        counts = ("workers", "breakers", "stats_depth", "stats_jobs", "stats_rates", "changes", "change_sinks")
        first = ("backfill_fires", "backfills", "deadlines", "breaches", "schedules", "schedule_fires", "job_versions")
        conn = await self.watcher()
        await conn.execute("; ".join(f"DELETE FROM strait.{table}" for table in (*first, *TABLES, *counts)).encode())

    async def close(self) -> None:
        for conn in [self.conn, *self.others]:
            await (self._kept.give_back(conn) if self._kept else conn.close())

    async def other(self) -> Conn:
        """Another connection, closed with the scene."""
        self.others.append(await (self._kept.take() if self._kept else pool.connect(self.url)))
        return self.others[-1]

    def new_id(self) -> UUID:
        return ids.uuid7(self.now, self.chance.getrandbits)

    def later(self, **length: float) -> datetime:
        """Let time pass."""
        self.now += timedelta(**length)
        return self.now

    async def job(self, *, enabled: bool = True, **changes: Any) -> StoredJob:
        made = await jobs.insert_job(
            self.conn, self.new_id(), self.new_id(), replace(SPEC, **changes), self.now, enabled=enabled
        )
        assert made is not None
        return made

    def new_run(self, job: StoredJob, **request: Any) -> NewRun:
        payload = request.pop("payload", None)
        if payload is not None:
            request["payload"] = msgspec.Raw(payload.encode())
        return trigger.new_run(
            TriggerRequest(**request),
            job.spec,
            run_id=self.new_id(),
            job_id=job.id,
            job_version=job.version,
            now=self.now,
        )

    async def add(self, job: StoredJob, count: int = 1, **request: Any) -> list[UUID]:
        """Trigger runs; all of them must be accepted."""
        new = [self.new_run(job, **request) for _ in range(count)]
        stored = await queue.insert_runs(self.conn, new, self.now)
        assert stored == {run.id for run in new}
        return [run.id for run in new]

    async def claim(
        self, slots: int = 100, *, conn: Conn | None = None, marks: Sequence[int] = NO_MARKS
    ) -> list[Claimed]:
        """Claim from lane 0 and from every open lane, as a worker does."""
        conn = conn or self.conn
        taken = await claims.claim(conn, self.worker, slots, marks, await claims.open_lanes(conn, self.now), self.now)
        return taken.runs

    async def start(self, *claimed: Claimed) -> list[Claimed]:
        """Start attempts; what comes back carries the new attempt number."""
        started = await queue.start_if_held(self.conn, [Start(c.id, c.attempt, c.lease) for c in claimed], self.now)
        return [c._replace(attempt=c.attempt + 1) for c in claimed if c.id in started]

    async def executing(self, job: StoredJob, **request: Any) -> Claimed:
        """A run of `job` that executes; nothing else may be ready."""
        (run_id,) = await self.add(job, **request)
        (claimed,) = await self.claim()
        assert claimed.id == run_id
        (live,) = await self.start(claimed)
        return live

    async def executing_beside(self, job: StoredJob) -> Claimed:
        """A run of `job` that executes, whatever else is ready."""
        (run_id,) = await self.add(job, priority=10)
        (claimed,) = await self.claim(1)
        assert claimed.id == run_id
        return (await self.start(claimed))[0]

    async def finish(self, live: Claimed, status: Status = Status.COMPLETED, **facts: Any) -> bool:
        return await queue.finish_if_held(self.conn, [self.ending(live, status, **facts)], self.now) == {live.id}

    def ending(self, live: Claimed, status: Status = Status.COMPLETED, **facts: Any) -> Finish:
        told = {"finished_at": self.now, "keep": keep_of(status), **facts}
        return Finish(id=live.id, attempt=live.attempt, lease=live.lease, status=status, **told)

    async def retry(self, live: Claimed, after: timedelta | None = None, **facts: Any) -> bool:
        return await queue.retry_if_held(self.conn, [self.repeat(live, after, **facts)], self.now) == {live.id}

    def repeat(self, live: Claimed, after: timedelta | None = None, **facts: Any) -> Retry:
        told = {"outcome": "error", "keep": "long", "finished_at": self.now, "priority": live.priority, **facts}
        due_at = None if after is None else self.now + after
        return Retry(id=live.id, attempt=live.attempt, lease=live.lease, due_at=due_at, **told)

    async def release(self, claimed: Claimed) -> bool:
        item = Release(claimed.id, claimed.attempt, claimed.lease, "worker stopped")
        return await queue.release_if_held(self.conn, [item], self.now) == {claimed.id}

    async def promote(self, limit: int = 100) -> list[UUID]:
        return (await queue.promote_due(self.conn, limit, self.now))[1]

    async def cancel(self, *run_ids: UUID, conn: Conn | None = None) -> set[UUID]:
        """Cancel runs as the API does; those that were."""
        conn = conn or self.conn
        async with conn.transaction():
            ended = await runs.end_active(
                conn, run_ids, event=Event.CANCEL, to=Status.CANCELED, allowed=CANCELABLE, now=self.now
            )
        return {one.id for one in ended}

    async def replay(self, run_id: UUID) -> bool:
        return await runs.replay(self.conn, run_id, self.now)

    async def run(self, run_id: UUID) -> dict[str, Any]:
        row = await runs.get_run(self.conn, run_id)
        assert row is not None
        return row

    async def status(self, run_id: UUID) -> str:
        return str((await self.run(run_id))["status"])

    async def rows(self, statement: str, *values: Any, conn: Conn | None = None) -> list[dict[str, Any]]:
        async with (conn or self.conn).cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode(), values or None)
            return await cursor.fetchall() if cursor.description else []

    async def everything(self) -> dict[str, list[str]]:
        """Every row of every table that a move may touch, to show that nothing changed."""
        return {
            table: [row["t"] for row in await self.rows(f"SELECT t::text AS t FROM strait.{table} t ORDER BY 1")]
            for table in TABLES
        }

    async def blocked(self, conn: Conn) -> None:
        """Wait until the statement that runs on `conn` waits for a lock of another transaction.

        Looks on a connection of its own: one whose statement is given up is closed.
        """
        async with asyncio.timeout(20), await pool.connect(self.url) as looking:
            while not await self.rows(
                "SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                conn.info.backend_pid,
                conn=looking,
            ):
                await asyncio.sleep(0.005)

    async def watcher(self) -> Conn:
        """A connection that only looks on."""
        if self._watcher is None:
            self._watcher = await self.other()
        return self._watcher

    async def broken(self, *, dead_before: datetime | None = None) -> list[Violation]:
        """The invariants that do not hold."""
        return await violations(
            await self.watcher(), self.now, dead_before=dead_before or self.now - timedelta(hours=1)
        )

    async def folded(self) -> dict[str, int]:
        """Runs by state, after every delta has been folded; zeros left out."""
        while await stats.fold(self.conn, self.now):
            pass
        return {status: n for status, n in (await stats.depth(self.conn, None)).items() if n}


def ids_of(claimed: Iterable[Claimed]) -> list[UUID]:
    """The runs that were claimed, in order."""
    return [one.id for one in claimed]
