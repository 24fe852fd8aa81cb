"""Workflow runs in the database: what follows from what, in the transaction that records the cause."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial

import pytest
import pytest_asyncio

from strait_core.errors import ConflictError, ForbiddenError
from strait_core.run import Status
from strait_core.store import events, jobs, lineage, workflow_decisions, workflow_runs
from tests.store.flow import Flow
from tests.store.scene import Scene


@pytest_asyncio.fixture
async def flow(scene: Scene) -> Flow:
    """A scene with the job `a`."""
    await scene.job()
    return Flow(scene)


async def test_a_chain_goes_from_step_to_step(flow: Flow) -> None:
    """The end of a step starts the next one; the last one ends the run."""
    made = await flow.workflow({"step_ref": "x"}, {"step_ref": "y", "depends_on": ["x"]})
    run_id = await flow.trigger(made, {"n": 1})
    assert await flow.steps(run_id) == {"x": "running"}
    (live,) = (await flow.executing()).values()
    assert json.loads(live.payload) == {"n": 1}
    await flow.end(live, result={"m": 2})
    assert await flow.steps(run_id) == {"x": "completed", "y": "running"}
    (live,) = (await flow.executing()).values()
    assert json.loads(live.payload) == {"n": 1, "parent_outputs": {"x": {"m": 2}}}
    await flow.end(live)
    assert await flow.status(run_id) == "completed"
    assert await flow.steps(run_id) == {"x": "completed", "y": "completed"}
    assert await flow.scene.broken() == []


async def test_a_failed_step_fails_its_run_and_cancels_the_others(flow: Flow) -> None:
    """fail_workflow: what still runs is canceled, the run names the step."""
    made = await flow.workflow({"step_ref": "x"}, {"step_ref": "y"}, {"step_ref": "z", "depends_on": ["x", "y"]})
    run_id = await flow.trigger(made)
    lives = await flow.executing()
    await flow.end(lives["x"], status=Status.DEAD_LETTER)
    row = await flow.run(run_id)
    assert (row["status"], row["has_failures"]) == ("failed", True)
    assert row["error"] == "step x: dead_letter: said the test"
    assert await flow.steps(run_id) == {"x": "failed", "y": "canceled"}
    assert await flow.scene.status(lives["y"].id) == "canceled"
    assert await flow.scene.broken() == []


async def test_a_false_condition_skips_one_step_only(flow: Flow) -> None:
    """A step skipped by its condition counts as resolved, with the output null: what depends on it runs."""
    never = {"type": "eq", "left": "{{payload.go}}", "right": True}
    made = await flow.workflow(
        {"step_ref": "a"},
        {"step_ref": "b", "depends_on": ["a"], "condition": never},
        {"step_ref": "c", "depends_on": ["b"], "payload": {"was": "{{parent_outputs.b}}"}},
    )
    run_id = await flow.trigger(made, {"go": False})
    await flow.end((await flow.executing())["a"])
    live = (await flow.executing())["c"]
    assert json.loads(live.payload) == {"go": False, "was": None, "parent_outputs": {"b": None}}
    await flow.end(live)
    assert await flow.status(run_id) == "completed"
    assert (await flow.rows(run_id))["b"]["reason"] == "condition"


async def test_skip_dependents_skips_onward_and_completes(flow: Flow) -> None:
    """Only skip_dependents skips what comes after, all the way down; the run completes and says that it has failures."""
    made = await flow.workflow(
        {"step_ref": "a", "on_failure": "skip_dependents"},
        {"step_ref": "b", "depends_on": ["a"]},
        {"step_ref": "c", "depends_on": ["b"]},
        {"step_ref": "d"},
    )
    run_id = await flow.trigger(made)
    assert await flow.go(run_id, {"a": Status.FAILED}) == "completed"
    assert await flow.steps(run_id) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "completed"}
    assert (await flow.run(run_id))["has_failures"]


@pytest.mark.parametrize("first", ["a", "b"])
async def test_continue_does_not_depend_on_the_order(flow: Flow, first: str) -> None:
    """A failed step that lets the run go on opens a join as a completed one does, whichever ends first."""
    made = await flow.workflow(
        {"step_ref": "a", "on_failure": "continue"}, {"step_ref": "b"}, {"step_ref": "c", "depends_on": ["a", "b"]}
    )
    run_id = await flow.trigger(made)
    lives = await flow.executing()
    for ref in (first, "ab".replace(first, "")):
        await flow.end(lives[ref], status=Status.FAILED if ref == "a" else Status.COMPLETED, result={"n": 1})
    live = (await flow.executing())["c"]
    assert json.loads(live.payload) == {"parent_outputs": {"a": None, "b": {"n": 1}}}
    await flow.end(live)
    row = await flow.run(run_id)
    assert (row["status"], row["has_failures"]) == ("completed", True)


async def test_two_parents_at_once_start_the_join_once(flow: Flow) -> None:
    """Both parents end in transactions that overlap: the second one waits for the first and starts the join, once."""
    made = await flow.workflow({"step_ref": "a"}, {"step_ref": "b"}, {"step_ref": "c", "depends_on": ["a", "b"]})
    run_id = await flow.trigger(made)
    lives = await flow.executing()
    other = await flow.scene.other()
    async with flow.scene.conn.transaction():
        await flow.end(lives["a"])
        late = asyncio.create_task(flow.end(lives["b"], conn=other))
        await flow.scene.blocked(other)
    await late
    assert await flow.steps(run_id) == {"a": "completed", "b": "completed", "c": "running"}
    assert list(await flow.executing()) == ["c"]
    assert await flow.scene.broken() == []


async def test_an_ending_told_twice_counts_once(flow: Flow) -> None:
    """A duplicate or late delivery changes nothing."""
    made = await flow.workflow({"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    run_id = await flow.trigger(made)
    live = (await flow.executing())["a"]
    await flow.end(live)
    before = await flow.scene.everything()
    await flow.end(live)
    assert await flow.scene.everything() == before
    assert await flow.go(run_id) == "completed"
    over = await flow.scene.everything()
    await flow.end(live, status=Status.FAILED)
    assert await flow.scene.everything() == over


async def test_a_failure_while_paused_ends_the_run_when_it_goes_on(flow: Flow) -> None:
    """Nothing starts and nothing is decided in a paused run; on resume everything follows."""
    made = await flow.workflow({"step_ref": "a"}, {"step_ref": "b"}, {"step_ref": "c", "depends_on": ["b"]})
    run_id = await flow.trigger(made)
    lives = await flow.executing()
    await flow.move(workflow_runs.pause, run_id)
    await flow.end(lives["b"])
    assert await flow.executing() == {}
    await flow.end(lives["a"], status=Status.FAILED)
    assert await flow.status(run_id) == "paused"
    await flow.move(workflow_runs.resume, run_id)
    assert await flow.status(run_id) == "failed"


async def test_a_cancel_reaches_children_and_their_runs(flow: Flow) -> None:
    """A canceled run takes its sub-workflows with it, and their job runs."""
    await flow.workflow({"step_ref": "x"}, slug="inner")
    made = await flow.workflow({"step_ref": "a", "step_type": "sub_workflow", "sub_workflow": "inner"})
    run_id = await flow.trigger(made)
    live = (await flow.executing())["x"]
    assert live.workflow_run_id is not None
    await flow.move(workflow_runs.cancel, run_id)
    assert [await flow.status(one) for one in (run_id, live.workflow_run_id)] == ["canceled", "canceled"]
    assert await flow.scene.status(live.id) == "canceled"
    assert flow.brought.ended[-1].worker_id is not None
    assert await flow.scene.broken() == []


@pytest.mark.parametrize(("outcome", "ended"), [(Status.COMPLETED, "completed"), (Status.TIMED_OUT, "failed")])
async def test_a_child_tells_its_parent(flow: Flow, outcome: Status, ended: str) -> None:
    """The transaction that ends a sub-workflow's run ends the step above it, with the outputs by ref."""
    await flow.workflow({"step_ref": "x"}, slug="inner")
    made = await flow.workflow(
        {"step_ref": "a", "step_type": "sub_workflow", "sub_workflow": "inner"},
        {"step_ref": "b", "depends_on": ["a"], "payload": {"n": "{{steps.a.output.x.n}}"}},
    )
    run_id = await flow.trigger(made)
    await flow.end((await flow.executing())["x"], status=outcome, result={"n": 5})
    if outcome is Status.COMPLETED:
        live = (await flow.executing())["b"]
        assert json.loads(live.payload)["n"] == 5
        await flow.end(live)
    assert await flow.status(run_id) == ended


