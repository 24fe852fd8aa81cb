"""Runs and the rest: triggering, watching, waiting, bulks, statistics, workers, webhooks, flags."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.runner import Shell, ended, trigger
from tests.support.daemon import Daemon
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")


# ── triggering and watching ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_payload_arrives_as_it_was_written(shell: Shell, job: str, cli_endpoint: Endpoint):
    """Byte for byte: numbers no program here can hold, repeated blanks and key order."""
    text = '{"z": 1.00, "big": 123456789012345678901234567890.5,  "a": "\\u00e9é"}'
    run = ended(shell, job, "--payload", text)
    assert [call.body.decode() for call in cli_endpoint.calls if call.run == run["id"]] == [text]


def test_payloads_from_files_pipes_flags_and_editors(shell: Shell, job: str):
    """@file, -, --set and --edit, alone and together."""
    (shell.folder / "p.json").write_text('{"a": {"b": 1}, "l": [1, 2]}')
    run = trigger(shell, job, "--payload", "@p.json", "--set", "a.c=true", "--set", "l.0=x", "--set", "a.d.e=1.5")
    assert shell.ok("runs", "get", run["id"], "--jq", ".payload").out.strip() == (
        '{"a": {"b": 1, "c": true, "d": {"e": 1.5}}, "l": ["x", 2]}'
    )
    piped = shell.ok("trigger", job, "--payload", "-", "-o", "json", stdin="[1]").json
    assert shell.ok("runs", "get", piped["id"], "--jq", ".payload").out == "[1]\n"
    (shell.home / "edit.sh").write_text('#!/bin/sh\necho \'{"by": "hand"}\' > "$1"\n')
    edited = shell.ok("trigger", job, "--edit", "-o", "json", env={"VISUAL": f"sh {shell.home}/edit.sh"}).json
    assert shell.ok("runs", "get", edited["id"], "--jq", ".payload.by").out == "hand\n"
    by_hand = {"VISUAL": f"sh {shell.home}/edit.sh"}
    tested = shell.ok("jobs", "test", job, "--edit", "-o", "json", env=by_hand).json
    assert json.loads(tested["body"]) == {"by": "hand"}
    steps = '[{"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}]'
    shell.ok("workflows", "create", "--name", "N", "--slug", "naps", "--steps", steps)
    nap = shell.ok("workflows", "trigger", "naps", "--edit", "-o", "json", env=by_hand).json
    assert shell.ok("workflow-runs", "get", nap["id"], "--jq", ".payload.by").out == "hand\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--payload", "{"),
        ("--payload", '{"a": NaN}'),
        ("--payload", "@no-such-file"),
        ("--set", "a"),
        ("--set", "a..b=1"),
        ("--payload", "[1]", "--set", "5=1"),
        ("--payload", '"text"', "--set", "a=1"),
        ("--tag", "novalue"),
        ("--timeout", "5"),
        ("--priority", "high"),
    ],
    ids=" ".join,
)
def test_wrong_input_is_refused_before_anything_is_sent(alone: Shell, words: tuple[str, ...]):
    """Exit 2 without a server."""
    answer = alone.run("trigger", "echo", *words, code=2)
    assert answer.err.startswith("error: ")
    assert answer.out == ""


def test_wait_shows_the_whole_path_and_the_result(shell: Shell, job: str):
    """One line a change: created, claimed, started, attempt, completed; then the outcome."""
    answer = shell.ok("trigger", job, "--payload", '{"x": 1}', "--wait")
    names = [line.split("\t")[1] for line in answer.out.splitlines() if "\t" in line]
    assert names == ["queued", "dequeued", "executing", "attempt 1", "completed"]
    assert ISO.match(answer.out.split("\t")[0])
    *_, summary, result = answer.out.splitlines()
    assert summary.startswith("completed after 1 attempt in ")
    assert result.startswith("result: {")
    again = shell.ok("runs", "watch", "@last", "--plain")
    assert again.out.splitlines()[:5] == answer.out.splitlines()[:5]


def test_a_failed_run_ends_with_9(shell: Shell, failing_job: str):
    """In words for people, as data for programs, with the way on."""
    answer = shell.run("trigger", failing_job, "--wait", code=9)
    assert "dead_letter after 1 attempt" in answer.out
    assert "HTTP 500" in answer.err
    run = shell.ok("runs", "get", "@failed", "-o", "json").json
    assert f"strait runs attempts {run['id']}" in answer.err
    as_json = shell.run("runs", "watch", run["id"], "-o", "json", code=9)
    assert as_json.json["status"] == "dead_letter"
    assert as_json.err == ""
    assert shell.ok("runs", "watch", run["id"], "--until", "dead_letter").code == 0


def test_json_lines_of_a_watch(shell: Shell, job: str):
    """Snapshot first, one object a change, the run as it ended last."""
    lines = shell.ok("trigger", job, "--wait", "-o", "jsonl").lines
    assert [one["event"] for one in lines] == ["snapshot", "status", "status", "attempt", "status", "end"]
    assert [one["seq"] for one in lines if one["event"] == "status"] == [2, 3, 4]
    assert lines[-1]["run"]["status"] == "completed"


def test_a_watch_ends_at_its_timeout_or_state(shell: Shell, cli_endpoint: Endpoint):
    """124 with the run left alone; `--until` with 0; cancel is seen live."""
    url = cli_endpoint.url("/hang")
    shell.ok("jobs", "create", "--name", "H", "--slug", "hang", "--endpoint", url)
    run = trigger(shell, "hang")
    shell.ok("runs", "watch", run["id"], "--until", "executing")
    late = shell.run("runs", "watch", run["id"], "--timeout", "0.3", code=124)
    # A daemon that others kept from its heartbeats has given the run back, and a queued run is to be explained.
    advice = "explain" if "still queued" in late.err else "watch"
    assert f"strait runs {advice} {run['id']}" in late.err
    assert shell.run("runs", "wait", run["id"], "--timeout", "0.3").code == 124
    shell.ok("runs", "watch", run["id"], "--until", "executing")
    watching = shell.start("runs", "watch", run["id"], "-o", "jsonl")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["run"]["status"] == "executing"
    cancelled = shell.ok("runs", "cancel", run["id"], "--yes", "-o", "json").json
    assert cancelled[0]["status"] == "canceled"
    out, _ = watching.communicate(timeout=20)
    assert json.loads(out.splitlines()[-1])["run"]["status"] == "canceled"
    assert watching.returncode == 9


def test_waiting_for_several_runs(shell: Shell, job: str, failing_job: str):
    """0 when all completed, 9 when one did not; silent until the end."""
    good = [trigger(shell, job)["id"] for _ in range(3)]
    answer = shell.ok("runs", "wait", *good, "-o", "json")
    assert [one["status"] for one in answer.json] == ["completed"] * 3
    bad = trigger(shell, failing_job)["id"]
    assert "1 of 2 did not complete" in shell.run("runs", "wait", good[0], bad, code=9).err


def test_a_failed_run_is_replayed(shell: Shell, cli_endpoint: Endpoint):
    """Same id, more attempts, watched to its end."""
    url = cli_endpoint.url("/flaky/1")
    shell.ok("jobs", "create", "--name", "F", "--slug", "flaky", "--endpoint", url, "--max-attempts", "1")
    run = ended(shell, "flaky")
    assert run["status"] == "dead_letter"
    again = shell.ok("runs", "replay", run["id"][:-1], "--wait", "-o", "json").json
    assert (again["id"], again["status"], again["attempt"]) == (run["id"], "completed", 2)
    assert shell.run("runs", "replay", run["id"]).code == 6
    attempts = shell.ok("runs", "attempts", run["id"], "-o", "json").json
    assert [one["attempt"] for one in attempts] == [1, 2]
    events = shell.ok("runs", "events", run["id"], "--jq", ".[].event").out.split()
    assert events == ["create", "claim", "start", "dead_letter", "replay", "claim", "start", "complete"]


def test_bulk_in_all_its_forms(shell: Shell, job: str):
    """An array, lines, a dry run, and what is no list of objects."""
    assert len(shell.ok("jobs", "trigger-bulk", job, "--items", '[{"payload": 1}, {}]', "-o", "json").json) == 2
    dry = shell.ok("jobs", "trigger-bulk", job, "--items", "-", "--dry-run", stdin='{"payload": 1}\n\n{}\n')
    assert "would trigger 2 runs of job echo" in dry.err
    assert shell.ok("runs", "list", "--jq", "length").out == "2\n"
    for wrong in ("", "[]", "[1]", "{", '{"a": 1} trailing'):
        assert shell.run("jobs", "trigger-bulk", job, "--items", "-", stdin=wrong).code == 2, wrong


def test_a_bulk_that_is_partly_done_says_so(shell: Shell, job: str):
    """A thousand are taken, the rest is refused: exit 10, what was made is shown, and where to go on."""
    items = "\n".join(["{}"] * 1000 + ['{"priority": 99}'])
    answer = shell.run("jobs", "trigger-bulk", job, "--items", "-", "-o", "name", stdin=items, code=10)
    assert len(answer.out.splitlines()) == 1000
    assert "item 1000" in answer.err
    assert shell.run("jobs", "trigger-bulk", job, "--items", '[{"priority": 99}]').code == 7


# ── runs by shorthand ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_are_named_by_shorthand(shell: Shell, job: str):
    """@last, @failed, a unique prefix with and without `run_`; several matches are named."""
    first, last = (ended(shell, job) for _ in range(2))
    assert shell.ok("runs", "get", "@last", "-o", "name").out.strip() == last["id"]
    assert shell.ok("runs", "get", first["id"][:-1], "-o", "name").out.strip() == first["id"]
    assert shell.ok("runs", "get", first["id"][4:-1], "-o", "name").out.strip() == first["id"]
    several = shell.run("runs", "get", first["id"][:8], code=2)
    assert first["id"] in several.err
    assert last["id"] in several.err
    assert shell.run("runs", "get", "@failed").code == 5
    assert shell.run("runs", "get", "run_0000000000").code == 5
    assert shell.run("runs", "get", "nonsense!").code == 2


# ── operate ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stats_count_what_was_done(shell: Shell, job: str):
    """Within the project that is named."""
    ended(shell, job)
    eventually(lambda: shell.ok("stats", "--jq", ".depth.completed").out == "1\n")
    rows = dict(shell.ok("stats").rows[:12])
    assert rows["completed"] == "1"
    assert re.fullmatch(r"\d+ of \d+ used", rows["slots"])


def test_workers_are_listed(shell: Shell, cli_daemon: Daemon):
    """The daemon's own process is there and alive."""
    workers = shell.ok("workers", "list", "-o", "json").json
    assert [one["alive"] for one in workers if one["pid"] == cli_daemon.pid] == [True]
    refused = shell.run("worker", "drain", workers[0]["id"][:8], code=2)
    assert workers[0]["id"] in refused.err


