"""kill -9 of daemons while schedules fire: each tick comes to one run or one recorded skip, whoever died over it.

CI: 20 schedules, a fifth of them of workflows, with a quarter of an hour to catch up on, three kills; a soak: 500
schedules for three real minutes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.faults.checks import expect_promises_kept
from tests.support.daemon import Daemon, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.sizes import SEED, size
from tests.support.waiting import eventually

SCHEDULES: Final = size(ci=20, soak=500)
MISSED: Final = 15
KILLS: Final = size(ci=3, soak=20)
# However many kills that takes.
SECS: Final = size(ci=0.0, soak=180.0)
# How long each of the kills leaves the others alone.
PAUSE: Final = size(ci=0.5, soak=3.0)
WORKER: Final = {"WORKER_POOL_SIZE": "20"}
# The step of workflows that need no endpoint, and are over before their next tick.
NAP: Final = {"step_ref": "nap", "step_type": "sleep", "sleep_duration": "100ms"}


@contextmanager
def three(database: str) -> Iterator[list[tuple[ExitStack, Daemon]]]:
    """Three daemons; whoever is killed is to be replaced by `another`."""
    running: list[tuple[ExitStack, Daemon]] = []
    try:
        running += [another(database) for _ in range(3)]
        yield running
    finally:
        for stack, _ in running:
            stack.close()


def another(database: str) -> tuple[ExitStack, Daemon]:
    stack = ExitStack()
    return stack, stack.enter_context(running_daemon(database, settings=WORKER))


def rows(database: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as conn:
        return conn.execute(statement.encode()).fetchall()


def make_schedules(database: str, endpoint: Endpoint) -> None:
    """Every minute, of jobs and of workflows, with ticks that were missed while no daemon was up."""
    with running_daemon(database, settings=WORKER) as daemon:
        for number in range(SCHEDULES):
            policy = ("allow", "skip")[number % 2]
            rest = {"cron": "* * * * *", "misfire_policy": "all", "overlap_policy": policy}
            if number % 5:
                daemon.make_job(endpoint.url("/echo"), f"job-{number}", max_attempts=50, **rest)
            else:
                body = {"project_id": "p", "name": "flow", "slug": f"flow-{number}", "steps": [NAP], **rest}
                daemon.call("POST", "/v1/workflows", body, status=201)
        assert daemon.stop() == 0
    with psycopg.connect(database) as conn:
        conn.execute(
            "UPDATE strait.schedules SET next_fire_at = next_fire_at - make_interval(mins => %s),"
            " due_at = due_at - make_interval(mins => %s)",
            (MISSED, MISSED),
        )


@pytest.mark.soak
@pytest.mark.slow
def test_ticks_survive_whoever_decides_them(database: str, endpoint: Endpoint, figures: Figures):
    """Every schedule's minutes follow each other without a gap, and each run belongs to one of them."""
    chance = random.Random(SEED)
    make_schedules(database, endpoint)
    began, kills = time.monotonic(), 0
    with three(database) as running:
        while kills < KILLS or time.monotonic() - began < SECS:
            # The instant itself is the test.
            time.sleep(chance.uniform(0, PAUSE))
            at = chance.randrange(3)
            stack, victim = running[at]
            victim.kill()
            stack.close()
            running[at] = another(database)
            kills += 1
        eventually(lambda: caught_up(database), 90, lambda: "ticks are still due")
        for _, daemon in running:
            assert daemon.stop() == 0
    fires = rows(database, "SELECT schedule_id, fire_at, ticks, run_id FROM strait.schedule_fires ORDER BY 1, 2")
    by_schedule: dict[Any, list[dict[str, Any]]] = {}
    for fire in fires:
        by_schedule.setdefault(fire["schedule_id"], []).append(fire)
    assert len(by_schedule) == SCHEDULES
    for told in by_schedule.values():
        first = told[0]["fire_at"] - (told[0]["ticks"] - 1) * timedelta(minutes=1)
        minutes = (told[-1]["fire_at"] - first) // timedelta(minutes=1) + 1
        assert sum(fire["ticks"] for fire in told) == minutes >= MISSED - 1
    made = rows(database, "SELECT id FROM strait.all_runs UNION ALL SELECT id FROM strait.all_workflow_runs")
    assert len(made) == len({run["id"] for run in made})
    assert {run["id"] for run in made} == {fire["run_id"] for fire in fires if fire["run_id"] is not None}
    expect_promises_kept(database, endpoint)
    took = f"{time.monotonic() - began:.0f} s"
    ticks = f"{sum(fire['ticks'] for fire in fires):,} ticks, {len(made):,} runs"
    figures.note("ticks beside kills", f"{SCHEDULES} schedules, {kills} kills in {took}", ticks)


def caught_up(database: str) -> bool:
    """Whether no tick is due any more."""
    late = rows(database, "SELECT 1 FROM strait.schedules WHERE due_at < clock_timestamp() - interval '2 seconds'")
    return not late
