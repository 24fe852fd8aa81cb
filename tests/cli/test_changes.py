"""`strait changes`, against a real daemon."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.runner import Shell
from tests.support.waiting import eventually


def now(shell: Shell) -> str:
    """The place behind everything that has been published."""
    cursor: str = shell.ok("api", "GET", "/v1/changes?start=latest").json["next_cursor"]
    return cursor


def test_what_has_changed(shell: Shell, job: str):
    """A table for people, every field with its cursor for scripts; from there it goes on."""
    run = shell.ok("trigger", job, "--wait", "-o", "json").json

    def told() -> list[Any]:
        return [one for one in shell.ok("changes", "--kind", "run", "-o", "jsonl").lines if one["id"] == run["id"]]

    eventually(lambda: len(told()) == 4)
    found = told()
    assert [one["status"] for one in found] == ["queued", "dequeued", "executing", "completed"]
    assert shell.ok("changes", "--cursor", found[1]["cursor"], "--kind", "run", "-o", "json").json[:2] == found[2:]
    assert shell.ok("changes", "--limit", "1", "--kind", "job", "-o", "json").json[0]["status"] == "created"
    assert shell.ok("changes", "--kind", "run").rows[0][:5] == ["AT", "KIND", "ID", "STATUS", "SEQ"]
    assert "kind" in shell.run("changes", "--kind", "cars", code=7).err


def test_following_goes_on_with_what_comes(shell: Shell, job: str):
    """Each change once, as it comes, until so many were told."""
    process = shell.start("changes", "--follow", "--cursor", now(shell), "--kind", "run", "--limit", "4", "-o", "jsonl")
    run = shell.ok("trigger", job, "-o", "json").json
    out, _ = process.communicate(timeout=30)
    told = [json.loads(line) for line in out.splitlines()]
    assert {one["id"] for one in told} == {run["id"]}
    assert [one["seq"] for one in told] == [1, 2, 3, 4]
