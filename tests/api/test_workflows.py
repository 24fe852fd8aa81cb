"""Workflow definitions over HTTP: made, read, changed, compared, drawn; every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.caller import Caller

Json = dict[str, Any]
STEPS: list[Json] = [
    {"step_ref": "extract", "job_id": "work", "payload": {"n": 1.50, "day": "{{payload.day}}"}},
    {"step_ref": "load", "job_id": "work", "depends_on": ["extract"], "output_transform": "$.rows"},
    {"step_ref": "rest", "step_type": "sleep", "depends_on": ["extract"], "sleep_duration": "1h30m"},
    {"step_ref": "done", "job_id": "work", "depends_on": ["load", "rest"], "on_failure": "continue"},
]


def made(api: Caller, slug: str = "flow", steps: list[Json] = STEPS, **more: Any) -> Json:
    """Create a workflow in the test's project, and before it the job that its steps name."""
    if not api.call("GET", f"/v1/jobs?slug=work&project_id={api.project}")["data"]:
        api.make_job("work")
    body = {"project_id": api.project, "name": slug, "slug": slug, "steps": steps, **more}
    workflow: Json = api.call("POST", "/v1/workflows", body, status=201)
    return workflow


def told(problem: Json) -> dict[str, str]:
    return {fault["pointer"]: fault["message"] for fault in problem["errors"]}


def refused(api: Caller, steps: list[Json], **more: Any) -> dict[str, str]:
    """The faults of a definition that must be refused."""
    body = {"project_id": api.project, "name": "x", "slug": "x", "steps": steps, **more}
    return told(api.refuse("POST", "/v1/workflows", body, status=422))


def test_create_read_list(api: Caller):
    """Whole when it is made and read, by id and by slug; without steps in lists."""
    flow = made(api, description="d", tags={"team": "data"}, max_parallel_steps=2, timeout_secs=0)
    assert flow["id"].startswith("wf_")
    assert flow["version_id"].startswith("ver_")
    assert (flow["version"], flow["step_count"], flow["max_parallel_steps"], flow["timeout_secs"]) == (1, 4, 2, None)
    assert flow["steps"][0] == {
        "step_ref": "extract", "step_type": "job", "depends_on": [], "on_failure": "fail_workflow", "job_id": "work",
        "payload": {"n": 1.5, "day": "{{payload.day}}"},
    }  # fmt: skip
    path = f"/v1/workflows/flow?project_id={api.project}"
    assert api.call("GET", path) == api.call("GET", f"/v1/workflows/{flow['id']}") == flow
    (listed,) = api.call("GET", f"/v1/workflows?project_id={api.project}&tag=team:data")["data"]
    assert "steps" not in listed
    assert {**listed, "steps": flow["steps"]} == flow
    assert api.call("GET", f"/v1/workflows?project_id={api.project}&slug=other")["data"] == []
    api.refuse("GET", "/v1/workflows/nobody", status=404)
    api.refuse("GET", f"/v1/workflows/{flow['id']}?project_id=elsewhere", status=404)


def test_payloads_keep_their_digits(api: Caller):
    """What a step's payload says is given back as it was written; null is none."""
    flow = made(api)
    steps = '[{"step_ref": "a", "job_id": "work", "payload": {"n": 1.50, "big": 12345678901234567890123}}, {"step_ref": "b", "job_id": "work", "payload": null}]'
    answer = api.client.patch(
        f"/v1/workflows/{flow['id']}", content=f'{{"steps": {steps}}}', headers={"content-type": "application/json"}
    )
    assert '"payload":{"n": 1.50, "big": 12345678901234567890123}' in answer.text
    assert "payload" not in answer.json()["steps"][1]


def test_a_slug_is_taken_once(api: Caller):
    """409 in its project; a slug of several projects has to be told apart."""
    flow = made(api)
    body = {"project_id": api.project, "name": "x", "slug": "flow", "steps": STEPS}
    api.refuse("POST", "/v1/workflows", body, status=409)
    other = made(api, "other")
    api.refuse("PATCH", f"/v1/workflows/{other['id']}", {"slug": "flow"}, status=409)
    there = Caller(api.client, api.server, f"{api.project}-b")
    made(there)
    problem = api.refuse("GET", "/v1/workflows/flow", status=409)
    assert there.project in problem["detail"]
    assert flow["project_id"] in problem["detail"]


