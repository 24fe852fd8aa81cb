"""`strait listen`: every move a line or an object, narrowed, for as long as was asked."""

from __future__ import annotations

import json

from tests.cli.runner import Shell, trigger


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
