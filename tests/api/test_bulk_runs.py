"""Many runs over HTTP: cancel and replay by ids and by filter, dead letters, and a new time for one run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strait_core.run import REPLAYABLE, Status
from strait_daemon.api import bulk_runs
from tests.api.caller import Caller

CANCEL, REPLAY = "/v1/runs/bulk-cancel", "/v1/runs/bulk-replay"


def hours(ahead: int) -> str:
    """A time so many hours from now."""
    return (datetime.now(UTC) + timedelta(hours=ahead)).isoformat()


def reasons(outcome: dict[str, Any]) -> dict[str, str]:
    """Why which run was left."""
    return {one["id"]: one["reason"] for one in outcome["skipped"]}


def test_cancel_by_ids_says_what_became_of_each(api: Caller):
    """Waiting and executing runs are ended, others are named with the reason; another project's run is no run."""
    job = api.make_job("many")
    waiting, live, done = (api.trigger(job) for _ in range(3))
    api.complete(done)
    api.start(api.claim(live))
    taken: list[object] = []
    api.server.parts.bus.on_taken(taken.extend)
    unknown = "run_00000000000000000000000001"
    ids = [waiting["id"], live["id"], done["id"], unknown, waiting["id"]]
    rehearsed = api.call("POST", CANCEL, {"ids": ids, "dry_run": True})
    assert {one["id"] for one in rehearsed["sample"]} == {waiting["id"], live["id"]}
    assert (rehearsed["matched"], rehearsed["done"]) == (4, 0)
    outcome = api.call("POST", CANCEL, {"ids": ids})
    assert (outcome["matched"], outcome["done"], outcome["next_cursor"]) == (4, 2, None)
    assert reasons(outcome) == reasons(rehearsed) == {
        done["id"]: "it is completed", unknown: "there is no such run",
    }  # fmt: skip
    assert [api.run(one["id"])["status"] for one in (waiting, live, done)] == ["canceled", "canceled", "completed"]
    assert len(taken) == 1
    again = api.call("POST", CANCEL, {"ids": [waiting["id"]]}, params={"project_id": "elsewhere"})
    assert reasons(again) == {waiting["id"]: "there is no such run"}