def test_every_fault_at_once(api: Caller):
    """What it says of itself, missing fields included, and what it refers to, with pointers; nothing is stored."""
    api.make_job("work")
    faults = told(api.refuse("POST", "/v1/workflows", {"timeout_secs": -1, "steps": [{"job_id": "x"}]}, status=422))
    assert faults.keys() == {"/name", "/slug", "/project_id", "/timeout_secs", "/steps/0/step_ref"}
    ring: list[Json] = [{"step_ref": ref, "job_id": "work", "depends_on": [on]} for ref, on in ("ac", "ba", "cb")]
    assert refused(api, ring) == {"/steps/0/depends_on": "closes a cycle: a → b → c → a"}
    assert refused(api, []).keys() == {"/steps"}
    many = [{"step_ref": f"s{n}", "job_id": "work"} for n in range(1_001)]
    assert refused(api, many) == {"/steps": "must be 1 to 1000 steps, not 1001"}
    wrong: list[Json] = [
        {"step_ref": "a", "job_id": "work", "depends_on": ["a", "z"]},
        {"step_ref": "a", "job_id": "work", "payload": "{{nobody.x}}", "output_transform": "rows"},
        {"step_ref": "b", "step_type": "sleep", "condition": {"type": "regex", "left": "{{payload}}", "right": "("}},
        {"step_ref": "c", "job_id": "nobody", "event_emit_key": "{{nobody.x}}"},
        {"step_ref": "d", "step_type": "sub_workflow", "sub_workflow": "No Slug"},
    ]
    assert refused(api, wrong).keys() == {
        "/steps/0/depends_on/0", "/steps/0/depends_on/1", "/steps/1/step_ref", "/steps/1/payload",
        "/steps/1/output_transform", "/steps/2/sleep_duration", "/steps/2/condition/right", "/steps/3/job_id",
        "/steps/3/event_emit_key", "/steps/4/sub_workflow",
    }  # fmt: skip
    assert api.call("GET", f"/v1/workflows?project_id={api.project}")["data"] == []


@pytest.mark.parametrize(
    ("step", "pointer", "words"),
    [
        ({"step_type": "jump"}, "/steps/0/step_type", "one of job, approval"),
        ({"more": 1}, "/steps/0/more", "not a field"),
        ({"depends_on": "a"}, "/steps/0/depends_on", "an array"),
        ({"retry_max_attempts": "3"}, "/steps/0/retry_max_attempts", "whole number"),
        ({"condition": True}, "/steps/0/condition", "an object"),
        ({"cron": "* * * * *"}, "/steps/0/cron", "not a field"),
    ],
)
def test_wrong_shapes(api: Caller, step: Json, pointer: str, words: str):
    """What is no step at all is refused with its place."""
    found = refused(api, [{"step_ref": "a", "job_id": "x", **step}])
    assert words in found[pointer]


def test_what_steps_refer_to_has_to_be_there(api: Caller):
    """Jobs and workflows of the same project, by id or slug; each that is not is told."""
    job = api.make_job("work")
    there = Caller(api.client, api.server, f"{api.project}-b")
    foreign = there.make_job("theirs")
    steps = [
        {"step_ref": "a", "job_id": job["id"], "compensation_job": "nobody"},
        {"step_ref": "b", "job_id": foreign["id"], "retry_backoff": "custom"},
        {"step_ref": "c", "step_type": "sub_workflow", "sub_workflow": "nobody"},
        {"step_ref": "d", "job_id": "work", "retry_backoff": "custom"},
    ]
    assert refused(api, steps).keys() == {
        "/steps/0/compensation_job", "/steps/1/job_id", "/steps/2/sub_workflow", "/steps/3/retry_backoff",
    }  # fmt: skip
    delays = {"retry_strategy": "custom", "retry_delays_secs": [1]}
    api.call("PATCH", f"/v1/jobs/{job['id']}", delays)
    assert made(api, steps=[steps[3]])["steps"][0]["retry_backoff"] == "custom"


def nest(api: Caller, slug: str, inner: str) -> Json:
    return made(api, slug, [{"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": inner}])


