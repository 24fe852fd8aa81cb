"""Each trap that the reference fell into has a test, and docs/testing.md says which."""

from __future__ import annotations

import re
from dataclasses import fields

from strait_core.job import JobSpec
from tests.project.tree import ROOT, functions, sources

# Where a field is declared, checked or shown; using it is something else.
_NO_USE = re.compile(r"strait_core/(job\w*|wire/\w+)\.py|strait_daemon/api/(shape|schemas|jobs)\.py")
# Read from the stored definition by people and lists only: they describe, and ask for nothing.
_DESCRIBE = {"name", "description"}


def test_the_table_names_tests_that_exist():
    """A row whose test was renamed or removed is found."""
    rows = re.findall(
        r"^\| .+ \| `(tests/\S+?)::(\w+)` \|$", (ROOT / "docs/testing.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) >= 9
    known = {(str(path), node.name) for path in sources("tests") for node in functions(path)}
    assert [row for row in rows if row not in known] == []


def test_every_field_of_a_job_is_used():
    """What the API accepts does something: each field is read outside of where it is declared, checked and shown."""
    code = "\n".join(
        (ROOT / path).read_text("utf-8")
        for path in sources("strait_core", "strait_daemon")
        if not _NO_USE.fullmatch(str(path))
    )
    names = {field.name for field in fields(JobSpec)} - _DESCRIBE
    assert {name for name in names if not re.search(rf"\.{name}\b|\"{name}\"", code)} == set()
