"""Two thousand watchers of one process, each on a run of its own, while a hundred of these runs a second end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

from benchmarks import cpu, invariants, noise
from benchmarks.bed import Bed, Daemon, end
from benchmarks.measure import Figure, Scale, Scenario, at_most
from benchmarks.scenarios.trigger import make_job

BULK = 1_000
ENDINGS_PER_SEC = 100
IDLE_SECS = 2.0


def delayed_runs(daemon: Daemon, count: int) -> list[str]:
    """Runs that nobody will start meanwhile."""
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    ids: list[str] = []
    while len(ids) < count:
        items = [{"scheduled_at": later}] * min(BULK, count - len(ids))
        ids += [run["id"] for run in daemon.call("POST", "/v1/jobs/bench/trigger/bulk", {"items": items})["data"]]
    return ids


def end_some(daemon: Daemon, ids: Sequence[str]) -> None:
    """Cancel these, on their dates."""
    began = monotonic()
    for number, run in enumerate(ids):
        sleep(max(0.0, began + number / ENDINGS_PER_SEC - monotonic()))
        daemon.call("POST", f"/v1/runs/{run}/cancel")


def watched(bed: Bed, daemon: Daemon, count: int, ending: int) -> tuple[dict[str, float], float, float]:
    """What the watchers heard; the daemon's CPU share with all of them idle, and its resident memory in MB."""
    ids = delayed_runs(daemon, count)
    listed = bed.folder / "runs"
    listed.write_text("\n".join(ids))
    words = [sys.executable, "-m", "benchmarks.watchers", daemon.url, "--runs", str(listed), "--until", str(ending)]
    process = bed.spawn(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"watching":
            raise RuntimeError("the watchers did not get their snapshots")
        spent = cpu.spent(daemon.pid)
        sleep(IDLE_SECS)
        share = (cpu.spent(daemon.pid) - spent) / IDLE_SECS * 100
        memory = cpu.resident(daemon.pid) / 1e6
        end_some(daemon, ids[:: count // ending][:ending])
        heard: dict[str, float] = json.loads(process.stdout.readline())
        return heard, share, memory
    finally:
        end(process)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count, ending = scale.of(2_000, 200), scale.of(500, 100)
    half = Figure("ending → watcher, p50", "ms")
    late = Figure("ending → watcher, p99", "ms", target=at_most(250))
    share = Figure(f"{count:,} idle watchers, daemon CPU", "% of a core")
    memory = Figure(f"{count:,} watchers, resident memory", "MB")
    figures = [half, late, share, memory]
    for _ in noise.rounds(scale, figures):
        with bed.database() as url:
            with bed.daemon(url, mode="all") as daemon:
                make_job(bed, daemon)
                heard, idle, resident = watched(bed, daemon, count, ending)
            half.add(heard["p50_ms"])
            late.add(heard["p99_ms"])
            share.add(idle)
            memory.add(resident)
            invariants.check(url)
    return figures


SCENARIO = Scenario(
    "streams", "2,000 watchers, each on a run of its own, 100 of which end every second", measure, long=True
)
