"""Many workflow runs in one request, and the runs of one workflow."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from strait_core import ids
from strait_core.ids import Prefix
from strait_daemon.api import turns
from tests.api.caller import Caller
from tests.api.test_workflow_schedules import make


def start(api: Caller, flow: dict[str, Any], **body: Any) -> dict[str, Any]:
    run: dict[str, Any] = api.call("POST", f"/v1/workflows/{flow['id']}/trigger", body, status=201)
    return run


def bulk(api: Caller, what: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    told: dict[str, Any] = api.call(
        "POST", f"/v1/workflow-runs/bulk-{what}?project_id={api.project}", body, status=status
    )
    return told


def status(api: Caller, run: dict[str, Any]) -> str:
    return str(api.call("GET", f"/v1/workflow-runs/{run['id']}")["status"])


def test_runs_of_a_workflow(api: Caller):
    """Its own only, newest first, page by page, with the filters of the whole list."""
    flow, other = make(api), make(api, "other")
    runs = [start(api, flow, tags={"n": str(n)}) for n in range(3)]
    start(api, other)
    path = f"/v1/workflows/flow/runs?project_id={api.project}"
    page = api.call("GET", f"{path}&limit=2")
    assert [one["id"] for one in page["data"]] == [runs[2]["id"], runs[1]["id"]]
    rest = api.call("GET", f"{path}&limit=2&cursor={page['next_cursor']}")
    assert ([one["id"] for one in rest["data"]], rest["next_cursor"]) == ([runs[0]["id"]], None)
    assert [one["id"] for one in api.call("GET", f"{path}&tag=n:1")["data"]] == [runs[1]["id"]]
    api.call("POST", f"/v1/workflow-runs/{runs[0]['id']}/cancel")
    assert [one["id"] for one in api.call("GET", f"{path}&status=canceled")["data"]] == [runs[0]["id"]]
    api.refuse("GET", f"{path}&workflow_id=flow", status=422)
    api.refuse("GET", "/v1/workflows/nothing/runs", status=404)


def test_many_are_canceled_and_retried_by_ids(api: Caller):
    """Each that can be; of the others, why. Repeated with its key nothing is done again."""
    flow = make(api)
    runs = [start(api, flow) for _ in range(3)]
    api.call("POST", f"/v1/workflow-runs/{runs[0]['id']}/steps/nap/skip")
    unknown = "wfr_01hzy5w3x2f4t8q9m7k6j5h4g3"
    body = {"ids": [*(run["id"] for run in runs), unknown]}
    rehearsed = bulk(api, "cancel", {**body, "dry_run": True})
    assert (rehearsed["matched"], rehearsed["done"], len(rehearsed["sample"])) == (4, 0, 2)
    assert status(api, runs[1]) == "running"
    headers = {"Idempotency-Key": "once"}
    path = f"/v1/workflow-runs/bulk-cancel?project_id={api.project}"
    told = api.call("POST", path, body, headers=headers)
    assert (told["matched"], told["done"]) == (4, 2)
    assert {one["id"]: one["reason"] for one in told["skipped"]} == {
        runs[0]["id"]: "it is completed",
        unknown: "there is no such workflow run",
    }
    assert api.call("POST", path, body, headers=headers) == told
    assert [status(api, run) for run in runs] == ["completed", "canceled", "canceled"]
    again = bulk(api, "retry", body)
    assert (again["done"], [status(api, run) for run in runs]) == (2, ["completed", "running", "running"])


def test_many_are_canceled_and_retried_by_filter(api: Caller):
    """A filter needs to name something and states that the move takes; a dry run counts and shows."""
    flow, other = make(api), make(api, "other")
    runs = [start(api, flow) for _ in range(3)]
    left = start(api, other)
    rehearsed = bulk(api, "cancel", {"filter": {"workflow_id": "flow"}, "dry_run": True})
    assert (rehearsed["matched"], len(rehearsed["sample"])) == (3, 3)
    assert bulk(api, "cancel", {"filter": {"workflow_id": "flow"}})["done"] == 3
    assert (status(api, left), {status(api, run) for run in runs}) == ("running", {"canceled"})
    assert bulk(api, "retry", {"filter": {"status": ["canceled"], "workflow_id": "flow"}})["done"] == 3
    for body, pointer in (
        ({}, ""),
        ({"ids": [], "filter": {}}, ""),
        ({"ids": ["run_x"]}, "/ids/0"),
        ({"filter": {"status": ["completed"]}}, "/filter/status"),
        ({"filter": {"id_prefix": "run_0"}}, "/filter/id_prefix"),
        ({"filter": {"created_after": "2030-01-01T00:00:00"}}, "/filter/created_after"),
    ):
        problem = api.refuse("POST", f"/v1/workflow-runs/bulk-cancel?project_id={api.project}", body, status=422)
        assert pointer in {one["pointer"] for one in problem["errors"]}, body
    wide = api.refuse("POST", "/v1/workflow-runs/bulk-cancel", {"filter": {}}, status=422)
    assert "must name something" in wide["errors"][0]["message"]


def test_a_retry_that_has_no_room_is_left(api: Caller):
    """Each run is retried by itself: one that is refused undoes no other."""
    flow = make(api, max_concurrent_runs=1)
    runs = [start(api, flow) for _ in range(2)]
    assert bulk(api, "cancel", {"ids": [run["id"] for run in runs]})["done"] == 2
    told = bulk(api, "retry", {"ids": [run["id"] for run in runs]})
    assert (told["done"], [one["id"] for one in told["skipped"]]) == (1, [runs[1]["id"]])
    assert "which is the most" in told["skipped"][0]["reason"]
    assert [status(api, run) for run in runs] == ["running", "canceled"]


def test_a_run_in_other_hands_is_not_waited_for(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """503 with the time to come back, soon; many at once leave it out and say so, and the others are done."""
    monkeypatch.setattr(turns, "HELD_SECS", 0.1)
    flow = make(api)
    held, other, third = [start(api, flow) for _ in range(3)]
    with psycopg.connect(api.server.parts.settings.database_url.get_secret_value()) as conn:
        conn.execute(
            "SELECT FROM strait.workflow_runs WHERE id = %s FOR UPDATE", (ids.parse(Prefix.WORKFLOW_RUN, held["id"]),)
        )
        for move in ("cancel", "pause", "steps/nap/skip"):
            refused = api.client.post(f"/v1/workflow-runs/{held['id']}/{move}")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "other hands" in refused.json()["detail"]
        api.call("POST", f"/v1/workflow-runs/{third['id']}/cancel")
        told = bulk(api, "cancel", {"ids": [held["id"], other["id"]]})
    assert (told["done"], told["skipped"]) == (1, [{"id": held["id"], "reason": "it is moving just now"}])
    api.call("POST", f"/v1/workflow-runs/{held['id']}/cancel")
    assert [status(api, run) for run in (held, other, third)] == ["canceled"] * 3
