"""`strait diff`, `apply` and `export` against a server: what is shown, asked, ended with; and the way round."""

from __future__ import annotations

import json

import pytest

from tests.cli.runner import Shell
from tests.support.endpoint import Endpoint

SECRET = "a-secret-that-nobody-may-see-1234"
MANIFEST = """\
jobs:
  - slug: hello
    name: Hello
    endpoint_url: {url}
    timeout_secs: {secs}
    signing_secret: env:HELLO_SECRET
workflows:
  - slug: twice
    name: Twice
    steps:
      - {{step_ref: one, job_id: hello}}
      - {{step_ref: two, job_id: hello, depends_on: [one]}}
"""


@pytest.fixture
def project(shell: Shell, cli_endpoint: Endpoint) -> Shell:
    """A folder with a manifest."""
    shell.settings["HELLO_SECRET"] = SECRET
    write(shell, cli_endpoint)
    return shell


def write(shell: Shell, endpoint: Endpoint, secs: int = 30) -> None:
    (shell.folder / "strait.yaml").write_text(MANIFEST.format(url=endpoint.url("/echo"), secs=secs))


def test_diff_apply_diff(project: Shell, cli_endpoint: Endpoint):
    """1 while something would change, 0 afterwards; each change on a line of its own, no secret anywhere."""
    first = project.run("diff", code=1)
    assert first.out.splitlines()[0] == "+ job hello"
    assert "    timeout_secs: 30" in first.out
    assert "2 to create" in first.err
    done = project.ok("apply", "--yes")
    assert done.out == first.out
    assert "2 created" in done.err
    same = project.ok("diff")
    assert (same.out, "nothing to change" in same.err) == ("", True)
    write(project, cli_endpoint, secs=60)
    project.settings["HELLO_SECRET"] = SECRET[::-1]
    changed = project.run("diff", code=1)
    assert changed.out.splitlines() == [
        "~ job hello",
        '    signing_secret: "****" → "****"',
        "    timeout_secs: 30 → 60",
    ]
    for answer in (first, done, changed):
        assert SECRET not in answer.out + answer.err
    assert project.run("diff", "-o", "json", code=1).json["changes"][0]["action"] == "update"
    assert project.ok("apply", "--yes", "-o", "json").json["applied"] is True
    assert project.ok("jobs", "get", "hello", "--jq", ".timeout_secs").out == "60\n"


def test_errors_of_a_diff_are_no_differences(project: Shell):
    """Above 1: a wrong manifest, a server that is not there, a fault of our own."""
    (project.folder / "strait.yaml").write_text("jobs: [{slug: a, name: A, endpoint_url: 'http://x', calendar: no}]")
    wrong = project.run("diff", code=7)
    assert "(strait.yaml:1)" in wrong.err
    assert project.run("diff", "--server", "http://127.0.0.1:9", code=8).out == ""


def test_apply_asks_names_and_rehearses(project: Shell):
    """Nobody to ask: exit 2 and nothing done; --dry-run shows and does nothing; --prune names what goes."""
    refused = project.run("apply", code=2)
    assert "create" in refused.err
    assert "--yes" in refused.err
    assert "+ job hello" in project.ok("apply", "--dry-run").out
    assert project.ok("jobs", "list", "-o", "json").json == []
    project.ok("apply", "--yes", "-q")
    (project.folder / "strait.yaml").write_text("jobs: []\n")
    left = project.ok("diff")
    assert "! job hello  no longer in the manifest" in left.out
    pruned = project.run("diff", "--prune", code=1)
    assert "- workflow twice" in pruned.out
    project.ok("apply", "--prune", "--yes")
    assert project.ok("jobs", "list", "-o", "json").json == []


def test_on_a_terminal_the_plan_comes_before_the_question(project: Shell):
    """Plan, question, outcome; a no leaves all as it is."""
    screen = project.terminal("apply", columns=80)
    screen.until("? [y/N]").press("n\n")
    assert screen.wait() == 1
    assert "+ job hello" in screen.shown
    screen = project.terminal("apply", columns=80)
    screen.until("? [y/N]").press("y\n")
    assert screen.wait() == 0
    assert "applied: 2 created" in screen.shown


def test_there_and_back(project: Shell, cli_endpoint: Endpoint):
    """What is exported and applied changes nothing, in YAML as in JSON; ids become slugs, secrets are left out."""
    url = cli_endpoint.url("/echo")
    project.ok("apply", "--yes", "-q")
    project.ok("calendars", "create", "days", "--days", "sat,2030-12-25,2030-08-01..2030-08-31")
    project.ok(
        "jobs", "create", "--name", "Größe ${X}", "--slug", "full", "--endpoint", url, "--tag", "a=b", "--cron", "0 9 * * *",
        "--calendar", "days", "--payload-schema", '{"type": "object"}', "--max-concurrency", "3", "--no-enabled",
        "--rate-limit-keys", '[{"name": "t", "key": "{{payload.t}}", "max": 5, "window_secs": 60}]',
        "--on-complete-trigger-job", "hello", "--on-complete-payload-mapping", '{"n": 1.5}',
    )  # fmt: skip
    made = project.ok("jobs", "get", "full", "-o", "json").json["id"]
    steps = '[{"step_ref": "a", "job_id": "%s", "payload": {"n": 1.10}}, {"step_ref": "s", "step_type": "sleep", "sleep_duration": "1s"}]'
    project.ok(
        "workflows", "create", "--name", "W", "--slug", "w", "--steps", steps % made, "--max-parallel-steps", "2"
    )
    exported = project.ok("export")
    assert "left out: hello signing_secret" in exported.err
    assert SECRET not in exported.out
    assert "job_id: full" in exported.out
    (project.folder / "strait.yaml").write_text(exported.out)
    assert project.ok("diff").out == ""
    project.ok("export", "--file", "all.json", "-q")
    assert project.run("export", "--file", "all.json").code == 2
    (project.folder / "strait.yaml").unlink()
    assert project.ok("diff", "-f", "all.json").out == ""
    # Elsewhere it makes the same.
    other = json.loads((project.folder / "all.json").read_text())
    other["project"] = project.settings["STRAIT_PROJECT"] + "-other"
    (project.folder / "all.json").write_text(json.dumps(other))
    project.ok("apply", "-f", "all.json", "--yes", "-q")
    project.settings["STRAIT_PROJECT"] = other["project"]
    again = json.loads(project.ok("export", "-o", "json").out)
    assert again == other


def test_standard_input_is_read_once(project: Shell):
    """What is piped in is planned and applied."""
    text = (project.folder / "strait.yaml").read_text()
    assert project.ok("apply", "-f", "-", "--yes", "-o", "json", stdin=text).json["applied"] is True
    assert project.ok("diff", "-f", "-", stdin=text).out == ""


def test_the_manifests_project_counts(project: Shell):
    """It goes before that of the context; a flag that says otherwise is a mistake."""
    text = (project.folder / "strait.yaml").read_text()
    name = project.settings["STRAIT_PROJECT"] + "-own"
    (project.folder / "strait.yaml").write_text(f"project: {name}\n{text}")
    assert project.ok("apply", "--yes", "-o", "json").json["project_id"] == name
    assert project.run("diff", "--project", "another", code=2).out == ""
