"""`completion: callback` through real daemons: 2xx only accepts, no worker holds the run, the clock watches over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.daemon import Daemon, client_for, running_daemon
from tests.support.endpoint import Call, Endpoint
from tests.support.sizes import size
from tests.support.waiting import eventually

RESULT = {"n": 1}
# As late as a time limit may be, as for attempts that a worker holds (test_timeouts.py).
LATE_MS = size(ci=1_000, soak=100)


@pytest.fixture
def daemon(migrated: str) -> Iterator[Daemon]:
    """A daemon with two slots, so that a held slot would be missed."""
    with running_daemon(migrated, settings={"WORKER_POOL_SIZE": "2"}) as running:
        yield running


def say(daemon: Daemon, call: Call, path: str, body: Any = None) -> httpx.Response:
    """What the endpoint of that call says with its token."""
    with client_for(daemon.port, call.headers["X-Run-Token"]) as client:
        return client.post(f"/sdk/v1/runs/{call.run}/{path}", json=body or {})


def accepted(daemon: Daemon, run_id: str) -> bool:
    """Whether the run goes on without a worker."""
    attempts = daemon.call("GET", f"/v1/runs/{run_id}/attempts")["data"]
    return daemon.run(run_id)["status"] == "executing" and bool(attempts) and attempts[-1]["worker_id"] is None


def test_accepted_runs_hold_no_worker(daemon: Daemon, endpoint: Endpoint) -> None:
    """Ten runs with two slots: all are accepted, a plain run passes by, each ends by its own word."""
    daemon.make_job(endpoint.url("/ok"), completion="callback", timeout_secs=60)
    daemon.make_job(endpoint.url("/ok"), slug="plain")
    runs = daemon.trigger_many(10)
    eventually(lambda: all(accepted(daemon, run) for run in runs))
    assert daemon.wait_for(daemon.trigger("plain")["id"])["status"] == "completed"
    for call in [call for call in endpoint.calls if call.run in runs]:
        assert say(daemon, call, "complete", {"result": RESULT}).json()["status"] == "completed"
        assert say(daemon, call, "complete", {"result": 2}).status_code == 410
    for run in runs:
        now = daemon.run(run)
        assert (now["status"], now["result"], now["attempt"]) == ("completed", RESULT, 1)
        (attempt,) = daemon.call("GET", f"/v1/runs/{run}/attempts")["data"]
        assert (attempt["http_status"], attempt["outcome"]) == (200, "completed")


def test_an_answer_that_does_not_accept_is_an_error(daemon: Daemon, endpoint: Endpoint) -> None:
    """Only 2xx accepts; all else ends the attempt as for any job."""
    daemon.make_job(endpoint.url("/status/500"), completion="callback", max_attempts=1)
    run = daemon.wait_for(daemon.trigger()["id"])
    assert (run["status"], run["error_class"]) == ("dead_letter", "server")


def test_failing_is_final_or_tried_again(daemon: Daemon, endpoint: Endpoint) -> None:
    """retryable: a second attempt with a token of its own; not retryable: failed."""
    daemon.make_job(endpoint.url("/ok"), completion="callback", retry_strategy="fixed")
    run = daemon.trigger()["id"]
    eventually(lambda: accepted(daemon, run))
    assert say(daemon, endpoint.calls[0], "fail", {"error": "once more"}).json()["status"] == "queued"
    first, second = endpoint.wait_for_calls(2)
    eventually(lambda: accepted(daemon, run))
    assert second.headers["X-Previous-Error"] == "reported: once more"
    assert say(daemon, first, "complete").status_code == 401
    assert say(daemon, second, "fail", {"error": "no", "retryable": False}).json()["status"] == "failed"
    assert daemon.run(run)["error"] == "reported: no"


def test_a_result_is_judged_by_its_schema(daemon: Daemon, endpoint: Endpoint) -> None:
    """The accepting answer is not; what the endpoint completes with is."""
    schema = {"type": "object", "required": ["n"]}
    daemon.make_job(endpoint.url("/ok"), completion="callback", result_schema=schema)
    run = daemon.trigger()["id"]
    eventually(lambda: accepted(daemon, run))
    assert say(daemon, endpoint.calls[0], "complete", {"result": {}}).status_code == 422
    assert daemon.run(run)["status"] == "executing"
    assert say(daemon, endpoint.calls[0], "complete", {"result": RESULT}).status_code == 200


@pytest.mark.soak
def test_the_time_limit_ends_it(daemon: Daemon, endpoint: Endpoint) -> None:
    """Never early, at most a tenth of a second late (a second in CI, beside other tests), without any heartbeat; the token is good for nothing then."""
    daemon.make_job(endpoint.url("/ok"), completion="callback", timeout_secs=1, max_attempts=1)
    run = daemon.wait_for(daemon.trigger()["id"])
    assert (run["status"], run["error_class"]) == ("timed_out", "timeout")
    assert run["error"] == "timeout: accepted, but not completed within 1 s"
    (attempt,) = daemon.call("GET", f"/v1/runs/{run['id']}/attempts")["data"]
    assert 1_000 <= attempt["timings_ms"]["total"] <= 1_000 + LATE_MS
    assert say(daemon, endpoint.calls[0], "complete").status_code == 410


def test_heartbeats_that_stop_end_it(daemon: Daemon, endpoint: Endpoint) -> None:
    """STALE_THRESHOLD (2 s here) after the last one; who never sent one is left alone."""
    daemon.make_job(endpoint.url("/ok"), completion="callback", max_attempts=1)
    silent, lost = daemon.trigger()["id"], daemon.trigger()["id"]
    eventually(lambda: accepted(daemon, silent) and accepted(daemon, lost))
    (call,) = [call for call in endpoint.calls if call.run == lost]
    assert say(daemon, call, "heartbeat").status_code == 204
    beat = daemon.run(lost)["heartbeat_at"]
    assert beat is not None
    run = daemon.wait_for(lost)
    assert (run["status"], run["error"]) == ("crashed", "lost: the endpoint's heartbeats have stopped")
    assert say(daemon, call, "heartbeat").status_code == 410
    assert accepted(daemon, silent)


def test_a_limit_counts_it_until_its_end(daemon: Daemon, endpoint: Endpoint) -> None:
    """No worker's slot, but the job's: the next run starts when the endpoint completes the one before, not earlier."""
    daemon.make_job(endpoint.url("/ok"), completion="callback", max_concurrency=1)
    daemon.make_job(endpoint.url("/ok"), slug="plain")
    first, second = daemon.trigger()["id"], daemon.trigger()["id"]
    eventually(lambda: accepted(daemon, first))
    assert daemon.wait_for(daemon.trigger("plain")["id"])["status"] == "completed"
    assert daemon.run(second)["status"] == "queued"
    assert say(daemon, endpoint.calls[0], "complete").status_code == 200
    eventually(lambda: accepted(daemon, second))


def test_a_cancel_ends_it(daemon: Daemon, endpoint: Endpoint) -> None:
    """The endpoint hears of it by its next call."""
    daemon.make_job(endpoint.url("/ok"), completion="callback")
    run = daemon.trigger()["id"]
    eventually(lambda: accepted(daemon, run))
    daemon.call("POST", f"/v1/runs/{run}/cancel")
    assert say(daemon, endpoint.calls[0], "heartbeat").status_code == 410
    assert daemon.run(run)["status"] == "canceled"


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_accepted_runs_survive_their_daemon(migrated: str, endpoint: Endpoint, how: str) -> None:
    """Killed the hard way or drained: the run goes on, the same token completes it at the next daemon."""
    with running_daemon(migrated) as first:
        first.make_job(endpoint.url("/ok"), completion="callback", max_attempts=1)
        run = first.trigger()["id"]
        eventually(lambda: accepted(first, run))
        if how == "kill":
            first.kill()
        else:
            assert first.stop() == 0
    with running_daemon(migrated) as second:
        workers = len(second.call("GET", "/v1/workers")["data"])
        # The dead worker has been reaped once its row is gone: its runs would have gone with it.
        eventually(lambda: len(second.call("GET", "/v1/workers")["data"]) == 1, 20, lambda: f"{workers} workers")
        assert accepted(second, run)
        assert say(second, endpoint.calls[0], "complete", {"result": RESULT}).status_code == 200
        assert second.run(run)["status"] == "completed"
    assert len(endpoint.calls) == 1


def test_a_short_checkpoint_comes_with_the_next_attempt(daemon: Daemon, endpoint: Endpoint) -> None:
    """As the same value in ASCII on one line, up to 4 KiB; a longer one is read by its route."""
    daemon.make_job(endpoint.url("/ok"), completion="callback", retry_strategy="fixed", max_attempts=4)
    run = daemon.trigger()["id"]
    kept: list[Any] = [{"page": 3, "name": "caf\u00e9 \U0001f600"}, "x" * 4_094, "x" * 4_095]
    for number, checkpoint in enumerate(kept, 1):
        call = endpoint.wait_for_calls(number)[-1]
        eventually(lambda: accepted(daemon, run))
        sent = json.dumps({"data": checkpoint}, ensure_ascii=False, indent=1).encode()
        with client_for(daemon.port, call.headers["X-Run-Token"]) as client:
            path, media = f"/sdk/v1/runs/{run}", {"Content-Type": "application/json"}
            assert client.post(f"{path}/checkpoint", content=sent, headers=media).status_code == 204
            assert client.get(f"{path}/checkpoint").json() == checkpoint
        assert say(daemon, call, "fail", {"error": "again"}).status_code == 200
        told = endpoint.wait_for_calls(number + 1)[-1].headers.get("X-Last-Checkpoint")
        assert (told is None) if len(str(checkpoint)) > 4_094 else (told is not None and json.loads(told) == checkpoint)
    assert "X-Last-Checkpoint" not in endpoint.calls[0].headers
