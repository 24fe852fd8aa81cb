"""The routes of workflow runs, their steps and approvals, as data."""

from __future__ import annotations

from typing import Any, Final

from strait_core import wire
from strait_core.errors import BudgetError, ConflictError, ForbiddenError, NotFoundError
from strait_core.ids import Prefix
from strait_core.wire import workflow_runs as wire_flows
from strait_core.workflow.drawing import GraphFormat
from strait_daemon.api import (
    bulk_workflow_runs,
    workflow_graph,
    workflow_runs,
    workflow_steps,
    workflow_stream,
    workflow_why,
)
from strait_daemon.api.body import SMALL_BYTES, TRIGGER_BYTES, Body, Nothing
from strait_daemon.api.operation import Operation
from strait_daemon.api.query import (
    PAGING,
    PROJECT,
    Param,
    choice_param,
    id_prefix_param,
    pair_param,
    text_param,
    time_param,
    width_param,
)

RUN: Final = "/v1/workflow-runs/{run}"
STEP: Final = RUN + "/steps/{ref}"
_UNCLEAR: Final = (NotFoundError, ConflictError)


def _read(path: str, handle: Any, name: str, summary: str, returns: Any, *params: Param) -> Operation:
    return Operation(
        method="GET",
        path=path,
        handle=handle,
        name=name,
        summary=summary,
        tag="workflow-runs",
        returns=returns,
        query=(PROJECT, *params),
        raises=(NotFoundError,),
    )


def _move(end: str, handle: Any, name: str, summary: str, **rest: Any) -> Operation:
    return Operation(
        method="POST",
        path=rest.pop("path", RUN) + end,
        handle=handle,
        name=name,
        summary=summary,
        tag=rest.pop("tag", "workflow-runs"),
        returns=rest.pop("returns", wire_flows.WorkflowRun),
        body=rest.pop("body", None) or Body(Nothing),
        query=(PROJECT,),
        raises=rest.pop("raises", _UNCLEAR),
    )


