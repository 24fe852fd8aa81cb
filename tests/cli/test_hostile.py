"""What a server, or a folder, may put into its words, and what must not come of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from strait_core import ids
from tests.cli.runner import Shell
from tests.cli.scripted import answer, events, scripted

# Clears the screen, rings, turns the writing direction around, sets the window's title, begins a new line.
EVIL = "a\x1b[2J\x07\u202eb\x9b31m\x1b]0;t\x07\nc"
DRIVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
RUN = "run_01hzy5w3x2f4t8q9m7k6j5h4g3"
FLOW = "wfr_01hzy5w3x2f4t8q9m7k6j5h4g3"
WHEN = "2030-01-01T00:00:00Z"
TIMES = dict.fromkeys(("queue_wait", "connect", "ttfb", "transfer", "total"), 1.0)
ATTEMPT = {
    "attempt": 1, "outcome": EVIL, "started_at": WHEN, "claimed_at": WHEN, "http_status": 200, "error": EVIL,
    "timings_ms": TIMES,
}  # fmt: skip
MOVE = {"at": WHEN, "event": EVIL, "status": EVIL, "attempt": 1, "reason": EVIL}
KIN = {"id": EVIL, "status": EVIL, "job_slug": EVIL, "continuation_of": None, "parent_run_id": None}
REASON = {"code": EVIL, "text": EVIL, "until": EVIL}
STEP = {
    "step_ref": EVIL, "step_type": EVIL, "status": EVIL, "starts_at_secs": 0, "ends_at_secs": 1, "length_from": EVIL,
    "on_critical_path": True, "note": EVIL, "text": EVIL,
}  # fmt: skip


CHANGE = {"at": EVIL, "kind": EVIL, "id": EVIL, "status": EVIL, "attempt": 1}


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"data": list(items), "next_cursor": None}


CASES: dict[str, tuple[tuple[str, ...], list[Any]]] = {
    "explain": (
        ("runs", "explain", RUN),
        [{"run_id": EVIL, "job_slug": EVIL, "status": EVIL, "reasons": [REASON]}],
    ),
    "steps": (("workflow-runs", "explain", FLOW), [{"id": EVIL, "text": EVIL, "steps": [STEP], "reasons": [REASON]}]),
    "simulate": (
        ("workflows", "simulate", "w"),
        [
            {
                "steps": [STEP], "order": [], "status": EVIL, "total_secs": 1.0, "max_parallelism": 1,
                "critical_path": [EVIL], "undone": [[EVIL]],
            }
        ],
    ),
    "trace": (
        ("trace", RUN),
        [
            {"id": EVIL, "job_slug": EVIL, "status": EVIL, "created_at": WHEN, "finished_at": None},
            page(ATTEMPT),
            page(MOVE),
        ],
    ),
    "lineage": (("runs", "lineage", RUN), [{"run": KIN, "ancestors": [], "descendants": [], "truncated": False}]),
    "changes": (
        ("changes", "--follow", "--limit", "1"),
        [events(f"event: change\nid: 1\ndata: {json.dumps(CHANGE)}\n\n")],
    ),
}  # fmt: skip


def responses(bodies: list[Any]) -> list[bytes]:
    ready = (one if isinstance(one, bytes) else json.dumps(one) for one in bodies)
    return [one if isinstance(one, bytes) else answer("200 OK", one, Content_Type="application/json") for one in ready]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("columns", [None, 80], ids=["pipe", "terminal"])
def test_no_sentence_drives_a_terminal(alone: Shell, case: str, columns: int | None):
    """Words of the server in sentences of ours: no control character but our own colours, and in a pipe not even those."""
    words, bodies = CASES[case]
    with scripted(responses(bodies)) as server:
        shown = alone.run(*words, "--server", server.url, "--api-key", "k", columns=columns, code=0)
    text = shown.out + shown.err
    assert DRIVES.search(COLOURS.sub("", text) if columns else text) is None
    assert "a\ufffd" in text


def test_text_that_is_no_object_is_harmless_too(alone: Shell):
    """`strait api` prints what it gets, line by line."""
    with scripted([answer("200 OK", f"x 1\n{EVIL}\n", Content_Type="text/plain; charset=utf-8")]) as server:
        shown = alone.ok("api", "/metrics", "--server", server.url)
    assert shown.out.startswith("x 1\na")
    assert DRIVES.search(shown.out) is None


def test_a_folder_cannot_draw(alone: Shell):
    """A .strait.toml of somebody's: its values are shown harmlessly wherever they are shown."""
    (alone.folder / ".strait.toml").write_text(f"project = {json.dumps(EVIL)}\n")
    for words in (("config", "get", "project"), ("config", "explain"), ("config", "show")):
        shown = alone.ok(*words)
        assert DRIVES.search(shown.out + shown.err) is None


def test_nothing_at_the_prompt_acts(alone: Shell):
    """Completion offers no word that a shell could run, and no line of the server's making."""
    jobs = [
        {"slug": slug, "name": EVIL} for slug in ("ok", "x;reboot", "$(reboot)", "`reboot`", "--yes", ":files", "a b")
    ]
    with scripted(responses([page(*jobs)])) as server:
        shown = alone.ok("--server", server.url, "trigger", "", env={"_STRAIT_COMPLETE": "zsh"})
    (line,) = shown.out.splitlines()
    assert line.startswith("ok\ta\ufffd")
    assert DRIVES.search(line) is None


def test_top_outlives_its_server(shell: Shell):
    """While the server is away the last look stays, with the reason; then it goes on."""
    stats = shell.ok("stats", "-o", "json").json
    runs, later = page(), stats | {"workers": 77}
    away = answer("503 Service Unavailable", '{"code": "unavailable", "detail": "on leave"}', Retry_After="60")
    with scripted([*responses([runs, stats]), away, *responses([runs, later])]) as server:
        screen = shell.terminal("top", "--every", "0.2", "--server", server.url, columns=80)
        screen.until("on leave; trying again")
        assert "slots" in screen.shown
        screen.until("77")
        assert "on leave" not in screen.shown
        screen.press("\x03")
        assert screen.wait() == 0
        assert len(server.seen) >= 5


def test_the_ids_are_ids():
    """So that the tests above ask for what they name, and not for a prefix."""
    assert ids.parse(ids.Prefix.RUN, RUN)
    assert ids.parse(ids.Prefix.WORKFLOW_RUN, FLOW)
