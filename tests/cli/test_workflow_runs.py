"""`strait workflow-runs` and `strait approvals` against a real daemon, with workers."""

from __future__ import annotations

from typing import Any

import httpx

from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint
from tests.support.plain import NO_TLS


def create(shell: Shell, slug: str, *steps: dict[str, Any]) -> None:
    """Make a workflow over the API, as the quickstart does."""
    answer = httpx.post(
        f"{shell.settings['STRAIT_SERVER']}/v1/workflows",
        headers={"Authorization": f"Bearer {shell.settings['INTERNAL_SECRET']}"},
        json={"project_id": shell.settings["STRAIT_PROJECT"], "name": slug, "slug": slug, "steps": list(steps)},
        trust_env=False,
        verify=NO_TLS,
    )
    assert answer.status_code == 201, answer.text


def test_a_workflow_run_is_triggered_watched_and_read(shell: Shell, cli_endpoint: Endpoint):
    """Each step's changes in a line; exit 0 when it completed; steps, timeline and explain afterwards."""
    shell.ok("jobs", "create", "--name", "E", "--slug", "echo", "--endpoint", cli_endpoint.url("/echo"))
    create(
        shell,
        "pipe",
        {"step_ref": "extract", "job_id": "echo"},
        {"step_ref": "load", "job_id": "echo", "depends_on": ["extract"]},
    )
    watched = shell.ok("workflows", "trigger", "pipe", "--set", "n=1", "--wait")
    moves = [row[1:] for row in watched.rows]
    assert moves.index(["completed", "extract"]) < moves.index(["completed", "load"])
    run = shell.ok("workflow-runs", "list", "--workflow", "pipe", "-o", "name").out.split()[0]
    assert shell.ok("workflow-runs", "get", run, "-o", "json").json["payload"] == {"n": 1}
    steps = shell.ok("workflow-runs", "steps", "list", run, "-o", "json").json
    assert [(one["step_ref"], one["status"]) for one in steps] == [("extract", "completed"), ("load", "completed")]
    assert shell.ok("workflow-runs", "steps", "get", run, "load", "-o", "json").json["output"]["n"] == 1
    assert len(shell.ok("workflow-runs", "timeline", run, "-o", "json").json) == 2
    assert "completed" in shell.ok("workflow-runs", "explain", run).out


def test_approvals_and_moves_by_hand(shell: Shell):
    """Listed, answered as somebody; pause, resume, skip, cancel, retry; a run that does not complete exits 9."""
    ask = {"step_type": "approval", "approvers": ["ann"]}
    create(shell, "gate", {"step_ref": "ask", **ask}, {"step_ref": "again", **ask, "depends_on": ["ask"]})
    run = shell.ok("workflows", "trigger", "gate", "-o", "name").out.strip()
    listed = shell.ok("approvals", "list", "-o", "json").json
    (asked,) = [one for one in listed if one["workflow_run_id"] == run]
    assert "approval by ann" in shell.ok("workflow-runs", "explain", run).out
    shell.run("approvals", "approve", asked["id"], code=4)
    shell.run("approvals", "approve", "apr_7zzzz", code=5)
    shell.ok("approvals", "approve", asked["id"][:-2], "--comment", "fine", "--as", "ann")
    assert shell.ok("workflow-runs", "pause", run, "-o", "json").json["status"] == "paused"
    assert shell.ok("workflow-runs", "resume", run, "-o", "json").json["status"] == "running"
    shell.ok("workflow-runs", "cancel", run, "--yes")
    shell.run("workflow-runs", "watch", run, code=9)
    assert shell.ok("workflow-runs", "retry", run, "-o", "json").json["status"] == "running"
    shell.ok("workflow-runs", "steps", "skip", run, "again", "--reason", "enough")
    shell.ok("workflow-runs", "watch", run)
    other = shell.ok("workflows", "trigger", "gate", "-o", "name").out.strip()
    shell.run("workflow-runs", "steps", "reject", other, "ask", code=4)
    shell.ok("workflow-runs", "steps", "approve", other, "ask", "--as", "ann", "--comment", "fine")
    told = shell.ok("workflow-runs", "steps", "reject", other, "again", "--as", "ann", "-o", "json").json
    assert (told["status"], told["error"]) == ("failed", "step again: rejected: by ann")
    shell.run("workflow-runs", "steps", "retry", run, "nothing", code=6)
    shell.run("workflow-runs", "get", "wfr_nothing", code=5)


