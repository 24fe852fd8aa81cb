"""Completion triggers in the API: fields that come back, and what is refused when a job is saved."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.caller import Caller
from tests.api.test_workflow_schedules import make

URL = "http://127.0.0.1:9/"


def faults(api: Caller, method: str, path: str, body: dict[str, Any]) -> dict[str, str]:
    """What is said against a definition, by pointer."""
    problem = api.refuse(method, path, body, status=422)
    return {item["pointer"]: item["message"] for item in problem["errors"]}


def body(api: Caller, slug: str, **more: Any) -> dict[str, Any]:
    """The definition of a job in the test's project."""
    return {"project_id": api.project, "name": slug, "slug": slug, "endpoint_url": URL, **more}


def test_the_fields_come_back_and_go_away(api: Caller):
    """By slug or by id, with their mappings; null takes them away; a clone has them."""
    target = api.make_job("target")
    mapping = {"a": {"b": ["{{result.x | default(1)}}", "{{error}}"]}}
    job = api.make_job(
        on_complete_trigger_job="target", on_complete_payload_mapping=mapping, on_failure_trigger_job=target["id"]
    )
    assert (job["on_complete_trigger_job"], job["on_failure_trigger_job"]) == ("target", target["id"])
    assert (job["on_complete_payload_mapping"], job["on_failure_payload_mapping"]) == (mapping, None)
    clone = api.call("POST", f"/v1/jobs/{job['id']}/clone", {"slug": "clone"}, status=201)
    assert clone["on_complete_payload_mapping"] == mapping
    bare = api.call(
        "PATCH", f"/v1/jobs/{job['id']}", {"on_complete_trigger_job": None, "on_complete_payload_mapping": None}
    )
    assert (bare["on_complete_trigger_job"], bare["on_failure_trigger_job"]) == (None, target["id"])


@pytest.mark.parametrize("name", ["on_complete_trigger_job", "on_failure_trigger_job"])
def test_a_target_must_be_there_and_take_runs(api: Caller, name: str):
    """Unknown, in another project, the job itself, one that gathers triggers: 422 at the field."""
    api.make_job("windowed", debounce_window_secs=5)
    elsewhere = api.call("POST", "/v1/jobs", {**body(api, "far"), "project_id": f"{api.project}-x"}, status=201)
    for ref, said in (
        ("nobody", "is no job"), (elsewhere["id"], "is no job"), ("me", "is the job itself"),
        ("windowed", "meet in a window"), ("no slug", "is no job"),
    ):  # fmt: skip
        assert said in faults(api, "POST", "/v1/jobs", body(api, "me", **{name: ref}))[f"/{name}"]


@pytest.mark.parametrize("name", ["on_complete_trigger_workflow", "on_failure_trigger_workflow"])
def test_a_workflow_must_be_there(api: Caller, name: str):
    """By slug or id, of the same project; else 422 at the field. A mapping goes with either kind of target."""
    flow = make(api, "there")
    for ref in ("there", flow["id"]):
        job = api.make_job(
            f"j-{ref.replace('_', '-')}"[:60],
            **{name: ref, name.replace("trigger_workflow", "payload_mapping"): {"a": 1}},
        )
        assert job[name] == ref
    assert "is no workflow" in faults(api, "POST", "/v1/jobs", body(api, "me", **{name: "nobody"}))[f"/{name}"]


def test_a_circle_is_refused_and_shown(api: Caller):
    """By whichever field it closes; a job that is not in it may lead into it."""
    third = api.make_job("third")
    second = api.make_job("second", on_failure_trigger_job=third["id"])
    api.make_job("first", on_complete_trigger_job="second")
    found = faults(api, "PATCH", f"/v1/jobs/{third['id']}", {"on_complete_trigger_job": "first"})
    assert found == {"/on_complete_trigger_job": "closes a circle: third → first → second → third"}
    assert (
        "itself"
        in faults(api, "PATCH", "/v1/jobs/" + third["id"], {"on_failure_trigger_job": third["id"]}).popitem()[1]
    )
    api.call("PATCH", f"/v1/jobs/{second['id']}", {"on_complete_trigger_job": "third"})


def test_a_mapping_is_checked_when_it_is_saved(api: Caller):
    """Every placeholder at its place; a mapping alone means nothing."""
    api.make_job("target")
    wrong = {"a": ["{{payload.x", "{{secret.y}}"], "b": "{{error}}"}
    found = faults(
        api,
        "POST",
        "/v1/jobs",
        body(
            api,
            "me",
            on_complete_trigger_job="target",
            on_complete_payload_mapping=wrong,
            on_failure_payload_mapping={},
        ),
    )
    assert set(found) == {
        "/on_complete_payload_mapping/a/0", "/on_complete_payload_mapping/a/1", "/on_failure_payload_mapping",
    }  # fmt: skip
