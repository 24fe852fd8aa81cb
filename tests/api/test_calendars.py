"""Calendars over HTTP: named days that schedules go by, followed at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strait_core import ids
from strait_core.store.pool import Conn
from tests.api.caller import Caller


def calendar(api: Caller, slug: str = "days", **days: Any) -> dict[str, Any]:
    """Create one in the test's project."""
    made: dict[str, Any] = api.call(
        "POST", "/v1/calendars", {"project_id": api.project, "slug": slug, **days}, status=201
    )
    return made


def next_days(api: Caller, job: dict[str, Any], count: int = 20) -> list[datetime]:
    """The local times of the next fires."""
    found = api.call("GET", f"/v1/jobs/{job['id']}/next-runs?limit={count}")["data"]
    return [datetime.fromisoformat(one["local"]) for one in found]


def test_create_read_change_delete(api: Caller):
    """By id and by slug; a change replaces what it names; a name is taken once in a project."""
    made = calendar(api, weekdays=["sat", "sun"], dates=["2030-12-25"])
    assert made["id"].startswith("cal_")
    path = f"/v1/calendars/days?project_id={api.project}"
    assert api.call("GET", path) == made == api.call("GET", f"/v1/calendars/{made['id']}")
    api.refuse(
        "POST", "/v1/calendars", {"project_id": api.project, "slug": "days", "dates": ["2030-01-01"]}, status=409
    )
    ranges = [{"first": "2030-08-01", "last": "2030-08-31"}]
    changed = api.call("PATCH", path, {"ranges": ranges, "dates": None})
    assert (changed["weekdays"], changed["dates"], changed["ranges"]) == (["sat", "sun"], [], ranges)
    assert api.call("GET", f"/v1/calendars?project_id={api.project}")["data"] == [changed]
    api.call("DELETE", path, status=204)
    api.refuse("GET", path, status=404)


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "", "at least one"),
        ({"weekdays": ["caturday"]}, "/weekdays/0", "sun, mon"),
        ({"ranges": [{"first": "2030-02-01", "last": "2030-01-01"}]}, "/ranges/0", "backwards"),
        ({"dates": ["2030-02-30"]}, "/dates/0", "must be a date"),
        ({"ranges": [{"first": "2030-01-01", "last": "soon"}]}, "/ranges/0/last", "must be a date"),
        ({"dates": [20300101]}, "/dates/0", "must be a date"),
        ({"dates": ["2030-01-01"], "slug": "A B"}, "/slug", "a-z"),
    ],
)
def test_wrong_days_are_refused(api: Caller, body: dict[str, Any], pointer: str, words: str):
    """422 that points at the fault."""
    problem = api.refuse("POST", "/v1/calendars", {"project_id": api.project, "slug": "x", **body}, status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert words in problem["errors"][0]["message"]


def test_a_schedule_goes_by_its_calendar(api: Caller):
    """Excluded days have no fire, or move to a working day; only-days are the only ones; a change counts at once."""
    calendar(api, weekdays=["sat", "sun"])
    job = api.make_job("daily", cron="0 9 * * *", calendar="days")
    assert {day.weekday() for day in next_days(api, job)} == {0, 1, 2, 3, 4}
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"calendar_mode": "only"})
    assert {day.weekday() for day in next_days(api, job)} == {5, 6}
    api.call("PATCH", f"/v1/calendars/days?project_id={api.project}", {"weekdays": ["wed"]})
    assert {day.weekday() for day in next_days(api, job)} == {2}
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"cron": "0 9 * * 2", "calendar_mode": None, "calendar_roll": "next"})
    assert {day.weekday() for day in next_days(api, job)} == {1}
    api.call("PATCH", f"/v1/calendars/days?project_id={api.project}", {"weekdays": ["tue", "wed"]})
    assert {day.weekday() for day in next_days(api, job)} == {3}
    problem = api.refuse("DELETE", f"/v1/calendars/days?project_id={api.project}", status=409)
    assert "1 schedule goes by" in problem["detail"]
    fields = ("calendar", "calendar_roll")
    api.call("PATCH", f"/v1/jobs/{job['id']}", dict.fromkeys(fields))
    api.call("DELETE", f"/v1/calendars/days?project_id={api.project}", status=204)


def test_a_calendar_that_is_missing_or_leaves_no_day(api: Caller):
    """422 at the job that names it, and at the calendar whose change would silence a job; nothing is stored."""
    body = {
        "project_id": api.project,
        "name": "x",
        "slug": "x",
        "endpoint_url": "http://127.0.0.1:9/",
        "cron": "0 9 * * 1",
    }
    problem = api.refuse("POST", "/v1/jobs", {**body, "calendar": "days"}, status=422)
    assert problem["errors"][0]["pointer"] == "/calendar"
    calendar(api, weekdays=["mon"])
    problem = api.refuse("POST", "/v1/jobs", {**body, "calendar": "days"}, status=422)
    assert "leaves no day" in problem["errors"][0]["message"]
    job = api.make_job("x", cron="0 9 * * 1", calendar="days", calendar_mode="only")
    api.make_job("z", cron="0 9 * * 2", calendar="days")
    problem = api.refuse("PATCH", f"/v1/calendars/days?project_id={api.project}", {"weekdays": ["tue"]}, status=422)
    assert sorted((one["pointer"], one["message"]) for one in problem["errors"]) == [
        ("", "leaves job 'x' no day: it fires by '0 9 * * 1'"),
        ("", "leaves job 'z' no day: it fires by '0 9 * * 2'"),
    ]
    assert next_days(api, job, 1)[0].weekday() == 0
    assert next_days(api, job, 1)[0] > datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
    wrong = api.refuse("POST", "/v1/jobs", {**body, "slug": "y", "calendar_mode": "only"}, status=422)
    assert wrong["errors"][0]["message"] == "works only with calendar"


def test_a_schedule_that_comes_while_its_calendar_changes(api: Caller):
    """Who has begun to go by it, and has not committed, follows the change that waited for it."""
    path = f"/v1/calendars/{calendar(api, dates=['2001-01-01'])['id']}"
    job = api.make_job("late", cron="0 9 * * *", expect_every_secs=3_600)
    changes = (
        (f"/v1/jobs/{job['id']}", {"calendar": "days"}),
        (path, {"weekdays": ["sat", "sun", "mon", "tue", "wed", "thu"]}),
    )

    async def work() -> None:
        pool, going = api.server.parts.pool, []
        async with pool.connection() as looking, pool.connection() as conn, conn.transaction():
            # What the change of a job writes last: it stands still before its commit.
            await conn.execute(
                "SELECT FROM strait.deadlines d JOIN strait.schedules s ON s.id = d.schedule_id WHERE s.target_id = %s"
                " FOR UPDATE OF d",
                (ids.parse(ids.Prefix.JOB, job["id"]),),
            )
            for change in changes:
                going.append(asyncio.create_task(asyncio.to_thread(api.call, "PATCH", *change)))
                await blocked(looking, len(going))
        await asyncio.gather(*going)

    api.server.do(work())
    (schedule,) = api.call("GET", f"/v1/schedules?project_id={api.project}")["data"]
    assert datetime.fromisoformat(schedule["next_fire_at"]).weekday() == 4


async def blocked(looking: Conn, count: int) -> None:
    """Wait until so many transactions wait for others."""
    statement = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(20):
        while len(await (await looking.execute(statement)).fetchall()) < count:
            await asyncio.sleep(0.005)
