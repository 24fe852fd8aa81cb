"""`python -m benchmarks.profile`: where the time of a run goes, in the daemon and in PostgreSQL.

Drains a queue with a sampler in the daemon and pg_stat_statements in the server, and prints microseconds per run. Both
cost a few percent, so these figures are for reading beside each other, not beside those of `make bench`.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import drains, machine, report, seed
from benchmarks.bed import ROOT, Bed
from benchmarks.drains import Drained

STATEMENTS = """
SELECT query, calls, rows, total_exec_time + total_plan_time AS ms, wal_bytes, shared_blks_hit + shared_blks_read
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
WHERE query !~ 'pg_stat|^(BEGIN|COMMIT|SET|SELECT NOT EXISTS)' ORDER BY ms DESC LIMIT 12"""
# The first that matches the file of the innermost frame we know says whose time it was.
AREAS = (
    ("our executor and worker", r"strait_daemon/worker/"),
    ("our writer and gatherer", r"strait_daemon/(writer|gather|intake|line)"),
    ("our egress client", r"strait_daemon/egress/"),
    ("our store", r"strait_core/store/"),
    ("rest of ours", r"strait_(core|daemon)/"),
    ("aiohttp", r"aiohttp/|multidict|yarl|aiohappy"),
    ("psycopg", r"psycopg"),
    ("event loop (uvloop, kernel)", r"^loop$"),
    ("standard library", r"asyncio/|uuid\.py|hmac|hashlib|python3"),
)

LABELS = (
    ("claim", "FOR UPDATE SKIP LOCKED ) e"),
    ("fold statistics", "DELETE FROM strait.stats_deltas"),
    ("start", "UPDATE strait.runs r SET status = $"),
    ("finish", "DELETE FROM strait.runs r USING batch"),
    ("read of the statistics", "strait.stats_dep"),
)


def record(bed: Bed, *, null: bool, count: int, slots: int) -> tuple[Counter[str], Drained, list[tuple[Any, ...]]]:
    """Sampled stacks, what the drain measured meanwhile, and the statements it ran."""
    raw, counter = bed.folder / "stacks", bed.folder / "calls"
    counter.write_bytes(bytes(8))
    changed = ["--stacks", str(raw), *(["--null", str(counter)] if null else [])]
    with bed.database() as url:
        seed.queued(url, bed.endpoint.url(), count)
        bed.endpoint.reset()
        bed.execute("CREATE EXTENSION pg_stat_statements", url)
        bed.execute("SELECT pg_stat_statements_reset()", url)
        with bed.daemon(url, mode="worker", changed=changed, WORKER_POOL_SIZE=str(slots)) as daemon:
            arrived = (lambda: drains.number(counter)) if null else (lambda: bed.endpoint.stats()["requests"])
            drained = drains.watch(bed, url, daemon, count, arrived)
        with closing(psycopg.connect(url)) as conn:
            statements = conn.execute(STATEMENTS).fetchall()
    return _stacks(raw), drained, statements


def _stacks(raw: Path) -> Counter[str]:
    """Stacks of the event loop; what came before it is the start of the program."""
    found: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, times = line.rpartition(" ")
        if "Runner.run " in stack:
            # What the loop itself does in Python stands under its own name, without the folder it lies in.
            within = stack.split("Runner.run ", 1)[1].partition(";")[2]
            found[within or "Runner.run (asyncio/runners.py)"] += int(times)
    return found


def _frame(text: str) -> tuple[str, str]:
    """Function and file of a frame spelled `name (file:line)`."""
    match = re.match(r"(.*) \((.*?)(?::\d+)?\)$", text)
    return (match[1], match[2]) if match else (text, "")


def by_area(stacks: Counter[str]) -> Counter[str]:
    areas: Counter[str] = Counter()
    for stack, times in stacks.items():
        _, file = _frame(stack.rsplit(";", 1)[-1])
        areas[next((name for name, pattern in AREAS if re.search(pattern, file)), "others")] += times
    return areas


def by_function(stacks: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Time in a function itself, and in it with all it calls."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, times in stacks.items():
        frames = [f"{name} {Path(file).name}" for name, file in map(_frame, stack.split(";"))]
        own[frames[-1]] += times
        for frame in set(frames):
            whole[frame] += times
    return own, whole


def facts(stacks: Counter[str], drained: Drained, statements: Sequence[tuple[Any, ...]], count: int) -> dict[str, Any]:
    """What is shown and kept: everything in microseconds per run."""
    micros = drained.daemon_us / (sum(stacks.values()) or 1)
    own, whole = by_function(stacks)
    return {
        "rate": drained.rate,
        "daemon_us": drained.daemon_us,
        "daemon_kernel_us": drained.daemon_us * drained.daemon_kernel,
        "postgres_us": drained.postgres_us,
        "areas": {area: times * micros for area, times in by_area(stacks).most_common()},
        "functions": {name: [times * micros, whole[name] * micros] for name, times in own.most_common(30)},
        "callers": {name: times * micros for name, times in whole.most_common(45) if own[name] < times * 0.9},
        "statements": [
            {"statement": _label(query), "calls": calls, "us_per_run": ms * 1000 / count,
             "us_per_call": ms * 1000 / calls, "wal_bytes_per_run": float(wal) / count}
            for query, calls, _, ms, wal, _ in statements
        ],
    }  # fmt: skip


def show(title: str, found: dict[str, Any]) -> None:
    print(f"\n== {title}: {found['rate']:,.0f} runs/s, daemon {found['daemon_us']:.0f} µs of CPU per run", end=" ")
    print(f"({found['daemon_kernel_us']:.0f} in the kernel), PostgreSQL {found['postgres_us']:.0f} µs")
    print("\ndaemon, by whose code was running       µs/run")
    for area, micros in found["areas"].items():
        print(f"  {area:36}{micros:8.1f}")
    print("\ndaemon, by function                                     own   with callees   µs/run")
    for name, (own, whole) in found["functions"].items():
        print(f"  {name:50}{own:8.1f}{whole:12.1f}")
    print("\n  largest with callees")
    for name, whole in found["callers"].items():
        print(f"  {name:58}{whole:12.1f}")
    print("\nPostgreSQL, by statement (without the commit)             calls    µs/run   µs/call  WAL B/run")
    for each in found["statements"]:
        print(
            f"  {each['statement']:55}{each['calls']:8}{each['us_per_run']:10.2f}{each['us_per_call']:10.0f}"
            f"{each['wal_bytes_per_run']:10.0f}"
        )


def _label(query: str) -> str:
    text = " ".join(re.sub(r"--[^\n]*", "", query).split())
    for name, sign in LABELS:
        if sign in text:
            return name
    return text[:54]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--only", choices=["drain", "noop"])
    parser.add_argument("--name", default="latest-profile", help="keep the results as results/NAME.json")
    words = parser.parse_args()
    found: dict[str, Any] = {}
    with Bed.made({"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on"}) as bed:
        described = machine.describe(bed.server)
        for title, null, slots in (("drain", False, 64), ("noop", True, 100)):
            if words.only in {None, title}:
                found[title] = facts(*record(bed, null=null, count=words.count, slots=slots), words.count)
                show(title, found[title])
    path = report.write(words.name, described, {}, profile=found)
    print(f"\nresults: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


if __name__ == "__main__":
    main()
