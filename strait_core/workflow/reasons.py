"""Why a step of a workflow run is where it is, and the run itself, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

from strait_core import ids
from strait_core.workflow.dag import WORKING, Reason
from strait_core.workflow.definition import StepType
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import STEP_OPEN, STEP_TERMINAL, RunStatus, StepStatus

Statuses = Mapping[int, StepStatus]
Facts = Mapping[str, Any]
_MOST_NAMED: Final = 10
_SKIPPED: Final[Mapping[str, str]] = {
    Reason.CONDITION: "its condition is false",
    Reason.DISABLED: "the trigger has switched it off",
    Reason.UPSTREAM: "a step before it has failed, and its dependents are skipped",
    Reason.MANUAL: "somebody has skipped it",
}


def of_step(snapshot: Snapshot, at: int, statuses: Statuses, facts: Facts, run: RunStatus) -> str:
    """Why a step is there; `facts` is what is stored of it."""
    status = statuses[at]
    match status:
        case StepStatus.PENDING:
            said = _pending(snapshot, at, statuses, run)
        case StepStatus.RUNNING:
            said = _running(facts)
        case StepStatus.WAITING:
            said = _waiting(snapshot, at, facts)
        case StepStatus.SKIPPED:
            said = _skipped(str(facts.get("reason") or ""))
        case StepStatus.FAILED:
            said = str(facts.get("error") or "it has failed")
        case StepStatus.CANCELED:
            said = f"the run was over before {'it could end' if facts.get('started_at') else 'its turn'}"
        case StepStatus.COMPLETED:
            said = "it has completed"
        case _:
            assert_never(status)
    return said


def _skipped(reason: str) -> str:
    known = _SKIPPED.get(reason)
    return f"somebody has skipped it ({reason.partition(': ')[2]})" if known is None else known


def _pending(snapshot: Snapshot, at: int, statuses: Statuses, run: RunStatus) -> str:
    before = [one for one in snapshot.needs[at] if statuses[one] not in STEP_TERMINAL]
    if before:
        names = [f"{snapshot.steps[one].step_ref} ({statuses[one].value})" for one in before[:_MOST_NAMED]]
        more = f" and {len(before) - _MOST_NAMED} more" if len(before) > _MOST_NAMED else ""
        return f"waits for {', '.join(names)}{more}"
    if run is RunStatus.PAUSED:
        return "the run is paused"
    if run is RunStatus.PENDING:
        return "the run has not begun: the workflow has as many runs under way as it may"
    step, most = snapshot.steps[at], snapshot.spec.max_parallel_steps
    for one, status in statuses.items():
        if step.concurrency_key and status in STEP_OPEN and snapshot.steps[one].concurrency_key == step.concurrency_key:
            return f"its concurrency key {step.concurrency_key!r} is held by {snapshot.steps[one].step_ref}"
    working = sum(
        status is StepStatus.RUNNING and snapshot.steps[one].step_type in WORKING for one, status in statuses.items()
    )
    if most is not None and working >= most:
        return f"{working} steps run, as many as may at once (max_parallel_steps)"
    return "it is ready"


def _running(facts: Facts) -> str:
    if facts.get("child_run_id"):
        return f"its workflow run {ids.spell(ids.Prefix.WORKFLOW_RUN, facts['child_run_id'])} is under way"
    run_id = ids.spell(ids.Prefix.RUN, facts["job_run_id"])
    return f"its run {run_id} is not over: see `strait runs explain {run_id}`"


def _waiting(snapshot: Snapshot, at: int, facts: Facts) -> str:
    step, due_at = snapshot.steps[at], facts.get("due_at")
    until = f" until {due_at:%Y-%m-%d %H:%M:%SZ}" if due_at is not None else ""
    if step.step_type is StepType.APPROVAL:
        who = f" by {', '.join(step.approvers[:_MOST_NAMED])}" if step.approvers else ""
        return f"waits for an approval{who}{until}"
    if step.step_type is StepType.SLEEP:
        return f"sleeps{until}"
    # What the key's template has become is what a sender has to name.
    return f"waits for the event {facts.get('event_key') or step.event_key!r}{until}"


def of_run(run: RunStatus, error: str | None, statuses: Statuses) -> str:
    """What holds a run, or how it has ended, in a line."""
    if error:
        return f"{run.value}: {error}"
    under_way = sum(status in STEP_OPEN for status in statuses.values())
    over = sum(status in STEP_TERMINAL for status in statuses.values())
    return f"{run.value}: {over} of {len(statuses)} steps are over, {under_way} under way"
