"""Cost: what runs report adds up exactly, a run's budget ends it, a project's holds until its day turns."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from strait_core.budget import day_of
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import Speaker, speaking
from tests.support.waiting import eventually

MODEL = {"provider": "acme", "model": "a-1"}


@pytest.fixture
def run(api: Caller) -> dict[str, Any]:
    """A queued run that may spend 1,000."""
    return api.trigger(api.make_job(max_cost_per_run_microusd=1_000))


@pytest.fixture
def endpoint(api: Caller, contract: Contract, run: dict[str, Any]) -> Iterator[Speaker]:
    """Who works on it."""
    with speaking(api, contract, api.start(api.claim(run)), run) as speaker:
        yield speaker


def test_usage_adds_up_per_model_and_in_all(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """Tokens and cost, the dearest model first; a report of tokens alone costs nothing."""
    assert endpoint.say("POST", "usage", {**MODEL, "prompt_tokens": 5, "completion_tokens": 7}) == {
        "cost_microusd": 0,
        "max_cost_per_run_microusd": 1_000,
    }
    endpoint.say("POST", "usage", {**MODEL, "prompt_tokens": 1, "cost_microusd": 30})
    assert endpoint.say("POST", "usage", {**MODEL, "model": "b", "cost_microusd": 70})["cost_microusd"] == 100
    now = api.run(run["id"])
    assert now["cost_microusd"] == 100
    assert now["usage"] == [
        {
            "provider": "acme", "model": "b", "prompt_tokens": 0, "completion_tokens": 0, "cost_microusd": 70,
            "reports": 1,
        },
        {
            "provider": "acme", "model": "a-1", "prompt_tokens": 6, "completion_tokens": 7, "cost_microusd": 30,
            "reports": 2,
        },
    ]  # fmt: skip
    (listed,) = api.call("GET", f"/v1/runs?project_id={api.project}")["data"]
    assert listed["cost_microusd"] == 100


@pytest.mark.parametrize(
    "wrong",
    [
        {"cost_microusd": -1}, {"cost_microusd": 10**12 + 1}, {"cost_microusd": 0.5}, {"cost_microusd": True},
        {"prompt_tokens": -1}, {"completion_tokens": "1"}, {"provider": ""}, {"model": "x" * 129}, {"model": "\0"},
        {"cost": 1},
    ],
)  # fmt: skip
def test_a_wrong_report_counts_nothing(api: Caller, run: dict[str, Any], endpoint: Speaker, wrong: dict[str, Any]):
    """Refused whole."""
    endpoint.say("POST", "usage", {**MODEL, "cost_microusd": 1, **wrong}, status=422)
    assert api.run(run["id"])["cost_microusd"] == 0


def test_models_are_bounded(endpoint: Speaker):
    """Fifty are kept apart; those that are known go on to add up."""
    for n in range(50):
        endpoint.say("POST", "usage", {**MODEL, "model": str(n), "cost_microusd": 1})
    endpoint.say("POST", "usage", {**MODEL, "model": "50", "cost_microusd": 1}, status=409)
    assert endpoint.say("POST", "usage", {**MODEL, "model": "0", "cost_microusd": 1})["cost_microusd"] == 51


def test_a_run_over_its_budget_fails(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """At the budget it goes on, beyond it it fails, whatever attempts are left; what was spent is shown."""
    endpoint.say("POST", "usage", {**MODEL, "cost_microusd": 1_000})
    problem = endpoint.say("POST", "usage", {**MODEL, "cost_microusd": 1}, status=429)
    assert problem["code"] == "budget_exceeded"
    endpoint.say("POST", "usage", {**MODEL, "cost_microusd": 1}, status=410)
    now = api.run(run["id"])
    assert (now["status"], now["error_class"], now["cost_microusd"]) == ("failed", "budget", 1_001)
    assert now["error"] == "budget: the run has spent 1001 of 1000 micro-USD"


def test_concurrent_reports_add_up(api: Caller, contract: Contract):
    """Two runs, 200 reports at once: nothing is lost on a run, a model or the project's day."""
    job = api.make_job("free")
    runs = [api.trigger(job) for _ in range(2)]
    started = [api.start(api.claim(run)) for run in runs]
    with (
        speaking(api, contract, started[0], runs[0]) as one,
        speaking(api, contract, started[1], runs[1]) as two,
        ThreadPoolExecutor(16) as crowd,
    ):
        list(crowd.map(lambda n: (one, two)[n % 2].say("POST", "usage", {**MODEL, "cost_microusd": n}), range(200)))
    assert [api.run(run["id"])["cost_microusd"] for run in runs] == [9_900, 10_000]
    assert api.call("GET", f"/v1/budgets/{api.project}")["spent_microusd"] == 19_900


