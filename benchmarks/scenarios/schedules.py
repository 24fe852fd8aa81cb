"""Many schedules: what they cost while none is due, and how late their ticks are, many at once and spread out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import psycopg

from benchmarks import cpu, invariants, noise, seed
from benchmarks.bed import Bed, Daemon, wait_until
from benchmarks.measure import Figure, Scale, Scenario, at_most

IDLE_SECS = (10, 3)
# Partitions made ahead and first looks at everything take a daemon's first seconds.
START_SECS = (6, 1)
# A tick each 120 ms: 500 a minute.
APART_MS = 120
AHEAD_SECS = 3

COPIES = """
WITH made AS (
    INSERT INTO strait.jobs (id, project_id, slug, lane, enabled, paused, latest, tags, version, version_id, definition,
        created_at, updated_at)
    SELECT gen_random_uuid(), project_id, 'bench-' || n, 0, true, false, latest, tags, 1, gen_random_uuid(),
        replace(definition, '"slug":"bench"', '"slug":"bench-' || n || '"'), created_at, updated_at
    FROM strait.jobs, generate_series(1, %s) n WHERE slug = 'bench' RETURNING *
), versions AS (
    INSERT INTO strait.job_versions SELECT id, version, version_id, definition, created_at FROM made
)
INSERT INTO strait.schedules (id, kind, target_id, next_fire_at, due_at, paused, created_at, updated_at)
SELECT gen_random_uuid(), 'job', id, at, at, false, created_at, created_at
FROM made, (SELECT date_trunc('hour', clock_timestamp()) + interval '90 days' AS at) later
"""
# The first `count` schedules are due from a second on that begins in `AHEAD_SECS`, so many milliseconds apart.
DUE = """
UPDATE strait.schedules s SET next_fire_at = d.at, due_at = d.at FROM (
    SELECT id, began + make_interval(secs => %s + row_number() OVER (ORDER BY id) * %s / 1000.0) AS at
    FROM strait.schedules, (SELECT date_trunc('second', clock_timestamp()) AS began) now ORDER BY id LIMIT %s
) d WHERE d.id = s.id
"""
LATE = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - fire_at) * 1000)::float8
FROM strait.schedule_fires WHERE run_id IS NOT NULL
"""


def seeded(url: str, bed: Bed, count: int) -> None:
    """So many jobs, each with a schedule that is not due for a long time."""
    seed.queued(url, bed.endpoint.url(), 0, cron="0 0 1 1 *")
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute(COPIES.encode(), (count,))
        conn.execute("ANALYZE strait.schedules; ANALYZE strait.jobs")


def idle(daemon: Daemon, secs: float, start_secs: float) -> float:
    """The share of a core that the daemon uses, in percent, once it has started."""
    time.sleep(start_secs)
    before = cpu.spent(daemon.pid)
    time.sleep(secs)
    return (cpu.spent(daemon.pid) - before) / secs * 100


def burst(conn: psycopg.Connection, count: int, apart_ms: float) -> float:
    """Let so many ticks come due; seconds from the last one's time until all are queued."""
    before = _count(conn)
    conn.execute(DUE.encode(), (AHEAD_SECS, apart_ms, count))
    soon = "SELECT max(due_at) FROM strait.schedules WHERE due_at < now() + interval '1 day'"
    (last,) = conn.execute(soon).fetchone() or (None,)
    wait_until(lambda: _count(conn) - before >= count, 300, "every tick", every=0.05)
    (late,) = conn.execute("SELECT extract(epoch FROM clock_timestamp() - %s)::float8", (last,)).fetchone() or (0.0,)
    return max(0.0, float(late))


def _count(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM strait.schedule_fires").fetchone()
    return int(row[0]) if row else 0


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count, at_once = scale.of(100_000, 5_000), scale.of(10_000, 1_000)
    idling = Figure(f"daemon CPU with {count:,} schedules", "% of a core", ceiling="with none")
    more = Figure(f"of which {count:,} schedules cost", "% of a core", target=at_most(2))
    all_at_once = Figure(f"{at_once:,} ticks of one second queued", "s", target=at_most(2))
    late = Figure("lateness at 500 a minute p99", "ms", target=at_most(300))
    figures = [idling, more, all_at_once, late]
    secs = (scale.of(*IDLE_SECS), scale.of(*START_SECS))
    for _ in noise.rounds(scale, figures):
        with bed.database() as url, bed.daemon(url, mode="worker", WORKER_POOL_SIZE="1") as daemon:
            alone = idle(daemon, *secs)
        with bed.database() as url:
            seeded(url, bed, count)
            with bed.daemon(url, mode="worker", WORKER_POOL_SIZE="1") as daemon:
                busy = idle(daemon, *secs)
                idling.add(busy, alone)
                more.add(max(0.0, busy - alone))
                with closing(psycopg.connect(url, autocommit=True)) as conn:
                    burst(conn, scale.of(250, 50), APART_MS)
                    late.add((conn.execute(LATE.encode()).fetchone() or (0.0,))[0])
                    all_at_once.add(burst(conn, at_once, 0))
            invariants.check(url)
    return figures


SCENARIO = Scenario("cron", "100,000 schedules: idle, 500 ticks a minute, 10,000 in one second", measure, long=True)
