"""Workflow runs over HTTP: triggered, read, moved by hand, explained; approvals and their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from strait_core import ids
from strait_core.ids import Prefix
from strait_core.run import Status
from strait_core.store import workflows
from strait_core.store.history import keep_of
from strait_core.store.queue import Finish
from strait_core.workflow.definition import WorkflowSpec, step_of
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import speaking

ASK = {"step_ref": "ask", "step_type": "approval", "approvers": ["ann"]}


def make(api: Caller, *steps: Mapping[str, Any], slug: str = "flow", **settings: Any) -> str:
    """A workflow in the test's project; a step without a type is one of the job `job`."""
    parts = api.server.parts
    made = tuple(step_of({"job_id": "job", **step} if "step_type" not in step else step) for step in steps)
    spec = WorkflowSpec(api.project, slug, slug, made, **settings)

    async def work() -> None:
        async with parts.pool.connection() as conn:
            stored = await workflows.insert_workflow(
                conn, parts.new_id(), parts.new_id(), spec, parts.clock.now(), enabled=True
            )
            assert stored is not None

    api.server.do(work())
    return slug


def start(api: Caller, slug: str, status: int = 201, **body: Any) -> dict[str, Any]:
    """Trigger a workflow of the test's project."""
    path = f"/v1/workflows/{slug}/trigger?project_id={api.project}"
    run: dict[str, Any] = api.call("POST", path, body, status=status)
    return run


