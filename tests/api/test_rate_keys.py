"""Named rate limits over HTTP: what is accepted, what is refused and where."""

from __future__ import annotations

from typing import Any

from tests.api.caller import Caller

TENANT = {"name": "tenant", "key": "{{payload.tenant}}", "max": 2, "window_secs": 60}


def test_they_are_stored_shown_changed_and_taken_away(api: Caller):
    """As they were sent; a new version for each change; null and an empty list take them away."""
    job = api.make_job(rate_limit_keys=[TENANT])
    path = f"/v1/jobs/{job['id']}"
    assert job["rate_limit_keys"] == [TENANT]
    assert api.call("GET", path)["rate_limit_keys"] == [TENANT]
    other = {**TENANT, "name": "team", "key": "{{run.tags.team}}"}
    changed = api.call("PATCH", path, {"rate_limit_keys": [TENANT, other]})
    assert (changed["rate_limit_keys"], changed["version"]) == ([TENANT, other], 2)
    nothings: tuple[object, ...] = ([], None)
    for nothing in nothings:
        assert api.call("PATCH", path, {"rate_limit_keys": nothing})["rate_limit_keys"] == []


def test_every_fault_has_its_place(api: Caller):
    """A pointer into the list for each, all at once."""
    wrong: list[dict[str, Any]] = [
        {**TENANT, "max": 0, "window_secs": 86_401},
        {**TENANT, "key": "payload.tenant"},
        {**TENANT, "name": "x", "key": "{{result.a}}"},
    ]
    path = f"/v1/jobs/{api.make_job()['id']}"
    problem = api.refuse("PATCH", path, {"rate_limit_keys": wrong}, status=422)
    assert [fault["pointer"].removeprefix("/rate_limit_keys/") for fault in problem["errors"]] == [
        "0/max", "0/window_secs", "1/name", "1/key", "2/key",
    ]  # fmt: skip
    for unknown in ([{**TENANT, "burst": 3}], [{"name": "a"}], {"tenant": TENANT}, [{**TENANT, "max": "2"}]):
        assert api.refuse("PATCH", path, {"rate_limit_keys": unknown}, status=422)["errors"]
