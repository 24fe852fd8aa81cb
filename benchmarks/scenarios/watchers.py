"""A crowd of watchers that come and go while many more runs end than are watched: how late they hear, what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from time import sleep
from typing import Any, Final

import psycopg

from benchmarks import cpu, invariants, noise
from benchmarks.bed import Bed, Daemon, end
from benchmarks.measure import Figure, Scale, Scenario, at_most, ratio_at_most
from benchmarks.scenarios.trigger import body_file, make_job

_LOOK_SECS: Final = 0.1
_COMPLETED: Final = b"""
SELECT count(*) FROM strait.run_history WHERE status = 'completed' AND finished_at <= to_timestamp(%s)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs a second that are watched, and others; seconds that each is watched, and that all of it is measured.

    Before that the crowd gathers for a while. In each second of the `parts` some streams are opened and not read.
    """

    watched: int
    others: int
    hold: float
    secs: float
    gather: float = 15.0
    parts: int = 4


FULL: Final = Plan(100, 400, 20.0, 24.0)
QUICK: Final = Plan(20, 80, 5.0, 6.0, gather=6.0, parts=2)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it: CPU microseconds of the daemon for each run, its memory in MB while runs ended, what the crowd
    says, and how many endings and completions somebody who was to hear of them never heard.
    """

    cpu_us: float
    memory: list[float]
    said: dict[str, Any]
    never_heard: int

    @property
    def grown(self) -> float:
        """MB by which the memory has grown from the middle to the end."""
        return self.memory[-1] - self.memory[len(self.memory) // 2]


def crowd(bed: Bed, plan: Plan, *, watch: bool) -> Seen:
    """One round, with the crowd watching or only triggering. AssertionError when something was never heard."""
    with bed.database() as url:
        with bed.daemon(url, mode="all", WORKER_POOL_SIZE="200") as daemon:
            make_job(bed, daemon)
            seen = _measured(bed, url, daemon, plan, watch=watch)
        invariants.check(url)
    said = seen.said
    if seen.never_heard or said["broken"] or said["gaps"] or said["closed"]:
        raise AssertionError(f"{seen.never_heard} endings and completions were never heard: {said}")
    return seen


def _measured(bed: Bed, url: str, daemon: Daemon, plan: Plan, *, watch: bool) -> Seen:
    words = ["--rate", str(plan.watched), "--hold", str(plan.hold), "--secs", str(plan.secs)]
    words += ["--gather", str(plan.gather), "--parts", str(plan.parts), *(["--watch"] if watch else [])]
    process = bed.spawn([sys.executable, "-m", "benchmarks.crowd", daemon.url, *words], stdout=subprocess.PIPE)
    try:
        _await(process, "begin")
        bed.endpoint.reset()
        spent = cpu.spent(daemon.pid)
        memory = _under_load(bed, daemon, plan)
        _await(process, "over")
        spent, runs = cpu.spent(daemon.pid) - spent, bed.endpoint.stats()["requests"]
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        return Seen(spent / max(1, runs) * 1e6, memory, said, said["never_heard"] + _missed(url, said))
    finally:
        end(process)


def _await(process: subprocess.Popen[bytes], word: str) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != word.encode():
        raise RuntimeError(f"the crowd did not say {word}")


def _under_load(bed: Bed, daemon: Daemon, plan: Plan) -> list[float]:
    """Trigger the other runs; the daemon's resident memory in MB, again and again."""
    words = ["--rate", str(plan.others), "--secs", str(plan.secs), "--body", str(body_file(bed))]
    target = f"{daemon.url}/v1/jobs/bench/trigger"
    load = bed.spawn([sys.executable, "-m", "benchmarks.load", target, *words], stdout=subprocess.PIPE)
    memory = [cpu.resident(daemon.pid) / 1e6]
    try:
        while load.poll() is None:
            sleep(_LOOK_SECS)
            memory.append(cpu.resident(daemon.pid) / 1e6)
        assert load.stdout is not None
        if load.returncode != 0:
            raise RuntimeError("the other runs could not be triggered")
        statuses = json.loads(load.stdout.read())["statuses"]
        if set(statuses) != {"201"}:
            raise AssertionError(f"not all were accepted: {statuses}")
    finally:
        end(load)
    return memory


def _missed(url: str, said: dict[str, Any]) -> int:
    """Completions of which listeners did not hear, all of them together."""
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        (completed,) = conn.execute(_COMPLETED, (said["until"],)).fetchone() or (0,)
    return sum(abs(int(completed) - heard) for heard in said["listened"])


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    plan = QUICK if scale.quick else FULL
    count = int(plan.watched * plan.hold)
    crowded, calm = f"{count:,} watchers come and go", "while nobody stalls"
    late = Figure(f"{crowded}: ending → watcher, p99", "ms", target=at_most(250))
    feed = Figure("ending → listener to all runs, p99", "ms", target=at_most(250))
    never = Figure("endings and completions never heard", "", target=at_most(0))
    beside = Figure("while some stall: ending → watcher, p99", "ms", ceiling=calm, target=ratio_at_most(1.25))
    beside_feed = Figure("while some stall: ending → listener, p99", "ms", ceiling=calm, target=ratio_at_most(1.25))
    cost = Figure("daemon CPU per run, watched", "µs", ceiling="nobody watches", target=ratio_at_most(1.1))
    memory = Figure(f"{crowded}, resident memory", "MB")
    grown = Figure("of that grown from the middle to the end", "MB")
    figures = [late, feed, never, beside, beside_feed, cost, memory, grown]
    for number in noise.rounds(scale, figures):
        # By turns: whoever comes second finds a warmer machine.
        rounds = {watch: crowd(bed, plan, watch=watch) for watch in ((True, False) if number % 2 else (False, True))}
        seen, watchers, listeners = rounds[True], rounds[True].said["watchers"], rounds[True].said["listeners"]
        late.add(watchers["p99_ms"])
        feed.add(listeners["p99_ms"])
        never.add(seen.never_heard)
        beside.add(watchers["stalled_p99_ms"], watchers["calm_p99_ms"])
        beside_feed.add(listeners["stalled_p99_ms"], listeners["calm_p99_ms"])
        cost.add(seen.cpu_us, rounds[False].cpu_us)
        memory.add(seen.memory[-1])
        grown.add(seen.grown)
    return figures


SCENARIO = Scenario(
    "watchers", "2,000 watchers replaced as their runs end, while 500 runs a second end", measure, long=True
)
