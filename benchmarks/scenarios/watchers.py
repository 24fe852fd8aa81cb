"""A crowd of watchers that come and go while many more runs end than are watched: how late they hear, what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import cpu, invariants, noise
from benchmarks.bed import Bed, Daemon, end
from benchmarks.measure import Figure, Scale, Scenario, at_most, ratio_at_most
from benchmarks.scenarios.trigger import body_file, make_job


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs a second that are watched, and others; seconds that each is watched, and that all of it is measured."""

    watched: int
    others: int
    hold: float
    secs: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it: CPU microseconds of the daemon for each run, its memory in MB, what the crowd says."""

    cpu_us: float
    memory: float
    said: dict[str, Any]


def crowd(bed: Bed, plan: Plan, *, watch: bool) -> Seen:
    """One round, with the crowd watching or only triggering."""
    with bed.database() as url:
        with bed.daemon(url, mode="all", WORKER_POOL_SIZE="200") as daemon:
            make_job(bed, daemon)
            seen = _measured(bed, daemon, plan, watch=watch)
        invariants.check(url)
    return seen


def _measured(bed: Bed, daemon: Daemon, plan: Plan, *, watch: bool) -> Seen:
    words = ["--rate", str(plan.watched), "--hold", str(plan.hold), "--secs", str(plan.secs)]
    words += ["--watch"] if watch else []
    process = bed.spawn([sys.executable, "-m", "benchmarks.crowd", daemon.url, *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"begin":
            raise RuntimeError("the crowd did not gather")
        bed.endpoint.reset()
        spent = cpu.spent(daemon.pid)
        load = ["--rate", str(plan.others), "--secs", str(plan.secs), "--body", str(body_file(bed))]
        bed.say(["benchmarks.load", f"{daemon.url}/v1/jobs/bench/trigger", *load])
        said = json.loads(process.stdout.readline())
        runs = bed.endpoint.stats()["requests"]
        return Seen((cpu.spent(daemon.pid) - spent) / max(1, runs) * 1e6, cpu.resident(daemon.pid) / 1e6, said)
    finally:
        end(process)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    plan = Plan(100, 400, 20.0, 10.0) if not scale.quick else Plan(20, 80, 5.0, 3.0)
    count = int(plan.watched * plan.hold)
    late = Figure(f"{count:,} watchers come and go: ending → watcher, p99", "ms", target=at_most(250))
    feed = Figure("ending → listener to all runs, p99", "ms", target=at_most(250))
    cost = Figure("daemon CPU per run, watched", "µs", ceiling="nobody watches", target=ratio_at_most(1.1))
    memory = Figure(f"{count:,} watchers come and go, resident memory", "MB")
    figures = [late, feed, cost, memory]
    for _ in noise.rounds(scale, figures):
        alone, seen = crowd(bed, plan, watch=False), crowd(bed, plan, watch=True)
        late.add(seen.said["p99_ms"])
        feed.add(seen.said["listeners_p99_ms"])
        cost.add(seen.cpu_us, alone.cpu_us)
        memory.add(seen.memory)
    return figures


SCENARIO = Scenario(
    "watchers", "2,000 watchers replaced as their runs end, while 500 runs a second end", measure, long=True
)
