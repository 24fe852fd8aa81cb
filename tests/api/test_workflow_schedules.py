"""Schedules of workflows over HTTP: they come with a workflow's `cron`, and answer as those of jobs do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strait_core import ids
from strait_core.deadline import Deadline
from strait_core.store import deadlines
from strait_core.store.deadlines import NewBreach
from strait_daemon.services.backfiller import Backfiller
from tests.api.caller import Caller


def make(api: Caller, slug: str = "flow", **more: Any) -> dict[str, Any]:
    """A workflow of one sleep, so that it needs no job."""
    steps = [{"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}]
    body = {"project_id": api.project, "name": slug, "slug": slug, "steps": steps, **more}
    made: dict[str, Any] = api.call("POST", "/v1/workflows", body, status=201)
    return made


def test_a_workflow_with_cron_has_a_schedule(api: Caller):
    """Read by slug, by the workflow's id and by its own; listed; gone with the expression, and with the workflow."""
    flow = make(api, cron="30 2 * * *", cron_timezone="Europe/Berlin", skip_if_running=True, jitter_secs=0)
    assert (flow["cron"], flow["cron_timezone"], flow["skip_if_running"], flow["jitter_secs"]) == (
        "30 2 * * *", "Europe/Berlin", True, None,
    )  # fmt: skip
    found = api.call("GET", f"/v1/schedules/flow?project_id={api.project}")
    assert (found["kind"], found["workflow_id"], found["workflow_slug"]) == ("workflow", flow["id"], "flow")
    assert (found["job_id"], found["job_slug"], found["state"]) == (None, None, "active")
    assert (found["cron"], found["timezone"]) == ("30 2 * * *", "Europe/Berlin")
    assert found == api.call("GET", f"/v1/schedules/{found['id']}") == api.call("GET", f"/v1/schedules/{flow['id']}")
    assert api.call("GET", f"/v1/schedules?project_id={api.project}")["data"] == [found]
    (first, second) = api.call("GET", f"/v1/schedules/{flow['id']}/next?limit=2")["data"]
    assert first["fire_at"] == found["next_fire_at"] < second["fire_at"]
    assert first["local"].endswith("T02:30:00")
    api.call("PATCH", f"/v1/workflows/{flow['id']}", {"cron": "0 * * * *"})
    again = api.call("GET", f"/v1/schedules/{flow['id']}")
    assert (again["id"], datetime.fromisoformat(again["next_fire_at"]).minute) == (found["id"], 0)
    api.call("PATCH", f"/v1/workflows/{flow['id']}", {"cron": None, "cron_timezone": None, "skip_if_running": None})
    assert "strait workflows update flow --cron" in api.refuse("GET", f"/v1/schedules/{flow['id']}", status=404)["hint"]
    api.call("PATCH", f"/v1/workflows/{flow['id']}", {"cron": "@daily"})
    api.call("DELETE", f"/v1/workflows/{flow['id']}", status=204)
    assert api.call("GET", f"/v1/schedules?project_id={api.project}")["data"] == []


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"cron": "* * * * * *"}, "/cron", "6 fields"),
        ({"cron": "@daily", "cron_timezone": "Europe/Berln"}, "/cron_timezone", "Europe/Berlin"),
        ({"cron_timezone": "Europe/Berlin"}, "/cron_timezone", "works only with cron"),
        ({"skip_if_running": True}, "/skip_if_running", "works only with cron"),
        ({"overlap_policy": "skip"}, "/overlap_policy", "works only with cron"),
        ({"cron": "@daily", "skip_if_running": True, "overlap_policy": "queue_one"}, "/skip_if_running", "queue_one"),
        ({"cron": "@daily", "jitter_secs": 3_601}, "/jitter_secs", "3600"),
        ({"cron": "@daily", "misfire_max_runs": 0}, "/misfire_max_runs", "1"),
        ({"cron": "@daily", "expect_every_secs": 59}, "/expect_every_secs", "at least 60"),
        ({"cron": "@daily", "calendar_mode": "only"}, "/calendar_mode", "works only with calendar"),
        ({"cron": "@daily", "calendar": "none"}, "/calendar", "has no calendar"),
        ({"cron": "@daily", "alert_webhook_url": "http://127.0.0.1:9/"}, "/alert_webhook_url", "works only with"),
        (
            {"cron": "@daily", "start_within_secs": 9, "alert_webhook_url": "http://169.254.169.254/"},
            "/alert_webhook_url",
            "must",
        ),
    ],
)
def test_a_wrong_schedule_of_a_workflow_is_refused(api: Caller, fields: dict[str, Any], pointer: str, words: str):
    """422 that points at the field and says what would do; nothing is stored."""
    steps = [{"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}]
    body = {"project_id": api.project, "name": "x", "slug": "x", "steps": steps, **fields}
    (fault,) = api.refuse("POST", "/v1/workflows", body, status=422)["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["message"]
    assert api.call("GET", f"/v1/workflows?project_id={api.project}")["data"] == []


def test_pause_resume_and_fire_by_hand(api: Caller):
    """The schedule pauses alone, or with its workflow; fired by hand it is a workflow run that carries the tick."""
    flow = make(api, cron="0 0 1 1 *")
    path = f"/v1/schedules/{flow['id']}"
    paused = api.call("POST", f"{path}/pause", {"reason": "holidays"})
    assert (paused["state"], paused["next_fire_at"], paused["pause_reason"]) == ("paused", None, "holidays")
    assert api.call("GET", f"{path}/next")["data"] == []
    assert api.call("POST", f"{path}/resume")["next_fire_at"] is not None
    run = api.call("POST", f"{path}/trigger", status=201, headers={"Idempotency-Key": "once"})
    assert (run["workflow_id"], run["triggered_by"], run["status"]) == (flow["id"], "manual", "running")
    assert api.call("POST", f"{path}/trigger", status=201, headers={"Idempotency-Key": "once"})["id"] == run["id"]
    (fire,) = api.call("GET", f"{path}/history")["data"]
    assert (fire["run_id"], fire["fire_at"]) == (run["id"], run["fire_at"])
    assert api.call("GET", path)["last_run_id"] == run["id"]
    assert api.call("GET", f"/v1/workflow-runs/{run['id']}")["fire_at"] == run["fire_at"]
    api.call("POST", f"/v1/workflows/{flow['id']}/pause")
    assert api.call("GET", path)["state"] == "paused"
    assert "workflow 'flow' takes no runs" in api.refuse("POST", f"{path}/trigger", status=409)["detail"]
    api.call("POST", f"/v1/workflows/{flow['id']}/resume")
    api.call("PATCH", f"/v1/workflows/{flow['id']}", {"enabled": False})
    assert (api.call("GET", path)["state"], api.call("GET", path)["next_fire_at"]) == ("disabled", None)


def test_a_name_that_two_schedules_have(api: Caller):
    """A job and a workflow of one slug: 409 that lists both; when only one of them fires, it is meant."""
    api.make_job("twin")
    flow = make(api, "twin", cron="@daily")
    assert api.call("GET", f"/v1/schedules/twin?project_id={api.project}")["workflow_id"] == flow["id"]
    job = api.call("PATCH", f"/v1/jobs/twin?project_id={api.project}", {"cron": "@hourly"})
    problem = api.refuse("GET", f"/v1/schedules/twin?project_id={api.project}", status=409)
    assert "job of" in problem["detail"]
    assert "workflow of" in problem["detail"]
    assert api.call("GET", f"/v1/schedules/{job['id']}")["job_id"] == job["id"]
    assert "there is no job" in api.refuse("GET", "/v1/schedules/nobody", status=404)["detail"]


def test_a_workflow_goes_by_a_calendar(api: Caller):
    """Whose changes it follows at once; a simulation and a backfill know it too."""
    year = datetime.now(UTC).year + 1
    body = {"project_id": api.project, "slug": "off", "dates": [f"{year}-01-01"]}
    api.call("POST", "/v1/calendars", body, status=201)
    flow = make(api, cron="0 0 * 1 *", calendar="off")
    path = f"/v1/schedules/{flow['id']}"
    assert f"{year}-01-01" not in {one["fire_at"][:10] for one in api.call("GET", f"{path}/next?limit=40")["data"]}
    api.call("PATCH", f"/v1/calendars/off?project_id={api.project}", {"dates": [f"{year}-01-05"]})
    assert f"{year}-01-01" in {one["fire_at"][:10] for one in api.call("GET", f"{path}/next?limit=40")["data"]}
    asked = {"jobs": [flow["id"]], "from_at": f"{year}-01-01T00:00:00Z", "to_at": f"{year}-01-03T00:00:00Z"}
    told = api.call("POST", "/v1/cron/simulate", asked)
    assert [(one["job_slug"], one["fired"]) for one in told["tallies"]] == [("flow", 2)]
    problem = api.refuse("DELETE", f"/v1/calendars/off?project_id={api.project}", status=409)
    assert "1 schedule goes by" in problem["detail"]


def test_an_interval_of_a_workflow_is_fired_again(api: Caller):
    """A dry run says what; the backfill makes workflow runs, so many at once, and counts how they end."""
    flow = make(api, cron="0 * * * *")
    path = f"/v1/schedules/{flow['id']}/backfill"
    span = {"from_at": "2024-05-01T00:00:00Z", "to_at": "2024-05-01T03:00:00Z", "max_concurrency": 2}
    assert api.call("POST", path, {**span, "dry_run": True})["fires"] == 3
    made = api.call("POST", path, span, status=201)["backfill"]
    assert (made["workflow_slug"], made["job_slug"]) == ("flow", None)
    look(api)
    runs = api.call("GET", f"/v1/workflow-runs?workflow_id={flow['id']}")["data"]
    assert [(one["triggered_by"], one["status"]) for one in runs] == [("backfill", "running")] * 2
    assert {one["fire_at"] for one in runs} == {"2024-05-01T00:00:00Z", "2024-05-01T01:00:00Z"}
    for run in runs:
        api.call("POST", f"/v1/workflow-runs/{run['id']}/steps/nap/skip")
    look(api)
    (last, *_) = api.call("GET", f"/v1/workflow-runs?workflow_id={flow['id']}")["data"]
    api.call("POST", f"/v1/workflow-runs/{last['id']}/cancel")
    look(api)
    over = api.call("GET", path)
    assert (over["state"], over["completed"], over["unsuccessful"]) == ("done", 2, 1)


def look(api: Caller) -> None:
    """Let a backfiller look once, later than it would by itself."""
    parts = api.server.parts

    async def work() -> None:
        async with parts.pool.connection() as conn:
            await conn.execute("UPDATE strait.backfills SET due_at = created_at WHERE ended_at IS NULL")
        filler = Backfiller(
            parts.pool,
            parts.clock,
            parts.new_id,
            wake=lambda: None,
            changed=lambda _: None,
            brought=parts.announcer.brought,
            kept_days=0,
        )
        await filler.tick()

    api.server.do(work())


def test_what_a_run_was_late_for_is_explained(api: Caller):
    """The deadline of its tick that the timekeeper has found broken; a run by hand has none."""
    flow = make(api, cron="0 * * * *", finish_within_secs=60)
    path = f"/v1/workflows/{flow['id']}/trigger"
    late, other = (api.call("POST", path, {}, status=201)["id"] for _ in range(2))

    async def work() -> None:
        async with api.server.parts.pool.connection() as conn:
            at = datetime(2030, 1, 1, tzinfo=UTC)
            run_id = ids.parse(ids.Prefix.WORKFLOW_RUN, late)
            await conn.execute("UPDATE strait.workflow_runs SET fire_at = %s WHERE id = %s", (at, run_id))
            (found,) = await (
                await conn.execute("SELECT id FROM strait.schedules s WHERE kind = 'workflow' AND target_id = %s",
                    (ids.parse(ids.Prefix.WORKFLOW, flow["id"]),))
            ).fetchall()  # fmt: skip
            limit = at + timedelta(seconds=60)
            breach = NewBreach(
                id=deadlines.new_breach(at), schedule_id=found[0], project_id=api.project,
                deadline=Deadline.FINISH, since=at, limit_at=limit, run_id=run_id,
            )  # fmt: skip
            await deadlines.record(conn, [breach], limit)

    api.server.do(work())
    (reason,) = api.call("GET", f"/v1/workflow-runs/{late}/explain")["reasons"]
    assert reason["code"] == "late"
    assert reason["text"] == "it is late: by finish_within_secs it was to end until 2030-01-01 00:01:00Z"
    assert api.call("GET", f"/v1/workflow-runs/{other}/explain")["reasons"] == []
