"""The envelope of every answer: request ids, security headers, credentials, methods, paths, failures."""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import httpx
import psycopg
import pytest

from strait_core.wire import ComponentHealth
from strait_daemon.api import context
from strait_daemon.api.app import make_ops_app
from strait_daemon.api.auth import FREE_FAILURES, Gate
from strait_daemon.embedded import PostgresServer
from strait_daemon.tokens import TokenReader
from strait_daemon.wiring import POOL_MOST
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.server import AUTH, SECRET, Server, serving
from tests.support.postgres import create_database, fresh_database, unique_name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": SECRET},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": f"Bearer {SECRET}x"},
        {"Authorization": f"Bearer {SECRET[:-1]}"},
        {"Authorization": "Bearer \xff"},
    ],
)  # fmt: skip
def test_no_or_wrong_credential(server: Server, headers: dict[str, str]):
    """401 that says how to do it right, on every route that is not public."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    with server.client() as client:
        answer = client.get("/v1/jobs", headers=encoded)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert SECRET not in answer.text


def test_every_route_wants_a_credential(postgres_server: PostgresServer, contract: Contract):
    """What the document marks as secured is; nothing else answers about jobs or runs."""
    calls = [
        (method.upper(), re.sub(r"\{\w+\}", "x", path), bool(operation["security"]))
        for path, methods in contract.document["paths"].items()
        for method, operation in methods.items()
    ]
    assert {path for _, path, secured in calls if not secured} == {"/health", "/health/ready", "/openapi.json"}
    # At once, for failures are slowed down; and on a server of its own, for they are remembered.
    with serving(fresh_database(postgres_server)) as server, server.client() as client, ThreadPoolExecutor(30) as crowd:
        got = list(crowd.map(lambda call: client.request(call[0], call[1]).status_code, calls))
    assert got == [401 if secured else 200 for _, _, secured in calls]


def test_the_credential_is_read_as_the_standard_says(server: Server):
    """The scheme's case and a second blank make no difference."""
    with server.client() as client:
        for value in (f"bearer {SECRET}", f"BEARER  {SECRET}"):
            assert client.get("/v1/stats", headers={"Authorization": value}).status_code == 200


async def test_only_failures_are_slowed_down():
    """After ten failures a minute the next ones wait, longer and longer; the right credential never does."""
    gate = Gate(SECRET, TokenReader(SECRET))
    waits = [gate._wait_after_failure("10.0.0.1") for _ in range(FREE_FAILURES + 30)]
    assert waits[:FREE_FAILURES] == [0] * FREE_FAILURES
    assert waits[FREE_FAILURES] > 0
    assert waits == sorted(waits)
    assert waits[-1] == 5
    assert gate._wait_after_failure("10.0.0.2") == 0
    before = time.monotonic()
    await gate.check(AUTH["Authorization"].encode(), "10.0.0.1")
    assert time.monotonic() - before < waits[-1]


