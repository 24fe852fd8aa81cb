"""Schedules over HTTP: they come with a job's `cron`, follow its changes and tell what their ticks came to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from strait_core import ids
from strait_core.ids import Prefix
from strait_core.store import jobs
from strait_core.store.schedules import Due
from strait_daemon.services import ticks
from strait_daemon.services.placing import owner_of
from strait_daemon.services.timekeeper import Timekeeper
from tests.api.caller import Caller


def schedule(api: Caller, job: dict[str, Any]) -> dict[str, Any]:
    """The job's schedule."""
    found: dict[str, Any] = api.call("GET", f"/v1/schedules/{job['slug']}?project_id={api.project}")
    return found


def test_a_job_with_cron_has_a_schedule(api: Caller):
    """Read by slug, by the job's id and by its own; listed; gone with the expression, and with the job."""
    job = api.make_job("nightly", cron="30 2 * * *", timezone="Europe/Berlin")
    found = schedule(api, job)
    assert (found["state"], found["cron"], found["timezone"]) == ("active", "30 2 * * *", "Europe/Berlin")
    assert found["id"].startswith("sch_")
    assert found["job_id"] == job["id"]
    assert found == api.call("GET", f"/v1/schedules/{found['id']}") == api.call("GET", f"/v1/schedules/{job['id']}")
    assert api.call("GET", f"/v1/schedules?project_id={api.project}")["data"] == [found]
    at = datetime.fromisoformat(found["next_fire_at"])
    assert at > datetime.now(UTC)
    assert at.minute == 30
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"cron": None, "timezone": None})
    problem = api.refuse("GET", f"/v1/schedules/{job['id']}", status=404)
    assert "--cron" in problem["hint"]
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"cron": "@daily"})
    assert schedule(api, job)["id"] != found["id"]
    api.call("DELETE", f"/v1/jobs/{job['id']}", status=204)
    assert api.call("GET", f"/v1/schedules?project_id={api.project}")["data"] == []


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"cron": "* * * * * *"}, "/cron", "6 fields"),
        ({"cron": "61 * * * *"}, "/cron", "minute (field 1"),
        ({"cron": "0 0 30 2 *"}, "/cron", "never fires"),
        ({"cron": "@daily", "timezone": "Europe/Berln"}, "/timezone", "Europe/Berlin"),
        ({"timezone": "Europe/Berlin"}, "/timezone", "works only with cron"),
        ({"execution_window_cron": "0 25 * * *"}, "/execution_window_cron", "hour (field 2"),
        ({"execution_window_cron": "* * 31 4 *"}, "/execution_window_cron", "can never open"),
        ({"overlap_policy": "skip"}, "/overlap_policy", "works only with cron"),
        ({"cron": "@daily", "jitter_secs": 3_601}, "/jitter_secs", "3600"),
        ({"cron": "@daily", "misfire_max_runs": 0}, "/misfire_max_runs", "1"),
        ({"start_within_secs": 60}, "/start_within_secs", "works only with cron"),
        ({"cron": "@daily", "finish_within_secs": -1}, "/finish_within_secs", "from 0"),
        ({"cron": "@daily", "expect_every_secs": 59}, "/expect_every_secs", "at least 60"),
        ({"cron": "@daily", "alert_webhook_url": "http://127.0.0.1:9/"}, "/alert_webhook_url", "works only with"),
        ({"cron": "@daily", "start_within_secs": 9, "alert_webhook_url": "ftp://x"}, "/alert_webhook_url", "http://"),
    ],
)
def test_a_wrong_schedule_is_refused(api: Caller, fields: dict[str, Any], pointer: str, words: str):
    """422 that points at the field and says what would do; nothing is stored."""
    body = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": "http://127.0.0.1:9/", **fields}
    problem = api.refuse("POST", "/v1/jobs", body, status=422)
    (fault,) = problem["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["message"]
    assert api.call("GET", f"/v1/schedules?project_id={api.project}")["data"] == []


def test_pause_and_resume(api: Caller):
    """A paused schedule has no next fire; its job still takes triggers; resumed, it goes on with the next tick."""
    job = api.make_job("tick", cron="0 * * * *")
    before = schedule(api, job)
    paused = api.call("POST", f"/v1/schedules/{before['id']}/pause", {"reason": "holidays"})
    assert (paused["state"], paused["next_fire_at"], paused["pause_reason"]) == ("paused", None, "holidays")
    assert api.call("GET", f"/v1/schedules/{before['id']}/next")["data"] == []
    assert api.call("GET", f"/v1/schedules?paused=true&project_id={api.project}")["data"] == [paused]
    api.trigger(job)
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"cron": "5 * * * *"})
    assert schedule(api, job)["next_fire_at"] is None
    resumed = api.call("POST", f"/v1/schedules/{before['id']}/resume")
    assert resumed["state"] == "active"
    assert datetime.fromisoformat(resumed["next_fire_at"]).minute == 5


