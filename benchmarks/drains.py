"""Drains a full queue through a daemon and says how fast, and at what cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psycopg

from benchmarks import cpu, invariants, seed
from benchmarks.bed import Bed, Daemon, wait_until

# The first runs warm up connections, statements and caches; the bare loop leaves out as much.
WARM_SHARE = 20
DRAIN_SECS = 300.0
# The discard port: a URL that is valid and never called.
NOWHERE = "http://127.0.0.1:9/"


@dataclass(frozen=True, slots=True)
class Drained:
    """Runs a second, CPU microseconds a run of the daemon and of PostgreSQL, the kernel's share of the daemon's."""

    rate: float
    daemon_us: float
    postgres_us: float
    daemon_kernel: float


def through_endpoint(bed: Bed, count: int, *, slots: int, processes: int = 1, gate: str = "") -> Drained:
    """Queued runs through the loopback endpoint, until the last has committed as completed.

    `gate`: SQL that gives the job limits before it begins.
    """
    with bed.database() as url:
        seed.queued(url, bed.endpoint.url(), count)
        if gate:
            with closing(psycopg.connect(url, autocommit=True)) as conn:
                conn.execute(gate.encode())
        bed.endpoint.reset()
        words = ["--processes", str(processes)] if processes > 1 else []
        with bed.daemon(url, mode="worker", words=words, WORKER_POOL_SIZE=str(slots)) as daemon:
            drained = watch(bed, url, daemon, count, lambda: bed.endpoint.stats()["requests"])
        invariants.check(url, finished=count)
        return drained


def through_nobody(bed: Bed, count: int, *, slots: int) -> Drained:
    """Queued runs through a dispatcher that answers at once."""
    with bed.database() as url:
        seed.queued(url, NOWHERE, count)
        drained = null_drain(bed, url, count, slots=slots)
        invariants.check(url, finished=count)
        return drained


def null_drain(bed: Bed, url: str, count: int, *, slots: int, more: bool = False) -> Drained:
    """Drain `count` of the runs that are queued in this database; `more` says that others stay queued."""
    counter = bed.folder / "calls"
    counter.write_bytes(bytes(8))
    with bed.daemon(url, mode="worker", changed=["--null", str(counter)], WORKER_POOL_SIZE=str(slots)) as daemon:
        return watch(bed, url, daemon, count, lambda: number(counter), more=more)


def number(counter: Path) -> int:
    return int.from_bytes(counter.read_bytes(), "little")


def watch(
    bed: Bed,
    url: str,
    daemon: Daemon,
    count: int,
    arrived: Callable[[], int],
    *,
    more: bool = False,
    folded: bool = False,
) -> Drained:
    """From the end of the warm-up to the last commit; with `folded` until its deltas are added up and published."""

    def warm() -> bool:
        if daemon.process.poll() is not None:
            raise RuntimeError(daemon.log.read_text()[-3000:])
        return arrived() >= count // WARM_SHARE

    wait_until(warm, DRAIN_SECS, "the first runs")
    began, spent, database = monotonic(), cpu.spent(daemon.pid), bed.postgres_cpu()
    before = arrived()
    wait_until(lambda: arrived() >= count, DRAIN_SECS, f"{count} runs to arrive", every=0.02)
    last = arrived() if more else count
    if not more:
        with closing(psycopg.connect(url, autocommit=True)) as conn:
            wait_until(lambda: _empty(conn, "runs"), 30, "the last commit")
            if folded:
                wait_until(lambda: _empty(conn, "stats_deltas"), 30, "the last fold", every=0.02)
    secs = monotonic() - began
    runs = max(1, last - before)
    return Drained(
        rate=runs / secs,
        daemon_us=(cpu.spent(daemon.pid) - spent) / runs * 1e6,
        postgres_us=(bed.postgres_cpu() - database) / runs * 1e6,
        daemon_kernel=cpu.kernel_share(daemon.pid),
    )


def _empty(conn: psycopg.Connection, table: str) -> bool:
    row = conn.execute(f"SELECT NOT EXISTS (SELECT FROM strait.{table})".encode()).fetchone()
    return bool(row and row[0])
