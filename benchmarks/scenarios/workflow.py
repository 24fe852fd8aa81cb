"""Workflows: a fan beside runs in bulk, a chain hop by hop, a thousand at once, and the same after many others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from time import monotonic
from typing import Any

import psycopg

from benchmarks import cpu, invariants, noise
from benchmarks.bed import Bed, Daemon, wait_until
from benchmarks.measure import Figure, Scale, Scenario, at_most, ratio_at_most
from benchmarks.scenarios.trigger import make_job, send

FAN = 1_000
CHAIN = 100
SHORT = 10
CONNECTIONS = 32
SLOTS = "64"
# What passes between the answer to one step and the next step's, less what the call itself took.
HOPS = """
SELECT extract(epoch FROM a.finished_at - lag(a.finished_at) OVER w)::float8 * 1000 - a.total_ms
FROM strait.attempts a JOIN strait.run_history r ON r.id = a.run_id
WHERE r.workflow_run_id = (SELECT id FROM strait.workflow_run_history ORDER BY id DESC LIMIT 1)
WINDOW w AS (ORDER BY a.finished_at)
"""
# Asks an index for the newest: what scans a table meets all that has left it, and would use a processor for itself.
IDLE = """
SELECT (SELECT id FROM strait.workflow_runs ORDER BY id DESC LIMIT 1) IS NULL
    AND (SELECT id FROM strait.runs ORDER BY id DESC LIMIT 1) IS NULL
"""
# Workflow runs like the last one, with their steps, under new ids.
ENDED = """
WITH model AS (SELECT * FROM strait.workflow_run_history ORDER BY id DESC LIMIT 1), made AS (
    INSERT INTO strait.workflow_run_history
    SELECT (jsonb_populate_record(NULL::strait.workflow_run_history, to_jsonb(m) || jsonb_build_object(
        'id', f.id, 'root_id', f.id))).*
    FROM model m, (SELECT uuidv7() AS id FROM generate_series(1, {count})) f
    RETURNING id
)
INSERT INTO strait.workflow_step_history
SELECT (jsonb_populate_record(NULL::strait.workflow_step_history, to_jsonb(s) || jsonb_build_object(
    'workflow_run_id', made.id, 'job_run_id', gen_random_uuid()))).*
