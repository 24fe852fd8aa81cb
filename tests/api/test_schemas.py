"""Payloads against the job's schema, on every way in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.caller import Caller

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["user"],
    "properties": {"user": {"type": "integer", "minimum": 1}, "tags": {"items": {"type": "string"}}},
}


def pointers(problem: dict[str, Any]) -> list[str]:
    return sorted(fault["pointer"] for fault in problem["errors"])


def test_a_payload_is_as_the_schema_says(api: Caller):
    """201 or 422 with every fault beside those of the other fields; no payload is judged as the empty one."""
    job = api.make_job("judged", payload_schema=SCHEMA)
    assert job["payload_schema"] == SCHEMA
    path = f"/v1/jobs/{job['id']}/trigger"
    api.trigger(job, payload={"user": 1, "tags": ["a"]})
    problem = api.refuse("POST", path, {"payload": {"user": 0, "tags": ["a", 2]}, "priority": 11}, status=422)
    assert pointers(problem) == ["/payload/tags/1", "/payload/user", "/priority"]
    assert pointers(api.refuse("POST", path, {}, status=422)) == ["/payload"]
    assert pointers(api.refuse("POST", path, {"payload": [], "dry_run": True}, status=422)) == ["/payload"]
    assert len(api.call("GET", f"/v1/runs?job_id={job['id']}")["data"]) == 1


def test_each_item_of_a_bulk_is_judged(api: Caller):
    """One that is wrong refuses them all."""
    job = api.make_job("bulk-judged", payload_schema=SCHEMA)
    items = [{"payload": {"user": 1}}, {"payload": {"user": "x"}}, {}]
    problem = api.refuse("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": items}, status=422)
    assert pointers(problem) == ["/items/1/payload/user", "/items/2/payload"]
    assert api.call("GET", f"/v1/runs?job_id={job['id']}")["data"] == []


def test_each_item_of_a_batch_is_judged(api: Caller):
    """The schema is that of one trigger's payload, not of what the batch makes of many."""
    job = api.make_job("batch-judged", payload_schema=SCHEMA, batch_window_secs=60)
    path = f"/v1/jobs/{job['id']}/trigger"
    api.call("POST", path, {"payload": {"user": 1}}, status=202)
    api.refuse("POST", path, {"payload": {"user": 0}}, status=422)
    api.call("POST", path, {"payload": {"user": 2}}, status=202)
    (run,) = api.call("GET", f"/v1/runs?job_id={job['id']}&include=payload&limit=5")["data"]
    assert run["payload"] == {"items": [{"user": 1}, {"user": 2}]}


def test_a_changed_schema_judges_at_once(api: Caller):
    """Each version has its own; null takes it away."""
    job = api.make_job("changed", payload_schema=SCHEMA)
    path = f"/v1/jobs/{job['id']}"
    api.refuse("POST", f"{path}/trigger", {"payload": 5}, status=422)
    api.call("PATCH", path, {"payload_schema": {"type": "integer"}})
    api.trigger(job, payload=5)
    api.refuse("POST", f"{path}/trigger", {"payload": {"user": 1}}, status=422)
    assert api.call("PATCH", path, {"payload_schema": None})["payload_schema"] is None
    api.trigger(job, payload="anything")


@pytest.mark.parametrize("name", ["payload_schema", "result_schema"])
def test_a_wrong_schema_is_refused_when_it_is_saved(api: Caller, name: str):
    """By create and by update, at the field; no reference leads anywhere else."""
    body = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": "http://127.0.0.1:9/"}
    for schema in ({"type": "objekt"}, {"$ref": "http://127.0.0.1:1/"}):
        assert pointers(api.refuse("POST", "/v1/jobs", {**body, name: schema}, status=422)) == [f"/{name}"]
    job = api.make_job("saved")
    assert pointers(api.refuse("PATCH", f"/v1/jobs/{job['id']}", {name: {"type": 1}}, status=422)) == [f"/{name}"]
    api.refuse("PATCH", f"/v1/jobs/{job['id']}", {name: []}, status=422)
