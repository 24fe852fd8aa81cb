"""Runs over HTTP: read, list, cancel, replay, attempts, the path they walked; statistics and workers."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from strait_core.run import Status
from strait_core.store import workers
from strait_core.store.workers import WorkerRow
from tests.api.caller import Caller


def test_a_finished_run_shows_its_result(api: Caller):
    """The result is JSON as the endpoint gave it; times and seq tell the rest."""
    job = api.make_job("finished")
    run = api.trigger(job, payload=[1])
    api.complete(run, result='{"a": 1.0, "b": 1e400000}')
    answer = api.client.get(f"/v1/runs/{run['id']}")
    assert b'"result":{"a": 1.0, "b": 1e400000}' in answer.content
    assert answer.headers["etag"] == 'W/"4"'
    done = api.client.get(f"/v1/runs/{run['id']}").text
    assert '"status":"completed"' in done
    assert '"payload":[1]' in done


def test_a_live_run_shows_its_worker_in_its_attempt(api: Caller):
    """Attempts list the closed ones and the one under way."""
    job = api.make_job("live")
    run = api.trigger(job)
    path = f"/v1/runs/{run['id']}/attempts"
    assert api.call("GET", path)["data"] == []
    claimed = api.claim(run)
    (pending,) = api.call("GET", path)["data"]
    assert (pending["attempt"], pending["outcome"], pending["started_at"]) == (1, None, None)
    started = api.start(claimed)
    (live,) = api.call("GET", path)["data"]
    assert (live["attempt"], live["worker_id"], live["finished_at"]) == (1, str(api.worker), None)
    assert live["started_at"]
    api.retry(started)
    second = api.start(api.claim(run))
    first, live = api.call("GET", path)["data"]
    assert (first["outcome"], first["http_status"], first["error"]) == ("error", 503, "HTTP 503: busy")
    assert (live["attempt"], live["outcome"]) == (2, None)
    api.finish(second)
    attempts = api.call("GET", path)["data"]
    assert [one["outcome"] for one in attempts] == ["error", "completed"]
    assert attempts[1]["timings_ms"] == {
        "queue_wait": None, "connect": None, "ttfb": None, "transfer": None, "total": 1.25,
    }  # fmt: skip
    page = api.call("GET", f"{path}?limit=1")
    rest = api.call("GET", f"{path}?limit=1&cursor={page['next_cursor']}")
    assert [page["data"][0]["attempt"], rest["data"][0]["attempt"], rest["next_cursor"]] == [1, 2, None]


def test_the_path_of_a_run_is_listed(api: Caller):
    """Every state with its seq, in order, across a replay."""
    job = api.make_job("path")
    run = api.trigger(job)
    api.retry(api.start(api.claim(run)))
    api.complete(run, Status.DEAD_LETTER)
    api.call("POST", f"/v1/runs/{run['id']}/replay")
    api.call("POST", f"/v1/runs/{run['id']}/cancel")
    steps = api.call("GET", f"/v1/runs/{run['id']}/events")["data"]
    assert [(step["seq"], step["event"], step["status"], step["attempt"]) for step in steps] == [
        (1, "create", "queued", 0),
        (2, "claim", "dequeued", 0),
        (3, "start", "executing", 1),
        (4, "retry", "queued", 1),
        (5, "claim", "dequeued", 1),
        (6, "start", "executing", 2),
        (7, "dead_letter", "dead_letter", 2),
        (8, "replay", "queued", 2),
        (9, "cancel", "canceled", 2),
    ]
    page = api.call("GET", f"/v1/runs/{run['id']}/events?limit=4")
    rest = api.call("GET", f"/v1/runs/{run['id']}/events?cursor={page['next_cursor']}")
    assert page["data"] + rest["data"] == steps


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_cancel_ends_a_run_wherever_it_is(api: Caller, moves: int):
    """Queued, claimed or executing: canceled at once; once more changes nothing; the worker's end comes too late."""
    job = api.make_job(f"cancel-{moves}")
    run = api.trigger(job)
    held = api.claim(run) if moves else None
    if held is not None and moves == 2:
        held = api.start(held)
    canceled = api.call("POST", f"/v1/runs/{run['id']}/cancel")
    assert (canceled["status"], canceled["seq"]) == ("canceled", moves + 2)
    assert canceled["finished_at"]
    assert api.call("POST", f"/v1/runs/{run['id']}/cancel", {}) == canceled
    assert api.call("DELETE", f"/v1/runs/{run['id']}") == canceled
    attempts = api.call("GET", f"/v1/runs/{run['id']}/attempts")["data"]
    assert [one["outcome"] for one in attempts] == (["canceled"] if moves == 2 else [])
    api.call("DELETE", f"/v1/jobs/{job['id']}", status=204)