def test_a_job_that_takes_no_runs_has_no_next_fire(api: Caller):
    """Paused or disabled: the schedule says so, and comes back with the job."""
    job = api.make_job("off", cron="0 * * * *", enabled=False)
    assert (schedule(api, job)["state"], schedule(api, job)["next_fire_at"]) == ("disabled", None)
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"enabled": True})
    assert schedule(api, job)["next_fire_at"] is not None
    api.call("POST", f"/v1/jobs/{job['id']}/pause")
    assert (schedule(api, job)["state"], schedule(api, job)["next_fire_at"]) == ("paused", None)
    api.refuse("POST", f"/v1/schedules/{job['id']}/trigger", status=409)
    api.call("POST", f"/v1/jobs/{job['id']}/resume")
    assert schedule(api, job)["state"] == "active"


def test_a_window_is_a_field_of_a_job(api: Caller):
    """Without cron too, and the zone goes with it; a run that is triggered while it is closed waits."""
    month = (datetime.now(UTC) + timedelta(days=70)).month
    job = api.make_job("window", execution_window_cron=f"* * 1 {month} *", timezone="Asia/Tokyo")
    assert job["execution_window_cron"] == f"* * 1 {month} *"
    run = api.trigger(job)
    api.fold()
    assert api.run(run["id"])["status"] == "queued"
    assert api.call("GET", f"/v1/stats?project_id={api.project}")["held"] == {"window": 1}
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"execution_window_cron": None, "timezone": None})
    assert api.call("GET", f"/v1/stats?project_id={api.project}")["held"] == {}
    api.complete(run)


def test_fire_by_hand(api: Caller):
    """A run now, with the tick's mark and a row in the history; repeated with its key, the same run."""
    job = api.make_job("by-hand", cron="0 0 1 1 *")
    path = f"/v1/schedules/{job['id']}"
    run = api.call("POST", f"{path}/trigger", status=201, headers={"Idempotency-Key": "once"})
    assert (run["triggered_by"], run["job_id"]) == ("manual", job["id"])
    again = api.call("POST", f"{path}/trigger", status=201, headers={"Idempotency-Key": "once"})
    assert again["id"] == run["id"]
    (fire,) = api.call("GET", f"{path}/history")["data"]
    assert (fire["run_id"], fire["fire_at"], fire["skipped"]) == (run["id"], run["fire_at"], None)
    assert api.call("GET", f"{path}/history?skipped=true")["data"] == []
    found = schedule(api, job)
    assert (found["last_run_id"], found["last_fire_at"]) == (run["id"], run["fire_at"])