def steps(api: Caller, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The steps of a run by their refs."""
    found = api.call("GET", f"/v1/workflow-runs/{run['id']}/steps?limit=200")["data"]
    return {one["step_ref"]: one for one in found}


def end(api: Caller, run: Mapping[str, Any], ref: str, status: Status = Status.COMPLETED, result: Any = None) -> None:
    """End the job run of a step, through the writer."""
    live = api.start(api.claim({"id": steps(api, run)[ref]["job_run_id"]}))
    move = Finish(
        id=live.id,
        attempt=live.attempt,
        lease=live.lease,
        status=status,
        keep=keep_of(status),
        finished_at=api.server.parts.clock.now(),
        result=json.dumps(result) if status is Status.COMPLETED else None,
        error=None if status is Status.COMPLETED else "HTTP 500: no",
        error_class=None if status is Status.COMPLETED else "server",
        workflow_run_id=live.workflow_run_id,
        step_index=live.step_index,
    )

    async def write() -> bool:
        return await api.server.parts.writer.write(move)

    assert api.server.do(write())


def test_a_run_from_trigger_to_completed(api: Caller):
    """The whole object at 201; steps, their outputs, the job run's own place, the timeline."""
    api.make_job()
    make(api, {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    run = start(api, "flow", payload={"n": 1}, tags={"team": "x"}, labels={"pr": "7"})
    assert (run["status"], run["payload"], run["tags"], run["labels"], run["workflow_slug"]) == (
        "running", {"n": 1}, {"team": "x"}, {"pr": "7"}, "flow",
    )  # fmt: skip
    job_run = api.run(steps(api, run)["a"]["job_run_id"])
    assert (job_run["workflow_run_id"], job_run["step_ref"], job_run["triggered_by"]) == (run["id"], "a", "workflow")
    end(api, run, "a", result={"x": 5})
    assert steps(api, run)["b"]["status"] == "running"
    graph = api.call("GET", f"/v1/workflow-runs/{run['id']}/graph")
    assert {node["step_ref"]: node["status"] for node in graph["nodes"]} == {"a": "completed", "b": "running"}
    assert (graph["runnable"], graph["edges"]) == (["b"], [{"before": "a", "after": "b"}])
    assert api.call("GET", f"/v1/workflow-runs/{run['id']}/steps/a")["output"] == {"x": 5}
    assert "output" not in steps(api, run)["a"]
    end(api, run, "b")
    over = api.call("GET", f"/v1/workflow-runs/{run['id']}")
    assert (over["status"], over["has_failures"]) == ("completed", False)
    timeline = api.call("GET", f"/v1/workflow-runs/{run['id']}/timeline")
    assert [one["step_ref"] for one in timeline["steps"]] == ["a", "b"]
    assert timeline["steps"][1]["ready_at"] == timeline["steps"][0]["finished_at"]


def test_a_replay_of_a_steps_run_names_the_way(api: Caller):
    """409 that names steps/{ref}/retry; a bulk replay skips it."""
    api.make_job(max_attempts=1)
    make(api, {"step_ref": "a"})
    run = start(api, "flow")
    job_run = steps(api, run)["a"]["job_run_id"]
    end(api, run, "a", Status.DEAD_LETTER)
    problem = api.refuse("POST", f"/v1/runs/{job_run}/replay", {}, status=409)
    assert f"{run['id']}/steps/a/retry" in problem["hint"]
    told = api.call("POST", "/v1/runs/bulk-replay", {"ids": [job_run]})
    assert (told["done"], told["skipped"][0]["reason"]) == (
        0,
        "it carries out a step of a workflow run, which retries it",
    )
    api.call("POST", f"/v1/workflow-runs/{run['id']}/steps/a/retry", {})
    end(api, run, "a")
    assert api.call("GET", f"/v1/workflow-runs/{run['id']}")["status"] == "completed"


def test_pause_resume_cancel_and_retry(api: Caller):
    """Each answers with the run; what the state forbids is 409."""
    api.make_job()
    make(api, {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    run = start(api, "flow")
    path = f"/v1/workflow-runs/{run['id']}"
    assert api.call("POST", f"{path}/pause", {})["status"] == "paused"
    end(api, run, "a")
    assert steps(api, run)["b"]["status"] == "pending"
    assert "paused" in api.call("GET", f"{path}/explain")["steps"][0]["text"]
    assert api.call("POST", f"{path}/resume", {})["status"] == "running"
    assert api.call("POST", f"{path}/cancel", {})["status"] == "canceled"
    assert api.call("POST", f"{path}/cancel", {})["status"] == "canceled"
    api.refuse("POST", f"{path}/pause", {}, status=409)
    assert api.call("POST", f"{path}/retry", {})["status"] == "running"
    found = steps(api, run)
    assert (found["a"]["status"], found["b"]["status"], found["b"]["attempt"]) == ("completed", "running", 2)


def test_an_approval_is_answered_by_who_may(api: Caller):
    """The actor is the header's, never the body's; a decided question stays decided."""
    make(api, ASK)
    run = start(api, "flow")
    (asked,) = api.call("GET", f"/v1/approvals?project_id={api.project}&status=pending")["data"]
    assert (asked["workflow_run_id"], asked["step_ref"], asked["approvers"]) == (run["id"], "ask", ["ann"])
    path = f"/v1/approvals/{asked['id']}/approve"
    api.refuse("POST", path, {}, status=403)
    api.refuse("POST", path, {"actor": "ann"}, status=422)
    decided = api.call("POST", path, {"comment": "fine"}, headers={"X-Actor": "ann"})
    assert (decided["status"], decided["decided_by"], decided["comment"]) == ("approved", "ann", "fine")
    assert api.call("GET", f"/v1/workflow-runs/{run['id']}")["status"] == "completed"
    api.refuse("POST", path, {}, status=409, headers={"X-Actor": "ann"})


def test_a_step_is_rejected_skipped_or_completed(api: Caller):
    """By the routes of steps."""
    make(api, {**ASK, "approvers": []}, {"step_ref": "wait", "step_type": "wait_for_event", "event_key": "k"})
    run = start(api, "flow")
    path = f"/v1/workflow-runs/{run['id']}/steps"
    api.call("POST", f"{path}/wait/force-complete", {"output": {"n": 1.50}})
    assert '"output":{"n":1.5}' in api.client.get(f"{path}/wait").text
    assert api.call("POST", f"{path}/ask/reject", {"comment": "no"})["status"] == "failed"
    assert steps(api, run)["ask"]["error"] == "rejected: by internal: no"
    api.refuse("POST", f"{path}/ask/skip", {}, status=409)
    api.refuse("POST", f"{path}/nobody/retry", {}, status=404)
    retried = api.call("POST", f"{path}/ask/retry", {})
    assert retried["status"] == "running"
    assert api.call("POST", f"{path}/ask/skip", {"reason": "late"})["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"step_overrides": [{"step_ref": "no", "enabled": False}]}, "/step_overrides/0/step_ref"),
        ({"step_overrides": [{"step_ref": "ask", "enabled": False}]}, "/step_overrides"),
        ({"labels": {"": "x"}}, "/labels"),
    ],
)
def test_a_wrong_trigger_is_refused(api: Caller, body: dict[str, Any], pointer: str):
    """422 with the place."""
    make(api, ASK)
    problem = api.refuse("POST", f"/v1/workflows/flow/trigger?project_id={api.project}", body, status=422)
    assert problem["errors"][0]["pointer"].startswith(pointer)


def test_the_same_key_triggers_once(api: Caller):
    """The second answer is the first one again; another body is refused."""
    make(api, ASK)
    path = f"/v1/workflows/flow/trigger?project_id={api.project}"
    first = api.call("POST", path, {"payload": 1}, status=201, headers={"Idempotency-Key": "k"})
    again = api.call("POST", path, {"payload": 1}, status=201, headers={"Idempotency-Key": "k"})
    assert again["id"] == first["id"]
    api.refuse("POST", path, {"payload": 2}, status=422, headers={"Idempotency-Key": "k"})
    assert len(api.call("GET", f"/v1/workflow-runs?project_id={api.project}")["data"]) == 1


def test_what_the_sdk_completes_reaches_the_step(api: Caller, contract: Contract):
    """A result that the endpoint itself gives is the step's output, and the next step starts with it."""
    make(api, {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    api.make_job()
    run = start(api, "flow")
    job_run = api.run(steps(api, run)["a"]["job_run_id"])
    with speaking(api, contract, api.start(api.claim(job_run)), job_run) as endpoint:
        assert endpoint.say("POST", "complete", {"result": {"n": 7}})["status"] == "completed"
    found = steps(api, run)
    assert (found["a"]["status"], found["b"]["status"]) == ("completed", "running")
    assert api.run(found["b"]["job_run_id"])["payload"] == {"parent_outputs": {"a": {"n": 7}}}


def test_why_steps_wait(api: Caller):
    """Each kind of wait says for what: the event by the key that it has here, who may decide, until when, behind whom."""
    api.make_job()
    make(api, {"step_ref": "x", "step_type": "sleep", "sleep_duration": "1h"}, slug="inner")
    wait = {"step_ref": "wait", "step_type": "wait_for_event", "event_key": "order:{{payload.order}}:paid"}
    inner = {"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": "inner", "concurrency_key": "k"}
    nap = {"step_ref": "nap", "step_type": "sleep", "sleep_until": "2040-01-01T00:00:00Z"}
    behind = {"step_ref": "behind", "concurrency_key": "k"}
    last = {"step_ref": "last", "depends_on": ["wait", "ask"]}
    run = start(api, make(api, wait, ASK, nap, inner, behind, last), payload={"order": 7.5})
    told = api.call("GET", f"/v1/workflow-runs/{run['id']}/explain")
    child = steps(api, run)["in"]["workflow_run_id"]
    assert {one["step_ref"]: one["text"] for one in told["steps"]} == {
        "wait": "waits for the event 'order:7.5:paid'",
        "ask": "waits for an approval by ann",
        "nap": "sleeps until 2040-01-01 00:00:00Z",
        "in": f"its workflow run {child} is under way",
        "behind": "its concurrency key 'k' is held by in",
        "last": "waits for wait (waiting), ask (waiting)",
    }


def test_lists_page_and_narrow(api: Caller):
    """Runs by workflow, state and tag, newest first; steps page stably in the order of the definition."""
    make(api, *({**ASK, "step_ref": f"s{n}"} for n in range(5)))
    runs = [start(api, "flow", tags={"n": str(n)}) for n in range(3)]
    api.call("POST", f"/v1/workflow-runs/{runs[0]['id']}/cancel", {})
    where = f"/v1/workflow-runs?project_id={api.project}"
    page = api.call("GET", f"{where}&limit=2")
    rest = api.call("GET", f"{where}&limit=2&cursor={page['next_cursor']}")
    assert [one["id"] for one in page["data"] + rest["data"]] == [one["id"] for one in reversed(runs)]
    assert [one["id"] for one in api.call("GET", f"{where}&status=canceled")["data"]] == [runs[0]["id"]]
    assert [one["id"] for one in api.call("GET", f"{where}&tag=n:1&workflow_id=flow")["data"]] == [runs[1]["id"]]
    path = f"/v1/workflow-runs/{runs[1]['id']}/steps?limit=2"
    page = api.call("GET", path)
    seen = [one["step_ref"] for one in page["data"]]
    while page["next_cursor"]:
        page = api.call("GET", f"{path}&cursor={page['next_cursor']}")
        seen += [one["step_ref"] for one in page["data"]]
    assert seen == [f"s{n}" for n in range(5)]


def test_other_projects_runs_are_not_there(api: Caller):
    """404, not 403; and no such id."""
    make(api, ASK)
    run = start(api, "flow")
    path = f"/v1/workflow-runs/{run['id']}"
    nobody = f"/v1/workflow-runs/{ids.spell(Prefix.WORKFLOW_RUN, UUID(int=0))}"
    for method, wrong in (
        ("GET", f"{path}?project_id=other"),
        ("POST", f"{path}/cancel?project_id=other"),
        ("GET", "/v1/workflow-runs/wfr_x"),
        ("GET", nobody),
    ):
        assert api.refuse(method, wrong, {} if method == "POST" else None, status=404)["code"] == "not_found"
