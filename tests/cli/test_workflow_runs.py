"""`strait workflow-runs` and `strait approvals` against a real daemon, with workers."""

from __future__ import annotations

from typing import Any

import httpx

from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint


def create(shell: Shell, slug: str, *steps: dict[str, Any]) -> None:
    """Make a workflow over the API, as the quickstart does."""
    answer = httpx.post(
        f"{shell.settings['STRAIT_SERVER']}/v1/workflows",
        headers={"Authorization": f"Bearer {shell.settings['INTERNAL_SECRET']}"},
        json={"project_id": shell.settings["STRAIT_PROJECT"], "name": slug, "slug": slug, "steps": list(steps)},
        trust_env=False,
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
    assert "extract completed" in watched.out
    assert "load completed" in watched.out
    run = shell.ok("workflow-runs", "list", "--workflow", "pipe", "-o", "name").out.split()[0]
    assert shell.ok("workflow-runs", "get", run, "-o", "json").json["payload"] == {"n": 1}
    steps = shell.ok("workflow-runs", "steps", run, "-o", "json").json
    assert [(one["step_ref"], one["status"]) for one in steps] == [("extract", "completed"), ("load", "completed")]
    assert shell.ok("workflow-runs", "step", run, "load", "-o", "json").json["output"]["n"] == 1
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
    shell.ok("approvals", "approve", asked["id"], "--comment", "fine", "--as", "ann")
    assert shell.ok("workflow-runs", "pause", run, "-o", "json").json["status"] == "paused"
    assert shell.ok("workflow-runs", "resume", run, "-o", "json").json["status"] == "running"
    shell.ok("workflow-runs", "cancel", run, "--yes")
    shell.run("workflow-runs", "watch", run, code=9)
    assert shell.ok("workflow-runs", "retry", run, "-o", "json").json["status"] == "running"
    shell.ok("workflow-runs", "skip-step", run, "again", "--reason", "enough")
    shell.ok("workflow-runs", "watch", run)
    shell.run("workflow-runs", "retry-step", run, "nothing", code=6)
    shell.run("workflow-runs", "get", "wfr_nothing", code=5)