_NARROWING: Final = (
    PROJECT,
    *PAGING,
    workflow_runs.statuses_param(),
    id_prefix_param(Prefix.WORKFLOW_RUN),
    pair_param("tag", "Runs that carry this tag."),
    time_param("created_after", "Runs created later than this."),
    time_param("created_before", "Runs created earlier than this."),
)
_RUNS: Final = (
    Operation(
        method="POST",
        path="/v1/workflows/{workflow}/trigger",
        handle=workflow_runs.trigger,
        name="triggerWorkflow",
        summary="Start one run of a workflow; the answer comes after it has been stored.",
        tag="workflows",
        status=201,
        returns=wire_flows.WorkflowRun,
        body=Body(wire_flows.WorkflowTrigger, most=TRIGGER_BYTES, raw="payload"),
        query=(PROJECT,),
        once=True,
        raises=(*_UNCLEAR, BudgetError),
    ),
    Operation(
        method="GET",
        path="/v1/workflow-runs",
        handle=workflow_runs.list_runs,
        name="listWorkflowRuns",
        summary="List workflow runs, newest first, without their payloads.",
        tag="workflow-runs",
        returns=wire.Page[wire_flows.WorkflowRun],
        query=(*_NARROWING, text_param("workflow_id", "The workflow: its id or its slug.")),
        raises=_UNCLEAR,
    ),
    Operation(
        method="GET",
        path="/v1/workflows/{workflow}/runs",
        handle=workflow_runs.list_runs,
        name="listRunsOfWorkflow",
        summary="List the runs of a workflow, newest first, without their payloads.",
        tag="workflows",
        returns=wire.Page[wire_flows.WorkflowRun],
        query=_NARROWING,
        raises=_UNCLEAR,
    ),
    *bulk_workflow_runs.ROUTES,
    _read(RUN, workflow_runs.get_run, "getWorkflowRun", "Read a workflow run.", wire_flows.WorkflowRun),
    _move("/pause", workflow_runs.pause, "pauseWorkflowRun", "Let no further step start; what runs goes on."),
    _move("/resume", workflow_runs.resume, "resumeWorkflowRun", "Let steps start again."),
    _move("/cancel", workflow_runs.cancel, "cancelWorkflowRun", "End a run and whatever is under way below it."),
    _move(
        "/retry",
        workflow_runs.retry,
        "retryWorkflowRun",
        "Let a run that failed, timed out or was canceled go on: completed steps are kept, all others begin anew.",
    ),
    _move(
        "/compensate",
        workflow_runs.compensate,
        "compensateWorkflowRun",
        "Undo the completed steps of a run that failed or timed out, by their compensation jobs, the last first.",
    ),
    _read(
        RUN + "/explain",
        workflow_why.explain,
        "explainWorkflowRun",
        "Why each step that has not completed is where it is.",
        wire_flows.WorkflowExplanation,
    ),
    _read(
        RUN + "/timeline",
        workflow_why.timeline,
        "workflowRunTimeline",
        "When each step was ready, began and ended.",
        wire_flows.Timeline,
    ),
    Operation(
        method="GET",
        path=RUN + "/graph",
        handle=workflow_graph.graph,
        name="workflowRunGraph",
        summary=(
            "The steps of a run and what leads to what, each with its state: as data, or as text for people (`ascii`),"
            " for Mermaid or for Graphviz (`dot`)."
        ),
        tag="workflow-runs",
        returns=wire_flows.WorkflowRunGraph,
        text=True,
        query=(
            PROJECT,
            choice_param("format", GraphFormat, "How it is drawn; json by default."),
            width_param("width", "How many columns an `ascii` drawing may take, 40 to 1000; 120 by default."),
        ),
        raises=(NotFoundError,),
    ),
    Operation(
        method="GET",
        path=RUN + "/stream",
        handle=workflow_stream.stream_run,
        name="streamWorkflowRun",
        summary=workflow_stream.SUMMARY,
        tag="workflow-runs",
        media="text/event-stream",
        returns=str,
        query=(PROJECT,),
        raises=(NotFoundError,),
    ),
)
_STEPS: Final = (
    _read(
        RUN + "/steps",
        workflow_steps.list_steps,
        "listWorkflowRunSteps",
        "List the steps of a run, in the order of the definition.",
        wire.Page[wire_flows.StepRun],
        *PAGING,
        workflow_steps.INCLUDE,
    ),
    _read(STEP, workflow_steps.get_step, "getWorkflowRunStep", "Read a step, whole.", wire_flows.StepRun),
    _move("/retry", workflow_steps.retry_step, "retryStep", "Let a step that is over begin anew.", path=STEP),
    _move(
        "/replay-subtree",
        workflow_steps.replay_subtree,
        "replaySubtree",
        "Let a step that is over begin anew, and everything that depends on it.",
        path=STEP,
    ),
    _move(
        "/skip",
        workflow_steps.skip_step,
        "skipStep",
        "Skip a step that has not begun, or waits.",
        path=STEP,
        body=Body(wire_flows.StepSkip),
    ),
    _move(
        "/force-complete",
        workflow_steps.force_complete,
        "forceCompleteStep",
        "Complete a step that has not begun, or waits, with an output of yours.",
        path=STEP,
        body=Body(wire_flows.StepResult, most=wire_flows.MAX_OUTPUT + SMALL_BYTES, raw="output"),
    ),
    _move(
        "/approve",
        workflow_steps.approve_step,
        "approveStep",
        "Approve, as the one whom the header X-Actor names.",
        path=STEP,
        body=Body(wire_flows.StepDecision),
        raises=(*_UNCLEAR, ForbiddenError),
    ),
    _move(
        "/reject",
        workflow_steps.reject_step,
        "rejectStep",
        "Reject, as the one whom the header X-Actor names; the step fails.",
        path=STEP,
        body=Body(wire_flows.StepDecision),
        raises=(*_UNCLEAR, ForbiddenError),
    ),
)
_APPROVALS: Final = (
    Operation(
        method="GET",
        path="/v1/approvals",
        handle=workflow_steps.list_approvals,
        name="listApprovals",
        summary="List what steps ask, or have asked, the newest first.",
        tag="approvals",
        returns=wire.Page[wire_flows.Approval],
        query=(
            PROJECT,
            *PAGING,
            text_param("status", f"One of {', '.join(workflow_steps.APPROVAL_STATES)}."),
            id_prefix_param(Prefix.APPROVAL),
        ),
    ),
    *(
        _move(
            f"/{verb}",
            handle,
            f"{verb}Approval",
            f"{verb.capitalize()}, as the one whom the header X-Actor names.",
            path="/v1/approvals/{approval}",
            tag="approvals",
            returns=wire_flows.Approval,
            body=Body(wire_flows.StepDecision),
            raises=(*_UNCLEAR, ForbiddenError),
        )
        for verb, handle in (("approve", workflow_steps.approve), ("reject", workflow_steps.reject))
    ),
)
ROUTES: Final = (*_RUNS, *_STEPS, *_APPROVALS)