async def test_an_outside_end_fails_the_step(flow: Flow) -> None:
    """A job run that somebody cancels fails its step with that reason, and the policy applies."""
    made = await flow.workflow({"step_ref": "a", "on_failure": "continue"}, {"step_ref": "b", "depends_on": ["a"]})
    run_id = await flow.trigger(made)
    (row,) = await flow.scene.rows("SELECT id FROM strait.runs")
    async with flow.scene.conn.transaction():
        await lineage.cancel_family(flow.scene.conn, [row["id"]], flow.scene.now, "by hand")
    found = await flow.rows(run_id)
    assert (found["a"]["status"], found["a"]["error"]) == ("failed", "canceled: by hand")
    assert await flow.go(run_id) == "completed"


async def test_a_sleep_and_its_end(flow: Flow) -> None:
    """A sleep waits without a run and is over when its time has come, not before; once."""
    made = await flow.workflow(
        {"step_ref": "a", "step_type": "sleep", "sleep_duration": "90s"}, {"step_ref": "b", "depends_on": ["a"]}
    )
    run_id = await flow.trigger(made)
    scene = flow.scene
    assert await workflow_runs.next_due(scene.conn) == scene.now + timedelta(seconds=90)
    scene.later(seconds=89)
    assert await flow.fire() == 0
    scene.later(seconds=1)
    assert await flow.fire() == 1
    assert await flow.fire() == 0
    assert await flow.steps(run_id) == {"a": "completed", "b": "running"}


