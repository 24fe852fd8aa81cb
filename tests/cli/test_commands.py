"""Every verb against a real daemon: what it does, prints and returns."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from strait_core import wire
from strait_core.timetable import CALENDAR, OF_CRON
from tests.cli.runner import Answer, Shell
from tests.support.daemon import Daemon
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually

SIGNING_SECRET = "whsec_b3BlbiBzZXNhbWUgb3BlbiBzZXNhbWUgb3Blbg=="
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")


def trigger(shell: Shell, *words: str) -> dict[str, Any]:
    """Trigger a run and return it."""
    run: dict[str, Any] = shell.ok("trigger", *words, "-o", "json").json
    return run


def ended(shell: Shell, *words: str) -> dict[str, Any]:
    """Trigger a run and wait for its end, whatever that is."""
    answer = shell.run("trigger", *words, "--wait", "-o", "json")
    assert answer.code in {0, 9}, answer
    run: dict[str, Any] = answer.json
    return run


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_field_of_a_job_is_a_flag(shell: Shell, job: str):
    """Create with every flag; the job holds every value."""
    shell.settings["JOB_SECRET"] = SIGNING_SECRET
    answer = shell.ok(
        *("jobs", "create", "--name", "Full", "--slug", "full", "--endpoint", "http://127.0.0.1:9/x"),
        *("--description", "all of it", "--tag", "team=a", "--tags", "cost=b", "--no-enabled"),
        *("--header", "X-One=1", "--timeout-secs", "7", "--max-attempts", "5", "--retry-strategy", "custom"),
        *("--retry-delays-secs", "1, 10,60", "--retry-priority-boost", "2", "--non-retryable-statuses", "400,404"),
        *("--priority", "4", "--run-ttl-secs", "90", "--default-run-metadata", "k=v=w", "--version-policy", "latest"),
        *("--webhook-url", "http://127.0.0.1:9/hook", "--webhook-secret", "env:JOB_SECRET"),
        *("--signing-secret", "env:JOB_SECRET", "--dedup-window-secs", "5", "--debounce-window-secs", "6"),
        *("--debounce-max-wait-secs", "60", "--payload-schema", '{"type": "object"}'),
        *("--max-concurrency", "7", "--max-concurrency-per-key", "2", "--rate-limit-max", "9"),
        *("--rate-limit-keys", '[{"name": "tenant", "key": "{{payload.tenant}}", "max": 3, "window_secs": 60}]'),
        *("--rate-limit-window-secs", "30", "--fallback-endpoint-url", "http://127.0.0.1:9/y"),
        *("--poison-pill-threshold", "3", "--breaker-threshold", "8", "--completion", "callback"),
        *("--max-cost-per-run-microusd", "5000", "--on-complete-trigger-job", job),
        *("--on-complete-payload-mapping", '{"a": "{{result}}"}', "--on-failure-trigger-job", job),
        *("--on-failure-payload-mapping", '{"b": "{{error}}"}'),
        *("--result-schema", '{"maximum": 1}', "-o", "json"),
    )
    made = answer.json
    expected = {
        "project_id": shell.settings["STRAIT_PROJECT"],
        "description": "all of it",
        "tags": {"team": "a", "cost": "b"},
        "enabled": False,
        "headers": {"X-One": "1"},
        "timeout_secs": 7,
        "max_attempts": 5,
        "retry_strategy": "custom",
        "retry_delays_secs": [1, 10, 60],
        "retry_priority_boost": 2,
        "non_retryable_statuses": [400, 404],
        "priority": 4,
        "run_ttl_secs": 90,
        "max_concurrency": 7,
        "max_concurrency_per_key": 2,
        "rate_limit_max": 9,
        "rate_limit_window_secs": 30,
        "rate_limit_keys": [{"name": "tenant", "key": "{{payload.tenant}}", "max": 3, "window_secs": 60}],
        "fallback_endpoint_url": "http://127.0.0.1:9/y",
        "poison_pill_threshold": 3,
        "breaker_threshold": 8,
        "completion": "callback",
        "max_cost_per_run_microusd": 5_000,
        "on_complete_trigger_job": job,
        "on_complete_payload_mapping": {"a": "{{result}}"},
        "on_failure_trigger_job": job,
        "on_failure_payload_mapping": {"b": "{{error}}"},
        "default_run_metadata": {"k": "v=w"},
        "version_policy": "latest",
        "signing_secret": "****",
        "payload_schema": {"type": "object"},
        "result_schema": {"maximum": 1},
        "dedup_window_secs": 5,
        "debounce_window_secs": 6,
        "debounce_max_wait_secs": 60,
        "webhook_url": "http://127.0.0.1:9/hook",
        "webhook_secret": "****",
    }
    assert {name: made[name] for name in expected} == expected
    batching = {"debounce_window_secs": None, "batch_window_secs": 7, "batch_max_size": 9}
    unset = ("--unset", "debounce-window-secs", "--unset", "debounce-max-wait-secs")
    update = ("jobs", "update", "full", *unset, "--batch-window-secs", "7", "--batch-max-size", "9", "-o", "json")
    answer = shell.ok(*update)
    assert {name: answer.json[name] for name in batching} == batching
    expected |= batching
    # Those of a schedule have a test of their own beside `strait schedules`.
    asked = {"name", "slug", "endpoint_url", "cron", "timezone", "execution_window_cron", *CALENDAR, *OF_CRON} | set(
        expected
    )
    assert set(wire.JobCreate.__struct_fields__) <= asked


def test_a_secret_comes_from_a_file_a_pipe_or_a_variable(shell: Shell, job: str, tmp_path):
    """Each of the three spellings, which keep a secret out of `ps`; taken away again like any field."""
    (tmp_path / "secret").write_text(SIGNING_SECRET + "\n")
    shell.settings["JOB_SECRET"] = SIGNING_SECRET
    update = ("jobs", "update", job, "-o", "json")
    for given in (f"@{tmp_path / 'secret'}", "env:JOB_SECRET"):
        assert shell.ok(*update, "--signing-secret", given).json["signing_secret"] == "****"
        assert shell.ok(*update, "--unset", "signing-secret").json["signing_secret"] is None
    answer = shell.ok(*update, "--signing-secret", "-", stdin=SIGNING_SECRET)
    assert answer.json["signing_secret"] == "****"
    assert SIGNING_SECRET not in answer.out + answer.err
    shell.run(*update, "--signing-secret", "@/nowhere", code=2)


def test_every_field_of_a_trigger_is_a_flag(shell: Shell, job: str):
    """Trigger with every flag; the run holds every value."""
    run = trigger(
        shell,
        *(job, "--payload", '{"a": 1}', "--tag", "t=1", "--metadata", "m=2", "--priority", "3", "--ttl-secs", "3600"),
        *("--max-attempts", "2", "--timeout-secs", "9", "--retry-strategy", "fixed"),
        *("--concurrency-key", "tenant-7"),
    )
    assert run["concurrency_key"] == "tenant-7"
    assert (run["tags"], run["metadata"], run["priority"]) == ({"t": "1"}, {"m": "2"}, 3)
    assert (run["max_attempts"], run["timeout_secs"]) == (2, 9)
    assert run["expires_at"]
    later = trigger(shell, job, "--scheduled-at", in_an_hour())
    assert later["status"] == "delayed"
    shell.ok("runs", "cancel", later["id"], "--yes")
    with_own_flag = {"payload", "tags", "metadata", "scheduled_at", "priority", "ttl_secs", "max_attempts"}
    gathered = {"concurrency_key", "debounce_key", "batch_key", "dry_run"}
    assert set(wire.TriggerRequest.__struct_fields__) <= with_own_flag | gathered | {"timeout_secs", "retry_strategy"}


def test_a_trigger_can_be_tried(shell: Shell, job: str):
    """--dry-run shows the run that would be, stores nothing, and does not go with --wait."""
    dry = shell.ok("trigger", job, "--priority", "3", "--dry-run", "-o", "json")
    assert dry.json["priority"] == 3
    assert "nothing was stored" in dry.err
    shell.run("runs", "get", dry.json["id"], code=5)
    shell.run("trigger", job, "--dry-run", "--wait", code=2)
    shell.run("trigger", job, "--priority", "11", "--dry-run", code=7)


def test_a_key_triggers_once(shell: Shell, job: str):
    """The same --idempotency-key gives the same run; another payload under it is refused."""
    command = ("trigger", job, "--idempotency-key", "once", "-o", "json")
    first = shell.ok(*command).json
    assert shell.ok(*command).json["id"] == first["id"]
    shell.run(*command, "--payload", "1", code=7)


@pytest.mark.parametrize("kind", ["debounce", "batch"])
def test_a_trigger_names_its_window(shell: Shell, kind: str):
    """--debounce-key and --batch-key tell which triggers meet."""
    job = f"{kind}-{uuid.uuid4().hex[:8]}"
    named = ("--name", job, "--slug", job, "--endpoint", "http://127.0.0.1:9/")
    shell.ok("jobs", "create", *named, f"--{kind}-window-secs", "600")
    ids = [shell.ok("trigger", job, f"--{kind}-key", key, "-o", "json").json["id"] for key in "aab"]
    assert (ids[0] == ids[1], ids[1] == ids[2]) == (True, False)
    for run_id in set(ids):
        shell.ok("runs", "cancel", run_id, "--yes")


def in_an_hour() -> str:
    """A time the API accepts for scheduled_at."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")


