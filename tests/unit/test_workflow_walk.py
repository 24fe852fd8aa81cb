"""Workflows on a virtual clock: what runs when, with assumed outcomes and lengths."""

from __future__ import annotations

from typing import Any

import pytest

from strait_core.workflow.dag import State
from strait_core.workflow.definition import WorkflowSpec, read_spec, settings_text, step_of, steps_text
from strait_core.workflow.snapshot import Snapshot, snapshot_of
from strait_core.workflow.states import RunStatus, StepStatus
from strait_core.workflow.walk import UNKNOWN, Assumed, Walk, critical_path, walked


def flow(*steps: dict[str, Any], **settings: Any) -> Snapshot:
    """A workflow, as it comes from the store; a step without a type is a job's."""
    made = [step_of({"job_id": "j", **step} if "step_type" not in step else step) for step in steps]
    spec = WorkflowSpec("p", "w", "w", tuple(made), **settings)
    return snapshot_of(read_spec(settings_text(spec), steps_text(spec)))


def told(snapshot: Snapshot, walk: Walk) -> dict[str, tuple[float, float, str]]:
    """By ref, when each step was under way and what it came to."""
    return {snapshot.steps[one.step].step_ref: (one.begins, one.ends, one.status.value) for one in walk.stretches}


def go(snapshot: Snapshot, assumed: Assumed) -> Walk:
    return walked(snapshot, assumed, State({}), {})


DIAMOND = (
    {"step_ref": "a"},
    {"step_ref": "b", "depends_on": ["a"]},
    {"step_ref": "c", "depends_on": ["a"]},
    {"step_ref": "d", "depends_on": ["b", "c"]},
)


def test_a_diamond():
    """Side by side where nothing stands between; the end waits for the longer side."""
    snapshot = flow(*DIAMOND)
    secs = {0: 1.0, 1: 5.0, 2: 2.0, 3: 1.0}
    walk = go(snapshot, Assumed(secs))
    assert told(snapshot, walk) == {
        "a": (0, 1, "completed"), "b": (1, 6, "completed"), "c": (1, 3, "completed"), "d": (6, 7, "completed"),
    }  # fmt: skip
    assert (walk.status, walk.total, walk.most_at_once) == (RunStatus.COMPLETED, 7, 2)
    assert critical_path(snapshot, secs) == [0, 1, 3]
    assert critical_path(snapshot, {}) == [0, 1, 3]


def test_limits_hold():
    """max_parallel_steps and a concurrency key make steps wait for one another."""
    limited = flow(*DIAMOND, max_parallel_steps=1)
    assert go(limited, Assumed(default_secs=2)).total == 8
    keyed = flow({"step_ref": "a", "concurrency_key": "k"}, {"step_ref": "b", "concurrency_key": "k"})
    assert (go(keyed, Assumed(default_secs=2)).total, go(keyed, Assumed(default_secs=2)).most_at_once) == (4, 1)


@pytest.mark.parametrize(
    ("policy", "status", "rest"),
    [
        ("fail_workflow", RunStatus.FAILED, {"a": "failed", "x": "canceled"}),
        ("continue", RunStatus.COMPLETED, {"a": "failed", "x": "completed", "b": "completed"}),
        ("skip_dependents", RunStatus.COMPLETED, {"a": "failed", "x": "completed", "b": "skipped"}),
    ],
)
def test_a_failure(policy: str, status: RunStatus, rest: dict[str, str]):
    """Each policy, as the engine has it."""
    steps = ({"step_ref": "a", "on_failure": policy}, {"step_ref": "x"}, {"step_ref": "b", "depends_on": ["a"]})
    snapshot = flow(*steps)
    walk = go(snapshot, Assumed({0: 1.0, 1: 9.0}, outcomes={0: StepStatus.FAILED}))
    assert walk.status is status
    assert {ref: state for ref, (_, _, state) in told(snapshot, walk).items()} == rest


def test_a_compensation():
    """What is undone, the last level first."""
    steps: list[dict[str, Any]] = [
        {"step_ref": "a", "compensation_job": "j"},
        {"step_ref": "b", "compensation_job": "j", "depends_on": ["a"]},
        {"step_ref": "c", "depends_on": ["b"], "on_failure": "compensate"},
    ]
    walk = go(flow(*steps), Assumed(outcomes={2: StepStatus.FAILED}))
    assert (walk.status, walk.undone) == (RunStatus.COMPENSATED, [(1,), (0,)])


def test_sleeps_and_the_time_limit():
    """A sleep takes what it says, whatever is known; a run over its time ends there."""
    nap = {"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}
    assert go(flow(nap), Assumed({0: 1.0})).total == 3_600
    walk = go(flow(nap, timeout_secs=60), Assumed())
    assert (walk.status, walk.total, walk.stretches[0].status) == (RunStatus.TIMED_OUT, 60, StepStatus.CANCELED)


def test_conditions():
    """Over states as they come; over payload and outputs as far as those are said, else they are assumed to hold."""
    after_failure = {"type": "step_status", "step_ref": "a", "status": "failed"}
    of_payload = {"type": "gt", "left": "{{payload.n}}", "right": 3}
    of_output = {"type": "eq", "left": "{{steps.a.output.ok}}", "right": True}
    snapshot = flow(
        {"step_ref": "a", "on_failure": "continue"},
        {"step_ref": "repair", "depends_on": ["a"], "condition": after_failure},
        {"step_ref": "big", "depends_on": ["a"], "condition": of_payload},
        {"step_ref": "good", "depends_on": ["a"], "condition": of_output},
    )
    plain = go(snapshot, Assumed())
    states = {ref: state for ref, (_, _, state) in told(snapshot, plain).items()}
    assert states == {"a": "completed", "repair": "skipped", "big": "completed", "good": "completed"}
    assert [one.note for one in plain.stretches if snapshot.steps[one.step].step_ref in {"big", "good"}] == [
        UNKNOWN
    ] * 2
    said = go(snapshot, Assumed(payload='{"n": 2}', outputs={0: '{"ok": false}'}))
    assert {ref: state for ref, (_, _, state) in told(snapshot, said).items()}["big"] == "skipped"
    assert {ref: state for ref, (_, _, state) in told(snapshot, said).items()}["good"] == "skipped"
    repaired = flow(
        {"step_ref": "a", "on_failure": "continue"},
        {"step_ref": "repair", "depends_on": ["a"], "condition": after_failure},
    )
    failed = go(repaired, Assumed(outcomes={0: StepStatus.FAILED}))
    assert told(repaired, failed)["repair"] == (0, 0, "completed")


def test_the_rest_of_a_run():
    """From where it stands: what has been under way for a while takes the rest of its time."""
    snapshot = flow(*DIAMOND)
    state = State({0: StepStatus.COMPLETED, 1: StepStatus.RUNNING, 2: StepStatus.COMPLETED})
    assert walked(snapshot, Assumed({1: 5.0, 3: 2.0}), state, {1: 4.0}).total == 3
    assert walked(snapshot, Assumed({1: 5.0, 3: 2.0}), state, {1: 9.0}).total == 2


def test_a_thousand_steps():
    """Fan-out and fan-in with a limit of ten at once."""
    refs = [f"s{n}" for n in range(998)]
    steps: list[dict[str, Any]] = [{"step_ref": "root"}, *({"step_ref": ref, "depends_on": ["root"]} for ref in refs)]
    snapshot = flow(*steps, {"step_ref": "join", "depends_on": refs}, max_parallel_steps=10)
    walk = go(snapshot, Assumed(default_secs=1))
    assert (walk.total, walk.most_at_once) == (102, 10)