def test_a_budget_is_set_read_and_lifted(api: Caller):
    """With the zone whose midnight counts; a project that has none says so."""
    path = f"/v1/budgets/{api.project}"
    none = api.call("GET", path)
    assert (none["project_id"], none["daily_microusd"], none["timezone"]) == (api.project, None, "UTC")
    made = api.call("PUT", path, {"daily_microusd": 5, "timezone": "Asia/Kathmandu"})
    assert (made["daily_microusd"], made["timezone"], made["spent_microusd"]) == (5, "Asia/Kathmandu", 0)
    assert api.call("GET", path) == made
    now = api.server.parts.clock.now()
    assert datetime.fromisoformat(made["resets_at"]) == day_of(now, "Asia/Kathmandu").until
    for wrong in ({}, {"daily_microusd": -1}, {"daily_microusd": 10**15 + 1}, {"daily_microusd": "5"}):
        api.refuse("PUT", path, wrong, status=422)
    problem = api.refuse("PUT", path, {"daily_microusd": 1, "timezone": "Europe/Berlln"}, status=422)
    assert problem["errors"][0]["pointer"] == "/timezone"
    api.refuse("GET", "/v1/budgets/a%20b", status=422)
    assert api.call("PUT", path, {"daily_microusd": None})["daily_microusd"] is None
    assert api.call("GET", path) == none


def test_a_spent_budget_holds_triggers(api: Caller, contract: Contract):
    """429 until midnight in the project's zone; a repetition is told of its run, other projects go on."""
    job, path = api.make_job(), f"/v1/budgets/{api.project}"
    once = {"Idempotency-Key": "k"}
    bulk = {"Idempotency-Key": "b"}
    run = api.call("POST", f"/v1/jobs/{job['id']}/trigger", {}, status=201, headers=once)
    items: dict[str, Any] = {"items": [{}, {}]}
    batch = api.call("POST", f"/v1/jobs/{job['id']}/trigger/bulk", items, status=201, headers=bulk)
    api.call("PUT", path, {"daily_microusd": 100, "timezone": "Asia/Kathmandu"})
    api.trigger(job)
    with speaking(api, contract, api.start(api.claim(run)), run) as endpoint:
        endpoint.say("POST", "usage", {**MODEL, "cost_microusd": 100})
        eventually(lambda: api.client.post(f"/v1/jobs/{job['id']}/trigger", json={}).status_code == 429, 5)
        for path_of, body in (("spawn", {"job": job["slug"]}), ("continue", {})):
            assert endpoint.say("POST", path_of, body, status=429)["code"] == "budget_exceeded"
        # What is running goes on.
        endpoint.say("POST", "complete")
    answer = api.client.post(f"/v1/jobs/{job['id']}/trigger", json={})
    left = day_of(api.server.parts.clock.now(), "Asia/Kathmandu").until - api.server.parts.clock.now()
    assert abs(int(answer.headers["retry-after"]) - left.total_seconds()) <= 2
    assert answer.json()["code"] == "budget_exceeded"
    api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", {"dry_run": True}, status=429)
    nightly = api.make_job("nightly", cron="0 3 * * *")
    assert api.refuse("POST", f"/v1/schedules/{nightly['id']}/trigger", status=429)["code"] == "budget_exceeded"
    steps = [{"step_ref": "a", "job_id": job["id"]}]
    flow = {"project_id": api.project, "name": "f", "slug": "f", "steps": steps}
    flow = api.call("POST", "/v1/workflows", flow, status=201)
    assert api.refuse("POST", f"/v1/workflows/{flow['id']}/trigger", status=429)["code"] == "budget_exceeded"
    api.refuse("POST", f"/v1/jobs/{job['id']}/trigger/bulk", {"items": [{}]}, status=429)
    api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", {"priority": 11}, status=422)
    assert api.call("POST", f"/v1/jobs/{job['id']}/trigger", {}, headers=once)["id"] == run["id"]
    again = api.call("POST", f"/v1/jobs/{job['id']}/trigger/bulk", items, headers=bulk)
    assert again["batch_id"] == batch["batch_id"]
    other = {"project_id": f"{api.project}-other", "name": "o", "slug": "o", "endpoint_url": "http://127.0.0.1:9/"}
    api.trigger(api.call("POST", "/v1/jobs", other, status=201))
    api.call("PUT", path, {"daily_microusd": 101})
    api.trigger(job)
