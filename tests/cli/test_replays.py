"""Whoever follows a run that was replayed sees its second life to the end, and not only the first."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cli.runner import Shell, ended
from tests.cli.scripted import answer, events, scripted
from tests.support.daemon import Daemon
from tests.support.endpoint import Call, Endpoint
from tests.support.waiting import eventually
from tests.tui import scenes

TWICE = ["queued", "dequeued", "executing", "dead_letter", "queued", "dequeued", "executing", "completed"]


def states(answer: str) -> list[str]:
    """The states in the second column of what a watch has printed into a pipe, the outcome left out."""
    rows = [line.split("\t") for line in answer.splitlines()]
    return [row[1] for row in rows if len(row) == 3 and not row[1].startswith("attempt")]


@dataclass
class SecondLife:
    """A run that has failed and was replayed, and goes on for as long as its endpoint says nothing."""

    id: str
    call: Call
    daemon: Daemon

    def say(self, what: str, **body: Any) -> None:
        """Say something as its endpoint."""
        headers = {"Authorization": f"Bearer {self.call.headers['X-Run-Token']}"}
        self.daemon.call("POST", f"/sdk/v1/runs/{self.id}/{what}", body, headers=headers)


@pytest.fixture
def second_life(shell: Shell, cli_endpoint: Endpoint, cli_daemon: Daemon) -> SecondLife:
    """One that executes."""
    url = cli_endpoint.url("/empty/twice")
    words = ("--completion", "callback", "--max-attempts", "1", "--endpoint", url)
    shell.ok("jobs", "create", "--name", "T", "--slug", "twice", *words)
    run = shell.ok("trigger", "twice", "-o", "json").json["id"]

    def called(attempt: int) -> SecondLife:
        calls = eventually(lambda: [one for one in cli_endpoint.calls if (one.run, one.attempt) == (run, attempt)])
        return SecondLife(run, calls[0], cli_daemon)

    called(1).say("fail", error="no")
    assert cli_daemon.wait_for(run)["status"] == "dead_letter"
    shell.ok("runs", "replay", run)
    return called(2)


def test_a_replay_is_watched_to_its_own_end(shell: Shell, cli_endpoint: Endpoint):
    """Both lives are told, line by line, and the second one decides: exit 0."""
    url = cli_endpoint.url("/flaky/1")
    shell.ok("jobs", "create", "--name", "F", "--slug", "flaky", "--endpoint", url, "--max-attempts", "1")
    run = ended(shell, "flaky")
    told = shell.ok("runs", "replay", run["id"], "--wait").out
    assert states(told) == TWICE
    assert told.count("HTTP 500") == 1
    # Whoever comes when all is over, too.
    assert states(shell.ok("runs", "watch", run["id"]).out) == TWICE


def end(process: subprocess.Popen[str]) -> str:
    """What it has printed, once it has ended well."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    return out


def test_a_second_life_is_watched(shell: Shell, second_life: SecondLife):
    """Begun in mid-attempt: past the old end, on to the new one; a state that a replay has undone is not reached."""
    watching = shell.start("runs", "watch", second_life.id)
    until = shell.start("runs", "watch", second_life.id, "--until", "dead_letter,completed")
    for process in (watching, until):
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(8)]
        assert "executing" in lines[-1]
        assert process.poll() is None
    second_life.say("complete", result=1)
    assert states(end(watching)) == ["completed"]
    assert states(end(until)) == ["completed"]


def test_a_second_life_on_the_whole_terminal(shell: Shell, second_life: SecondLife):
    """The view, and the same opened from the dashboard, stay with the run."""
    watching = shell.terminal("runs", "watch", second_life.id).until("attempt 2").until("executing")
    board = shell.terminal("dashboard").until("Newest runs")
    board.press("2")
    board.until("space Select").until("twice").press("\r")
    board.until("attempt 2").until("executing")
    second_life.say("complete", result=1)
    watching.until("any key keeps it open").until("completed").press("q")
    assert watching.wait() == 0
    board.until("completed").press("q")
    board.until("twice").press("q")
    assert board.wait() == 0


def test_an_end_that_was_asked_for(shell: Shell, second_life: SecondLife):
    """`--until` with the state in which the run ends: exit 0, on the whole terminal as elsewhere; the old one is none."""
    watching = shell.terminal("runs", "watch", second_life.id, "--until", "dead_letter").until("executing")
    second_life.say("fail", error="no")
    watching.until("any key keeps it open").press("q")
    assert watching.wait() == 0


def test_lines_of_a_second_life_are_followed(shell: Shell, second_life: SecondLife):
    """`logs -f` goes on past the old end, until the new one."""
    following = shell.start("runs", "logs", second_life.id, "-f", "-o", "jsonl")
    assert following.stdout is not None
    for text in ("again", "and again"):
        second_life.say("log", message=text)
        assert json.loads(following.stdout.readline())["message"] == text
    second_life.say("complete", result=1)
    assert end(following) == ""


@pytest.mark.parametrize("verb", ["watch", "wait"])
def test_a_replay_between_two_looks_is_followed(alone: Shell, verb: str):
    """Replayed after its end was told and before the run was read: on to the end of the second life."""
    events_of = [(5, "queued"), (6, "dequeued"), (7, "executing"), (8, "completed")]
    answers = [
        events(scenes.status(4, "dead_letter", 1, 1.0)),
        said(status="queued", seq=5, attempt=1),
        events(*(scenes.status(seq, state, 2, seq) for seq, state in events_of)),
        said(status="completed", seq=8, attempt=2),
    ]
    if verb == "watch":
        answers = [said(status="executing", seq=3, attempt=1), *answers]
    with scripted(answers) as server:
        told = alone.ok("runs", verb, scenes.RUN_ID, "-o", "json", env={"STRAIT_SERVER": server.url}).json
    assert (told if verb == "watch" else told[0])["status"] == "completed"
    assert server.headers("last-event-id")[-2] == "4"


def said(**more: Any) -> bytes:
    """The answer that is the run."""
    return answer("200 OK", json.dumps(scenes.run(**more)), Content_Type="application/json")
