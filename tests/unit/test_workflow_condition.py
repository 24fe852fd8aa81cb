"""Conditions: what is wrong with one, and what it says of the values at hand."""

from __future__ import annotations

import time
from typing import Any

import pytest

from strait_core.workflow.condition import MAX_NODES, ConditionError, MissingError, evaluate, faults_of
from strait_core.workflow.definition import ROOTS

STATUSES = {"a": "completed", "b": "skipped"}
VALUES = {
    "payload": '{"n": 3, "who": "ada", "tags": ["x", "y"], "no": null, "big": 12345678901234567890}',
    "steps": '{"a": {"output": {"n": 3.0, "ok": true, "rows": [{"id": 1}]}}, "b": {"output": null}}',
}


def two(kind: str, left: Any, right: Any) -> dict[str, Any]:
    return {"type": kind, "left": left, "right": right}


def exists(operand: str) -> dict[str, Any]:
    return {"type": "exists", "operand": operand}


HOLD: list[tuple[Any, bool]] = [
    ({"type": "step_status", "step_ref": "a", "status": "completed"}, True),
    ({"type": "step_status", "step_ref": "b", "status": "completed"}, False),
    ({"type": "step_status_in", "step_ref": "b", "statuses": ["failed", "skipped"]}, True),
    ({"type": "not", "condition": exists("{{payload.n}}")}, False),
    ({"type": "all_of", "conditions": [exists("{{payload.n}}"), exists("{{payload.who}}")]}, True),
    ({"type": "any_of", "conditions": [exists("{{payload.x}}"), exists("{{payload.who}}")]}, True),
    (two("eq", "{{payload.n}}", "{{steps.a.output.n}}"), True),
    (two("eq", "{{steps.a.output.ok}}", 1), False),
    (two("eq", "{{steps.a.output.rows}}", [{"id": 1.0}]), True),
    (two("ne", "{{payload.who}}", "grace"), True),
    (two("eq", "{{payload.n}}", "3"), False),
    (two("eq", "n={{payload.n}}", "n=3"), True),
    (two("gt", "{{payload.n}}", 2.5), True),
    (two("gte", "{{payload.n}}", 3), True),
    (two("lt", "{{payload.big}}", 12345678901234567891), True),
    (two("lte", "abc", "{{payload.who}}"), True),
    (two("contains", "{{payload.who}}", "da"), True),
    (two("contains", "{{payload.tags}}", "z"), False),
    (two("contains", "{{steps.a.output}}", "ok"), True),
    (two("in", "{{payload.who}}", ["ada", "grace"]), True),
    (two("in", "x", "{{payload.tags}}"), True),
    (two("regex", "{{payload.who}}", "^a.a$"), True),
    (two("regex", "{{payload.who}}", "^b"), False),
    (exists("{{payload.no}}"), False),
    (exists("{{steps.b.output.deep.down}}"), False),
    (two("eq", "{{payload.x | default(7)}}", 7), True),
]


@pytest.mark.parametrize(("tree", "holds"), HOLD)
def test_what_holds(tree: Any, holds: bool):
    """Every type, over states, payload and outputs; a sound condition has no faults."""
    assert faults_of(tree, "", ROOTS) == []
    assert evaluate(tree, STATUSES, VALUES) is holds


def test_the_rest_is_not_looked_at():
    """What does not matter for the answer may name what is not there."""
    missing = two("eq", "{{payload.x}}", 1)
    known = exists("{{payload.n}}")
    assert evaluate({"type": "any_of", "conditions": [known, missing]}, STATUSES, VALUES)
    assert not evaluate(
        {"type": "all_of", "conditions": [{"type": "not", "condition": known}, missing]}, STATUSES, VALUES
    )
    with pytest.raises(MissingError, match=r"nothing at \{\{payload\.x\}\}"):
        evaluate(missing, STATUSES, VALUES)


