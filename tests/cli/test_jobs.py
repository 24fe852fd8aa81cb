"""Jobs on the command line: every field a flag, changes, versions, names, pages."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from strait_core import wire
from strait_core.timetable import CALENDAR, OF_CRON
from tests.cli.runner import Shell, trigger

SIGNING_SECRET = "whsec_b3BlbiBzZXNhbWUgb3BlbiBzZXNhbWUgb3Blbg=="


def test_every_field_of_a_job_is_a_flag(shell: Shell, job: str):
    """Create with every flag; the job holds every value."""
    nap = '[{"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}]'
    shell.ok("workflows", "create", "--name", "Flow", "--slug", "flow", "--steps", nap)
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
        *("--on-complete-trigger-workflow", "flow", "--on-failure-trigger-workflow", "flow"),
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
        "on_complete_trigger_workflow": "flow",
        "on_failure_trigger_workflow": "flow",
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
    asked = {
        "name",
        "slug",
        "endpoint_url",
        "cron",
        "timezone",
        "execution_window_cron",
        "alert_webhook_url",
        *CALENDAR,
        *OF_CRON,
    } | set(expected)
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


def test_a_list_of_jobs_is_narrowed(shell: Shell, job: str):
    """By tag, by switch, by pause; a tag that is none is refused."""
    url = "http://127.0.0.1:9/"
    shell.ok(
        "jobs", "create", "--name", "T", "--slug", "tagged", "--endpoint", url, "--tag", "team=data", "--no-enabled"
    )
    shell.ok("jobs", "pause", job)
    for words, slugs in (
        (("--tag", "team:data"), ["tagged"]),
        (("--disabled",), ["tagged"]),
        (("--enabled",), [job]),
        (("--paused",), [job]),
        (("--not-paused", "--tag", "team:other"), []),
    ):
        assert [one["slug"] for one in shell.ok("jobs", "list", *words, "-o", "json").json] == slugs, words
