"""On a terminal: what a person sees, with and without colour, wide and narrow, and what is asked."""

from __future__ import annotations

import io
import re
import sys

import pytest

from strait_cli.demonstration import Teller
from strait_cli.session import Session
from tests.cli.runner import Shell, Tty, trigger
from tests.support.endpoint import Endpoint


@pytest.fixture
def runs(shell: Shell, job: str, failing_job: str) -> None:
    """Two runs, one of each ending."""
    shell.ok("trigger", job, "--wait")
    shell.run("trigger", failing_job, "--wait", code=9)


@pytest.mark.usefixtures("runs")
def test_a_list_is_aligned_and_coloured(shell: Shell):
    """Headings above their columns, ages relative, states in colour."""
    terminal = shell.terminal("runs", "list")
    assert terminal.wait() == 0
    head, first, second = terminal.shown.splitlines()
    at = head.index("STATUS")
    assert first[at:].startswith("dead_letter")
    assert second[at:].startswith("completed")
    assert re.search(r" (\d+s ago|now) ", first)
    assert terminal.color_of("dead_letter") == "red"
    assert terminal.color_of("completed") == "green"


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("env", "words"),
    [({"NO_COLOR": "1"}, ()), ({"TERM": "dumb"}, ()), ({}, ("--color", "never")), ({"STRAIT_COLOR": "never"}, ())],
)
def test_no_colour_when_told(shell: Shell, env: dict[str, str], words: tuple[str, ...]):
    """Aligned all the same."""
    terminal = shell.terminal("runs", "list", *words, env=env)
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.raw
    assert "ID  " in terminal.shown


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_list_fits_the_terminal(shell: Shell, columns: int):
    """One line a run from eighty columns on; ids are never cut."""
    terminal = shell.terminal("runs", "list", columns=columns)
    assert terminal.wait() == 0
    lines = terminal.shown.splitlines()
    assert len(lines) == 3
    assert all(re.match(r"run_[0-9a-z]{26}  ", line) for line in lines[1:])


def test_names_in_every_script_stay_aligned(shell: Shell):
    """Wide, combining and right-to-left characters take the cells they take; control characters take one."""
    for slug, name in (
        ("a", "日本語の名前"),
        ("b", "שלום"),
        ("c", "cafe\u0301"),
        ("d", "x\x1b]0;evil\x07y"),
        ("e", "plain"),
    ):
        shell.ok("jobs", "create", "--name", name, "--slug", slug, "--endpoint", "http://127.0.0.1:9")
    terminal = shell.terminal("jobs", "list", columns=120)
    assert terminal.wait() == 0
    at = terminal.screen.display[0].index("STATE")
    rows = [terminal.screen.buffer[line] for line in range(1, 6)]
    assert ["".join(row[x].data for x in range(at, at + 6)) for row in rows] == ["active"] * 5
    assert "\x1b]0;" not in terminal.raw


def test_a_question_names_what_it_hits(shell: Shell, job: str):
    """No by default, yes when typed."""
    for key, code in (("\n", 1), ("n\n", 1), ("y\n", 0)):
        terminal = shell.terminal("jobs", "delete", job)
        terminal.until('Delete job echo ("Echo"').press(key)
        assert terminal.wait() == code
    assert shell.run("jobs", "get", job).code == 5


def test_an_answer_that_is_typed_ahead_counts_as_well(shell: Shell, job: str):
    """--yes asks nothing."""
    terminal = shell.terminal("jobs", "delete", job, "--yes")
    assert terminal.wait() == 0
    assert "[y/N]" not in terminal.raw


def test_a_watch_on_a_terminal(shell: Shell, cli_endpoint: Endpoint):
    """Time of day, state in colour, attempt; Ctrl-C says how to come back, and leaves 130."""
    shell.ok("jobs", "create", "--name", "H", "--slug", "hang", "--endpoint", cli_endpoint.url("/hang"))
    run = shell.ok("trigger", "hang", "-o", "json").json["id"]
    terminal = shell.terminal("runs", "watch", "@last", "--plain")
    terminal.until("executing")
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3}  executing +attempt 1", terminal.shown, re.MULTILINE)
    terminal.press("\x03")
    assert terminal.wait() == 130
    assert f"strait runs watch {run}" in terminal.shown.replace("\n", "")
    shell.ok("runs", "cancel", run, "--yes")


