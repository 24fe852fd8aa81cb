"""Ten thousand attempts at once against an endpoint that answers after two seconds: memory and lateness."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import psycopg

from benchmarks import cpu, invariants, noise, seed
from benchmarks.bed import Bed, wait_until
from benchmarks.measure import Figure, Scale, Scenario, at_most

DELAY_MS = 2_000
# How long attempts took beyond the endpoint's delay, in seconds; the worst counts.
LATE = "SELECT max(total_ms) / 1000 - {delay} FROM strait.attempts"


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(10_000, 1_000)
    memory = Figure(f"resident memory with {count:,} in flight", "MB", target=at_most(500))
    late = Figure("latest attempt", "s late", target=at_most(1))
    at_once = Figure("attempts at once at the endpoint", "")
    figures = [memory, late, at_once]
    for _ in noise.rounds(scale, figures):
        with bed.database() as url:
            seed.queued(url, bed.endpoint.url(f"/late/{DELAY_MS}"), count)
            bed.endpoint.reset()
            most = 0
            with bed.daemon(url, mode="worker", WORKER_POOL_SIZE=str(count)) as daemon:

                def all_done(pid: int = daemon.pid) -> bool:
                    nonlocal most
                    most = max(most, cpu.resident(pid))
                    stats = bed.endpoint.stats()
                    return stats["requests"] >= count and stats["open"] == 0

                wait_until(all_done, 120, "every attempt", every=0.1)
                at_once.add(bed.endpoint.stats()["most_open"])
                with closing(psycopg.connect(url, autocommit=True)) as conn:
                    wait_until(lambda: _count(conn) == count, 60, "the last commit", every=0.1)
                    found = conn.execute(LATE.format(delay=DELAY_MS / 1000)).fetchone()
            assert found is not None
            memory.add(most / 1e6)
            late.add(found[0])
            invariants.check(url, finished=count)
    return figures


def _count(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM strait.run_history").fetchone()
    return int(row[0]) if row else 0


SCENARIO = Scenario("in-flight", "10,000 attempts at once against an endpoint that takes 2 s", measure, long=True)