def test_a_filter_is_worked_off_in_pages(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Each call does a page and gives the cursor to the next; runs of other jobs stay (3 a page instead of 500)."""
    few = replace(bulk_runs.CANCEL, kind=replace(bulk_runs.RUNS, page=3))
    monkeypatch.setattr(bulk_runs, "CANCEL", few)
    job, other = api.make_job("paged"), api.make_job("other")
    wanted = {api.trigger(job, tags={"n": str(n)})["id"] for n in range(7)}
    kept = api.trigger(other)
    body: dict[str, Any] = {"filter": {"job_id": "paged"}}
    counted = api.call("POST", CANCEL, {**body, "dry_run": True})
    assert (counted["matched"], len(counted["sample"]), counted["next_cursor"]) == (7, 7, None)
    done: list[int] = []
    while True:
        outcome = api.call("POST", CANCEL, body)
        done.append(outcome["done"])
        if outcome["next_cursor"] is None:
            break
        body["cursor"] = outcome["next_cursor"]
    assert done == [3, 3, 1]
    assert {api.run(one)["status"] for one in wanted} == {"canceled"}
    assert api.run(kept["id"])["status"] == "queued"
    assert api.call("POST", CANCEL, {"filter": {"job_id": "paged"}})["matched"] == 0


def test_every_field_narrows(api: Caller):
    """Each filter alone picks the one run out of three."""
    job = api.make_job("narrow")
    run = api.trigger(job, tags={"a": "1"}, metadata={"b": "2"}, scheduled_at=hours(1))
    for _ in range(2):
        api.trigger(job)
    created = datetime.fromisoformat(run["created_at"]) + timedelta(microseconds=1)
    for said in (
        {"tag": {"a": "1"}}, {"metadata": {"b": "2"}}, {"status": ["delayed", "completed"]},
        {"id_prefix": run["id"]}, {"created_before": created.isoformat()},
    ):  # fmt: skip
        outcome = api.call("POST", CANCEL, {"filter": {"project_id": api.project, **said}, "dry_run": True})
        assert [one["id"] for one in outcome["sample"]] == [run["id"]], said
        assert outcome["matched"] == 1
    for said in (
        {"triggered_by": "cron"}, {"error_class": "x"}, {"batch_id": "bat_00000000000000000000000001"},
        {"created_after": datetime.now(UTC).isoformat()},
    ):  # fmt: skip
        outcome = api.call("POST", CANCEL, {"filter": {"project_id": api.project, **said}, "dry_run": True})
        assert outcome["matched"] == 0, said


def test_replay_from_the_dead_letters(api: Caller):
    """They are listed, one or all of them come back; a disabled job's stay and say why."""
    job, off = api.make_job("dead"), api.make_job("off")
    dead = [api.trigger(job) for _ in range(3)]
    stuck, done = api.trigger(off), api.trigger(job)
    for run in (*dead, stuck):
        api.complete(run, Status.DEAD_LETTER)
    api.complete(done)
    api.call("PATCH", f"/v1/jobs/{off['id']}", {"enabled": False})
    query = {"project_id": api.project}
    listed = api.call("GET", "/v1/runs/dlq", params=query)["data"]
    assert [one["id"] for one in listed] == [stuck["id"], *(one["id"] for one in reversed(dead))]
    page = api.call("GET", "/v1/runs/dlq", params={**query, "limit": 2, "job_id": job["id"]})
    rest = api.call("GET", "/v1/runs/dlq", params={**query, "job_id": job["id"], "cursor": page["next_cursor"]})
    assert [one["id"] for one in page["data"] + rest["data"]] == [one["id"] for one in reversed(dead)]
    assert api.call("GET", "/v1/runs/dlq", params={**query, "error_class": "none"})["data"] == []
    api.call("POST", f"/v1/runs/{dead[0]['id']}/replay")
    outcome = api.call("POST", REPLAY, {"filter": {"status": ["dead_letter"]}}, params=query)
    assert (outcome["matched"], outcome["done"]) == (3, 2)
    assert reasons(outcome) == {stuck["id"]: "its job is disabled"}
    assert {api.run(one["id"])["status"] for one in dead} == {"queued"}
    api.call("DELETE", f"/v1/jobs/{off['id']}", status=204)
    gone = api.call("POST", REPLAY, {"ids": [stuck["id"], done["id"], dead[0]["id"]]})
    assert reasons(gone) == {
        stuck["id"]: "its job was deleted", done["id"]: "it is completed", dead[0]["id"]: "it is queued",
    }  # fmt: skip


@pytest.mark.parametrize("status", sorted(REPLAYABLE))
def test_a_replay_leads_back_from_every_failure(api: Caller, status: Status):
    """One by one and in bulk; the path shows where it came from."""
    job = api.make_job(f"from-{status.value.replace('_', '-')}")
    one, many = api.trigger(job), api.trigger(job)
    for run in (one, many):
        api.complete(run, status)
    api.call("POST", f"/v1/runs/{one['id']}/replay")
    assert api.call("POST", REPLAY, {"filter": {"job_id": job["id"], "status": [status]}})["done"] == 1
    for run in (one, many):
        steps = api.call("GET", f"/v1/runs/{run['id']}/events")["data"]
        assert [(step["event"], step["status"]) for step in steps[-2:]] == [
            (steps[-2]["event"], status),
            ("replay", "queued"),
        ]


def test_a_key_makes_a_bulk_happen_once(api: Caller):
    """The repetition is told what the first was told, though the run has failed again meanwhile."""
    job = api.make_job("once")
    run = api.trigger(job)
    api.complete(run, Status.FAILED)
    headers = {"Idempotency-Key": f"{api.project}-bulk"}
    first = api.call("POST", REPLAY, {"ids": [run["id"]]}, headers=headers)
    api.complete(run, Status.FAILED)
    assert api.call("POST", REPLAY, {"ids": [run["id"]]}, headers=headers) == first
    assert api.run(run["id"])["status"] == "failed"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"ids": ["run_x"], "filter": {"job_id": "a"}}, ""),
        ({"ids": []}, "/ids"),
        ({"ids": ["run_x"]}, "/ids/0"),
        ({"ids": ["run_00000000000000000000000001"], "cursor": "x"}, "/cursor"),
        ({"filter": {}}, "/filter"),
        ({"filter": {"job_id": ""}}, "/filter/job_id"),
        ({"filter": {"status": ["completed"]}}, "/filter/status"),
        ({"filter": {"status": []}}, "/filter/status"),
        ({"filter": {"batch_id": "run_1"}}, "/filter/batch_id"),
        ({"filter": {"id_prefix": "wf_"}}, "/filter/id_prefix"),
        ({"filter": {"created_after": "2030-01-01T00:00:00"}}, "/filter/created_after"),
        ({"filter": {"tag": {"a": "b"}}, "cursor": "!"}, "/cursor"),
        ({"filter": {"job": "a"}}, "/filter/job"),
    ],
)
def test_a_wrong_selection_is_refused(api: Caller, body: dict[str, Any], pointer: str):
    """With the place of the fault; nothing is done to anything."""
    for path in (CANCEL, REPLAY):
        problem = api.refuse("POST", path, body, status=422)
        assert pointer in {item["pointer"] for item in problem["errors"]}, problem


def test_a_run_gets_another_time(api: Caller):
    """Delayed, or queued for a retry: 200 with the run; anything else: 409 that says where it is."""
    job = api.make_job("later")
    run = api.trigger(job, scheduled_at=hours(1))
    path = f"/v1/runs/{run['id']}/reschedule"
    at = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    moved = api.call("POST", path, {"scheduled_at": at.isoformat()})
    assert (moved["status"], moved["seq"]) == ("delayed", 2)
    assert datetime.fromisoformat(moved["scheduled_at"]) == at
    steps = api.call("GET", f"/v1/runs/{run['id']}/events")["data"]
    assert [(one["event"], one["status"]) for one in steps] == [("create", "delayed"), ("reschedule", "delayed")]
    api.call("POST", f"/v1/runs/{run['id']}/cancel")
    assert "canceled" in api.refuse("POST", path, {"scheduled_at": at.isoformat()}, status=409)["detail"]
    ready = api.trigger(job)
    told = api.refuse("POST", f"/v1/runs/{ready['id']}/reschedule", {"scheduled_at": at.isoformat()}, status=409)
    assert "queued" in told["detail"]


@pytest.mark.parametrize("at", ["2030-01-01T00:00:00", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "soon", 7, None])
def test_a_time_that_is_none_is_refused(api: Caller, at: Any):
    """422 at its place; an unknown run is not found."""
    run = api.trigger(api.make_job("timeless"), scheduled_at=hours(1))
    problem = api.refuse("POST", f"/v1/runs/{run['id']}/reschedule", {"scheduled_at": at}, status=422)
    assert [item["pointer"] for item in problem["errors"]] == ["/scheduled_at"]
