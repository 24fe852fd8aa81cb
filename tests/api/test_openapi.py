"""The OpenAPI document is valid, complete and true; the page that shows it needs nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from strait_core.job import BOUNDS
from strait_daemon.api.problems import STATUSES
from strait_daemon.api.routes import all_routes
from tests.api.caller import Caller
from tests.api.contract import Contract

# Fields that mean something only beside another.
_SCHEDULE = {"cron": "0 9 * * *"}
NEEDS: dict[str, dict[str, Any]] = {
    "debounce_max_wait_secs": {"debounce_window_secs": 60},
    "batch_max_size": {"batch_window_secs": 60},
    "rate_limit_max": {"rate_limit_window_secs": 60},
    "rate_limit_window_secs": {"rate_limit_max": 1},
    "misfire_max_lateness_secs": _SCHEDULE,
    "misfire_max_runs": _SCHEDULE,
    "jitter_secs": _SCHEDULE,
    "start_within_secs": _SCHEDULE,
    "finish_within_secs": _SCHEDULE,
    "expect_every_secs": _SCHEDULE,
}


def test_the_document_is_valid(contract: Contract):
    """By the specification's own schema, with unique operation ids."""
    validate(contract.document)
    names = [op["operationId"] for methods in contract.document["paths"].values() for op in methods.values()]
    assert len(names) == len(set(names))


def test_every_route_is_documented(contract: Contract):
    """What is served is in the document, the page's own files aside."""
    served = {(route.path, route.method.lower()) for route in all_routes(metrics_public=False)}
    documented = {(path, method) for path, methods in contract.document["paths"].items() for method in methods}
    assert {path for path, _ in served - documented} == {"/docs", "/docs/docs.js", "/docs/docs.css"}
    assert documented <= served


def test_every_documented_route_answers(api: Caller, contract: Contract):
    """No route of the document is missing: each answers something else than "nothing here"."""
    for path, methods in contract.document["paths"].items():
        for method in methods:
            with api.client.stream(method.upper(), re.sub(r"\{\w+\}", "x", path)) as answer:
                assert answer.status_code != 405
                # A stream that has begun goes on.
                if answer.status_code != 200:
                    assert (answer.status_code, "nothing at this path" in answer.read().decode()) != (404, True)


def test_public_metrics_are_documented_as_public():
    """The document follows the setting."""
    secured = {public: _metrics(public).secured for public in (True, False)}
    assert secured == {True: False, False: True}


def _metrics(public: bool) -> Any:
    (route,) = [route for route in all_routes(metrics_public=public) if route.path == "/metrics"]
    return route


def test_bounds_in_the_document_are_those_that_hold(api: Caller, contract: Contract):
    """For each bounded field: the ends are taken, one beyond is refused."""
    job = api.make_job("bounds")
    properties = contract.document["components"]["schemas"]["JobPatch"]["properties"]
    for name in BOUNDS:
        (number,) = [branch for branch in properties[name]["anyOf"] if branch["type"] == "integer"]
        for value, status in (
            (number["minimum"], 200),
            (number["maximum"], 200),
            (number["minimum"] - 1, 422),
            (number["maximum"] + 1, 422),
        ):
            answer = api.client.patch(
                f"/v1/jobs/{job['id']}", json={**(NEEDS.get(name, {}) if value else {}), name: value}
            )
            assert answer.status_code == status, answer.text
        api.call("PATCH", f"/v1/jobs/{job['id']}", dict.fromkeys((name, *NEEDS.get(name, {})), None))


def test_every_error_code_is_explained(api: Caller, contract: Contract):
    """A problem's `type` leads to its code on the page."""
    codes = {one["code"]: one["status"] for one in contract.document["x-problems"]}
    assert codes == {kind.code: status for kind, status in STATUSES.items()} | {"internal": 500}
    assert api.refuse("GET", "/v1/jobs/none", status=404)["type"] == "/docs#not_found"


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js", "/docs/docs.css"])
def test_the_page_needs_nothing_from_elsewhere(anyone: httpx.Client, path: str):
    """Open to all, of the right type, and without an address of any other server."""
    answer = anyone.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(("text/html", "text/javascript", "text/css"))
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", answer.text) == []
    assert " style=" not in answer.text
    assert "'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_the_page_refers_only_to_what_is_served(anyone: httpx.Client):
    """Its script, its style and the document are all there."""
    page = anyone.get("/docs").text + anyone.get("/docs/docs.js").text
    addresses = set(re.findall(r"\"(/(?:docs|openapi)[^\"#]*)\"", page))
    assert addresses == {"/docs/docs.css", "/docs/docs.js", "/openapi.json"}
    assert [anyone.get(address).status_code for address in addresses] == [200] * 3