def test_workflows_never_contain_themselves(api: Caller):
    """Not at once, not by way of others, however they are named; and no more than ten inside one another."""
    steps = [{"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": "x"}]
    assert refused(api, steps) == {"/steps/0/sub_workflow": "closes a circle: x → x"}
    made(api, "w0")
    for number in range(1, 11):
        nest(api, f"w{number}", f"w{number - 1}")
    problem = api.refuse(
        "PATCH", f"/v1/workflows/w0?project_id={api.project}",
        {"steps": [{"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": "w2"}]}, status=422,
    )  # fmt: skip
    assert told(problem) == {"/steps/0/sub_workflow": "closes a circle: w0 → w2 → w1 → w0"}
    steps[0]["sub_workflow"] = "w10"
    assert refused(api, steps) == {"/steps/0/sub_workflow": "nests workflows 11 deep; 10 is the most"}


def test_a_change_is_a_new_version(api: Caller):
    """What is not named stays; the same again changes nothing; old versions can be read and compared."""
    flow = made(api)
    path = f"/v1/workflows/{flow['id']}"
    assert api.call("PATCH", path, {"steps": STEPS, "name": "flow"}) == flow
    steps: list[Json] = [{**STEPS[0], "payload": {"n": 2}}, *STEPS[2:3], {"step_ref": "new", "job_id": "work"}]
    changed = api.call("PATCH", path, {"steps": steps, "max_concurrent_runs": 3})
    assert (changed["version"], changed["step_count"], changed["name"]) == (2, 3, "flow")
    assert api.call("PATCH", path, {"enabled": False})["version"] == 2
    versions = api.call("GET", f"{path}/versions")["data"]
    assert [(one["version"], one["step_count"], "steps" in one) for one in versions] == [(2, 3, False), (1, 4, False)]
    assert api.call("GET", f"{path}/versions/1")["steps"] == flow["steps"]
    diff = api.call("GET", f"{path}/versions/1/diff/2")
    assert diff == {
        "before": 1,
        "after": 2,
        "same": False,
        "fields": [{"field": "max_concurrent_runs", "before": None, "after": 3}],
        "added_steps": ["new"],
        "removed_steps": ["load", "done"],
        "changed_steps": [
            {"step_ref": "extract", "fields": [
                {"field": "payload", "before": {"n": 1.5, "day": "{{payload.day}}"}, "after": {"n": 2}},
            ]},
        ],
    }  # fmt: skip
    assert api.call("GET", f"{path}/versions/2/diff/2")["same"] is True
    for wrong in ("3", "0", "x", "99999999999"):
        api.refuse("GET", f"{path}/versions/{wrong}", status=404)
        api.refuse("GET", f"{path}/versions/1/diff/{wrong}", status=404)


def test_if_match_and_idempotency(api: Caller):
    """A change on what has changed is refused; a repeated creation makes nothing."""
    flow = made(api)
    path = f"/v1/workflows/{flow['id']}"
    tag = api.client.get(path).headers["etag"]
    api.call("PATCH", path, {"name": "n"}, headers={"If-Match": tag})
    api.refuse("PATCH", path, {"name": "m"}, status=412, headers={"If-Match": tag})
    api.refuse("DELETE", path, status=412, headers={"If-Match": tag})
    body = {"project_id": api.project, "name": "x", "slug": "once", "steps": STEPS}
    answers = [api.client.post("/v1/workflows", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    clone = [
        api.client.post(f"{path}/clone", json={"slug": "copy"}, headers={"Idempotency-Key": "c"}) for _ in range(2)
    ]
    assert clone[0].json()["id"] == clone[1].json()["id"] != flow["id"]
    assert clone[0].json()["steps"] == flow["steps"]


def test_pause_resume_delete(api: Caller):
    """With the reason and the time; a deleted workflow is gone and its slug free."""
    flow = made(api)
    path = f"/v1/workflows/{flow['id']}"
    paused = api.call("POST", f"{path}/pause", {"reason": "broken"})
    assert (paused["paused"], paused["pause_reason"], paused["paused_at"] is None) == (True, "broken", False)
    api.refuse("POST", f"{path}/pause", {"reason": "x" * 1_001}, status=422)
    assert api.call("GET", f"/v1/workflows?project_id={api.project}&paused=true")["data"][0]["id"] == flow["id"]
    assert api.call("POST", f"{path}/resume")["paused"] is False
    api.call("DELETE", path, status=204)
    api.refuse("GET", path, status=404)
    made(api)


def test_what_is_referred_to_stays(api: Caller):
    """Jobs and workflows that others name are neither deleted nor, where they are named by slug, renamed."""
    inner = made(api, "inner")
    nest(api, "outer", "inner")
    job = api.call("GET", f"/v1/jobs/work?project_id={api.project}")
    for path in (f"/v1/jobs/{job['id']}", f"/v1/workflows/{inner['id']}"):
        problem = api.refuse("DELETE", path, status=409)
        assert "outer" in problem["detail"] or "inner" in problem["detail"]
        api.refuse("PATCH", path, {"slug": "renamed"}, status=409)
    api.call("PATCH", f"/v1/workflows/inner?project_id={api.project}", {"steps": [{**STEPS[0], "job_id": job["id"]}]})
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"slug": "renamed"})
    api.refuse("DELETE", f"/v1/jobs/{job['id']}", status=409)
    api.call("DELETE", f"/v1/workflows/outer?project_id={api.project}", status=204)
    api.call("DELETE", f"/v1/workflows/{inner['id']}", status=204)
    api.call("DELETE", f"/v1/jobs/{job['id']}", status=204)