def test_a_request_keeps_its_own_id(api: Caller):
    """A sane id of the client's is echoed in header and body; any other is replaced."""
    answer = api.client.get("/v1/jobs/none", headers={"X-Request-Id": "my-id/1"})
    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("my-id/1", "my-id/1")
    for odd in ("", "x" * 129, "with blank", "umlaut-\xfc"):
        answer = api.client.get("/v1/jobs/none", headers=[(b"X-Request-Id", odd.encode("latin-1"))])
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    ids = {api.client.get("/health").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("path", ["/health", "/v1/stats", "/v1/jobs/none", "/nothing", "/docs", "/openapi.json"])
def test_every_answer_carries_the_security_headers(api: Caller, path: str):
    """Nothing is sniffed, framed, cached or shared with other origins."""
    answer = api.client.get(path, headers={"Origin": "https://evil.example"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] in {"no-store", "no-cache"}
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/stats", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/jobs/x/trigger", "OPTIONS, POST"),
        ("TRACE", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_does_not_work(api: Caller, method: str, path: str, allow: str):
    """405 with the ones that do; OPTIONS tells them too."""
    answer = api.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allow
    asked = api.client.options(path)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allow, b"")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/jobs/", "/v2/jobs", "/v1/jobs/a/b/c", "/%2e%2e/etc/passwd"])
def test_a_path_that_leads_nowhere(api: Caller, path: str):
    """404 in the same envelope; no redirect."""
    answer = api.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


def test_head_is_get_without_the_body(api: Caller):
    """Same status and headers, and the connection stays in step."""
    for path in ("/v1/stats", "/v1/jobs/none", "/docs", "/health"):
        head, got = api.client.head(path), api.client.get(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
    run = api.trigger(api.make_job("head"))
    assert api.client.head(f"/v1/runs/{run['id']}/stream").status_code == 200


def test_health_and_readiness(anyone: httpx.Client, postgres_server: PostgresServer):
    """Both are open; readiness names each component and is 503 when one is not well."""
    assert anyone.get("/health").json() == {"status": "ok", "version": "0.0.0+test"}
    assert anyone.get("/health/ready").json()["components"] == {"database": {"ok": True, "detail": None}}

    async def unwell() -> dict[str, ComponentHealth]:
        return {"database": ComponentHealth(ok=True), "disk": ComponentHealth(ok=False, detail="full")}

    with serving(fresh_database(postgres_server), ready=unwell) as server, server.client() as client:
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert answer.json()["components"]["disk"] == {"ok": False, "detail": "full"}
        assert answer.headers["retry-after"]
        assert client.get("/health").status_code == 200


def test_metrics_are_guarded_unless_public(api: Caller, anyone: httpx.Client, postgres_server: PostgresServer):
    """The bearer opens them; METRICS_PUBLIC opens them to all; a worker serves these three routes and no other."""
    assert "strait_runs_created_total" in api.client.get("/metrics").text
    assert anyone.get("/metrics").status_code == 401
    url = fresh_database(postgres_server)
    with serving(url, make=make_ops_app, metrics_public=True) as server, server.client(headers=AUTH) as client:
        assert client.get("/metrics", headers={"Authorization": "none"}).status_code == 200
        assert client.get("/health").status_code == client.get("/health/ready").status_code == 200
        assert client.get("/v1/jobs").status_code == client.get("/docs").status_code == 404


def test_a_fault_of_our_own_tells_nothing(postgres_server: PostgresServer):
    """500 with a request id; what went wrong stands in the log under it, and nowhere else."""

    async def broken() -> dict[str, ComponentHealth]:
        raise RuntimeError(f"the secret is {SECRET}")

    with serving(fresh_database(postgres_server), ready=broken) as server, server.client() as client:
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert SECRET not in answer.text
        assert "RuntimeError" not in answer.text
        (line,) = [line for line in server.log.lines if line["event"] == "request_failed"]
        assert line["request_id"] == answer.headers["x-request-id"]
        assert isinstance(line["exc_info"], RuntimeError)


def test_a_database_that_is_away_is_503(postgres_server: PostgresServer):
    """Retry-After, no password, no traceback; once the database is back, so is the API."""
    name = unique_name()
    with serving(create_database(postgres_server, name)) as server, server.client(headers=AUTH) as client:
        api = Caller(client, server, "p")
        job = api.make_job("patient")
        with psycopg.connect(postgres_server.dsn, autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            for method, path in (("GET", "/v1/jobs"), ("POST", f"/v1/jobs/{job['id']}/trigger")):
                answer = client.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
                assert int(answer.headers["retry-after"]) >= 1
                assert "password" not in answer.text
            assert client.get("/health").status_code == 200
            assert client.get("/health/ready").status_code == 503
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        for _ in range(100):
            if client.get("/v1/jobs").status_code == 200:
                break
        api.trigger(job)


def test_a_database_that_takes_no_writes_is_503(postgres_server: PostgresServer):
    """Read-only, as a standby is that was not promoted: reads go on, writes are to be tried again, and the log says why."""
    name = unique_name()
    with serving(create_database(postgres_server, name)) as server, server.client(headers=AUTH) as client:
        job = Caller(client, server, "p").make_job("patient")
        with psycopg.connect(postgres_server.dsn, autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for path in (f"/v1/jobs/{job['id']}/trigger", f"/v1/jobs/{job['id']}/pause"):
            answer = client.post(path, json={})
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
        assert client.get(f"/v1/jobs/{job['id']}").status_code == 200
        # Others may tell of the connections that were cut.
        errors = [line["error"] for line in server.log.lines if line["event"] == "database_away"]
        assert any("read-only transaction" in error for error in errors), errors


def test_a_pool_with_nothing_left_is_503(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Whoever needs a connection that others hold hears so soon, and is served again when there is one."""
    monkeypatch.setattr(context, "POOL_SECS", 0.05)
    job, held = api.make_job("crowded"), AsyncExitStack()

    async def hold() -> None:
        for _ in range(POOL_MOST):
            await held.enter_async_context(api.server.parts.pool.connection())

    api.server.do(hold())
    try:
        for path in ("/v1/jobs", f"/v1/jobs/{job['id']}", "/v1/runs"):
            answer = api.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
    finally:
        api.server.do(held.aclose())
    assert api.call("GET", f"/v1/jobs/{job['id']}") == job


def test_a_websocket_finds_nothing_here(server: Server):
    """An upgrade is answered like any request: this API has no websockets."""
    with server.client(headers=AUTH) as client:
        answer = client.get(
            "/v1/stats",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
            },
        )
    assert answer.status_code == 200


def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(api: Caller):
    """Nothing is stored, nothing is logged as a failure."""
    job = api.make_job("hung-up")
    with socket.create_connection(("127.0.0.1", api.server.port)) as connection:
        lines = [
            f"POST /v1/jobs/{job['id']}/trigger HTTP/1.1", "Host: x", f"Authorization: Bearer {SECRET}",
            "Content-Type: application/json", "Content-Length: 100", "", '{"payload":',
        ]  # fmt: skip
        connection.sendall("\r\n".join(lines).encode())
    assert api.call("GET", f"/v1/runs?project_id={api.project}")["data"] == []
    assert [line for line in api.server.log.lines if line["level"] == "error"] == []
