"""kill -9 of daemons with workflows in flight: every workflow run ends as the reference says, no attempt is made twice.

CI: 12 workflows, a daemon that is killed twice, then one of two; a soak: 200 workflows and 120 kills, half of them of one
of two.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from strait_core import ids
from strait_core.workflow.definition import OnFailure, StepType, WorkflowSpec, said_of, step_of
from tests.faults.checks import expect_promises_kept
from tests.store.wild import Plan, Story
from tests.store.wild_check import check
from tests.support.daemon import Daemon, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.sizes import SEED, size
from tests.support.waiting import eventually

WORKFLOWS: Final = size(ci=12, soak=200)
KILLS: Final = size(ci=3, soak=120)
# How many of them before there is a second daemon.
ALONE: Final = size(ci=2, soak=60)
STEPS: Final = 10
POLICIES: Final = ("continue", "continue", "skip_dependents", "skip_dependents", "fail_workflow")
# An attempt that dies with its daemon is made again at once; the job's allowance outlasts every kill.
JOB: Final[dict[str, Any]] = {"max_attempts": 100, "retry_strategy": "fixed", "breaker_threshold": 0}
WORKER: Final = {"WORKER_POOL_SIZE": "20"}


def story_of(number: int, chance: random.Random) -> Story:
    """A random workflow whose steps need nobody: jobs, sleeps and sub-workflows."""
    plans: dict[str, Plan] = {}
    for at in range(STEPS):
        kind, fate = chance.choice(["job"] * 5 + ["sleep", "sub_workflow"]), "completed"
        before = {f"s{chance.randrange(max(0, at - 4), at)}" for _ in range(chance.randint(0, 2) if at else 0)}
        step: dict[str, Any] = {"step_ref": f"s{at}", "step_type": StepType(kind), "depends_on": sorted(before)}
        step["on_failure"] = OnFailure(chance.choice(POLICIES))
        if kind == "sleep":
            step["sleep_duration"] = f"{chance.randint(100, 900)}ms"
        else:
            fate = "failed" if chance.random() < 0.15 else "completed"
            step["job_id" if kind == "job" else "sub_workflow"] = f"{'in-' * (kind != 'job')}{fate}"
        plans[f"s{at}"] = Plan(step_of(step), at, fate)
    spec = WorkflowSpec("p", f"w-{number}", f"w-{number}", tuple(plan.step for plan in plans.values()))
    return Story(plans, spec, frozenset(), frozenset(), chance)


def create(daemon: Daemon, slug: str, steps: list[dict[str, Any]]) -> None:
    body = {"project_id": "p", "name": slug, "slug": slug, "steps": steps}
    daemon.call("POST", "/v1/workflows", body, status=201)


def prepare(daemon: Daemon, endpoint: Endpoint, chance: random.Random) -> dict[UUID, Story]:
    """Trigger every workflow; its run and its story."""
    daemon.make_job(endpoint.url("/slow/0.05"), "completed", **JOB)
    daemon.make_job(endpoint.url("/final"), "failed", **JOB)
    for fate in ("completed", "failed"):
        last = {"step_ref": "y", "job_id": fate, "depends_on": ["x"]}
        create(daemon, f"in-{fate}", [{"step_ref": "x", "job_id": "completed"}, last])
    told: dict[UUID, Story] = {}
    for number in range(WORKFLOWS):
        story = story_of(number, chance)
        create(daemon, story.spec.slug, [said_of(step) for step in story.spec.steps])
        run = daemon.call("POST", f"/v1/workflows/{story.spec.slug}/trigger", {}, status=201)
        run_id = ids.parse(ids.Prefix.WORKFLOW_RUN, run["id"])
        assert run_id is not None
        told[run_id] = story
    return told


def rows(database: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as conn:
        return conn.execute(statement.encode()).fetchall()


def another(database: str) -> tuple[ExitStack, Daemon]:
    stack = ExitStack()
    return stack, stack.enter_context(running_daemon(database, settings=WORKER))


@pytest.mark.slow
@pytest.mark.soak
def test_workflows_outlive_their_daemons(database: str, endpoint: Endpoint):
    """Killed and started again while steps, sleeps and children are under way: nothing is lost, doubled or swept."""
    chance = random.Random(SEED)
    running = [another(database)]
    try:
        told = prepare(running[0][1], endpoint, chance)
        for kill in range(KILLS):
            if kill == ALONE:
                running.append(another(database))
            # The instant itself is the test.
            time.sleep(chance.uniform(0, 0.5))
            at = chance.randrange(len(running))
            running[at][1].kill()
            running[at][0].close()
            running[at] = another(database)
        left = "SELECT id FROM strait.workflow_runs"
        eventually(lambda: not rows(database, left), 60 + KILLS, lambda: f"{rows(database, left)} are not over")
        for _, daemon in running:
            assert "\nstrait_workflow_runs_swept_total 0.0" in daemon.client.get("/metrics").text
            assert daemon.stop() == 0
    finally:
        for stack, _ in running:
            stack.close()
    runs = {row["id"]: row for row in rows(database, "SELECT * FROM strait.workflow_run_history")}
    steps = rows(database, "SELECT * FROM strait.workflow_step_history ORDER BY step")
    for run_id, story in told.items():
        check(story, runs[run_id], [step for step in steps if step["workflow_run_id"] == run_id], outputs=False)
    expect_promises_kept(database, endpoint)