def test_version_names_both_sides(shell: Shell, alone: Shell):
    """The server's version where one answers, and no failure where none does."""
    assert shell.ok("version", "-o", "json").json["server_version"]
    offline = alone.ok("version", "-o", "json")
    assert offline.json["server_version"] is None
    assert "cannot reach" in offline.err


def test_global_flags_are_taken_anywhere(shell: Shell, job: str):
    """Before the noun, between noun and verb, and behind; the innermost counts."""
    expected = shell.ok("jobs", "get", job, "-o", "json").out
    assert shell.ok("-o", "json", "jobs", "get", job).out == expected
    assert shell.ok("jobs", "-o", "json", "get", job).out == expected
    assert shell.ok("-o", "csv", "jobs", "-o", "yaml", "get", job, "--output=json").out == expected
    del shell.settings["STRAIT_PROJECT"]
    assert shell.run("--project", "nowhere", "jobs", "get", job).code == 5


def test_verbose_shows_requests_and_no_key(shell: Shell, job: str):
    """Method, address, status; never the credential."""
    answer = shell.ok("jobs", "get", job, "-v", "-o", "name")
    assert re.search(r"GET http://\S+/v1/jobs/echo 200 \d+ ms", answer.err)
    assert shell.settings["INTERNAL_SECRET"] not in answer.err