def test_a_wait_on_a_terminal(shell: Shell, cli_endpoint: Endpoint):
    """A bar says how many have ended; Ctrl-C leaves the runs alone and says how to come back."""
    shell.ok("jobs", "create", "--name", "H", "--slug", "hang", "--endpoint", cli_endpoint.url("/hang"))
    run = trigger(shell, "hang")["id"]
    screen = shell.terminal("wait", run).until("0/1")
    screen.press("\x03")
    assert screen.wait() == 130
    assert f"to come back: strait runs wait {run}" in screen.shown.replace("\n", "")
    shell.ok("runs", "cancel", run, "--yes")


def test_a_dumb_terminal_is_not_written_over(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """No cursor is moved where none can be: `top` looks once, `demo` says each step when it is done."""
    screen = shell.terminal("top", env={"TERM": "dumb"})
    assert screen.wait() == 0
    assert "\x1b" not in screen.raw
    for term, moves in (("dumb", False), ("xterm", True)):
        written = io.BytesIO()
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr(sys, "stderr", Tty(written, encoding="utf-8", write_through=True))
        teller = Teller(Session({}, lenient=True))
        teller.waiting("starting", 0.0)
        teller.done("started")
        shown = written.getvalue().decode()
        assert ("\r" in shown, "started" in shown) == (moves, True)


def test_a_watch_fills_a_terminal(shell: Shell, cli_endpoint: Endpoint):
    """Path and keys in sight; q leaves the run alone, says how to come back and ends as Ctrl-C does."""
    shell.ok("jobs", "create", "--name", "H", "--slug", "hang", "--endpoint", cli_endpoint.url("/hang"))
    run = shell.ok("trigger", "hang", "-o", "json").json["id"]
    terminal = shell.terminal("runs", "watch", "@last")
    terminal.until("executing").until("Path").until("Quit")
    terminal.press("q")
    assert terminal.wait() == 130
    assert f"strait runs watch {run}" in terminal.shown.replace("\n", "")
    watched = shell.terminal("runs", "watch", run)
    watched.until("under way").press("cy")
    watched.until("any key keeps it open").press("q")
    assert watched.wait() == 9
    assert f"{run} ended canceled" in watched.shown.replace("\n", " ")


def test_an_error_on_a_terminal(alone: Shell):
    """What and what next, in colour."""
    terminal = alone.terminal("jbos")
    assert terminal.wait() == 2
    assert terminal.shown.splitlines() == [
        'error: "jbos" is no command of `strait`',
        "next: did you mean `strait jobs`?",
    ]
    assert terminal.color_of("error") == "red"


def test_json_on_a_terminal_is_never_coloured(shell: Shell, job: str):
    """Not even there."""
    terminal = shell.terminal("jobs", "get", job, "-o", "json")
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.raw


def test_a_payload_is_shown_as_a_tree(shell: Shell, job: str):
    """Indented below its name."""
    shell.ok("trigger", job, "--payload", '{"a": {"b": [1]}}', "--wait")
    terminal = shell.terminal("runs", "get", "@last")
    assert terminal.wait() == 0
    lines = terminal.shown.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("payload"))
    indent = lines[at].index("{")
    assert lines[at + 1] == " " * indent + '  "a": {'


def test_help_fits_eighty_columns(alone: Shell):
    """Every line of a long help, examples aside."""
    terminal = alone.terminal("jobs", "create", "--help", columns=80)
    assert terminal.wait() == 0
    before, _, _ = terminal.raw.replace("\r", "").partition("Examples:")
    assert max(map(len, before.splitlines())) <= 80
    assert max(map(len, alone.ok("--help").out.splitlines())) <= 80