async def test_a_run_has_its_time(flow: Flow) -> None:
    """A workflow's time limit ends the run and what is under way."""
    made = await flow.workflow({"step_ref": "a"}, timeout_secs=60)
    run_id = await flow.trigger(made)
    live = (await flow.executing())["a"]
    flow.scene.later(seconds=60)
    assert await flow.fire() == 1
    assert await flow.status(run_id) == "timed_out"
    assert await flow.scene.status(live.id) == "canceled"


async def test_an_approval_waits_for_somebody_who_may(flow: Flow) -> None:
    """Without a timeout it waits for ever; only approvers decide; who has decided is kept."""
    made = await flow.workflow(
        {"step_ref": "a", "step_type": "approval", "approvers": ["ann"]}, {"step_ref": "b", "depends_on": ["a"]}
    )
    run_id = await flow.trigger(made)
    flow.scene.later(days=365)
    assert await flow.fire() == 0
    decide = partial(workflow_decisions.decide, comment="fine", approved=True)
    with pytest.raises(ForbiddenError, match="none of the approvers"):
        await flow.move(partial(decide, ref="a", actor="bob"), run_id)
    await flow.move(partial(decide, ref="a", actor="ann"), run_id)
    assert await flow.steps(run_id) == {"a": "completed", "b": "running"}
    (row,) = await flow.scene.rows("SELECT status, decided_by, comment FROM strait.approvals")
    assert row == {"status": "approved", "decided_by": "ann", "comment": "fine"}


async def test_an_approval_that_comes_too_late(flow: Flow) -> None:
    """When its time is over the step fails, and the question is closed."""
    made = await flow.workflow({"step_ref": "a", "step_type": "approval", "approval_timeout_secs": 10})
    run_id = await flow.trigger(made)
    flow.scene.later(seconds=10)
    assert await flow.fire() == 1
    assert await flow.status(run_id) == "failed"
    assert [row["status"] for row in await flow.scene.rows("SELECT status FROM strait.approvals")] == ["expired"]


