"""`strait jobs health` and `strait jobs test` against a real daemon."""

from __future__ import annotations

import pytest

from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint


def make(shell: Shell, slug: str, url: str, *more: str) -> None:
    """Create a job."""
    shell.ok("jobs", "create", "--name", slug, "--slug", slug, "--endpoint", url, *more)


def test_health_shows_what_holds_a_job(shell: Shell, cli_endpoint: Endpoint):
    """As fields for people, as the API's object for programs."""
    make(shell, "well", cli_endpoint.url("/ok"), "--breaker-threshold", "7")
    shell.ok("trigger", "well", "--wait")
    health = shell.ok("jobs", "health", "well", "-o", "json").json
    assert health["breaker"] == {"state": "closed", "failures": 0, "threshold": 7, "open_until": None}
    assert (health["recent"]["attempts"], health["recent"]["failure_rate"]) == (1, 0)
    assert shell.ok("jobs", "health", "well", "-o", "json", "--jq", ".breaker.state").out.strip() == "closed"
    assert "held_by" in shell.ok("jobs", "health", "well").out


def test_a_test_shows_the_answer(shell: Shell, cli_endpoint: Endpoint):
    """Status, body and headers; the token blanked out; exit 0."""
    make(shell, "echo", cli_endpoint.url("/echo"))
    found = shell.ok("jobs", "test", "echo", "--payload", '{"a": 1}', "--set", "b=2", "-o", "json").json
    assert (found["http_status"], found["body"]) == (200, '{"a": 1, "b": 2}')
    assert found["headers"]["X-Run-Token"] == "****"
    assert shell.ok("runs", "list", "-o", "json").json == []


@pytest.mark.parametrize(("path", "more"), [("/status/500", ()), ("/hang", ("--timeout-secs", "1"))])
def test_a_test_that_fails_ends_with_9(shell: Shell, cli_endpoint: Endpoint, path: str, more: tuple[str, ...]):
    """What came of it is shown all the same; no retry."""
    make(shell, "bad", cli_endpoint.url(path))
    answer = shell.run("jobs", "test", "bad", *more, "-o", "json")
    assert (answer.code, answer.json["ok"]) == (9, False)
    job = shell.ok("jobs", "get", "bad", "-o", "json").json["id"]
    assert [call.path for call in cli_endpoint.calls if call.job == job] == [path]


def test_on_a_terminal_it_is_short(shell: Shell, cli_endpoint: Endpoint):
    """A job without its defaults, health by its columns, a test with its time in words; attempts within 80 columns."""
    make(shell, "brief", cli_endpoint.url("/echo"), "--timeout-secs", "7")
    shell.ok("trigger", "brief", "--wait")
    shown = {}
    for words in (
        ("jobs", "get", "brief"),
        ("jobs", "health", "brief"),
        ("jobs", "test", "brief"),
        ("runs", "attempts", "@last"),
    ):
        screen = shell.terminal(*words, columns=80)
        assert screen.wait() == 0
        shown[words[1]] = screen.shown
    assert "timeout_secs" in shown["get"]
    assert "retry_strategy" not in shown["get"]
    assert "fields are at their defaults" in shown["get"]
    assert "breaker    closed" in shown["health"]
    assert " ms (connect " in shown["test"]
    assert len(shown["attempts"].splitlines()) == 2
