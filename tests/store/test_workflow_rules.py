"""What other engines get wrong, rule by rule, as far as `test_workflow_runs` does not show it; docs/testing.md lists all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from strait_core.run import Status
from strait_core.store import workflow_runs, workflow_views
from strait_core.store.verdict import Verdict
from strait_core.store.workflow_finishes import finish_steps
from tests.store.flow import Flow
from tests.store.scene import NO_MARKS, Scene


@pytest_asyncio.fixture
async def flow(scene: Scene) -> Flow:
    """A scene with the job `a`."""
    await scene.job()
    return Flow(scene)


async def test_a_started_wait_is_not_started_again(flow: Flow) -> None:
    """However often the run is looked at: one question, one time to wake, one wait for the event."""
    made = await flow.workflow(
        {"step_ref": "ask", "step_type": "approval", "approval_timeout_secs": 90},
        {"step_ref": "sleep", "step_type": "sleep", "sleep_duration": "60s"},
        {"step_ref": "wait", "step_type": "wait_for_event", "event_key": "k", "event_timeout_secs": 90},
        *({"step_ref": ref} for ref in "xyz"),
        {"step_ref": "end", "depends_on": ["ask", "sleep", "wait", "x", "y", "z"]},
    )
    run_id = await flow.trigger(made)
    before = {ref: row for ref, row in (await flow.rows(run_id)).items() if row["status"] == "waiting"}
    assert len(before) == 3
    for live in (await flow.executing()).values():
        flow.scene.later(seconds=10)
        await flow.end(live)
        async with flow.scene.conn.transaction():
            assert await workflow_runs.look_again(flow.scene.conn, run_id, flow.scene.now) is None
    after = await flow.rows(run_id)
    assert {ref: after[ref] for ref in before} == before
    assert [row["n"] for row in await flow.scene.rows("SELECT count(*) AS n FROM strait.approvals")] == [1]


async def test_a_job_may_end_before_anybody_sees_its_step(flow: Flow) -> None:
    """A run and its step become visible at once: nobody can claim the run before, and whoever ends it then is heard."""
    made = await flow.workflow({"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    run_id = await flow.trigger(made)
    (first,) = (await flow.executing()).values()
    other = await flow.scene.other()
    async with flow.scene.conn.transaction():
        await flow.end(first)
        assert await flow.scene.claim(conn=other) == []
        assert await flow.scene.rows("SELECT id FROM strait.runs WHERE step_ref = 'b'", conn=other) == []
    (claimed,) = await flow.scene.claim(conn=other, marks=NO_MARKS)
    (live,) = await flow.scene.start(claimed)
    await flow.end(live, conn=other)
    assert await flow.status(run_id) == "completed"


@pytest.mark.parametrize("how", ["timed_out", "canceled"])
async def test_a_child_that_is_stopped_tells_its_parent(flow: Flow, how: str) -> None:
    """A sub-workflow's run that runs out of time, or that somebody cancels, fails the step above it, with that reason."""
    await flow.workflow({"step_ref": "x"}, slug="inner", timeout_secs=30)
    made = await flow.workflow(
        {"step_ref": "a", "step_type": "sub_workflow", "sub_workflow": "inner", "on_failure": "continue"},
        {"step_ref": "b", "depends_on": ["a"]},
    )
    run_id = await flow.trigger(made)
    (live,) = (await flow.executing()).values()
    assert live.workflow_run_id is not None
    if how == "timed_out":
        flow.scene.later(seconds=30)
        assert await flow.fire() == 1
    else:
        await flow.move(workflow_runs.cancel, live.workflow_run_id)
    found = await flow.rows(run_id)
    assert (found["a"]["status"], found["a"]["error_class"]) == ("failed", f"sub_workflow_{how}")
    assert await flow.scene.status(live.id) == "canceled"
    assert await flow.go(run_id) == "completed"


async def test_root_steps_obey_their_conditions(flow: Flow) -> None:
    """A root whose condition is false is skipped when the run begins, and what depends on it runs."""
    only: dict[str, Any] = {"type": "eq", "left": "{{payload.go}}", "right": True}
    made = await flow.workflow({"step_ref": "a", "condition": only}, {"step_ref": "b", "depends_on": ["a"]})
    run_id = await flow.trigger(made, {"go": False})
    assert await flow.steps(run_id) == {"a": "skipped", "b": "running"}


async def test_endings_of_several_workflow_runs_go_together(flow: Flow) -> None:
    """Endings of several workflow runs go in one transaction: both trees go on, and each attempt is closed once."""
    made = await flow.workflow({"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    runs = [await flow.trigger(made) for _ in range(3)]
    lives = await flow.executing_all()
    moves = [
        flow.scene.ending(live, result="1", workflow_run_id=live.workflow_run_id, step_index=live.step_index)
        for live in lives
    ]
    verdict = Verdict()
    await finish_steps(flow.scene.conn, moves, flow.scene.now, verdict)
    assert verdict.held == {live.id for live in lives}
    assert [await flow.steps(run_id) for run_id in runs] == [{"a": "completed", "b": "running"}] * 3
    again = Verdict()
    await finish_steps(flow.scene.conn, moves, flow.scene.now, again)
    assert again.held == set()
    assert await flow.scene.broken() == []


async def test_a_sleep_is_looked_at_when_its_time_comes(flow: Flow) -> None:
    """The time to look next is the sleep's own end, to the millisecond, whatever else waits longer."""
    made = await flow.workflow(
        {"step_ref": "a", "step_type": "sleep", "sleep_duration": "1s500ms"},
        {"step_ref": "b", "step_type": "sleep", "sleep_until": "2030-01-16T12:00:03Z"},
    )
    run_id = await flow.trigger(made)
    now = flow.scene.now
    assert await workflow_runs.next_due(flow.scene.conn) == now + timedelta(seconds=1.5)
    flow.scene.later(seconds=1.5)
    assert await flow.fire() == 1
    assert await workflow_runs.next_due(flow.scene.conn) == now + timedelta(seconds=3)
    flow.scene.later(seconds=1.5)
    assert await flow.fire() == 1
    assert await flow.status(run_id) == Status.COMPLETED


async def test_a_step_that_a_retry_has_put_back_is_canceled_with_its_run(flow: Flow) -> None:
    """It waits for a step that begins anew, another one ends the run before its turn, and it is told as canceled."""
    made = await flow.workflow(
        {"step_ref": "a", "on_failure": "continue"},
        {"step_ref": "b"},
        {"step_ref": "ask", "step_type": "approval", "depends_on": ["a"]},
    )
    run_id = await flow.trigger(made)
    await flow.end((await flow.executing())["a"], status=Status.FAILED)
    assert (await flow.steps(run_id))["ask"] == "waiting"
    await flow.move(workflow_runs.cancel, run_id)
    await flow.move(workflow_runs.retry, run_id)
    assert (await flow.steps(run_id))["ask"] == "pending"
    await flow.end((await flow.executing())["b"], status=Status.FAILED)
    _, views = await workflow_views.view_steps(flow.scene.conn, await flow.run(run_id))
    assert [view.status.value for view in views] == ["canceled", "failed", "canceled"]
