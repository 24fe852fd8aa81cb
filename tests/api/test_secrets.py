"""Secrets of jobs: taken, kept sealed, and never shown again by anything the daemon says or stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.caller import Caller
from tests.support.daemon import running_daemon
from tests.support.endpoint import Endpoint

SECRET = "whsec_b3BlbiBzZXNhbWUgb3BlbiBzZXNhbWUgb3Blbg=="
OTHER = "another-secret-of-thirty-characters"


def test_a_secret_is_never_shown_again(api: Caller):
    """Masked in every answer that has the job in it, and in its versions; sealed in the database."""
    job = api.make_job(signing_secret=SECRET)
    assert job["signing_secret"] == "****"
    path = f"/v1/jobs/{job['id']}"
    clone = api.call("POST", f"{path}/clone", {"slug": "again"}, status=201)
    said = [job, clone, api.call("GET", path), api.call("GET", "/v1/jobs"), api.call("GET", f"{path}/versions")]
    said += [api.call("PATCH", path, {"signing_secret": OTHER}), api.call("GET", f"{path}/versions")]
    text = json.dumps(said)
    assert SECRET not in text
    assert OTHER not in text
    assert "gAAAA" not in text
    (version, *_) = said[-1]["data"]
    assert version["definition"]["signing_secret"] == "****"

    async def stored() -> str:
        async with api.server.parts.pool.connection() as conn:
            cursor = await conn.execute(
                "SELECT string_agg(v::text, ' ') FROM strait.job_versions v UNION ALL SELECT string_agg(j::text, ' ') FROM strait.jobs j"
            )
            return str(await cursor.fetchall())

    kept = api.server.do(stored())
    assert "gAAAA" in kept
    assert SECRET not in kept
    assert OTHER not in kept


def test_the_same_secret_again_changes_nothing(api: Caller):
    """Only another secret makes another version; null takes it away."""
    job = api.make_job(signing_secret=SECRET)
    path = f"/v1/jobs/{job['id']}"
    assert api.call("PATCH", path, {"signing_secret": SECRET})["version"] == 1
    assert api.call("PATCH", path, {"signing_secret": OTHER})["version"] == 2
    assert api.call("PATCH", path, {"signing_secret": None})["signing_secret"] is None
    assert api.make_job("plain")["signing_secret"] is None


@pytest.mark.parametrize("secret", ["", "short", "blank " * 8, "whsec_???", "whsec_c2hvcnQ="])
def test_a_secret_that_is_none_is_refused(api: Caller, secret: str):
    """422 that names the field and does not repeat the text."""
    body = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": "http://127.0.0.1:9/"}
    problem = api.refuse("POST", "/v1/jobs", {**body, "signing_secret": secret, "priority": 11}, status=422)
    assert {item["pointer"] for item in problem["errors"]} == {"/signing_secret", "/priority"}
    assert not secret or secret not in json.dumps(problem)


def test_nothing_that_a_daemon_writes_has_a_secret_in_it(database: str, endpoint: Endpoint):
    """A run, a failure, a refusal and debug logs later, no line of its output shows one; nor does its command line."""
    with running_daemon(database, settings={"LOG_LEVEL": "debug"}) as daemon:
        daemon.make_job(endpoint.url("/status/500"), signing_secret=SECRET, max_attempts=1)
        daemon.call("PATCH", "/v1/jobs/job", {"signing_secret": "short"}, status=422)
        daemon.call("PATCH", "/v1/jobs/job", {"signing_secret": 7}, status=422)
        run = daemon.wait_for(daemon.trigger()["id"])
        assert run["status"] == "dead_letter"
        seen = daemon.said + Path(f"/proc/{daemon.pid}/cmdline").read_text() + daemon.client.get("/metrics").text
        assert SECRET not in seen
        assert SECRET.removeprefix("whsec_") not in seen
        assert "gAAAA" not in seen
        assert SECRET not in json.dumps(run)
    assert endpoint.calls[0].headers["webhook-signature"].startswith("v1,")
