"""Webhooks in the API: fields of a job, the list of deliveries, once more, and a test of the way."""

from __future__ import annotations

from typing import Any

import pytest

from strait_core import ids
from strait_core.address import CLOSED
from tests.api.caller import Caller

URL = "http://127.0.0.1:9/hook"
SECRET = "a-webhook-secret-of-thirty-chars"
LIST = "/v1/webhooks/deliveries"


def listed(api: Caller, **filters: str) -> list[dict[str, Any]]:
    """The deliveries of the test's project."""
    found: list[dict[str, Any]] = api.call("GET", LIST, params={"project_id": api.project, **filters})["data"]
    return found


def test_the_fields_of_a_webhook(api: Caller):
    """Kept, changed and taken away; the secret is masked."""
    job = api.make_job(webhook_url=URL, webhook_secret=SECRET)
    assert (job["webhook_url"], job["webhook_secret"]) == (URL, "****")
    path = f"/v1/jobs/{job['id']}"
    problem = api.refuse("PATCH", path, {"webhook_url": None}, status=422)
    assert [item["pointer"] for item in problem["errors"]] == ["/webhook_secret"]
    bare = api.call("PATCH", path, {"webhook_url": None, "webhook_secret": None})
    assert (bare["webhook_url"], bare["webhook_secret"]) == (None, None)


@pytest.mark.parametrize("url", ["ftp://x.example/", "http://a:b@c.example/", "no url", "", "http://" + "x" * 2_048])
def test_a_webhook_url_that_is_none_is_refused(api: Caller, url: str):
    """The same rules as for an endpoint."""
    body = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": URL, "webhook_url": url}
    problem = api.refuse("POST", "/v1/jobs", body, status=422)
    assert {item["pointer"] for item in problem["errors"]} == {"/webhook_url"}


def test_a_webhook_url_that_is_not_public_is_refused(api: Caller):
    """The guard looks at it too."""
    job = api.make_job()
    guard = api.server.parts.guard
    before, guard._openings = guard._openings, CLOSED
    try:
        problem = api.refuse("PATCH", f"/v1/jobs/{job['id']}", {"webhook_url": URL}, status=422)
    finally:
        guard._openings = before
    assert [item["pointer"] for item in problem["errors"]] == ["/webhook_url"]


def test_deliveries_are_listed_and_filtered(api: Caller):
    """One for a cancel, one test; by status, job, run; page by page."""
    job = api.make_job(webhook_url=URL)
    other = api.make_job("other", webhook_url=URL)
    run = api.trigger(job)
    api.call("POST", f"/v1/runs/{run['id']}/cancel")
    tested = api.call("POST", "/v1/webhooks/test", {"job_id": other["id"]}, status=201)
    assert tested["type"] == "webhook.test"
    assert (tested["status"], tested["attempts"], tested["run_id"]) == ("pending", 0, None)
    newest, oldest = listed(api)
    assert newest == tested
    assert (oldest["type"], oldest["run_id"], oldest["job_slug"]) == ("run.canceled", run["id"], "job")
    assert ids.parse(ids.Prefix.WEBHOOK, oldest["id"])
    assert listed(api, status="pending") == [newest, oldest]
    assert listed(api, status="dead") == []
    assert listed(api, job_id="other") == [newest]
    assert listed(api, run_id=run["id"]) == [oldest]
    page = api.call("GET", LIST, params={"project_id": api.project, "limit": 1})
    assert page["data"] == [newest]
    page = api.call("GET", LIST, params={"project_id": api.project, "limit": 1, "cursor": page["next_cursor"]})
    assert (page["data"], page["next_cursor"]) == ([oldest], None)
    api.refuse("GET", LIST, params={"status": "lost"}, status=422)
    api.refuse("GET", LIST, params={"job_id": "nobody", "project_id": api.project}, status=404)


def test_a_job_without_a_webhook_has_no_deliveries(api: Caller):
    """A canceled run of it writes none."""
    run = api.trigger(api.make_job())
    api.call("POST", f"/v1/runs/{run['id']}/cancel")
    assert listed(api) == []


def test_a_delivery_is_repeated_when_it_is_over(api: Caller):
    """409 while it is pending, 404 for what is not there or in another project."""
    job = api.make_job(webhook_url=URL)
    tested = api.call(
        "POST", "/v1/webhooks/test", {"job_id": job["slug"]}, status=201, params={"project_id": api.project}
    )
    path = f"{LIST}/{tested['id']}/retry"
    api.refuse("POST", path, status=409)

    async def end() -> None:
        async with api.server.parts.pool.connection() as conn:
            await conn.execute(
                "UPDATE strait.webhook_deliveries SET status = 'dead', due_at = NULL, attempts = 8, error = 'HTTP 500'"
                " WHERE id = %s",
                [ids.parse(ids.Prefix.WEBHOOK, tested["id"])],
            )

    api.server.do(end())
    api.refuse("POST", path, status=404, params={"project_id": "another"})
    again = api.call("POST", path)
    assert (again["status"], again["attempts"]) == ("pending", 0)
    assert again["next_attempt_at"] is not None
    api.refuse("POST", f"{LIST}/nothing/retry", status=404)
    api.refuse("POST", f"{LIST}/wh_00000000000000000000000000/retry", status=404)


def test_a_test_needs_a_webhook(api: Caller):
    """422 for a job without one, 404 for no job; with a key the same test is made once."""
    job = api.make_job()
    problem = api.refuse("POST", "/v1/webhooks/test", {"job_id": job["id"]}, status=422)
    assert [item["pointer"] for item in problem["errors"]] == ["/job_id"]
    api.refuse("POST", "/v1/webhooks/test", {"job_id": "nobody-at-all"}, status=404)
    hooked = api.make_job("hooked", webhook_url=URL)
    first, second = (
        api.call("POST", "/v1/webhooks/test", {"job_id": hooked["id"]}, status=201, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    )
    assert first == second
    assert len(listed(api)) == 1