@pytest.mark.parametrize("early", [True, False])
async def test_an_event_comes_early_or_late(flow: Flow, early: bool) -> None:
    """A step gets the event of its key whether it was sent within a day before or while it waits."""
    made = await flow.workflow(
        {"step_ref": "a", "step_type": "wait_for_event", "event_key": "paid-{{payload.order}}"},
        {"step_ref": "b", "depends_on": ["a"]},
    )
    scene = flow.scene
    run_id = None if early else await flow.trigger(made, {"order": 7})
    async with scene.conn.transaction():
        assert (await events.send(scene.conn, "p", "paid-7", '{"cents":5}', "hash", scene.now)).is_new
    if run_id is None:
        run_id = await flow.trigger(made, {"order": 7})
        assert await flow.fire() == 0
    else:
        assert await flow.fire() == 1
    assert (await flow.rows(run_id))["a"]["output"] == '{"cents":5}'
    assert await flow.steps(run_id) == {"a": "completed", "b": "running"}
    (event,) = await events.events_by_key(scene.conn, "paid-7", "p")
    assert (event.delivered, event.waits) == (1, 0)


async def test_a_step_emits_an_event_for_another(flow: Flow) -> None:
    """What a step emits reaches a step of the same run that waits for it, and runs elsewhere."""
    made = await flow.workflow(
        {"step_ref": "a", "event_emit_key": "done-{{run.id}}"},
        {"step_ref": "b", "step_type": "wait_for_event", "event_key": "done-{{run.id}}"},
    )
    run_id = await flow.trigger(made)
    await flow.end((await flow.executing())["a"], result=[1])
    await flow.fire()
    assert await flow.status(run_id) == "completed"
    assert (await flow.rows(run_id))["b"]["output"] == "[1]"


async def test_limits_hold_steps_back(flow: Flow) -> None:
    """max_parallel_steps and concurrency keys hold steps that are ready, roots too, until another one ends."""
    made = await flow.workflow(
        {"step_ref": "a", "concurrency_key": "k"},
        {"step_ref": "b", "concurrency_key": "k"},
        {"step_ref": "c"},
        {"step_ref": "d"},
        max_parallel_steps=2,
    )
    run_id = await flow.trigger(made)
    lives = await flow.executing()
    assert list(lives) == ["a", "c"]
    await flow.end(lives["c"])
    assert list(await flow.executing()) == ["d"]
    await flow.end(lives["a"])
    assert await flow.steps(run_id) == {"a": "completed", "b": "running", "c": "completed", "d": "running"}


async def test_a_crowded_workflow_keeps_runs_waiting(flow: Flow) -> None:
    """max_concurrent_runs: the oldest run begins when there is room."""
    made = await flow.workflow({"step_ref": "a"}, max_concurrent_runs=1)
    first = await flow.trigger(made)
    flow.scene.later(seconds=1)
    second = await flow.trigger(made)
    assert await flow.promote(made) == 1
    assert [await flow.status(one) for one in (first, second)] == ["running", "pending"]
    assert await flow.promote(made) == 0
    await flow.end((await flow.executing())["a"])
    assert await flow.promote(made) == 1
    assert await flow.go(second) == "completed"


async def test_a_missing_value_fails_the_step(flow: Flow) -> None:
    """A template without its value fails that step with the path named."""
    made = await flow.workflow(
        {"step_ref": "a", "payload": {"to": "{{payload.user.id}}"}, "on_failure": "continue"},
        {"step_ref": "b", "depends_on": ["a"]},
    )
    run_id = await flow.trigger(made)
    row = (await flow.rows(run_id))["a"]
    assert (row["status"], row["error_class"]) == ("failed", "template")
    assert "{{payload.user.id}}" in row["error"]
    assert await flow.go(run_id) == "completed"