FROM made, strait.workflow_step_history s WHERE s.workflow_run_id = (SELECT id FROM model)
"""


def fan(count: int) -> list[dict[str, Any]]:
    """A root, leaves and a join: so many steps."""
    leaves = [f"leaf-{number}" for number in range(count - 2)]
    made = [{"step_ref": ref, "job_id": "bench", "depends_on": ["root"]} for ref in leaves]
    return [
        {"step_ref": "root", "job_id": "bench"},
        *made,
        {"step_ref": "join", "job_id": "bench", "depends_on": leaves},
    ]


def chain(count: int) -> list[dict[str, Any]]:
    """So many steps, one after the other."""
    return [
        {"step_ref": f"s-{number}", "job_id": "bench", "depends_on": [f"s-{number - 1}"] if number else []}
        for number in range(count)
    ]


def make_workflow(daemon: Daemon, slug: str, steps: Sequence[dict[str, Any]]) -> None:
    daemon.call("POST", "/v1/workflows", {"project_id": "bench", "name": slug, "slug": slug, "steps": steps})


def until_idle(conn: psycopg.Connection, began: float) -> float:
    """Wait until no run is active; the seconds since `began`."""
    wait_until(lambda: (conn.execute(IDLE.encode()).fetchone() or (False,))[0], 120, "the last end", every=0.002)
    return monotonic() - began


def all_completed(conn: psycopg.Connection) -> None:
    """Raise when any workflow run ended in another way."""
    rows = conn.execute("SELECT status, count(*) FROM strait.workflow_run_history GROUP BY 1").fetchall()
    if {status for status, _ in rows} - {"completed"}:
        raise AssertionError(f"not all completed: {rows}")


def bulk_secs(daemon: Daemon, conn: psycopg.Connection, count: int) -> float:
    """Plain runs, triggered in bulk, until the last has ended."""
    began = monotonic()
    daemon.call("POST", "/v1/jobs/bench/trigger/bulk", {"items": [{"payload": {"n": n}} for n in range(count)]})
    return until_idle(conn, began)


def workflow_secs(daemon: Daemon, conn: psycopg.Connection, slug: str) -> float:
    """One run of a workflow, until it has ended."""
    began = monotonic()
    daemon.call("POST", f"/v1/workflows/{slug}/trigger", {"payload": {"n": 1}})
    return until_idle(conn, began)


def fans(bed: Bed, scale: Scale, figure: Figure) -> None:
    """Bulk and fan in turn."""
    count = scale.of(FAN, 200)
    with bed.database() as url, closing(psycopg.connect(url, autocommit=True)) as conn:
        with bed.daemon(url, mode="all", WORKER_POOL_SIZE=SLOTS) as daemon:
            make_job(bed, daemon)
            make_workflow(daemon, "fan", fan(count))
            for turn in range(scale.of(6, 2)):
                bulk, whole = bulk_secs(daemon, conn, count), workflow_secs(daemon, conn, "fan")
                # The first turn warms up connections, statements and caches.
                if turn:
                    figure.add(whole, bulk)
        all_completed(conn)
        invariants.check(url)


def chains(bed: Bed, scale: Scale, p50: Figure, p99: Figure) -> None:
    """A chain several times, one after the other; the hops of the last time count."""
    with bed.database() as url, closing(psycopg.connect(url, autocommit=True)) as conn:
        with bed.daemon(url, mode="all", WORKER_POOL_SIZE=SLOTS) as daemon:
            make_job(bed, daemon)
            make_workflow(daemon, "chain", chain(scale.of(CHAIN, 20)))
            for _ in range(scale.of(3, 2)):
                workflow_secs(daemon, conn, "chain")
            hops = sorted(hop for (hop,) in conn.execute(HOPS.encode()).fetchall() if hop is not None)
        p50.add(hops[len(hops) // 2])
        p99.add(hops[int(len(hops) * 0.99)])
        all_completed(conn)
        invariants.check(url)


def at_once(bed: Bed, daemon: Daemon, conn: psycopg.Connection, count: int) -> tuple[float, float]:
    """So many short workflows at once; steps a second, and CPU microseconds of daemon and database for each."""
    body = bed.folder / "workflow.json"
    body.write_text(json.dumps({"payload": {"n": 1}}))
    spent, began = cpu.spent(daemon.pid) + bed.postgres_cpu(), monotonic()
    send(bed, f"{daemon.url}/v1/workflows/short/trigger", count, CONNECTIONS, body)
    secs = until_idle(conn, began)
    used = cpu.spent(daemon.pid) + bed.postgres_cpu() - spent
    return count * SHORT / secs, used / (count * SHORT) * 1e6


def many(bed: Bed, scale: Scale, rate: Figure, cost: Figure) -> None:
    """A thousand short workflows in a fresh database, and once more among many that have ended."""
    count, ended = scale.of(1_000, 100), scale.of(20_000, 2_000)
    with bed.database() as url, closing(psycopg.connect(url, autocommit=True)) as conn:
        with bed.daemon(url, mode="all", WORKER_POOL_SIZE=SLOTS) as daemon:
            make_job(bed, daemon)
            make_workflow(daemon, "short", chain(SHORT))
            at_once(bed, daemon, conn, count)
            fast, few = at_once(bed, daemon, conn, count)
            conn.execute(ENDED.format(count=ended).encode())
            _, among_many = at_once(bed, daemon, conn, count)
        rate.add(fast)
        cost.add(among_many, few)
        all_completed(conn)
        invariants.check(url)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    whole = Figure(f"fan of {scale.of(FAN, 200):,} steps", "s", ceiling="runs in bulk", target=ratio_at_most(1.5))
    p50 = Figure("hop of a chain beyond its call p50", "ms", target=at_most(8))
    p99 = Figure("hop of a chain beyond its call p99", "ms")
    rate = Figure(f"{scale.of(1_000, 100):,} workflows of {SHORT} steps at once", "steps/s")
    ended = scale.of(20_000, 2_000)
    cost = Figure(f"CPU per step after {ended:,} others", "µs", ceiling="after few", target=ratio_at_most(1.2))
    figures = [whole, p50, p99, rate, cost]
    for _ in noise.rounds(scale, figures):
        fans(bed, scale, whole)
        chains(bed, scale, p50, p99)
        many(bed, scale, rate, cost)
    return figures


SCENARIO = Scenario(
    "workflow", "a fan, a chain, a thousand workflows at once, and after many others", measure, long=True
)
