"""Workflow runs, their steps and approvals: what may be said of them, and how the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.errors import Fault
from strait_core.job import check_tags
from strait_core.trigger import MAX_PAYLOAD_BYTES
from strait_core.wire.bodies import Request
from strait_core.wire.reasons import Why
from strait_core.wire.workflows import GraphEdge, GraphNode
from strait_core.workflow.definition import StepType
from strait_core.workflow.states import RunStatus, StepStatus

MAX_TEXT: Final = 1_000
# The largest output of a step, which is that of a run.
MAX_OUTPUT: Final = 1024 * 1024


class StepOverride(Request):
    """Whether a step takes part in this run; one that does not is skipped as if its condition were false."""

    step_ref: str
    enabled: bool


class WorkflowTrigger(Request):
    """POST /v1/workflows/{workflow}/trigger; an empty body is `{}`."""

    payload: Raw | UnsetType = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    labels: dict[str, str] | UnsetType | None = UNSET
    step_overrides: list[StepOverride] | UnsetType | None = UNSET


class StepSkip(Request):
    """POST steps/{ref}/skip."""

    reason: str | UnsetType | None = UNSET


class StepResult(Request):
    """POST steps/{ref}/force-complete: the output that the step gets; without one it is null."""

    output: Raw | UnsetType = UNSET


class StepDecision(Request):
    """POST approve or reject; who decides says the credential, or the header X-Actor."""

    comment: str | UnsetType | None = UNSET


class WorkflowRun(Struct, kw_only=True):
    """A workflow run; lists leave out `payload`."""

    id: str
    workflow_id: str
    workflow_slug: str
    project_id: str
    version: int
    status: RunStatus
    seq: int
    payload: Raw | UnsetType = UNSET
    has_failures: bool
    error: str | None
    error_class: str | None
    tags: dict[str, str]
    labels: dict[str, str]
    triggered_by: str
    parent_run_id: str | None
    # The tick of the workflow's schedule that has made it.
    fire_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    expires_at: datetime | None
    finished_at: datetime | None


class StepRun(Struct, kw_only=True):
    """A step of a workflow run; lists leave out `output` unless it is asked for.

    `job_run_id` and `workflow_run_id` name what carries it out, `compensated_by` the run that has undone it; `due_at`
    is when a wait is over.
    """

    step_ref: str
    step_type: StepType
    status: StepStatus
    output: Raw | UnsetType | None = UNSET
    error: str | None
    error_class: str | None
    attempt: int
    job_run_id: str | None
    workflow_run_id: str | None
    compensated_by: str | None
    depends_on: list[str]
    reason: str | None
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class StepWhy(Struct, kw_only=True):
    """Why a step is where it is."""

    step_ref: str
    status: StepStatus
    text: str


class WorkflowExplanation(Struct, kw_only=True):
    """GET /v1/workflow-runs/{run}/explain: for each step that has not completed, why.

    `reasons` are the deadlines of its schedule that the run has broken.
    """

    id: str
    status: RunStatus
    text: str
    reasons: list[Why]
    steps: list[StepWhy]


class StepTime(Struct, kw_only=True):
    """When a step was under way; `ready_at` is when the last of what it depends on had ended."""

    step_ref: str
    status: StepStatus
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    wait_ms: float | None
    took_ms: float | None


class Timeline(Struct, kw_only=True):
    """GET /v1/workflow-runs/{run}/timeline: the steps in the order in which they began."""

    id: str
    status: RunStatus
    started_at: datetime | None
    finished_at: datetime | None
    steps: list[StepTime]


class RunNode(GraphNode):
    """A step in the graph of a run, and where it is."""

    status: StepStatus


class WorkflowRunGraph(Struct, kw_only=True):
    """GET /v1/workflow-runs/{run}/graph: `runnable` are the steps that are under way, or whose turn it is.

    `critical_path` is the chain that takes longest, by what has happened and by how long steps took in the newest runs.
    `remaining_secs` estimates what is left of the run by the same measure, without the steps in `unestimated`, of which
    nobody knows how long they take; null when the run is over.
    """

    id: str
    status: RunStatus
    nodes: list[RunNode]
    edges: list[GraphEdge]
    runnable: list[str]
    critical_path: list[str]
    remaining_secs: float | None
    unestimated: list[str]


class Approval(Struct, kw_only=True):
    """A question that a step asks, and what became of it."""

    id: str
    workflow_run_id: str
    workflow_id: str
    step_ref: str
    project_id: str
    status: str
    approvers: list[str]
    created_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    comment: str | None


def faults_of_trigger(body: WorkflowTrigger, refs: set[str]) -> list[Fault]:
    """Everything wrong with a trigger of a workflow that has these steps."""
    faults: list[Fault] = []
    if body.payload is not UNSET and len(body.payload) > MAX_PAYLOAD_BYTES:
        faults.append(Fault("/payload", f"must be at most {MAX_PAYLOAD_BYTES} bytes"))
    for name in ("tags", "labels"):
        given = getattr(body, name)
        faults += check_tags(name, given) if given else []
    overrides = body.step_overrides or []
    seen: set[str] = set()
    for at, one in enumerate(overrides):
        place = f"/step_overrides/{at}/step_ref"
        if one.step_ref not in refs:
            faults.append(Fault(place, f"the workflow has no step {one.step_ref[:64]!r}"))
        elif one.step_ref in seen:
            faults.append(Fault(place, "is named twice"))
        seen.add(one.step_ref)
    if refs and not faults and {one.step_ref for one in overrides if not one.enabled} == refs:
        faults.append(Fault("/step_overrides", "must leave at least one step"))
    return faults


def faults_of_text(pointer: str, text: str | UnsetType | None) -> list[Fault]:
    """A reason or a comment: at most 1,000 characters."""
    too_long = isinstance(text, str) and len(text) > MAX_TEXT
    return [Fault(pointer, f"must be at most {MAX_TEXT} characters")] if too_long else []