def test_a_job_without_a_project_goes_into_the_default_one(shell: Shell):
    """The first command of a newcomer works, and says where the job went."""
    project = shell.settings.pop("STRAIT_PROJECT")
    answer = shell.ok(
        "jobs", "create", "--name", "N", "--slug", f"in-default-{project}", "--endpoint", "http://x.example"
    )
    assert "project default" in answer.err


def test_a_job_changes_and_versions_are_kept(shell: Shell, job: str):
    """update, --unset, versions, clone, pause, resume."""
    changed = shell.ok("jobs", "update", job, "--timeout-secs", "9", "--run-ttl-secs", "60", "-o", "json").json
    assert (changed["timeout_secs"], changed["run_ttl_secs"], changed["version"]) == (9, 60, 2)
    back = shell.ok("jobs", "update", job, "--unset", "run-ttl-secs", "--unset", "timeout_secs", "-o", "json").json
    assert (back["timeout_secs"], back["run_ttl_secs"]) == (300, None)
    versions = shell.ok("jobs", "versions", job, "-o", "json").json
    assert [one["version"] for one in versions] == [3, 2, 1]
    assert shell.ok("jobs", "clone", job, "copy", "--name", "Copy", "-o", "json").json["slug"] == "copy"
    assert shell.ok("jobs", "pause", job, "--reason", "down", "-o", "json").json["pause_reason"] == "down"
    assert shell.run("trigger", job).code == 6
    assert shell.ok("jobs", "resume", job, "-o", "json").json["paused"] is False
    assert shell.run("jobs", "update", job).code == 2
    assert shell.run("jobs", "update", job, "--unset", "slug").code == 2