def test_many_runs_of_a_workflow(shell: Shell):
    """Listed for the one workflow; canceled and retried in bulk after a rehearsal; drawn with their states."""
    nap = {"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}
    create(shell, "naps", nap, {**nap, "step_ref": "again", "depends_on": ["nap"]})
    runs = [shell.ok("workflows", "trigger", "naps", "-o", "name").out.strip() for _ in range(2)]
    assert shell.ok("workflows", "runs", "naps", "-o", "name").out.split() == runs[::-1]
    rehearsed = shell.ok("workflow-runs", "bulk-cancel", "--workflow", "naps", "--dry-run")
    assert "would cancel 2 workflow runs" in rehearsed.err
    shell.run("workflow-runs", "bulk-cancel", "--workflow", "naps", code=2)
    assert shell.ok("workflow-runs", "bulk-cancel", "--workflow", "naps", "--yes").out == "cancel: 2 of 2 done\n"
    shell.ok("workflow-runs", "bulk-retry", *runs, "--yes")
    drawn = shell.ok("workflow-runs", "graph", runs[0]).out
    assert "‖ nap" in drawn
    assert "· again" in drawn
    found = shell.ok("workflow-runs", "graph", runs[0], "-o", "json").json
    assert (found["runnable"], found["remaining_secs"] > 7_000, found["unestimated"]) == (["nap"], True, [])
    assert "fillcolor" in shell.ok("workflow-runs", "graph", runs[0], "--as", "dot").out


def test_a_simulation(shell: Shell, job: str):
    """A table in the order of the steps, what it comes to, and how long; wrong names are told."""
    steps: list[dict[str, Any]] = [
        {"step_ref": "a", "job_id": job},
        {"step_ref": "b", "job_id": job, "depends_on": ["a"]},
    ]
    create(shell, "sim", *steps)
    shown = shell.ok("workflows", "simulate", "sim", "--secs", "a=90").out
    assert "completed after 91 s, at most 1 at once" in shown
    assert "critical path: a → b" in shown
    told = shell.ok("workflows", "simulate", "sim", "--fail", "a", "-o", "json").json
    assert (told["status"], told["order"]) == ("failed", ["a"])
    assert [one["status"] for one in told["steps"]] == ["failed", "canceled"]
    assert "outcomes.x" in shell.run("workflows", "simulate", "sim", "--fail", "x", code=7).err
    shell.run("workflows", "simulate", "sim", "--secs", "a", code=2)


def test_a_workflow_with_a_schedule(shell: Shell):
    """From flags; shown beside those of jobs; fired by hand it is a workflow run."""
    steps = '[{"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}]'
    made = shell.ok(
        *("workflows", "create", "--name", "W", "--slug", "w", "--steps", steps, "--cron", "0 0 1 1 *"),
        *("--cron-timezone", "Asia/Tokyo", "--skip-if-running", "--jitter-secs", "60", "-o", "json"),
    ).json
    assert (made["cron_timezone"], made["skip_if_running"], made["jitter_secs"]) == ("Asia/Tokyo", True, 60)
    heads, row = shell.ok("schedules", "list").rows
    assert (dict(zip(heads, row, strict=True))["FIRES"], row[1]) == ("w", "0 0 1 1 *")
    fired = shell.ok("schedules", "trigger", "w", "-o", "json").json
    assert fired["workflow_slug"] == "w"
    assert shell.ok("schedules", "history", "w", "-o", "json").json[0]["run_id"] == fired["id"]
    assert shell.run("workflows", "update", "w", "--cron", "99 * * * *", code=7).err.count("minute") == 1


def test_wait_for_workflow_runs(shell: Shell, job: str):
    """`strait wait` takes them beside runs; what the trigger says of its run is on it."""
    create(shell, "short", {"step_ref": "a", "job_id": job}, {"step_ref": "b", "job_id": job})
    tagged = ("--tag", "team=x", "--label", "pr=7", "--without", "b")
    run = shell.ok("workflows", "trigger", "short", *tagged, "-o", "name").out.strip()
    plain = shell.ok("trigger", job, "-o", "name").out.strip()
    waited = shell.ok("wait", run, plain)
    assert run in waited.out
    assert plain in waited.out
    found = shell.ok("workflow-runs", "get", run, "-o", "json").json
    assert (found["status"], found["tags"], found["labels"]) == ("completed", {"team": "x"}, {"pr": "7"})
    steps = {one["step_ref"]: one["status"] for one in shell.ok("wr", "steps", "list", run, "-o", "json").json}
    assert steps == {"a": "completed", "b": "skipped"}
    create(shell, "long", {"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"})
    slow = shell.ok("workflows", "trigger", "long", "-o", "name").out.strip()
    shell.run("wait", slow, "--timeout", "0.1", code=124)
    shell.ok("workflow-runs", "cancel", slow, "--yes")
    shell.run("wait", slow, code=9)
