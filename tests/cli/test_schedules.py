"""`strait schedules` and the schedule's part of `strait jobs`, against a real daemon."""

from __future__ import annotations

from typing import Any

import pytest

from strait_core.timetable import OF_CRON
from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint


@pytest.fixture
def nightly(shell: Shell, cli_endpoint: Endpoint) -> dict[str, Any]:
    """A job with a schedule that does not fire while a test runs."""
    words = ("--name", "Nightly", "--slug", "nightly", "--endpoint", cli_endpoint.url("/echo"))
    job: dict[str, Any] = shell.ok(
        *("jobs", "create", *words, "--cron", "0 0 1 1 *", "--timezone", "Asia/Tokyo", "-o", "json")
    ).json
    return job


def test_every_field_of_a_schedule_is_a_flag(shell: Shell):
    """Create with every flag; the job holds every value."""
    words = ("--name", "S", "--slug", "s", "--endpoint", "http://127.0.0.1:9/x")
    job = shell.ok(
        *("jobs", "create", *words, "--cron", "0 9 * * 1-5", "--timezone", "Europe/Berlin", "--misfire-policy", "all"),
        *("--misfire-max-lateness-secs", "60", "--misfire-max-runs", "5", "--overlap-policy", "queue_one"),
        *("--jitter-secs", "30", "--dst-gap", "shift", "--dst-overlap", "both"),
        *("--start-within-secs", "60", "--finish-within-secs", "600", "--expect-every-secs", "3600"),
        *("--alert-webhook-url", "http://127.0.0.1:9/alerts"),
        *("--execution-window-cron", "* 9-17 * * *", "-o", "json"),
    ).json
    expected = {
        "cron": "0 9 * * 1-5",
        "timezone": "Europe/Berlin",
        "misfire_policy": "all",
        "misfire_max_lateness_secs": 60,
        "misfire_max_runs": 5,
        "overlap_policy": "queue_one",
        "jitter_secs": 30,
        "dst_gap": "shift",
        "dst_overlap": "both",
        "execution_window_cron": "* 9-17 * * *",
        "start_within_secs": 60,
        "finish_within_secs": 600,
        "expect_every_secs": 3_600,
        "alert_webhook_url": "http://127.0.0.1:9/alerts",
    }
    assert {name: job[name] for name in expected} == expected
    others = {"cron", "timezone", "execution_window_cron", "alert_webhook_url"}
    assert set(expected) == others | set(OF_CRON) - {"calendar"}
    assert shell.run("jobs", "update", "s", "--cron", "99 * * * *", code=7).err.count("minute") == 1


def test_list_and_get(shell: Shell, nightly: dict[str, Any]):
    """A row for people, the whole object for programs; by slug or by a shortened id."""
    heads, row = shell.ok("schedules", "list").rows
    assert dict(zip(heads, row, strict=True))["CRON"] == "0 0 1 1 *"
    (listed,) = shell.ok("schedules", "ls", "-o", "json").json
    assert shell.ok("schedules", "get", "nightly", "-o", "json").json == listed
    assert shell.ok("schedule", "get", listed["id"][:-3], "-o", "json").json == listed
    assert shell.ok("schedules", "list", "-o", "name").out == f"{listed['id']}\n"
    assert "Asia/Tokyo" in shell.ok("schedules", "get", nightly["id"]).out
    shell.run("schedules", "get", "no-such", code=5)


def test_pause_and_resume(shell: Shell, nightly: dict[str, Any]):
    """The row shows the state; the list can be narrowed to it."""
    paused = shell.ok("schedules", "pause", nightly["slug"], "--reason", "month end", "-o", "json").json
    assert (paused["state"], paused["pause_reason"]) == ("paused", "month end")
    assert len(shell.ok("schedules", "list", "--paused", "-o", "json").json) == 1
    assert shell.ok("schedules", "list", "--not-paused", "-o", "json").json == []
    assert shell.ok("schedules", "next", "nightly", "-o", "json").json == []
    assert shell.ok("schedules", "resume", "nightly", "-o", "json").json["state"] == "active"


def test_trigger_and_history(shell: Shell, nightly: dict[str, Any]):
    """A run now; the history names it."""
    run = shell.ok("schedules", "trigger", nightly["slug"], "-o", "json").json
    assert run["fire_at"] is not None
    (fire,) = shell.ok("schedules", "history", "nightly", "-o", "json").json
    assert fire["run_id"] == run["id"]
    assert shell.ok("schedules", "history", "nightly", "--skipped", "-o", "json").json == []
    heads, row = shell.ok("schedules", "history", "nightly", "--fired").rows
    told = dict(zip(heads, row, strict=False))
    assert (told["RUN"], told["TICKS"], told.get("LATE", "")) == (run["id"], "1", "")
    assert shell.ok("runs", "get", run["id"], "-o", "json").json["triggered_by"] == "manual"


def test_the_next_fires(shell: Shell, nightly: dict[str, Any]):
    """In UTC and in the zone; the same by job."""
    found = shell.ok("schedules", "next", nightly["slug"], "--count", "2", "-o", "json").json
    assert [one["local"][4:] for one in found] == ["-01-01T00:00:00"] * 2
    assert all(one["zone_offset"] == "+09:00" and one["fire_at"].endswith("-12-31T15:00:00Z") for one in found)
    assert shell.ok("jobs", "next-runs", "nightly", "--count", "2", "-o", "json").json == found
    heads, *rows = shell.ok("schedules", "next", "nightly").rows
    assert heads == ["UTC", "LOCAL", "OFFSET"]
    assert len(rows) == 10
