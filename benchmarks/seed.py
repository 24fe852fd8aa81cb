"""Fills a database with a job and its runs through the store's own statements."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from strait_core import ids, trigger
from strait_core.job import JobSpec
from strait_core.store import jobs, queue
from strait_core.store.pool import Conn, connect
from strait_core.wire import TriggerRequest
from strait_daemon.clock import database_time

BATCH = 500


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


async def queue_runs(conn: Conn, job: SeededJob, count: int) -> None:
    """Queue `count` runs in batches."""
    for at in range(0, count, BATCH):
        now = await database_time(conn)
        new = [
            trigger.new_run(
                TriggerRequest(payload=msgspec.Raw(b'{"greeting":"Hello from Strait!","number":%d}' % (at + number))),
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