def test_dry_run_and_plan(api: Caller):
    """A dry run judges and stores nothing; a plan says the order, the levels, the longest chain."""
    flow = made(api, max_parallel_steps=1)
    path = f"/v1/workflows/{flow['id']}"
    assert api.call("POST", f"{path}/dry-run") == {"valid": True, "step_count": 4}
    assert api.call("POST", f"{path}/dry-run", {"steps": STEPS[:1]}) == {"valid": True, "step_count": 1}
    wrong: list[Json] = [
        {"step_ref": "a", "job_id": "nobody"},
        {"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": "flow"},
    ]
    assert told(api.refuse("POST", f"{path}/dry-run", {"steps": wrong}, status=422)) == {
        "/steps/0/job_id": f"is no job of project {api.project!r}",
        "/steps/1/sub_workflow": "closes a circle: flow → flow",
    }
    assert api.call("GET", path) == flow
    assert api.call("POST", f"{path}/plan") == {
        "workflow_version": 1,
        "step_count": 4,
        "roots": ["extract"],
        "topological_order": ["extract", "load", "rest", "done"],
        "levels": [["extract"], ["load", "rest"], ["done"]],
        "max_parallelism": 1,
        "critical_path": ["extract", "load", "done"],
    }


def test_graphs(api: Caller):
    """As data, and as text for people and for two programs."""
    flow = made(api)
    path = f"/v1/workflows/{flow['id']}/graph"
    data = api.call("GET", path)
    assert data["edges"] == [
        {"before": "extract", "after": "load"}, {"before": "extract", "after": "rest"},
        {"before": "load", "after": "done"}, {"before": "rest", "after": "done"},
    ]  # fmt: skip
    assert [node["level"] for node in data["nodes"]] == [0, 1, 1, 2]
    mermaid = api.client.get(f"{path}?format=mermaid")
    assert mermaid.headers["content-type"] == "text/plain; charset=utf-8"
    assert mermaid.text.splitlines()[:2] == ["flowchart TD", '    n0["extract"]']
    assert "    n0 ==> n1" in mermaid.text
    assert '    n2 [label="rest", shape=ellipse];' in api.client.get(f"{path}?format=dot").text
    assert "┃ extract ┃" in api.client.get(f"{path}?format=ascii&width=60").text
    api.refuse("GET", f"{path}?format=png", status=422)
    api.refuse("GET", f"{path}?format=ascii&width=5", status=422)


def test_hostile_definitions(api: Caller):
    """A thousand steps with all the dependencies there can be are taken and given back; more bytes are 413."""
    refs = [f"s{n}" for n in range(1_000)]
    dense = [{"step_ref": ref, "job_id": "work", "depends_on": refs[:n]} for n, ref in enumerate(refs)]
    flow = made(api, "dense", dense)
    assert flow["step_count"] == 1_000
    assert len(api.client.get(f"/v1/workflows/{flow['id']}/graph?format=ascii").text) > 1_000
    body = {"project_id": api.project, "name": "x", "slug": "big", "steps": STEPS, "description": "x" * 5_000_000}
    api.refuse("POST", "/v1/workflows", body, status=413)
