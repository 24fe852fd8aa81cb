"""Whether a workflow run that is over ended where the reference says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from strait_core.workflow.definition import OnFailure, StepType
from tests.store.wild import Reference, Story

_OUTCOMES: Final = {
    OnFailure.FAIL_WORKFLOW: {"failed"},
    OnFailure.COMPENSATE: {"compensated", "compensation_failed"},
}
Row = dict[str, Any]


def check(story: Story, run: Row, steps: Sequence[Row], *, outputs: bool = True, attempts: int = 1) -> None:
    """A run is where the reference has it; of one that a failure has ended, what has ended before is."""
    reference = Reference(story)
    wanted, fatal = reference.everywhere(), reference.fatal()
    refs = [step.step_ref for step in story.spec.steps]
    found = {refs[step["step"]]: step["status"] for step in steps if step["step"] >= 0}
    # A step that a retry has put back, and that a failure has kept from its turn then, is told as canceled too.
    known = {ref: status for ref, status in found.items() if status not in {"canceled", "pending"}}
    assert known.items() <= wanted.items(), difference(story, known, wanted)
    assert run["has_failures"] is ("failed" in found.values())
    for step in steps:
        ref = refs[max(step["step"], -1 - step["step"])]
        assert step["attempt"] <= attempts, ref
        if outputs and step["step"] >= 0 and step["status"] == "completed" and _puts_out(story, ref):
            assert json.loads(step["output"] or "null") == reference.output(ref), ref
    if not fatal:
        assert (run["status"], found) == ("completed", wanted), difference(story, found, wanted)
        return
    cause = run["error"].partition(":")[0].removeprefix("step ")
    assert cause in fatal
    assert run["status"] in _OUTCOMES[story.plans[cause].step.on_failure]
    if run["status"] == "compensated":
        undone = {refs[-1 - step["step"]] for step in steps if step["step"] < 0 and step["status"] == "completed"}
        done = {ref for ref, status in found.items() if status == "completed"}
        assert undone == {ref for ref in done if story.plans[ref].step.compensation_job}


def difference(story: Story, found: dict[str, str], wanted: dict[str, str]) -> str:
    """What differs, for whoever has to find out why."""
    wrong = {ref: (status, wanted.get(ref), story.plans[ref]) for ref, status in found.items() if status != wanted[ref]}
    return f"{wrong or wanted.keys() - found.keys()}"


def _puts_out(story: Story, ref: str) -> bool:
    """Whether the reference knows what the step puts out."""
    return story.plans[ref].step.step_type in {StepType.JOB, StepType.WAIT_FOR_EVENT}