def test_cancel_tells_the_worker_to_close_its_request(api: Caller):
    """The signal names the run, once its attempt was live."""
    job = api.make_job("taken")
    taken: list[object] = []
    api.server.parts.bus.on_taken(taken.extend)
    waiting, live = api.trigger(job), api.trigger(job)
    held = api.start(api.claim(live))
    for run in (waiting, live):
        api.call("POST", f"/v1/runs/{run['id']}/cancel")
    assert taken == [held.id]


def test_what_is_over_cannot_be_canceled(api: Caller):
    """409 that says how it ended."""
    job = api.make_job("over")
    run = api.trigger(job)
    api.complete(run)
    assert "completed" in api.refuse("POST", f"/v1/runs/{run['id']}/cancel", status=409)["detail"]
    assert "completed" in api.refuse("DELETE", f"/v1/runs/{run['id']}", status=409)["detail"]


def test_replay_brings_back_what_did_not_succeed(api: Caller):
    """Same id, a fresh allowance, the attempt numbers go on."""
    job = api.make_job("replay", max_attempts=1)
    run = api.trigger(job)
    api.complete(run, Status.FAILED)
    back = api.call("POST", f"/v1/runs/{run['id']}/replay")
    assert (back["status"], back["seq"], back["attempt"], back["id"]) == ("queued", 5, 1, run["id"])
    api.complete(run)
    assert api.run(run["id"])["attempt"] == 2


def test_replay_says_why_not(api: Caller):
    """A run that is not over, one that succeeded, one whose job is disabled or gone: 409 with the reason."""
    job = api.make_job("stubborn")
    queued, completed, failed = api.trigger(job), api.trigger(job), api.trigger(job)
    api.complete(completed)
    api.complete(failed, Status.FAILED)
    path = "/v1/runs/{}/replay"
    assert "queued" in api.refuse("POST", path.format(queued["id"]), status=409)["detail"]
    assert "completed" in api.refuse("POST", path.format(completed["id"]), status=409)["detail"]
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"enabled": False})
    assert "disabled" in api.refuse("POST", path.format(failed["id"]), status=409)["detail"]
    api.call("POST", f"/v1/runs/{queued['id']}/cancel")
    api.call("DELETE", f"/v1/jobs/{job['id']}", status=204)
    assert "deleted" in api.refuse("POST", path.format(failed["id"]), status=409)["detail"]


@pytest.mark.parametrize("end", ["", "/attempts", "/events", "/stream"])
@pytest.mark.parametrize(
    "run", ["run_00000000000000000000000000", "run_x", "nothing", "job_01m7zr2knhfhz838y8k8cj2g2h"]
)
def test_unknown_runs_are_not_found(api: Caller, run: str, end: str):
    """404 for an id that names nothing, and for what is no id."""
    assert api.refuse("GET", f"/v1/runs/{run}{end}", status=404)["code"] == "not_found"


def test_another_projects_run_is_not_found(api: Caller):
    """404, not 403, for reading and for moving; the run stays as it was."""
    run = api.trigger(api.make_job("mine"))
    for method, end in (
        ("GET", ""), ("GET", "/attempts"), ("GET", "/events"), ("GET", "/stream"),
        ("POST", "/cancel"), ("POST", "/replay"), ("DELETE", ""),
    ):  # fmt: skip
        api.refuse(method, f"/v1/runs/{run['id']}{end}?project_id=elsewhere", status=404)
    assert api.run(run["id"]) == run


def test_runs_are_listed_in_pages_over_both_tables(api: Caller):
    """Newest first, active and finished alike; each once."""
    job = api.make_job("pages")
    made = [api.trigger(job) for _ in range(7)]
    for run in made[1:5:2]:
        api.complete(run)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.call("GET", f"/v1/runs?project_id={api.project}&limit=3{cursor}")
        seen += [run["id"] for run in page["data"]]
        assert all("payload" not in run and "result" not in run for run in page["data"])
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert seen == [run["id"] for run in reversed(made)]


def test_payload_and_result_are_listed_when_asked_for(api: Caller):
    """`include` names them, for pages of at most 20."""
    job = api.make_job("include")
    run = api.trigger(job, payload={"a": 1})
    api.complete(run, result="[2]")
    listed = f"/v1/runs?project_id={api.project}"
    assert api.call("GET", f"{listed}&include=payload")["data"][0]["payload"] == {"a": 1}
    (both,) = api.call("GET", f"{listed}&include=payload,result&limit=20")["data"]
    assert (both["payload"], both["result"]) == ({"a": 1}, [2])
    assert "result" not in api.call("GET", f"{listed}&include=payload")["data"][0]
    api.refuse("GET", f"{listed}&include=payload&limit=21", status=422)
    api.refuse("GET", f"{listed}&include=secrets", status=422)


