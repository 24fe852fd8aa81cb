"""`strait listen`: every move a line or an object, narrowed, for as long as was asked."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.runner import Shell, trigger
from tests.cli.scripted import events, scripted


def test_moves_are_heard_as_they_happen(shell: Shell, job: str):
    """A line for each state, in order; --limit leaves after so many, a wrong state is refused."""
    heard = shell.start("listen", "--job", job, "--limit", "4", "-o", "jsonl")
    # Whoever begins to listen later than the run was over hears the next one.
    while heard.poll() is None:
        again = trigger(shell, job)
        shell.ok("wait", again["id"])
    moves = [json.loads(line) for line in heard.communicate(timeout=10)[0].splitlines()]
    assert {one["job_slug"] for one in moves} == {job}
    assert len(moves) == 4
    assert {one["status"] for one in moves} <= {"queued", "dequeued", "executing", "completed"}
    shell.run("listen", "--status", "gone", code=7)


def test_listening_ends_in_time(shell: Shell):
    """--timeout leaves with exit 0, nothing heard or not."""
    answer = shell.ok("listen", "--timeout", "0.3", "--status", "crashed")
    assert answer.out == ""


def moved(seq: int, status: str, **whose: str) -> str:
    """An event of the feed."""
    data: dict[str, Any] = {**whose, "seq": seq, "status": status, "at": "2026-01-01T00:00:00Z", "project_id": "p"}
    return f"event: status\nid: 1.{seq}.1\ndata: {json.dumps(data)}\n\n"


def test_nothing_is_shown_twice_after_a_loss(shell: Shell):
    """Neither a run's move nor a workflow run's state; nor one of its steps' moves as a state that it had before."""
    run, flow = {"run_id": "run_1", "job_slug": "j"}, {"workflow_run_id": "wfr_1", "workflow_slug": "w"}
    first = [moved(1, "queued", **run), moved(2, "running", **flow), moved(6, "completed", **flow)]
    again = [moved(1, "queued", **run), moved(5, "running", **flow), moved(6, "completed", **flow)]
    # Behind them what is new, a retry of the workflow run among it.
    new = [moved(2, "dequeued", **run), moved(7, "running", **flow)]
    with scripted([events(*first), events(*again, *new)]) as server:
        shell.settings["STRAIT_SERVER"] = server.url
        told = shell.ok("listen", "--limit", "5", "-o", "jsonl").out
    shown = [json.loads(line) for line in told.splitlines()]
    assert [(one["seq"], one["status"]) for one in shown] == [
        (1, "queued"), (2, "running"), (6, "completed"), (2, "dequeued"), (7, "running"),
    ]  # fmt: skip