def test_history_pages(api: Caller):
    """Newest first, page by page, each fire once."""
    job = api.make_job("paged", cron="0 0 1 1 *")
    path = f"/v1/schedules/{job['id']}"
    made = [api.call("POST", f"{path}/trigger", status=201)["fire_at"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.call("GET", f"{path}/history?limit=2{cursor}")
        seen += [fire["fire_at"] for fire in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == sorted(made, reverse=True)


def test_the_next_fires(api: Caller):
    """As many as asked for, in UTC and as the clocks there show it; by schedule or by job."""
    job = api.make_job("soon", cron="0 9 * * *", timezone="America/New_York", jitter_secs=600)
    found = api.call("GET", f"/v1/schedules/{job['id']}/next?limit=3")["data"]
    assert len(found) == 3
    assert found == api.call("GET", f"/v1/jobs/{job['id']}/next-runs?limit=3")["data"]
    for one in found:
        assert one["local"].endswith("T09:00:00")
        assert one["zone_offset"] in {"-05:00", "-04:00"}
        late = datetime.fromisoformat(one["runs_at"]) - datetime.fromisoformat(one["fire_at"])
        assert timedelta(0) <= late <= timedelta(seconds=600)
    plain = api.make_job("plain")
    api.refuse("GET", f"/v1/jobs/{plain['id']}/next-runs", status=404)


@pytest.mark.parametrize(
    ("field", "rule", "month", "day_of_change"),
    [
        ("dst_gap", "transition", 3, ["03:00:00+02:00"]),
        ("dst_gap", "skip", 3, []),
        ("dst_gap", "shift", 3, ["03:30:00+02:00"]),
        ("dst_overlap", "first", 10, ["02:30:00+02:00"]),
        ("dst_overlap", "second", 10, ["02:30:00+01:00"]),
        ("dst_overlap", "both", 10, ["02:30:00+02:00", "02:30:00+01:00"]),
    ],
)
def test_a_job_says_what_a_change_of_clocks_means(
    api: Caller, field: str, rule: str, month: int, day_of_change: list[str]
):
    """Half past two in Berlin, on the last Sunday of March or October: as the job's own rule has it."""
    rules: dict[str, Any] = {field: rule}
    job = api.make_job("night", cron=f"30 2 * {month} *", timezone="Europe/Berlin", **rules)
    found = api.call("GET", f"/v1/jobs/{job['id']}/next-runs?limit=62")["data"]
    year = datetime.fromisoformat(found[-1]["local"]).year
    last = datetime(year, month, 31, tzinfo=UTC)
    if found[-1]["local"][:10] < f"{last:%Y-%m-%d}":
        last = last.replace(year=year - 1)
    sunday = last - timedelta(days=(last.weekday() + 1) % 7)
    told = [one["local"][11:] + one["zone_offset"] for one in found if one["local"].startswith(f"{sunday:%Y-%m-%d}")]
    assert told == day_of_change


def test_schedules_of_other_projects_are_not_there(api: Caller):
    """404, as for a schedule that does not exist."""
    job = api.make_job("mine", cron="@daily")
    found = schedule(api, job)
    api.refuse("GET", f"/v1/schedules/{found['id']}?project_id=other", status=404)
    api.refuse("GET", "/v1/schedules/sch_01hzy5w3x2f4t8q9m7k6j5h4g3", status=404)
    told = api.refuse("POST", f"/v1/schedules/{found['id']}/pause", {"reason": "x" * 1_001}, status=422)
    assert told["status"] == 422


def test_a_simulation_of_stored_schedules(api: Caller):
    """A day with an outage: what fires, what is skipped for overlap, what is caught up on; nothing is stored."""
    job = api.make_job("sim", cron="0 * * * *", overlap_policy="skip")
    body = {
        "jobs": [job["id"]],
        "from_at": "2030-01-31T00:00:00Z",
        "to_at": "2030-02-01T00:00:00Z",
        "run_secs": 4_500,
        "outages": [{"from_at": "2030-01-31T12:30:00Z", "to_at": "2030-01-31T15:30:00Z"}],
    }
    told = api.call("POST", "/v1/cron/simulate", body)
    (tally,) = told["tallies"]
    assert tally["caught_up"] == 1
    assert tally["skipped"]["overlap"] > 5
    assert tally["most_at_once"] == 1
    assert told["cut"] is False
    assert {event["job_slug"] for event in told["events"]} == {"sim"}
    assert api.call("GET", f"/v1/schedules/{job['id']}/history")["data"] == []
    problem = api.refuse("POST", "/v1/cron/simulate", {**body, "to_at": body["from_at"], "jobs": []}, status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == ["/jobs", "/to_at"]
    api.refuse("POST", "/v1/cron/simulate", {**body, "jobs": ["no-such-job"]}, status=404)


def test_a_schedule_needs_a_job_that_takes_an_empty_payload(api: Caller):
    """422 at the cron, when the job is made and when either is changed; nothing is stored."""
    schema = {"type": "object", "required": ["user"]}
    body = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": "http://127.0.0.1:9/"}
    problem = api.refuse("POST", "/v1/jobs", {**body, "cron": "@daily", "payload_schema": schema}, status=422)
    assert problem["errors"][0]["pointer"] == "/cron"
    assert "payload_schema refuses" in problem["errors"][0]["message"]
    job = api.make_job("x", cron="@daily")
    api.refuse("PATCH", f"/v1/jobs/{job['id']}", {"payload_schema": schema}, status=422)
    assert api.call("GET", f"/v1/jobs/{job['id']}")["payload_schema"] is None


def test_a_broken_deadline_is_shown(api: Caller):
    """On the schedule, in its history, among its breaches, in the statistics, and where a run is explained."""
    job = api.make_job("late", cron="* * * * *", start_within_secs=1, alert_webhook_url="http://127.0.0.1:9/")
    found = schedule(api, job)
    assert (found["expected_by"], found["last_breach"]) == (None, None)
    at = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    run = fire_at(api, job, found, at)
    (breach,) = api.call("GET", f"/v1/schedules/{found['id']}/breaches")["data"]
    assert (breach["deadline"], breach["run_id"]) == ("start_within_secs", run)
    since, limit = (datetime.fromisoformat(breach[name]) for name in ("since", "limit_at"))
    assert (since, limit) == (at, at + timedelta(seconds=1))
    assert schedule(api, job)["last_breach"] == breach
    (fire,) = api.call("GET", f"/v1/schedules/{found['id']}/history")["data"]
    assert fire["breaches"] == ["start_within_secs"]
    late = {"start_within_secs": 1, "finish_within_secs": 0, "expect_every_secs": 0}
    assert api.call("GET", f"/v1/stats?project_id={api.project}")["breaches"] == late
    assert api.call("GET", "/v1/stats?project_id=nobody")["breaches"] == dict.fromkeys(late, 0)
    *_, reason = api.call("GET", f"/v1/runs/{run}/explain")["reasons"]
    assert reason["code"] == "late"
    assert f"{limit:%H:%M:%SZ}" in reason["text"]
    (told,) = api.call("GET", f"/v1/webhooks/deliveries?run_id={run}")["data"]
    assert (told["type"], told["job_slug"]) == ("deadline.broken", "late")


def fire_at(api: Caller, job: dict[str, Any], found: dict[str, Any], at: datetime) -> str:
    """A tick of that time, as a ticker makes it, and its deadline looked at; its run."""
    parts = api.server.parts
    job_id, schedule_id = ids.parse(Prefix.JOB, job["id"]), ids.parse(Prefix.SCHEDULE, found["id"])
    assert job_id is not None
    assert schedule_id is not None

    async def work() -> UUID:
        async with parts.pool.connection() as conn, conn.transaction():
            stored = await jobs.job_by_id(conn, job_id)
            assert stored is not None
            due = Due(schedule_id, at, None, at, owner_of(stored), None)
            done = await ticks.look(conn, [due], at, parts.new_id)
        await Timekeeper(parts.pool, parts.clock, kept_days=0).tick()
        return done.made[0]

    return ids.spell(Prefix.RUN, api.server.do(work()))


def test_a_success_is_expected_while_the_schedule_fires(api: Caller):
    """From its creation on; not while it is paused; anew from the resume on."""
    job = api.make_job("often", cron="@daily", expect_every_secs=7_200)
    first = datetime.fromisoformat(schedule(api, job)["expected_by"])
    assert abs(first - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
    assert api.call("POST", f"/v1/schedules/{job['id']}/pause")["expected_by"] is None
    resumed = datetime.fromisoformat(api.call("POST", f"/v1/schedules/{job['id']}/resume")["expected_by"])
    assert resumed > first
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"description": "changed"})
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"jitter_secs": 5})
    assert datetime.fromisoformat(schedule(api, job)["expected_by"]) == resumed
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"expect_every_secs": 0})
    assert schedule(api, job)["expected_by"] is None