async def test_a_job_that_takes_no_runs(flow: Flow) -> None:
    """A disabled job fails the step; a paused one takes its run and holds it."""
    await flow.scene.job(slug="off", enabled=False)
    made = await flow.workflow({"step_ref": "a", "job_id": "off"})
    run_id = await flow.trigger(made)
    assert (await flow.run(run_id))["error"] == "step a: job: 'off' is disabled"
    paused = await flow.scene.job(slug="paused")
    await jobs.pause_job(flow.scene.conn, paused.id, None, flow.scene.now)
    run_id = await flow.trigger(await flow.workflow({"step_ref": "a", "job_id": "paused"}, slug="w2"))
    assert await flow.executing() == {}
    await jobs.resume_job(flow.scene.conn, paused.id, flow.scene.now)
    assert await flow.go(run_id) == "completed"


async def test_a_retry_keeps_what_has_completed(flow: Flow) -> None:
    """A failed run goes on under the same id; completed steps keep their outputs, the others begin anew."""
    made = await flow.workflow(
        {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]}, {"step_ref": "c", "depends_on": ["b"]}
    )
    run_id = await flow.trigger(made)
    assert await flow.go(run_id, {"b": Status.FAILED}) == "failed"
    await flow.move(workflow_runs.retry, run_id)
    live = (await flow.executing())["b"]
    assert json.loads(live.payload) == {"parent_outputs": {"a": {"from": "a"}}}
    await flow.end(live)
    assert await flow.go(run_id) == "completed"
    found = await flow.rows(run_id)
    assert {ref: row["attempt"] for ref, row in found.items()} == {"a": 1, "b": 2, "c": 1}
    assert await flow.scene.broken() == []


async def test_a_step_waits_for_what_it_names(flow: Flow) -> None:
    """Also where a retry begins that one anew and keeps all between the two; the end of it wakes the step."""
    made = await flow.workflow(
        {"step_ref": "a", "on_failure": "continue"},
        {"step_ref": "b", "depends_on": ["a"]},
        {"step_ref": "c", "depends_on": ["b"], "payload": {"n": "{{steps.a.output.from}}"}},
        {
            "step_ref": "d",
            "depends_on": ["b"],
            "condition": {"type": "step_status", "step_ref": "a", "status": "completed"},
        },
    )
    run_id = await flow.trigger(made)
    assert await flow.go(run_id, {"a": Status.FAILED}) == "failed"
    await flow.move(workflow_runs.retry, run_id)
    assert await flow.steps(run_id) == {"a": "running", "b": "completed", "c": "pending"}
    await flow.end(*(await flow.executing()).values(), result={"from": "a"})
    lives = await flow.executing()
    assert sorted(lives) == ["c", "d"]
    assert json.loads(lives["c"].payload)["n"] == "a"
    await flow.end(*lives.values())
    assert await flow.status(run_id) == "completed"


async def test_a_step_and_what_hangs_on_it_begin_anew(flow: Flow) -> None:
    """Step retry keeps completed dependents, replay-subtree does not; neither touches a step that is under way."""
    made = await flow.workflow(
        {"step_ref": "a", "on_failure": "continue"},
        {"step_ref": "b", "depends_on": ["a"]},
        {"step_ref": "z", "step_type": "approval"},
    )
    run_id = await flow.trigger(made)
    await flow.go(run_id, {"a": Status.FAILED})
    await flow.move(partial(workflow_decisions.retry, ref="a", subtree=False), run_id)
    assert list(await flow.executing()) == ["a"]
    with pytest.raises(ConflictError, match="only one that is over"):
        await flow.move(partial(workflow_decisions.retry, ref="a", subtree=True), run_id)
    (row,) = await flow.scene.rows("SELECT id FROM strait.runs")
    async with flow.scene.conn.transaction():
        await lineage.cancel_family(flow.scene.conn, [row["id"]], flow.scene.now)
    await flow.move(partial(workflow_decisions.retry, ref="a", subtree=True), run_id)
    lives = await flow.executing()
    assert list(lives) == ["a"]
    await flow.end(lives["a"])
    assert list(await flow.executing()) == ["b"]


