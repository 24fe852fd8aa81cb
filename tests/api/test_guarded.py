"""What the API says to URLs that may not be called; the corpus itself is in the tests of the guard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strait_core.address import CLOSED
from strait_daemon.egress.guard import Guard
from tests.api.caller import Caller

BAD = [
    "http://127.0.0.1/",
    "http://0x7f.1/",
    "http://metadata.google.internal/",
    "http://[::ffff:10.0.0.1]/",
    "http://db/",
]


async def public(_host: str) -> list[str]:
    """A resolver to which every name is public, except one."""
    return ["8.8.8.8", "10.0.0.1"] if _host == "inside.example" else ["8.8.8.8"]


@pytest.fixture
def strict(api: Caller) -> Iterator[Caller]:
    """The API as it is without ALLOW_PRIVATE_ENDPOINTS."""
    guard = api.server.parts.guard
    before = guard._openings, guard._lookup
    strictly = Guard(CLOSED, public)
    guard._openings, guard._lookup = strictly._openings, strictly._lookup
    yield api
    guard._openings, guard._lookup = before


@pytest.mark.parametrize("url", [*BAD, "http://inside.example/"])
def test_an_endpoint_that_is_not_public_is_refused(strict: Caller, url: str):
    """422 with the field and the reason, on create, change and clone; nothing is stored."""
    body = {"project_id": strict.project, "name": "x", "slug": "x", "endpoint_url": url}
    problem = strict.refuse("POST", "/v1/jobs", body, status=422)
    ((pointer, message),) = [tuple(item.values()) for item in problem["errors"]]
    assert pointer == "/endpoint_url"
    assert "must name a public" in message
    job = strict.make_job(endpoint_url="https://fine.example/")
    problem = strict.refuse("PATCH", f"/v1/jobs/{job['id']}", {"endpoint_url": url, "priority": 11}, status=422)
    assert {item["pointer"] for item in problem["errors"]} == {"/endpoint_url", "/priority"}
    assert strict.call("GET", f"/v1/jobs/{job['id']}") == job


def test_a_job_that_was_saved_before_is_refused_when_it_is_cloned(api: Caller):
    """What the setting allowed once is judged by what it says now; the job itself may still be changed otherwise."""
    job = api.make_job(endpoint_url="http://127.0.0.1:9/")
    guard = api.server.parts.guard
    before, guard._openings = guard._openings, CLOSED
    try:
        problem = api.refuse("POST", f"/v1/jobs/{job['id']}/clone", {"slug": "again"}, status=422)
        assert [item["pointer"] for item in problem["errors"]] == ["/endpoint_url"]
        assert api.call("PATCH", f"/v1/jobs/{job['id']}", {"priority": 3})["priority"] == 3
    finally:
        guard._openings = before
