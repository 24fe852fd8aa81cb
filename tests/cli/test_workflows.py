"""`strait workflows`, against a real daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.runner import Shell

FLOW = """\
name: Data Pipeline
slug: data-pipeline
tags: {team: data}
steps:
  - step_ref: extract
    job_id: echo
    payload: {n: 1.50, at: 2030-01-31T09:00:00Z, hex: 0x10}
  - {step_ref: rest, step_type: sleep, depends_on: [extract], sleep_duration: 90s}
  - {step_ref: load, job_id: echo, depends_on: [rest], condition: {type: exists, operand: "{{payload.x}}"}}
"""
BROKEN = """\
name: x
slug: x
steps:
  - {step_ref: a, job_id: echo, depends_on: [c]}
  - {step_ref: b, job_id: echo, depends_on: [a]}
  - {step_ref: c, job_id: echo, depends_on: [b], output_transform: rows}
"""


@pytest.fixture
def flow(shell: Shell, job: str) -> dict[str, Any]:
    """A workflow made from a file; the job of its steps is there."""
    assert job == "echo"
    (shell.folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
    made: dict[str, Any] = shell.ok("workflows", "create", "--file", "flow.yaml", "-o", "json").json
    return made


def test_from_a_file_and_back(shell: Shell, flow: dict[str, Any]):
    """What a file says is what is made; what `get` prints can be sent back, digit for digit."""
    assert flow["steps"][0]["payload"] == {"n": 1.5, "at": "2030-01-31T09:00:00Z", "hex": 16}
    text = shell.ok("wf", "get", "data-pipeline", "-o", "json").out
    assert '"n": 1.50' in text
    (shell.folder / "again.json").write_text(text, encoding="utf-8")
    same = shell.ok("workflows", "update", flow["id"][:-3], "-f", "again.json", "-o", "json").json
    assert same["version"] == 1
    heads, row = shell.ok("workflows", "ls").rows
    assert dict(zip(heads, row, strict=True))["STEPS"] == "3"
    shown = shell.ok("workflows", "get", "data-pipeline").out
    assert "sleep" in shown
    assert "90s" in shown


def test_flags_go_before_the_file(shell: Shell, flow: dict[str, Any]):
    """Fields by flag, steps by flag; --unset puts one back; nothing named is nothing to change."""
    steps = json.dumps(flow["steps"][:1])
    words = ("--slug", "other", "--steps", steps, "--max-parallel-steps", "2", "--tag", "a=b", "--timeout-secs", "60")
    more = ("--description", "d", "--max-concurrent-runs", "3", "--no-enabled", "--name", "N")
    made = shell.ok("workflows", "create", "-f", "flow.yaml", *words, *more, "-o", "json").json
    assert (made["slug"], made["name"], made["step_count"], made["max_parallel_steps"]) == ("other", "N", 1, 2)
    assert (made["tags"], made["timeout_secs"], made["enabled"]) == ({"a": "b"}, 60, False)
    changed = shell.ok("workflows", "update", "other", "--unset", "timeout-secs", "--enabled", "-o", "json").json
    assert (changed["timeout_secs"], changed["enabled"], changed["version"]) == (None, True, 2)
    assert "nothing to change" in shell.run("workflows", "update", "other", code=2).err
    assert "none of" in shell.run("workflows", "update", "other", "--unset", "steps", code=2).err


def test_validate_needs_no_server(shell: Shell):
    """All faults of a file at once, exit 7; a sound one says so. Files that hold no workflow are refused."""
    (shell.folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
    (shell.folder / "broken.yaml").write_text(BROKEN, encoding="utf-8")
    (shell.folder / "list.yaml").write_text("- 1", encoding="utf-8")
    (shell.folder / "typo.yaml").write_text("name: x\nslug: x\nsteps:\n  - {step_ref: a, job: x}\n", encoding="utf-8")
    away = ("--server", "http://127.0.0.1:9")
    assert shell.ok("workflows", "validate", "-f", "flow.yaml", *away, "-o", "json").json == {
        "valid": True, "step_count": 3,
    }  # fmt: skip
    found = shell.run("workflows", "validate", "-f", "broken.yaml", *away, code=7)
    assert "a → b → c → a" in found.err
    assert "begins with $" in found.err
    assert "job" in shell.run("workflows", "validate", "-f", "typo.yaml", *away, code=7).err
    assert "does not hold a workflow" in shell.run("workflows", "validate", "-f", "list.yaml", code=2).err
    assert "cannot read" in shell.run("workflows", "validate", "-f", "nobody.yaml", code=2).err
    shell.run("workflows", "validate", code=2)


def test_the_server_judges_too(shell: Shell, flow: dict[str, Any]):
    """A dry run stores nothing and knows which jobs there are."""
    assert shell.ok("workflows", "dry-run", "data-pipeline", "-o", "json").json == {"valid": True, "step_count": 3}
    (shell.folder / "broken.yaml").write_text(BROKEN, encoding="utf-8")
    assert "closes a cycle" in shell.run("workflows", "dry-run", "data-pipeline", "-f", "broken.yaml", code=7).err
    steps = '[{"step_ref": "a", "job_id": "nobody"}]'
    assert "is no job" in shell.run("workflows", "dry-run", flow["id"], "--steps", steps, code=7).err
    assert shell.ok("workflows", "get", "data-pipeline", "-o", "json").json == flow


def test_versions_and_what_differs(shell: Shell, flow: dict[str, Any]):
    """`diff` ends with 0 when two versions are the same, else with 1 and a line for each difference."""
    steps = json.dumps([{**flow["steps"][0], "payload": {"n": 2.50}}, {"step_ref": "new", "job_id": "echo"}])
    shell.ok("workflows", "update", "data-pipeline", "--steps", steps, "--max-parallel-steps", "2")
    assert [row[0] for row in shell.ok("workflows", "versions", "data-pipeline").rows[1:]] == ["2", "1"]
    assert shell.ok("workflows", "get", "data-pipeline", "--version", "1", "-o", "json").json["steps"] == flow["steps"]
    shell.ok("workflows", "diff", "data-pipeline", "2", "2")
    found = shell.run("workflows", "diff", "data-pipeline", "1", "2", code=1)
    assert found.out.splitlines() == [
        "~ max_parallel_steps: null → 2",
        "- step rest",
        "- step load",
        "+ step new",
        '~ extract.payload: {"n": 1.50, "at": "2030-01-31T09:00:00Z", "hex": 16} → {"n": 2.5}',
    ]
    assert shell.run("workflows", "diff", "data-pipeline", "1", "2", "-o", "json", code=1).json["added_steps"] == [
        "new"
    ]
    shell.run("workflows", "diff", "data-pipeline", "1", "9", code=5)


def test_drawings(shell: Shell, flow: dict[str, Any]):
    """Boxes by default, two languages by --as, data by -o json; a plan has the order."""
    assert "┃ rest · sleep ┃" in shell.ok("workflows", "graph", flow["slug"]).out
    assert shell.ok("workflows", "graph", flow["slug"], "--as", "mermaid").out.startswith("flowchart TD\n")
    assert shell.ok("workflows", "graph", flow["slug"], "--as", "dot").out.startswith("digraph")
    data = shell.ok("workflows", "graph", flow["slug"], "-o", "json").json
    assert data["roots"] == ["extract"]
    shell.run("workflows", "graph", flow["slug"], "--as", "png", code=2)
    plan = shell.ok("workflows", "plan", flow["slug"], "-o", "json").json
    assert plan["topological_order"] == plan["critical_path"] == ["extract", "rest", "load"]


def test_pause_clone_delete(shell: Shell, flow: dict[str, Any]):
    """Names what it hits and asks; a job that a workflow refers to stays."""
    assert (
        shell.ok("workflows", "pause", flow["slug"], "--reason", "broken", "-o", "json").json["pause_reason"]
        == "broken"
    )
    assert shell.ok("workflows", "resume", flow["slug"], "-o", "json").json["paused"] is False
    copy = shell.ok("workflows", "clone", flow["slug"], "copy", "--name", "Copy", "-o", "json").json
    assert (copy["name"], copy["steps"]) == ("Copy", flow["steps"])
    assert "data-pipeline" in shell.run("jobs", "delete", "echo", "--yes", code=6).err
    shell.run("workflows", "delete", "copy", code=2)
    shell.ok("workflows", "rm", "copy", "--yes")
    shell.run("workflows", "get", "copy", code=5)
