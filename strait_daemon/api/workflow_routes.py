"""The routes of workflow definitions, as data."""

from __future__ import annotations

from typing import Any, Final

from strait_core import ids, wire
from strait_core.errors import ConflictError, NotFoundError, PreconditionError
from strait_core.wire import workflows as told
from strait_core.wire.workflow_simulation import WorkflowSimulate, WorkflowSimulation
from strait_core.workflow.drawing import GraphFormat
from strait_daemon.api import workflow_simulation, workflows
from strait_daemon.api import workflow_views as views
from strait_daemon.api.body import MIB, Body, Nothing
from strait_daemon.api.operation import Operation
from strait_daemon.api.query import (
    PAGING,
    PROJECT,
    choice_param,
    flag_param,
    id_prefix_param,
    pair_param,
    text_param,
    width_param,
)

WORKFLOW: Final = "/v1/workflows/{workflow}"
# A thousand steps, each of which depends on all before it.
MOST_BYTES: Final = 4 * MIB
_UNCLEAR: Final = (NotFoundError, ConflictError)
_CHANGING: Final = (NotFoundError, ConflictError, PreconditionError)


def _of(method: str, end: str, **rest: Any) -> Operation:
    return Operation(
        method=method,
        path=WORKFLOW + end,
        tag="workflows",
        query=rest.pop("query", (PROJECT,)),
        raises=rest.pop("raises", _UNCLEAR),
        **rest,
    )


ROUTES: Final = (
    Operation(
        method="POST",
        path="/v1/workflows",
        handle=workflows.create_workflow,
        name="createWorkflow",
        summary="Create a workflow: steps that depend on one another. Every fault of a wrong one is told at once.",
        tag="workflows",
        status=201,
        returns=told.Workflow,
        body=Body(told.WorkflowCreate, most=MOST_BYTES, required=True),
        query=(PROJECT,),
        raises=(ConflictError,),
        etag=True,
        once=True,
    ),
    Operation(
        method="GET",
        path="/v1/workflows",
        handle=workflows.list_workflows,
        name="listWorkflows",
        summary="List workflows, the newest first, without their steps.",
        tag="workflows",
        returns=wire.Page[told.Workflow],
        query=(
            PROJECT,
            *PAGING,
            id_prefix_param(ids.Prefix.WORKFLOW),
            text_param("slug", "Exactly this slug."),
            flag_param("enabled", "Only enabled or only disabled workflows."),
            flag_param("paused", "Only paused workflows, or only those that are not."),
            pair_param("tag", "Workflows that carry this tag."),
        ),
    ),
    _of(
        "GET",
        "",
        handle=workflows.get_workflow,
        name="getWorkflow",
        summary="Read a workflow.",
        returns=told.Workflow,
        etag=True,
    ),
    _of(
        "PATCH",
        "",
        handle=workflows.patch_workflow,
        name="updateWorkflow",
        summary=(
            "Change what is named; a changed definition is a new version, and runs under way keep theirs. Null puts a"
            " field back to its default; `steps` are replaced as a whole."
        ),
        returns=told.Workflow,
        body=Body(told.WorkflowPatch, most=MOST_BYTES, required=True),
        raises=_CHANGING,
        etag=True,
        if_match=True,
    ),
    _of(
        "DELETE",
        "",
        handle=workflows.delete_workflow,
        name="deleteWorkflow",
        summary="Delete a workflow that no other refers to; its slug is free again.",
        status=204,
        raises=_CHANGING,
        if_match=True,
    ),
    _of(
        "POST",
        "/pause",
        handle=workflows.pause_workflow,
        name="pauseWorkflow",
        summary="Take no new runs of a workflow; those under way go on.",
        returns=told.Workflow,
        body=Body(wire.Pause),
        raises=_CHANGING,
        etag=True,
        if_match=True,
    ),
    _of(
        "POST",
        "/resume",
        handle=workflows.resume_workflow,
        name="resumeWorkflow",
        summary="Let a paused workflow take runs again.",
        returns=told.Workflow,
        body=Body(Nothing),
        raises=_CHANGING,
        etag=True,
        if_match=True,
    ),
    _of(
        "POST",
        "/clone",
        handle=workflows.clone_workflow,
        name="cloneWorkflow",
        summary="Create a workflow with the same definition under another slug.",
        status=201,
        returns=told.Workflow,
        body=Body(told.WorkflowClone, required=True),
        etag=True,
        once=True,
    ),
    _of(
        "POST",
        "/dry-run",
        handle=views.dry_run,
        name="dryRunWorkflow",
        summary="Say whether steps are right, by default the workflow's own; nothing is stored.",
        returns=told.Verdict,
        body=Body(told.WorkflowDryRun, most=MOST_BYTES),
    ),
    _of(
        "POST",
        "/plan",
        handle=views.plan,
        name="planWorkflow",
        summary="Say in what order the steps go, how many at once, and which chain is the longest.",
        returns=told.WorkflowPlan,
        body=Body(Nothing),
    ),
    _of(
        "POST",
        "/simulate",
        handle=workflow_simulation.simulate,
        name="simulateWorkflow",
        summary=(
            "Say what a run would do with assumed outcomes and the durations of the newest runs: order, parallelism,"
            " critical path, estimate. Nothing is stored."
        ),
        returns=WorkflowSimulation,
        body=Body(WorkflowSimulate, most=MOST_BYTES),
    ),
    _of(
        "GET",
        "/graph",
        handle=views.graph,
        name="getWorkflowGraph",
        summary="Draw a workflow: as data, or as text for people (`ascii`), for Mermaid or for Graphviz (`dot`).",
        returns=told.WorkflowGraph,
        text=True,
        query=(
            PROJECT,
            choice_param("format", GraphFormat, "How it is drawn; json by default."),
            width_param("width", "How many columns an `ascii` drawing may take, 40 to 1000; 120 by default."),
        ),
    ),
    _of(
        "GET",
        "/versions",
        handle=views.list_versions,
        name="listWorkflowVersions",
        summary="List the versions of a workflow's definition, the newest first, without their steps.",
        returns=wire.Page[told.WorkflowVersion],
        query=(PROJECT, *PAGING),
    ),
    _of(
        "GET",
        "/versions/{version}",
        handle=views.get_version,
        name="getWorkflowVersion",
        summary="Read one version of a workflow's definition.",
        returns=told.WorkflowVersion,
    ),
    _of(
        "GET",
        "/versions/{a}/diff/{b}",
        handle=views.diff_versions,
        name="diffWorkflowVersions",
        summary="Say what changed from version `a` to version `b`: field by field, step by step.",
        returns=told.WorkflowDiff,
    ),
)
