"""Fills a database with a job and its runs through the store's own statements."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Self
from uuid import UUID, uuid4

import msgspec
import psycopg

from strait_core import ids, trigger
from strait_core.job import JobSpec
from strait_core.store import claims, jobs, queue
from strait_core.store.pool import Conn, connect, fix_plans
from strait_core.wire import TriggerRequest
from strait_daemon.clock import database_time

BATCH = 500
# As a worker does: rows commit late, so the mark stays behind what was claimed.
TRAIL_SECS = 0.25


@dataclass(frozen=True, slots=True)
class SeededJob:
    """A job that runs can be made of."""

    id: UUID
    spec: JobSpec
    version: int


async def make_job(conn: Conn, endpoint: str, now: datetime, **fields: object) -> SeededJob:
    """A plain job, as the API would store it."""
    spec = JobSpec(project_id="bench", slug="bench", name="Bench", endpoint_url=endpoint, **fields)  # type: ignore[arg-type]
    made = await jobs.insert_job(conn, new_id(now), new_id(now), spec, now, enabled=True)
    assert made is not None
    return SeededJob(made.id, spec, made.version)


def new_id(now: datetime) -> UUID:
    return ids.uuid7(now, random.getrandbits)


async def queue_runs(conn: Conn, job: SeededJob, count: int, *, scheduled_at: datetime | None = None) -> None:
    """Queue `count` runs in batches; with `scheduled_at` they are delayed until then."""
    when = {} if scheduled_at is None else {"scheduled_at": scheduled_at}
    for at in range(0, count, BATCH):
        now = await database_time(conn)
        new = [
            trigger.new_run(
                TriggerRequest(
                    payload=msgspec.Raw(b'{"greeting":"Hello from Strait!","number":%d}' % (at + number)), **when
                ),
                job.spec,
                run_id=new_id(now),
                job_id=job.id,
                job_version=job.version,
                now=now,
            )
            for number in range(min(BATCH, count - at))
        ]
        await queue.insert_runs(conn, new, now)


def queued(url: str, endpoint: str, count: int, **fields: object) -> SeededJob:
    """A job with `count` queued runs. Not analyzed: a database that has just been filled is not, either."""

    async def fill() -> SeededJob:
        conn = await connect(url)
        try:
            job = await make_job(conn, endpoint, await database_time(conn), **fields)
            await queue_runs(conn, job, count)
        finally:
            await conn.close()
        return job

    return asyncio.run(fill())


def more_queued(url: str, job: SeededJob, count: int) -> None:
    """Further runs of a job."""

    async def fill() -> None:
        conn = await connect(url)
        try:
            await queue_runs(conn, job, count)
        finally:
            await conn.close()

    asyncio.run(fill())


# One run that exists is copied under new ids; columns that a migration adds are copied too. `(function()).*` in their
# stead would call the function once for each column.
_QUEUED = """
WITH model AS (SELECT * FROM strait.runs WHERE status = 'queued' LIMIT 1), made AS (
    INSERT INTO strait.runs
    SELECT copy.* FROM (
        SELECT to_jsonb(m) || jsonb_build_object('id', uuidv7(), 'ready_seq', nextval('strait.ready_seqs')) AS columns
        FROM model m, generate_series(1, {count})
    ) new, jsonb_populate_record(NULL::strait.runs, new.columns) copy
    RETURNING *
), ready AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT 0, priority, ready_seq, id, job_id, ready_at FROM made
)
INSERT INTO strait.stats_deltas (at, moves)
SELECT max(ready_at), jsonb_build_array(jsonb_build_array(min(project_id), min(job_id::text), '', 'queued', count(*)))
FROM made"""
_ENDED = """
WITH model AS (SELECT * FROM strait.run_history LIMIT 1),
tried AS (SELECT a.* FROM strait.attempts a JOIN model m ON m.id = a.run_id LIMIT 1),
made AS (
    INSERT INTO strait.run_history
    SELECT copy.* FROM (
        SELECT to_jsonb(m) || jsonb_build_object('id', uuidv7()) AS columns FROM model m, generate_series(1, {count})
    ) new, jsonb_populate_record(NULL::strait.run_history, new.columns) copy
    RETURNING id, project_id, job_id, finished_at
), attempts AS (
    INSERT INTO strait.attempts
    SELECT copy.* FROM (
        SELECT to_jsonb(t) || jsonb_build_object('run_id', made.id) AS columns FROM tried t, made
    ) new, jsonb_populate_record(NULL::strait.attempts, new.columns) copy
)
INSERT INTO strait.stats_deltas (at, moves)
SELECT max(finished_at), jsonb_build_array(
    jsonb_build_array(min(project_id), min(job_id::text), '', 'queued', count(*)),
    jsonb_build_array(min(project_id), min(job_id::text), 'queued', 'completed', count(*)))
FROM made"""


def copies(url: str, count: int, *, ended: bool) -> None:
    """Many more runs like one that is there: queued, or ended.

    Vacuumed, analyzed and on the disk: runs that have come over days and not in one statement would be, and what is
    measured then is not how PostgreSQL gets over the statement.
    """
    statement = (_ENDED if ended else _QUEUED).format(count=count)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(statement)
        conn.execute("VACUUM (ANALYZE) strait.runs, strait.ready, strait.run_history, strait.attempts")
        conn.execute("CHECKPOINT")


def single_claims(urls: Sequence[str], slices: int, secs: float) -> list[float]:
    """Claims of one run a second in each database, as a worker with one free slot makes them.

    The databases take turns, `slices` times for `secs` each, so that whatever else the machine does hits all alike.
    """

    async def claim() -> list[float]:
        claimers = [await Claimer.open(url) for url in urls]
        done, spent = [0] * len(urls), [0.0] * len(urls)
        for at in list(range(len(urls))) * slices:
            began = monotonic()
            while (took := monotonic() - began) < secs:
                done[at] += await claimers[at].claim()
            spent[at] += took
        for each in claimers:
            await each.conn.close()
        return [count / secs for count, secs in zip(done, spent, strict=True)]

    return asyncio.run(claim())


@dataclass(slots=True)
class Claimer:
    """The least a worker does to claim: one connection with the worker's plans, one low-water mark that trails."""

    conn: Conn
    now: datetime
    mark: int = 0
    taken: deque[tuple[float, int]] = field(default_factory=deque)

    @classmethod
    async def open(cls, url: str) -> Self:
        conn = await connect(url)
        await fix_plans(conn)
        return cls(conn, await database_time(conn))

    async def claim(self) -> int:
        """Claim one run; how many were there to be had."""
        while self.taken and self.taken[0][0] < monotonic() - TRAIL_SECS:
            self.mark = self.taken.popleft()[1]
        marks = [self.mark] * len(claims.PRIORITIES)
        claim = await claims.claim(self.conn, uuid4(), 1, marks, (), self.now)
        self.taken.extend((monotonic(), run.ready_seq or 0) for run in claim.runs)
        return len(claim.runs)