def test_quiet_leaves_data_and_errors(shell: Shell, job: str):
    """-q silences talk, not failures."""
    assert shell.ok("trigger", job, "-q").err == ""
    assert shell.run("trigger", "nothing", "-q").err != ""


# ── webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_webhook_is_tested_listed_and_repeated(shell: Shell, cli_endpoint: Endpoint, job: str):
    """The test arrives at the endpoint, stands among the deliveries, and goes out once more."""
    shell.run("webhooks", "test", job, code=7)
    shell.ok("jobs", "update", job, "--webhook-url", cli_endpoint.url("/empty/cli-hook"))
    tested = shell.ok("webhooks", "test", job, "-o", "json")
    assert tested.json["type"] == "webhook.test"
    assert "strait webhooks deliveries" in tested.err
    words = ("webhooks", "deliveries", "--job", job, "--status", "delivered", "-o", "json")
    (delivered,) = eventually(lambda: shell.ok(*words).json)
    assert (delivered["id"], delivered["attempts"], delivered["http_status"]) == (tested.json["id"], 1, 204)
    assert [call.json["type"] for call in cli_endpoint.calls if call.path == "/empty/cli-hook"] == ["webhook.test"]
    assert shell.ok("webhooks", "retry", delivered["id"][:-2], "-o", "json").json["status"] == "pending"
    run = ended(shell, job)
    by_run = ("webhooks", "deliveries", "--run", run["id"][:-2], "-o", "json")
    (told,) = eventually(lambda: shell.ok(*by_run).json)
    assert told["type"] == "run.completed"
    assert tested.json["id"] in shell.ok("webhooks", "deliveries", "--limit", "5").out
    shell.run("webhooks", "retry", "wh_nothing", code=5)
