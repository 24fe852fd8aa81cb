"""A job's health, and a test of its endpoint, through the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.caller import Caller
from tests.support.endpoint import Endpoint

SECRET = "a-signing-secret-of-thirty-chars"


def trial(api: Caller, job: dict[str, Any], **body: Any) -> dict[str, Any]:
    """What a test of the job's endpoint shows."""
    found: dict[str, Any] = api.call("POST", f"/v1/jobs/{job['id']}/test", body)
    return found


def test_a_new_job_is_well(api: Caller):
    """Nothing holds it, nothing was tried."""
    job = api.make_job()
    health = api.call("GET", f"/v1/jobs/{job['slug']}/health", params={"project_id": api.project})
    assert health == {
        "job_id": job["id"],
        "job_slug": job["slug"],
        "held_by": None,
        "held_until": None,
        "breaker": {"state": "closed", "failures": 0, "threshold": 5, "open_until": None},
        "queued": 0,
        "executing": 0,
        "oldest_queued_age": None,
        "recent": {
            "attempts": 0,
            "failures": 0,
            "failure_rate": None,
            "since": None,
            "latency_ms": None,
            "errors": {},
        },
    }
    off = api.make_job("off", breaker_threshold=0)
    assert api.call("GET", f"/v1/jobs/{off['id']}/health")["breaker"] is None


def test_what_holds_a_job_is_told(api: Caller):
    """Paused, with a run that waits."""
    job = api.make_job()
    api.trigger(job)
    api.call("POST", f"/v1/jobs/{job['id']}/pause", {})
    health = api.call("GET", f"/v1/jobs/{job['id']}/health")
    assert health["held_by"] == "paused"
    assert health["oldest_queued_age"] >= 0


def test_a_test_calls_the_endpoint_and_stores_nothing(api: Caller, endpoint: Endpoint):
    """As dispatch does: the same headers, signed; what is secret is not shown."""
    job = api.make_job(
        endpoint_url=endpoint.url("/echo"), signing_secret=SECRET, headers={"X-Api-Key": "hidden", "X-Team": "blue"}
    )
    found = trial(api, job, payload={"n": 1})
    assert (found["ok"], found["http_status"], found["error"], found["body"]) == (True, 200, None, '{"n":1}')
    assert found["timings_ms"]["total"] > 0
    assert found["url"] == endpoint.url("/echo")
    (call,) = endpoint.calls
    sent, shown = call.headers, found["headers"]
    assert sent["X-Api-Key"] == "hidden"
    assert sent["X-Attempt"] == shown["X-Attempt"] == "1"
    assert sent["X-Run-ID"] == shown["X-Run-ID"] == shown["Idempotency-Key"]
    for name in ("X-Api-Key", "X-Run-Token", "webhook-signature"):
        assert shown[name] == "****"
        assert sent[name] != "****"
    assert shown["X-Team"] == "blue"
    assert SECRET not in str(found)
    assert api.call("GET", "/v1/runs", params={"project_id": api.project})["data"] == []


def test_a_test_shows_what_went_wrong(api: Caller, endpoint: Endpoint):
    """An error status with its body, a timeout, nobody there, the fallback."""
    job = api.make_job("bad", endpoint_url=endpoint.url("/status/503"))
    found = trial(api, job)
    assert (found["ok"], found["http_status"], found["error_class"]) == (False, 503, "server")
    assert found["body"] == '{"status": 503}'
    slow = api.make_job("slow", endpoint_url=endpoint.url("/hang"))
    found = trial(api, slow, timeout_secs=1)
    assert (found["ok"], found["error"], found["body"]) == (False, "timeout: no answer within 1 s", None)
    away = api.make_job("away", endpoint_url="http://127.0.0.1:9/", fallback_endpoint_url=endpoint.url("/ok"))
    found = trial(api, away)
    assert (found["ok"], found["url"]) == (True, endpoint.url("/ok"))
    assert found["fallback"].startswith("connection error: ")


def test_a_long_body_is_cut(api: Caller, endpoint: Endpoint):
    """The first 4 KiB are shown."""
    job = api.make_job(endpoint_url=endpoint.url("/huge/1"))
    found = trial(api, job)
    assert (found["body"], found["body_truncated"]) == ("x" * 4_096, True)


@pytest.mark.parametrize("body", [{"timeout_secs": 61}, {"timeout_secs": 0}, {"payload": []}])
def test_a_wrong_test_is_refused(api: Caller, endpoint: Endpoint, body: dict[str, Any]):
    """Times out of range, a payload that the job would not take: nothing is called."""
    job = api.make_job(endpoint_url=endpoint.url("/ok"), payload_schema={"type": "object"})
    problem = api.refuse("POST", f"/v1/jobs/{job['id']}/test", body, status=422)
    assert problem["errors"][0]["pointer"] == f"/{next(iter(body))}"
    assert endpoint.calls == []
