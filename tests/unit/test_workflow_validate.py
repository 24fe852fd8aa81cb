"""What is wrong with a workflow's definition: all of it at once, each with its place."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from strait_core.workflow.definition import MAX_STEPS, OnFailure, StepSpec, StepType, WorkflowSpec
from strait_core.workflow.graph import cycles, graph_of
from strait_core.workflow.validate import MOST_FAULTS, faults_of


def job(ref: str, *depends_on: str, **more: Any) -> StepSpec:
    if "payload" in more:
        more["payload"] = Raw(msgspec.json.encode(more["payload"]))
    return StepSpec(ref, job_id="work", depends_on=depends_on, **more)


def spec(*steps: StepSpec, **more: Any) -> WorkflowSpec:
    return WorkflowSpec("p", "flow", "Flow", steps, **more)


def faults(*steps: StepSpec, **more: Any) -> dict[str, str]:
    return {fault.pointer: fault.message for fault in faults_of(spec(*steps, **more))}


def test_a_definition_with_everything_is_right():
    """All five types, templates in each place, a condition, a transform."""
    assert faults(
        job("extract", payload={"day": "{{payload.day}}", "run": "{{run.id}}", "n": 1.50}),
        job(
            "load-1",
            "extract",
            payload={"rows": "{{parent_outputs.extract.rows[0]}}", "all": "{{parent_outputs}}"},
            condition={"type": "gt", "left": "{{steps.extract.output.n}}", "right": 3},
            output_transform="$.rows[?@.ok]",
            retry_max_attempts=2,
            on_failure=OnFailure.COMPENSATE,
            compensation_job="undo",
        ),
        StepSpec("ask", StepType.APPROVAL, depends_on=("load-1",), approvers=("ada",), approval_timeout_secs=60),
        StepSpec("paid", StepType.WAIT_FOR_EVENT, depends_on=("ask",), event_key="order-{{payload.id}}"),
        StepSpec("rest", StepType.SLEEP, depends_on=("paid",), sleep_duration="1h30m"),
        StepSpec("until", StepType.SLEEP, depends_on=("paid",), sleep_until='{{payload.at | default("2030-01-01T00:00:00Z")}}'),
        StepSpec("inner", StepType.SUB_WORKFLOW, depends_on=("rest", "until"), sub_workflow="other"),
        timeout_secs=60, max_parallel_steps=2,
    ) == {}  # fmt: skip


WRONG: list[tuple[list[StepSpec], dict[str, str]]] = [
    ([], {"/steps": "1 to 1000"}),
    ([job("a"), job("a")], {"/steps/1/step_ref": "another step"}),
    ([job("a", "a")], {"/steps/0/depends_on/0": "a → a"}),
    ([job("a", "nobody")], {"/steps/0/depends_on/0": "no step"}),
    ([job("a"), job("b", "a", "a")], {"/steps/1/depends_on/1": "twice"}),
    ([job("c", "b"), job("a", "c"), job("b", "a")], {"/steps/0/depends_on": "c → a → b → c"}),
    (
        [job("a", "b"), job("b", "a"), job("c", "d"), job("d", "c"), job("e", "a", "d")],
        {"/steps/0/depends_on": "a → b → a", "/steps/2/depends_on": "c → d → c"},
    ),
    ([StepSpec("a b", job_id="x")], {"/steps/0/step_ref": "A-Z a-z"}),
    ([StepSpec("a")], {"/steps/0/job_id": "required"}),
    ([job("a", sub_workflow="x", approvers=("ada",))], {"/steps/0/sub_workflow": "does not go with step_type job", "/steps/0/approvers": "does not go"}),
    ([StepSpec("a", StepType.SUB_WORKFLOW)], {"/steps/0/sub_workflow": "required"}),
    ([StepSpec("a", StepType.WAIT_FOR_EVENT)], {"/steps/0/event_key": "required"}),
    ([StepSpec("a", StepType.WAIT_FOR_EVENT, event_key="a/b")], {"/steps/0/event_key": "must not contain"}),
    ([StepSpec("a", StepType.SLEEP)], {"/steps/0/sleep_duration": "one of"}),
    ([StepSpec("a", StepType.SLEEP, sleep_duration="1s", sleep_until="2030-01-01T00:00:00Z")], {"/steps/0/sleep_duration": "not both"}),
    ([StepSpec("a", StepType.SLEEP, sleep_duration="soon")], {"/steps/0/sleep_duration": "1h30m"}),
    ([StepSpec("a", StepType.SLEEP, sleep_duration="366d")], {"/steps/0/sleep_duration": "365d"}),
    ([StepSpec("a", StepType.SLEEP, sleep_until="2030-01-01T00:00:00")], {"/steps/0/sleep_until": "UTC offset"}),
    ([StepSpec("a", StepType.APPROVAL, payload=Raw(b"{}"), approvers=("x", "x", ""))], {"/steps/0/payload": "does not go", "/steps/0/approvers/1": "twice", "/steps/0/approvers/2": "1 to 256"}),
    ([StepSpec("a", job_id="Not A Slug")], {"/steps/0/job_id": "slug or the id of a job"}),
    ([job("a", retry_max_attempts=101, timeout_secs=0)], {"/steps/0/retry_max_attempts": "1 to 100", "/steps/0/timeout_secs": "from 1"}),
    ([job("a", retry_initial_delay_secs=60, retry_max_delay_secs=5)], {"/steps/0/retry_max_delay_secs": "at least"}),
    ([job("a", output_transform="rows")], {"/steps/0/output_transform": "begins with $"}),
    ([job("a", output_transform="$.rows[")], {"/steps/0/output_transform": "not a JSONPath"}),
    ([job("a", event_emit_key="a/b")], {"/steps/0/event_emit_key": "must not contain"}),
    ([job("a", concurrency_key="")], {"/steps/0/concurrency_key": "1 to 256"}),
    ([job("a", payload={"x": ["{{payload.}}", "{{nobody.x}}"]})], {"/steps/0/payload/x/0": "not a placeholder", "/steps/0/payload/x/1": "begins with none"}),
    ([job("a", payload="{{steps.z.output}}")], {"/steps/0/payload": "no step"}),
    ([job("a", payload="{{steps.a.output}}")], {"/steps/0/payload": "does not come before"}),
    ([job("a"), job("b", payload="{{steps.a.output}}")], {"/steps/1/payload": "does not come before"}),
    ([job("a"), job("b", "a", payload="{{steps.a.status}}")], {"/steps/1/payload": "steps.NAME.output"}),
    ([job("a"), job("b", "a"), job("c", "b", payload="{{parent_outputs.a}}")], {"/steps/2/payload": "depends_on"}),
    ([job("a", payload="{{run.secret}}")], {"/steps/0/payload": "run.id"}),
    ([job("a", condition={"type": "step_status", "step_ref": "z", "status": "failed"})], {"/steps/0/condition/step_ref": "no step"}),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), WRONG)
def test_wrong_definitions(steps: list[StepSpec], expected: dict[str, str]):
    """Each fault stands at its place and says what is wrong; nothing else is found."""
    found = faults(*steps)
    assert found.keys() == expected.keys(), found
    for pointer, words in expected.items():
        assert words in found[pointer]


def test_all_faults_at_once():
    """A definition with a fault in every part is told all of them."""
    found = faults(
        job("a", "b", "z", "z"), job("b", "a", output_transform="x"), StepSpec("b", StepType.SLEEP), timeout_secs=-1
    )
    assert found.keys() >= {
        "/timeout_secs", "/steps/0/depends_on/1", "/steps/0/depends_on/2", "/steps/1/output_transform",
        "/steps/2/step_ref", "/steps/2/sleep_duration", "/steps/0/depends_on",
    }  # fmt: skip


def test_too_many_steps():
    """1,001 steps are one too many, and are not looked at one by one."""
    found = faults(*(job(f"s{n}", "nobody") for n in range(MAX_STEPS + 1)))
    assert found == {"/steps": "must be 1 to 1000 steps, not 1001"}


@pytest.mark.parametrize("kind", ["dense", "ring", "unknown", "chain"])
def test_hostile_sizes(kind: str):
    """A thousand steps with up to 999 dependencies each, right and wrong, are judged in a few seconds at most."""
    refs = [f"s{n}" for n in range(MAX_STEPS)]
    depends: dict[str, list[list[str]]] = {
        "dense": [refs[:n] for n in range(MAX_STEPS)],
        "ring": [[*refs[max(n - 1, 0) : n], *refs[n + 1 :]] for n in range(MAX_STEPS)],
        "unknown": [[f"x{n}" for n in range(999)]] * MAX_STEPS,
        "chain": [[refs[n - 1]] if n else [] for n in range(MAX_STEPS)],
    }
    steps = [
        job(ref, *depends[kind][n], payload=f"{{{{steps.s0.output.n{n}}}}}" if n else {}) for n, ref in enumerate(refs)
    ]
    began = time.perf_counter()
    found = faults_of(spec(*steps))
    assert time.perf_counter() - began < 10
    assert len(found) == {"dense": 0, "chain": 0, "ring": 1, "unknown": MOST_FAULTS + 1}[kind]
    if kind == "unknown":
        assert "more faults" in found[-1].message


def test_the_graph():
    """Order by levels, as written; the heaviest way; what stands before each step."""
    graph = graph_of((job("join", "b", "c"), job("b", "a"), job("a"), job("c", "a"), job("d", "c", "a")))
    assert [[graph.refs[n] for n in level] for level in graph.levels] == [["a"], ["b", "c"], ["join", "d"]]
    assert [graph.refs[n] for n in graph.order] == ["a", "b", "c", "join", "d"]
    assert [graph.refs[n] for n in graph.longest_path([1, 5, 1, 1, 1])] == ["a", "b", "join"]
    assert graph.before_each()[0] == 0b01110
    assert [[graph.refs[n] for n in parents] for parents in graph.needed_parents()] == [
        ["b", "c"], ["a"], [], ["a"], ["c"],
    ]  # fmt: skip
    assert [graph.refs[n] for n in graph.roots] == ["a"]


def test_cycles_are_the_shortest_of_their_knot():
    """One for each knot, from its first step on; what merely leads into a knot or out of it is not shown."""
    depends = {"in": [], "a": ["in", "d"], "b": ["a"], "c": ["b"], "d": ["c", "b"], "out": ["d"]}
    assert cycles(depends) == [["a", "b", "d", "a"]]
