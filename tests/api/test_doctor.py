"""GET /v1/doctor: the daemon's own look at itself, with a fix for each thing that is not well."""

from __future__ import annotations

from strait_core.address import CLOSED
from strait_daemon.egress.guard import Guard
from tests.api.caller import Caller
from tests.api.server import AUTH, serving
from tests.support.postgres import create_database, drop_database, unique_name


def test_what_is_found(api: Caller):
    """Nobody works here, so that fails; the rest is well; every finding has the same four fields."""
    told = api.call("GET", "/v1/doctor")
    found = {one["check"]: one for one in told["findings"]}
    assert found["workers"]["status"] == "fail"
    assert found["workers"]["fix"] == "start one: strait serve --mode worker"
    assert [one["check"] for one in told["findings"] if one["status"] == "fail"] == ["workers"]
    assert {"postgresql", "migrations", "redis", "open files", "endpoint addresses"} <= found.keys()
    api.refuse("GET", "/v1/doctor?x=1", status=422)


def test_endpoints_that_would_be_refused_are_named(postgres_server, migrated_template):
    """A job that was saved while private addresses were open, and can run no more."""
    name = unique_name()
    with (
        serving(create_database(postgres_server, name, migrated_template)) as server,
        server.client(headers=AUTH) as client,
    ):
        api = Caller(client, server, "p")
        api.make_job("inside")
        object.__setattr__(server.deps, "guard", Guard(CLOSED))
        found = {one["check"]: one for one in api.call("GET", "/v1/doctor")["findings"]}
        assert (
            found["endpoint of inside"]["status"],
            "ALLOW_PRIVATE_ENDPOINTS" in found["endpoint of inside"]["fix"],
        ) == ("fail", True)
    drop_database(postgres_server, name)
