"""A flood of delayed runs due in one second: how long until all are queued, how late ticks and retries get by it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import sleep
from uuid import uuid4

import psycopg

from benchmarks import invariants, noise, seed
from benchmarks.bed import START_SECS, Bed, wait_until
from benchmarks.measure import Figure, Scale, Scenario, at_most
from benchmarks.scenarios.schedules import COPIES
from strait_core.store import claims, queue
from strait_core.store.pool import connect
from strait_core.store.queue import Retry, Start
from strait_daemon.clock import database_time

# A tick and a retry each so often: from so long before the flood, and for so long in all.
APART_MS = 100
QUIET_SECS = 3
SECS = 10
BESIDE = SECS * 1_000 // APART_MS
# From the moment at which the flood is dated until it comes: 100,000 rows are dated in about two seconds.
AHEAD_SECS = 15
LATER = timedelta(days=90)
LOOK_SECS = 0.005
GIVE_UP_SECS = 120

DATE = """
WITH flood AS (SELECT clock_timestamp() + make_interval(secs => {ahead}) AS at),
apart AS (
    SELECT n, at + make_interval(secs => n * {apart} / 1000.0 - {quiet}) AS at
    FROM flood, generate_series(1, {beside}) n
), retries AS (
    SELECT run_id, apart.at FROM apart JOIN (
        SELECT run_id, row_number() OVER (ORDER BY run_id) AS n FROM strait.due WHERE NOT moves) d USING (n)
), ticks AS (
    SELECT id, apart.at FROM apart JOIN (
        SELECT id, row_number() OVER (ORDER BY id) AS n FROM strait.schedules) s USING (n)
), delayed AS (UPDATE strait.due d SET due_at = flood.at FROM flood WHERE d.moves),
delayed_runs AS (UPDATE strait.runs r SET scheduled_at = flood.at FROM flood WHERE r.status = 'delayed'),
retry AS (UPDATE strait.due d SET due_at = n.at FROM retries n WHERE d.run_id = n.run_id),
retry_runs AS (UPDATE strait.runs r SET next_retry_at = n.at FROM retries n WHERE r.id = n.run_id),
tick AS (UPDATE strait.schedules s SET next_fire_at = n.at, due_at = n.at FROM ticks n WHERE s.id = n.id)
SELECT at FROM flood
"""
# What has not been taken: the first times of a retry and of a tick, and whether delayed runs are left.
LOOK = """
SELECT extract(epoch FROM clock_timestamp())::float8,
    extract(epoch FROM (SELECT min(due_at) FROM strait.due WHERE NOT moves))::float8,
    extract(epoch FROM (SELECT min(due_at) FROM strait.schedules WHERE due_at IS NOT NULL))::float8,
    EXISTS (SELECT FROM strait.due WHERE moves)
"""


@dataclass(slots=True)
class Lateness:
    """The latest retry and the latest tick that were seen waiting, in ms."""

    retry: float = 0.0
    tick: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at `now`: when the first retry and the first tick are due, both None when there is none left."""

    now: float
    retry: float | None
    tick: float | None
    left: bool

    @classmethod
    def at(cls, conn: psycopg.Connection) -> Look:
        row = conn.execute(LOOK).fetchone()
        assert row is not None
        return cls(*row)

    def late(self, due: float | None) -> float:
        """By how many ms that is overdue."""
        return 0.0 if due is None else max(0.0, (self.now - due) * 1_000)


def seeded(url: str, bed: Bed, count: int) -> None:
    """Delayed runs, runs that await a retry, and schedules, none of them due for a long time."""
    # One attempt lasts longer than the scenario: a single slot claims next to nothing of what is promoted.
    job = seed.queued(url, bed.endpoint.url("/late/30000"), BESIDE, cron="0 0 1 1 *")

    async def fill() -> None:
        conn = await connect(url)
        try:
            now = await database_time(conn)
            claimed = (await claims.claim(conn, uuid4(), BESIDE, [0] * len(claims.PRIORITIES), (), now)).runs
            await queue.start_if_held(conn, [Start(run.id, run.attempt, run.lease) for run in claimed], now)
            retries = [
                Retry(
                    id=run.id, attempt=run.attempt + 1, lease=run.lease, outcome="error", keep="long", finished_at=now,
                    due_at=now + LATER, priority=run.priority,
                )
                for run in claimed
            ]  # fmt: skip
            await queue.retry_if_held(conn, retries, now)
            await seed.queue_runs(conn, job, count, scheduled_at=now + LATER)
        finally:
            await conn.close()

    asyncio.run(fill())
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute(COPIES.encode(), (BESIDE,))
        for table in ("runs", "due", "schedules", "jobs"):
            conn.execute(f"VACUUM ANALYZE strait.{table}")


def flood(conn: psycopg.Connection) -> tuple[float, Lateness, Lateness]:
    """Let everything come due; seconds until all is promoted, and how late others were before that and meanwhile."""
    dated = conn.execute(DATE.format(ahead=AHEAD_SECS, apart=APART_MS, quiet=QUIET_SECS, beside=BESIDE).encode())
    (comes,) = dated.fetchone() or (None,)
    assert isinstance(comes, datetime)
    quiet, meanwhile, begins = Lateness(), Lateness(), comes.timestamp()
    if Look.at(conn).now > begins - QUIET_SECS:
        raise RuntimeError("the flood was dated too slowly")
    while True:
        look = Look.at(conn)
        if look.now > begins and not look.left:
            return look.now - begins, quiet, meanwhile
        if look.now > begins + GIVE_UP_SECS:
            raise TimeoutError("the flood is not promoted")
        seen = quiet if look.now <= begins else meanwhile
        seen.retry, seen.tick = max(seen.retry, look.late(look.retry)), max(seen.tick, look.late(look.tick))
        sleep(LOOK_SECS)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(100_000, 5_000) * scale.size
    promoted = Figure(f"{count:,} delayed runs of one second queued", "s", target=at_most(5 * scale.size))
    tick = Figure("latest tick meanwhile", "ms", ceiling="before", target=at_most(300))
    retry = Figure("latest retry meanwhile", "ms", ceiling="before", target=at_most(250))
    figures = [promoted, tick, retry]
    for _ in noise.rounds(scale, figures):
        with bed.database() as url:
            seeded(url, bed, count)
            with (
                bed.daemon(url, mode="worker", WORKER_POOL_SIZE="1") as daemon,
                closing(psycopg.connect(url, autocommit=True)) as conn,
            ):
                wait_until(daemon.serving, START_SECS, "the daemon", every=0.1)
                took, before, meanwhile = flood(conn)
            promoted.add(took)
            # What was never seen waiting was late by less than a look.
            tick.add(meanwhile.tick, max(before.tick, LOOK_SECS * 1_000))
            retry.add(meanwhile.retry, max(before.retry, LOOK_SECS * 1_000))
            invariants.check(url)
    return figures


SCENARIO = Scenario("promotion", "100,000 delayed runs due in one second, beside ticks and retries", measure, long=True)
