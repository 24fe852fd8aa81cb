"""What a watch of a workflow run has told: nothing twice, and nothing older than what was told of the same step."""

from __future__ import annotations

import json
from typing import Any

from strait_cli.flow_watch import Seen
from strait_cli.stream import Message


def step(state: str, at: str, identity: str | None = "3.running.1") -> Message:
    """A step's move."""
    return Message("step", json.dumps({"step_ref": "a", "state": state, "at": at}), identity)


def status(state: str, identity: str) -> Message:
    """A move of the run."""
    return Message("status", json.dumps({"workflow_run_id": "w", "status": state, "at": None}), identity)


def told(seen: Seen, *messages: Message) -> list[str]:
    """The states that these messages make known."""
    changes: list[dict[str, Any]] = [change for one in messages if (change := seen.news(one)) is not None]
    return [change.get("state") or change.get("status") or change["run"]["status"] for change in changes]


def test_what_a_stream_tells_again_is_left_out():
    """It may go back as far as two seconds: a step's end, and also how it began."""
    seen, way = Seen("w"), [step("running", "2026-01-01T00:00:01Z"), step("completed", "2026-01-01T00:00:01.3Z")]
    assert told(seen, *way) == ["running", "completed"]
    assert told(seen, *way) == []
    assert told(seen, way[1], way[0], way[1]) == []


def test_what_is_older_than_a_poll_is_left_out():
    """A poll moves no place: the stream behind it begins with what came before."""
    seen = Seen("w")
    polled = Message("snapshot", json.dumps({"status": "paused", "seq": 9}), None)
    assert told(seen, status("pending", "1.pending.0"), polled) == ["pending", "paused"]
    assert told(seen, step("completed", "2026-01-01T00:00:02Z", None)) == ["completed"]
    assert told(seen, status("running", "1.pending.0"), status("paused", "9.paused.7")) == []
    assert told(seen, step("running", "2026-01-01T00:00:01.9Z"), step("completed", "2026-01-01T00:00:02Z")) == []
    assert told(seen, status("running", "12.running.7")) == ["running"]


def test_a_step_that_begins_anew_is_told():
    """The same states at other times."""
    seen = Seen("w")
    times = [f"2026-01-01T00:00:0{second}Z" for second in range(5)]
    states = ["running", "failed", "pending", "running", "completed"]
    assert told(seen, *map(step, states, times)) == states
