"""Manifests in files, without a server: three languages, variables, layers, folders, what is wrong and on which line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from strait_cli import exact
from strait_cli.manifestfile import read
from strait_cli.manifestout import as_yaml, escaped
from strait_core.errors import UsageError, ValidationError
from tests.cli.runner import Shell

MANIFEST = """\
project: billing
jobs:
  - slug: report
    name: Report
    endpoint_url: ${BASE:-http://127.0.0.1:9}/report
    timeout_secs: ${SECS:-60}
    description: "${SECS:-60}"
    retry_delays_secs: &delays [1, 10, 1.50]
    headers: {X-Literal: "$${HOME} costs 5$"}
"""


def content(folder: Path, text: str, name: str = "strait.yaml", **environ: str) -> Any:
    """The body that a file makes."""
    (folder / name).write_text(text, encoding="utf-8")
    return read([str(folder / name)], environ=environ).body


def test_variables_are_filled_in_after_parsing(tmp_path: Path):
    """With defaults, by type where nothing is quoted, literally behind $$, and never as a piece of YAML."""
    (job,) = content(tmp_path, MANIFEST)["jobs"]
    assert (job["endpoint_url"], job["timeout_secs"], job["description"]) == ("http://127.0.0.1:9/report", 60, "60")
    assert job["headers"] == {"X-Literal": "${HOME} costs 5$"}
    assert exact.dumps(job["retry_delays_secs"]) == "[1, 10, 1.50]"
    (job,) = content(tmp_path, MANIFEST, SECS="5", BASE="x}\n  - slug: injected")["jobs"]
    assert (job["timeout_secs"], job["description"]) == (5, "5")
    assert job["endpoint_url"] == "x}\n  - slug: injected/report"


def test_every_missing_variable_is_told_with_its_line(tmp_path: Path):
    """All at once; what only looks like a variable too."""
    text = "jobs:\n  - slug: a\n    name: ${ONE}\n    endpoint_url: ${TWO}/${ONE:-x}\n    description: ${not a name}\n"
    with pytest.raises(ValidationError) as caught:
        content(tmp_path, text)
    told = {fault.pointer: fault.message for fault in caught.value.faults}
    assert told.keys() == {"/jobs/0/name", "/jobs/0/endpoint_url", "/jobs/0/description"}
    assert "strait.yaml:3: the variable ONE is not set" in told["/jobs/0/name"]
    assert "strait.yaml:4: the variable TWO" in told["/jobs/0/endpoint_url"]
    assert "$${" in told["/jobs/0/description"]


@pytest.mark.parametrize("name", ["STRAIT_API_KEY", "INTERNAL_SECRET", "STRAIT_INTERNAL_SECRET", "DATABASE_URL"])
def test_a_strangers_manifest_gets_no_key(tmp_path: Path, name: str):
    """In a host name the key would be looked up, and so told, by whoever is asked what would change."""
    text = f"jobs: [{{slug: a, name: A, endpoint_url: 'http://${{{name}:-x}}.example.com/'}}]"
    with pytest.raises(ValidationError, match="a credential of Strait's own") as caught:
        content(tmp_path, text, **{name: "hunter2-hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_three_languages_say_the_same(tmp_path: Path):
    """YAML, JSON and TOML, dates among them."""
    body = {
        "project": "p",
        "jobs": [{"slug": "a", "name": "A", "endpoint_url": "${URL}", "timeout_secs": 5, "tags": {"k": "v"}}],
        "calendars": [{"slug": "c", "dates": ["2030-12-25"]}],
    }
    toml = (
        'project = "p"\n[[jobs]]\nslug = "a"\nname = "A"\nendpoint_url = "${URL}"\ntimeout_secs = 5\ntags = {k = "v"}\n'
        '[[calendars]]\nslug = "c"\ndates = [2030-12-25]\n'
    )
    texts = {"strait.json": json.dumps(body), "strait.yaml": "project: p\n" + yaml.safe_dump(body), "strait.toml": toml}
    texts["strait.yaml"] = yaml.safe_dump(body)
    found = [content(tmp_path, text, name, URL="http://x") for name, text in texts.items()]
    body["jobs"][0]["endpoint_url"] = "http://x"  # type: ignore[index]
    assert found == [body] * 3
    with pytest.raises(ValidationError, match="URL"):
        content(tmp_path, toml, "strait.toml")


def test_later_files_go_before_earlier_ones(tmp_path: Path):
    """Field by field of the same slug; what is new is added, and its place is known."""
    (tmp_path / "base.yaml").write_text(MANIFEST)
    (tmp_path / "prod.yaml").write_text(
        "project: prod\njobs:\n  - slug: other\n    name: O\n  - slug: report\n    timeout_secs: 900\n    tags: {a: b}\n"
    )
    document = read([str(tmp_path / "base.yaml"), str(tmp_path / "prod.yaml")], environ={})
    report, other = document.body["jobs"]
    assert (document.body["project"], report["timeout_secs"], report["name"], other["name"]) == (
        "prod",
        900,
        "Report",
        "O",
    )
    assert document.place("/jobs/0/timeout_secs") == f"{tmp_path}/prod.yaml:6"
    assert document.place("/jobs/0/headers/X-Literal") == f"{tmp_path}/base.yaml:9"
    assert document.place("/jobs/0/retry_delays_secs/7") == f"{tmp_path}/base.yaml:8"
    assert document.place("/jobs/1/endpoint_url") == f"{tmp_path}/prod.yaml:3"
    assert document.place("") is None


def test_a_folder_is_one_whole(tmp_path: Path):
    """Its files are parts: the same slug in two of them is a mistake, and both are named."""
    (tmp_path / "a.yaml").write_text("jobs: [{slug: a, name: A}]")
    (tmp_path / "b.json").write_text('{"jobs": [{"slug": "b", "name": "B"}]}')
    (tmp_path / "notes.md").write_text("no manifest")
    assert [job["slug"] for job in read([str(tmp_path)], environ={}).body["jobs"]] == ["a", "b"]
    (tmp_path / "c.yaml").write_text("jobs: [{slug: a, name: Again}]")
    with pytest.raises(UsageError, match=r"a\.yaml and in .*c\.yaml:1"):
        read([str(tmp_path)], environ={})


def test_secrets_come_from_beside_the_file(tmp_path: Path):
    """`env:NAME` and `@file`, wherever the command is typed; looked for only where they are needed."""
    (tmp_path / "key.txt").write_text("k" * 30 + "\n")
    text = "jobs: [{slug: a, signing_secret: '@key.txt', webhook_secret: 'env:HOOK'}]"
    (job,) = content(tmp_path, text, HOOK="h" * 30)["jobs"]
    assert (job["signing_secret"], job["webhook_secret"]) == ("k" * 30, "h" * 30)
    with pytest.raises(UsageError, match="HOOK is not set"):
        content(tmp_path, text)
    (job,) = read([str(tmp_path / "strait.yaml")], with_secrets=False, environ={}).body["jobs"]
    assert set(job["webhook_secret"]) == {"x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "no manifest"),
        ("jobs: {a: 1}\n", ":1: jobs must be a list"),
        ("jobs:\n  - slug: a\n  - name: b\n", ":3: an object of jobs has no slug"),
        ("jobs:\n  - slug: a\n    slug: b\n", 'line 3: "slug" stands twice'),
        ("jobs: [\n", "is not YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" + "".join(f"d{n}: &d{n} [{', '.join([f'*{p}'] * 9)}]\n" for n, p in enumerate(["c", *(f"d{k}" for k in range(7))])), "too many values"),
        ("a: &a [*a]\n", "too many values, or nests too deeply"),
        ("a: !!python/object/apply:os.system [true]\n", "is not YAML"),
        ("--- {}\n--- {}\n", "is not YAML"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, said: str):
    """Other shapes, repeated keys, aliases of aliases without end, objects of Python's."""
    with pytest.raises(UsageError, match=said):
        content(tmp_path, text)


def test_what_is_written_reads_the_same(tmp_path: Path):
    """Numbers digit for digit, text that looks like something else, text with variables in it."""
    value = {
        "jobs": [
            {
                "slug": "a",
                "payload": exact.loads('{"n": [1.10, 1e999, -0, 1e5, 12345678901234567890123, 0.1]}'),
                "description": "${HOME} $${X} yes 2030-01-01\nnull: {} # no",
                "tags": {"yes": "no", "1": "2030-01-01", "n": "null", "f": "1e5"},
            }
        ]
    }
    assert exact.dumps(content(tmp_path, as_yaml(escaped(value)))) == exact.dumps(value)
    assert exact.dumps(content(tmp_path, exact.dumps(escaped(value)), "strait.json")) == exact.dumps(value)


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_validate_tells_file_line_and_every_fault(alone: Shell):
    """Offline, in the words of the server; exit 7, and 0 when all is right."""
    (alone.folder / "strait.yaml").write_text(
        "jobs:\n  - slug: a\n    name: A\n    endpoint_url: ftp://x\n    timeout_secs: 0\n    nonsense: 1\n"
        "  - slug: b\n    timeout_secs: soon\n"
    )
    shaped = alone.run("validate", code=7)
    assert "jobs.0.nonsense: is not a field here (strait.yaml:6)" in shaped.err
    assert "jobs.1.timeout_secs: must be a whole number or null, not a string (strait.yaml:8)" in shaped.err
    (alone.folder / "strait.yaml").write_text(
        "jobs:\n  - slug: a\n    name: A\n    endpoint_url: ftp://x\n    timeout_secs: 0\n  - slug: b\n"
    )
    answer = alone.run("validate", "-o", "json", code=7)
    told = {fault["pointer"]: fault["message"] for fault in answer.json["error"]["faults"]}
    assert told.keys() == {"/jobs/0/endpoint_url", "/jobs/0/timeout_secs", "/jobs/1/name", "/jobs/1/endpoint_url"}
    assert told["/jobs/0/timeout_secs"] == "must be from 1 to 86400 (strait.yaml:5)"
    (alone.folder / "strait.yaml").write_text(MANIFEST.replace(", 1.50", ""))
    wrong = alone.run("validate", code=7)
    assert "works only with retry_strategy custom (strait.yaml:8)" in wrong.err
    (alone.folder / "strait.yaml").write_text(MANIFEST.replace("[1, 10, 1.50]", "[]"))
    assert alone.ok("validate", "-o", "json").json == {"valid": True, "calendars": 0, "jobs": 1, "workflows": 0}


def test_without_a_manifest_there_is_a_way_on(alone: Shell):
    """Exit 2 with the next step."""
    for verb in ("validate", "diff", "apply"):
        assert "strait init" in alone.run(verb, code=2).err


def test_the_schema_is_of_the_same_tables(alone: Shell):
    """It takes what the server takes, variables in the place of values too, and refuses what it refuses."""
    import jsonschema_rs

    schema = jsonschema_rs.validator_for(json.loads(alone.ok("schema").out))
    job = {"slug": "a", "name": "A", "endpoint_url": "http://x"}
    good: list[dict[str, Any]] = [
        {"project": "p", "jobs": [job]},
        {"jobs": [{**job, "timeout_secs": "${SECS:-5}", "signing_secret": "env:KEY", "webhook_secret": "@key"}]},
        {"workflows": [{"slug": "w", "name": "W", "steps": [{"step_ref": "a", "job_id": "a", "payload": {"x": 1}}]}]},
        {"calendars": [{"slug": "c", "weekdays": ["sat"]}]},
    ]
    bad: list[dict[str, Any]] = [
        {"job": []},
        {"jobs": [{"slug": "a"}]},
        {"jobs": [{**job, "timeout_secs": 0}]},
        {"jobs": [{**job, "timeout_secs": "5"}]},
        {"jobs": [{**job, "project_id": "p"}]},
        {"jobs": [{**job, "retry_strategy": "never"}]},
        {"workflows": [{"slug": "w", "name": "W", "steps": []}]},
    ]
    assert [schema.is_valid(one) for one in good] == [True] * len(good)
    assert [schema.is_valid(one) for one in bad] == [False] * len(bad)
