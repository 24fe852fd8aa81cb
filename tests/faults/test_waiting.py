"""Waiting through real daemons: every way into `waiting` and out of it, families, and kill -9 in the middle."""

from __future__ import annotations

from typing import Any

import httpx

from tests.faults.checks import expect_invariants, expect_promises_kept, states
from tests.support.daemon import Daemon, client_for, running_daemon
from tests.support.endpoint import Call, Endpoint
from tests.support.waiting import eventually


def say(daemon: Daemon, call: Call, path: str, body: Any = None, *, status: int | None = None) -> Any:
    """What the endpoint of that call says with its token."""
    with client_for(daemon.port, call.headers["X-Run-Token"]) as client:
        answer: httpx.Response = client.post(f"/sdk/v1/runs/{call.run}/{path}", json=body or {})
    assert answer.status_code == status if status else answer.is_success, answer.text
    return answer.json()


def at_work(daemon: Daemon, endpoint: Endpoint, slug: str = "job") -> Call:
    """A new run of the job, in the hands of its endpoint."""
    run = daemon.trigger(slug)["id"]
    eventually(lambda: any(call.run == run for call in endpoint.calls), 20)
    return next(call for call in endpoint.calls if call.run == run)


def waiting(daemon: Daemon, endpoint: Endpoint, key: str, **more: Any) -> Call:
    """A run that waits for an event; the call of its first attempt."""
    endpoint.hold()
    call = at_work(daemon, endpoint)
    say(daemon, call, "wait-for-event", {"event_key": key, **more}, status=201)
    assert daemon.run(call.run)["status"] == "executing"
    endpoint.release()
    daemon.wait_for(call.run, "waiting", "timed_out")
    return call


def send(daemon: Daemon, key: str, payload: Any = None) -> Any:
    """Send an event."""
    return daemon.call("POST", f"/v1/events/{key}/send", {"project_id": "p", "payload": payload})


def test_every_way_out_of_waiting(migrated: str, endpoint: Endpoint):
    """An event, complete, fail, cancel and the end of its time; one attempt is allowed, and waiting costs none."""
    with running_daemon(migrated) as daemon:
        daemon.make_job(endpoint.url("/hold"), max_attempts=1)
        went_on, completed, failed, canceled = (waiting(daemon, endpoint, key) for key in "abcd")
        late = waiting(daemon, endpoint, "e", timeout_secs=1)
        assert send(daemon, "a", {"n": 1})["delivered"] == 1
        say(daemon, completed, "complete", {"result": 7})
        say(daemon, failed, "fail", {"error": "no"})
        daemon.call("POST", f"/v1/runs/{canceled.run}/cancel", {})
        ends = [daemon.wait_for(call.run) for call in (went_on, completed, failed, canceled, late)]
        assert [(run["status"], run["attempt"]) for run in ends] == [
            ("completed", 2), ("completed", 1), ("failed", 1), ("canceled", 1), ("timed_out", 1),
        ]  # fmt: skip
        assert ends[4]["error"] == "wait: event e did not come in time"
        steps = daemon.call("GET", f"/v1/runs/{went_on.run}/events")["data"]
        assert [step["status"] for step in steps][3:5] == ["waiting", "queued"]
        assert daemon.stop() == 0
    expect_promises_kept(migrated, endpoint)


def test_a_parent_waits_for_its_child(migrated: str, endpoint: Endpoint):
    """It holds no slot meanwhile, hears of a child that fails, and goes on; one that waits for nothing just ends."""
    with running_daemon(migrated, settings={"WORKER_POOL_SIZE": "1"}) as daemon:
        daemon.make_job(endpoint.url("/hold"))
        daemon.make_job(endpoint.url("/status/400"), "child", max_attempts=1)
        parent = at_work(daemon, endpoint)
        child = say(daemon, parent, "spawn", {"job": "child", "payload": {"n": 1}, "wait": True}, status=201)
        assert daemon.run(child["id"])["status"] == "queued"
        endpoint.release()
        assert daemon.wait_for(child["id"])["status"] == "dead_letter"
        ended = daemon.wait_for(parent.run)
        assert (ended["status"], ended["attempt"]) == ("completed", 2)
        family = daemon.call("GET", f"/v1/runs/{child['id']}/lineage")
        assert [one["id"] for one in family["ancestors"]] == [parent.run]
    expect_promises_kept(migrated, endpoint)


def test_a_cancel_reaches_three_generations(migrated: str, endpoint: Endpoint):
    """The first waits, its child and grandchild execute in another process: their connections are closed."""
    with running_daemon(migrated, mode="worker"), running_daemon(migrated, mode="api") as daemon:
        daemon.make_job(endpoint.url("/hold"))
        daemon.make_job(endpoint.url("/hang"), "hangs")
        root = at_work(daemon, endpoint)
        child = say(daemon, root, "spawn", {"job": "hangs", "wait": True})
        endpoint.release()
        daemon.wait_for(root.run, "waiting")
        eventually(lambda: any(call.run == child["id"] for call in endpoint.calls), 20)
        of_child = next(call for call in endpoint.calls if call.run == child["id"])
        grandchild = say(daemon, of_child, "spawn", {"job": "hangs", "wait": True})
        daemon.wait_for(grandchild["id"], "executing")
        eventually(lambda: any(call.run == grandchild["id"] for call in endpoint.calls), 20)
        daemon.call("POST", f"/v1/runs/{root.run}/cancel", {})
        runs = [root.run, child["id"], grandchild["id"]]
        assert [daemon.run(run)["status"] for run in runs] == ["canceled"] * 3
        eventually(lambda: {call.run for call in endpoint.closed_early} == set(runs[1:]), 20)
    expect_invariants(migrated)


def test_killed_in_the_middle(migrated: str, endpoint: Endpoint):
    """kill -9 with one run waiting and one about to: the first goes on, the second loses its attempt and its wait."""
    with running_daemon(migrated) as daemon:
        daemon.make_job(endpoint.url("/hold"), retry_strategy="fixed")
        first = waiting(daemon, endpoint, "first")
        endpoint.hold()
        second = at_work(daemon, endpoint)
        say(daemon, second, "wait-for-event", {"event_key": "second"}, status=201)
        send(daemon, "second")
        daemon.kill()
    endpoint.release()
    with running_daemon(migrated) as daemon:
        send(daemon, "first")
        ends = [daemon.wait_for(call.run, seconds=40) for call in (first, second)]
        assert {run["status"] for run in ends} == {"completed"}
        assert ends[1]["attempt"] == 2
        assert daemon.stop() == 0
    assert states(migrated) == {"completed": 2}
    expect_invariants(migrated)
