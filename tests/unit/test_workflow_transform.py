"""`output_transform`: RFC 9535 paths over outputs, digit for digit, and never for long."""

from __future__ import annotations

import json
import time

import pytest

from strait_core.workflow.transform import TransformError, faults_of, transform

OUTPUT = json.dumps(
    {"rows": [{"id": 1, "name": "Ada", "ok": True}, {"id": 2, "name": "Grace\n", "ok": False}], "a b": {"c": [1, 2, 3]}}
)


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("$.rows[0].id", "1"),
        ("$['a b'].c[-1]", "3"),
        ("$.nobody.x", "null"),
        ("$.rows[*].id", "[1,2]"),
        ("$.rows[?@.ok == true].name", '["Ada"]'),
        ("$..id", "[1,2]"),
        ("$..nobody", "[]"),
        ("$['a b'].c[0:2]", "[1,2]"),
        ("$.rows[?search(@.name, 'd')].id", "[1]"),
        ("$.rows[?match(@.name, 'd')].id", "[]"),
        ("$.rows[?match(@.name, 'Grace.')].id", "[]"),
        ("$.rows[?match(@.name, 'Grace[\\n.]')].id", "[2]"),
        ("$.rows[?length(@.name) == 3].id", "[1]"),
        ("$.rows[?count(@.*) > 2].ok", "[true,false]"),
        ("$[?count(@.c[?@ > 1]) == 2].c[0]", "[1]"),
    ],
)
def test_paths(path: str, made: str):
    """One place gives its value or null, anything else a list."""
    assert faults_of(path, "") == []
    assert transform(path, OUTPUT) == made


@pytest.mark.parametrize(
    ("path", "output", "made"),
    [
        ("$", '{"n": 1.10}', '{"n": 1.10}'),
        ("$.n", '{"n": 1.10}', "1.10"),
        ("$.n", '{"n": 123456789012345678901234567890}', "123456789012345678901234567890"),
        ("$.a", '{"a": {"n": [1e400, -0.0, 1E2]}}', '{"n":[1e400,-0.0,1E2]}'),
        ("$.n", '{"n": ' + "9" * 5_000 + "}", "9" * 5_000),
        ("$[?@ == 1.5]", "[1.50, 2]", "[1.50]"),
        ("$.x", '"a text"', "null"),
        ("$.*", "17", "[]"),
        ("$", '"{}"', '"{}"'),
        ("$.s", '{"s": "\\ud83d"}', '"\ufffd"'),
    ],
)
def test_values_stay_as_they_were_written(path: str, output: str, made: str):
    """Numbers keep their digits however long; what is no object or list has nothing inside."""
    assert transform(path, output) == made


@pytest.mark.parametrize(
    "path", ["", "rows", "$.", "$.rows[", "$[?@.a =~ /x/]", "$.a | $.b", "$[(@.length-1)]", "$.a ", "$[?nobody(@)]", "$" + ".a" * 600]
)  # fmt: skip
def test_what_is_no_path(path: str):
    """A path outside of the RFC, or too long, is a fault at its place."""
    assert [fault.pointer for fault in faults_of(path, "/x")] == ["/x"]


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("$..*..*..*", json.dumps([[[[1] * 9] * 9] * 9] * 9)),
        ("$..[*,*,*,*]..[*,*,*,*]", json.dumps([[[1] * 30] * 30] * 9)),
        ("$..[?count(@..*) > 1]", "[1,1,1,1,1,1,1,1,1," * 100 + "1" + "]" * 100),
        ("$[" + ",".join("0" * 250) + "][?1 == 2]", json.dumps([[1] * 100_000])),
        ("$.a" + "[*,*]" * 8, json.dumps({"a": [[[[[[[[1] * 4] * 4] * 4] * 4] * 4] * 4] * 4] * 4})),
        ("$.*", json.dumps(["x" * 200_000] * 6)),
        ("$..a", "[" * 1_000 + "]" * 1_000),
    ],
)
def test_what_goes_too_far(path: str, output: str):
    """Paths that would visit or make too much end with an error, soon."""
    assert faults_of(path, "") == []
    began = time.perf_counter()
    with pytest.raises(TransformError):
        transform(path, output)
    assert time.perf_counter() - began < 10


def test_evil_patterns():
    """A pattern inside of a path takes time that grows with the text only."""
    began = time.perf_counter()
    assert transform("$[?match(@, '(a*)*b')]", json.dumps(["a" * 100_000])) == "[]"
    assert time.perf_counter() - began < 5