def test_filters_narrow_the_list(api: Caller):
    """Each filter alone, and several together."""
    job, other = api.make_job("one", tags={"team": "a"}), api.make_job("two")
    first = api.trigger(job, tags={"n": "1"}, metadata={"k": "v:w"})
    second = api.trigger(job)
    third = api.trigger(other)
    api.complete(second, Status.FAILED)

    def found(query: str) -> list[str]:
        return [run["id"] for run in api.call("GET", f"/v1/runs?project_id={api.project}&{query}")["data"]]

    assert found("status=failed") == [second["id"]]
    assert (
        found("status=failed,queued")
        == found("status=failed&status=queued")
        == [r["id"] for r in (third, second, first)]
    )
    assert found("job_id=one") == found(f"job_id={job['id']}") == [second["id"], first["id"]]
    assert found("tag=n:1&tag=team:a") == [first["id"]]
    assert found("metadata=k:v:w") == [first["id"]]
    assert found("error_class=server") == [second["id"]]
    assert found("triggered_by=nobody") == []
    assert found(f"id_prefix={first['id']}") == [first["id"]]
    assert found(f"created_after={second['created_at']}&created_before=2100-01-01T00:00:00%2B02:00") == [third["id"]]
    api.refuse("GET", f"/v1/runs?project_id={api.project}&job_id=none", status=404)


@pytest.mark.parametrize(
    "query",
    ["status=done", "status=", "batch_id=x", "created_after=yesterday", "created_after=2030-01-01T00:00:00",
     "created_before=0001-01-01T00:00:00%2B14:00", "metadata=x", "cursor=AAAA", "include="],
)  # fmt: skip
def test_a_wrong_filter_is_refused(api: Caller, query: str):
    """422 that names the parameter."""
    problem = api.refuse("GET", f"/v1/runs?{query}", status=422)
    assert query.partition("=")[0] in problem["detail"]


def test_stats_follow_the_runs(api: Caller):
    """Depth by state, ready against held, the busiest jobs; after a fold they are exact."""
    job, paused = api.make_job("busy"), api.make_job("paused")
    runs = [api.trigger(job) for _ in range(3)]
    api.trigger(paused)
    api.call("POST", f"/v1/jobs/{paused['id']}/pause")
    api.complete(runs[0])
    api.start(api.claim(runs[1]))
    api.fold()
    stats = api.call("GET", f"/v1/stats?project_id={api.project}")
    shown = {status: n for status, n in stats["depth"].items() if n}
    assert shown == {"queued": 2, "executing": 1, "completed": 1}
    assert (stats["ready"], stats["held"]) == (1, {"paused": 1})
    assert [(one["job_slug"], one["queued"], one["executing"]) for one in stats["top_jobs"]] == [
        ("busy", 1, 1), ("paused", 1, 0),
    ]  # fmt: skip
    assert stats["rate_1m"]["created"] > stats["rate_1m"]["finished"] > 0
    assert api.call("GET", "/v1/stats")["depth"]["executing"] >= 1


def test_workers_are_listed_and_drained(api: Caller):
    """A live worker, a silent one; a drain is taken note of; an unknown worker is not found."""
    now = api.server.parts.clock.now()
    rows = [
        WorkerRow(uuid4(), "host", 7, "all", "1", 100, 3, False, now, now),
        WorkerRow(uuid4(), "host", 8, "all", "1", 50, 0, False, now, now - timedelta(hours=1)),
    ]

    async def report() -> None:
        async with api.server.parts.pool.connection() as conn:
            for row in rows:
                await workers.heartbeat(conn, row)

    async def leave() -> None:
        async with api.server.parts.pool.connection() as conn:
            for row in rows:
                await workers.remove_worker(conn, row.id)

    api.server.do(report())
    try:
        listed = {one["id"]: one for one in api.call("GET", "/v1/workers")["data"]}
        alive, silent = (listed[str(row.id)] for row in rows)
        assert (alive["alive"], alive["in_flight"], silent["alive"]) == (True, 3, False)
        assert api.call("GET", "/v1/stats")["slots"] == {"used": 3, "total": 100}
        first = api.call("GET", "/v1/workers?limit=1")
        second = api.call("GET", f"/v1/workers?limit=1&cursor={first['next_cursor']}")
        assert {page["data"][0]["id"] for page in (first, second)} == set(listed)
        assert api.call("POST", f"/v1/workers/{rows[0].id}/drain")["draining"] is True
        api.refuse("POST", f"/v1/workers/{uuid4()}/drain", status=404)
        api.refuse("POST", "/v1/workers/nobody/drain", status=404)
    finally:
        api.server.do(leave())
