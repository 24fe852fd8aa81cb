"""What is listed and shown, in every format, selected and filtered."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
import yaml

from tests.cli.runner import Answer, Shell, ended

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")


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
OBJECTS = (
    ("jobs", "get", "echo"),
    ("runs", "get", "@last"),
    ("version",),
    ("stats",),
    ("config", "show"),
    ("trace", "@last"),
    ("top",),
)


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
        (("--job", good["job_id"][:-2]), [good["id"]]),
        (("--tag", "t:1"), [good["id"]]),
        (("--metadata", "m:2"), [good["id"]]),
        (("--error-class", bad["error_class"]), [bad["id"]]),
        (("--created-after", good["created_at"]), [bad["id"]]),
        (("--created-before", bad["created_at"]), [good["id"]]),
        (("--triggered-by", "nobody"), []),
    ]:
        assert shell.ok("runs", "list", *words, "-o", "name").out.split() == expected, words
