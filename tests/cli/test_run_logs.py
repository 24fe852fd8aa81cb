"""What endpoints say, at the command line: log lines, progress, budgets."""

from __future__ import annotations

import json

import httpx

from tests.cli.runner import Shell
from tests.support.daemon import Daemon
from tests.support.endpoint import Endpoint
from tests.support.plain import NO_TLS
from tests.support.waiting import eventually


def test_log_lines_are_read_and_followed(shell: Shell, cli_daemon: Daemon, cli_endpoint: Endpoint):
    """As a table, as JSON, from a number on, by level, and with -f until the run has ended; watch shows them, too."""
    url = cli_endpoint.url("/empty/logs")
    shell.ok("jobs", "create", "--name", "L", "--slug", "logs", "--endpoint", url, "--completion", "callback")
    run = shell.ok("trigger", "logs", "-o", "json").json["id"]
    (call,) = eventually(lambda: [call for call in cli_endpoint.calls if call.run == run])

    def say(path: str, body: dict[str, object]) -> None:
        headers = {"Authorization": f"Bearer {call.headers['X-Run-Token']}"}
        answer = httpx.post(
            f"{cli_daemon.url}/sdk/v1/runs/{run}/{path}", json=body, headers=headers, trust_env=False, verify=NO_TLS
        )
        assert answer.is_success, answer.text

    say("log", {"message": "first line", "data": {"n": 1}})
    say("progress", {"percent": 50, "message": "half way"})
    say("log", {"level": "error", "message": "second line"})
    assert "first line" in shell.ok("runs", "logs", run).out
    assert [line["seq"] for line in shell.ok("runs", "logs", run, "-o", "json").json] == [1, 3]
    assert [line["seq"] for line in shell.ok("runs", "logs", run, "--after", "1", "-o", "json").json] == [3]
    shell.run("runs", "logs", run, "--level", "loud", code=7)
    shell.run("runs", "logs", run, "-f", "--level", "loud", code=7)
    shown = shell.ok("runs", "list", "-o", "wide").out
    assert "half way" in shown
    say("complete", {"result": 1})
    followed = shell.ok("runs", "logs", run, "-f", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["message"] for line in followed] == ["first line", "second line"]
    (late,) = shell.ok("runs", "logs", run, "-f", "--level", "error", "-o", "jsonl").out.splitlines()
    assert json.loads(late)["event"] == "log"
    watched = shell.ok("runs", "watch", run).out
    assert "second line" in watched
    assert "50 %" in watched


def test_budgets_are_set_shown_and_lifted(shell: Shell):
    """In the zone that is named; how much and --none at once, or neither, say nothing."""
    shell.run("budgets", "set", "proj", code=2)
    shell.run("budgets", "set", "proj", "--none", "--daily-microusd", "1", code=2)
    shell.run("budgets", "set", "proj", "--daily-microusd", "1", "--timezone", "Nowhere/Else", code=7)
    made = shell.ok("budgets", "set", "proj", "--daily-microusd", "5000000", "--timezone", "Asia/Tokyo", "-o", "json")
    assert made.json["daily_microusd"] == 5_000_000
    assert (made.json["timezone"], made.json["spent_microusd"]) == ("Asia/Tokyo", 0)
    assert "Asia/Tokyo" in shell.ok("budgets", "get", "proj").out
    assert shell.ok("budgets", "set", "proj", "--none", "-o", "json").json["daily_microusd"] is None
