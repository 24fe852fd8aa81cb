"""`strait trace` and `strait top`: one run's time, and the queue's present, for people and for programs."""

from __future__ import annotations

import pytest

from strait_cli import timeline
from tests.cli.runner import Shell, ended

T0 = "2030-01-01T00:00:00Z"


def attempt(number: int, at: str, **timings: float) -> dict[str, object]:
    names = ("queue_wait", "connect", "ttfb", "transfer", "total")
    return {
        "attempt": number, "outcome": "error", "started_at": at, "claimed_at": at, "http_status": 500, "error": None,
        "timings_ms": dict.fromkeys(names) | timings,
    }  # fmt: skip


def test_bars_share_one_scale():
    """The longest fills its bar; what took any time is seen; events stand between."""
    attempts = [
        attempt(1, "2030-01-01T00:00:01Z", queue_wait=1000, connect=1, ttfb=998, transfer=1, total=1000),
        attempt(2, "2030-01-01T00:00:05Z", connect=0, ttfb=500, transfer=0, total=500),
    ]
    event = {"at": "2030-01-01T00:00:03Z", "event": "replay", "status": "queued", "attempt": 1, "reason": "by hand"}
    hidden = {**event, "event": "start"}
    rows = timeline.rows(attempts, [event, hidden])
    assert [row["what"] for row in rows] == ["attempt", "replay", "attempt"]
    first, middle, last = timeline.lines({"created_at": T0}, rows)
    assert first == f"+1.0 s     try 1   [{'.' * 12}-{'=' * 11}]  error in 1.0 s: HTTP 500"
    assert middle == "+3.0 s     replay   queued by hand"
    assert f"[{'=' * 6}{' ' * 18}]" in last


def test_a_run_is_traced(shell: Shell, job: str):
    """In a pipe a row for each attempt with its phases, as JSON all there is, on a terminal bars that fit."""
    run = ended(shell, job)
    head, *rows = shell.ok("trace", run["id"]).rows
    assert head[1:3] == ["WHAT", "TRY"]
    assert [row[1] for row in rows] == ["create", "attempt"]
    assert float(rows[1][head.index("TOTAL MS")]) > 0
    found = shell.ok("trace", "@last", "-o", "json").json
    assert (found["run"]["id"], len(found["attempts"])) == (run["id"], 1)
    assert found["events"][0]["event"] == "create"
    screen = shell.terminal("trace", "@last", columns=80)
    assert screen.wait() == 0
    assert "try 1   [" in screen.shown
    assert "bars: . queue" in screen.shown
    assert max(len(line) for line in screen.shown.splitlines()) <= 80


def test_top_looks_once_where_nobody_watches(shell: Shell, job: str):
    """A pipe gets one frame; programs the figures themselves."""
    ended(shell, job)
    assert any(row[0] == "slots" for row in shell.ok("top").rows)
    found = shell.ok("top", "--once", "-o", "json").json
    assert found.keys() == {"stats", "runs"}


def test_top_draws_until_it_is_left(shell: Shell, job: str):
    """On a terminal it is drawn again; Ctrl-C leaves with 0."""
    screen = shell.terminal("top", "--every", "0.2", columns=80)
    screen.until("slots")
    screen.press("\x03")
    assert screen.wait() == 0


@pytest.mark.parametrize("words", [("trace",), ("trace", "nonsense!"), ("top", "--every", "0")])
def test_wrong_words(shell: Shell, words: tuple[str, ...]):
    """Exit 2."""
    assert shell.run(*words, code=2).out == ""