async def test_compensation_goes_backwards(flow: Flow) -> None:
    """Completed steps are undone level by level, the deepest first, each with what it had put out."""
    undo = await flow.scene.job(slug="undo")
    made = await flow.workflow(
        {"step_ref": "a", "compensation_job": "undo"},
        {"step_ref": "b", "depends_on": ["a"], "compensation_job": "undo"},
        {"step_ref": "c", "depends_on": ["b"], "on_failure": "compensate"},
    )
    run_id = await flow.trigger(made)
    seen = []
    while lives := await flow.executing():
        for ref, live in lives.items():
            if live.job_id == undo.id:
                seen.append((ref, json.loads(live.payload)["output"]))
            await flow.end(live, status=Status.FAILED if ref == "c" else Status.COMPLETED, result={"of": ref})
    assert seen == [("b", {"of": "b"}), ("a", {"of": "a"})]
    row = await flow.run(run_id)
    assert (row["status"], row["error"]) == ("compensated", "step c: failed: said the test")
    assert (await flow.steps(run_id))["-a"] == "completed"


async def test_a_failed_compensation(flow: Flow) -> None:
    """What cannot be undone ends the run as compensation_failed."""
    await flow.scene.job(slug="undo")
    made = await flow.workflow({"step_ref": "a", "compensation_job": "undo"}, {"step_ref": "c", "depends_on": ["a"]})
    run_id = await flow.trigger(made)
    await flow.end((await flow.executing())["a"])
    await flow.end((await flow.executing())["c"], status=Status.FAILED)
    await flow.move(workflow_runs.compensate, run_id)
    assert await flow.status(run_id) == "compensating"
    await flow.end((await flow.executing())["a"], status=Status.DEAD_LETTER)
    assert await flow.status(run_id) == "compensation_failed"


async def test_by_hand(flow: Flow) -> None:
    """A waiting step can be skipped or completed by hand, once; a running one cannot."""
    wait = {"step_type": "approval"}
    made = await flow.workflow(
        {"step_ref": "a", **wait}, {"step_ref": "b", **wait}, {"step_ref": "c", "depends_on": ["a", "b"]}
    )
    run_id = await flow.trigger(made)
    await flow.move(partial(workflow_decisions.skip, ref="a", reason="no time"), run_id)
    await flow.move(partial(workflow_decisions.force_complete, ref="b", output='{"x":1}'), run_id)
    with pytest.raises(ConflictError, match="step 'c' is running"):
        await flow.move(partial(workflow_decisions.skip, ref="c", reason=None), run_id)
    live = (await flow.executing())["c"]
    assert json.loads(live.payload) == {"parent_outputs": {"a": None, "b": {"x": 1}}}
    assert (await flow.rows(run_id))["a"]["reason"] == "manual: no time"
    assert [row["status"] for row in await flow.scene.rows("SELECT status FROM strait.approvals")] == ["canceled"] * 2


async def test_a_switched_off_step(flow: Flow) -> None:
    """A step that the trigger switches off is skipped like one whose condition is false."""
    made = await flow.workflow(
        {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]}, {"step_ref": "c", "depends_on": ["b"]}
    )
    run_id = await flow.trigger(made, disabled=[1])
    assert await flow.go(run_id) == "completed"
    assert await flow.steps(run_id) == {"a": "completed", "b": "skipped", "c": "completed"}


async def test_a_replay_of_a_steps_run_is_refused(flow: Flow) -> None:
    """A step is retried by its workflow run, not by a replay of its job run."""
    run_id = await flow.trigger(await flow.workflow({"step_ref": "a"}))
    live = (await flow.executing())["a"]
    await flow.end(live, status=Status.FAILED)
    assert not await flow.scene.replay(live.id)
    assert await flow.status(run_id) == "failed"