def test_a_job_is_edited_by_hand(shell: Shell, job: str):
    """What the editor changed is sent, nothing else; nothing changed is nothing sent."""
    (shell.home / "edit.sh").write_text("#!/bin/sh\nsed -i 's/^timeout_secs: .*/timeout_secs: 11/' \"$1\"\n")
    editor = {"EDITOR": f"sh {shell.home}/edit.sh"}
    answer = shell.ok("jobs", "edit", job, "-o", "json", env=editor)
    assert answer.json["timeout_secs"] == 11
    assert answer.json["version"] == 2
    assert "nothing was changed" in shell.ok("jobs", "edit", job, env={"EDITOR": "true"}).err
    assert shell.run("jobs", "edit", job, env={"EDITOR": "false"}).code == 1
    assert shell.run("jobs", "edit", job, env={"EDITOR": "no-such-editor"}).code == 3


def test_a_job_is_deleted_with_a_yes(shell: Shell, job: str):
    """Without a terminal it wants --yes, and names the job."""
    refused = shell.run("jobs", "rm", job, code=2)
    assert 'delete job echo ("Echo"' in refused.err
    assert "--yes" in refused.err
    assert shell.ok("jobs", "delete", job, "--yes", "-o", "json").json["deleted"] is True
    assert shell.run("jobs", "get", job).code == 5


def test_jobs_are_named_by_slug_id_and_prefix(shell: Shell, job: str):
    """Whatever names the job, it is the same job."""
    found = shell.ok("jobs", "get", job, "-o", "json").json
    assert shell.ok("job", "get", found["id"], "-o", "json").json == found
    assert shell.ok("j", "get", found["id"][:-2], "-o", "json").json == found
    assert shell.run("jobs", "get", "job_7zzzzz").code == 5
    assert shell.run("jobs", "get", "../jobs").code == 2


# ── lists and formats ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_pages_up_to_its_limit_and_says_when_there_is_more(shell: Shell, job: str):
    """Three hundred runs need two pages."""
    items = "\n".join(json.dumps({"payload": {"n": n}}) for n in range(301))
    shell.ok("jobs", "trigger-bulk", job, "--items", "-", stdin=items)
    answer = shell.ok("runs", "list", "--limit", "250", "-o", "name")
    assert len(set(answer.out.splitlines())) == 250
    assert "there are more" in answer.err
    answer = shell.ok("r", "ls", "--limit", "1000", "-o", "name")
    assert len(set(answer.out.splitlines())) == 301
    assert "there are more" not in answer.err


FORMATS = ("table", "wide", "json", "jsonl", "yaml", "csv", "name")
LISTS = (("jobs", "list"), ("runs", "list"), ("workers", "list"), ("context", "list"), ("config", "explain"))
OBJECTS = (("jobs", "get", "echo"), ("runs", "get", "@last"), ("version",), ("stats",), ("config", "show"))


