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

from benchmarks import cpu, drains, seed
from benchmarks.bed import Bed
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
            found[stack.split("Runner.run ", 1)[1].split(";", 1)[-1]] += int(times)
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


def show(title: str, stacks: Counter[str], drained: Drained, statements: Sequence[tuple[Any, ...]], count: int):
    total = sum(stacks.values()) or 1
    micros = drained.daemon_us / total
    print(f"\n== {title}: {drained.rate:,.0f} runs/s, daemon {drained.daemon_us:.0f} µs of CPU per run,", end=" ")
    print(f"PostgreSQL {drained.postgres_us:.0f} µs, {total} samples")
    print("\ndaemon, by whose code was running       µs/run")
    for area, times in by_area(stacks).most_common():
        print(f"  {area:36}{times * micros:8.1f}")
    own, whole = by_function(stacks)
    print("\ndaemon, by function                                     own   with callees   µs/run")
    for name, times in own.most_common(32):
        print(f"  {name:50}{times * micros:8.1f}{whole[name] * micros:12.1f}")
    print("\n  largest with callees")
    for name, times in [pair for pair in whole.most_common(40) if own[pair[0]] < pair[1] * 0.9]:
        print(f"  {name:50}{own[name] * micros:8.1f}{times * micros:12.1f}")
    print("\nPostgreSQL, by statement                                  calls  rows/call   µs/run   µs/call  WAL B/run")
    for query, calls, rows, ms, wal, _ in statements:
        text = re.sub(r"--[^\n]*", "", str(query))
        text = " ".join(text.split())
        label = _label(text)
        print(
            f"  {label:55}{calls:8}{rows / calls:10.1f}{ms * 1000 / count:10.2f}{ms * 1000 / calls:10.0f}"
            f"{float(wal) / count:10.0f}"
        )


def _label(text: str) -> str:
    for name, sign in (
        ("claim", "FOR UPDATE SKIP LOCKED ) e LIMIT"),
        ("start", "UPDATE strait.runs r SET status = $"),
        ("finish", "DELETE FROM strait.runs r USING batch"),
        ("fold statistics", "stats_deltas"),
    ):
        if sign in text:
            return name
    return text[:54]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--only", choices=["drain", "noop"])
    words = parser.parse_args()
    with Bed.made({"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on"}) as bed:
        for title, null, slots in (("drain", False, 64), ("noop", True, 100)):
            if words.only in {None, title}:
                show(title, *record(bed, null=null, count=words.count, slots=slots), words.count)
        print(f"\nthis program itself: {cpu.spent(bed.endpoint.process.pid):.1f} s of CPU in the endpoint")


if __name__ == "__main__":
    main()
