"""The fallback endpoint: asked in the same attempt when nobody can be reached at the first, or it has no room."""

from __future__ import annotations

import json
import socket
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from strait_core.run import Status
from strait_daemon.worker import executor
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, running
from tests.support.scripted import answer, scripted


@contextmanager
def deaf() -> Iterator[str]:
    """The URL of a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/"


@contextmanager
def full() -> Iterator[str]:
    """The URL of a listener whose queue is full: a connection is neither made nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        held = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            held.append(one)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for one in held:
            one.close()


async def once(rig: Rig, url: str, fallback: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run with one attempt: the run as it ended, and that attempt."""
    job = await rig.job(url, **{"max_attempts": 1, "fallback_endpoint_url": fallback, **changes})
    (run_id,) = await rig.add(job)
    run = await rig.wait(run_id)
    (attempt,) = await rig.attempts(run_id)
    return run, attempt


@pytest.mark.parametrize("how", ["refused", "unknown name", "reset", "tls"])
async def test_a_connection_error_goes_to_the_fallback(rig: Rig, endpoint: Endpoint, how: str) -> None:
    """Refused, no such name, cut without an answer, no TLS: the fallback's answer is the run's, in one attempt."""
    with deaf() as refused:
        url = {
            "refused": refused,
            "unknown name": "http://no-such-name.example/",
            "reset": endpoint.url("/reset"),
            "tls": endpoint.url("/ok").replace("http", "https"),
        }[how]
        run, attempt = await once(rig, url, endpoint.url("/ok"))
    assert (run["status"], run["attempt"], run["error"]) == (Status.COMPLETED, 1, None)
    assert (attempt["http_status"], attempt["outcome"]) == (200, "completed")
    kind = {"refused": "connection", "unknown name": "dns", "reset": "connection", "tls": "tls"}[how]
    assert attempt["fallback"].startswith(f"{kind} error: ")
    assert attempt["total_ms"] >= attempt["connect_ms"] + attempt["ttfb_ms"]
    assert endpoint.calls[-1].path == "/ok"


def _claims(token: str) -> dict[str, Any]:
    """What a run token says."""
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


async def test_429_goes_to_the_fallback_and_other_answers_do_not(rig: Rig, endpoint: Endpoint) -> None:
    """No room: elsewhere, in the same attempt with the same headers. A 500 may have done half of the work."""
    run, attempt = await once(rig, endpoint.url("/status/429"), endpoint.url("/echo"))
    assert (run["status"], attempt["fallback"].split(":")[0]) == (Status.COMPLETED, "HTTP 429")
    first, second = endpoint.calls
    for name in ("X-Run-ID", "X-Attempt", "Idempotency-Key"):
        assert first.headers[name] == second.headers[name]
    # Made at each call, perhaps in another second; both speak for this attempt.
    told = [_claims(call.headers["X-Run-Token"]) for call in (first, second)]
    assert [(one["sub"], one["attempt"]) for one in told] == [(first.headers["X-Run-ID"], 1)] * 2
    run, attempt = await once(rig, endpoint.url("/status/500"), endpoint.url("/echo"), slug="other")
    assert (run["status"], attempt["fallback"], run["error_class"]) == (Status.DEAD_LETTER, None, "server")
    assert len(endpoint.calls) == 3


async def test_told_not_to_retry_there_is_no_fallback(rig: Rig, endpoint: Endpoint) -> None:
    """A 429 that the job calls final fails the run."""
    run, attempt = await once(
        rig, endpoint.url("/status/429"), endpoint.url("/ok"), non_retryable_statuses=(429,), max_attempts=3
    )
    assert (run["status"], attempt["fallback"], len(endpoint.calls)) == (Status.FAILED, None, 1)


async def test_when_both_fail_the_error_tells_of_both(rig: Rig, endpoint: Endpoint) -> None:
    """It begins with the fallback's own, whose status and class are the attempt's; retries go on as ever."""
    with deaf() as url:
        job = await rig.job(url, max_attempts=2, fallback_endpoint_url=endpoint.url("/flaky/1"), retry_strategy="fixed")
        (run_id,) = await rig.add(job)
        run = await rig.wait(run_id)
    first, second = await rig.attempts(run_id)
    assert first["error"].startswith("HTTP 500: not yet (at the fallback; the endpoint itself: connection error: ")
    assert (first["http_status"], first["error_class"], run["status"]) == (500, "server", Status.COMPLETED)
    assert second["fallback"].startswith("connection error: ")


async def test_no_connection_in_time_goes_to_the_fallback(rig: Rig, endpoint: Endpoint) -> None:
    """Half the time limit, ten seconds at most; what is left is the fallback's."""
    with full() as url:
        run, attempt = await once(rig, url, endpoint.url("/ok"), timeout_secs=2)
    assert (run["status"], attempt["fallback"]) == (
        Status.COMPLETED,
        "connection error: no connection to 127.0.0.1 within 1 s",
    )
    assert attempt["total_ms"] >= 1_000
    # The fallback's own connection; the first one took a second to fail.
    assert attempt["connect_ms"] < 1_000
    assert executor.CONNECT_SECS == 10


async def test_the_time_limit_covers_both_endpoints(rig: Rig, endpoint: Endpoint) -> None:
    """The fallback has what the first has left; an endpoint that took the request and is slow keeps its attempt."""
    with full() as url:
        run, attempt = await once(rig, url, endpoint.url("/hang"), timeout_secs=2)
    assert run["status"] == Status.TIMED_OUT
    assert run["error"].startswith("timeout: no answer within 2 s (at the fallback; ")
    # Not one second for the first and then two for the fallback.
    assert 2_000 <= attempt["total_ms"] < 3_000
    run, attempt = await once(rig, endpoint.url("/hang"), endpoint.url("/ok"), timeout_secs=1, slug="slow")
    assert (run["status"], attempt["fallback"], run["error"]) == (
        Status.TIMED_OUT,
        None,
        "timeout: no answer within 1 s",
    )


async def test_cancel_closes_the_connection_to_the_fallback(rig: Rig, endpoint: Endpoint) -> None:
    """Whichever is open."""
    with deaf() as url:
        job = await rig.job(url, fallback_endpoint_url=endpoint.url("/hang"))
        (run_id,) = await rig.add(job)
        await eventually(lambda: endpoint.open == 1)
        assert await rig.cancel(run_id)
        rig.parts.bus.runs_taken([run_id])
        await eventually(lambda: endpoint.closed_early)
    assert (await rig.run(run_id))["status"] == Status.CANCELED


async def test_the_guard_looks_at_the_fallback_too(migrated: str) -> None:
    """What it refuses is not called, and fails the run as at the first endpoint."""
    async with scripted(lambda visit: visit.say(answer("429 No"))) as first:
        port = first.url.rsplit(":", 1)[1].strip("/")
        opened = f"http://127.0.0.1:{port}/"
        async with running(migrated, ALLOW_PRIVATE_ENDPOINTS="127.0.0.1/32") as rig:
            run, attempt = await once(rig, opened, f"http://127.0.0.2:{port}/")
            assert (run["status"], run["error_class"]) == (Status.FAILED, "ssrf")
            assert attempt["fallback"].startswith("HTTP 429")
        assert len(first.visits) == 1
