"""Backfills over HTTP: planned, started once, told, stopped; what is wrong with a request."""

from __future__ import annotations

from typing import Any

import pytest

from strait_daemon.services.backfiller import Backfiller
from tests.api.caller import Caller

SPAN = {"from_at": "2026-01-10T00:00:00Z", "to_at": "2026-01-13T00:00:00Z"}


def path(job: dict[str, Any]) -> str:
    return f"/v1/schedules/{job['id']}/backfill"


def look(api: Caller) -> None:
    """Let a backfiller look once, at whatever is under way."""
    parts = api.server.parts

    async def work() -> None:
        async with parts.pool.connection() as conn:
            await conn.execute("UPDATE strait.backfills SET due_at = created_at WHERE due_at IS NOT NULL")
        done = Backfiller(
            parts.pool,
            parts.clock,
            parts.new_id,
            wake=lambda: None,
            changed=lambda _: None,
            brought=parts.announcer.brought,
            kept_days=0,
        )
        await done.tick()

    api.server.do(work())


def made(api: Caller, job: dict[str, Any]) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = api.call("GET", f"/v1/runs?triggered_by=backfill&job_id={job['id']}")["data"]
    return runs


def test_a_dry_run_lists_and_changes_nothing(api: Caller):
    """Every tick in UTC and as the clocks there show it; nothing is stored."""
    job = api.make_job("dry", cron="0 9 * * *", timezone="Asia/Tokyo")
    plan = api.call("POST", path(job), {**SPAN, "dry_run": True})
    assert (plan["fires"], plan["backfill"]) == (3, None)
    assert plan["ticks"][0] == {
        "fire_at": "2026-01-10T00:00:00Z",
        "local": "2026-01-10T09:00:00",
        "zone_offset": "+09:00",
    }
    look(api)
    assert made(api, job) == []
    api.refuse("GET", path(job), status=404)


def test_an_interval_is_fired_again_once(api: Caller):
    """201 and the runs come, no more at once than asked; the same interval again finds nothing left."""
    job = api.make_job("again", cron="0 0 * * *")
    started = api.call("POST", path(job), {**SPAN, "max_concurrency": 2}, status=201)
    assert (started["fires"], started["backfill"]["state"], started["backfill"]["made"]) == (3, "running", 0)
    look(api)
    runs = made(api, job)
    assert {run["fire_at"] for run in runs} == {"2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z"}
    same = api.call("POST", path(job), SPAN)
    assert (same["fires"], same["already"], same["backfill"]["state"]) == (0, 3, "running")
    wider = {**SPAN, "from_at": "2026-01-09T00:00:00Z"}
    assert "--stop" in api.refuse("POST", path(job), wider, status=409)["hint"]
    for run in runs:
        api.complete(run)
    look(api)
    (last,) = [run for run in made(api, job) if run["status"] == "queued"]
    assert last["fire_at"] == "2026-01-12T00:00:00Z"
    api.complete(last)
    look(api)
    done = api.call("GET", path(job))
    assert (done["state"], done["completed"], done["unsuccessful"]) == ("done", 3, 0)
    assert api.call("POST", path(job), SPAN)["fires"] == 0
    assert api.call("POST", path(job), wider, status=201)["fires"] == 1


def test_history_tells_both(api: Caller):
    """A tick and its backfill stand beside each other, on pages of any size; `missing_only` leaves made ones alone."""
    job = api.make_job("history", cron="0 0 * * *")
    by_hand = api.call("POST", f"/v1/schedules/{job['id']}/trigger", status=201)
    api.call("POST", path(job), {**SPAN, "max_concurrency": 10, "missing_only": True}, status=201)
    look(api)
    seen: list[tuple[str, str]] = []
    cursor = ""
    while True:
        page = api.call("GET", f"/v1/schedules/{job['id']}/history?limit=1{cursor}")
        seen += [(fire["fire_at"], fire["triggered_by"]) for fire in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    backfilled = [(f"2026-01-{day}T00:00:00Z", "backfill") for day in (12, 11, 10)]
    assert seen == [(by_hand["fire_at"], "manual"), *backfilled]
    assert api.call("GET", f"/v1/schedules/{job['id']}/history?skipped=true")["data"] == []


def test_a_stopped_backfill_goes_on_when_asked_again(api: Caller):
    """What was made stays, what was not is free again."""
    job = api.make_job("stop", cron="0 0 * * *")
    api.call("POST", path(job), SPAN, status=201)
    look(api)
    api.call("DELETE", path(job), status=204)
    assert api.call("GET", path(job))["state"] == "stopped"
    api.refuse("DELETE", path(job), status=404)
    look(api)
    assert len(made(api, job)) == 1
    rest = api.call("POST", path(job), SPAN, status=201)
    assert (rest["fires"], rest["already"]) == (2, 1)


def test_the_same_request_twice_is_one(api: Caller):
    """By its key, as every creating request."""
    job = api.make_job("once", cron="0 0 * * *")
    key = {"Idempotency-Key": "once"}
    first = api.call("POST", path(job), SPAN, status=201, headers=key)
    assert api.call("POST", path(job), SPAN, status=201, headers=key) == first


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"from_at": "2026-01-13T00:00:00Z"}, "/to_at", "later than from_at"),
        ({"from_at": "2026-01-10T00:00:00"}, "/from_at", "UTC offset"),
        ({"to_at": "2200-01-01T00:00:00Z"}, "/to_at", "must have passed"),
        ({"max_concurrency": 0}, "/max_concurrency", "from 1 to 1000"),
        ({"max_concurrency": 1_001}, "/max_concurrency", "from 1 to 1000"),
        ({"from_at": "2026-01-01T00:00:00Z"}, "/to_at", "17,280 fires"),
    ],
)
def test_what_is_wrong_is_pointed_at(api: Caller, changes: dict[str, Any], pointer: str, words: str):
    """422, before anything is stored; too many ticks with their number."""
    job = api.make_job("wrong", cron="* * * * *")
    (fault,) = api.refuse("POST", path(job), {**SPAN, **changes}, status=422)["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["message"]


def test_a_backfill_needs_a_schedule(api: Caller):
    """404 for a job without one, and for an unknown one."""
    plain = api.make_job("plain")
    assert "--cron" in api.refuse("POST", path(plain), SPAN, status=404)["hint"]
    assert "none" in api.refuse("POST", "/v1/schedules/none/backfill", SPAN, status=404)["detail"]