@pytest.mark.parametrize(
    "tree",
    [
        two("gt", "{{payload.who}}", 3),
        two("lt", "{{payload.tags}}", "{{payload.tags}}"),
        two("in", "x", "{{payload.who}}"),
        two("contains", "{{payload.n}}", 3),
        two("regex", "{{payload.n}}", "3"),
        two("regex", "{{payload.long}}", "x"),
        two("eq", "{{payload.deep}}", 1),
    ],
)
def test_what_cannot_be_compared(tree: Any):
    """Values of the wrong kind are an error that says so, never false."""
    values = {
        "payload": '{"n": 3, "who": "ada", "tags": [], "long": "'
        + "y" * 300_000
        + '", "deep": '
        + "[" * 5_000
        + "]" * 5_000
        + "}"
    }
    assert faults_of(tree, "", ROOTS) == []
    with pytest.raises(ConditionError):
        evaluate(tree, STATUSES, values)


WRONG: list[tuple[Any, dict[str, str]]] = [
    (True, {"/c": "object with a type"}),
    ({}, {"/c/type": "one of"}),
    ({"type": []}, {"/c/type": "one of"}),
    ({"type": "maybe"}, {"/c/type": "one of all_of, any_of"}),
    ({"type": "eq", "left": 1, "more": 2}, {"/c/right": "required", "/c/more": "not a field of eq"}),
    ({"type": "step_status", "step_ref": 1, "status": "running"}, {"/c/step_ref": "name of a step", "/c/status": "one of completed"}),
    ({"type": "step_status_in", "step_ref": "a", "statuses": ["failed", "x"]}, {"/c/statuses/1": "one of"}),
    ({"type": "step_status_in", "step_ref": "a", "statuses": []}, {"/c/statuses": "list"}),
    ({"type": "all_of", "conditions": []}, {"/c/conditions": "at least one"}),
    ({"type": "any_of", "conditions": [1, {"type": "not", "condition": 2}]}, {"/c/conditions/0": "object", "/c/conditions/1/condition": "object"}),
    (exists("payload.x"), {"/c/operand": "one placeholder"}),
    (exists("{{payload.x}}y"), {"/c/operand": "one placeholder"}),
    (two("eq", "{{secrets.x}}", 1), {"/c/left": "begins with none of"}),
    (two("gt", True, [1]), {"/c/left": "a number, a string", "/c/right": "a number"}),
    (two("in", 1, "abc"), {"/c/right": "must be a list"}),
    (two("regex", "{{payload.x}}", "a("), {"/c/right": "not a pattern of RE2"}),
    (two("regex", "{{payload.x}}", "(?=a)"), {"/c/right": "not a pattern of RE2"}),
    (two("regex", "{{payload.x}}", "{{payload.y}}"), {"/c/right": "without placeholders"}),
    (two("regex", "{{payload.x}}", "a" * 1001), {"/c/right": "1000 characters"}),
    (two("regex", "{{payload.x}}", r"[\p{L}]{900}"), {"/c/right": "too large"}),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "expected"), WRONG)
def test_wrong_conditions(tree: Any, expected: dict[str, str]):
    """Each fault stands at its place."""
    found = {fault.pointer: fault.message for fault in faults_of(tree, "/c", ROOTS)}
    assert found.keys() == expected.keys(), found
    for pointer, words in expected.items():
        assert words in found[pointer]


def test_hostile_trees():
    """Wide, deep and large trees are refused or answered without recursion's end."""
    deep: dict[str, Any] = exists("{{payload.n}}")
    for _ in range(60):
        deep = {"type": "not", "condition": deep}
    assert faults_of(deep, "", ROOTS) == []
    assert evaluate(deep, STATUSES, VALUES) is True
    wide = {"type": "all_of", "conditions": [exists("{{payload.n}}")] * (MAX_NODES + 1)}
    assert "nodes" in faults_of(wide, "", ROOTS)[-1].message
    assert "64 KiB" in faults_of(two("eq", "x" * 70_000, 1), "", ROOTS)[0].message


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|aa)+$", "(.*)*(.*)*x", "(?:a?){50}a{50}", "a{0,400}b"])
def test_evil_patterns(pattern: str):
    """Patterns that stall a backtracking engine for ever are answered at once."""
    tree = two("regex", "{{payload.text}}", pattern)
    assert faults_of(tree, "", ROOTS) == []
    began = time.perf_counter()
    evaluate(tree, {}, {"payload": '{"text": "' + "a" * 100_000 + '!"}'})
    assert time.perf_counter() - began < 5