def read(answer: Answer, kind: str) -> Any:
    """The output as a program would read it."""
    match kind:
        case "json":
            return answer.json
        case "jsonl":
            return answer.lines
        case "yaml":
            return yaml.safe_load(answer.out)
        case "csv":
            return list(csv.DictReader(io.StringIO(answer.out)))
        case _:
            return answer.out.splitlines()


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_lists_in_every_format(shell: Shell, job: str, words: tuple[str, ...]):
    """Each format can be read back, holds the same objects, and no colour."""
    shell.ok("context", "create", "one")
    ended(shell, job)
    found: dict[str, Any] = {}
    for kind in FORMATS:
        answer = shell.ok(*words, "-o", kind, env={"FORCE_COLOR": "" if kind in {"table", "wide"} else "1"})
        assert "\x1b" not in answer.out
        found[kind] = read(answer, kind)
    count = len(found["json"])
    assert count
    assert {kind: len(one) - (kind in {"table", "wide"}) for kind, one in found.items()} == dict.fromkeys(
        FORMATS, count
    )
    if words[-1] == "list" and words[0] != "workers":
        assert found["json"] == found["jsonl"] == found["yaml"]


@pytest.mark.parametrize("words", OBJECTS, ids=" ".join)
def test_objects_in_every_format(shell: Shell, job: str, words: tuple[str, ...]):
    """The same for single objects."""
    ended(shell, job)
    for kind in FORMATS:
        answer = shell.ok(*words, "-o", kind, env={"FORCE_COLOR": "" if kind in {"table", "wide"} else "1"})
        assert "\x1b" not in answer.out
        assert read(answer, kind)
    assert isinstance(shell.ok(*words, "-o", "json").json, dict)


def test_a_piped_table_is_for_cut_and_awk(shell: Shell, job: str):
    """Tabs, headings, ISO times; no talk on stdout."""
    run = ended(shell, job)
    headings, row = shell.ok("runs", "list").rows
    found = dict(zip(headings, row, strict=True))
    assert found["ID"] == run["id"]
    assert ISO.match(found["CREATED"])
    assert found["STATUS"] == "completed"


def test_selection_works_on_api_objects(shell: Shell, job: str):
    """--jq, --template, --fields and --sort on the API's own fields."""
    run = ended(shell, job, "--payload", '{"n": 7}')
    assert shell.ok("runs", "get", run["id"], "--jq", ".payload.n").out == "7\n"
    assert shell.ok("runs", "list", "--jq", "length").out == "1\n"
    assert shell.ok("runs", "list", "--template", "{{job_slug}}:{{status}}").out == "echo:completed\n"
    assert shell.ok("runs", "list", "--fields", "status,job_slug", "-o", "json").json == [
        {"status": "completed", "job_slug": "echo"}
    ]
    assert shell.run("runs", "list", "--sort", "colour").code == 2
    included = shell.ok("runs", "list", "--include", "payload", "-o", "json").json
    assert included[0]["payload"] == {"n": 7}


def test_filters_reach_the_server(shell: Shell, job: str, failing_job: str):
    """Each filter finds what it should and nothing else."""
    good = ended(shell, job, "--tag", "t=1", "--metadata", "m=2")
    bad = ended(shell, failing_job)
    for words, expected in [
        (("--status", "completed"), [good["id"]]),
        (("--status", "failed,dead_letter"), [bad["id"]]),
        (("--status", "failed", "--status", "dead_letter"), [bad["id"]]),
        (("--job", job), [good["id"]]),
        (("--tag", "t:1"), [good["id"]]),
        (("--metadata", "m:2"), [good["id"]]),
        (("--error-class", bad["error_class"]), [bad["id"]]),
        (("--created-after", good["created_at"]), [bad["id"]]),
        (("--created-before", bad["created_at"]), [good["id"]]),
        (("--triggered-by", "nobody"), []),
    ]:
        assert shell.ok("runs", "list", *words, "-o", "name").out.split() == expected, words


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
    assert f"strait runs watch {run['id']}" in late.err
    assert shell.run("runs", "wait", run["id"], "--timeout", "0.3").code == 124
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
    assert shell.ok("webhooks", "retry", delivered["id"], "-o", "json").json["status"] == "pending"
    run = ended(shell, job)
    by_run = ("webhooks", "deliveries", "--run", run["id"], "-o", "json")
    (told,) = eventually(lambda: shell.ok(*by_run).json)
    assert told["type"] == "run.completed"
    assert tested.json["id"] in shell.ok("webhooks", "deliveries", "--limit", "5").out
    shell.run("webhooks", "retry", "wh_nothing", code=5)
