"""Verbs for many runs, and for the time of one, against a real daemon."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint

LATER = ("--scheduled-at", (datetime.now(UTC) + timedelta(hours=5)).isoformat())


def waiting(shell: Shell, job: str, count: int) -> list[str]:
    """Ids of so many delayed runs, the newest first."""
    ids = [shell.ok("trigger", job, *LATER, "-o", "name").out.strip() for _ in range(count)]
    return ids[::-1]


def test_many_are_canceled_by_filter(shell: Shell, job: str):
    """A dry run shows them, a yes cancels them, once more finds none."""
    ids = waiting(shell, job, 3)
    tried = shell.ok("runs", "bulk-cancel", "--job", job, "--status", "delayed,queued", "--dry-run", "-o", "json")
    assert [run["id"] for run in tried.json["sample"]] == ids
    assert "would cancel 3 runs" in tried.err
    table = shell.ok("runs", "bulk-cancel", "--job", job, "--dry-run", "--no-headers")
    assert [row[0] for row in table.rows] == ids
    refused = shell.run("runs", "bulk-cancel", "--job", job, code=2)
    assert "would cancel 3 runs (of echo)" in refused.err
    done = shell.ok("runs", "bulk-cancel", "--job", job, "--yes", "-o", "json")
    assert done.json == {"matched": 3, "done": 3, "skipped": []}
    assert {run["status"] for run in shell.ok("runs", "list", "-o", "json").json} == {"canceled"}
    assert shell.ok("runs", "bulk-cancel", "--job", job, "--yes").out == "cancel: 0 of 0 done\n"


def test_what_is_left_ends_with_10(shell: Shell, job: str):
    """Runs named one by one: what could not be done is told with its reason."""
    (run_id,) = waiting(shell, job, 1)
    ended = shell.ok("trigger", job, "--wait", "-o", "json").json["id"]
    answer = shell.run("runs", "bulk-cancel", run_id, ended, "--yes", code=10)
    assert answer.out == "cancel: 1 of 2 done\n"
    assert f"left {ended}: it is completed" in answer.err


def test_dead_letters_are_listed_and_replayed(shell: Shell, failing_job: str, cli_endpoint: Endpoint):
    """All of a job's at once, after its endpoint was mended."""
    for _ in range(2):
        shell.run("trigger", failing_job, "--wait", code=9)
    dead = shell.ok("runs", "dlq", "--job", failing_job, "-o", "json").json
    assert [run["status"] for run in dead] == ["dead_letter"] * 2
    assert shell.ok("runs", "dlq", "--error-class", "timeout", "-o", "json").json == []
    shell.ok("jobs", "update", failing_job, "--endpoint", cli_endpoint.url("/ok"), "--version-policy", "latest")
    done = shell.ok("runs", "bulk-replay", "--status", "dead_letter", "--yes", "-o", "json")
    assert done.json["done"] == 2
    shell.ok("wait", *(run["id"] for run in dead), "--timeout", "20")
    assert shell.ok("runs", "dlq", "-o", "json").json == []


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "bulk-cancel"),
        ("runs", "bulk-cancel", "@last", "--job", "echo"),
        ("runs", "bulk-replay", "--status", "gone"),
        ("runs", "bulk-cancel", "--tag", "x"),
        ("runs", "reschedule", "@last"),
        ("runs", "reschedule", "@last", "--in", "5m", "--at", "2030-01-01T00:00:00Z"),
        ("runs", "reschedule", "@last", "--in", "soon"),
        ("runs", "export", "runs.xml"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(alone: Shell, words: tuple[str, ...]):
    """Exit 2 before anything is sent."""
    assert alone.run(*words, code=2).err.startswith("error: ")


def test_a_waiting_run_gets_another_time(shell: Shell, job: str):
    """By a length of time and by an instant; a run that is over has none."""
    (run_id,) = waiting(shell, job, 1)
    moved = shell.ok("runs", "reschedule", run_id, "--in", "2h", "-o", "json").json
    at = datetime.fromisoformat(moved["scheduled_at"])
    assert timedelta(minutes=119) < at - datetime.now(UTC) < timedelta(minutes=121)
    past = shell.ok("runs", "reschedule", run_id, "--at", "2001-01-01T00:00:00Z", "-o", "json").json
    assert past["status"] == "delayed"
    shell.ok("wait", run_id, "--timeout", "20")
    assert "completed" in shell.run("runs", "reschedule", run_id, "--in", "5", code=6).err


def test_runs_are_exported(shell: Shell, job: str):
    """JSON lines and CSV, to files and to standard output; the file says which."""
    ids = waiting(shell, job, 3)
    assert "3 runs in runs.jsonl" in shell.ok("runs", "export", "runs.jsonl", "--include", "payload").err
    lines = [json.loads(line) for line in (shell.folder / "runs.jsonl").read_text().splitlines()]
    assert [run["id"] for run in lines] == ids
    assert lines[0]["payload"] == {}
    shell.ok("runs", "export", "runs.csv", "--job", job)
    rows = list(csv.DictReader(io.StringIO((shell.folder / "runs.csv").read_text())))
    assert [row["id"] for row in rows] == ids
    piped = shell.ok("runs", "export", "-", "--limit", "2")
    assert [run["id"] for run in piped.lines] == ids[:2]
    assert shell.ok("runs", "export", "-", "-o", "csv").out.splitlines()[0].startswith("id,")


def test_a_bar_shows_on_a_terminal(shell: Shell, job: str):
    """It is gone when the work is done, and the outcome stands there."""
    waiting(shell, job, 2)
    terminal = shell.terminal("runs", "bulk-cancel", "--job", job, "--yes")
    assert terminal.wait() == 0
    assert "2/2" in terminal.raw
    assert "cancel: 2 of 2 done" in terminal.shown
    assert "2/2" not in terminal.shown


def test_a_run_that_waits_is_explained(shell: Shell, job: str):
    """What holds it and until when, in words for people and as the API's object for programs."""
    (run_id,) = waiting(shell, job, 1)
    shell.ok("jobs", "pause", job, "--reason", "holidays")
    answer = shell.ok("runs", "explain", run_id)
    first, *reasons = answer.out.splitlines()
    assert first == f"{run_id} of job echo is delayed"
    assert [line.split()[0] for line in reasons] == ["delayed", "paused"]
    assert "; until 20" in reasons[0]
    assert "holidays" in reasons[1]
    told = shell.ok("runs", "explain", run_id, "-o", "json").json
    assert [reason["code"] for reason in told["reasons"]] == ["delayed", "paused"]
    assert shell.ok("runs", "explain", run_id, "--jq", ".reasons[1].text").out == "job echo is paused: holidays\n"
    terminal = shell.terminal("runs", "explain", run_id)
    assert terminal.wait() == 0
    assert "until in 4h" in terminal.shown
    shown = shell.terminal("runs", "get", run_id)
    assert shown.wait() == 0
    assert f"strait runs explain {run_id}" in shown.shown
