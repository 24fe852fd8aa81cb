"""`strait schedules backfill` and `strait schedules breaches`, against a real daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint

SPAN = ("--from", "2026-01-10", "--to", "2026-01-13")


def make(shell: Shell, endpoint: Endpoint, path: str = "/echo", cron: str = "0 0 * * *") -> None:
    words = ("--name", "B", "--slug", "b", "--endpoint", endpoint.url(path), "--max-attempts", "1")
    shell.ok("jobs", "create", *words, "--cron", cron, "--timezone", "Asia/Tokyo")


@pytest.mark.parametrize("noun", ["schedules", "cron"])
def test_a_backfill_is_followed_to_its_end(shell: Shell, cli_endpoint: Endpoint, noun: str):
    """A dry run lists the ticks, nobody to ask is exit 2, then the runs of all ticks; again there is nothing to do."""
    make(shell, cli_endpoint)
    tried = shell.ok(noun, "backfill", "b", *SPAN, "--dry-run", "-o", "json")
    assert [tick["local"] for tick in tried.json["ticks"]] == [f"2026-01-{day}T00:00:00" for day in (10, 11, 12)]
    assert "would fire 3 runs; nothing was changed" in tried.err
    heads, first, *_ = shell.ok(noun, "backfill", "b", *SPAN, "--dry-run").rows
    assert (heads, first[0]) == (["UTC", "LOCAL", "OFFSET"], "2026-01-09T15:00:00Z")
    assert "would fire 3 runs of b again" in shell.run(noun, "backfill", "b", *SPAN, code=2).err
    done = shell.ok(noun, "backfill", "b", *SPAN, "--max-concurrency", "2", "--yes", "-o", "json").json
    assert (done["state"], done["fires"], done["completed"]) == ("done", 3, 3)
    runs = shell.ok("runs", "list", "--triggered-by", "backfill", "-o", "json").json
    assert sorted(run["fire_at"] for run in runs) == [f"2026-01-{day:02}T15:00:00Z" for day in (9, 10, 11)]
    again = shell.ok(noun, "backfill", "b", *SPAN, "--yes")
    assert "left out 3 ticks: fired again before" in again.err
    assert len(shell.ok("schedules", "history", "b", "-o", "json").json) == 3


@pytest.mark.parametrize(("words", "bar"), [((), True), (("-q",), False)])
def test_a_person_sees_how_far_it_has_come(shell: Shell, cli_endpoint: Endpoint, words: tuple[str, ...], bar: bool):
    """A bar with counts, gone in the end; none with -q."""
    make(shell, cli_endpoint)
    terminal = shell.terminal("schedules", "backfill", "b", *SPAN, "--yes", *words)
    assert terminal.wait() == 0
    assert ("backfilled" in terminal.raw and "/3" in terminal.raw) is bar
    assert "/3" not in terminal.shown
    assert "done" in terminal.shown


def test_runs_that_fail_end_with_10(shell: Shell, cli_endpoint: Endpoint):
    """All are made; how many did not succeed, and how to see them."""
    make(shell, cli_endpoint, "/status/500")
    said = shell.run("schedules", "backfill", "b", *SPAN, "--yes", code=10)
    assert "3 of 3 runs did not succeed" in said.err
    assert "runs list --triggered-by backfill" in said.err


def test_a_backfill_is_left_and_stopped(shell: Shell, cli_endpoint: Endpoint):
    """With --detach it goes on by itself; --stop ends it; there is none to stop afterwards."""
    make(shell, cli_endpoint, "/hang")
    going = shell.ok("schedules", "backfill", "b", *SPAN, "--detach", "--yes", "-o", "json").json
    assert (going["state"], going["fires"]) == ("running", 3)
    shell.ok("schedules", "backfill", "b", "--stop")
    shell.run("schedules", "backfill", "b", "--stop", code=5)
    shell.ok("runs", "bulk-cancel", "--job", "b", "--yes")


def test_what_is_wrong_with_an_interval(shell: Shell, cli_endpoint: Endpoint):
    """Usage without one, validation for one that has not passed or holds too much."""
    make(shell, cli_endpoint, cron="* * * * *")
    assert "--from TIME --to TIME" in shell.run("schedules", "backfill", "b", "--from", "2026-01-01", code=2).err
    future = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    assert (
        "must have passed"
        in shell.run("schedules", "backfill", "b", "--from", "2026-01-01", "--to", future, code=7).err
    )
    said = shell.run("schedules", "backfill", "b", "--from", "2026-01-01", "--to", "2026-02-01", code=7)
    assert "44,640 fires" in said.err
    shell.run("schedules", "backfill", "none", *SPAN, "--dry-run", code=5)


def test_a_schedule_without_breaches(shell: Shell, cli_endpoint: Endpoint):
    """An empty list; its expectation stands on the schedule."""
    make(shell, cli_endpoint)
    shell.ok("jobs", "update", "b", "--expect-every-secs", "3600")
    assert shell.ok("schedules", "breaches", "b", "-o", "json").json == []
    assert shell.ok("schedules", "get", "b", "-o", "json").json["expected_by"] is not None
